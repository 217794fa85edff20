//! Where jobs are kept: staged on a local disk, proven, committed.
//!
//! An archive is a folder or lies in a bucket. The order of things is in [`local`] and in [`remote`]; what makes a commit
//! to a folder survive a power cut rests on [`disk`] alone. [`look`] tells what a record's bytes say.
//!
//! What reads an archive blocks, and is called from threads that may; what writes to it is awaited.

pub mod disk;
mod error;
pub mod local;
pub mod look;
pub mod remote;
mod short;
pub mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::Manifest;
use crate::sha256::{self, Digest};
pub use disk::Entry;
use disk::RealDisk;
pub use error::StoreError;
use error::{at, ctx, no_room};
use local::LocalStore;
pub use look::{Found, Leftover, LeftoverKind, Record, Version};
use remote::{Place, RemoteStore};
use short::Short;

/// Commits to a folder that run at once: their syncs then group in the kernel, and more bring nothing.
const COMMITS: usize = 16;
/// Commits to a bucket that run at once: each waits for answers most of the time.
const REMOTE_COMMITS: usize = 64;
/// Threads that read from a bucket at once, for the same reason.
const REMOTE_READERS: usize = 64;

/// The staging area of a run.
pub type Staging = staging::Staging<RealDisk>;
/// A file that is being written.
pub type Partial = staging::Partial<RealDisk>;
/// A whole file that waits to be committed.
pub type Proven = staging::Proven<RealDisk>;

/// Names of folders, as they are read.
pub type Folders = Box<dyn Iterator<Item = Result<String, StoreError>> + Send>;

/// An archived file that is being read, from its first byte to its last.
pub enum Contents<'a> {
    /// From a disk.
    Local(local::Contents<'a, RealDisk>),
    /// From a bucket.
    Remote(remote::Contents<'a>),
}

impl Contents<'_> {
    /// The next bytes; none at the end. Blocks.
    ///
    /// # Errors
    /// Where the disk or the bucket refuses.
    pub fn read(&mut self) -> Result<&[u8], StoreError> {
        match self {
            Self::Local(contents) => contents.read(),
            Self::Remote(contents) => contents.read(),
        }
    }
}

/// Whether an archive is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It is made where it is not there: for what brings jobs home.
    Create,
    /// It must be there: for what looks at it.
    Existing,
}

/// An archive.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Inner,
    commits: Arc<Semaphore>,
    short: Arc<Short>,
}

#[derive(Clone, Debug)]
enum Inner {
    Local(Arc<LocalStore<RealDisk>>),
    Remote(Arc<RemoteStore>),
}

impl Store {
    /// Opens the archive at a path or an address: `out`, `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///…`.
    ///
    /// `sync` false leaves out every sync: faster, and not safe against a power cut.
    ///
    /// # Errors
    /// [`StoreError::BadPlace`] where the address or the environment will not do; [`StoreError::NoArchive`] where it
    /// must exist and does not; [`StoreError::Io`] where the disk refuses, [`StoreError::Remote`] where the store does.
    pub fn open(place: &str, mode: Open, sync: bool) -> Result<Self, StoreError> {
        match (Place::of(place)?, mode) {
            (Place::Folder(path), Open::Create) => Self::create(&path, sync),
            (Place::Folder(path), Open::Existing) => Self::existing(&path, sync),
            (Place::Bucket(address), Open::Create) => Ok(Self::remote(RemoteStore::open(&address)?)),
            (Place::Bucket(address), Open::Existing) => {
                let store = RemoteStore::open(&address)?;
                if store.is_archive()? {
                    Ok(Self::remote(store))
                } else {
                    Err(StoreError::NoArchive { place: place.into(), why: "nothing there belongs to a job" })
                }
            }
        }
    }

    /// The archive in a bucket that is open already.
    #[must_use]
    pub fn remote(store: RemoteStore) -> Self {
        Self::of(Inner::Remote(Arc::new(store)), REMOTE_COMMITS)
    }

    /// Opens the archive at a path, making the folder where it is not there.
    pub fn create(path: &Path, sync: bool) -> Result<Self, StoreError> {
        Ok(Self::local(LocalStore::create(RealDisk, path, sync)?))
    }

