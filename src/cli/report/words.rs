//! Events and numbers in words: what a person reads of a run, line by line and at its end.
//!
//! Pure: plain values in, text out. Whatever a server said passes through [`Untrusted`] here.

use std::fmt::{self, Write as _};
use std::time::Duration;

use vfetch::event::{Event, FileEnd, FileRef, JobEnd, Summary};
use vfetch::job::JobRef;
use vfetch::manifest::{Manifest, MissingRecord, Rung};
use vfetch::text::{Redactor, Untrusted};
use vfetch::view::table;
pub(super) use vfetch::view::table::counted;

/// A number of bytes, for people, in columns: `1.2 MiB`.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&table::bytes(self.0))
    }
}

/// A time, for people: `9s`, `1m 20s`, `2h 05m`.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        f.pad(&match () {
            () if days > 0 => format!("{days}d {hours:02}h"),
            () if hours > 0 => format!("{hours}h {minutes:02}m"),
            () if minutes > 0 => format!("{minutes}m {:02}s", seconds % 60),
            () => format!("{seconds}s"),
        })
    }
}

/// A count with its thousands apart, in columns: `1,000,000`.
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&table::number(self.0))
    }
}

/// A text from outside as it may be shown: without the key, which must go before the text is cut, and escaped.
pub(super) fn clean(redactor: &Redactor, text: &str) -> String {
    Untrusted(&redactor.text(text)).to_string()
}

/// A file's short name: the job and the output.
pub(super) fn file_name(file: &FileRef<'_>) -> String {
    format!("{}-{}", file.job, file.output)
}

/// The rung in a word, unless it is the first one.
pub(super) fn rung_word(rung: Rung) -> Option<&'static str> {
    match rung {
        Rung::Output => None,
        Rung::Proxy => Some("proxy"),
        Rung::Listed => Some("listing"),
        Rung::FreshOutput => Some("fresh link"),
        Rung::FreshProxy => Some("fresh proxy"),
        Rung::Inline => Some("inline"),
    }
}

/// The line that an event deserves when so much is to be told: 0 for failures and warnings, 1 for more.
pub(super) fn line(event: &Event<'_>, verbose: u8, redactor: &Redactor) -> Option<String> {
    let more = verbose > 0;
    let clean = |text: &str| clean(redactor, text);
    match event {
        Event::RefRefused { place, why } => Some(format!("{}: {}", clean(place), clean(why))),
        Event::Warning { job: Some(job), text } => Some(format!("{job}: {}", clean(text))),
        Event::Warning { job: None, text } => Some(clean(text)),
        Event::Listed { assets, jobs, whole } => {
            Some(format!("listed as {assets}: {}, {whole} of them home and whole", counted(*jobs, "job")))
        }
        Event::JobWaiting { job, why, eta, wait } if more => {
            let eta = eta.map_or(String::new(), |eta| format!(", ready in about {}", Time(eta)));
            Some(format!("{job}: {}{eta}; asked again in {}", clean(why), Time(*wait)))
        }
        Event::JobReady { job, outputs, to_fetch } if more => {
            Some(format!("{job}: ready, {} of {} to fetch", to_fetch, counted(*outputs as u64, "output")))
        }
        Event::FileEnded { file, end: FileEnd::Left { failure } } if more => {
            Some(format!("{}: left a source: {}", file_name(file), clean(&failure.to_string())))
        }
        Event::FileEnded { file, end: FileEnd::Proven { bytes } } if more => {
            Some(format!("{}: {}", file_name(file), Bytes(*bytes)))
        }
        Event::JobEnded { job, end } => end_line(job, end, more, &clean),
        Event::JobStarted { .. }
        | Event::JobWaiting { .. }
        | Event::JobReady { .. }
        | Event::FileStarted { .. }
        | Event::FileSized { .. }
        | Event::FileReceived { .. }
        | Event::FileEnded { .. } => None,
    }
}

