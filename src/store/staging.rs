//! Bytes on their way: written, read back, resumed and proven under `.vfetch/staging/`, always on a local disk.
//!
//! A part lives under a name made from its job and output, so that a killed run finds it again. Beside it a note says
//! which source it came from, with which validator, and holds a checkpoint: so many bytes with this digest. The note
//! is never synced and need not be: whoever resumes hashes the bytes up to the checkpoint again, and a part that a
//! power cut has torn does not match. Without a matching note a part is worth nothing and is written over.
//!
//! The folder belongs to one process at a time, which holds a kernel lock on a file in it; the process number inside
//! is for the message only.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::disk::Disk;
use super::{StoreError, at, ctx};
use crate::job::JobRef;
use crate::layout::{self, PRIVATE_FOLDER};
use crate::manifest::Digest;
use crate::plan::Part;

pub(super) const STAGING_FOLDER: &str = "staging";
pub(super) const LOCK_NAME: &str = "lock";
/// Parts are read back in steps of this size, in bytes.
const READ_STEP: usize = 256 * 1024;
/// A note that is longer than this is not one of ours.
const NOTE_MAX: usize = 64 * 1024;

/// The staging area of an archive, locked by this process.
#[derive(Debug)]
pub struct Staging<D: Disk> {
    disk: D,
    folder: Arc<D::Folder>,
    place: String,
    sync: bool,
    _lock: D::File,
}

impl<D: Disk> Staging<D> {
    /// Opens and locks the staging area below an archive's root, making it where it is not there.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where another process holds it; [`StoreError::Io`] where the disk refuses.
    pub fn open(disk: D, root: &D::Folder, place: &str, sync: bool) -> Result<Self, StoreError> {
        let private_place = at(place, PRIVATE_FOLDER);
        let private = ensure_folder(&disk, root, PRIVATE_FOLDER).map_err(ctx("opening", &private_place))?;
        let place = at(&private_place, STAGING_FOLDER);
        let folder = ensure_folder(&disk, &private, STAGING_FOLDER).map_err(ctx("opening", &place))?;
        let lock = lock(&disk, &folder, &at(&place, LOCK_NAME))?;
        sweep(&disk, &folder).map_err(ctx("sweeping", &place))?;
        Ok(Self { disk, folder: Arc::new(folder), place, sync, _lock: lock })
    }

    pub(super) fn folder(&self) -> &D::Folder {
        &self.folder
    }

    /// What an earlier attempt left of this output, with what its note says; `None` where there is nothing to go on.
    pub fn left_over(&self, job: &JobRef, output: usize) -> Option<Part> {
        let names = Names::of(job, output);
        let note = read_note(&self.disk, &self.folder, &names.note)?;
        let file = self.disk.open_to_read(&self.folder, &names.part).ok()?;
        let bytes = self.disk.len(&file).ok()?;
        let sound = note.job == job.fetch_url() && (1..=bytes).contains(&note.checkpoint.bytes);
        sound.then_some(Part {
            source: note.source,
            etag: note.etag,
            total: note.total,
            bytes: note.checkpoint.bytes,
        })
    }

    /// Begins a part at its first byte, in place of whatever was left.
    pub fn begin(&self, job: &JobRef, output: usize) -> Result<Partial<D>, StoreError> {
        let names = Names::of(job, output);
        let place = at(&self.place, &names.part);
        for name in [&names.note, &names.part] {
            remove_if_there(&self.disk, &self.folder, name)
                .map_err(ctx("removing", &at(&self.place, name)))?;
        }
        let file = self.disk.create_new(&self.folder, &names.part).map_err(ctx("creating", &place))?;
        Ok(self.partial(job, names, file, 0))
    }

