//! Bytes on their way: written, read back, resumed and proven under `.vfetch/staging/`, always on a local disk.
//!
//! A part lives under a name made from its job and output, so that a killed run finds it again. Beside it a note says
//! which source it came from, with which validator, and holds a checkpoint: so many bytes with this digest. The note
//! is never synced and need not be: whoever resumes hashes the bytes up to the checkpoint again, cuts off what is
//! beyond, and a part that a power cut has torn does not match. Without a matching note a part is worth nothing and is
//! written over. The note stays until its file is committed, so that a run that is killed while a job's other files
//! are still on their way has this one's last bytes to fetch again and not all of them.
//!
//! The folder belongs to one process at a time, which holds a kernel lock on a file in it, and in that process each
//! output to one download at a time. The process number inside the lock is for the message; a run that ends in good
//! order blanks it. Where the next run finds one, what was renamed last may not have been synced, so it syncs the
//! file system before it takes any record for safe.
//!
//! After a sync has failed nothing more is committed by this run: the kernel reports such a failure once, and a second
//! sync that succeeds says nothing about the bytes of the first.

mod part;

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::disk::{Disk, write_all};
use super::{StoreError, at, ctx, no_room};
use crate::job::JobRef;
use crate::layout::{self, PRIVATE_FOLDER};
use crate::manifest::JobRecord;
use crate::plan::Part;
use crate::sha256::Sha256;
pub use part::{Checkpoint, Partial, Proven};
use part::{Note, read_note};

pub(super) const STAGING_FOLDER: &str = "staging";
pub(super) const LOCK_NAME: &str = "lock";
/// Parts are read back in steps of this size, in bytes.
const READ_STEP: usize = 256 * 1024;

/// What a lock holds that no process has: as many spaces as a process number may have digits.
const NOBODY: &[u8] = b"          \n";

/// The staging area of an archive, locked by this process.
#[derive(Debug)]
pub struct Staging<D: Disk> {
    area: Arc<Area<D>>,
}

/// What the staging area shares with the files in it.
#[derive(Debug)]
struct Area<D: Disk> {
    disk: D,
    folder: D::Folder,
    place: String,
    sync: bool,
    lock: D::File,
    /// The first sync of this run that failed, and why.
    failed_sync: OnceLock<String>,
    /// Who writes what, and what lies there that nobody writes.
    outputs: Mutex<Outputs>,
    records: AtomicU64,
}

/// The outputs of a run, by the stems of their names. What is in neither set has nothing on disk, and nobody needs to look.
#[derive(Debug, Default)]
struct Outputs {
    /// Those that are being written.
    claimed: HashSet<String>,
    /// Those that are not, and of which an earlier run or attempt has left something.
    left: HashSet<String>,
}

impl<D: Disk> Staging<D> {
    /// Opens and locks the staging area below an archive's root, making it where it is not there.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where another process holds it; [`StoreError::Io`] where the disk refuses.
    pub fn open(disk: D, root: &D::Folder, place: &str, sync: bool) -> Result<Self, StoreError> {
        let root_place = place;
        let private_place = at(place, PRIVATE_FOLDER);
        let private = ensure_folder(&disk, root, PRIVATE_FOLDER).map_err(ctx("opening", &private_place))?;
        let place = at(&private_place, STAGING_FOLDER);
        // Nobody else reads what is not proven yet. Its files have the permissions that they are to have in the archive:
        // changing them one by one would cost a call a file, and the folder keeps them from others as well.
        let made = disk.make_private_folder(&private, STAGING_FOLDER);
        let folder = made_or_there(&disk, made, &private, STAGING_FOLDER).map_err(ctx("opening", &place))?;
        let (lock, cut_short) = lock(&disk, &folder, &at(&place, LOCK_NAME))?;
        if sync && cut_short {
            disk.sync_all(root).map_err(ctx("syncing", root_place))?;
        }
        let outputs = Mutex::new(Outputs { claimed: HashSet::new(), left: sweep(&disk, &folder, &place)? });
        let (failed_sync, records) = (OnceLock::new(), AtomicU64::new(0));
        let area = Area { disk, folder, place, sync, lock, failed_sync, outputs, records };
        Ok(Self { area: Arc::new(area) })
    }

    pub(super) fn folder(&self) -> &D::Folder {
        &self.area.folder
    }

    /// A name for a record on its way, which no other of this run has.
    pub(super) fn record_name(&self) -> String {
        format!("manifest-{}.new", self.area.records.fetch_add(1, Ordering::Relaxed))
    }

    /// Passes on what a sync of this place said; after a failure nothing is sure any more in this run.
    pub(super) fn synced(&self, place: &str, said: io::Result<()>) -> io::Result<()> {
        said.inspect_err(|error| self.area.note_failed_sync(place, error))
    }

    /// Fails once a sync of this run has failed.
    pub(super) fn is_sure(&self) -> io::Result<()> {
        match self.area.failed_sync.get() {
            Some(failed) => {
                let why = format!("nothing more is called archived in this run, since syncing {failed}");
                Err(io::Error::other(why))
            }
            None => Ok(()),
        }
    }

