//! The record of a job: what was asked, what came, where each file is and what proves it, and what is missing.
//!
//! One `manifest.json` lies beside the files it names and is the only thing that decides whether a job is done.
//! What the state says follows from `outputs`, `files` and `missing` alone ([`Manifest::state`]); the word in the
//! file is there for readers, and a record whose word disagrees is damaged. Fields that this version does not know
//! survive a rewrite. A record of a newer version is refused and never rewritten.

use std::borrow::Cow;
use std::collections::HashSet;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::job::{Family, JobError, JobId, JobRef, Origin};
use crate::retry::{Cause, Failure};
use crate::sha256::Digest;

/// What the `format` field says.
pub const FORMAT: &str = "vfetch.manifest";
/// The version that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// A record larger than this is not one of ours: 64 MiB.
pub const MANIFEST_MAX: u64 = 0x0400_0000;
/// A record that is longer than this with its indents, 4 MiB, is written without them.
const PRETTY_MAX: usize = 0x0040_0000;
/// Most records, of a file or two, are no longer than this, 2 KiB.
const USUAL: usize = 0x0800;

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The service was still working when it was last asked, or the run ended before anything came of its answer.
    Pending,
    /// Every output is here.
    Complete,
    /// Some outputs are here.
    Partial,
    /// The job failed at the service, or none of its outputs could be fetched.
    Failed,
    /// Every source of every output says that it is not there.
    Gone,
}

impl State {
    /// The state as it stands in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Which rung of the ladder of sources a link stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The link in `output`.
    Output,
    /// The link in `proxy_links`.
    Proxy,
    /// The link in the account's listing.
    Listed,
    /// The link in `output`, after the job was asked again.
    FreshOutput,
    /// The link in `proxy_links`, after the job was asked again.
    FreshProxy,
    /// The bytes stood in the answer itself.
    Inline,
}

impl Rung {
    /// The rung as it stands in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Proxy => "proxy",
            Self::Listed => "listed",
            Self::FreshOutput => "fresh_output",
            Self::FreshProxy => "fresh_proxy",
            Self::Inline => "inline",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The record of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The job.
    pub job: JobRecord,
    /// The state in words; see [`Manifest::state`].
    pub state: State,
    /// When the record was first written, in UTC (RFC 3339).
    pub created_at: String,
    /// When it was last written.
    pub updated_at: String,
    /// When the service was last seen to be working on the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_seen_at: Option<String>,
    /// When the service was first seen to be done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_seen_at: Option<String>,
    /// How many outputs the job has: null while nobody knows, 0 where there will never be one.
    pub outputs: Option<usize>,
    /// The files that are here.
    pub files: Vec<FileRecord>,
    /// The outputs that are not.
    pub missing: Vec<MissingRecord>,
    /// Files that were here, were lost, and for which nothing else has come: their digests tell a copy elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<FileRecord>,
    /// Why the job as a whole has no outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
    /// The request's parameters as the service repeats them: prompt, seed, model and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// The answer's remaining fields.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub reply: Map<String, Value>,
    /// Fields of which this version knows nothing.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Which job a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Scheme, host and port of the API.
    pub origin: String,
    /// The family's name.
    pub family: String,
    /// The id that was asked for.
    pub id: String,
    /// The URL that fetches it.
    pub fetch_url: String,
    /// The id in the answer, where it was another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_id: Option<String>,
    /// Fields of which this version knows nothing.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// One file that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Which output it is, from 0.
    pub output: usize,
    /// Its name beside the record.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The digest of those bytes.
    pub sha256: Digest,
    /// The kind that its first bytes show: `gif`, `mp4`, …, or `unknown`.
    pub kind: String,
    /// The URL that it came from, without user, query and fragment; empty for bytes from the answer itself.
    pub source: String,
    /// Which rung of the ladder that was.
    pub rung: Rung,
    /// The host's `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The host's `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// How many requests it took, over all rungs.
    pub attempts: u32,
    /// When it was archived, in UTC (RFC 3339).
    pub archived_at: String,
    /// Why the rungs that were left did not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Reason>,
    /// Fields of which this version knows nothing.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// One output that is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRecord {
    /// Which output it is, from 0.
    pub output: usize,
    /// Whether every source said that there is no such file.
    pub gone: bool,
    /// What each source said last.
    pub reasons: Vec<Reason>,
    /// Fields of which this version knows nothing.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Why something did not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which rung it was, for a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// The source, without user, query and fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What kind of failure it was.
    pub cause: Cause,
    /// What was seen.
    pub detail: String,
    /// Fields of which this version knows nothing.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Reason {
    /// A failure as a record keeps it.
    #[must_use]
    pub fn of(failure: &Failure, rung: Option<Rung>, source: Option<String>) -> Self {
        Self { rung, source, cause: failure.cause, detail: failure.detail.clone(), unknown: Map::new() }
    }
}

