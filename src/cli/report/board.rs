//! What a run has under way, folded from its events: what bars and plain lines are made of.
//!
//! Events come from many tasks and change numbers here; nothing is formatted. A few times a second a [`View`] is taken,
//! and everything that costs happens to that copy.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use vfetch::event::{Event, FileEnd, FileRef, Summary};
use vfetch::job::JobRef;
use vfetch::manifest::Rung;

use super::words;

/// The rate is that of this last time.
const RATE_OVER: Duration = Duration::from_secs(5);
/// No rate is told before it rests on this much time.
const RATE_FROM: Duration = Duration::from_secs(1);
/// With so many jobs under way the list has not been read to its end, so nobody knows what is left.
const LIST_GOES_ON: u64 = 2_048;

/// What a run has under way.
#[derive(Default)]
pub(super) struct Board {
    pub(super) summary: Summary,
    asked: u64,
    /// Jobs that wait or have files; the others only count.
    jobs: HashMap<JobRef, Job>,
    /// What began so far, to number what begins next.
    begun: u64,
    received: VecDeque<(Instant, u64)>,
}

#[derive(Default)]
struct Job {
    place: u64,
    waiting: Option<Waiting>,
    files: Vec<File>,
    /// Outputs that are to be fetched and are not proven yet.
    outputs_left: u64,
}

struct Waiting {
    why: String,
    ready_at: Option<Instant>,
    asked_at: Instant,
}

struct File {
    output: usize,
    place: u64,
    rung: Rung,
    total: Option<u64>,
    bytes: u64,
    new_bytes: u64,
    since: Instant,
}

impl Board {
    /// Takes notice of an event.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        self.summary.note(event);
        match event {
            Event::RefRefused { .. } | Event::Warning { .. } => {}
            Event::JobStarted { .. } => self.asked += 1,
            Event::JobWaiting { job, why, eta, wait } => {
                let ready_at = eta.and_then(|eta| now.checked_add(eta));
                let asked_at = now.checked_add(*wait).unwrap_or(now);
                self.job(job).waiting = Some(Waiting { why: (*why).into(), ready_at, asked_at });
            }
            Event::JobReady { job, to_fetch, .. } => {
                let job = self.job(job);
                job.waiting = None;
                job.outputs_left = *to_fetch as u64;
            }
            Event::FileStarted { file, rung, .. } => self.begin(file, *rung, now),
            Event::FileSized { file, total, resumed } => {
                if let Some(file) = self.file(file) {
                    (file.total, file.bytes) = (*total, *resumed);
                }
            }
            Event::FileReceived { file, bytes } => {
                if let Some(file) = self.file(file) {
                    file.bytes += bytes;
                    file.new_bytes += bytes;
                }
            }
            Event::FileEnded { file, end } => {
                if let Some(job) = self.jobs.get_mut(file.job) {
                    job.files.retain(|other| other.output != file.output);
                    match end {
                        FileEnd::Proven { .. } => job.outputs_left = job.outputs_left.saturating_sub(1),
                        FileEnd::Left { .. } | FileEnd::Cancelled => {}
                    }
                }
            }
            Event::JobEnded { job, .. } => drop(self.jobs.remove(*job)),
        }
    }

    fn job(&mut self, job: &JobRef) -> &mut Job {
        self.begun += 1;
        let place = self.begun;
        self.jobs.entry(job.clone()).or_insert_with(|| Job { place, ..Job::default() })
    }

    fn begin(&mut self, file: &FileRef<'_>, rung: Rung, now: Instant) {
        self.begun += 1;
        let (output, place) = (file.output, self.begun);
        let job = self.job(file.job);
        job.waiting = None;
        job.files.retain(|other| other.output != output);
        job.files.push(File { output, place, rung, total: None, bytes: 0, new_bytes: 0, since: now });
    }

    fn file(&mut self, file: &FileRef<'_>) -> Option<&mut File> {
        let job = self.jobs.get_mut(file.job)?;
        job.files.iter_mut().find(|other| other.output == file.output)
    }
}

/// What is to be seen at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) totals: Totals,
    /// The files under way, in the order in which they began.
    pub(super) files: Vec<FileView>,
    /// The jobs that have waited longest, at most as many as were asked for.
    pub(super) waiting: Vec<WaitView>,
}

/// The numbers of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) asked: u64,
    pub(super) ended: u64,
    /// Ended, but not complete.
    pub(super) failed: u64,
    pub(super) files: u64,
    pub(super) waiting: u64,
    pub(super) bytes: u64,
    pub(super) bytes_per_s: Option<u64>,
    /// The time that is left, where it can be told.
    pub(super) left: Option<Duration>,
}

