//! Looking through an archive on a local disk without changing anything, and putting one bad file aside.
//!
//! Every name is opened without following links. A plain file at the root is the user's own and is passed over; a link
//! in place of a job's folder is an error, because what it hides cannot be vouched for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;

use super::super::disk::{Disk, Entry, write_all};
use super::super::look::{Leftover, LeftoverKind, Record};
use super::super::staging::{
    LOCK_NAME, STAGING_FOLDER, Staging, ensure_folder, job_of_note, remove_if_there,
};
use super::super::{StoreError, at, ctx};
use super::{LocalStore, read_all};
use crate::job::JobRef;
use crate::layout::{self, Key, MANIFEST_NAME, PRIVATE_FOLDER};

/// Where bad files are put aside, below the private folder.
const QUARANTINE_FOLDER: &str = "quarantine";
/// Small enough for many at once; from 64 KiB on larger steps read no faster.
const READ_STEP: usize = 128 * 1024;

thread_local! {
    /// Buffers that wait for a file: a fresh one for each costs more than hashing a small file does.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An archived file that is being read, from its first byte to its last.
pub struct Contents<'a, D: Disk> {
    disk: &'a D,
    file: D::File,
    place: String,
    bytes: u64,
    buffer: Buffer,
}

impl<D: Disk> Contents<'_, D> {
    /// The next bytes; none at the end. Blocks.
    ///
    /// # Errors
    /// Where the disk refuses; the same bytes may be asked for again.
    pub fn read(&mut self) -> Result<&[u8], StoreError> {
        loop {
            match self.disk.read_at(&self.file, self.bytes, &mut self.buffer.0) {
                Ok(count) => {
                    self.bytes += count as u64;
                    return Ok(&self.buffer.0[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ctx("reading", &self.place)(error)),
            }
        }
    }
}

struct Buffer(Vec<u8>);

impl Buffer {
    fn of_this_thread() -> Self {
        Self(BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_STEP]))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        BUFFERS.with_borrow_mut(|buffers| buffers.push(std::mem::take(&mut self.0)));
    }
}

impl<D: Disk> LocalStore<D> {
    /// The names at the root that may be job folders, in no order, as they are read. Blocks.
    pub fn folders(
        &self,
    ) -> Result<impl Iterator<Item = Result<String, StoreError>> + Send + use<D>, StoreError> {
        let place = self.place.clone();
        let names = self.disk.names(&self.root).map_err(ctx("listing", &place))?;
        Ok(names.filter_map(move |name| match name {
            Ok(name) => layout::may_be_folder(&name).then_some(Ok(name)),
            Err(error) => Some(Err(ctx("listing", &place)(error))),
        }))
    }

