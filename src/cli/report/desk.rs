//! The one thread that writes. Tasks leave what is to be written in a [`Queue`] and go on: a pager that is not read, or
//! a terminal that is paused, must not hold up a download, and no lock is held while something is written.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vfetch::text::{RedactingWriter, Redactor};

use super::bars::{Bars, WAITING_SHOWN};
use super::board::Board;
use super::failed::FailedList;
use super::plain::Plain;
use super::screen::Size;

/// Frames, lines and results are written this often.
const TICK: Duration = Duration::from_millis(100);
/// Results that nobody reads pile up to here before those who bring them in masses are made to wait.
const RESULTS_AHEAD: usize = 8 << 20;
/// Log lines that nobody reads pile up to here; further ones are dropped and counted.
const LOG_AHEAD: usize = 4 << 20;

/// What tasks and the writing thread share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) board: Mutex<Board>,
    /// For standard output: results or JSON lines.
    pub(super) out: Queue,
    /// For standard error: whole lines.
    pub(super) err: Queue,
    /// For the list of failed jobs.
    pub(super) failed: Queue,
    stop: Mutex<bool>,
    wake: Condvar,
}

impl Shared {
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the writing thread to write what is left and to end.
    pub(super) fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Waits for the next tick; whether the end has come.
    fn wait(&self) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(stop, TICK, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Text on its way to the writing thread.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    closed: bool,
}

impl Queue {
    /// Leaves a text here.
    pub(super) fn push(&self, text: &str) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// Leaves a text here once there is room for it. Only for threads that may wait.
    pub(super) fn push_when_there_is_room(&self, text: &str) {
        let waiting = self.lock();
        let full = |waiting: &mut Waiting| !waiting.closed && waiting.bytes.len() > RESULTS_AHEAD;
        let waited = self.room.wait_while(waiting, full);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        if !waiting.closed {
            waiting.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// Leaves a text here if there is room for it.
    pub(super) fn push_if_there_is_room(&self, text: &str) {
        let mut waiting = self.lock();
        if waiting.bytes.len() > LOG_AHEAD {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn take(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        let mut bytes = std::mem::take(&mut waiting.bytes);
        let dropped = std::mem::take(&mut waiting.dropped);
        drop(waiting);
        self.room.notify_all();
        if dropped > 0 {
            bytes.extend_from_slice(format!("{dropped} log lines were dropped\n").as_bytes());
        }
        bytes
    }

    /// From now on texts are dropped.
    fn close(&self) {
        *self.lock() = Waiting { closed: true, ..Waiting::default() };
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What shows the progress of a run.
pub(super) enum Show {
    Bars(Box<Bars>),
    Plain(Plain),
    Nothing,
}

/// Where everything is written.
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) out: Option<RedactingWriter<Box<dyn Write + Send>>>,
    /// Whether results and live lines meet on the same terminal.
    pub(super) out_is_terminal: bool,
    pub(super) err: Box<dyn Write + Send>,
    pub(super) redactor: Redactor,
    pub(super) show: Show,
    pub(super) size: fn() -> Size,
    pub(super) failed: Option<FailedList>,
    /// Why standard output could not be written, other than that nobody reads it.
    pub(super) out_error: Option<io::Error>,
}

impl Desk {
    /// Writes until the end is told, and gives back what the last words need.
    pub(super) fn run(mut self) -> Self {
        while !self.shared.wait() {
            self.tick(super::clock());
        }
        self.clear_bars();
        self.show = Show::Nothing;
        self.tick(super::clock());
        self
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let failed = self.shared.failed.take();
        if let Some(list) = &mut self.failed {
            list.add(&failed);
        }
        let out = self.shared.out.take();
        let mut lines = String::from_utf8_lossy(&self.shared.err.take()).into_owned();
        if self.out_is_terminal && !out.is_empty() {
            self.clear_bars();
        }
        self.write_out(&out);
        let text = match &mut self.show {
            Show::Bars(bars) => {
                let view = self.shared.board().view(now, WAITING_SHOWN);
                bars.frame(&view.redacted(&self.redactor), &lines, (self.size)())
            }
            Show::Plain(plain) => {
                let view = self.shared.board().view(now, 0);
                if let Some(line) = plain.line(&view.totals, now) {
                    lines.push_str(&line);
                    lines.push('\n');
                }
                lines
            }
            Show::Nothing => lines,
        };
        self.write_err(&text);
    }

    fn clear_bars(&mut self) {
        if let Show::Bars(bars) = &mut self.show {
            let text = bars.erase((self.size)());
            self.write_err(&text);
        }
    }

    /// Writes to standard output. A reader that went away ends that quietly; the run goes on.
    pub(super) fn write_out(&mut self, bytes: &[u8]) {
        let Some(out) = self.out.as_mut().filter(|_| !bytes.is_empty()) else { return };
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
            self.out = None;
            self.shared.out.close();
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.out_error = Some(error);
            }
        }
    }

    /// Writes whole lines or frames to standard error. Where that fails there is nobody to tell.
    pub(super) fn write_err(&mut self, text: &str) {
        if !text.is_empty() {
            let clean = self.redactor.text(text);
            let _ = self.err.write_all(clean.as_bytes()).and_then(|()| self.err.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn masses_wait_for_room_and_a_closed_queue_holds_nobody_up() {
        let queue = Queue::default();
        let much = "x".repeat(RESULTS_AHEAD + 1);
        queue.push(&much);
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| queue.push_when_there_is_room("y"));
            // Who need not wait does not, and the patient one's text is not among what is there.
            queue.push("z");
            assert_eq!(queue.take().len(), much.len() + 1);
            patient.join().unwrap();
        });
        assert_eq!(queue.take(), b"y");

        queue.push(&much);
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| queue.push_when_there_is_room("y"));
            queue.close();
            patient.join().unwrap();
        });
        queue.push("z");
        queue.push_when_there_is_room("z");
        assert_eq!(queue.take(), b"");
    }

    #[test]
    fn a_flood_of_log_lines_is_cut_and_says_so() {
        let queue = Queue::default();
        queue.push_if_there_is_room(&"x".repeat(LOG_AHEAD + 1));
        queue.push_if_there_is_room("dropped\n");
        queue.push_if_there_is_room("dropped\n");
        queue.push("a failure\n");
        let text = String::from_utf8(queue.take()).unwrap();
        assert!(text.ends_with("xa failure\n2 log lines were dropped\n"));
        queue.push_if_there_is_room("again\n");
        assert_eq!(queue.take(), b"again\n");
    }
}
