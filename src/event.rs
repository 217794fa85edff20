//! What happened, as it happens: one vocabulary for progress bars, plain lines, JSON lines, tests and the summary.
//!
//! The engine reports; who runs it round after round may add a warning of its own. Every start has exactly one end, on
//! failure and on cancellation too: a [`Event::JobStarted`] is followed by one [`Event::JobEnded`], a
//! [`Event::FileStarted`] by one [`Event::FileEnded`] before its job ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::job::JobRef;
use crate::manifest::{Manifest, MissingRecord, Rung, State};
use crate::retry::{Cause, Class, Failure};

/// Something that happened. Texts that came from a server are as they came: whoever shows them escapes them.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A line, an argument or a record that names no job to ask for; it was passed over.
    RefRefused {
        /// Where it stood: `argument 3`, `ids.txt:12`.
        place: &'a str,
        /// Why it names no job.
        why: &'a str,
    },
    /// A job is looked at.
    JobStarted {
        /// The job.
        job: &'a JobRef,
    },
    /// The service is still working on it, or has asked for patience.
    JobWaiting {
        /// The job.
        job: &'a JobRef,
        /// Why, in a few words: `processing`, `queued`, or what failed.
        why: &'a str,
        /// The service's own estimate of the time that is left.
        eta: Option<Duration>,
        /// How long until it is asked again.
        wait: Duration,
    },
    /// The service is done with it.
    JobReady {
        /// The job.
        job: &'a JobRef,
        /// How many outputs it has.
        outputs: usize,
        /// How many of them are to be fetched; the others are here.
        to_fetch: usize,
    },
    /// Something that deserves a word but changes nothing.
    Warning {
        /// The job that it concerns.
        job: Option<&'a JobRef>,
        /// What it is.
        text: &'a str,
    },
    /// The account's listing of one type of asset was read, or some pages of it.
    Listed {
        /// Which type.
        assets: &'a str,
        /// How many jobs it holds, as far as it was read.
        jobs: u64,
        /// How many of them were home and whole.
        whole: u64,
    },
    /// A request for a file begins.
    FileStarted {
        /// Which file of which job.
        file: FileRef<'a>,
        /// Which rung of the ladder is tried.
        rung: Rung,
        /// The source, without user, query and fragment.
        source: &'a str,
    },
    /// The host has answered.
    FileSized {
        /// Which file of which job.
        file: FileRef<'a>,
        /// The length of the whole in bytes, where the host told it.
        total: Option<u64>,
        /// How many bytes were here already.
        resumed: u64,
    },
    /// Bytes of a file are on the disk; reported in steps, not for each packet.
    FileReceived {
        /// Which file of which job.
        file: FileRef<'a>,
        /// How many bytes came since the last report.
        bytes: u64,
    },
    /// The request for a file is over.
    FileEnded {
        /// Which file of which job.
        file: FileRef<'a>,
        /// How.
        end: FileEnd<'a>,
    },
    /// A job is over for this run.
    JobEnded {
        /// The job.
        job: &'a JobRef,
        /// How.
        end: JobEnd<'a>,
    },
}

/// Which file: the output of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileRef<'a> {
    /// The job.
    pub job: &'a JobRef,
    /// The output, from 0.
    pub output: usize,
}

