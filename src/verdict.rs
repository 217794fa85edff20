//! What an archive's files are worth: told from what their record says and what lies there, without looking itself.
//!
//! [`by_size`] and [`by_digest`] judge a recorded file, [`unrecorded`] finds the files that no record names, and
//! [`Tally`] adds up what was found. [`Share`] says which part of an archive a look is about.

use std::collections::HashSet;
use std::fmt;

use crate::job::JobRef;
use crate::layout::{Key, MANIFEST_NAME};
use crate::manifest::FileRecord;
use crate::sha256::Digest;

/// What a file is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what its record says.
    Whole,
    /// It is not.
    Damaged(Damage),
    /// A record names it, and it is not there; or it is the record, and there is none beside the files of a job.
    Missing,
    /// It lies in a job's folder, and no record names it.
    Extra,
    /// It could not be read, or is a record that cannot be used, for this reason.
    Unreadable(String),
}

/// In what a damaged file differs from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It has another length, in bytes.
    Length {
        /// The length in the record.
        recorded: u64,
        /// The length on the disk.
        seen: u64,
    },
    /// It has other bytes.
    Bytes {
        /// The digest in the record.
        recorded: Digest,
        /// The digest of what is there.
        seen: Digest,
    },
    /// A link, a folder or a device has its name.
    NotAFile,
}

impl Verdict {
    /// The verdict as one sign, as `rclone check --combined` has them.
    #[must_use]
    pub fn sign(&self) -> char {
        match self {
            Self::Whole => '=',
            Self::Damaged(_) => '*',
            Self::Missing => '-',
            Self::Extra => '+',
            Self::Unreadable(_) => '!',
        }
    }

    /// The verdict in a word, as it stands in JSON lines.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::Damaged(_) => "damaged",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Verdict {
    /// The verdict and what it rests on, in a few words; for what is unreadable as the system said it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(Damage::Length { recorded, seen }) => {
                write!(f, "{seen} bytes, recorded with {recorded}")
            }
            Self::Damaged(Damage::Bytes { recorded, seen }) => {
                write!(f, "sha256 {seen}, recorded as {recorded}")
            }
            Self::Damaged(Damage::NotAFile) => f.write_str("not a regular file"),
            Self::Unreadable(why) => f.write_str(why),
            Self::Whole | Self::Missing | Self::Extra => f.write_str(self.word()),
        }
    }
}

/// What lies behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// A regular file of this many bytes.
    File(u64),
    /// Something else.
    Other,
}

/// Judges a recorded file by a glance.
///
/// | behind its name | its length | verdict |
/// | --- | --- | --- |
/// | nothing | | missing |
/// | no regular file | | damaged: not a file |
/// | a file | another one | damaged: length |
/// | a file | as recorded | whole, as far as a glance can tell |
#[must_use]
pub fn by_size(file: &FileRecord, seen: Seen) -> Verdict {
    match seen {
        Seen::Nothing => Verdict::Missing,
        Seen::Other => Verdict::Damaged(Damage::NotAFile),
        Seen::File(bytes) if bytes != file.bytes => {
            Verdict::Damaged(Damage::Length { recorded: file.bytes, seen: bytes })
        }
        Seen::File(_) => Verdict::Whole,
    }
}

/// Judges a recorded file by what was read of it: its record's length and digest, and those of the bytes.
///
/// | length | digest | verdict |
/// | --- | --- | --- |
/// | another one | | damaged: length |
/// | as recorded | another one | damaged: bytes |
/// | as recorded | as recorded | whole |
#[must_use]
pub fn by_digest(recorded: (Digest, u64), seen: (Digest, u64)) -> Verdict {
    if recorded.1 != seen.1 {
        Verdict::Damaged(Damage::Length { recorded: recorded.1, seen: seen.1 })
    } else if recorded.0 != seen.0 {
        Verdict::Damaged(Damage::Bytes { recorded: recorded.0, seen: seen.0 })
    } else {
        Verdict::Whole
    }
}

/// Names that systems put into any folder that somebody looks at.
const LITTER: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// The names in a folder that its sound record does not give to anything, but for what the system itself puts there.
pub fn unrecorded<'a>(
    files: &'a [FileRecord],
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    let recorded: HashSet<&str> =
        files.iter().map(|file| file.path.as_str()).chain([MANIFEST_NAME]).collect();
    names.into_iter().filter(move |name| !recorded.contains(name) && !LITTER.contains(name))
}

/// What a folder without a record says of itself.
///
/// | the folder's name | its files | what it is |
/// | --- | --- | --- |
/// | no job's | any | none of ours: nothing is said |
/// | a job's | none has the name of an output of that job | none of ours |
/// | a job's | some have | the record is missing, and those files are extra |
pub fn strays<'a>(
    job: Option<&JobRef>,
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    names.into_iter().filter(move |name| job.is_some_and(|job| Key::recorded(job, name).is_some()))
}

