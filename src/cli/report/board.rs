//! What a run has under way, folded from its events: what bars and plain lines are made of.
//!
//! Events come from many tasks and change numbers here; nothing is formatted. A few times a second a [`View`] is taken,
//! and everything that costs happens to that copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use vfetch::event::{Event, FileEnd, FileRef, Summary, Unfinished};
use vfetch::job::JobRef;
use vfetch::manifest::Rung;
use vfetch::text::Redactor;

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
    /// Without the jobs that are told as they ended last.
    summary: Summary,
    /// The last end of each job that is not complete, where jobs are looked at round after round.
    ended_last: Option<BTreeMap<JobRef, Unfinished>>,
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
    /// From now on a job may be looked at again, and counts once, as it ended last.
    pub(super) fn expect_rounds(&mut self) {
        self.ended_last = Some(BTreeMap::new());
    }

    /// What the run did.
    pub(super) fn summary(&self) -> Summary {
        let mut summary = self.summary.clone();
        for (job, unfinished) in self.ended_last.iter().flatten() {
            summary.note_unfinished(job, unfinished);
        }
        summary
    }

    /// The jobs that are told as they ended last.
    pub(super) fn ended_last(&self) -> impl Iterator<Item = &JobRef> {
        self.ended_last.iter().flat_map(BTreeMap::keys)
    }

    /// Takes notice of an event.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        self.note_in_summary(event);
        match event {
            Event::RefRefused { .. } | Event::Warning { .. } | Event::Listed { .. } => {}
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

    fn note_in_summary(&mut self, event: &Event<'_>) {
        let Some(ended_last) = &mut self.ended_last else { return self.summary.note(event) };
        if let Event::JobStarted { job } = event {
            // What was said of it is over, and it is not asked for twice.
            let is_again = ended_last.remove(*job).is_some();
            self.asked = self.asked.saturating_sub(u64::from(is_again));
        }
        if let Event::JobEnded { job, end } = event
            && let Some(unfinished) = Unfinished::of(end)
        {
            ended_last.insert((*job).clone(), unfinished);
        } else {
            self.summary.note(event);
        }
    }

    /// Jobs that are over as far as anybody knows; and those of them that are not complete. One that was stopped is neither.
    fn ended(&self) -> (u64, u64) {
        let ended_last = self.ended_last.as_ref().map_or(0, BTreeMap::len) as u64;
        let stopped = self.summary.cancelled;
        (self.summary.jobs - stopped + ended_last, self.summary.not_complete() - stopped + ended_last)
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

impl View {
    /// The same without the key, before anything is cut to the terminal's width.
    pub(super) fn redacted(mut self, redactor: &Redactor) -> Self {
        let files = self.files.iter_mut().map(|file| &mut file.name);
        let waiting = self.waiting.iter_mut().flat_map(|waiting| [&mut waiting.name, &mut waiting.why]);
        for text in files.chain(waiting) {
            if let Cow::Owned(clean) = redactor.text(text) {
                *text = clean;
            }
        }
        self
    }
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
        let (ended, failed) = self.ended();
        let totals = Totals {
            asked: self.asked,
            ended,
            failed,
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
    /// known length count as the average one, and a job without an answer as one such file once there is one; at least
    /// the longest estimate of the service for a job that waits.
    /// `None` where something has no length, no estimate, no rate, or is not even read from the list.
    fn left(
        &self,
        files: &[FileView],
        waiting: &[(u64, &JobRef, &Waiting)],
        bytes_per_s: Option<u64>,
        now: Instant,
    ) -> Option<Duration> {
        if self.asked.saturating_sub(self.ended().0) > LIST_GOES_ON {
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
        let answered = self.jobs.values().filter(|job| job.waiting.is_some() || job.outputs_left > 0).count();
        let unanswered = self.asked.saturating_sub(self.ended().0).saturating_sub(answered as u64);
        let seen = sized + self.summary.files;
        let unsized_outputs = outputs.saturating_sub(sized) + if seen > 0 { unanswered } else { 0 };
        if unsized_outputs > 0 {
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

#[cfg(test)]
mod tests {
    use super::super::fixtures::{complete, job};
    use super::*;
    use vfetch::event::JobEnd;
    use vfetch::retry::{Cause, Failure};

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// A board with a clock that starts now and goes on as the test says.
    struct Run {
        board: Board,
        began: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self { board: Board::default(), began: super::super::clock() }
        }

        fn at(&mut self, seconds: u64, event: &Event<'_>) {
            self.board.note(event, self.began + S(seconds));
        }

        fn view(&mut self, seconds: u64) -> View {
            self.board.view(self.began + S(seconds), 2)
        }
    }

    #[test]
    fn a_job_that_is_looked_at_in_several_rounds_counts_once_and_as_it_ended_last() {
        let (mut run, one, two) = (Run::new(), job("1"), job("2"));
        run.board.expect_rounds();
        let mut counted = |event: &Event<'_>| {
            run.at(0, event);
            let Totals { asked, ended, failed, .. } = run.view(0).totals;
            (asked, ended, failed)
        };
        let (started, pending) =
            (|job| Event::JobStarted { job }, |job| Event::JobEnded { job, end: JobEnd::Pending });
        for _ in 0..3 {
            assert_eq!(counted(&started(&one)), (1, 0, 0));
            assert_eq!(counted(&pending(&one)), (1, 1, 1));
        }
        assert_eq!(counted(&started(&two)), (2, 1, 1));
        assert_eq!(counted(&pending(&two)), (2, 2, 2));
        assert_eq!(counted(&started(&one)), (2, 1, 1));
        let whole = complete(&one, &[b"GIF89a"]);
        let end = JobEnd::Archived(&whole);
        assert_eq!(counted(&Event::JobEnded { job: &one, end }), (2, 2, 1));

        let summary = run.board.summary();
        assert_eq!((summary.jobs, summary.archived, summary.pending), (2, 1, 1));
        let first: Vec<_> = summary.failures.into_values().flat_map(|group| group.first).collect();
        assert_eq!(first, ["2"]);
        assert_eq!(run.board.ended_last().collect::<Vec<_>>(), [&two]);
    }

    #[test]
    fn a_job_waits_then_has_files_then_is_gone_from_view() {
        let (mut run, job) = (Run::new(), job("147"));
        let file = FileRef { job: &job, output: 0 };
        run.at(0, &Event::JobStarted { job: &job });
        assert_eq!(run.view(0).totals, Totals { asked: 1, ..Totals::default() });

        run.at(1, &Event::JobWaiting { job: &job, why: "processing", eta: Some(S(30)), wait: S(10) });
        let view = run.view(5);
        let want =
            WaitView { name: "147".into(), why: "processing".into(), ready_in: Some(S(26)), asked_in: S(6) };
        assert_eq!((view.waiting, view.totals.left), (vec![want], Some(S(26))));

        run.at(11, &Event::JobReady { job: &job, outputs: 1, to_fetch: 1 });
        run.at(11, &Event::FileStarted { file, rung: Rung::Proxy, source: "" });
        run.at(11, &Event::FileSized { file, total: Some(1_000), resumed: 400 });
        run.at(12, &Event::FileReceived { file, bytes: 100 });
        let view = run.view(13);
        assert_eq!(view.waiting, []);
        let [file_view] = view.files.as_slice() else { panic!("{view:?}") };
        assert_eq!((file_view.name.as_str(), file_view.rung), ("147-0", Rung::Proxy));
        assert_eq!((file_view.bytes, file_view.total, file_view.bytes_per_s), (500, Some(1_000), 50));

        run.at(14, &Event::FileEnded { file, end: FileEnd::Proven { bytes: 1_000 } });
        assert_eq!(run.view(14).files, []);
        let manifest = complete(&job, &[b"GIF89a"]);
        run.at(14, &Event::JobEnded { job: &job, end: JobEnd::Archived(&manifest) });
        let totals = run.view(14).totals;
        assert_eq!((totals.asked, totals.ended, totals.failed, totals.waiting), (1, 1, 0, 0));
        assert!(run.board.jobs.is_empty());
    }

    #[test]
    fn a_source_that_is_left_gives_its_line_to_the_next_one() {
        let (mut run, job) = (Run::new(), job("147"));
        let file = FileRef { job: &job, output: 3 };
        let failure = Failure::new(Cause::Absent, "status 404");
        run.at(0, &Event::FileStarted { file, rung: Rung::Output, source: "" });
        run.at(1, &Event::FileEnded { file, end: FileEnd::Left { failure: &failure } });
        run.at(1, &Event::FileStarted { file, rung: Rung::Proxy, source: "" });
        // A start without an end must not leave two lines either.
        run.at(2, &Event::FileStarted { file, rung: Rung::FreshOutput, source: "" });
        let view = run.view(3);
        assert_eq!(view.files.len(), 1);
        assert_eq!((view.files[0].name.as_str(), view.files[0].rung), ("147-3", Rung::FreshOutput));
    }

    #[test]
    fn the_jobs_that_waited_longest_are_shown_and_all_are_counted() {
        let mut run = Run::new();
        for id in ["5", "3", "9", "1"] {
            let job = job(id);
            run.at(0, &Event::JobWaiting { job: &job, why: "queued", eta: None, wait: S(5) });
        }
        run.at(1, &Event::JobWaiting { job: &job("3"), why: "processing", eta: None, wait: S(5) });
        let view = run.view(1);
        assert_eq!(view.waiting.iter().map(|waiting| waiting.name.as_str()).collect::<Vec<_>>(), ["5", "3"]);
        assert_eq!((view.waiting[1].why.as_str(), view.totals.waiting), ("processing", 4));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut run, job) = (Run::new(), job("147"));
        let file = FileRef { job: &job, output: 0 };
        assert_eq!(run.view(0).totals.bytes_per_s, None);
        for second in 1..=20 {
            let bytes = if second <= 10 { 100 } else { 1_000 };
            run.at(second, &Event::FileReceived { file, bytes });
            let rate = run.view(second).totals.bytes_per_s;
            match second {
                1..=10 => assert_eq!(rate, Some(100), "after {second} s"),
                15..=20 => assert_eq!(rate, Some(1_000), "after {second} s"),
                _ => assert!(rate > Some(100) && rate < Some(1_000), "after {second} s: {rate:?}"),
            }
        }
        assert_eq!(run.view(40).totals.bytes_per_s, Some(0));
    }

    /// | files under way | outputs left | rate | waiting | time left |
    /// | --- | --- | --- | --- | --- |
    /// | none | none | any | none | none to tell |
    /// | 1,000 of 3,000 bytes | that one | 100/s | none | 20 s |
    /// | the same | one more, not begun | 100/s | none | 50 s: it counts as the average one |
    /// | the same | the same | none | none | unknown |
    /// | the same | that one | 100/s | ready in 90 s | 90 s |
    /// | the same | that one | 100/s | without an estimate | unknown |
    /// | of unknown length | that one | 100/s | none | unknown |
    #[test]
    fn the_time_that_is_left_is_told_where_it_is_known() {
        let table = [
            (None, 0, Some(100), None, None),
            (Some(Some(3_000)), 1, Some(100), None, Some(20)),
            (Some(Some(3_000)), 2, Some(100), None, Some(50)),
            (Some(Some(3_000)), 2, None, None, None),
            (Some(Some(3_000)), 1, Some(100), Some(Some(90)), Some(90)),
            (Some(Some(3_000)), 1, Some(100), Some(None), None),
            (Some(None), 1, Some(100), None, None),
        ];
        for (row, (under_way, outputs, rate, waits, want)) in table.into_iter().enumerate() {
            let (mut run, one, two) = (Run::new(), job("1"), job("2"));
            let file = FileRef { job: &one, output: 0 };
            run.at(0, &Event::JobReady { job: &one, outputs, to_fetch: outputs });
            if let Some(total) = under_way {
                run.at(0, &Event::FileStarted { file, rung: Rung::Output, source: "" });
                run.at(0, &Event::FileSized { file, total, resumed: 0 });
            }
            if rate.is_some() {
                run.view(0);
                run.at(0, &Event::FileReceived { file, bytes: if under_way.is_some() { 1_000 } else { 0 } });
            }
            if let Some(eta) = waits {
                run.at(10, &Event::JobWaiting { job: &two, why: "", eta: eta.map(S), wait: S(5) });
            }
            assert_eq!(run.view(10).totals.left, want.map(S), "row {row}");
        }
    }

    #[test]
    fn jobs_without_an_answer_count_as_one_average_file_each_and_stopped_ones_as_nothing() {
        let (mut run, one, others) = (Run::new(), job("1"), [job("2"), job("3")]);
        let file = FileRef { job: &one, output: 0 };
        run.at(0, &Event::JobStarted { job: &one });
        for job in &others {
            run.at(0, &Event::JobStarted { job });
        }
        run.at(0, &Event::JobReady { job: &one, outputs: 1, to_fetch: 1 });
        run.at(0, &Event::FileStarted { file, rung: Rung::Output, source: "" });
        run.at(0, &Event::FileSized { file, total: Some(3_000), resumed: 0 });
        run.view(0);
        run.at(0, &Event::FileReceived { file, bytes: 1_000 });
        assert_eq!(run.view(10).totals.left, Some(S(80)), "2,000 bytes and twice 3,000, at 100 a second");
        run.at(10, &Event::JobEnded { job: &others[0], end: JobEnd::Cancelled });
        assert_eq!(run.board.ended(), (0, 0));
    }

    #[test]
    fn while_the_list_goes_on_nobody_knows_what_is_left() {
        let (mut run, job) = (Run::new(), job("147"));
        run.at(0, &Event::JobWaiting { job: &job, why: "", eta: Some(S(30)), wait: S(5) });
        for _ in 0..LIST_GOES_ON {
            run.at(0, &Event::JobStarted { job: &job });
        }
        assert_eq!(run.view(0).totals.left, Some(S(30)));
        run.at(0, &Event::JobStarted { job: &job });
        assert_eq!(run.view(0).totals.left, None);
    }
}