/// How a request for a file ended.
#[derive(Clone, Copy, Debug)]
pub enum FileEnd<'a> {
    /// Its bytes are whole, hashed and proven; they become visible when the job is committed.
    Proven {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The source did not serve.
    Left {
        /// Why.
        failure: &'a Failure,
    },
    /// The run was stopped; what came is kept for the next one.
    Cancelled,
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub enum JobEnd<'a> {
    /// It was complete before; nothing was asked.
    Kept(&'a Manifest),
    /// It is complete now.
    Archived(&'a Manifest),
    /// Some or all of its outputs are missing; what came is archived.
    Incomplete(&'a Manifest),
    /// The service was still working on it when the wait was over.
    Pending,
    /// It could not be asked, or the service refuses or has failed it; nothing new is archived.
    Failed(&'a Failure),
    /// This machine failed it: the disk, a lock, a folder that belongs to another job.
    Local(&'a str),
    /// The run was stopped first.
    Cancelled,
}

impl JobEnd<'_> {
    /// The end in a word, as it stands in JSON lines.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kept(_) => "kept",
            Self::Archived(_) => "archived",
            Self::Incomplete(manifest) => manifest.derived_state().word(),
            Self::Pending => "pending",
            Self::Failed(_) => "failed",
            Self::Local(_) => "local",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether every output of the job is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Kept(_) | Self::Archived(_) => true,
            Self::Incomplete(_) | Self::Pending | Self::Failed(_) | Self::Local(_) | Self::Cancelled => false,
        }
    }
}

/// Takes notice of events; called from many tasks at once, so it must be quick.
pub trait Reporter: Send + Sync {
    /// Takes notice of one event.
    fn event(&self, event: &Event<'_>);
}

/// What a run did, folded from its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs that ended in this run, however they ended.
    pub jobs: u64,
    /// Jobs that were complete before.
    pub kept: u64,
    /// Jobs that are complete now and were not before.
    pub archived: u64,
    /// Jobs of which some outputs are here.
    pub partial: u64,
    /// Jobs that failed at the service, or none of whose outputs can be fetched.
    pub failed: u64,
    /// Jobs about which the service, or hosts, could say nothing now: they are not lost for that.
    pub unreached: u64,
    /// Jobs whose outputs no longer exist anywhere.
    pub gone: u64,
    /// Jobs on which the service was still working.
    pub pending: u64,
    /// Jobs that this machine failed.
    pub local: u64,
    /// Jobs that a stop cut short.
    pub cancelled: u64,
    /// Lines, arguments and records that name no job to ask for.
    pub refused_refs: u64,
    /// Files that were fetched and proven in this run.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Bytes that came over the network for files, wasted ones too.
    pub received_bytes: u64,
    /// Failures by their words, each with how many jobs it ended and the first of them.
    pub failures: BTreeMap<String, FailureGroup>,
    worst: Worst,
}

/// The jobs that ended for one cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureGroup {
    /// How many there are.
    pub jobs: u64,
    /// The first of them, as references that `get` takes.
    pub first: Vec<String>,
    /// What was seen at the first one.
    pub detail: String,
}

/// The group of failures whose members are places of references, and not jobs.
pub const PASSED_OVER: &str = "passed over";
/// A failure group names this many jobs; the others are counted.
const GROUP_SHOWS: usize = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one row of the table of exit codes")]
struct Worst {
    auth: bool,
    local: bool,
    for_good: bool,
    for_now: bool,
}

impl Worst {
    fn of(class: Class) -> Self {
        match class {
            Class::Auth => Self { auth: true, ..Self::default() },
            Class::Permanent => Self { for_good: true, ..Self::default() },
            Class::Transient => Self { for_now: true, ..Self::default() },
        }
    }

    fn add(&mut self, other: Self) {
        let Self { auth, local, for_good, for_now } = other;
        self.auth |= auth;
        self.local |= local;
        self.for_good |= for_good;
        self.for_now |= for_now;
    }
}

/// All that a summary needs to know of a job that did not end complete: what is kept of it where it may be looked at
/// again, and only its last end is to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    count: Count,
    worst: Worst,
    /// The words of its group and what was seen; none where nothing failed.
    why: Option<(&'static str, String)>,
}

/// Where an unfinished job is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Partial,
    Failed,
    Unreached,
    Gone,
    Pending,
    Local,
    Cancelled,
}

impl Unfinished {
    /// What a summary needs to know of this end; `None` where the job is complete.
    #[must_use]
    pub fn of(end: &JobEnd<'_>) -> Option<Self> {
        let of = |count, worst, words, detail: &str| Self { count, worst, why: Some((words, detail.into())) };
        match end {
            JobEnd::Kept(_) | JobEnd::Archived(_) => None,
            JobEnd::Incomplete(manifest) => Some(Self::of_record(manifest)),
            JobEnd::Pending => {
                let words = "still processing when the wait was over";
                Some(of(Count::Pending, Worst::of(Class::Transient), words, ""))
            }
            JobEnd::Failed(failure) => {
                let count = match failure.class() {
                    Class::Transient => Count::Unreached,
                    Class::Permanent | Class::Auth => Count::Failed,
                };
                Some(of(count, Worst::of(failure.class()), failure.cause.words(), &failure.detail))
            }
            JobEnd::Local(why) => {
                let worst = Worst { local: true, ..Worst::default() };
                Some(of(Count::Local, worst, "this machine failed", why))
            }
            JobEnd::Cancelled => Some(Self { count: Count::Cancelled, worst: Worst::default(), why: None }),
        }
    }

