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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_ten_seconds_and_a_pause_is_not_made_up_for() {
        let began = super::super::clock();
        let mut plain = Plain::new(began);
        let totals = Totals { asked: 1, ..Totals::default() };
        let mut due = |seconds| plain.line(&totals, began + Duration::from_secs(seconds)).is_some();
        let seconds = [0, 9, 10, 11, 19, 20, 3_600, 3_601, 3_609, 3_610];
        let want = [false, false, true, false, false, true, true, false, false, true];
        assert_eq!(seconds.map(&mut due), want);
    }

    #[test]
    fn a_line_tells_what_there_is_to_tell() {
        let totals = Totals { asked: 1_234, ended: 3, ..Totals::default() };
        assert_eq!(words(&totals), "3/1,234 jobs, 0 B");
        let totals = Totals {
            failed: 2,
            files: 1,
            waiting: 5,
            bytes: 34 << 20,
            bytes_per_s: Some(3 << 20),
            left: Some(Duration::from_secs(80)),
            ..totals
        };
        let want =
            "3/1,234 jobs, 34.0 MiB at 3.0 MiB/s, 1 file under way, 5 waiting, 2 failed, about 1m 20s left";
        assert_eq!(words(&totals), want);
    }
}
