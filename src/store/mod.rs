//! Where jobs are kept: staged on a local disk, proven, committed.
//!
//! The order of things is in [`local`]; what makes a commit survive a power cut rests on [`disk`] alone.

pub mod disk;
pub mod local;
pub mod staging;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{Digest, Manifest};
use disk::{Disk, RealDisk};
use local::LocalStore;

/// Commits that run at once: their syncs then group in the kernel, and more bring nothing.
const COMMITS: usize = 16;

/// The staging area of a run.
pub type Staging = staging::Staging<RealDisk>;
/// A file that is being written.
pub type Partial = staging::Partial<RealDisk>;
/// A whole file that waits to be committed.
pub type Proven = staging::Proven<RealDisk>;

/// Why the archive could not be used. Each names the place.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{doing} {place}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk, the quota or the limit on file sizes has no room for it.
    #[error("{doing} {place}: {source}{}", shortage(*needed, *free))]
    Full {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: String,
        /// How many bytes more it wanted at least, where that is known.
        needed: Option<u64>,
        /// How many the disk still has; `None` where it is not the disk that refuses.
        free: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The record that was to be committed is none that could be read again.
    #[error("{place} cannot be recorded: {why}")]
    Unfit {
        /// The record.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another process is writing here.
    #[error("{place} is locked: another vfetch{} is writing to this archive", holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Busy {
        /// The lock.
        place: String,
        /// Its holder's process number, where it can be read.
        holder: Option<u32>,
    },
    /// The record changed since it was read.
    #[error("{place}: another process has changed the record meanwhile")]
    Conflict {
        /// The job's folder.
        place: String,
    },
    /// The folder belongs to another job.
    #[error("{place} belongs to {holds}, not to {asked}; use another output folder for one of them")]
    Foreign {
        /// The record.
        place: String,
        /// The job that was asked for.
        asked: String,
        /// The job that it holds.
        holds: String,
    },
    /// A newer vfetch wrote the record.
    #[error("{place} was written by a newer vfetch (version {version} of the format) and is left alone")]
    Newer {
        /// The record.
        place: String,
        /// Its version.
        version: u64,
    },
}

/// What is known of a job.
#[derive(Clone, Debug)]
pub enum Found {
    /// There is no record.
    Nothing,
    /// There is one that cannot be read; it counts as none, and the next commit replaces it.
    Damaged {
        /// What is wrong with it, and where it is.
        why: String,
        /// Its version, for the swap.
        version: Version,
    },
    /// The record, and its version for the swap.
    Record(Box<Manifest>, Version),
}

impl Found {
    /// The version that a commit replaces.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Nothing => None,
            Self::Damaged { version, .. } | Self::Record(_, version) => Some(*version),
        }
    }
}

/// Which content of a record was read: a commit replaces this one or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(Digest);

/// An archive.
#[derive(Clone, Debug)]
pub struct Store {
    local: Arc<LocalStore<RealDisk>>,
    commits: Arc<Semaphore>,
}

impl Store {
    /// Opens the archive at a path, making the folder where it is not there.
    ///
    /// `sync` false leaves out every sync: faster, and not safe against a power cut.
    pub fn create(path: &Path, sync: bool) -> Result<Self, StoreError> {
        let local = LocalStore::create(RealDisk, path, sync)?;
        Ok(Self { local: Arc::new(local), commits: Arc::new(Semaphore::new(COMMITS)) })
    }

    /// Opens and locks the staging area; the archive has one writer at a time.
    pub fn staging(&self) -> Result<Staging, StoreError> {
        self.local.staging()
    }

    /// The archive on the local disk, for calls that block.
    #[must_use]
    pub fn local(&self) -> &LocalStore<RealDisk> {
        &self.local
    }

    /// Commits a job; see [`LocalStore::commit`].
    pub async fn commit(
        &self,
        staging: &Arc<Staging>,
        job: &JobRef,
        files: Vec<(Proven, Key)>,
        manifest: Manifest,
        replaces: Option<Version>,
    ) -> Result<(Manifest, Version), StoreError> {
        let (local, staging, job) = (Arc::clone(&self.local), Arc::clone(staging), job.clone());
        self.blocking(move || {
            let version = local.commit(&staging, &job, &files, &manifest, replaces)?;
            Ok((manifest, version))
        })
        .await
    }

    /// Calls a file whole and right; see [`staging::Partial::prove`].
    pub async fn prove(&self, partial: Partial, digest: Digest, bytes: u64) -> Result<Proven, StoreError> {
        self.blocking(move || partial.prove(digest, bytes)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || ctx("committing to", "the archive")(io::Error::other("the run is being stopped"));
        let Ok(_permit) = self.commits.acquire().await else { return Err(stopped()) };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(stopped()),
        }
    }
}

fn ctx(doing: &'static str, place: &str) -> impl FnOnce(io::Error) -> StoreError {
    let place = place.to_owned();
    move |source| StoreError::Io { doing, place, source }
}

/// A refusal of the disk, with how much was missing where it is full.
fn no_room<D: Disk>(
    disk: &D,
    folder: &D::Folder,
    doing: &'static str,
    place: &str,
    needed: Option<u64>,
    source: io::Error,
) -> StoreError {
    let free = match source.kind() {
        io::ErrorKind::StorageFull => disk.free_bytes(folder).ok(),
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => None,
        _ => return ctx(doing, place)(source),
    };
    StoreError::Full { doing, place: place.into(), needed, free, source }
}

fn shortage(needed: Option<u64>, free: Option<u64>) -> String {
    let needed = needed.map(|bytes| format!("{} more needed", amount(bytes)));
    let free = free.map(|bytes| format!("{} free", amount(bytes)));
    let known: Vec<String> = [needed, free].into_iter().flatten().collect();
    if known.is_empty() { String::new() } else { format!("; {}", known.join(", ")) }
}

fn amount(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < MIB { format!("{bytes} bytes") } else { format!("{:.1} MiB", bytes as f64 / MIB as f64) }
}

fn at(place: &str, name: &str) -> String {
    if place.ends_with('/') { format!("{place}{name}") } else { format!("{place}/{name}") }
}