    /// Opens the archive at a path, which must be there.
    ///
    /// # Errors
    /// [`StoreError::NoArchive`] where it is not; [`StoreError::Io`] where the disk refuses.
    pub fn existing(path: &Path, sync: bool) -> Result<Self, StoreError> {
        let none = |why| StoreError::NoArchive { place: path.display().to_string(), why };
        let local = match LocalStore::open(RealDisk, path, sync) {
            Ok(local) => local,
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(none("there is no such folder"));
            }
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                return Err(none("it is not a folder"));
            }
            Err(error) => return Err(error),
        };
        if !local.is_archive()? {
            return Err(none("the folder holds no job"));
        }
        Ok(Self::local(local))
    }

    fn local(store: LocalStore<RealDisk>) -> Self {
        Self::of(Inner::Local(Arc::new(store)), COMMITS)
    }

    fn of(inner: Inner, commits: usize) -> Self {
        Self { inner, commits: Arc::new(Semaphore::new(commits)), short: Arc::default() }
    }

    /// Whether an archive at this place stages its parts in itself, as folders do, and not beside, as buckets need it.
    ///
    /// # Errors
    /// [`StoreError::BadPlace`] where the address will not do.
    pub fn stages_in_itself(place: &str) -> Result<bool, StoreError> {
        Ok(matches!(Place::of(place)?, Place::Folder(_)))
    }

    /// Stages parts for a bucket in this folder instead of the user's cache. An archive that stages in itself goes on so.
    pub fn stage_in(&self, folder: PathBuf) {
        match &self.inner {
            Inner::Local(_) => {}
            Inner::Remote(remote) => remote.stage_in(folder),
        }
    }

    /// Opens and locks the staging area; on one machine the archive has one writer at a time.
    pub fn staging(&self) -> Result<Staging, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.staging(),
            Inner::Remote(remote) => remote.staging(),
        }
    }

    /// How many threads that read keep the archive busy.
    #[must_use]
    pub fn readers(&self) -> usize {
        match &self.inner {
            Inner::Local(_) => std::thread::available_parallelism().map_or(2, usize::from),
            Inner::Remote(_) => REMOTE_READERS,
        }
    }

    /// How many files a thread that hashes should have open: several streams of a disk's bytes can be taken in turn,
    /// while a bucket's come too slowly for that to matter.
    #[must_use]
    pub fn streams(&self) -> usize {
        match &self.inner {
            Inner::Local(_) => sha256::STREAMS,
            Inner::Remote(_) => 1,
        }
    }

    /// Reads a job's record. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] where the folder belongs to another job, [`StoreError::Newer`] where a newer vfetch
    /// wrote it, [`StoreError::Io`] where the disk refuses. A damaged record is no error: see [`Found::Damaged`].
    pub fn look(&self, job: &JobRef) -> Result<Found, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.look(job),
            Inner::Remote(remote) => remote.look(job),
        }
    }

    /// Which of a record's files are there with their size, in its order. Blocks.
    pub fn present(&self, job: &JobRef, manifest: &Manifest) -> Result<Vec<bool>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.present(job, manifest),
            Inner::Remote(remote) => remote.present(job, manifest),
        }
    }

    /// Reads a job's record as [`Self::look`] does, and says which of its files are there, as [`Self::present`]. Blocks.
    pub fn look_through(&self, job: &JobRef) -> Result<(Found, Vec<bool>), StoreError> {
        match &self.inner {
            Inner::Local(local) => local.look_through(job),
            Inner::Remote(remote) => remote.look_through(job),
        }
    }

    /// The digest of an archived file's bytes, and how many there are. Blocks for as long as reading it takes.
    pub fn hash(&self, key: &Key) -> Result<(Digest, u64), StoreError> {
        match &self.inner {
            Inner::Local(local) => local.hash(key),
            Inner::Remote(remote) => remote.hash(key),
        }
    }

    /// Opens an archived file to read its bytes. Blocks.
    pub fn contents(&self, key: &Key) -> Result<Contents<'_>, StoreError> {
        Ok(match &self.inner {
            Inner::Local(local) => Contents::Local(local.contents(key)?),
            Inner::Remote(remote) => Contents::Remote(remote.contents(key)?),
        })
    }

    /// What an earlier run noted under this name; `None` where it noted nothing. Blocks. Notes save time and decide nothing.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.note(name),
            Inner::Remote(remote) => remote.note(name),
        }
    }

    /// Notes something for a later run. Blocks.
    ///
    /// The staging area shows that the caller is the archive's one writer.
    pub fn keep_note(&self, _staging: &Staging, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Local(local) => local.keep_note(name, bytes),
            Inner::Remote(remote) => remote.keep_note(name, bytes),
        }
    }

    /// The names at the root that may be job folders, in no order, as they are read: never a list in memory. Blocks.
    pub fn folders(&self) -> Result<Folders, StoreError> {
        match &self.inner {
            Inner::Local(local) => Ok(Box::new(local.folders()?)),
            Inner::Remote(remote) => remote.folders(),
        }
    }

    /// The record in a folder, whoever it belongs to. Blocks for one small read.
    pub fn record_in(&self, folder: &str) -> Result<Record, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.record_in(folder),
            Inner::Remote(remote) => remote.record_in(folder),
        }
    }

    /// What lies in a folder, in no order, the record included; links are not followed. Blocks.
    pub fn names(&self, folder: &str) -> Result<Vec<(String, Entry)>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.names(folder),
            Inner::Remote(remote) => remote.names(folder),
        }
    }

    /// Waits until no commit is under way in a folder, as far as the store can tell. Blocks.
    pub fn settle(&self, folder: &str) {
        match &self.inner {
            Inner::Local(local) => local.settle(folder),
            // Whoever commits is on another machine, or in another process: the record alone tells.
            Inner::Remote(_) => {}
        }
    }

    /// Whether other machines may commit at the same time: the lock of a staging area keeps out those of this one only.
    #[must_use]
    pub fn has_other_writers(&self) -> bool {
        matches!(self.inner, Inner::Remote(_))
    }

    /// What lies in the private folder: parts of unfinished downloads, and files that were put aside. Blocks.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.leftovers(),
            Inner::Remote(remote) => remote.leftovers(),
        }
    }

    /// The jobs of which parts are here that a run can go on with, each once. Blocks.
    pub fn part_jobs(&self) -> Result<Vec<JobRef>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.part_jobs(),
            Inner::Remote(remote) => remote.part_jobs(),
        }
    }

    /// Moves what has this name in a job's folder into the quarantine, never over something else; says where it is now,
    /// below the root, or `None` where there was nothing to move. Blocks.
    ///
    /// The staging area shows that the caller is the archive's one writer.
    pub fn put_aside(
        &self,
        staging: &Staging,
        folder: &str,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        match &self.inner {
            Inner::Local(local) => local.put_aside(staging, folder, name),
            Inner::Remote(remote) => remote.put_aside(folder, name),
        }
    }

    /// Commits a job; see [`LocalStore::commit`] and [`RemoteStore::commit`]. The record that comes back is the one that
    /// is visible now: in a bucket a file may have got another name than the one that was asked for.
    pub async fn commit(
        &self,
        staging: &Arc<Staging>,
        job: &JobRef,
        files: Vec<(Proven, Key)>,
        manifest: Manifest,
        replaces: Option<Version>,
    ) -> Result<(Manifest, Version), StoreError> {
        match &self.inner {
            Inner::Local(local) => {
                let (local, staging, job) = (Arc::clone(local), Arc::clone(staging), job.clone());
                self.blocking(move || {
                    let version = local.commit(&staging, &job, &files, &manifest, replaces)?;
                    Ok((manifest, version))
                })
                .await
            }
            Inner::Remote(remote) => {
                let Ok(_permit) = self.commits.acquire().await else { return Err(stopped()) };
                remote.commit(job, files, manifest, replaces).await
            }
        }
    }

    /// Calls a file whole and right; see [`staging::Partial::prove`].
    pub async fn prove(&self, partial: Partial, digest: Digest, bytes: u64) -> Result<Proven, StoreError> {
        self.blocking(move || partial.prove(digest, bytes)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.commits.acquire().await else { return Err(stopped()) };
        if self.short.is_expected() {
            return self.short.measure(work);
        }
        let short = Arc::clone(&self.short);
        match tokio::task::spawn_blocking(move || short.measure(work)).await {
            Ok(done) => done,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(stopped()),
        }
    }
}

fn stopped() -> StoreError {
    ctx("committing to", "the archive")(io::Error::other("the run is being stopped"))
}