/// A file and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The job's folder, below the archive's root.
    pub folder: String,
    /// The file's name in it.
    pub name: String,
    /// What it is worth.
    pub verdict: Verdict,
}

impl Finding {
    /// Where the file is, below the archive's root.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// What was found, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Folders with a record.
    pub jobs: u64,
    /// Files that are what their record says.
    pub whole: u64,
    /// Their bytes.
    pub whole_bytes: u64,
    /// Files that are not.
    pub damaged: u64,
    /// Files that a record names and that are not there, and records that are not there.
    pub missing: u64,
    /// Files that no record names.
    pub extra: u64,
    /// Files and records that could not be read or used.
    pub unreadable: u64,
    /// Files that seemed not to be as they should, of jobs whose record another process replaced meanwhile: nothing is
    /// said of them.
    pub changed: u64,
}

impl Tally {
    /// Adds one verdict.
    pub fn note(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Whole => self.whole += 1,
            Verdict::Damaged(_) => self.damaged += 1,
            Verdict::Missing => self.missing += 1,
            Verdict::Extra => self.extra += 1,
            Verdict::Unreadable(_) => self.unreadable += 1,
        }
    }

    /// Adds what another part of the archive holds.
    pub fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.whole += other.whole;
        self.whole_bytes += other.whole_bytes;
        self.damaged += other.damaged;
        self.missing += other.missing;
        self.extra += other.extra;
        self.unreadable += other.unreadable;
        self.changed += other.changed;
    }

    /// How many files and records are not as they should be.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.damaged + self.missing + self.extra + self.unreadable
    }
}

/// Which part of an archive a look is about. A job belongs to a part by its folder's name alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Share {
    /// All of it.
    #[default]
    All,
    /// One of so many parts, which together are all of it; counted from 1.
    Part {
        /// Which one.
        part: u32,
        /// Of how many.
        parts: u32,
    },
    /// This share of the jobs, drawn anew for each seed.
    Sample {
        /// From 0 to 1.
        share: f64,
        /// What the draw is made from.
        seed: u64,
    },
}

impl Share {
    /// Whether the job in this folder belongs to it.
    #[must_use]
    pub fn holds(&self, folder: &str) -> bool {
        match *self {
            Self::All => true,
            Self::Part { part, parts } => {
                scattered(folder, 0) % u64::from(parts.max(1)) + 1 == u64::from(part)
            }
            Self::Sample { share, seed } => {
                share >= 1.0 || (scattered(folder, seed) as f64) < share * 2_f64.powi(64)
            }
        }
    }
}