fn end_line(job: &JobRef, end: &JobEnd<'_>, more: bool, clean: &dyn Fn(&str) -> String) -> Option<String> {
    match end {
        JobEnd::Archived(manifest) if more => {
            Some(format!("{job}: archived, {}", counted(manifest.files.len() as u64, "file")))
        }
        JobEnd::Kept(_) | JobEnd::Archived(_) | JobEnd::Cancelled => None,
        JobEnd::Incomplete(manifest) => Some(format!("{job}: {}", incomplete_words(manifest, clean))),
        JobEnd::Pending => Some(format!("{job}: still processing when the wait was over")),
        JobEnd::Failed(failure) => Some(format!("{job}: {}", clean(&failure.to_string()))),
        JobEnd::Local(why) => Some(format!("{job}: {}", clean(why))),
    }
}

fn incomplete_words(manifest: &Manifest, clean: &dyn Fn(&str) -> String) -> String {
    let state = manifest.derived_state().word();
    let seen = |detail: &str| if detail.is_empty() { String::new() } else { format!(" ({})", clean(detail)) };
    if let Some(error) = &manifest.error {
        return format!("{state}: {}{}", error.cause, seen(&error.detail));
    }
    let mut text = format!("{state}: {} of {} missing", manifest.missing.len(), outputs(manifest));
    if let Some(MissingRecord { output, reasons, .. }) = manifest.missing.first()
        && let Some(reason) = reasons.last()
    {
        let _ = write!(text, "; output {output}: {}{}", reason.cause, seen(&reason.detail));
    }
    text
}

fn outputs(manifest: &Manifest) -> String {
    counted(manifest.outputs.unwrap_or(manifest.missing.len()) as u64, "output")
}

/// What a run did, in one line: `40 jobs: 33 archived, 4 here before, 2 failed, 1 gone; 66 files, 132.5 MiB in 12s`.
pub(super) fn counts(summary: &Summary, took: Duration) -> String {
    let ends = [
        (summary.archived, "archived"),
        (summary.kept, "here before"),
        (summary.partial, "partial"),
        (summary.failed, "failed"),
        (summary.unreached, "not reached"),
        (summary.gone, "gone"),
        (summary.pending, "still processing"),
        (summary.local, "failed by this machine"),
        (summary.cancelled, "stopped"),
    ];
    let ends = ends.iter().filter(|(count, _)| *count > 0);
    let ends: Vec<String> = ends.map(|(count, word)| format!("{} {word}", Count(*count))).collect();
    let mut text = counted(summary.jobs, "job");
    if !ends.is_empty() {
        let _ = write!(text, ": {}", ends.join(", "));
    }
    let _ = write!(text, "; {}, {}", counted(summary.files, "file"), Bytes(summary.file_bytes));
    if summary.received_bytes > summary.file_bytes {
        let _ = write!(text, " ({} received)", Bytes(summary.received_bytes));
    }
    let _ = write!(text, " in {}", Time(took));
    text
}

/// The failures of a run, grouped by cause, each with the command that tries its jobs again.
///
/// `again` is that command without references, where there is one; `list` is the file that holds the references of all
/// of them.
pub(super) fn failures(
    summary: &Summary,
    again: Option<&str>,
    list: Option<&str>,
    redactor: &Redactor,
) -> String {
    let clean = |text: &str| clean(redactor, text);
    let mut text = String::new();
    for (words, group) in &summary.failures {
        let more = group.jobs.saturating_sub(group.first.len() as u64);
        let first = group.first.iter().map(|job| clean(job)).collect::<Vec<_>>().join(" ");
        let named = if words == vfetch::event::PASSED_OVER { "reference" } else { "job" };
        let _ = writeln!(text, "{}: {}", counted(group.jobs, named), clean(words));
        let others = if more > 0 { format!(" and {} more", Count(more)) } else { String::new() };
        let _ = writeln!(text, "    {first}{others}");
        if !group.detail.is_empty() {
            let _ = writeln!(text, "    seen: {}", clean(&group.detail));
        }
        let Some(again) = again.filter(|_| named == "job") else { continue };
        if more == 0 {
            let _ = writeln!(text, "    again: {again} {first}");
        } else {
            let all = list.map_or("the same command; it passes over what is here".into(), |list| {
                format!("{again} -i {list}")
            });
            let _ = writeln!(text, "    again: {all}");
        }
    }
    text
}

