//! Whether work on the disk is so short that it is done where it is asked for.
//!
//! A hop to a blocking thread and back costs two to four switches of threads: little beside a sync on a disk, and more
//! than the whole commit where there is nothing to wait for, as in memory or without syncs. No flag of a file system
//! tells which it is, so the work is timed, and the next piece is expected to take as long as the last ones did. One
//! that took long among many that did not says more about a busy machine than about its disk; two do not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer work would hold up the transfers that share its thread.
const SHORT: Duration = Duration::from_micros(200);
/// So much work in a row must have been short before the next is expected to be.
const RUN: u32 = 16;

/// What the last pieces of work took.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// Up by one for short work, to two runs at most; down by a run for long work.
    score: AtomicU32,
}

impl Short {
    /// Whether the next piece will be short, as far as the last ones tell.
    pub(super) fn is_expected(&self) -> bool {
        self.score.load(Ordering::Relaxed) >= RUN
    }

    /// Does a piece of work and notes how long it took.
    pub(super) fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = now();
        let done = work();
        self.note(now().saturating_duration_since(began));
        done
    }

    fn note(&self, took: Duration) {
        let change = |score: u32| {
            Some(if took > SHORT { score.saturating_sub(RUN) } else { (score + 1).min(2 * RUN) })
        };
        // It always changes to something.
        let _ = self.score.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the store reads the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_micros(201);

    #[test]
    fn work_is_expected_to_be_short_after_a_run_of_short_work_and_until_it_is_long_again() {
        let short = Short::default();
        for _ in 0..RUN {
            assert!(!short.is_expected());
            short.note(SHORT);
        }
        assert!(short.is_expected());
        short.note(LONG);
        assert!(!short.is_expected());
        assert_eq!(short.measure(|| 7), 7);
    }

    #[test]
    fn of_much_short_work_one_piece_may_be_long_and_not_two() {
        let short = Short::default();
        for _ in 0..1_000 {
            short.note(SHORT);
        }
        short.note(LONG);
        assert!(short.is_expected());
        short.note(LONG);
        assert!(!short.is_expected());
    }
}