impl JobRecord {
    /// The record of a job.
    #[must_use]
    pub fn of(job: &JobRef) -> Self {
        Self {
            origin: job.origin.as_str().into(),
            family: job.family.name().into(),
            id: job.id.as_str().into(),
            fetch_url: job.fetch_url(),
            answered_id: None,
            unknown: Map::new(),
        }
    }

    /// The job, where the record names one.
    pub fn to_job(&self) -> Result<JobRef, JobError> {
        let origin = Url::parse(&self.origin).map_err(|_| JobError::Address(self.origin.clone()))?;
        Ok(JobRef::new(Origin::of(&origin)?, Family::named(&self.family)?, JobId::new(&self.id)?))
    }

    /// Whether this is that job: origin, family and id are equal.
    #[must_use]
    pub fn is(&self, job: &JobRef) -> bool {
        self.origin == job.origin.as_str() && self.family == job.family.name() && self.id == job.id.as_str()
    }
}

/// A time stamp of a record in seconds since 1970.
#[must_use]
pub fn seconds_of(timestamp: &str) -> Option<u64> {
    let moment = humantime::parse_rfc3339(timestamp).ok()?;
    moment.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Takes so many bytes and refuses more.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most.saturating_sub(self.bytes.len()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It was written by a newer vfetch.
    #[error("written by a newer vfetch (version {0} of the format, this one reads up to {VERSION})")]
    Newer(u64),
    /// It is not one of ours, or damaged.
    #[error("not a readable record: {0}")]
    Damaged(String),
}

impl Manifest {
    /// An empty record of a job that nobody knows anything of yet.
    #[must_use]
    pub fn new(job: &JobRef, now: &str) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            job: JobRecord::of(job),
            state: State::Pending,
            created_at: now.into(),
            updated_at: now.into(),
            pending_seen_at: None,
            done_seen_at: None,
            outputs: None,
            files: Vec::new(),
            missing: Vec::new(),
            lost: Vec::new(),
            error: None,
            meta: None,
            reply: Map::new(),
            unknown: Map::new(),
        }
    }

    /// The state that follows from what the record holds.
    ///
    /// | outputs | files | missing | state |
    /// | --- | --- | --- | --- |
    /// | unknown | | | pending |
    /// | 0 | | | failed |
    /// | n | n | 0 | complete |
    /// | n | some | the others | partial |
    /// | n | none | all, each gone | gone |
    /// | n | none | all | failed |
    #[must_use]
    pub fn derived_state(&self) -> State {
        match self.outputs {
            None => State::Pending,
            Some(0) => State::Failed,
            Some(outputs) if self.files.len() == outputs && self.missing.is_empty() => State::Complete,
            Some(_) if !self.files.is_empty() => State::Partial,
            Some(_) if !self.missing.is_empty() && self.missing.iter().all(|missing| missing.gone) => {
                State::Gone
            }
            Some(_) => State::Failed,
        }
    }

    /// Remembers these files among the lost ones, and forgets each that is here, or whose output has another file.
    pub fn remember_lost(&mut self, files: impl IntoIterator<Item = FileRecord>) {
        self.lost.extend(files);
        let (here, mut seen) = (&self.files, HashSet::new());
        let is_here =
            |lost: &FileRecord| here.iter().any(|file| file.output == lost.output || file.path == lost.path);
        self.lost.retain(|lost| !is_here(lost) && seen.insert(lost.sha256));
    }

    /// Reads a record and checks that it agrees with itself.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Stamp {
            format: String,
            version: u64,
        }
        let damaged = |what: &dyn fmt::Display| ManifestError::Damaged(what.to_string());
        // A newer version may have any fields, so its number is read before the rest is understood.
        let manifest: Self = match serde_json::from_slice(bytes) {
            Ok(manifest) => manifest,
            Err(error) => match serde_json::from_slice::<Stamp>(bytes) {
                Ok(stamp) if stamp.format == FORMAT && stamp.version > u64::from(VERSION) => {
                    return Err(ManifestError::Newer(stamp.version));
                }
                _ => return Err(damaged(&error)),
            },
        };
        if manifest.format != FORMAT {
            return Err(damaged(&"its format is another"));
        }
        if manifest.version > VERSION {
            return Err(ManifestError::Newer(manifest.version.into()));
        }
        manifest.contradiction().map_or(Ok(()), |why| Err(damaged(&why)))?;
        Ok(manifest)
    }

    /// The record as it stands in its file, with its state brought up to date.
    ///
    /// It is indented for people's eyes, unless that makes it very long: an answer can be nested so that each of its
    /// bytes becomes a line of spaces.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let settled: &Self = &self.settled();
        let mut pretty = Bounded { bytes: Vec::with_capacity(USUAL), most: PRETTY_MAX };
        let mut bytes = match serde_json::to_writer_pretty(&mut pretty, settled) {
            Ok(()) => pretty.bytes,
            Err(_) => serde_json::to_vec(settled).unwrap_or_default(),
        };
        bytes.push(b'\n');
        bytes
    }

    /// The record with its state brought up to date.
    #[must_use]
    pub fn settled(&self) -> Cow<'_, Self> {
        let state = self.derived_state();
        if self.state == state { Cow::Borrowed(self) } else { Cow::Owned(Self { state, ..self.clone() }) }
    }

    /// What in the record disagrees with the rest of it.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let derived = self.derived_state();
        if self.state != derived {
            return Some(format!("it says {}, but what it lists is {derived}", self.state));
        }
        let outputs = self.outputs.unwrap_or(0);
        let named = self
            .files
            .iter()
            .map(|file| file.output)
            .chain(self.missing.iter().map(|missing| missing.output));
        let mut seen: Vec<usize> = named.collect();
        let listed = seen.len();
        seen.sort_unstable();
        seen.dedup();
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        (seen.len() != listed || listed > outputs || paths.len() != self.files.len())
            .then(|| "it lists an output twice, or more than there are".into())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use proptest::prelude::*;

    fn empty() -> Manifest {
        let job = Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse("147").unwrap().job;
        Manifest::new(&job, "2026-01-02T03:04:05Z")
    }

    fn file(output: usize) -> FileRecord {
        FileRecord {
            output,
            path: format!("147-{output}.gif"),
            bytes: 3,
            sha256: Digest::of(b"abc"),
            kind: "gif".into(),
            source: "https://media.test/a.gif".into(),
            rung: Rung::Output,
            etag: None,
            last_modified: None,
            attempts: 1,
            archived_at: "2026-01-02T03:04:05Z".into(),
            left: vec![],
            unknown: Map::new(),
        }
    }

    fn missing(output: usize, gone: bool) -> MissingRecord {
        MissingRecord { output, gone, reasons: vec![], unknown: Map::new() }
    }

    #[test]
    fn a_record_gives_its_job_back_whatever_its_family() {
        for name in Family::names().chain(["v8/morph"]) {
            let defaults = Defaults::new("http://127.0.0.1:8080", Some(name)).unwrap();
            let job = defaults.parse("AbC.1").unwrap().job;
            assert_eq!(JobRecord::of(&job).to_job().unwrap(), job, "{name}");
        }
        let good = empty().job;
        assert!(JobRecord { origin: "modelslab.com".into(), ..good.clone() }.to_job().is_err());
        assert!(JobRecord { family: "nowhere".into(), ..good.clone() }.to_job().is_err());
        assert!(JobRecord { id: "../x".into(), ..good }.to_job().is_err());
    }

    #[test]
    fn the_state_follows_from_outputs_files_and_missing() {
        let table: [(Option<usize>, usize, &[bool], State); 8] = [
            (None, 0, &[], State::Pending),
            (Some(0), 0, &[], State::Failed),
            (Some(2), 2, &[], State::Complete),
            (Some(2), 1, &[true], State::Partial),
            (Some(3), 1, &[], State::Partial),
            (Some(2), 0, &[true, true], State::Gone),
            (Some(2), 0, &[true, false], State::Failed),
            (Some(2), 0, &[], State::Failed),
        ];
        for (outputs, files, lost, want) in table {
            let mut manifest = empty();
            manifest.outputs = outputs;
            manifest.files = (0..files).map(file).collect();
            manifest.missing = lost.iter().enumerate().map(|(i, gone)| missing(files + i, *gone)).collect();
            assert_eq!(manifest.derived_state(), want);
            let read = Manifest::read(&manifest.to_bytes()).unwrap();
            assert_eq!((read.state, read.files.len()), (want, files));
        }
    }

    #[test]
    fn a_lost_file_is_remembered_until_its_output_has_another() {
        let mut manifest = empty();
        manifest.remember_lost([file(0), file(1), file(0)]);
        let other = FileRecord { sha256: Digest::of(b"x"), ..file(1) };
        manifest.remember_lost([other.clone()]);
        // All of them have the same bytes here, except the last.
        assert_eq!(manifest.lost, [file(0), other]);
        manifest.outputs = Some(2);
        manifest.files = vec![file(1)];
        manifest.missing = vec![missing(0, true)];
        manifest.remember_lost([]);
        assert_eq!(manifest.lost, [file(0)]);
        let read = Manifest::read(&manifest.to_bytes()).unwrap();
        assert_eq!(read.lost, [file(0)]);
        // One file that is here under the same output, one under the same path.
        let moved = FileRecord { output: 7, ..file(0) };
        let renamed = FileRecord { path: "147-0-other.gif".into(), sha256: Digest::of(b"y"), ..file(0) };
        manifest.files = vec![file(0)];
        manifest.remember_lost([moved, renamed]);
        assert!(manifest.lost.is_empty(), "{:?}", manifest.lost);
    }

    #[test]
    fn a_record_that_contradicts_itself_is_damaged() {
        let mut lies = empty();
        lies.outputs = Some(2);
        lies.files = vec![file(0)];
        lies.missing = vec![missing(1, true)];
        let text = String::from_utf8(lies.to_bytes()).unwrap();
        assert!(Manifest::read(text.as_bytes()).is_ok());
        let complete = text.replace("\"partial\"", "\"complete\"");
        assert!(matches!(Manifest::read(complete.as_bytes()), Err(ManifestError::Damaged(_))));
        lies.missing = vec![missing(0, true)];
        assert!(Manifest::read(&lies.to_bytes()).is_err());
        lies.missing = vec![missing(1, true), missing(2, true)];
        assert!(Manifest::read(&lies.to_bytes()).is_err());
        lies.missing = vec![];
        lies.files = vec![file(0), FileRecord { output: 1, ..file(0) }];
        assert!(Manifest::read(&lies.to_bytes()).is_err());
    }

    #[test]
    fn what_is_not_a_record_is_damaged_and_what_is_newer_is_refused() {
        let good = String::from_utf8(empty().to_bytes()).unwrap();
        for bad in
            ["", "garbage", "{}", "[]", &good[..good.len() / 2], &good.replace(FORMAT, "other.manifest")]
        {
            assert!(matches!(Manifest::read(bad.as_bytes()), Err(ManifestError::Damaged(_))), "{bad}");
        }
        let newer = good.replace("\"version\": 1", "\"version\": 2");
        assert_eq!(Manifest::read(newer.as_bytes()), Err(ManifestError::Newer(2)));
        let unlike = br#"{"format":"vfetch.manifest","version":7,"all":"else differs"}"#;
        assert_eq!(Manifest::read(unlike), Err(ManifestError::Newer(7)));
        let neither: [&[u8]; 2] = [
            br#"{"format":"vfetch.manifest","version":1,"all":"else differs"}"#,
            br#"{"format":"other.manifest","version":7,"all":"else differs"}"#,
        ];
        for bad in neither {
            assert!(matches!(Manifest::read(bad), Err(ManifestError::Damaged(_))));
        }
    }

    #[test]
    fn fields_of_another_hand_survive_a_rewrite() {
        let mut manifest = empty();
        manifest.outputs = Some(1);
        manifest.files = vec![file(0)];
        let mut value: Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        value["note"] = "kept".into();
        value["job"]["project"] = "fox".into();
        value["files"][0]["rating"] = 5.into();
        let read = Manifest::read(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&read.to_bytes()).unwrap(), value);
    }

    #[test]
    fn words_are_the_same_in_records_and_in_what_is_shown() {
        use Rung::{FreshOutput, FreshProxy, Inline, Listed, Output, Proxy};
        for state in [State::Pending, State::Complete, State::Partial, State::Failed, State::Gone] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
            assert_eq!(format!("{state:>9}"), format!("{:>9}", state.word()));
        }
        for rung in [Output, Proxy, Listed, FreshOutput, FreshProxy, Inline] {
            assert_eq!(serde_json::to_value(rung).unwrap(), rung.word());
            assert_eq!(format!("{rung:>12}"), format!("{:>12}", rung.word()));
        }
    }

    #[test]
    fn a_record_is_that_of_a_job_where_origin_family_and_id_are_equal() {
        let job = |origin: &str, text: &str| Defaults::new(origin, None).unwrap().parse(text).unwrap().job;
        let own = job(DEFAULT_ORIGIN, "147");
        let record = JobRecord::of(&own);
        assert!(record.is(&own));
        for other in [
            job("https://other.test", "147"),
            job(DEFAULT_ORIGIN, "realtime/147"),
            job(DEFAULT_ORIGIN, "148"),
        ] {
            assert!(!record.is(&other), "{other}");
        }
    }

    #[test]
    fn bytes_beyond_a_bound_are_refused() {
        use std::io::Write as _;
        let mut bounded = Bounded { bytes: Vec::new(), most: 5 };
        assert!(bounded.write_all(b"12345").is_ok());
        assert!(bounded.write_all(b"6").is_err());
        assert_eq!(bounded.bytes, b"12345");
    }

    #[test]
    fn time_stamps_are_seconds_since_1970() {
        assert_eq!(seconds_of("1970-01-02T00:00:01Z"), Some(86_401));
        assert_eq!(seconds_of("2026-01-02T03:04:05.678Z"), seconds_of("2026-01-02T03:04:05Z"));
        assert!(
            ["", "yesterday", "2026-01-02", "1969-12-31T23:59:59Z"]
                .iter()
                .all(|bad| seconds_of(bad).is_none())
        );
    }

    #[test]
    fn an_answer_that_is_nested_deep_does_not_blow_its_record_up() {
        let depth = 100;
        let numbers = vec!["1"; 200_000].join(",");
        let nested = format!("{}{numbers}{}", "[".repeat(depth), "]".repeat(depth));
        let mut manifest = empty();
        manifest.reply.insert("deep".into(), serde_json::from_str(&nested).unwrap());
        let bytes = manifest.to_bytes();
        assert!(bytes.len() < 2 * nested.len(), "{} bytes for {}", bytes.len(), nested.len());
        assert_eq!(Manifest::read(&bytes).unwrap(), manifest);
    }

    /// A record that is read is written again as it was understood.
    fn assert_stable(bytes: &[u8]) {
        if let Ok(manifest) = Manifest::read(bytes) {
            assert_eq!(Manifest::read(&manifest.to_bytes()).as_ref(), Ok(&manifest));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert_stable(&bytes);
        }

        #[test]
        fn a_record_with_a_flipped_byte_is_refused_or_read_as_what_it_says(
            files in 0..3_usize,
            lost in 0..3_usize,
            place in 0..1_000_usize,
            byte in any::<u8>(),
        ) {
            let mut manifest = empty();
            manifest.outputs = (files + lost > 0).then_some(files + lost);
            manifest.files = (0..files).map(file).collect();
            manifest.missing = (files..files + lost).map(|output| missing(output, true)).collect();
            let mut bytes = manifest.to_bytes();
            assert_eq!(Manifest::read(&bytes).unwrap().files, manifest.files);
            let place = place % bytes.len();
            bytes[place] = byte;
            assert_stable(&bytes);
        }
    }
}
