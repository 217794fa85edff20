//! What an archive holds, added up from its records: by state, family, host and age, what is at risk and until when,
//! what failed and why.
//!
//! A [`Census`] has a bounded size however many jobs it counts: names beyond a bound are counted together, and of the
//! jobs at risk only the first to die are named.

use std::collections::BTreeMap;

use url::Url;

use crate::event::is_settled;
use crate::job::JobRef;
use crate::lifetime::{Birth, Lifetimes};
use crate::manifest::{Manifest, Reason, State, seconds_of};

/// Hosts, families and reasons that are told apart; what comes beyond is counted together.
const NAMES_MAX: usize = 256;
/// What is counted beyond [`NAMES_MAX`] names.
const OTHERS: &str = "(others)";
/// Jobs at risk that are named, and jobs that are named for each reason.
const NAMED: usize = 20;

/// Jobs, their files here, and the files' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many jobs.
    pub jobs: u64,
    /// How many files are recorded as being here.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How long ago a job was first recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Within the hour.
    Hour,
    /// Within a day.
    Day,
    /// Within a week.
    Week,
    /// Within 30 days.
    Month,
    /// Within 365 days.
    Year,
    /// Longer ago.
    Older,
    /// Its record does not tell.
    Unknown,
}

impl Age {
    /// The age of what was recorded so many seconds ago; what lies in the future counts as just recorded.
    #[must_use]
    pub fn of(seconds: Option<u64>) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        match seconds {
            None => Self::Unknown,
            Some(seconds) if seconds < 60 * 60 => Self::Hour,
            Some(seconds) if seconds < DAY => Self::Day,
            Some(seconds) if seconds < 7 * DAY => Self::Week,
            Some(seconds) if seconds < 30 * DAY => Self::Month,
            Some(seconds) if seconds < 365 * DAY => Self::Year,
            Some(_) => Self::Older,
        }
    }

    /// The age in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Hour => "last hour",
            Self::Day => "last day",
            Self::Week => "last 7 days",
            Self::Month => "last 30 days",
            Self::Year => "last year",
            Self::Older => "older",
            Self::Unknown => "unknown",
        }
    }
}

/// A job whose files are not all here and may still be fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtRisk {
    /// When its files are expected to be deleted, in seconds since 1970; `u64::MAX` where nobody knows an end.
    pub dies: u64,
    /// The job, as a reference that `get` takes.
    pub job: String,
    /// Its state.
    pub state: State,
}

impl AtRisk {
    /// The moment of its end, where one is known.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        (self.dies != u64::MAX).then_some(self.dies)
    }

    /// What is at risk of a job, if anything.
    ///
    /// | state | what is missing | at risk |
    /// | --- | --- | --- |
    /// | complete, gone | | no |
    /// | pending | | until the end that [`Lifetimes`] estimates |
    /// | partial, failed | nothing that a later run could bring | no |
    /// | partial, failed | something that it could | until that end |
    #[must_use]
    pub fn of(job: &JobRef, manifest: &Manifest) -> Option<Self> {
        match manifest.state {
            State::Complete | State::Gone => return None,
            State::Partial | State::Failed if manifest.missing.iter().all(is_settled) => return None,
            State::Pending | State::Partial | State::Failed => {}
        }
        let birth =
            Birth::recorded(manifest).or_else(|| Some(Birth::Before(seconds_of(&manifest.created_at)?)));
        let dies = birth.and_then(|birth| Lifetimes::new(None).job_dies_at(&job.family, birth));
        Some(Self { dies: dies.unwrap_or(u64::MAX), job: job.to_string(), state: manifest.state })
    }
}

