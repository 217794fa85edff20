//! What a run shows.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use vfetch::engine::archive::Stop;
use vfetch::event::{Event, JobEnd, Reporter, Summary};
use vfetch::layout;

use super::error::CliError;

/// How a run is shown.
pub(crate) struct Settings {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
    /// The archive as the user wrote it, for the paths in results.
    pub(crate) destination: String,
}

/// The console of a run.
pub(crate) struct Console {
    settings: Settings,
    summary: Mutex<Summary>,
}

/// Begins to show a run.
#[expect(clippy::unnecessary_wraps, reason = "a log that cannot be written is an error")]
pub(crate) fn start(settings: Settings) -> Result<Arc<Console>, CliError> {
    Ok(Arc::new(Console { settings, summary: Mutex::default() }))
}

impl Console {
    /// Shows how the run ended.
    #[expect(clippy::print_stderr, reason = "the console writes")]
    pub(crate) fn finish(&self, stop: Option<&Stop>, _signal: Option<i32>) -> Summary {
        let mut summary = self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match stop {
            Some(Stop::Account(failure)) => {
                summary.note_auth();
                eprintln!("vfetch: {failure}");
            }
            Some(Stop::Local(error)) => {
                summary.note_local();
                eprintln!("vfetch: {error}");
            }
            None => {}
        }
        if !self.settings.quiet {
            eprintln!("{summary:?}");
        }
        summary
    }
}

impl Reporter for Console {
    #[expect(clippy::print_stderr, reason = "the console writes")]
    fn event(&self, event: &Event<'_>) {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).note(event);
        if self.settings.verbose > 0 {
            eprintln!("{event:?}");
        }
        if let Event::JobEnded { job, end: JobEnd::Kept(manifest) | JobEnd::Archived(manifest) } = event
            && !self.settings.json
        {
            let mut out = std::io::stdout().lock();
            for file in &manifest.files {
                let _ = writeln!(
                    out,
                    "{}  {}/{}/{}",
                    file.sha256,
                    self.settings.destination,
                    layout::folder(job),
                    file.path
                );
            }
        }
    }
}