    /// Takes up a part that an earlier process left, feeding its bytes to `again` as they are read and hashed.
    ///
    /// `None` where the bytes are no longer those of the note's checkpoint.
    pub fn resume(
        &self,
        job: &JobRef,
        output: usize,
        mut again: impl FnMut(&[u8]),
    ) -> Result<Option<(Partial<D>, Sha256)>, StoreError> {
        let names = Names::of(job, output);
        let Some(note) = read_note(&self.disk, &self.folder, &names.note) else { return Ok(None) };
        let place = at(&self.place, &names.part);
        let file = self.disk.open(&self.folder, &names.part).map_err(ctx("opening", &place))?;
        let mut partial = self.partial(job, names, file, 0);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; READ_STEP];
        while partial.bytes < note.checkpoint.bytes {
            let left =
                usize::try_from(note.checkpoint.bytes - partial.bytes).unwrap_or(READ_STEP).min(READ_STEP);
            let count =
                partial.read_at(partial.bytes, &mut buffer[..left]).map_err(ctx("reading", &place))?;
            if count == 0 {
                return Ok(None);
            }
            hasher.update(&buffer[..count]);
            again(&buffer[..count]);
            partial.bytes += count as u64;
        }
        let same = Digest::finish(hasher.clone()) == note.checkpoint.sha256;
        Ok(same.then_some((partial, hasher)))
    }

    /// Removes what is left of an output's part.
    pub fn discard(&self, job: &JobRef, output: usize) {
        let names = Names::of(job, output);
        for name in [&names.note, &names.part] {
            // What cannot be removed now is written over or swept later; it was never visible.
            let _ = remove_if_there(&self.disk, &self.folder, name);
        }
    }

    fn partial(&self, job: &JobRef, names: Names, file: D::File, bytes: u64) -> Partial<D> {
        let place = at(&self.place, &names.part);
        Partial {
            disk: self.disk.clone(),
            folder: Arc::clone(&self.folder),
            job: job.fetch_url(),
            names,
            place,
            file,
            bytes,
            sync: self.sync,
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Partial<D: Disk> {
    disk: D,
    folder: Arc<D::Folder>,
    job: String,
    names: Names,
    place: String,
    file: D::File,
    bytes: u64,
    sync: bool,
}

impl<D: Disk> Partial<D> {
    /// How many bytes were written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds bytes at the end. Blocks; an interrupted or short write goes on, every other error is final.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            match self.disk.write_at(&self.file, self.bytes, bytes) {
                Ok(0) => return Err(ctx("writing", &self.place)(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.bytes += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ctx("writing", &self.place)(error)),
            }
        }
        Ok(())
    }

    /// Reads some bytes back; 0 is the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.disk.read_at(&self.file, offset, buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Begins again at the first byte.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let note = at(&self.place, &self.names.note);
        remove_if_there(&self.disk, &self.folder, &self.names.note).map_err(ctx("removing", &note))?;
        self.disk.truncate(&self.file, 0).map_err(ctx("truncating", &self.place))?;
        self.bytes = 0;
        Ok(())
    }

    /// Notes that the bytes so far have this digest, so that a later run may go on from here.
    ///
    /// A note that cannot be written costs that run its head start and nothing else.
    pub fn checkpoint(&self, source: &str, etag: &str, total: Option<u64>, digest: Digest) {
        let checkpoint = Checkpoint { bytes: self.bytes, sha256: digest };
        let note =
            Note { job: self.job.clone(), source: source.into(), etag: Some(etag.into()), total, checkpoint };
        if let Ok(mut text) = serde_json::to_vec(&note) {
            text.push(b'\n');
            let _ = write_note(&self.disk, &self.folder, &self.names.note, &text);
        }
    }

    /// Calls the bytes the whole and right content of their output, and makes them survive a power cut. Blocks.
    ///
    /// After an error the part is gone: what a failed sync leaves behind cannot be trusted.
    pub fn prove(self, digest: Digest, bytes: u64) -> Result<Proven<D>, StoreError> {
        debug_assert_eq!(bytes, self.bytes, "only what was written can be proven");
        if self.sync
            && let Err(error) = self.disk.sync_file(&self.file)
        {
            let _ = self.disk.unlink(&self.folder, &self.names.part);
            return Err(ctx("syncing", &self.place)(error));
        }
        let _ = remove_if_there(&self.disk, &self.folder, &self.names.note);
        Ok(Proven { folder: self.folder, name: self.names.part, bytes, digest })
    }
}

