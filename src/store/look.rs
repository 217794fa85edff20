//! What a look at an archive finds, told from a record's bytes alone, so that every kind of store tells it alike.

use super::StoreError;
use crate::job::JobRef;
use crate::layout::{self, Key};
use crate::manifest::{MANIFEST_MAX, Manifest, ManifestError, State};
use crate::sha256::Digest;

/// Which content of a record was read: a commit replaces this one or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub(super) Digest);

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

    /// What these bytes, read from `place`, say of a job.
    pub(super) fn of(job: &JobRef, bytes: &[u8], place: &str) -> Result<Self, StoreError> {
        let version = Version(Digest::of(bytes));
        match Manifest::read(bytes) {
            Ok(manifest) if manifest.job.is(job) => Ok(Self::Record(Box::new(manifest), version)),
            Ok(manifest) => Err(StoreError::Foreign {
                place: place.into(),
                asked: job.fetch_url(),
                holds: manifest.job.fetch_url.clone(),
            }),
            Err(ManifestError::Newer(version)) => Err(StoreError::Newer { place: place.into(), version }),
            Err(ManifestError::Damaged(why)) => Ok(Self::Damaged { why: format!("{place}: {why}"), version }),
        }
    }
}

/// A record's bytes, if they can be read again.
pub(super) fn written(job: &JobRef, manifest: &Manifest, place: &str) -> Result<Vec<u8>, StoreError> {
    let bytes = manifest.to_bytes();
    let stranger = manifest.files.iter().find(|file| Key::recorded(job, &file.path).is_none());
    let why = match (manifest.settled().contradiction(), stranger) {
        (Some(why), _) => why,
        (None, Some(file)) => format!("it names {:?}, which is no file of this job", file.path),
        (None, None) if bytes.len() as u64 > MANIFEST_MAX => format!("it has {} bytes", bytes.len()),
        (None, None) => return Ok(bytes),
    };
    Err(StoreError::Unfit { place: place.into(), why })
}

/// Files that can go once the new record is there: those that only the old one names, where the new one is complete and
/// has another for their output. A name that no record of this job could have given is not ours to remove.
pub(super) fn dropped(job: &JobRef, before: &Found, manifest: &Manifest) -> Vec<Key> {
    let Found::Record(before, _) = before else { return Vec::new() };
    if manifest.derived_state() != State::Complete {
        return Vec::new();
    }
    let replaced = before.files.iter().filter(|old| {
        let named = manifest.files.iter().any(|new| new.path == old.path);
        !named && manifest.files.iter().any(|new| new.output == old.output)
    });
    replaced.filter_map(|old| Key::recorded(job, &old.path)).collect()
}

/// The record in a folder, whoever it belongs to.
#[derive(Clone, Debug)]
pub enum Record {
    /// There is none.
    Nothing,
    /// There is one that cannot be read, or that names what no record of ours names.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// A newer vfetch wrote it.
    Newer {
        /// The version of its format.
        version: u64,
    },
    /// It is sound, and belongs to a job whose folder is another one.
    Misplaced {
        /// That job.
        job: JobRef,
        /// That job's folder.
        folder: String,
    },
    /// It is sound and at its place.
    Sound(Box<Manifest>, Version),
}

impl Record {
    /// The record where there is a sound one at its place, `None` where there is none.
    ///
    /// # Errors
    /// Why the one that is there cannot be used.
    pub fn sound(self) -> Result<Option<(Box<Manifest>, Version)>, String> {
        match self {
            Self::Nothing => Ok(None),
            Self::Sound(manifest, version) => Ok(Some((manifest, version))),
            Self::Damaged { why } => Err(why),
            Self::Newer { version } => {
                Err(format!("written by a newer vfetch (version {version} of the format)"))
            }
            Self::Misplaced { job, folder } => Err(format!("the record of {job}, whose folder is {folder}")),
        }
    }

    /// What these bytes say, found as the record in this folder.
    ///
    /// | the bytes | the job's folder | its files' names | record |
    /// | --- | --- | --- | --- |
    /// | a newer version | | | newer |
    /// | no record, one that contradicts itself, or of no job | | | damaged |
    /// | a record | another one | | misplaced |
    /// | a record | this one | one is not of this job | damaged |
    /// | a record | this one | of this job | sound |
    pub(super) fn of(folder: &str, bytes: &[u8]) -> Self {
        let manifest = match Manifest::read(bytes) {
            Ok(manifest) => manifest,
            Err(ManifestError::Newer(version)) => return Self::Newer { version },
            Err(ManifestError::Damaged(why)) => return Self::Damaged { why },
        };
        let job = match manifest.job.to_job() {
            Ok(job) => job,
            Err(error) => return Self::Damaged { why: format!("it names no job: {error}") },
        };
        let belongs = layout::folder(&job);
        if belongs != folder {
            return Self::Misplaced { job, folder: belongs };
        }
        match manifest.files.iter().find(|file| Key::recorded(&job, &file.path).is_none()) {
            Some(file) => {
                Self::Damaged { why: format!("it names {:?}, which is no file of this job", file.path) }
            }
            None => Self::Sound(Box::new(manifest), Version(Digest::of(bytes))),
        }
    }
}

/// Something under the archive's private folder that belongs to no finished job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Why it is there.
    pub kind: LeftoverKind,
    /// Where it is, below the archive's root.
    pub place: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why something is left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftoverKind {
    /// A download that was cut short, or what is needed to go on with it; the next run takes it up or sweeps it away.
    Staged,
    /// A file that a repair put aside; vfetch never removes it.
    Quarantined,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};

    fn bytes(job: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let job = Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(job).unwrap().job;
        let mut manifest = Manifest::new(&job, "2026-01-02T03:04:05Z");
        manifest.outputs = Some(1);
        let record = serde_json::json!({"output": 0, "path": Key::output(&job, 0, "gif", None).name(), "bytes": 3,
            "sha256": Digest::of(b"abc"), "kind": "gif", "source": "https://media.test/a.gif", "rung": "output",
            "attempts": 1, "archived_at": "2026-01-02T03:04:05Z"});
        manifest.files = vec![serde_json::from_value(record).unwrap()];
        let mut value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    fn word(folder: &str, bytes: &[u8]) -> &'static str {
        match Record::of(folder, bytes) {
            Record::Nothing => "nothing",
            Record::Damaged { .. } => "damaged",
            Record::Newer { .. } => "newer",
            Record::Misplaced { .. } => "misplaced",
            Record::Sound(..) => "sound",
        }
    }

    #[test]
    fn a_record_is_judged_by_its_bytes_and_its_folder() {
        let sound = bytes("realtime/98", |_| ());
        let table: [(&str, Vec<u8>, &str); 9] = [
            ("realtime.98", sound.clone(), "sound"),
            ("98", sound, "misplaced"),
            ("147", bytes("147", |value| value["version"] = 2.into()), "newer"),
            ("147", b"{\"format\":".to_vec(), "damaged"),
            ("147", bytes("147", |value| value["state"] = "gone".into()), "damaged"),
            ("147", bytes("147", |value| value["job"]["id"] = "../x".into()), "damaged"),
            ("147", bytes("147", |value| value["job"]["origin"] = "nowhere".into()), "damaged"),
            ("147", bytes("147", |value| value["files"][0]["path"] = "../147-0.gif".into()), "damaged"),
            ("147", bytes("147", |value| value["files"][0]["path"] = "148-0.gif".into()), "damaged"),
        ];
        for (folder, bytes, want) in table {
            assert_eq!(word(folder, &bytes), want, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
