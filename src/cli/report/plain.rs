//! Plain lines: where there is no terminal, a line every 10 s says how far the run has come.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::board::Totals;
use super::words::{Bytes, Count, Time, counted};

/// The time between two lines.
const EACH: Duration = Duration::from_secs(10);

/// The plain lines of a run.
pub(super) struct Plain {
    began: Instant,
    due: Duration,
}

impl Plain {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, due: EACH }
    }

    /// The line that is due now, if one is.
    pub(super) fn line(&mut self, totals: &Totals, now: Instant) -> Option<String> {
        let passed = now.saturating_duration_since(self.began);
        if passed < self.due {
            return None;
        }
        // A process that slept does not make up for the lines that it missed.
        while self.due <= passed {
            self.due += EACH;
        }
        Some(format!("[{}] {}", Time(passed), words(totals)))
    }
}

fn words(totals: &Totals) -> String {
    let mut text = format!("{}/{} jobs, {}", Count(totals.ended), Count(totals.asked), Bytes(totals.bytes));
    if let Some(rate) = totals.bytes_per_s {
        let _ = write!(text, " at {}/s", Bytes(rate));
    }
    if totals.files > 0 {
        let _ = write!(text, ", {} under way", counted(totals.files, "file"));
    }
    if totals.waiting > 0 {
        let _ = write!(text, ", {} waiting", Count(totals.waiting));
    }
    if totals.failed > 0 {
        let _ = write!(text, ", {} failed", Count(totals.failed));
    }
    if let Some(left) = totals.left {
        let _ = write!(text, ", about {} left", Time(left));
    }
    text
}
