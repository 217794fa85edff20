//! An archive on a local disk, and the one way by which a job gets into it.
//!
//! [`LocalStore::commit`] is a protocol; its steps, in this order, are what makes a visible record true after a kill
//! or a power cut at any moment:
//!
//! 1. the job's folder is made where it is new, opened without following links, and locked;
//! 2. the record is read again: if it is no longer the one that the caller saw, the commit ends here as a conflict;
//! 3. each proven file, synced when it was proven, is renamed to its key, and the folder is synced;
//! 4. the new record is staged, synced and renamed over the old one, and the folder is synced, and the archive's root
//!    too where the folder is new;
//! 5. files that only the old record named are removed.
//!
//! A record that neither adds nor drops files (pending, failed, gone) is swapped atomically but not synced: losing it
//! costs a question to the API.

mod inspect;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, Entry};
use super::look::{Found, Version};
use super::staging::{Proven, Staging, ensure_folder, remove_if_there};
use super::{StoreError, at, ctx};
use crate::job::JobRef;
use crate::layout::{self, Key, MANIFEST_NAME};
use crate::manifest::{Digest, FileRecord, MANIFEST_MAX, Manifest};

/// An archive on a local disk.
#[derive(Debug)]
pub struct LocalStore<D: Disk> {
    disk: D,
    root: Arc<D::Folder>,
    place: String,
    sync: bool,
    staged: AtomicU64,
}

impl<D: Disk> LocalStore<D> {
    /// Opens the archive at this path, which must be a folder.
    pub fn open(disk: D, path: &Path, sync: bool) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        let root = disk.open_root(path).map_err(ctx("opening", &place))?;
        Ok(Self { disk, root: Arc::new(root), place, sync, staged: AtomicU64::new(0) })
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
        let key = Key::manifest(job);
        let place = self.place_of(&key);
        match self.disk.open_folder(&self.root, key.folder()) {
            Ok(folder) => self.look_in(&folder, job, &place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(ctx("opening", &at(&self.place, key.folder()))(error)),
        }
    }

    /// Which of a record's files are there with their size, in its order. Blocks.
    pub fn present(&self, job: &JobRef, manifest: &Manifest) -> Result<Vec<bool>, StoreError> {
        let folder_name = layout::folder(job);
        let folder = match self.disk.open_folder(&self.root, &folder_name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(vec![false; manifest.files.len()]);
            }
            Err(error) => return Err(ctx("opening", &at(&self.place, &folder_name))(error)),
        };
        let present = |file: &FileRecord| {
            let Some(key) = Key::recorded(job, &file.path) else { return Ok(false) };
            let entry =
                self.disk.entry(&folder, key.name()).map_err(ctx("looking at", &self.place_of(&key)))?;
            Ok(entry == Some(Entry::File(file.bytes)))
        };
        manifest.files.iter().map(present).collect()
    }

    /// The digest of an archived file's bytes, and how many there are. Blocks for as long as reading it takes.
    pub fn hash(&self, key: &Key) -> Result<(Digest, u64), StoreError> {
        use sha2::{Digest as _, Sha256};
        let mut hasher = Sha256::new();
        let bytes = self.read(key, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok((Digest::finish(hasher), bytes))
    }

    /// Makes these files and this record the job's, in place of the record that `replaces` names. Blocks.
    ///
    /// May be called again after a failure: what was renamed then is not named by any record and is written over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the record is no longer that one; the others as [`LocalStore::look`].
    pub fn commit(
        &self,
        staging: &Staging<D>,
        job: &JobRef,
        files: &[(Proven<D>, Key)],
        manifest: &Manifest,
        replaces: Option<Version>,
    ) -> Result<Version, StoreError> {
        let key = Key::manifest(job);
        let place = at(&self.place, key.folder());
        let is_new = self.make_folder(key.folder())?;
        let folder = self.disk.open_folder(&self.root, key.folder()).map_err(ctx("opening", &place))?;
        self.disk.lock_folder(&folder).map_err(ctx("locking", &place))?;
        let before = self.look_in(&folder, job, &self.place_of(&key))?;
        if before.version() != replaces {
            return Err(StoreError::Conflict { place });
        }
        let dropped = dropped(&before, manifest);
        let lasting = self.sync && (!files.is_empty() || !dropped.is_empty());
        for (proven, key) in files {
            let to = self.place_of(key);
            self.disk
                .rename(&proven.folder, &proven.name, &folder, key.name())
                .map_err(ctx("renaming to", &to))?;
        }
        if lasting && !files.is_empty() {
            self.disk.sync_folder(&folder).map_err(ctx("syncing", &place))?;
        }
        let version = self.swap_manifest(staging, &folder, &key, manifest, lasting)?;
        if lasting {
            self.disk.sync_folder(&folder).map_err(ctx("syncing", &place))?;
            if is_new {
                self.disk.sync_folder(&self.root).map_err(ctx("syncing", &self.place))?;
            }
        }
        for name in dropped {
            remove_if_there(&self.disk, &folder, &name).map_err(ctx("removing", &at(&place, &name)))?;
        }
        Ok(version)
    }

    fn make_folder(&self, name: &str) -> Result<bool, StoreError> {
        match self.disk.make_folder(&self.root, name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(ctx("creating", &at(&self.place, name))(error)),
        }
    }

    fn swap_manifest(
        &self,
        staging: &Staging<D>,
        folder: &D::Folder,
        key: &Key,
        manifest: &Manifest,
        lasting: bool,
    ) -> Result<Version, StoreError> {
        let place = self.place_of(key);
        let bytes = manifest.to_bytes();
        let staged = format!("manifest-{}.new", self.staged.fetch_add(1, Ordering::Relaxed));
        let written = (|| {
            remove_if_there(&self.disk, staging.folder(), &staged)?;
            let file = self.disk.create_new(staging.folder(), &staged)?;
            write_all(&self.disk, &file, &bytes)?;
            if lasting { self.disk.sync_file(&file) } else { Ok(()) }
        })();
        let swapped =
            written.and_then(|()| self.disk.rename(staging.folder(), &staged, folder, MANIFEST_NAME));
        if let Err(error) = swapped {
            let _ = self.disk.unlink(staging.folder(), &staged);
            return Err(ctx("writing", &place)(error));
        }
        Ok(Version(Digest::of(&bytes)))
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
pub(super) fn ensure_root<D: Disk>(disk: &D, path: &Path) -> Result<(), StoreError> {
    if disk.open_root(path).is_ok() {
        return Ok(());
    }
    let place = path.display().to_string();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return disk.open_root(path).map(drop).map_err(ctx("opening", &place));
    };
    ensure_root(disk, parent)?;
    let above = disk.open_root(parent).map_err(ctx("opening", &parent.display().to_string()))?;
    ensure_folder(disk, &above, name).map_err(ctx("creating", &place))?;
    disk.sync_folder(&above).map_err(ctx("syncing", &parent.display().to_string()))
}

/// Names that the old record has and the new one has not.
fn dropped(before: &Found, manifest: &Manifest) -> Vec<String> {
    let Found::Record(before, _) = before else { return Vec::new() };
    let names = before.files.iter().map(|file| &file.path);
    names.filter(|name| !manifest.files.iter().any(|file| file.path == **name)).cloned().collect()
}

fn write_all<D: Disk>(disk: &D, file: &D::File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match disk.write_at(file, written as u64, &bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_all<D: Disk>(disk: &D, file: &D::File) -> io::Result<Vec<u8>> {
    let length = disk.len(file)?;
    if length > MANIFEST_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a record"));
    }
    // One byte more than the file has, so that its end is seen.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0) + 1];
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
