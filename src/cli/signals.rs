//! Signals: the first one ends the run in good order, the second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CliError;

/// A run that was told to end is over after this, whatever it still waits for.
const GRACE: Duration = Duration::from_secs(2);
/// Exceeding a limit on file sizes must be an error of the write, not the death of the process.
const SIGXFSZ: i32 = 25;

/// Which signal came, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caught(Arc<AtomicI32>);

impl Caught {
    /// The number of the signal that came first.
    pub(crate) fn number(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }

    /// The exit code of a process that a signal ended.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        self.number().map(|number| 128 + u8::try_from(number).unwrap_or(0))
    }
}

/// Cancels the token at SIGINT, SIGTERM or SIGHUP; a second one, or the end of the grace, ends the process. A signal that
/// whoever started the process had ignored, as `nohup` does, stays so.
pub(crate) fn watch(stop: CancellationToken) -> Result<Caught, CliError> {
    let caught = Caught::default();
    let ignored = ignored();
    let listen =
        |kind| signal(kind).map_err(|error| CliError::local(format!("listening for signals: {error}")));
    let listen_unless_ignored = |kind: SignalKind| {
        let is_ignored = ignored & 1 << (kind.as_raw_value() - 1) != 0;
        if is_ignored { Ok(None) } else { listen(kind).map(Some) }
    };
    let mut signals = (
        listen_unless_ignored(SignalKind::interrupt())?,
        listen_unless_ignored(SignalKind::terminate())?,
        listen_unless_ignored(SignalKind::hangup())?,
    );
    // Whoever listens for a signal is not killed by it.
    drop(listen(SignalKind::from_raw(SIGXFSZ))?);
    let first = caught.clone();
    tokio::spawn(async move {
        let number = next(&mut signals).await;
        first.0.store(number, Ordering::Relaxed);
        stop.cancel();
        // Whatever the grace brings, the process ends with the number of the first or the second signal.
        let second = tokio::time::timeout(GRACE, next(&mut signals)).await;
        leave(second.unwrap_or(number));
    });
    Ok(caught)
}

/// The signals that are ignored, a bit each from the lowest, where the system tells: Linux does.
#[expect(clippy::disallowed_methods, reason = "what the system says of this process")]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

type Signals = (Option<Signal>, Option<Signal>, Option<Signal>);

async fn next(signals: &mut Signals) -> i32 {
    let kind = tokio::select! {
        () = heard(&mut signals.0) => SignalKind::interrupt(),
        () = heard(&mut signals.1) => SignalKind::terminate(),
        () = heard(&mut signals.2) => SignalKind::hangup(),
    };
    kind.as_raw_value()
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[expect(
    clippy::exit,
    reason = "a second signal means at once; nothing that is not committed is worth a wait"
)]
fn leave(number: i32) {
    std::process::exit(128 + number)
}