    fn of_record(manifest: &Manifest) -> Self {
        let for_good = manifest.missing.is_empty() || manifest.missing.iter().any(is_for_good);
        let count = match manifest.derived_state() {
            State::Gone => Count::Gone,
            State::Partial => Count::Partial,
            State::Complete | State::Pending | State::Failed if for_good => Count::Failed,
            State::Complete | State::Pending | State::Failed => Count::Unreached,
        };
        let last =
            manifest.missing.iter().find_map(|missing| missing.reasons.last()).or(manifest.error.as_ref());
        let (words, detail) =
            last.map_or(("no output came", ""), |reason| (reason.cause.words(), reason.detail.as_str()));
        let worst = Worst { for_good, for_now: !for_good, ..Worst::default() };
        Self { count, worst, why: Some((words, detail.into())) }
    }
}

impl Summary {
    /// Adds one event.
    pub fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::RefRefused { place, why } => {
                self.refused_refs += 1;
                self.worst.for_good = true;
                self.group(PASSED_OVER, place, why);
            }
            Event::FileReceived { bytes, .. } => self.received_bytes += bytes,
            Event::FileEnded { end: FileEnd::Proven { bytes }, .. } => {
                self.files += 1;
                self.file_bytes += bytes;
            }
            Event::JobEnded { job, end } => self.note_end(job, end),
            Event::JobStarted { .. }
            | Event::JobWaiting { .. }
            | Event::JobReady { .. }
            | Event::Warning { .. }
            | Event::Listed { .. }
            | Event::FileStarted { .. }
            | Event::FileSized { .. }
            | Event::FileEnded { end: FileEnd::Left { .. } | FileEnd::Cancelled, .. } => {}
        }
    }

    /// Jobs that ended, but not complete.
    #[must_use]
    pub fn not_complete(&self) -> u64 {
        self.jobs - self.kept - self.archived
    }

    fn note_end(&mut self, job: &JobRef, end: &JobEnd<'_>) {
        if let Some(unfinished) = Unfinished::of(end) {
            return self.note_unfinished(job, &unfinished);
        }
        self.jobs += 1;
        let was_here = matches!(end, JobEnd::Kept(_));
        *if was_here { &mut self.kept } else { &mut self.archived } += 1;
    }

    /// Adds a job that did not end complete, as its end would.
    pub fn note_unfinished(&mut self, job: &JobRef, unfinished: &Unfinished) {
        self.jobs += 1;
        *match unfinished.count {
            Count::Partial => &mut self.partial,
            Count::Failed => &mut self.failed,
            Count::Unreached => &mut self.unreached,
            Count::Gone => &mut self.gone,
            Count::Pending => &mut self.pending,
            Count::Local => &mut self.local,
            Count::Cancelled => &mut self.cancelled,
        } += 1;
        self.worst.add(unfinished.worst);
        if let Some((words, detail)) = &unfinished.why {
            self.group(words, &job.to_string(), detail);
        }
    }

    fn group(&mut self, words: &str, job: &str, detail: &str) {
        let group = self.failures.entry(words.into()).or_default();
        group.jobs += 1;
        if group.first.len() < GROUP_SHOWS {
            group.first.push(job.into());
        }
        if group.detail.is_empty() {
            group.detail = detail.into();
        }
    }

    /// Notes that the account was refused, which ends the run.
    pub fn note_auth(&mut self) {
        self.worst.auth = true;
    }

    /// Notes what ended the run before it knew all of its jobs.
    pub fn note_unlisted(&mut self, failure: &Failure) {
        self.worst.add(Worst::of(failure.class()));
    }

    /// Notes that something is lacking which no later run can be expected to bring.
    pub fn note_for_good(&mut self) {
        self.worst.for_good = true;
    }

    /// Notes that this machine failed the run: the disk, a permission, a limit.
    pub fn note_local(&mut self) {
        self.worst.local = true;
    }

    /// The exit code of a run that no signal ended: 0 all done, 1 incomplete, 3 account refused, 4 try again, 5 this
    /// machine failed; where several hold, the first of 3, 5, 1, 4.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            Worst { auth: true, .. } => 3,
            Worst { local: true, .. } => 5,
            Worst { for_good: true, .. } => 1,
            Worst { for_now: true, .. } => 4,
            _ => 0,
        }
    }
}