/// The jobs that failed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// How many there are.
    pub jobs: u64,
    /// Some of them, as references that `get` takes.
    pub first: Vec<String>,
    /// What was seen at the first one; may hold a server's text.
    pub detail: String,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// When it was taken, in seconds since 1970.
    pub counted_at: u64,
    /// All of it.
    pub all: Count,
    /// By state.
    pub states: BTreeMap<State, Count>,
    /// By family.
    pub families: BTreeMap<String, Count>,
    /// By the host that served the files; a job counts for each of its hosts.
    pub hosts: BTreeMap<String, Count>,
    /// By the time since the job was first recorded.
    pub ages: BTreeMap<Age, Count>,
    /// Jobs whose files are not all here and may still be fetched.
    pub at_risk: u64,
    /// The first of them to die, soonest first.
    pub first_to_die: Vec<AtRisk>,
    /// Jobs that failed or are not whole, by the words of the reason.
    pub failures: BTreeMap<String, Failed>,
    /// Records that cannot be used.
    pub unreadable: u64,
    /// The folders of some of them, each with the reason.
    pub unreadable_first: Vec<(String, String)>,
}

impl Census {
    /// Counts one job; `now` in seconds since 1970.
    pub fn note(&mut self, job: &JobRef, manifest: &Manifest, now: u64) {
        let bytes = manifest.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        let count = Count { jobs: 1, files: manifest.files.len() as u64, bytes };
        self.all.add(count);
        self.states.entry(manifest.state).or_default().add(count);
        bounded(&mut self.families, &manifest.job.family).add(count);
        let age = seconds_of(&manifest.created_at).map(|created| now.saturating_sub(created));
        self.ages.entry(Age::of(age)).or_default().add(count);
        self.note_hosts(manifest);
        if let Some(at_risk) = AtRisk::of(job, manifest) {
            self.at_risk += 1;
            let (Ok(place) | Err(place)) = self.first_to_die.binary_search(&at_risk);
            self.first_to_die.insert(place, at_risk);
            self.first_to_die.truncate(NAMED);
        }
        self.note_failure(job, manifest);
    }

    /// Counts a record that cannot be used.
    pub fn note_unreadable(&mut self, folder: &str, why: String) {
        self.unreadable += 1;
        if self.unreadable_first.len() < NAMED {
            self.unreadable_first.push((folder.into(), why));
        }
    }

    fn note_hosts(&mut self, manifest: &Manifest) {
        let mut of_job: BTreeMap<String, Count> = BTreeMap::new();
        for file in &manifest.files {
            let host = Url::parse(&file.source).ok().and_then(|url| url.host_str().map(str::to_owned));
            let host = host.unwrap_or_else(|| "(in the answer)".into());
            of_job.entry(host).or_default().add(Count { jobs: 0, files: 1, bytes: file.bytes });
        }
        for (host, count) in of_job {
            bounded(&mut self.hosts, &host).add(Count { jobs: 1, ..count });
        }
    }

    fn note_failure(&mut self, job: &JobRef, manifest: &Manifest) {
        let not_whole = match manifest.state {
            State::Complete | State::Pending => return,
            State::Partial | State::Failed | State::Gone => manifest.missing.first(),
        };
        let last = not_whole.and_then(|missing| missing.reasons.last()).or(manifest.error.as_ref());
        let (words, detail) = last.map_or(("no reason is recorded", ""), words_and_detail);
        let group = bounded(&mut self.failures, words);
        group.jobs += 1;
        if group.first.len() < NAMED {
            group.first.push(job.to_string());
        }
        if group.detail.is_empty() {
            group.detail = detail.into();
        }
    }

    /// Adds what another part of the archive holds, later in the order of folders than this one.
    pub fn add(&mut self, other: Self) {
        self.all.add(other.all);
        add_all(&mut self.states, other.states);
        add_all(&mut self.ages, other.ages);
        for (name, count) in other.families {
            bounded(&mut self.families, &name).add(count);
        }
        for (name, count) in other.hosts {
            bounded(&mut self.hosts, &name).add(count);
        }
        self.at_risk += other.at_risk;
        self.first_to_die.extend(other.first_to_die);
        self.first_to_die.sort_unstable();
        self.first_to_die.truncate(NAMED);
        for (words, failed) in other.failures {
            let group = bounded(&mut self.failures, &words);
            group.jobs += failed.jobs;
            let room = NAMED.saturating_sub(group.first.len());
            group.first.extend(failed.first.into_iter().take(room));
            if group.detail.is_empty() {
                group.detail = failed.detail;
            }
        }
        self.unreadable += other.unreadable;
        let room = NAMED.saturating_sub(self.unreadable_first.len());
        self.unreadable_first.extend(other.unreadable_first.into_iter().take(room));
    }
}