    /// What an earlier attempt left of this output, with what its note says; `None` where there is nothing to go on.
    #[must_use]
    pub fn left_over(&self, job: &JobRef, output: usize) -> Option<Part> {
        let names = Names::of(job, output);
        if !self.area.outputs().left.contains(&names.stem) {
            return None;
        }
        let note = self.area.note(job, &names)?;
        let file = self.area.disk.open_to_read(&self.area.folder, &names.part()).ok()?;
        let bytes = self.area.disk.len(&file).ok()?;
        let sound = (1..=bytes).contains(&note.checkpoint.bytes);
        sound.then_some(Part {
            source: note.source,
            etag: note.etag,
            total: note.total,
            bytes: note.checkpoint.bytes,
        })
    }

    /// Begins a part at its first byte, in place of whatever was left.
    ///
    /// # Errors
    /// Where the output is being written already; where the disk refuses.
    pub fn begin(&self, job: &JobRef, output: usize) -> Result<Partial<D>, StoreError> {
        let claim = self.claim(Names::of(job, output))?;
        let Area { disk, folder, .. } = &*self.area;
        claim.remove_note()?;
        let created = create_over(disk, folder, &claim.names.part());
        let refused = |error| no_room(disk, folder, "creating", &claim.place(), None, error);
        let file = created.map_err(refused)?;
        claim.part.store(true, Ordering::Relaxed);
        Ok(Partial::of(job, claim, file))
    }

    /// Takes up a part that an earlier process left, feeding its bytes to `again` as they are read and hashed.
    ///
    /// `None` where the bytes are no longer those of the note's checkpoint, or cannot be read.
    ///
    /// # Errors
    /// Where the output is being written already; where what is beyond the checkpoint cannot be cut off.
    pub fn resume(
        &self,
        job: &JobRef,
        output: usize,
        mut again: impl FnMut(&[u8]),
    ) -> Result<Option<(Partial<D>, Sha256)>, StoreError> {
        let claim = self.claim(Names::of(job, output))?;
        let area = Arc::clone(&self.area);
        let Some(note) = area.note(job, &claim.names) else { return Ok(None) };
        let Ok(file) = area.disk.open(&area.folder, &claim.names.part()) else { return Ok(None) };
        let mut partial = Partial::of(job, claim, file);
        let mut hasher = Sha256::default();
        let mut buffer = vec![0; READ_STEP];
        while partial.bytes < note.checkpoint.bytes {
            let left =
                usize::try_from(note.checkpoint.bytes - partial.bytes).unwrap_or(READ_STEP).min(READ_STEP);
            // What cannot be read is worth no more than what is not there.
            let Ok(count @ 1..) = partial.read_at(partial.bytes, &mut buffer[..left]) else {
                return Ok(None);
            };
            hasher.update(&buffer[..count]);
            again(&buffer[..count]);
            partial.bytes += count as u64;
        }
        if hasher.digest() != note.checkpoint.sha256 {
            return Ok(None);
        }
        let place = partial.claim.place();
        area.disk.truncate(&partial.file, partial.bytes).map_err(ctx("truncating", &place))?;
        Ok(Some((partial, hasher)))
    }

    /// Removes what is left of an output's part.
    pub fn discard(&self, job: &JobRef, output: usize) {
        // What somebody is writing is his to remove.
        if let Ok(claim) = self.claim(Names::of(job, output)) {
            claim.remove();
        }
    }

    fn claim(&self, names: Names) -> Result<Claim<D>, StoreError> {
        let area = Arc::clone(&self.area);
        let mut outputs = area.outputs();
        if !outputs.claimed.insert(names.stem.clone()) {
            let why = "another download of this output is under way";
            let why = io::Error::new(io::ErrorKind::AlreadyExists, why);
            return Err(ctx("creating", &at(&area.place, &names.part()))(why));
        }
        let left = outputs.left.remove(&names.stem);
        drop(outputs);
        Ok(Claim { area, names, part: AtomicBool::new(left), note: AtomicBool::new(left) })
    }
}

/// The job of whose part this is the note, where it is one that can be read.
pub(super) fn job_of_note<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> Option<JobRef> {
    name.strip_suffix(".note")?;
    read_note(disk, folder, name)?.job.to_job().ok()
}

impl<D: Disk> Area<D> {
    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failed_sync(&self, place: &str, error: &io::Error) {
        // The first one says most.
        let _ = self.failed_sync.set(format!("{place} failed: {error}"));
    }

    fn note(&self, job: &JobRef, names: &Names) -> Option<Note> {
        read_note(&self.disk, &self.folder, &names.note()).filter(|note| note.job == JobRecord::of(job))
    }
}

impl<D: Disk> Drop for Area<D> {
    fn drop(&mut self) {
        if self.sync && self.failed_sync.get().is_none() {
            // Where this fails the next run syncs once more than it must.
            let _ = self.disk.write_at(&self.lock, 0, NOBODY);
        }
    }
}

