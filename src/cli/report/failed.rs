//! The list of jobs that did not end complete, for `get -i`.
//!
//! It is written as jobs end, beside its final name, and put in place at the end of the run: the old list may be the one
//! that is being read. A run without failures leaves no list, and takes an old one away. What is no regular file, a pipe
//! or a terminal, is written to directly.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vfetch::text::{RedactingWriter, Redactor};

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
    pub(super) fn begin(path: &Path, redactor: &Redactor) -> io::Result<Self> {
        let regular = std::fs::metadata(path).map_or(true, |there| there.is_file());
        let draft = regular.then(|| draft_path(path));
        let file = redactor.writer(File::create(draft.as_deref().unwrap_or(path))?);
        Ok(Self { path: path.into(), draft, file, empty: true, error: None })
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

    fn begin(path: &Path) -> io::Result<FailedList> {
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
