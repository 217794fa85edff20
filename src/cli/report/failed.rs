//! The list of jobs that did not end complete, for `get -i`.
//!
//! It is written beside its final name, as jobs end, or at the end of the run where jobs may be looked at again; and it is
//! put in place at the end of the run: the old list may be the one that is being read. A run without failures leaves no
//! list, and takes an old one away. What is no regular file, a pipe or a terminal, is written to directly.
//!
//! Two runs may be given the same list, on archives of their own. The draft belongs to the run that holds a lock on it:
//!
//! 1. it is opened as it is, since it may be another run's, and locked without waiting;
//! 2. whoever held the lock may have put the draft in place, or taken it away, between these two steps: what was locked
//!    is only the draft if its name still leads there, and else it is opened again;
//! 3. what a run that was killed left in it is cut off, and the list begins.
//!
//! The lock ends with the file, after the draft has its final name or none.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use vfetch::text::{RedactingWriter, Redactor};

use crate::cli::error::CliError;

/// So often a draft may be put in place between its opening and its locking, before that is no accident any more.
const OPENED_AT_MOST: usize = 16;

/// A list under way.
pub(super) struct FailedList {
    path: PathBuf,
    draft: Option<PathBuf>,
    file: RedactingWriter<File>,
    empty: bool,
    error: Option<io::Error>,
}

#[expect(clippy::disallowed_methods, reason = "a file of the user's, not of an archive")]
impl FailedList {
    /// Begins the list at this path.
    ///
    /// # Errors
    /// Busy where another run is writing it, and then nothing was changed; a usage error where it cannot be written.
    pub(super) fn begin(path: &Path, redactor: &Redactor) -> Result<Self, CliError> {
        let regular = std::fs::metadata(path).map_or(true, |there| there.is_file());
        let draft = regular.then(|| draft_path(path));
        let file = match &draft {
            Some(draft) => own_draft(draft),
            None => File::create(path).map(Some),
        };
        match file {
            Ok(Some(file)) => {
                let file = redactor.writer(file);
                Ok(Self { path: path.into(), draft, file, empty: true, error: None })
            }
            Ok(None) => Err(CliError::busy(format!(
                "the list --failed {} is locked: another vfetch is writing it",
                path.display()
            ))
            .hint("wait for its end, or name another --failed file for this run")),
            Err(error) => {
                Err(CliError::usage(format!("beginning the list --failed {}: {error}", path.display())))
            }
        }
    }

    /// Adds lines; the first error is told at the end.
    pub(super) fn add(&mut self, lines: &[u8]) {
        if lines.is_empty() || self.error.is_some() {
            return;
        }
        self.empty = false;
        self.error = self.file.write_all(lines).err();
    }

    /// Puts the list in place, or takes it away where it is empty.
    pub(super) fn finish(self) -> io::Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match self.draft {
            None => Ok(()),
            Some(draft) if self.empty => {
                std::fs::remove_file(draft)?;
                std::fs::remove_file(&self.path).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })
            }
            Some(draft) => std::fs::rename(draft, &self.path),
        }
    }

    /// Leaves what there was before the run.
    pub(super) fn discard(self) {
        if let Some(draft) = self.draft {
            // What is left of it is overwritten by the next run.
            let _ = std::fs::remove_file(draft);
        }
    }

    /// Where the list is or will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The draft at this path, empty and locked by this process; `None` where another one holds it.
fn own_draft(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..OPENED_AT_MOST {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        if !try_lock(&file)? {
            return Ok(None);
        }
        if is_at(&file, path)? {
            file.set_len(0)?;
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Locks a file against other processes, or says `false` at once where one has it.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        // A file system without locks is no reason to go without a list: there two runs are the user's to keep apart.
        Err(Errno::INVAL | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        locked => Ok(locked.map(|()| true)?),
    }
}

/// Whether the path leads to this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the list is while it is under way.
pub(crate) fn draft_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads files")]
    use super::*;

    fn begin(path: &Path) -> Result<FailedList, CliError> {
        FailedList::begin(path, &Redactor::default())
    }

    #[test]
    fn the_list_that_is_being_read_is_replaced_only_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failed.txt");
        std::fs::write(&path, "1\n2\n3\n").unwrap();
        let mut list = begin(&path).unwrap();
        list.add(b"2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("failed.txt.part")).unwrap(), "2\n");
        list.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_run_without_failures_leaves_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failed.txt");
        begin(&path).unwrap().finish().unwrap();
        std::fs::write(&path, "1\n").unwrap();
        begin(&path).unwrap().finish().unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_list_has_one_writer_at_a_time_and_the_next_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failed.txt");
        std::fs::write(draft_path(&path), "what a killed run has left\n").unwrap();
        let mut first = begin(&path).unwrap();
        first.add(b"1\n");
        assert!(begin(&path).is_err());
        assert_eq!(std::fs::read_to_string(draft_path(&path)).unwrap(), "1\n");
        first.finish().unwrap();
        begin(&path).unwrap().discard();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_was_put_in_place_meanwhile_is_not_the_draft() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("failed.txt"), folder.path().join("other"));
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::rename(&path, &other).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(!is_at(&file, &path).unwrap() && is_at(&file, &other).unwrap());
    }

    #[test]
    fn many_who_begin_and_end_the_same_list_never_write_it_together() {
        const WRITERS: u8 = 4;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failed.txt");
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..200 {
                        let Ok(mut list) = begin(path) else { continue };
                        let own = [b'a' + writer; 64];
                        for letter in own {
                            list.add(&[letter]);
                        }
                        assert_eq!(std::fs::read(draft_path(path)).unwrap(), own);
                        if round % 3 == 0 { list.discard() } else { list.finish().unwrap() }
                    }
                });
            }
        });
        assert!(std::fs::read(&path).unwrap().windows(2).all(|pair| pair[0] == pair[1]));
        assert!(!draft_path(&path).exists());
    }

    #[test]
    fn what_is_no_file_is_written_to_and_left_where_it_is() {
        let mut list = begin(Path::new("/dev/null")).unwrap();
        list.add(b"147\n");
        list.finish().unwrap();
        assert!(Path::new("/dev/null").exists());
        assert!(begin(Path::new("/nowhere/failed.txt")).is_err());
    }

    #[test]
    fn a_list_that_cannot_be_written_is_an_error_at_the_end() {
        if let Ok(mut list) = begin(Path::new("/dev/full")) {
            list.add(b"147\n");
            list.add(b"148\n");
            assert_eq!(list.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