/// Whether no later run can be expected to bring this output.
#[must_use]
pub fn is_for_good(missing: &MissingRecord) -> bool {
    let passing = |cause: Cause| matches!(cause.class(), Class::Transient | Class::Auth);
    missing.gone || !missing.reasons.iter().any(|reason| passing(reason.cause))
}

/// Whether a later run is of no use to an output. One without reasons was cut short by a signal: nobody said anything of it.
#[must_use]
pub fn is_settled(missing: &MissingRecord) -> bool {
    missing.gone || (is_for_good(missing) && !missing.reasons.is_empty())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use crate::manifest::Reason;
    use serde_json::Map;

    fn job(text: &str) -> JobRef {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
    }

    /// A record with outputs that are missing, each for these causes, and as many outputs that are here.
    fn manifest(missing: &[(bool, &[Cause])], here: usize) -> Manifest {
        let mut manifest = Manifest::new(&job("147"), "");
        let reason = |cause: &Cause| Reason::of(&Failure::new(*cause, "seen"), None, None);
        let record = |(output, (gone, causes)): (usize, &(bool, &[Cause]))| MissingRecord {
            output,
            gone: *gone,
            reasons: causes.iter().map(reason).collect(),
            unknown: Map::new(),
        };
        manifest.missing = missing.iter().enumerate().map(record).collect();
        manifest.outputs = Some(missing.len() + here);
        manifest.files = (missing.len()..missing.len() + here)
            .map(|output| crate::manifest::FileRecord {
                output,
                path: format!("147-{output}.gif"),
                bytes: 6,
                sha256: crate::sha256::Digest::of(b"GIF89a"),
                kind: "gif".into(),
                source: String::new(),
                rung: Rung::Output,
                etag: None,
                last_modified: None,
                attempts: 1,
                archived_at: String::new(),
                left: Vec::new(),
                unknown: Map::new(),
            })
            .collect();
        manifest.state = manifest.derived_state();
        manifest
    }

    fn after(events: &[Event<'_>]) -> Summary {
        let mut summary = Summary::default();
        for event in events {
            summary.note(event);
        }
        summary
    }

    /// An end, where it is counted, the exit code of a run with it alone, and its word.
    type EndRow<'a> = (JobEnd<'a>, fn(&Summary) -> u64, u8, &'static str);

    #[test]
    fn what_could_not_be_reached_has_not_failed() {
        let counts = |end: JobEnd<'_>| {
            let summary = after(&[Event::JobEnded { job: &job("147"), end }]);
            (summary.failed, summary.unreached, summary.exit_code())
        };
        let failed = |cause| counts(JobEnd::Failed(&Failure::new(cause, "")));
        assert_eq!(failed(Cause::ServerError), (0, 1, 4));
        assert_eq!(failed(Cause::JobFailed), (1, 0, 1));
        assert_eq!(failed(Cause::InvalidKey), (1, 0, 3));
        let incomplete = |causes: &[Cause]| counts(JobEnd::Incomplete(&manifest(&[(false, causes)], 0)));
        assert_eq!(incomplete(&[Cause::NotMedia, Cause::Stalled]), (0, 1, 4));
        assert_eq!(incomplete(&[Cause::NotMedia]), (1, 0, 1));
    }

    #[test]
    fn every_end_is_counted_once_and_where_it_belongs() {
        let job = job("147");
        let whole = manifest(&[], 1);
        let partial = manifest(&[(false, &[Cause::Absent])], 1);
        let failed = manifest(&[(false, &[Cause::NotMedia])], 0);
        let gone = manifest(&[(true, &[Cause::Absent])], 0);
        let failure = Failure::new(Cause::JobFailed, "no");
        let table: [EndRow<'_>; 9] = [
            (JobEnd::Kept(&whole), |summary| summary.kept, 0, "kept"),
            (JobEnd::Archived(&whole), |summary| summary.archived, 0, "archived"),
            (JobEnd::Incomplete(&partial), |summary| summary.partial, 1, "partial"),
            (JobEnd::Incomplete(&failed), |summary| summary.failed, 1, "failed"),
            (JobEnd::Incomplete(&gone), |summary| summary.gone, 1, "gone"),
            (JobEnd::Pending, |summary| summary.pending, 4, "pending"),
            (JobEnd::Failed(&failure), |summary| summary.failed, 1, "failed"),
            (JobEnd::Local("disk full"), |summary| summary.local, 5, "local"),
            (JobEnd::Cancelled, |summary| summary.cancelled, 0, "cancelled"),
        ];
        for (end, count, exit_code, word) in table {
            let summary = after(&[Event::JobEnded { job: &job, end }]);
            let all = summary.kept
                + summary.archived
                + summary.partial
                + summary.failed
                + summary.gone
                + summary.pending
                + summary.local
                + summary.cancelled;
            assert_eq!((count(&summary), summary.jobs, all), (1, 1, 1), "{word}");
            assert_eq!((summary.exit_code(), end.word()), (exit_code, word));
            assert_eq!(summary.not_complete(), u64::from(!end.is_complete()), "{word}");
            assert_eq!(summary.failures.len(), usize::from(exit_code != 0), "{word}");
        }
    }

    /// | what held | exit code |
    /// | --- | --- |
    /// | nothing | 0 |
    /// | the account was refused, whatever else | 3 |
    /// | else this machine failed, whatever else | 5 |
    /// | else something is missing for good | 1 |
    /// | else something may come later | 4 |
    #[test]
    fn of_several_exit_codes_the_first_of_3_5_1_4_holds() {
        let one = job("1");
        let ended = |end| Event::JobEnded { job: &one, end };
        let auth = Failure::new(Cause::NoCredits, "");
        let for_good = Failure::new(Cause::JobFailed, "");
        let for_now = Failure::new(Cause::ServerError, "");
        let (auth, for_good) = (ended(JobEnd::Failed(&auth)), ended(JobEnd::Failed(&for_good)));
        let (for_now, local) = (ended(JobEnd::Failed(&for_now)), ended(JobEnd::Local("")));
        let table: [(&[Event<'_>], u8); 10] = [
            (&[], 0),
            (&[auth], 3),
            (&[local], 5),
            (&[for_good], 1),
            (&[for_now], 4),
            (&[for_now, for_good, local, auth], 3),
            (&[for_now, for_good, local], 5),
            (&[for_now, for_good], 1),
            (&[ended(JobEnd::Cancelled), for_now], 4),
            (&[Event::RefRefused { place: "a:1", why: "no" }, for_now], 1),
        ];
        for (events, want) in table {
            assert_eq!(after(events).exit_code(), want, "{events:?}");
        }
        let mut summary = after(&[for_now]);
        summary.note_local();
        assert_eq!(summary.exit_code(), 5);
        summary.note_auth();
        assert_eq!(summary.exit_code(), 3);
    }

    #[test]
    fn a_missing_output_is_for_good_unless_some_source_may_serve_later() {
        type Row<'a> = (&'a [(bool, &'a [Cause])], u8);
        let table: [Row<'_>; 6] = [
            (&[(false, &[Cause::Absent, Cause::NotMedia])], 1),
            (&[(false, &[Cause::Absent, Cause::Stalled])], 4),
            (&[(true, &[Cause::Absent, Cause::Stalled])], 1),
            (&[(false, &[Cause::Stalled]), (false, &[Cause::Absent])], 1),
            (&[(false, &[Cause::Absent, Cause::InvalidKey])], 4),
            (&[(false, &[])], 1),
        ];
        for (missing, want) in table {
            let record = manifest(missing, 1);
            let ended = Event::JobEnded { job: &job("1"), end: JobEnd::Incomplete(&record) };
            assert_eq!(after(&[ended]).exit_code(), want, "{missing:?}");
        }
    }

    #[test]
    fn what_ends_a_run_early_decides_its_exit_code() {
        let after = |note: &dyn Fn(&mut Summary)| {
            let mut summary = Summary::default();
            note(&mut summary);
            summary.exit_code()
        };
        let unlisted = |cause| after(&move |summary| summary.note_unlisted(&Failure::new(cause, "")));
        let causes = [Cause::InvalidKey, Cause::Rejected, Cause::ServerError];
        assert_eq!(causes.map(unlisted), [3, 1, 4]);
        let notes: [fn(&mut Summary); 3] = [Summary::note_auth, Summary::note_for_good, Summary::note_local];
        assert_eq!(notes.map(|note| after(&note)), [3, 1, 5]);
    }

    #[test]
    fn failures_are_grouped_by_cause_with_the_first_ten_jobs() {
        let jobs: Vec<JobRef> = (1..=12).map(|id| job(&id.to_string())).collect();
        let failure = |detail: &str| Failure::new(Cause::JobFailed, detail);
        let mut summary = Summary::default();
        for (job, detail) in jobs.iter().zip(["", "first", "second"].into_iter().cycle()) {
            summary.note(&Event::JobEnded { job, end: JobEnd::Failed(&failure(detail)) });
        }
        summary.note(&Event::JobEnded { job: &jobs[0], end: JobEnd::Pending });
        let record = manifest(&[(false, &[Cause::Stalled, Cause::Absent])], 0);
        summary.note(&Event::JobEnded { job: &jobs[1], end: JobEnd::Incomplete(&record) });
        let nothing_said = manifest(&[(false, &[])], 0);
        summary.note(&Event::JobEnded { job: &jobs[2], end: JobEnd::Incomplete(&nothing_said) });

        let words: Vec<&str> = summary.failures.keys().map(String::as_str).collect();
        let want = [
            "no output came",
            "still processing when the wait was over",
            "the file is not there",
            "the job failed at the service",
        ];
        assert_eq!(words, want);
        let group = &summary.failures["the job failed at the service"];
        assert_eq!((group.jobs, group.detail.as_str()), (12, "first"));
        assert_eq!(group.first, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
        assert_eq!(summary.failures["the file is not there"].detail, "seen");
    }

    #[test]
    fn files_and_bytes_are_added_up_and_wasted_ones_are_bytes_too() {
        let job = job("147");
        let file = FileRef { job: &job, output: 0 };
        let failure = Failure::new(Cause::Broken, "");
        let summary = after(&[
            Event::JobStarted { job: &job },
            Event::JobWaiting { job: &job, why: "", eta: None, wait: Duration::ZERO },
            Event::JobReady { job: &job, outputs: 1, to_fetch: 1 },
            Event::Warning { job: None, text: "" },
            Event::FileStarted { file, rung: Rung::Output, source: "" },
            Event::FileSized { file, total: Some(9), resumed: 0 },
            Event::FileReceived { file, bytes: 5 },
            Event::FileEnded { file, end: FileEnd::Left { failure: &failure } },
            Event::FileReceived { file, bytes: 9 },
            Event::FileEnded { file, end: FileEnd::Cancelled },
            Event::FileEnded { file, end: FileEnd::Proven { bytes: 9 } },
        ]);
        let want = Summary { files: 1, file_bytes: 9, received_bytes: 14, ..Summary::default() };
        assert_eq!(summary, want);
        let twice = after(&[
            Event::RefRefused { place: "a:1", why: "no" },
            Event::RefRefused { place: "a:2", why: "no" },
            Event::FileEnded { file, end: FileEnd::Proven { bytes: 9 } },
            Event::FileEnded { file, end: FileEnd::Proven { bytes: 8 } },
        ]);
        assert_eq!((twice.refused_refs, twice.files, twice.file_bytes), (2, 2, 17));
    }
}