/// A number that depends on the name and the seed alone, on every machine and in every version: FNV-1a, with its bits
/// mixed once more because similar names would end in similar numbers.
fn scattered(name: &str, seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    for (shift, factor) in [(33, 0xff51_afd7_ed55_8ccd), (33, 0xc4ce_b9fe_1a85_ec53)] {
        hash = (hash ^ (hash >> shift)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use crate::manifest::Rung;

    fn file(name: &str) -> FileRecord {
        FileRecord {
            output: 0,
            path: name.into(),
            bytes: 3,
            sha256: Digest::of(b"abc"),
            kind: "gif".into(),
            source: String::new(),
            rung: Rung::Output,
            etag: None,
            last_modified: None,
            attempts: 1,
            archived_at: "2026-01-02T03:04:05Z".into(),
            left: vec![],
            unknown: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_sample_ends_before_the_job_that_its_share_names() {
        let share = scattered("147", 7) as f64 / 2_f64.powi(64);
        let holds = |share| Share::Sample { share, seed: 7 }.holds("147");
        assert_eq!([holds(share), holds(share.next_up())], [false, true]);
    }

    #[test]
    fn a_draw_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(scattered("147", 0), 0xc4f7_dd1b_9955_295e);
        assert_eq!(scattered("realtime~98", 7), 0x5bb2_e9e8_9e3f_1e34);
    }

    #[test]
    fn what_parts_of_an_archive_hold_adds_up() {
        let part = Tally {
            jobs: 1,
            whole: 2,
            whole_bytes: 3,
            damaged: 4,
            missing: 5,
            extra: 6,
            unreadable: 7,
            changed: 8,
        };
        let mut sum = part;
        sum.add(&part);
        let want = Tally {
            jobs: 2,
            whole: 4,
            whole_bytes: 6,
            damaged: 8,
            missing: 10,
            extra: 12,
            unreadable: 14,
            changed: 16,
        };
        assert_eq!(sum, want);
        let finding = Finding { folder: "147".into(), name: "147-0.mp4".into(), verdict: Verdict::Extra };
        assert_eq!(finding.place(), "147/147-0.mp4");
    }

    #[test]
    fn a_glance_tells_what_is_missing_short_or_no_file() {
        let table = [
            (Seen::Nothing, Verdict::Missing, '-', "missing"),
            (Seen::Other, Verdict::Damaged(Damage::NotAFile), '*', "not a regular file"),
            (
                Seen::File(2),
                Verdict::Damaged(Damage::Length { recorded: 3, seen: 2 }),
                '*',
                "2 bytes, recorded with 3",
            ),
            (
                Seen::File(4),
                Verdict::Damaged(Damage::Length { recorded: 3, seen: 4 }),
                '*',
                "4 bytes, recorded with 3",
            ),
            (Seen::File(3), Verdict::Whole, '=', "ok"),
        ];
        for (seen, want, sign, words) in table {
            let verdict = by_size(&file("147-0.gif"), seen);
            assert_eq!((verdict.sign(), verdict.to_string().as_str()), (sign, words));
            assert_eq!(verdict, want);
        }
    }

    #[test]
    fn the_digest_has_the_last_word() {
        let (good, other) = (Digest::of(b"abc"), Digest::of(b"abd"));
        let table = [
            ((good, 3), Verdict::Whole),
            ((other, 3), Verdict::Damaged(Damage::Bytes { recorded: good, seen: other })),
            ((good, 4), Verdict::Damaged(Damage::Length { recorded: 3, seen: 4 })),
            ((other, 2), Verdict::Damaged(Damage::Length { recorded: 3, seen: 2 })),
        ];
        for (seen, want) in table {
            assert_eq!(by_digest((good, 3), seen), want);
        }
    }

    #[test]
    fn what_no_record_names_is_extra_and_folders_of_others_are_left_alone() {
        let files = [file("147-0.gif")];
        let names = ["manifest.json", "147-0.gif", ".DS_Store", "147-1.gif", "notes.txt"];
        assert_eq!(unrecorded(&files, names).collect::<Vec<_>>(), ["147-1.gif", "notes.txt"]);
        let job = Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse("147").unwrap().job;
        assert_eq!(strays(Some(&job), names).collect::<Vec<_>>(), ["147-0.gif", "147-1.gif"]);
        assert_eq!(strays(Some(&job), ["148-0.gif", "notes.txt"]).count(), 0);
        assert_eq!(strays(None, names).count(), 0);
    }

    #[test]
    fn faults_are_whatever_is_not_whole() {
        let verdicts = [
            Verdict::Whole,
            Verdict::Damaged(Damage::NotAFile),
            Verdict::Missing,
            Verdict::Extra,
            Verdict::Unreadable("x".into()),
        ];
        let mut tally = Tally::default();
        for verdict in &verdicts {
            tally.note(verdict);
        }
        let mut twice = tally;
        twice.add(&tally);
        assert_eq!((tally.faults(), twice.faults(), twice.whole), (4, 8, 2));
        let signs: String = verdicts.iter().map(Verdict::sign).collect();
        assert_eq!(signs, "=*-+!");
    }

    #[test]
    fn parts_are_disjoint_and_together_the_whole_and_never_change() {
        let folders: Vec<String> = (0..10_000).map(|id| id.to_string()).collect();
        for folder in &folders {
            let parts = (1..=7).filter(|part| Share::Part { part: *part, parts: 7 }.holds(folder));
            assert_eq!(parts.count(), 1, "{folder}");
        }
        for part in 1..=7 {
            let share = folders.iter().filter(|folder| Share::Part { part, parts: 7 }.holds(folder)).count();
            assert!((1_250..1_610).contains(&share), "part {part} has {share}");
        }
        // A part that is verified each week must be the same part on every machine and in every version.
        let first = folders.iter().filter(|folder| Share::Part { part: 1, parts: 1_000 }.holds(folder));
        assert_eq!(first.take(3).collect::<Vec<_>>(), ["780", "1474", "1925"]);
        assert!(folders.iter().all(|folder| Share::All.holds(folder)));
    }

    #[test]
    fn a_sample_has_its_share_and_another_seed_draws_others() {
        let drawn = |seed| {
            let sample = Share::Sample { share: 0.05, seed };
            (0..20_000).filter(|id: &u32| sample.holds(&id.to_string())).collect::<Vec<_>>()
        };
        let (one, two) = (drawn(1), drawn(2));
        assert!((900..1_100).contains(&one.len()), "{}", one.len());
        assert!(one.iter().filter(|id| two.contains(id)).count() < 120);
        assert!((0..1_000).all(|id: u32| Share::Sample { share: 1.0, seed: 3 }.holds(&id.to_string())));
        assert!(!(0..1_000).any(|id: u32| Share::Sample { share: 0.0, seed: 3 }.holds(&id.to_string())));
    }
}
