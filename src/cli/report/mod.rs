//! What a run shows: results on standard output, progress and words on standard error.
//!
//! A [`Console`] takes notice of every event. It folds them into a [`board`], from which [`bars`] or [`plain`] lines are
//! made, turns them into results, the lines of an [`export`], or [`json`] lines, and leaves it to the one thread of
//! [`desk`] to write all that, through the redactor. [`Console::finish`] has the last words; failures come last of all.

mod bars;
mod board;
mod canvas;
mod desk;
mod failed;
#[cfg(test)]
mod fixtures;
mod json;
mod log;
mod look;
mod plain;
mod screen;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use vfetch::engine::archive::Stop;
use vfetch::event::{Event, JobEnd, Reporter, Summary};
use vfetch::text::{Redactor, quoted};
use vfetch::view::export;

use super::error::CliError;
use super::names::Names;
use bars::Bars;
use desk::{Desk, Shared, Show};
use failed::FailedList;
pub(crate) use failed::draft_path;
use log::LogWriter;
pub(crate) use look::Shown;
use look::{Look, Terminal};
use plain::Plain;
use screen::Size;

/// How progress is shown on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, plain lines elsewhere.
    Auto,
    /// Bars.
    Bar,
    /// A line every 10 s.
    Plain,
    /// One JSON line an event.
    Json,
    /// Not at all.
    None,
}

/// What is written of the files that are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Results {
    /// A line for each, with its digest.
    #[default]
    Lines,
    /// Nothing: who asked for the run looks at the archive.
    None,
}

/// How often a run may look at a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Looks {
    /// Once: it counts, and is listed where it is not complete, as soon as it ends.
    #[default]
    Once,
    /// Round after round: it counts once, and is listed in the end, as it ended last.
    Rounds,
}

/// How a run is shown.
pub(crate) struct Settings {
    /// How progress is shown on standard error.
    pub(crate) progress: Progress,
    /// Whether standard output has JSON lines in place of results.
    pub(crate) json: bool,
    /// What standard output has where it has no JSON lines.
    pub(crate) results: Results,
    /// Nothing but results and the failures at the end.
    pub(crate) quiet: bool,
    /// How much more than usual is told.
    pub(crate) verbose: u8,
    /// The archive as the user wrote it, for the paths in results.
    pub(crate) destination: String,
    /// Takes the key out of everything that is written.
    pub(crate) redactor: Redactor,
    /// Where the references of jobs that did not end complete are written.
    pub(crate) failed: Option<PathBuf>,
    /// Whether that list is the one that the run reads: a run that does not come to its end, or passes over what stands
    /// there, leaves it as it was.
    pub(crate) failed_is_read: bool,
    /// How often a job may be looked at.
    pub(crate) looks: Looks,
    /// How jobs are called in that list.
    pub(crate) names: Names,
}

/// How a run ended, beside its jobs.
pub(crate) struct Finish<'a> {
    /// What ended it early.
    pub(crate) stop: Option<&'a Stop>,
    /// Which signal came.
    pub(crate) signal: Option<i32>,
    /// The command that tries jobs again, without their references: `vfetch get -o ./out`; `None` where there is
    /// nothing to try again, since the API is gone with the run.
    pub(crate) retry_command: Option<&'a str>,
}

/// The console of a run.
pub(crate) struct Console {
    shared: Arc<Shared>,
    desk: Mutex<Option<JoinHandle<Desk>>>,
    began: Instant,
    settings: Settings,
    shown: Shown,
}

/// Whether and how progress is shown on this terminal.
pub(crate) fn shown(progress: Progress, quiet: bool) -> Shown {
    look::look(progress, quiet, &Terminal::of_stderr()).shown
}

/// Begins to show a run.
pub(crate) fn start(settings: Settings) -> Result<Arc<Console>, CliError> {
    let look = look::look(settings.progress, settings.quiet, &Terminal::of_stderr());
    let begin_list = |path: &PathBuf| FailedList::begin(path, &settings.redactor);
    let failed = settings.failed.as_ref().map(begin_list).transpose()?;
    let shared = Arc::new(Shared::default());
    let began = clock();
    let desk = Desk {
        shared: Arc::clone(&shared),
        out: Some(settings.redactor.writer(Box::new(std::io::stdout()))),
        out_is_terminal: std::io::stdout().is_terminal(),
        err: Box::new(std::io::stderr()),
        redactor: settings.redactor.clone(),
        show: show(look, began),
        size: Size::of_stderr,
        failed,
        out_error: None,
    };
    let console = Console::start(settings, look, desk, began)?;
    log::begin(console.settings.verbose, console.log_writer());
    Ok(console)
}