/// The right to write one output, which ends when this is dropped.
#[derive(Debug)]
struct Claim<D: Disk> {
    area: Arc<Area<D>>,
    names: Names,
    /// Whether there may be a part, and a note, on disk.
    part: AtomicBool,
    note: AtomicBool,
}

impl<D: Disk> Claim<D> {
    fn place(&self) -> String {
        at(&self.area.place, &self.names.part())
    }

    /// Removes what is there, as far as it goes.
    fn remove(&self) {
        // What cannot be removed now is written over or swept later; it was never visible.
        let _ = self.remove_note();
        if self.part.load(Ordering::Relaxed) {
            let removed = remove_if_there(&self.area.disk, &self.area.folder, &self.names.part());
            self.part.store(removed.is_err(), Ordering::Relaxed);
        }
    }

    fn remove_note(&self) -> Result<(), StoreError> {
        if self.note.load(Ordering::Relaxed) {
            let name = self.names.note();
            let removed = remove_if_there(&self.area.disk, &self.area.folder, &name);
            removed.map_err(ctx("removing", &at(&self.area.place, &name)))?;
            self.note.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<D: Disk> Drop for Claim<D> {
    fn drop(&mut self) {
        let stem = std::mem::take(&mut self.names.stem);
        let mut outputs = self.area.outputs();
        outputs.claimed.remove(&stem);
        if *self.part.get_mut() || *self.note.get_mut() {
            outputs.left.insert(stem);
        }
    }
}

#[derive(Clone, Debug)]
struct Names {
    stem: String,
}

impl Names {
    fn of(job: &JobRef, output: usize) -> Self {
        Self { stem: format!("{}-{output}", layout::folder(job)) }
    }

    fn part(&self) -> String {
        format!("{}.part", self.stem)
    }

    fn note(&self) -> String {
        format!("{}.note", self.stem)
    }
}

/// Creates a file, in place of whatever lies under its name.
pub(super) fn create_over<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> io::Result<D::File> {
    match disk.create_new(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_if_there(disk, folder, name)?;
            disk.create_new(folder, name)
        }
        other => other,
    }
}

pub(super) fn remove_if_there<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> io::Result<()> {
    match disk.unlink(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens a folder, making it where it is not there.
pub(super) fn ensure_folder<D: Disk>(disk: &D, at: &D::Folder, name: &str) -> io::Result<D::Folder> {
    made_or_there(disk, disk.make_folder(at, name), at, name)
}

fn made_or_there<D: Disk>(
    disk: &D,
    made: io::Result<()>,
    at: &D::Folder,
    name: &str,
) -> io::Result<D::Folder> {
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => disk.open_folder(at, name),
    }
}

/// Removes what a killed run left that nobody can go on with: parts without a note, notes without a part, records that
/// were not swapped in. Returns the stems of the parts that stay.
fn sweep<D: Disk>(disk: &D, folder: &D::Folder, place: &str) -> Result<HashSet<String>, StoreError> {
    let mut left = HashSet::new();
    for name in disk.names(folder).map_err(ctx("reading", place))? {
        let name = name.map_err(ctx("reading", place))?;
        let partner = match (name.strip_suffix(".part"), name.strip_suffix(".note")) {
            (Some(stem), _) => Some(format!("{stem}.note")),
            (None, Some(stem)) => Some(format!("{stem}.part")),
            (None, None) if name.strip_suffix(".new").is_some() => None,
            (None, None) => continue,
        };
        let wanted = match partner {
            Some(partner) => {
                disk.entry(folder, &partner).map_err(ctx("looking at", &at(place, &partner)))?.is_some()
            }
            None => false,
        };
        match name.strip_suffix(".part") {
            _ if !wanted => {
                remove_if_there(disk, folder, &name).map_err(ctx("removing", &at(place, &name)))?;
            }
            Some(stem) => drop(left.insert(stem.to_owned())),
            None => {}
        }
    }
    Ok(left)
}

/// The locked file, and whether the last process that had it did not end in good order.
fn lock<D: Disk>(disk: &D, folder: &D::Folder, place: &str) -> Result<(D::File, bool), StoreError> {
    let file = match disk.create_new(folder, LOCK_NAME) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(folder, LOCK_NAME),
        other => other,
    };
    let file = file.map_err(ctx("opening", place))?;
    let locked = disk.try_lock(&file).map_err(ctx("locking", place))?;
    let mut text = [0; NOBODY.len()];
    let read = disk.read_at(&file, 0, &mut text);
    let holder: Option<u32> = String::from_utf8_lossy(&text).trim_matches([' ', '\n', '\0']).parse().ok();
    if !locked {
        return Err(StoreError::Busy { place: place.into(), holder });
    }
    // Without the number the next run could not tell that this one was cut short.
    let own = format!("{:<10}\n", std::process::id());
    let needed = Some(own.len() as u64);
    write_all(disk, &file, own.as_bytes())
        .map_err(|error| no_room(disk, folder, "writing", place, needed, error))?;
    Ok((file, read.is_err() || holder.is_some()))
}
