//! An archive on a local disk, and the one way by which a job gets into it.
//!
//! [`LocalStore::commit`] is a protocol; its steps, in this order, are what makes a visible record true after a kill
//! or a power cut at any moment:
//!
//! 1. the job's folder is made where it is new, opened without following links, and locked;
//! 2. the record is read again: if it is no longer the one that the caller saw, the commit ends here as a conflict;
//! 3. the new record is staged and synced, so that a full disk shows before a proven file leaves the staging area;
//! 4. each proven file, synced when it was proven, is renamed to its key, and the folder is synced;
//! 5. the new record is renamed over the old one, and the folder is synced; where the old one named no file the
//!    archive's root is synced too, since nobody knows whether whoever made the folder came so far;
//! 6. files that only the old record named are removed, if the new one is complete and has another for their output:
//!    until then what an archive once had is not thrown away.
//!
//! A record is synced if it or the one before it names a file. The others (notes of pending, failed and gone jobs) are
//! swapped in atomically but not synced: losing one costs a question to the API.

mod inspect;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, Entry, write_all};
use super::look::{Found, Version, dropped, written};
use super::staging::{Proven, Staging, create_over, ensure_folder, remove_if_there};
use super::{StoreError, at, ctx, no_room};
use crate::job::JobRef;
use crate::layout::{self, Key, MANIFEST_NAME};
use crate::manifest::{FileRecord, MANIFEST_MAX, Manifest};
use crate::sha256::{Digest, Sha256};
pub use inspect::Contents;

/// An archive on a local disk.
#[derive(Debug)]
pub struct LocalStore<D: Disk> {
    disk: D,
    root: Arc<D::Folder>,
    root_sync: SharedSync,
    place: String,
    sync: bool,
}

/// A sync that many wait for and one does: it covers whatever was done before it began.
#[derive(Debug, Default)]
struct SharedSync {
    asked: AtomicU64,
    /// How many of those who asked are covered.
    covered: Mutex<u64>,
}

impl SharedSync {
    /// Returns after a sync that began after this call did. One that failed covers nobody: each who waited for it finds
    /// out for himself.
    fn covering<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let own = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if *covered < own {
            let all = self.asked.load(Ordering::SeqCst);
            sync()?;
            *covered = all;
        }
        Ok(())
    }
}

impl<D: Disk> LocalStore<D> {
    /// Opens the archive at this path, making the folder where it is not there.
    pub fn create(disk: D, path: &Path, sync: bool) -> Result<Self, StoreError> {
        ensure_root(&disk, path, sync)?;
        Self::open(disk, path, sync)
    }