fn show(look: Look, began: Instant) -> Show {
    match look.shown {
        Shown::Bars => Show::Bars(Box::new(Bars::new(look))),
        Shown::Plain => Show::Plain(Plain::new(began)),
        Shown::Json | Shown::Nothing => Show::Nothing,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the console reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

impl Console {
    fn start(settings: Settings, look: Look, desk: Desk, began: Instant) -> Result<Arc<Self>, CliError> {
        let shared = Arc::clone(&desk.shared);
        if settings.looks == Looks::Rounds {
            shared.board().expect_rounds();
        }
        let thread = std::thread::Builder::new().name("console".into()).spawn(|| desk.run());
        let thread = thread.map_err(|error| CliError::local(format!("starting a thread: {error}")))?;
        let desk = Mutex::new(Some(thread));
        Ok(Arc::new(Self { shared, desk, began, settings, shown: look.shown }))
    }

    /// Where log lines are written, beside the bars and without the key.
    fn log_writer(&self) -> LogWriter {
        LogWriter::new(&self.shared, &self.settings.redactor)
    }

    /// Takes the bars away, writes what is left, and tells how the run ended: what it did, then what failed.
    pub(crate) fn finish(&self, how: &Finish<'_>) -> Summary {
        let took = clock().saturating_duration_since(self.began);
        let Some(mut desk) = self.close_desk() else { return self.shared.board().summary() };
        let mut summary = self.shared.board().summary();
        if let Some(list) = &mut desk.failed {
            let names = &self.settings.names;
            for job in self.shared.board().ended_last() {
                list.add((names.reference(job) + "\n").as_bytes());
            }
        }
        let list = self.end_list(desk.failed.take(), how, &summary);
        let mut words = Vec::new();
        words.extend(how.stop.map(|stop| note_stop(&mut summary, stop)));
        words.extend(how.signal.map(|signal| words::signal_words(signal, how.retry_command.is_some())));
        if how.stop.is_some() && how.signal.is_none() && how.retry_command.is_some() {
            words.push(words::GOES_ON.into());
        }
        // The summary's line says how all of this ended, so it comes last, and is made again where it fails itself.
        for error in [take_out_error(&mut desk), list.error].into_iter().flatten() {
            summary.note_local();
            words.push(error);
        }
        let mut json = self.summary_line(&summary, how, &words, took);
        if self.settings.json {
            desk.write_out(json.as_bytes());
        }
        if let Some(error) = take_out_error(&mut desk) {
            summary.note_local();
            words.push(error);
            json = self.summary_line(&summary, how, &words, took);
        }
        if let Some(text) = list.lacks.as_deref().filter(|_| self.shown == Shown::Json) {
            desk.write_err(&self.json_lines().line(&Event::Warning { job: None, text }, took));
        }
        words.extend(list.lacks);
        if self.shown == Shown::Json {
            desk.write_err(&json);
        } else {
            desk.write_err(&self.last_words(&summary, took, &words, how.retry_command, list.path.as_deref()));
        }
        summary
    }

    /// Puts the list of failed jobs in place, or leaves it as it was.
    fn end_list(&self, list: Option<FailedList>, how: &Finish<'_>, summary: &Summary) -> ListEnd {
        let Some(list) = list else { return ListEnd::default() };
        let path = list.path().display().to_string();
        if let Some(why) = self.why_list_stays(how, summary) {
            list.discard();
            return ListEnd {
                lacks: Some(format!("the list {path} is as it was{why}")),
                ..ListEnd::default()
            };
        }
        match list.finish() {
            Ok(()) if how.stop.is_some() || how.signal.is_some() => ListEnd {
                lacks: Some(format!("the list {path} names what the run came to, and nothing behind that")),
                ..ListEnd::default()
            },
            Ok(()) => ListEnd { path: Some(quoted(&path)), ..ListEnd::default() },
            Err(error) => {
                let error = format!("writing the list --failed {path}: {error}");
                ListEnd { error: Some(error), ..ListEnd::default() }
            }
        }
    }

    /// Why the list that the run has read does not make room for the new one, to be read behind the words that say so:
    /// the new one does not name what the run did not come to, nor what it passed over.
    fn why_list_stays(&self, how: &Finish<'_>, summary: &Summary) -> Option<&'static str> {
        if !self.settings.failed_is_read {
            return None;
        }
        if how.stop.is_some() || how.signal.is_some() {
            return Some("");
        }
        (summary.refused_refs > 0).then_some(", since what was passed over is in no other list")
    }

    fn last_words(
        &self,
        summary: &Summary,
        took: std::time::Duration,
        stopped: &[String],
        again: Option<&str>,
        list: Option<&str>,
    ) -> String {
        let mut text = String::new();
        // What ended before its first job has nothing to count.
        let began = summary.jobs > 0 || stopped.is_empty();
        if !self.settings.quiet && began {
            text.push_str(&words::counts(summary, took));
            text.push('\n');
        }
        let redactor = &self.settings.redactor;
        for words in stopped {
            let _ = writeln!(text, "vfetch: {}", words::clean(redactor, words));
        }
        text + &words::failures(summary, again, list, redactor)
    }

    fn summary_line(
        &self,
        summary: &Summary,
        how: &Finish<'_>,
        stopped: &[String],
        took: std::time::Duration,
    ) -> String {
        let exit_code = how.signal.map_or_else(|| summary.exit_code(), signal_code);
        self.json_lines().summary(summary, exit_code, stopped.first().map(String::as_str), took)
    }

    fn json_lines(&self) -> json::Lines<'_> {
        json::Lines { destination: &self.settings.destination, redactor: &self.settings.redactor }
    }

    /// Ends the writing thread; `None` where that has happened before.
    fn close_desk(&self) -> Option<Desk> {
        let thread = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.shared.stop();
        thread.join().ok()
    }
}

impl Drop for Console {
    /// A run that could not begin leaves no bars and no list behind.
    fn drop(&mut self) {
        if let Some(list) = self.close_desk().and_then(|desk| desk.failed) {
            list.discard();
        }
    }
}

impl Reporter for Console {
    fn event(&self, event: &Event<'_>) {
        let now = clock();
        if self.settings.json || self.shown == Shown::Json {
            let line = self.json_lines().line(event, now.saturating_duration_since(self.began));
            if self.settings.json {
                self.push_out(event, &line);
            }
            if self.shown == Shown::Json {
                self.shared.err.push(&line);
            }
        }
        if self.settings.results == Results::Lines
            && !self.settings.json
            && let Event::JobEnded { job, end: JobEnd::Kept(manifest) | JobEnd::Archived(manifest) } = event
        {
            self.push_out(event, &export::sum_lines(&self.settings.destination, job, manifest));
        }
        if self.settings.failed.is_some()
            && self.settings.looks == Looks::Once
            && let Event::JobEnded { job, end } = event
            && !end.is_complete()
        {
            self.shared.failed.push(&(self.settings.names.reference(job) + "\n"));
        }
        if !self.settings.quiet
            && self.shown != Shown::Json
            && let Some(line) = words::line(event, self.settings.verbose, &self.settings.redactor)
        {
            self.shared.err.push(&(line + "\n"));
        }
        self.shared.board().note(event, now);
    }
}

impl Console {
    /// Jobs that are kept come from threads that may wait, and by the million.
    fn push_out(&self, event: &Event<'_>, text: &str) {
        if matches!(event, Event::JobEnded { end: JobEnd::Kept(_), .. }) {
            self.shared.out.push_when_there_is_room(text);
        } else {
            self.shared.out.push(text);
        }
    }
}

fn signal_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or(0)
}

/// What became of the list of failed jobs, at most one of these.
#[derive(Default)]
struct ListEnd {
    /// It is in place; its path as a shell takes it.
    path: Option<String>,
    /// It is as it was, or does not name all; so in words.
    lacks: Option<String>,
    /// It could not be written; so in words.
    error: Option<String>,
}

/// Notes what ended the run early; in words.
fn note_stop(summary: &mut Summary, stop: &Stop) -> String {
    match stop {
        Stop::Account(failure) => {
            summary.note_auth();
            failure.to_string()
        }
        Stop::Listing(failure) => {
            summary.note_unlisted(failure);
            format!("the account's listing cannot be read: {failure}")
        }
        Stop::Local(error) => {
            summary.note_local();
            error.to_string()
        }
    }
}

/// Why standard output could not be written, once.
fn take_out_error(desk: &mut Desk) -> Option<String> {
    desk.out_error.take().map(|error| format!("writing standard output: {error}"))
}