    /// The record in a folder, whoever it belongs to. Blocks for one small read.
    pub fn record_in(&self, name: &str) -> Result<Record, StoreError> {
        let Some(folder) = self.job_folder(name)? else { return Ok(Record::Nothing) };
        let place = at(&at(&self.place, name), MANIFEST_NAME);
        let file = match self.disk.open_to_read(&folder, MANIFEST_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::Nothing),
            Err(error) => return Err(ctx("opening", &place)(error)),
        };
        let bytes = read_all(&self.disk, &file).map_err(ctx("reading", &place))?;
        Ok(Record::of(name, &bytes))
    }

    /// What lies in a folder, in no order, the record included. Blocks.
    pub fn names(&self, name: &str) -> Result<Vec<(String, Entry)>, StoreError> {
        let Some(folder) = self.job_folder(name)? else { return Ok(Vec::new()) };
        let place = at(&self.place, name);
        self.entries(&folder, &place)
    }

    /// Opens an archived file to read its bytes. Blocks.
    pub fn contents(&self, key: &Key) -> Result<Contents<'_, D>, StoreError> {
        let place = self.place_of(key);
        let folder = self.disk.open_folder(&self.root, key.folder()).map_err(ctx("opening", &place))?;
        let file = self.disk.open_to_read(&folder, key.name()).map_err(ctx("opening", &place))?;
        Ok(Contents { disk: &self.disk, file, place, bytes: 0, buffer: Buffer::of_this_thread() })
    }

    /// Waits until no commit is under way in a folder. Blocks for as long as one is.
    pub fn settle(&self, name: &str) {
        // A disk that cannot lock has no commits to wait for either.
        if let Ok(Some(folder)) = self.job_folder(name) {
            let _ = self.disk.lock_folder(&folder);
        }
    }

    /// What lies under the private folder: parts of unfinished downloads, and files that were put aside. Blocks.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        let mut found = Vec::new();
        let private_place = at(&self.place, PRIVATE_FOLDER);
        let Some(private) = self.folder_in(&self.root, PRIVATE_FOLDER, &private_place)? else {
            return Ok(found);
        };
        let place = at(&private_place, STAGING_FOLDER);
        if let Some(staging) = self.folder_in(&private, STAGING_FOLDER, &place)? {
            let entries = self.entries(&staging, &place)?.into_iter().filter(|(name, _)| name != LOCK_NAME);
            let below = format!("{PRIVATE_FOLDER}/{STAGING_FOLDER}");
            found.extend(entries.filter_map(|entry| leftover(LeftoverKind::Staged, &below, entry)));
        }
        let place = at(&private_place, QUARANTINE_FOLDER);
        if let Some(quarantine) = self.folder_in(&private, QUARANTINE_FOLDER, &place)? {
            for (name, _) in self.entries(&quarantine, &place)? {
                let place = at(&place, &name);
                let Some(folder) = self.folder_in(&quarantine, &name, &place)? else { continue };
                let below = format!("{PRIVATE_FOLDER}/{QUARANTINE_FOLDER}/{name}");
                let entries = self.entries(&folder, &place)?.into_iter();
                found.extend(entries.filter_map(|entry| leftover(LeftoverKind::Quarantined, &below, entry)));
            }
        }
        Ok(found)
    }

    /// The jobs of which parts are here that a run can go on with, each once. Blocks for a small read of each part's note.
    ///
    /// Whoever may not look into the private folder sees none.
    pub fn part_jobs(&self) -> Result<Vec<JobRef>, StoreError> {
        let private_place = at(&self.place, PRIVATE_FOLDER);
        let place = at(&private_place, STAGING_FOLDER);
        let staging = match self.folder_in(&self.root, PRIVATE_FOLDER, &private_place) {
            Ok(Some(private)) => self.folder_in(&private, STAGING_FOLDER, &place),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let staging = match staging {
            Ok(Some(staging)) => staging,
            Ok(None) => return Ok(Vec::new()),
            Err(error) if error.is_denied() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = self.disk.names(&staging).map_err(ctx("listing", &place))?;
        let mut jobs = HashSet::new();
        for name in names {
            jobs.extend(job_of_note(&self.disk, &staging, &name.map_err(ctx("listing", &place))?));
        }
        Ok(jobs.into_iter().collect())
    }

    /// Moves what has this name into the quarantine, under a name that nothing there has; says where it is now, below
    /// the root, or `None` where there was nothing to move. Blocks. The staging area shows that the caller is the
    /// archive's one writer.
    ///
    /// After a power cut it is at its old name, at its new one, or at both: it is never lost.
    pub fn put_aside(
        &self,
        staging: &Staging<D>,
        folder: &str,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        let place = at(&at(&self.place, folder), name);
        let Some(from) = self.job_folder(folder)? else { return Ok(None) };
        if self.disk.entry(&from, name).map_err(ctx("looking at", &place))?.is_none() {
            return Ok(None);
        }
        let aside = || -> io::Result<String> {
            staging.is_sure()?;
            let private = ensure_folder(&self.disk, &self.root, PRIVATE_FOLDER)?;
            let quarantine = ensure_folder(&self.disk, &private, QUARANTINE_FOLDER)?;
            let to = ensure_folder(&self.disk, &quarantine, folder)?;
            let mut free = name.to_owned();
            let mut tried = 0_u32;
            while self.disk.entry(&to, &free)?.is_some() {
                tried += 1;
                free = format!("{name}.{tried}");
            }
            let sync = |folders: &[&D::Folder]| {
                let folders = folders.iter().filter(|_| self.sync);
                folders
                    .into_iter()
                    .try_for_each(|folder| staging.synced(&place, self.disk.sync_folder(folder)))
            };
            // The way to the new name first: a name in a folder that a power cut takes is a loss.
            sync(&[&self.root, &private, &quarantine])?;
            self.disk.rename(&from, name, &to, &free)?;
            sync(&[&to, &from])?;
            Ok(format!("{PRIVATE_FOLDER}/{QUARANTINE_FOLDER}/{folder}/{free}"))
        };
        aside().map(Some).map_err(ctx("putting aside", &place))
    }

    /// A note in the private folder; `None` where there is none. Blocks. Notes save time and decide nothing.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let place = at(&at(&self.place, PRIVATE_FOLDER), name);
        let Some(private) = self.folder_in(&self.root, PRIVATE_FOLDER, &place)? else { return Ok(None) };
        match self.disk.open_to_read(&private, name) {
            Ok(file) => read_all(&self.disk, &file).map(Some).map_err(ctx("reading", &place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ctx("opening", &place)(error)),
        }
    }

    /// Puts a note in place of the one that has its name. Blocks. Only the holder of the staging area may call it. The
    /// note is not synced: a power cut may leave none, or one that cannot be read.
    pub fn keep_note(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let place = at(&at(&self.place, PRIVATE_FOLDER), name);
        let keep = || -> io::Result<()> {
            let private = ensure_folder(&self.disk, &self.root, PRIVATE_FOLDER)?;
            let new = format!("{name}.new");
            remove_if_there(&self.disk, &private, &new)?;
            let file = self.disk.create_new(&private, &new)?;
            write_all(&self.disk, &file, bytes)?;
            self.disk.rename(&private, &new, &private, name)
        };
        keep().map_err(ctx("writing", &place))
    }

    /// Whether the root holds what only an archive holds: the private folder, or a job's record. Blocks.
    pub fn is_archive(&self) -> Result<bool, StoreError> {
        let private = self.disk.entry(&self.root, PRIVATE_FOLDER).map_err(ctx("opening", &self.place))?;
        if private == Some(Entry::Folder) {
            return Ok(true);
        }
        for name in self.folders()? {
            if !matches!(self.record_in(&name?), Ok(Record::Nothing) | Err(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens a folder at the root; `None` where there is nothing, or a plain file, which is the user's own.
    fn job_folder(&self, name: &str) -> Result<Option<D::Folder>, StoreError> {
        self.folder_in(&self.root, name, &at(&self.place, name))
    }

    fn folder_in(&self, above: &D::Folder, name: &str, place: &str) -> Result<Option<D::Folder>, StoreError> {
        match self.disk.open_folder(above, name) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => match self.disk.entry(above, name) {
                Ok(Some(Entry::File(_))) => Ok(None),
                _ => Err(ctx("opening", place)(error)),
            },
        }
    }

    fn entries(&self, folder: &D::Folder, place: &str) -> Result<Vec<(String, Entry)>, StoreError> {
        let mut found = Vec::new();
        for name in self.disk.names(folder).map_err(ctx("listing", place))? {
            let name = name.map_err(ctx("listing", place))?;
            let entry = self.disk.entry(folder, &name).map_err(ctx("looking at", &at(place, &name)))?;
            // A name that is no text cannot be asked for by its text, and is none of ours.
            let no_text = || name.contains(char::REPLACEMENT_CHARACTER).then_some(Entry::Other);
            if let Some(entry) = entry.or_else(no_text) {
                found.push((name, entry));
            }
        }
        Ok(found)
    }
}

fn leftover(kind: LeftoverKind, below: &str, (name, entry): (String, Entry)) -> Option<Leftover> {
    let bytes = match entry {
        Entry::File(bytes) => bytes,
        Entry::Folder => return None,
        Entry::Other => 0,
    };
    Some(Leftover { kind, place: format!("{below}/{name}"), bytes })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and makes files")]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sha256::Digest;
    use crate::store::disk::RealDisk;

    fn archive() -> (tempfile::TempDir, LocalStore<RealDisk>) {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(RealDisk, dir.path(), true).unwrap();
        (dir, store)
    }

    fn put(dir: &tempfile::TempDir, place: &str, text: &str) {
        let path = dir.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn folders_are_those_that_may_be_a_jobs() {
        let (dir, store) = archive();
        for name in ["147", "realtime.98", "~ab~c", ".vfetch", "Best of", "-x", "A"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut names: Vec<String> = store.folders().unwrap().map(Result::unwrap).collect();
        names.sort();
        assert_eq!(names, ["147", "realtime.98", "~ab~c"]);
    }

    #[test]
    fn a_file_of_the_users_own_is_passed_over_and_a_link_is_an_error() {
        let (dir, store) = archive();
        put(&dir, "notes.txt", "mine");
        put(&dir, "elsewhere/manifest.json", "{}");
        symlink(dir.path().join("elsewhere"), dir.path().join("147")).unwrap();
        assert!(matches!(store.record_in("nothing").unwrap(), Record::Nothing));
        assert!(matches!(store.record_in("notes.txt").unwrap(), Record::Nothing));
        assert_eq!(store.names("notes.txt").unwrap(), []);
        assert!(store.record_in("147").is_err() && store.names("147").is_err());
        assert!(matches!(store.record_in("elsewhere").unwrap(), Record::Damaged { .. }));
    }

    #[test]
    fn names_tell_what_lies_behind_them_and_follow_no_link() {
        let (dir, store) = archive();
        put(&dir, "147/147-0.gif", "abc");
        put(&dir, "147/folder/x", "");
        symlink("147-0.gif", dir.path().join("147/link")).unwrap();
        let mut names = store.names("147").unwrap();
        names.sort_by(|(one, _), (two, _)| one.cmp(two));
        let want = [("147-0.gif", Entry::File(3)), ("folder", Entry::Folder), ("link", Entry::Other)];
        assert_eq!(names, want.map(|(name, entry)| (name.to_owned(), entry)));
    }

    #[test]
    fn what_is_put_aside_never_replaces_anything_and_links_are_moved_themselves() {
        let (dir, store) = archive();
        let staging = store.staging().unwrap();
        for text in ["first", "second", "third"] {
            put(&dir, "147/147-0.gif", text);
            store.put_aside(&staging, "147", "147-0.gif").unwrap().unwrap();
        }
        symlink("/etc/passwd", dir.path().join("147/147-1.gif")).unwrap();
        assert_eq!(
            store.put_aside(&staging, "147", "147-1.gif").unwrap().as_deref(),
            Some(".vfetch/quarantine/147/147-1.gif")
        );
        assert_eq!(store.put_aside(&staging, "147", "147-2.gif").unwrap(), None);
        assert_eq!(store.put_aside(&staging, "148", "148-0.gif").unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("147")).unwrap().count(), 0);
        let mut left = store.leftovers().unwrap();
        left.sort();
        let want = [("147-0.gif", 5), ("147-0.gif.1", 6), ("147-0.gif.2", 5), ("147-1.gif", 0)];
        let want = want.map(|(name, bytes)| Leftover {
            kind: LeftoverKind::Quarantined,
            place: format!(".vfetch/quarantine/147/{name}"),
            bytes,
        });
        assert_eq!(left, want);
    }

    #[test]
    fn an_archive_is_told_by_its_private_folder_or_by_a_record() {
        let (dir, store) = archive();
        assert!(!store.is_archive().unwrap());
        put(&dir, "notes/todo.txt", "mine");
        put(&dir, "147/147-0.gif", "abc");
        assert!(!store.is_archive().unwrap());
        put(&dir, "147/manifest.json", "torn");
        assert!(store.is_archive().unwrap());
        fs::remove_file(dir.path().join("147/manifest.json")).unwrap();
        fs::create_dir(dir.path().join(".vfetch")).unwrap();
        assert!(store.is_archive().unwrap());
    }

    #[test]
    fn a_file_is_read_in_steps_and_each_file_at_its_own_pace() {
        let (dir, store) = archive();
        let job =
            crate::job::Defaults::new(crate::job::DEFAULT_ORIGIN, None).unwrap().parse("147").unwrap().job;
        let key = Key::output(&job, 0, "gif", None);
        put(&dir, &key.to_string(), &"x".repeat(READ_STEP + 1));
        let mut one = store.contents(&key).unwrap();
        let mut two = store.contents(&key).unwrap();
        assert_eq!(one.read().unwrap(), "x".repeat(READ_STEP).as_bytes());
        assert_eq!(one.read().unwrap(), b"x");
        assert_eq!(one.read().unwrap(), b"");
        drop(one);
        assert_eq!(two.read().unwrap().len(), READ_STEP);
        let again = store.hash(&key).unwrap();
        assert_eq!(again, (Digest::of("x".repeat(READ_STEP + 1).as_bytes()), READ_STEP as u64 + 1));
        assert_eq!(two.read().unwrap(), b"x");
    }
}
