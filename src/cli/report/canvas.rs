//! What indicatif draws on: it keeps the lines of the last frame, and the cursor's moves mean nothing here.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

/// A terminal that shows nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Canvas(Arc<Mutex<Drawn>>);

#[derive(Debug, Default)]
struct Drawn {
    columns: u16,
    begun: Vec<String>,
    lines: Vec<String>,
}

impl Canvas {
    /// Frames have so many columns from here on.
    pub(super) fn resize(&self, columns: usize) {
        self.drawn().columns = u16::try_from(columns).unwrap_or(u16::MAX);
    }

    /// The lines of the last frame.
    pub(super) fn lines(&self) -> Vec<String> {
        self.drawn().lines.clone()
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.drawn().columns
    }

    fn height(&self) -> u16 {
        u16::MAX
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    /// A line, or the blanks with which indicatif fills the rest of its row.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if !text.trim().is_empty() {
            self.drawn().begun.push(text.trim_end().to_owned());
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn();
        drawn.lines = std::mem::take(&mut drawn.begun);
        Ok(())
    }
}
