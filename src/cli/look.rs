//! What the commands share that look at an archive: which one, how progress is shown, and where results go.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vfetch::engine::survey::Progress;
use vfetch::store::{Open, Store};
use vfetch::view::table::{bytes, counted};

use super::args;
use super::error::CliError;
use super::report::{self, Shown};
use super::signals::{self, Caught};

/// What a shell says of a program that wrote to a pipe which nobody reads any more: 128 + SIGPIPE.
const PIPE: u8 = 141;
/// Without a terminal a line says so often how far things are.
const PLAIN_EACH: Duration = Duration::from_secs(10);
/// With one a bar moves so often.
const TICK_EACH: Duration = Duration::from_millis(100);
/// What is over sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_millis(400);

/// Which archive.
#[derive(Debug, clap::Args)]
pub(crate) struct ArchiveArg {
    /// The archive: the folder that was given to vfetch get -o.
    #[arg(value_name = "ARCHIVE", default_value = ".")]
    pub(crate) archive: String,
}

impl ArchiveArg {
    /// Opens it; it must be there.
    pub(crate) fn open(&self) -> Result<Store, CliError> {
        Ok(args::staged_as_set(Store::open(&self.archive, Open::Existing, true)?))
    }
}

/// What is shown, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ShowArgs {
    /// JSON on stdout, one object a line.
    #[arg(long, env = "VFETCH_JSON")]
    pub(crate) json: bool,
    /// How progress is shown on stderr.
    #[arg(long, value_name = "HOW", env = "VFETCH_PROGRESS", value_enum, default_value_t = report::Progress::Auto)]
    pub(crate) progress: report::Progress,
    /// Nothing but results.
    #[arg(short, long, env = "VFETCH_QUIET")]
    pub(crate) quiet: bool,
}

impl ShowArgs {
    /// The same, without a bar unless one is asked for: for results that scroll by, or go through a pager.
    pub(crate) fn without_bar(self) -> Self {
        match self.progress {
            report::Progress::Auto => Self { progress: report::Progress::None, ..self },
            report::Progress::Bar
            | report::Progress::Plain
            | report::Progress::Json
            | report::Progress::None => self,
        }
    }
}

/// Does work that blocks, with progress and signals; gives what it returned and the signal that came, if any.
pub(crate) async fn watched<T: Send + 'static>(
    show: &ShowArgs,
    what: &'static str,
    work: impl FnOnce(&Desk) -> T + Send + 'static,
) -> Result<(T, Caught), CliError> {
    let stop = CancellationToken::new();
    let caught = signals::watch(stop.clone())?;
    let desk = Desk::new(show, what, stop);
    match tokio::task::spawn_blocking(move || work(&desk)).await {
        Ok(done) => Ok((done, caught)),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(CliError::local(error.to_string())),
    }
}

/// What a command that looks at an archive works with.
pub(crate) struct Desk {
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
    watch: Watch,
}

impl Desk {
    /// Begins to show progress; nobody listens for signals here.
    pub(crate) fn new(show: &ShowArgs, what: &'static str, stop: CancellationToken) -> Self {
        let progress = Arc::new(Progress::default());
        Self { watch: Watch::start(show, what, &progress), progress, stop }
    }

    /// Where results go.
    pub(crate) fn out(&self) -> Out<'_> {
        Out { desk: self, inner: BufWriter::new(io::stdout()), failed: None }
    }

    /// Takes the bar away: the work is done, and only words are left.
    pub(crate) fn done(&self) {
        self.watch.end();
    }

    /// Writes a line to stderr.
    pub(crate) fn say(&self, line: fmt::Arguments<'_>) {
        // Where nobody reads stderr there is nobody to tell.
        self.watch.aside(|| drop(writeln!(io::stderr(), "{line}")));
    }
}

/// Standard output. When nobody reads it any more the work ends.
pub(crate) struct Out<'d> {
    desk: &'d Desk,
    inner: BufWriter<Stdout>,
    failed: Option<io::Error>,
}

