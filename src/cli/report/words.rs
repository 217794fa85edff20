//! Events and numbers in words: what a person reads of a run, line by line and at its end.
//!
//! Pure: plain values in, text out. Whatever a server said passes through [`Untrusted`] here.

use std::fmt::{self, Write as _};
use std::time::Duration;

use vfetch::event::{Event, FileEnd, FileRef, JobEnd, Summary};
use vfetch::job::JobRef;
use vfetch::manifest::{Manifest, MissingRecord, Rung};
use vfetch::text::Untrusted;

/// A number of bytes, for people: `1.2 MiB`.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // What would be rounded up to 1024.0 is written in the next unit.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
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

/// A count with its thousands apart: `1,000,000`.
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", Count(count), if count == 1 { "" } else { "s" })
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
        Rung::FreshOutput => Some("fresh link"),
        Rung::FreshProxy => Some("fresh proxy"),
        Rung::Inline => Some("inline"),
    }
}

/// The line that an event deserves when so much is to be told: 0 for failures and warnings, 1 for more.
pub(super) fn line(event: &Event<'_>, verbose: u8) -> Option<String> {
    let more = verbose > 0;
    match event {
        Event::RefRefused { place, why } => Some(format!("{}: {}", Untrusted(place), Untrusted(why))),
        Event::Warning { job: Some(job), text } => Some(format!("{job}: {}", Untrusted(text))),
        Event::Warning { job: None, text } => Some(Untrusted(text).to_string()),
        Event::JobWaiting { job, why, eta, wait } if more => {
            let eta = eta.map_or(String::new(), |eta| format!(", ready in about {}", Time(eta)));
            Some(format!("{job}: {}{eta}; asked again in {}", Untrusted(why), Time(*wait)))
        }
        Event::JobReady { job, outputs, to_fetch } if more => {
            Some(format!("{job}: ready, {} of {} to fetch", to_fetch, counted(*outputs as u64, "output")))
        }
        Event::FileEnded { file, end: FileEnd::Left { failure } } if more => {
            Some(format!("{}: left a source: {}", file_name(file), Untrusted(&failure.to_string())))
        }
        Event::FileEnded { file, end: FileEnd::Proven { bytes } } if more => {
            Some(format!("{}: {}", file_name(file), Bytes(*bytes)))
        }
        Event::JobEnded { job, end } => end_line(job, end, more),
        Event::JobStarted { .. }
        | Event::JobWaiting { .. }
        | Event::JobReady { .. }
        | Event::FileStarted { .. }
        | Event::FileSized { .. }
        | Event::FileReceived { .. }
        | Event::FileEnded { .. } => None,
    }
}

fn end_line(job: &JobRef, end: &JobEnd<'_>, more: bool) -> Option<String> {
    match end {
        JobEnd::Archived(manifest) if more => {
            Some(format!("{job}: archived, {}", counted(manifest.files.len() as u64, "file")))
        }
        JobEnd::Kept(_) | JobEnd::Archived(_) | JobEnd::Cancelled => None,
        JobEnd::Incomplete(manifest) => Some(format!("{job}: {}", incomplete_words(manifest))),
        JobEnd::Pending => Some(format!("{job}: still processing when the wait was over")),
        JobEnd::Failed(failure) => Some(format!("{job}: {}", Untrusted(&failure.to_string()))),
        JobEnd::Local(why) => Some(format!("{job}: {}", Untrusted(why))),
    }
}

fn incomplete_words(manifest: &Manifest) -> String {
    let state = manifest.derived_state().word();
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

fn seen(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({})", Untrusted(detail)) }
}

/// What a run did, in one line: `40 jobs: 33 archived, 4 here before, 2 failed, 1 gone; 66 files, 132.5 MiB in 12s`.
pub(super) fn counts(summary: &Summary, took: Duration) -> String {
    let ends = [
        (summary.archived, "archived"),
        (summary.kept, "here before"),
        (summary.partial, "partial"),
        (summary.failed, "failed"),
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
    let wasted = summary.received_bytes.saturating_sub(summary.file_bytes);
    if wasted > 0 {
        let _ = write!(text, " (and {} that no file kept)", Bytes(wasted));
    }
    let _ = write!(text, " in {}", Time(took));
    text
}

/// The failures of a run, grouped by cause, each with the command that tries its jobs again.
///
/// `again` is that command without references; `list` is the file that holds the references of all of them.
pub(super) fn failures(summary: &Summary, again: &str, list: Option<&str>) -> String {
    let mut text = String::new();
    for (words, group) in &summary.failures {
        let more = group.jobs.saturating_sub(group.first.len() as u64);
        let first = group.first.iter().map(|job| Untrusted(job).to_string()).collect::<Vec<_>>().join(" ");
        let named = if words == vfetch::event::NAMES_NO_JOB { "line" } else { "job" };
        let _ = writeln!(text, "{}: {}", counted(group.jobs, named), Untrusted(words));
        let others = if more > 0 { format!(" and {} more", Count(more)) } else { String::new() };
        let _ = writeln!(text, "    {first}{others}");
        if !group.detail.is_empty() {
            let _ = writeln!(text, "    seen: {}", Untrusted(&group.detail));
        }
        if named == "job" && more == 0 {
            let _ = writeln!(text, "    again: {again} {first}");
        } else if named == "job" {
            let all = list.map_or("the same command; it passes over what is here".into(), |list| {
                format!("{again} -i {list}")
            });
            let _ = writeln!(text, "    again: {all}");
        }
    }
    text
}

/// What ended the run early.
pub(super) fn signal_words(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP".into(),
        2 => "SIGINT".into(),
        15 => "SIGTERM".into(),
        other => format!("signal {other}"),
    };
    format!("stopped by {name}; what came is kept, and the same command goes on from there")
}

/// A word as a POSIX shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
