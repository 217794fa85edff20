//! The live lines at the bottom of the terminal, put there so that nothing flickers, wraps or is left behind.
//!
//! A frame is written over the one before in a single write, line by line, each cleared to its end; nothing is wiped
//! first. Lines never reach the last column, and the terminal is told not to wrap them all the same, since it may
//! disagree about a character's width. The cursor rests on a row of its own below them, where a prompt is welcome if the
//! process should die. A terminal that was made narrower has wrapped the lines that were too long for it, so the way
//! back up is counted at its present width. Lines above the live ones are part of the same write.

use std::fmt::Write as _;

/// The size of a terminal in columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// The size of the terminal at standard error; that of the first terminals where there is none.
    pub(super) fn of_stderr() -> Self {
        let known = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let known = known.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        known.map_or(Self { columns: 80, rows: 24 }, |size| Self {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        })
    }
}

/// From here the terminal shows what comes only when the frame is complete, where it knows how.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// The live lines as they stand on the terminal.
#[derive(Default)]
pub(super) struct Screen {
    lines: Vec<String>,
}

impl Screen {
    /// What replaces the live lines by these, with `above`, which ends with a newline, left behind above them. Empty
    /// where nothing changes.
    pub(super) fn frame(&mut self, above: &str, lines: Vec<String>, size: Size) -> String {
        if above.is_empty() && lines == self.lines {
            return String::new();
        }
        let mut frame = String::from(BEGIN);
        self.go_to_top(&mut frame, size);
        for line in above.lines() {
            let _ = write!(frame, "{line}{CLEAR_REST_OF_LINE}\r\n");
        }
        frame.push_str(NO_WRAP);
        for line in &lines {
            let _ = write!(frame, "{line}{CLEAR_REST_OF_LINE}\r\n");
        }
        let _ = write!(frame, "{WRAP}{CLEAR_BELOW}{END}");
        self.lines = lines;
        frame
    }

    /// What takes the live lines away and leaves the cursor where they were.
    pub(super) fn erase(&mut self, size: Size) -> String {
        let mut text = String::new();
        if !self.lines.is_empty() {
            self.go_to_top(&mut text, size);
            text.push_str(CLEAR_BELOW);
            self.lines.clear();
        }
        text
    }

    fn go_to_top(&self, text: &mut String, size: Size) {
        let rows: usize = self.lines.iter().map(|line| width(line).div_ceil(size.columns).max(1)).sum();
        text.push('\r');
        if rows > 0 {
            let _ = write!(text, "\x1b[{rows}A");
        }
    }
}

/// How many columns a line takes: its characters without escape sequences. Lines hold none that are wider than one.
pub(super) fn width(line: &str) -> usize {
    let mut letters = line.chars();
    let mut width = 0;
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            letters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            width += 1;
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 60, rows: 12 };

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn terminal() -> vt100::Parser {
        vt100::Parser::new(12, 60, 100)
    }

    #[test]
    fn a_frame_replaces_the_one_before_whole() {
        let (mut screen, mut terminal) = (Screen::default(), terminal());
        terminal.process(b"$ vfetch get\r\n");
        for (frame, want) in [
            (lines(&["one", "two", "three"]), "$ vfetch get\none\ntwo\nthree"),
            (lines(&["1"]), "$ vfetch get\n1"),
            (lines(&["1", "2"]), "$ vfetch get\n1\n2"),
            (lines(&[]), "$ vfetch get"),
        ] {
            terminal.process(screen.frame("", frame, SIZE).as_bytes());
            assert_eq!(terminal.screen().contents().trim_end(), want);
        }
    }

    #[test]
    fn a_frame_that_changes_nothing_writes_nothing() {
        let mut screen = Screen::default();
        assert_ne!(screen.frame("", lines(&["one"]), SIZE), "");
        assert_eq!(screen.frame("", lines(&["one"]), SIZE), "");
        assert_ne!(screen.frame("above\n", lines(&["one"]), SIZE), "");
    }

    #[test]
    fn lines_above_stay_and_scroll_away_as_any_other_text() {
        let (mut screen, mut terminal) = (Screen::default(), terminal());
        terminal.process(screen.frame("", lines(&["live", "lines"]), SIZE).as_bytes());
        let long = "x".repeat(130);
        for number in 0..20 {
            let above = format!("line {number}\n{long}\n");
            terminal.process(screen.frame(&above, lines(&["live", "lines"]), SIZE).as_bytes());
        }
        let shown = terminal.screen().contents();
        let ends = format!("line 19\n{long}\nlive\nlines");
        assert!(shown.trim_end().ends_with(&ends), "{shown}");
        assert_eq!(shown.matches("live").count(), 1);
    }

    #[test]
    fn a_frame_as_high_as_the_terminal_neither_scrolls_nor_leaves_anything() {
        let (mut screen, mut terminal) = (Screen::default(), terminal());
        for round in 0..5 {
            let frame: Vec<String> = (0..11).map(|line| format!("{round} {line}")).collect();
            terminal.process(screen.frame("", frame.clone(), SIZE).as_bytes());
            assert_eq!(terminal.screen().contents().trim_end(), frame.join("\n"));
        }
    }

    #[test]
    fn live_lines_are_never_wrapped_and_lines_above_are() {
        let frame = Screen::default().frame("above\n", lines(&["live"]), SIZE);
        let at = |text: &str| frame.find(text).unwrap_or(usize::MAX);
        let order = ["above", NO_WRAP, "live", WRAP].map(at);
        assert!(order.is_sorted() && order[3] < frame.len(), "{order:?}");
    }

    #[test]
    fn erasing_leaves_the_cursor_where_the_lines_began() {
        let (mut screen, mut terminal) = (Screen::default(), terminal());
        terminal.process(b"before\r\n");
        terminal.process(screen.frame("", lines(&["live", "lines"]), SIZE).as_bytes());
        terminal.process(screen.erase(SIZE).as_bytes());
        terminal.process(b"after");
        assert_eq!(terminal.screen().contents(), "before\nafter");
        assert_eq!(screen.erase(SIZE), "");
    }

    #[test]
    fn the_way_up_counts_the_rows_of_lines_that_a_narrower_terminal_has_wrapped() {
        let mut screen = Screen::default();
        screen.frame("", lines(&[&format!("\x1b[32m{}\x1b[0m", "x".repeat(59)), "y"]), SIZE);
        let narrow = Size { columns: 20, rows: 12 };
        assert!(screen.frame("", lines(&["z"]), narrow).contains("\x1b[4A"));
    }
}