/// A whole file with a known digest that waits in the staging area to be committed. Dropping it keeps the part.
#[derive(Debug)]
#[must_use = "a proven file is not archived before it is committed"]
pub struct Proven<D: Disk> {
    pub(super) folder: Arc<D::Folder>,
    pub(super) name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

#[derive(Clone, Debug)]
struct Names {
    part: String,
    note: String,
}

impl Names {
    fn of(job: &JobRef, output: usize) -> Self {
        let stem = format!("{}-{output}", layout::folder(job));
        Self { part: format!("{stem}.part"), note: format!("{stem}.note") }
    }
}

/// What is needed to go on with a part.
#[derive(Serialize, Deserialize)]
struct Note {
    job: String,
    source: String,
    etag: Option<String>,
    total: Option<u64>,
    checkpoint: Checkpoint,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    bytes: u64,
    sha256: Digest,
}

fn read_note<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> Option<Note> {
    let file = disk.open_to_read(folder, name).ok()?;
    let mut text = vec![0; NOTE_MAX];
    let mut filled = 0;
    while filled < text.len() {
        match disk.read_at(&file, filled as u64, &mut text[filled..]).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    serde_json::from_slice(&text[..filled]).ok()
}

fn write_note<D: Disk>(disk: &D, folder: &D::Folder, name: &str, text: &[u8]) -> io::Result<()> {
    let file = match disk.open(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create_new(folder, name)?,
        other => other?,
    };
    disk.write_at(&file, 0, text)?;
    disk.truncate(&file, text.len() as u64)
}

pub(super) fn remove_if_there<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> io::Result<()> {
    match disk.unlink(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens a folder, making it where it is not there.
pub(super) fn ensure_folder<D: Disk>(disk: &D, at: &D::Folder, name: &str) -> io::Result<D::Folder> {
    match disk.make_folder(at, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => disk.open_folder(at, name),
    }
}

/// Removes what a killed run left that nobody can go on with: parts without a note, notes without a part, records that
/// were not swapped in.
fn sweep<D: Disk>(disk: &D, folder: &D::Folder) -> io::Result<()> {
    for name in disk.names(folder)? {
        let name = name?;
        let partner = match (name.strip_suffix(".part"), name.strip_suffix(".note")) {
            (Some(stem), _) => Some(format!("{stem}.note")),
            (None, Some(stem)) => Some(format!("{stem}.part")),
            (None, None) if name.ends_with(".new") => None,
            (None, None) => continue,
        };
        let wanted = match partner {
            Some(partner) => disk.entry(folder, &partner)?.is_some(),
            None => false,
        };
        if !wanted {
            remove_if_there(disk, folder, &name)?;
        }
    }
    Ok(())
}

fn lock<D: Disk>(disk: &D, folder: &D::Folder, place: &str) -> Result<D::File, StoreError> {
    let file = match disk.create_new(folder, LOCK_NAME) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(folder, LOCK_NAME),
        other => other,
    };
    let file = file.map_err(ctx("opening", place))?;
    if disk.try_lock(&file).map_err(ctx("locking", place))? {
        let pid = format!("{:<10}\n", std::process::id());
        // The number only helps whoever is refused; the lock holds without it.
        let _ = disk.write_at(&file, 0, pid.as_bytes());
        return Ok(file);
    }
    let mut pid = [0; 10];
    let count = disk.read_at(&file, 0, &mut pid).unwrap_or(0);
    let holder = String::from_utf8_lossy(&pid[..count]).trim().parse().ok();
    Err(StoreError::Busy { place: place.into(), holder })
}
