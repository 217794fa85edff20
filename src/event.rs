//! What happened, as it happens: one vocabulary for progress bars, plain lines, JSON lines, tests and the summary.
//!
//! Only the engine reports. Every start has exactly one end, on failure and on cancellation too: a [`Event::JobStarted`]
//! is followed by one [`Event::JobEnded`], a [`Event::FileStarted`] by one [`Event::FileEnded`] before its job ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::job::JobRef;
use crate::manifest::{Manifest, MissingRecord, Rung, State};
use crate::retry::{Cause, Class, Failure};

/// Something that happened. Texts that came from a server are as they came: whoever shows them escapes them.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A line or an argument that names no job; it was passed over.
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
    /// Jobs that failed at the service, or none of whose outputs could be fetched.
    pub failed: u64,
    /// Jobs whose outputs no longer exist anywhere.
    pub gone: u64,
    /// Jobs on which the service was still working.
    pub pending: u64,
    /// Jobs that this machine failed.
    pub local: u64,
    /// Jobs that a stop cut short.
    pub cancelled: u64,
    /// Lines and arguments that name no job.
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

/// The group of failures whose members are lines and arguments, and not jobs.
pub const NAMES_NO_JOB: &str = "names no job";
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

impl Summary {
    /// Adds one event.
    pub fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::RefRefused { place, why } => {
                self.refused_refs += 1;
                self.worst.for_good = true;
                self.group(NAMES_NO_JOB, place, why);
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
        self.jobs += 1;
        match end {
            JobEnd::Kept(_) => self.kept += 1,
            JobEnd::Archived(_) => self.archived += 1,
            JobEnd::Incomplete(manifest) => self.note_incomplete(job, manifest),
            JobEnd::Pending => {
                self.pending += 1;
                self.worst.for_now = true;
                self.group("still processing when the wait was over", &job.to_string(), "");
            }
            JobEnd::Failed(failure) => self.note_failure(job, failure),
            JobEnd::Local(why) => {
                self.local += 1;
                self.worst.local = true;
                self.group("this machine failed", &job.to_string(), why);
            }
            JobEnd::Cancelled => self.cancelled += 1,
        }
    }

    fn note_failure(&mut self, job: &JobRef, failure: &Failure) {
        self.failed += 1;
        match failure.class() {
            Class::Auth => self.worst.auth = true,
            Class::Permanent => self.worst.for_good = true,
            Class::Transient => self.worst.for_now = true,
        }
        self.group(failure.cause.words(), &job.to_string(), &failure.detail);
    }

    fn note_incomplete(&mut self, job: &JobRef, manifest: &Manifest) {
        match manifest.derived_state() {
            State::Gone => self.gone += 1,
            State::Partial => self.partial += 1,
            State::Complete | State::Pending | State::Failed => self.failed += 1,
        }
        let for_good = manifest.missing.is_empty() || manifest.missing.iter().any(is_for_good);
        self.worst.for_good |= for_good;
        self.worst.for_now |= !for_good;
        let last =
            manifest.missing.iter().find_map(|missing| missing.reasons.last()).or(manifest.error.as_ref());
        let (words, detail) = last.map_or(("", ""), |reason| (reason.cause.words(), reason.detail.as_str()));
        self.group(words, &job.to_string(), detail);
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
    let passing = |cause: Cause| cause.class() == Class::Transient;
    missing.gone || !missing.reasons.iter().any(|reason| passing(reason.cause))
}
