//! Copies of lost bytes: in this archive, where another file has the same digest, and in another archive.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;

use super::Faults;
use crate::engine::survey::{self, Look};
use crate::job::JobRef;
use crate::layout::{self, Key};
use crate::manifest::{FileRecord, Manifest};
use crate::mend::{self, Offers, Step};
use crate::sha256::{Digest, Sha256};
use crate::store::{Partial, Proven, Staging, Store, StoreError};
use crate::verdict::{Share, Verdict};

/// So many twins of a file are remembered; one is enough unless it is bad too.
const TWINS: usize = 4;

/// A file that was copied and proven, and waits to be committed.
pub(super) struct Copied {
    pub(super) proven: Proven,
    pub(super) key: Key,
    pub(super) file: FileRecord,
    /// Where it came from, in words.
    pub(super) from: String,
}

/// Where copies may be had.
pub(super) struct Copies {
    twins: HashMap<Digest, Vec<Key>>,
    other: Option<Store>,
}

/// What one pass over the records brings.
#[derive(Default)]
struct Seen {
    twins: Vec<(Digest, Key)>,
    /// Folders of jobs that lost files before.
    lost: Vec<String>,
}

impl Copies {
    /// Looks through the records for twins of bad files, and, where there is another archive, for jobs that lost files
    /// before, which are added to the faults. Blocks; reads no record where neither is wanted.
    pub(super) fn look_for(
        store: &Store,
        other: Option<Store>,
        faults: &mut Faults,
        share: &Share,
        stop: &CancellationToken,
    ) -> Result<Self, StoreError> {
        let wanted = wanted(store, faults)?;
        let mut copies = Self { twins: HashMap::new(), other };
        if (wanted.is_empty() && copies.other.is_none()) || stop.is_cancelled() {
            return Ok(copies);
        }
        let (known, wants_lost) = (&*faults, copies.other.is_some());
        let is_bad = |folder: &str, name: &str| {
            known.get(folder).is_some_and(|findings| findings.iter().any(|finding| finding.name == name))
        };
        let look = |folders: &[String]| {
            let mut seen = Seen::default();
            for folder in folders {
                let Look::Job(job, manifest) = survey::look(store, folder)? else { continue };
                for file in manifest.files.iter().filter(|file| wanted.contains(&file.sha256)) {
                    let key = Key::recorded(&job, &file.path).filter(|_| !is_bad(folder, &file.path));
                    seen.twins.extend(key.map(|key| (file.sha256, key)));
                }
                if wants_lost && !manifest.lost.is_empty() && share.holds(folder) {
                    seen.lost.push(folder.clone());
                }
            }
            Ok(seen)
        };
        let mut lost = Vec::new();
        survey::survey(store, store.folders()?, stop, look, |seen| {
            for (digest, key) in seen.twins {
                let twins = copies.twins.entry(digest).or_default();
                if twins.len() < TWINS {
                    twins.push(key);
                }
            }
            lost.extend(seen.lost);
            true
        })?;
        for folder in lost {
            faults.entry(folder).or_default();
        }
        Ok(copies)
    }

    /// Brings a bad file's right bytes from the nearest place that has them; `None` where no copy has. Blocks.
    ///
    /// # Errors
    /// Of this archive's disk, and that an archive is out of reach. A copy that cannot be read is none.
    pub(super) fn bring(
        &self,
        store: &Store,
        staging: &Staging,
        job: &JobRef,
        file: &FileRecord,
        verdict: &Verdict,
    ) -> Result<Option<Copied>, StoreError> {
        let twins = self.twins.get(&file.sha256).map(Vec::as_slice).unwrap_or_default();
        let mut offers = Offers { twin: !twins.is_empty(), other: self.other.is_some(), ask: false };
        loop {
            match mend::file(verdict, offers) {
                Step::CopyTwin => {
                    for twin in twins {
                        if let Some(copied) = copy(store, twin, staging, job, file, twin.to_string())? {
                            return Ok(Some(copied));
                        }
                    }
                    offers.twin = false;
                }
                Step::CopyOther => return self.bring_other(staging, job, file),
                Step::Keep | Step::PutAside | Step::Ask | Step::Leave => return Ok(None),
            }
        }
    }

    /// Brings a file from the same job in the other archive. Blocks.
    pub(super) fn bring_other(
        &self,
        staging: &Staging,
        job: &JobRef,
        file: &FileRecord,
    ) -> Result<Option<Copied>, StoreError> {
        let Some(other) = &self.other else { return Ok(None) };
        let Some((_, manifest)) = self.other_record(&layout::folder(job))? else { return Ok(None) };
        let same = manifest.files.iter().find(|same| same.sha256 == file.sha256);
        let Some(key) = same.and_then(|same| Key::recorded(job, &same.path)) else { return Ok(None) };
        copy(other, &key, staging, job, file, "the other archive".into())
    }

    /// The record of a folder in the other archive, if there is a sound one. Blocks.
    pub(super) fn other_record(&self, folder: &str) -> Result<Option<(JobRef, Manifest)>, StoreError> {
        let Some(other) = &self.other else { return Ok(None) };
        Ok(match survey::look(other, folder)? {
            Look::Job(job, manifest) => Some((job, *manifest)),
            Look::Nothing | Look::Unreadable(_) => None,
        })
    }
}

/// The digests of the files that are bad. A record that cannot be read wants none.
fn wanted(store: &Store, faults: &Faults) -> Result<HashSet<Digest>, StoreError> {
    let mut wanted = HashSet::new();
    for (folder, findings) in faults {
        let Look::Job(_, manifest) = survey::look(store, folder)? else { continue };
        let bad = |file: &&FileRecord| findings.iter().any(|finding| finding.name == file.path);
        wanted.extend(manifest.files.iter().filter(bad).map(|file| file.sha256));
    }
    Ok(wanted)
}

/// Copies an archived file into the staging area; `None` unless its bytes are the ones that are wanted.
fn copy(
    from: &Store,
    source: &Key,
    staging: &Staging,
    job: &JobRef,
    file: &FileRecord,
    words: String,
) -> Result<Option<Copied>, StoreError> {
    let Some(key) = Key::recorded(job, &file.path) else { return Ok(None) };
    let mut partial = staging.begin(job, file.output)?;
    partial.expect(Some(file.bytes));
    match copy_bytes(from, source, &mut partial, file.bytes) {
        Ok(digest) if partial.bytes() == file.bytes && digest == file.sha256 => {
            let proven = partial.prove(digest, file.bytes)?;
            Ok(Some(Copied { proven, key, file: file.clone(), from: words }))
        }
        copied => {
            drop(partial);
            staging.discard(job, file.output);
            match copied {
                Err(Unread::Source(error)) if !error.is_out_of_reach() => Ok(None),
                Err(Unread::Source(error) | Unread::Copy(error)) => Err(error),
                Ok(_) => Ok(None),
            }
        }
    }
}

/// Why a file was not copied.
enum Unread {
    /// It could not be read.
    Source(StoreError),
    /// The copy could not be written.
    Copy(StoreError),
}

/// Copies a file's bytes, and none after it turns out to be too long; gives their digest.
fn copy_bytes(from: &Store, source: &Key, copy: &mut Partial, bytes_max: u64) -> Result<Digest, Unread> {
    let (mut contents, mut hasher) = (from.contents(source).map_err(Unread::Source)?, Sha256::default());
    while copy.bytes() <= bytes_max {
        match contents.read().map_err(Unread::Source)? {
            [] => break,
            bytes => {
                hasher.update(bytes);
                copy.append(bytes).map_err(Unread::Copy)?;
            }
        }
    }
    Ok(hasher.digest())
}