/// What is behind a run that something other than a signal ended early.
pub(super) const GOES_ON: &str =
    "the run ended before its list did; what came is kept, and the same command goes on from there";

/// What ended the run early, and whether it can go on.
pub(super) fn signal_words(signal: i32, goes_on: bool) -> String {
    let name = match signal {
        1 => "SIGHUP".into(),
        2 => "SIGINT".into(),
        15 => "SIGTERM".into(),
        other => format!("signal {other}"),
    };
    let more = if goes_on { ", and the same command goes on from there" } else { "" };
    format!("stopped by {name}; what came is kept{more}")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{complete, job, partial};
    use super::*;
    use vfetch::retry::{Cause, Failure};

    #[test]
    fn numbers_read_as_people_write_them() {
        let bytes = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_570, "1.0 MiB"),
            (138_936_320, "132.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (count, want) in bytes {
            assert_eq!(Bytes(count).to_string(), want);
        }
        let times = [(0, "0s"), (59, "59s"), (80, "1m 20s"), (7_500, "2h 05m"), (200_000, "2d 07h")];
        for (seconds, want) in times {
            assert_eq!(Time(Duration::from_secs(seconds)).to_string(), want);
        }
        for (count, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), want);
        }
        assert_eq!((counted(1, "job"), counted(2, "job")), ("1 job".into(), "2 jobs".into()));
        assert_eq!(
            format!("{:>8}|{:4}|{:>6}", Bytes(5), Time(Duration::ZERO), Count(1)),
            "     5 B|0s  |     1"
        );
    }

    #[test]
    fn failures_and_warnings_have_a_line_and_more_is_told_when_asked_for() {
        let job = job("realtime/98");
        let file = FileRef { job: &job, output: 1 };
        let failure = Failure::new(Cause::JobFailed, "\u{1b}]0;x\u{7}");
        let (whole, half) = (complete(&job, &[b"GIF89a"]), partial(&job, Cause::Absent, "status 404"));
        let (eta, wait) = (Some(Duration::from_secs(45)), Duration::from_secs(5));
        let table: [(Event<'_>, Option<&str>, Option<&str>); 15] = [
            (Event::RefRefused { place: "a:1", why: "no\nid" }, Some("a:1: no\\nid"), Some("a:1: no\\nid")),
            (Event::JobStarted { job: &job }, None, None),
            (
                Event::JobWaiting { job: &job, why: "queued", eta, wait },
                None,
                Some("realtime/98: queued, ready in about 45s; asked again in 5s"),
            ),
            (
                Event::JobReady { job: &job, outputs: 2, to_fetch: 1 },
                None,
                Some("realtime/98: ready, 1 of 2 outputs to fetch"),
            ),
            (Event::Warning { job: None, text: "odd" }, Some("odd"), Some("odd")),
            (
                Event::Warning { job: Some(&job), text: "odd" },
                Some("realtime/98: odd"),
                Some("realtime/98: odd"),
            ),
            (Event::FileStarted { file, rung: Rung::Output, source: "" }, None, None),
            (
                Event::FileEnded { file, end: FileEnd::Left { failure: &failure } },
                None,
                Some("realtime/98-1: left a source: the job failed at the service: \\u{1b}]0;x\\u{7}"),
            ),
            (
                Event::FileEnded { file, end: FileEnd::Proven { bytes: 2_048 } },
                None,
                Some("realtime/98-1: 2.0 KiB"),
            ),
            (Event::JobEnded { job: &job, end: JobEnd::Kept(&whole) }, None, None),
            (
                Event::JobEnded { job: &job, end: JobEnd::Archived(&whole) },
                None,
                Some("realtime/98: archived, 1 file"),
            ),
            (
                Event::JobEnded { job: &job, end: JobEnd::Incomplete(&half) },
                Some(
                    "realtime/98: partial: 1 of 2 outputs missing; output 1: the file is not there (status 404)",
                ),
                Some(
                    "realtime/98: partial: 1 of 2 outputs missing; output 1: the file is not there (status 404)",
                ),
            ),
            (
                Event::JobEnded { job: &job, end: JobEnd::Pending },
                Some("realtime/98: still processing when the wait was over"),
                Some("realtime/98: still processing when the wait was over"),
            ),
            (
                Event::JobEnded { job: &job, end: JobEnd::Failed(&failure) },
                Some("realtime/98: the job failed at the service: \\u{1b}]0;x\\u{7}"),
                Some("realtime/98: the job failed at the service: \\u{1b}]0;x\\u{7}"),
            ),
            (Event::JobEnded { job: &job, end: JobEnd::Cancelled }, None, None),
        ];
        for (event, usual, more) in &table {
            assert_eq!(line(event, 0, &Redactor::default()).as_deref(), *usual, "{event:?}");
            assert_eq!(line(event, 1, &Redactor::default()).as_deref(), *more, "{event:?}");
        }
    }

    #[test]
    fn the_end_tells_counts_first_and_failures_with_the_way_to_try_them_again() {
        let mut summary = Summary::default();
        let absent = |id: u32| partial(&job(&id.to_string()), Cause::Absent, "status 404");
        for id in 1..=12 {
            summary
                .note(&Event::JobEnded { job: &job(&id.to_string()), end: JobEnd::Incomplete(&absent(id)) });
        }
        let failure = Failure::new(Cause::JobFailed, "prompt\u{7} refused");
        summary.note(&Event::JobEnded { job: &job("realtime/98"), end: JobEnd::Failed(&failure) });
        summary.note(&Event::RefRefused { place: "ids.txt:3", why: "\"?\" is not a job id" });
        summary.files = 12;
        summary.file_bytes = 138_936_320;
        summary.received_bytes = summary.file_bytes + 3 * 1_048_576;

        let want = "13 jobs: 12 partial, 1 failed; 12 files, 132.5 MiB (135.5 MiB received) in 12s";
        assert_eq!(counts(&summary, Duration::from_secs(12)), want);
        let again = Some("vfetch get -o out");
        let want = "\
1 reference: passed over
    ids.txt:3
    seen: \"?\" is not a job id
12 jobs: the file is not there
    1 2 3 4 5 6 7 8 9 10 and 2 more
    seen: status 404
    again: vfetch get -o out -i failed.txt
1 job: the job failed at the service
    realtime/98
    seen: prompt\\u{7} refused
    again: vfetch get -o out realtime/98
";
        assert_eq!(failures(&summary, again, Some("failed.txt"), &Redactor::default()), want);
        let without_list = failures(&summary, again, None, &Redactor::default());
        assert!(without_list.contains("again: the same command; it passes over what is here\n"));
        let without_again = failures(&summary, None, Some("failed.txt"), &Redactor::default());
        assert!(without_again.contains("realtime/98") && !without_again.contains("again"), "{without_again}");
        assert_eq!(failures(&Summary::default(), again, None, &Redactor::default()), "");
        summary.note(&Event::RefRefused { place: "ids.txt:9", why: "\"!\" is not a job id" });
        let two = failures(&summary, again, None, &Redactor::default());
        assert!(two.starts_with("2 references: passed over\n    ids.txt:3 ids.txt:9\n"), "{two}");
        assert_eq!(counts(&Summary::default(), Duration::ZERO), "0 jobs; 0 files, 0 B in 0s");
    }

    #[test]
    fn a_run_that_can_go_on_says_so() {
        let want = "stopped by SIGINT; what came is kept";
        assert_eq!(signal_words(2, false), want);
        assert_eq!(signal_words(2, true), format!("{want}, and the same command goes on from there"));
    }
}
