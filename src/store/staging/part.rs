//! One file in the staging area: written, resumed, proven, and beside it the note that lets a later run go on with it.

use std::io;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::super::disk::Disk;
use super::super::{StoreError, ctx, no_room};
use super::{Area, Claim};
use crate::job::JobRef;
use crate::manifest::JobRecord;
use crate::sha256::Digest;

/// A note that is longer than this is not one of ours.
const NOTE_MAX: usize = 64 * 1024;

/// A file that is being written.
#[derive(Debug)]
pub struct Partial<D: Disk> {
    pub(super) claim: Claim<D>,
    job: JobRef,
    pub(super) file: D::File,
    pub(super) bytes: u64,
    total: Option<u64>,
}

impl<D: Disk> Partial<D> {
    pub(super) fn of(job: &JobRef, claim: Claim<D>, file: D::File) -> Self {
        Self { claim, job: job.clone(), file, bytes: 0, total: None }
    }

    /// How many bytes were written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes note of the length of the whole, for what is said where the disk has no room for it.
    pub fn expect(&mut self, total: Option<u64>) {
        self.total = total;
    }

    /// Adds bytes at the end. Blocks; an interrupted or short write goes on, every other error is final.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        let Area { disk, folder, .. } = &*self.claim.area;
        while !bytes.is_empty() {
            let written = match disk.write_at(&self.file, self.bytes, bytes) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                written => written,
            };
            let needed =
                self.total.map_or(0, |total| total.saturating_sub(self.bytes)).max(bytes.len() as u64);
            let refused = |error| no_room(disk, folder, "writing", &self.claim.place(), Some(needed), error);
            let count = written.map_err(refused)?;
            self.bytes += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Reads some bytes back; 0 is the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.claim.area.disk.read_at(&self.file, offset, buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Begins again at the first byte.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.claim.remove_note()?;
        let truncated = self.claim.area.disk.truncate(&self.file, 0);
        truncated.map_err(ctx("truncating", &self.claim.place()))?;
        self.bytes = 0;
        Ok(())
    }

    /// Notes the digest of so many of its bytes, so that a later run may go on from there.
    ///
    /// A note that cannot be written costs that run its head start and nothing else.
    pub fn checkpoint(&self, source: &str, etag: &str, total: Option<u64>, checkpoint: Checkpoint) {
        let (job, source, etag) = (JobRecord::of(&self.job), source.into(), Some(etag.into()));
        let note = Note { job, source, etag, total, checkpoint };
        if let Ok(mut text) = serde_json::to_vec(&note) {
            text.push(b'\n');
            let Area { disk, folder, .. } = &*self.claim.area;
            self.claim.note.store(true, Ordering::Relaxed);
            let _ = write_note(disk, folder, &self.claim.names.note(), &text);
        }
    }

    /// Calls the bytes the whole and right content of their output, and makes them survive a power cut. Blocks.
    ///
    /// After an error the part is gone: what a failed sync leaves behind cannot be trusted.
    pub fn prove(self, digest: Digest, bytes: u64) -> Result<Proven<D>, StoreError> {
        debug_assert_eq!(bytes, self.bytes, "only what was written can be proven");
        let area = &*self.claim.area;
        if area.sync
            && let Err(error) = area.disk.sync_file(&self.file)
        {
            let place = self.claim.place();
            area.note_failed_sync(&place, &error);
            self.claim.remove();
            return Err(no_room(&area.disk, &area.folder, "syncing", &place, None, error));
        }
        Ok(Proven { claim: self.claim, bytes, digest })
    }

    /// Gives the part up for good.
    pub fn discard(self) {
        self.claim.remove();
    }
}

/// A whole file with a known digest that waits in the staging area to be committed. Dropping it keeps the part.
#[derive(Debug)]
#[must_use = "a proven file is not archived before it is committed"]
pub struct Proven<D: Disk> {
    claim: Claim<D>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

impl<D: Disk> Proven<D> {
    /// Gives the file its name in a job's folder.
    pub(in crate::store) fn publish(&self, to: &D::Folder, name: &str) -> io::Result<()> {
        let Area { disk, folder, .. } = &*self.claim.area;
        disk.rename(folder, &self.claim.names.part(), to, name)?;
        self.claim.part.store(false, Ordering::Relaxed);
        // A note without its part is swept away by the next run.
        let _ = self.claim.remove_note();
        Ok(())
    }

    /// Opens the file to send its bytes elsewhere; what it is called.
    pub(in crate::store) fn open(&self) -> Result<(D::File, String), StoreError> {
        let (Area { disk, folder, .. }, place) = (&*self.claim.area, self.claim.place());
        let file = disk.open_to_read(folder, &self.claim.names.part()).map_err(ctx("opening", &place))?;
        Ok((file, place))
    }

    /// Removes the file, which has been sent. What stays is swept away by the next run.
    pub(in crate::store) fn discard(&self) {
        self.claim.remove();
    }
}

/// What is needed to go on with a part.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) job: JobRecord,
    pub(super) source: String,
    pub(super) etag: Option<String>,
    pub(super) total: Option<u64>,
    pub(super) checkpoint: Checkpoint,
}

/// A byte of a part from which a later run may go on, and the digest of all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// How many bytes there are before it.
    pub bytes: u64,
    /// Their digest.
    pub sha256: Digest,
}

pub(super) fn read_note<D: Disk>(disk: &D, folder: &D::Folder, name: &str) -> Option<Note> {
    let file = disk.open_to_read(folder, name).ok()?;
    let mut text = vec![0; NOTE_MAX];
    let mut filled = 0;
    while filled < text.len() {
        match disk.read_at(&file, filled as u64, &mut text[filled..]).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    // A note is written over its forerunner, which may have been longer; only the first value counts.
    serde_json::Deserializer::from_slice(&text[..filled]).into_iter().next()?.ok()
}

fn write_note<D: Disk>(disk: &D, folder: &D::Folder, name: &str, text: &[u8]) -> io::Result<()> {
    let file = match disk.open(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create_new(folder, name)?,
        other => other?,
    };
    disk.write_at(&file, 0, text).map(drop)
}