impl Out<'_> {
    /// Writes a line and shows it at once.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        if self.failed.is_none() {
            let inner = &mut self.inner;
            let written = self.desk.watch.aside(|| writeln!(inner, "{line}").and_then(|()| inner.flush()));
            self.note(written);
        }
    }

    /// Writes lines that are many, and shows them when they are enough.
    pub(crate) fn lines(&mut self, lines: impl Iterator<Item = String>) {
        let inner = &mut self.inner;
        let written = self.desk.watch.aside(|| {
            let mut lines = lines;
            lines.try_for_each(|line| writeln!(inner, "{line}")).and_then(|()| inner.flush())
        });
        self.note(written);
    }

    /// Whether nothing can be written any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.desk.stop.cancel();
            self.failed.get_or_insert(error);
        }
    }

    /// The exit code that the output alone asks for, if any.
    pub(crate) fn end(mut self) -> Result<Option<u8>, CliError> {
        if self.failed.is_none() {
            let flushed = self.inner.flush();
            self.note(flushed);
        }
        ended(self.failed.take().map_or(Ok(()), Err))
    }
}

/// What follows from how writing to standard output ended.
pub(crate) fn ended(written: io::Result<()>) -> Result<Option<u8>, CliError> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(PIPE)),
        Err(error) => Err(CliError::local(format!("writing to standard output: {error}"))),
    }
}

/// Shows how far things are, on stderr.
struct Watch {
    bar: Option<ProgressBar>,
    /// The thread that moves the bar or writes lines; dropping the sender ends it.
    ticking: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Watch {
    fn start(show: &ShowArgs, what: &'static str, progress: &Arc<Progress>) -> Self {
        let (bar, ticking) = match report::shown(show.progress, show.quiet) {
            Shown::Bars => {
                let bar = bar(what, progress);
                (Some(bar.clone()), Some(move_bar(bar)))
            }
            Shown::Plain => (None, Some(write_lines(progress, move |so_far| so_far.line(what)))),
            Shown::Json => (None, Some(write_lines(progress, move |so_far| so_far.json(what)))),
            Shown::Nothing => (None, None),
        };
        Self { bar, ticking: Mutex::new(ticking) }
    }

    /// Writes something without a bar in between.
    fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away, for good.
    fn end(&self) {
        let ticking = self.ticking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = ticking {
            drop(sender);
            let _ = thread.join();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// A bar that is not on the terminal yet.
fn bar(what: &'static str, progress: &Arc<Progress>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let progress = Arc::clone(progress);
    let so_far = move |state: &ProgressState, to: &mut dyn fmt::Write| {
        let _ = to.write_str(&SoFar::of(&progress, state.elapsed()).line(what));
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {so_far}") {
        bar.set_style(style.with_key("so_far", so_far));
    }
    bar
}

/// Puts the bar on the terminal when it is worth while, and moves it.
fn move_bar(bar: ProgressBar) -> (Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        if receiver.recv_timeout(BAR_AFTER) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        bar.set_draw_target(ProgressDrawTarget::stderr());
        loop {
            bar.tick();
            if receiver.recv_timeout(TICK_EACH) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    (sender, thread)
}

fn write_lines(
    progress: &Arc<Progress>,
    text: impl Fn(&SoFar) -> String + Send + 'static,
) -> (Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let progress = Arc::clone(progress);
    let thread = std::thread::spawn(move || {
        let mut elapsed = Duration::ZERO;
        while receiver.recv_timeout(PLAIN_EACH) == Err(RecvTimeoutError::Timeout) {
            elapsed += PLAIN_EACH;
            let _ = writeln!(io::stderr(), "{}", text(&SoFar::of(&progress, elapsed)));
        }
    });
    (sender, thread)
}

/// How far things are.
struct SoFar {
    jobs: u64,
    files: u64,
    bytes: u64,
    elapsed: Duration,
}

impl SoFar {
    fn of(progress: &Progress, elapsed: Duration) -> Self {
        let (jobs, files, bytes) = progress.so_far();
        Self { jobs, files, bytes, elapsed }
    }

    /// `verifying: 9,812 jobs, 10,233 files, 3.2 GiB, 1.1 GiB/s`
    fn line(&self, what: &str) -> String {
        let mut line = format!("{what}: {}", counted(self.jobs, "job"));
        if self.files > 0 {
            line.extend([", ", &counted(self.files, "file")]);
        }
        if self.bytes > 0 {
            let milliseconds = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = self.bytes.saturating_mul(1_000) / milliseconds;
            line.extend([", ", &bytes(self.bytes), ", ", &bytes(rate), "/s"]);
        }
        line
    }

    fn json(&self, what: &str) -> String {
        let Self { jobs, files, bytes, elapsed } = self;
        let seconds = elapsed.as_secs();
        json!({"event": "progress", "what": what, "jobs": jobs, "files": files, "bytes": bytes, "seconds": seconds})
            .to_string()
    }
}