    /// Opens the archive at this path, which must be a folder.
    pub fn open(disk: D, path: &Path, sync: bool) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        let root = disk.open_root(path).map_err(ctx("opening", &place))?;
        Ok(Self { disk, root: Arc::new(root), root_sync: SharedSync::default(), place, sync })
    }

    /// What the archive is called.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Opens and locks the staging area; see [`Staging::open`].
    pub fn staging(&self) -> Result<Staging<D>, StoreError> {
        Staging::open(self.disk.clone(), &self.root, &self.place, self.sync)
    }

    /// Reads a job's record. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] where the folder belongs to another job, [`StoreError::Newer`] where a newer vfetch
    /// wrote it, [`StoreError::Io`] where the disk refuses. A damaged record is no error: see [`Found::Damaged`].
    pub fn look(&self, job: &JobRef) -> Result<Found, StoreError> {
        match self.folder_of(job)? {
            Some(folder) => self.look_in(&folder, job, &self.place_of(&Key::manifest(job))),
            None => Ok(Found::Nothing),
        }
    }

    /// Which of a record's files are there with their size, in its order. Blocks.
    pub fn present(&self, job: &JobRef, manifest: &Manifest) -> Result<Vec<bool>, StoreError> {
        match self.folder_of(job)? {
            Some(folder) => self.present_in(&folder, job, manifest),
            None => Ok(vec![false; manifest.files.len()]),
        }
    }

    /// Reads a job's record as [`Self::look`] does, and says which of its files are there, as [`Self::present`].
    pub fn look_through(&self, job: &JobRef) -> Result<(Found, Vec<bool>), StoreError> {
        let Some(folder) = self.folder_of(job)? else { return Ok((Found::Nothing, Vec::new())) };
        let found = self.look_in(&folder, job, &self.place_of(&Key::manifest(job)))?;
        let present = match &found {
            Found::Record(manifest, _) => self.present_in(&folder, job, manifest)?,
            Found::Nothing | Found::Damaged { .. } => Vec::new(),
        };
        Ok((found, present))
    }

    /// The digest of an archived file's bytes, and how many there are. Blocks for as long as reading it takes.
    pub fn hash(&self, key: &Key) -> Result<(Digest, u64), StoreError> {
        let (mut contents, mut hasher) = (self.contents(key)?, Sha256::default());
        loop {
            match contents.read()? {
                [] => return Ok((hasher.digest(), hasher.bytes())),
                bytes => hasher.update(bytes),
            }
        }
    }

    /// Makes these files and this record the job's, in place of the record that `replaces` names. Blocks.
    ///
    /// May be called again after a failure: what was renamed then is not named by any record and is written over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the record is no longer that one, [`StoreError::Unfit`] where the new one could
    /// not be read again, [`StoreError::Full`] where there is no room; the others as [`LocalStore::look`].
    pub fn commit(
        &self,
        staging: &Staging<D>,
        job: &JobRef,
        files: &[(Proven<D>, Key)],
        manifest: &Manifest,
        replaces: Option<Version>,
    ) -> Result<Version, StoreError> {
        let key = Key::manifest(job);
        let (place, record_place) = (at(&self.place, key.folder()), self.place_of(&key));
        staging.is_sure().map_err(ctx("committing to", &place))?;
        let bytes = written(job, manifest, &record_place)?;
        self.make_folder(key.folder())?;
        let folder = self.disk.open_folder(&self.root, key.folder()).map_err(ctx("opening", &place))?;
        self.disk.lock_folder(&folder).map_err(ctx("locking", &place))?;
        let before = self.look_in(&folder, job, &record_place)?;
        if before.version() != replaces {
            return Err(StoreError::Conflict { place });
        }
        let named_before = matches!(&before, Found::Record(before, _) if !before.files.is_empty());
        let lasting = self.sync && (named_before || !manifest.files.is_empty());
        let staged = self.stage_record(staging, &record_place, &bytes, lasting)?;
        let swapped = self.swap(staging, &folder, files, &staged, &key, lasting);
        if swapped.is_err() {
            let _ = remove_if_there(&self.disk, staging.folder(), &staged);
        }
        swapped?;
        if lasting && !named_before {
            self.root_sync.covering(|| {
                staging.is_sure().map_err(ctx("committing to", &place))?;
                staging
                    .synced(&self.place, self.disk.sync_folder(&self.root))
                    .map_err(ctx("syncing", &self.place))
            })?;
            // Whoever shared another's sync has not asked yet whether one has failed since.
            staging.is_sure().map_err(ctx("committing to", &place))?;
        }
        for key in dropped(job, &before, manifest) {
            remove_if_there(&self.disk, &folder, key.name())
                .map_err(ctx("removing", &self.place_of(&key)))?;
        }
        Ok(Version(Digest::of(&bytes)))
    }

    fn make_folder(&self, name: &str) -> Result<(), StoreError> {
        match self.disk.make_folder(&self.root, name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(no_room(&self.disk, &self.root, "creating", &at(&self.place, name), None, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the record to the staging area; its name there.
    fn stage_record(
        &self,
        staging: &Staging<D>,
        place: &str,
        bytes: &[u8],
        lasting: bool,
    ) -> Result<String, StoreError> {
        let (disk, folder, name) = (&self.disk, staging.folder(), staging.record_name());
        let written = create_over(disk, folder, &name).and_then(|file| {
            write_all(disk, &file, bytes)?;
            if lasting { staging.synced(place, disk.sync_file(&file)) } else { Ok(()) }
        });
        written.map_err(|error| {
            let _ = remove_if_there(disk, folder, &name);
            no_room(disk, folder, "writing", place, Some(bytes.len() as u64), error)
        })?;
        Ok(name)
    }

    /// Gives the files their names, and then the record.
    fn swap(
        &self,
        staging: &Staging<D>,
        folder: &D::Folder,
        files: &[(Proven<D>, Key)],
        staged: &str,
        key: &Key,
        lasting: bool,
    ) -> Result<(), StoreError> {
        let place = at(&self.place, key.folder());
        let sync = || {
            if !lasting {
                return Ok(());
            }
            staging.synced(&place, self.disk.sync_folder(folder)).map_err(ctx("syncing", &place))
        };
        for (proven, key) in files {
            let refused =
                |error| no_room(&self.disk, folder, "renaming to", &self.place_of(key), None, error);
            proven.publish(folder, key.name()).map_err(refused)?;
        }
        if !files.is_empty() {
            sync()?;
        }
        self.disk
            .rename(staging.folder(), staged, folder, MANIFEST_NAME)
            .map_err(|error| no_room(&self.disk, folder, "writing", &self.place_of(key), None, error))?;
        sync()
    }

    fn folder_of(&self, job: &JobRef) -> Result<Option<D::Folder>, StoreError> {
        let name = layout::folder(job);
        match self.disk.open_folder(&self.root, &name) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ctx("opening", &at(&self.place, &name))(error)),
        }
    }

    fn present_in(
        &self,
        folder: &D::Folder,
        job: &JobRef,
        manifest: &Manifest,
    ) -> Result<Vec<bool>, StoreError> {
        let present = |file: &FileRecord| {
            let Some(key) = Key::recorded(job, &file.path) else { return Ok(false) };
            let entry = self.disk.entry(folder, key.name());
            let entry = entry.map_err(|error| ctx("looking at", &self.place_of(&key))(error))?;
            Ok(entry == Some(Entry::File(file.bytes)))
        };
        manifest.files.iter().map(present).collect()
    }

    fn look_in(&self, folder: &D::Folder, job: &JobRef, place: &str) -> Result<Found, StoreError> {
        let file = match self.disk.open_to_read(folder, MANIFEST_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(ctx("opening", place)(error)),
        };
        let bytes = read_all(&self.disk, &file).map_err(ctx("reading", place))?;
        Found::of(job, &bytes, place)
    }

    fn place_of(&self, key: &Key) -> String {
        at(&at(&self.place, key.folder()), key.name())
    }
}

/// Makes the folder at this path and those above it where they are not there, and syncs what it changed.
fn ensure_root<D: Disk>(disk: &D, path: &Path, sync: bool) -> Result<(), StoreError> {
    if disk.open_root(path).is_ok() {
        return Ok(());
    }
    let place = path.display().to_string();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else {
        return disk.open_root(path).map(drop).map_err(ctx("opening", &place));
    };
    let Some(name) = name.to_str() else {
        let why = "the name of a new folder has to be UTF-8; a folder that is there may have any name".into();
        return Err(StoreError::BadPlace { place, why });
    };
    ensure_root(disk, parent, sync)?;
    let above = disk.open_root(parent).map_err(ctx("opening", &parent.display().to_string()))?;
    ensure_folder(disk, &above, name).map_err(ctx("creating", &place))?;
    let synced = if sync { disk.sync_folder(&above) } else { Ok(()) };
    synced.map_err(ctx("syncing", &parent.display().to_string()))
}

/// The file's bytes. Of one that is too large for a record it gives only the first, which then are none.
fn read_all<D: Disk>(disk: &D, file: &D::File) -> io::Result<Vec<u8>> {
    // One byte more than a record may have shows that it is none.
    let length = disk.len(file)?.min(MANIFEST_MAX + 1);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match disk.read_at(file, filled as u64, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_asks_while_a_sync_is_under_way_waits_for_the_next_and_shares_it() {
        let shared = SharedSync::default();
        let syncs = AtomicU64::new(0);
        let ((entered, first_is_in), (let_go, gate)) = (channel(), channel::<()>());
        std::thread::scope(|scope| {
            let (shared, syncs) = (&shared, &syncs);
            scope.spawn(move || {
                shared.covering(|| {
                    syncs.fetch_add(1, Ordering::SeqCst);
                    entered.send(()).expect("somebody listens");
                    gate.recv().map_err(drop)
                })
            });
            first_is_in.recv().expect("it began");
            for _ in 0..8 {
                scope.spawn(|| {
                    shared.covering(|| {
                        syncs.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, ()>(())
                    })
                });
            }
            while shared.asked.load(Ordering::SeqCst) < 9 {
                std::thread::yield_now();
            }
            let_go.send(()).expect("it waits");
        });
        assert_eq!(
            syncs.load(Ordering::SeqCst),
            2,
            "the first covers none of the others, the second all of them"
        );
    }

    #[test]
    fn a_shared_sync_that_failed_covers_nobody() {
        let shared = SharedSync::default();
        assert_eq!(shared.covering(|| Err("the disk is gone")), Err("the disk is gone"));
        let mut asked = false;
        let second = shared.covering(|| {
            asked = true;
            Err("nothing is sure any more")
        });
        assert_eq!((second, asked), (Err("nothing is sure any more"), true));
    }
}