fn words_and_detail(reason: &Reason) -> (&str, &str) {
    (reason.cause.words(), reason.detail.as_str())
}

fn add_all<K: Ord>(to: &mut BTreeMap<K, Count>, from: BTreeMap<K, Count>) {
    for (name, count) in from {
        to.entry(name).or_default().add(count);
    }
}

fn bounded<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    let name = if map.len() < NAMES_MAX || map.contains_key(name) { name } else { OTHERS };
    map.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use crate::manifest::MissingRecord;
    use crate::retry::{Cause, Failure};

    const DONE: &str = "2026-01-02T03:04:05Z";
    const DAY: u64 = 24 * 60 * 60;

    fn job(text: &str) -> JobRef {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
    }

    /// A job with so many files of 10 bytes, and one missing output for each cause.
    fn manifest(text: &str, files: usize, missing: &[Cause]) -> (JobRef, Manifest) {
        let job = job(text);
        let mut manifest = Manifest::new(&job, DONE);
        manifest.outputs = Some(files + missing.len());
        manifest.done_seen_at = Some(DONE.into());
        let file = |output: usize| {
            serde_json::from_value(serde_json::json!({"output": output, "path": format!("x-{output}.gif"), "bytes": 10,
                "sha256": crate::sha256::Digest::of(b"x"), "kind": "gif", "source": format!("https://h{output}.test/a"),
                "rung": "output", "attempts": 1, "archived_at": DONE}))
            .unwrap()
        };
        manifest.files = (0..files).map(file).collect();
        let lost = |(place, cause): (usize, &Cause)| MissingRecord {
            output: files + place,
            gone: *cause == Cause::Absent,
            reasons: vec![Reason::of(&Failure::new(*cause, "seen"), None, None)],
            unknown: serde_json::Map::new(),
        };
        manifest.missing = missing.iter().enumerate().map(lost).collect();
        manifest.state = manifest.derived_state();
        (job, manifest)
    }

    fn pending(text: &str) -> (JobRef, Manifest) {
        let (job, mut manifest) = manifest(text, 0, &[]);
        manifest.outputs = None;
        manifest.done_seen_at = None;
        manifest.pending_seen_at = Some("2026-01-02T04:04:05Z".into());
        manifest.state = State::Pending;
        (job, manifest)
    }

    #[test]
    fn a_job_is_at_risk_while_something_may_still_be_fetched_and_until_its_family_deletes_it() {
        let done = seconds_of(DONE).unwrap();
        let table = [
            (manifest("1", 1, &[]), None),
            (manifest("1", 0, &[Cause::Absent]), None),
            (manifest("1", 1, &[Cause::Absent]), None),
            (manifest("1", 1, &[Cause::NotMedia]), None),
            // First seen when it was done already, and so half way through its life as far as anybody can tell.
            (manifest("1", 1, &[Cause::Stalled]), Some(Some(done + DAY / 2))),
            (manifest("1", 0, &[Cause::Absent, Cause::Stalled]), Some(Some(done + DAY / 2))),
            (manifest("realtime/1", 0, &[Cause::Stalled]), Some(None)),
            (manifest("enterprise/flux/1", 0, &[Cause::Stalled]), Some(Some(done + DAY / 2))),
            (pending("1"), Some(Some(done + 3_600 + DAY))),
            (pending("video/1"), Some(None)),
        ];
        let (job, mut cut_short) = manifest("1", 1, &[Cause::NotMedia]);
        cut_short.missing[0].reasons = Vec::new();
        let table = table.into_iter().chain([((job, cut_short), Some(Some(done + DAY / 2)))]);
        for ((job, manifest), want) in table {
            let at_risk = AtRisk::of(&job, &manifest);
            assert_eq!(at_risk.map(|at_risk| at_risk.until()), want, "{manifest:?}");
        }
    }

    #[test]
    fn ages_have_words() {
        let words =
            [Age::Hour, Age::Day, Age::Week, Age::Month, Age::Year, Age::Older, Age::Unknown].map(Age::words);
        let want = ["last hour", "last day", "last 7 days", "last 30 days", "last year", "older", "unknown"];
        assert_eq!(words, want);
    }

    #[test]
    fn ages_have_bounds() {
        let table = [
            (None, Age::Unknown),
            (Some(0), Age::Hour),
            (Some(3_599), Age::Hour),
            (Some(3_600), Age::Day),
            (Some(DAY), Age::Week),
            (Some(7 * DAY), Age::Month),
            (Some(30 * DAY), Age::Year),
            (Some(365 * DAY), Age::Older),
        ];
        for (seconds, want) in table {
            assert_eq!(Age::of(seconds), want, "{seconds:?}");
        }
    }

    #[test]
    fn counts_are_the_same_however_the_archive_is_cut_into_parts() {
        let jobs = [
            manifest("1", 2, &[]),
            manifest("2", 1, &[Cause::Stalled]),
            manifest("realtime/3", 0, &[Cause::Absent]),
            pending("4"),
            manifest("5", 0, &[Cause::JobFailed]),
        ];
        let now = seconds_of(DONE).unwrap() + 2 * DAY;
        let mut whole = Census::default();
        for (job, manifest) in &jobs {
            whole.note(job, manifest, now);
        }
        whole.note_unreadable("6", "torn".into());
        whole.note_unreadable("7", "newer".into());
        let mut parts = Census::default();
        for (job, manifest) in &jobs {
            let mut part = Census::default();
            part.note(job, manifest, now);
            parts.add(part);
        }
        for (folder, why) in [("6", "torn"), ("7", "newer")] {
            let mut part = Census::default();
            part.note_unreadable(folder, why.into());
            parts.add(part);
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.all, Count { jobs: 5, files: 3, bytes: 30 });
        assert_eq!(whole.states[&State::Partial], Count { jobs: 1, files: 1, bytes: 10 });
        assert_eq!(whole.families["realtime"].jobs, 1);
        assert_eq!(whole.hosts["h0.test"], Count { jobs: 2, files: 2, bytes: 20 });
        assert_eq!(whole.ages[&Age::Week].jobs, 5);
        assert_eq!((whole.at_risk, whole.first_to_die[0].job.as_str()), (2, "2"));
        assert_eq!(whole.failures["the job failed at the service"].first, ["5"]);
        assert_eq!(whole.failures.values().map(|group| group.jobs).sum::<u64>(), 3);
    }

    #[test]
    fn a_census_stays_small() {
        let mut census = Census::default();
        for id in 0..2_000 {
            let (job, mut manifest) = manifest(&id.to_string(), 1, &[Cause::Stalled]);
            manifest.files[0].source = format!("https://h{id}.test/a");
            manifest.done_seen_at = Some(format!("2026-01-02T03:{:02}:05Z", 59 - id % 60));
            census.note(&job, &manifest, 0);
            census.note_unreadable(&id.to_string(), "torn".into());
        }
        assert_eq!(
            (census.hosts.len(), census.hosts[OTHERS].jobs),
            (NAMES_MAX + 1, 2_000 - NAMES_MAX as u64)
        );
        assert_eq!((census.at_risk, census.first_to_die.len()), (2_000, NAMED));
        // Every sixtieth job is the first to die.
        assert!(census.first_to_die.iter().all(|at_risk| at_risk.job.parse::<u64>().unwrap() % 60 == 59));
        assert!(census.first_to_die.is_sorted());
        let stalled = census.failures.values().next().unwrap();
        assert_eq!((census.failures.len(), stalled.jobs, stalled.first.len()), (1, 2_000, NAMED));
        assert_eq!((census.unreadable, census.unreadable_first.len()), (2_000, NAMED));
    }
}