/// One file under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileView {
    /// Tells it from all others, and says when it began.
    pub(super) place: u64,
    pub(super) name: String,
    pub(super) rung: Rung,
    pub(super) total: Option<u64>,
    pub(super) bytes: u64,
    pub(super) bytes_per_s: u64,
}

/// One job that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WaitView {
    pub(super) name: String,
    pub(super) why: String,
    /// The service's estimate, less what has passed since.
    pub(super) ready_in: Option<Duration>,
    pub(super) asked_in: Duration,
}

impl Board {
    /// What is to be seen now, with at most so many waiting jobs.
    pub(super) fn view(&mut self, now: Instant, waiting_shown: usize) -> View {
        let bytes_per_s = self.rate(now);
        let mut files = Vec::new();
        let mut waiting = Vec::new();
        for (job, state) in &self.jobs {
            files.extend(state.files.iter().map(|file| file.view(job, now)));
            waiting.extend(state.waiting.iter().map(|waiting| (state.place, job, waiting)));
        }
        files.sort_unstable_by_key(|file| file.place);
        waiting.sort_unstable_by_key(|(place, ..)| *place);
        let totals = Totals {
            asked: self.asked,
            ended: self.summary.jobs,
            failed: self.summary.not_complete(),
            files: files.len() as u64,
            waiting: waiting.len() as u64,
            bytes: self.summary.received_bytes,
            bytes_per_s,
            left: self.left(&files, &waiting, bytes_per_s, now),
        };
        let shown = waiting.into_iter().take(waiting_shown);
        let waiting = shown.map(|(_, job, waiting)| waiting.view(job, now)).collect();
        View { totals, files, waiting }
    }

    fn rate(&mut self, now: Instant) -> Option<u64> {
        self.received.push_back((now, self.summary.received_bytes));
        while self.received.len() > 2 && now.saturating_duration_since(self.received[1].0) >= RATE_OVER {
            self.received.pop_front();
        }
        let (since, bytes) = self.received.front()?;
        let span = now.saturating_duration_since(*since);
        (span >= RATE_FROM).then(|| per_second(self.summary.received_bytes.saturating_sub(*bytes), span))
    }

    /// The time that is left: that of the bytes that are still to come, at the present rate, where files without a
    /// known length count as the average one; at least the longest estimate of the service for a job that waits.
    /// `None` where something has no length, no estimate, no rate, or is not even read from the list.
    fn left(
        &self,
        files: &[FileView],
        waiting: &[(u64, &JobRef, &Waiting)],
        bytes_per_s: Option<u64>,
        now: Instant,
    ) -> Option<Duration> {
        if self.asked.saturating_sub(self.summary.jobs) > LIST_GOES_ON {
            return None;
        }
        let mut longest = Duration::ZERO;
        for (_, _, waiting) in waiting {
            longest = longest.max(waiting.ready_at?.saturating_duration_since(now));
        }
        let outputs: u64 = self.jobs.values().map(|job| job.outputs_left).sum();
        let known = files.iter().filter_map(|file| Some((file.total?, file.bytes)));
        let (mut sized, mut lengths, mut bytes) = (0_u64, 0_u64, 0_u64);
        for (total, here) in known {
            sized += 1;
            lengths = lengths.saturating_add(total);
            bytes = bytes.saturating_add(total.saturating_sub(here));
        }
        let unsized_outputs = outputs.saturating_sub(sized);
        if unsized_outputs > 0 {
            let seen = sized + self.summary.files;
            let average = lengths.saturating_add(self.summary.file_bytes).checked_div(seen)?;
            bytes = bytes.saturating_add(average.saturating_mul(unsized_outputs));
        }
        let transfer = match (bytes, bytes_per_s) {
            (0, _) => Duration::ZERO,
            (_, None | Some(0)) => return None,
            (bytes, Some(rate)) => Duration::from_secs(bytes / rate),
        };
        Some(longest.max(transfer)).filter(|left| !left.is_zero())
    }
}

impl File {
    fn view(&self, job: &JobRef, now: Instant) -> FileView {
        FileView {
            place: self.place,
            name: words::file_name(&FileRef { job, output: self.output }),
            rung: self.rung,
            total: self.total,
            bytes: self.bytes,
            bytes_per_s: per_second(self.new_bytes, now.saturating_duration_since(self.since)),
        }
    }
}

impl Waiting {
    fn view(&self, job: &JobRef, now: Instant) -> WaitView {
        WaitView {
            name: job.to_string(),
            why: self.why.clone(),
            ready_in: self.ready_at.map(|at| at.saturating_duration_since(now)),
            asked_in: self.asked_at.saturating_duration_since(now),
        }
    }
}

fn per_second(bytes: u64, span: Duration) -> u64 {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1_000) / millis
}
