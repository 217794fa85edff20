//! Bars: a line for the whole run, one for each file under way, and a few for jobs that wait.
//!
//! indicatif draws the lines; [`Screen`] puts them on the terminal. What is to be seen comes as a [`View`] a few times a
//! second, so a thousand events cost one frame. A file keeps its line while it is under way, and the next file takes
//! over the line of one that ended: what does not change does not move. Where the terminal is too low for all lines,
//! the rest is counted.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::{FileView, Totals, View, WaitView};
use super::canvas::Canvas;
use super::look::Look;
use super::screen::{Screen, Size};
use super::words::{Bytes, Count, Time, rung_word};

/// At most this many waiting jobs have a line.
pub(super) const WAITING_SHOWN: usize = 3;
/// The frame does not shrink before this many frames in a row would have been lower: files that end and begin make its
/// height tremble otherwise.
const SHRINK_AFTER: u32 = 10;
/// Bars are at most so wide, however wide the terminal is.
const BAR_MAX: usize = 40;
/// A narrower bar shows nothing.
const BAR_MIN: usize = 6;
/// Names take at least so many columns, and at most a third of the line.
const NAME_MIN: usize = 12;
/// From this width on a file's line tells its length too, and from [`TELLS_RATE_FROM`] on its rate.
const TELLS_LENGTH_FROM: usize = 70;
const TELLS_RATE_FROM: usize = 90;

const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";
const DIM: &str = "2";

/// The live lines of a run.
pub(super) struct Bars {
    canvas: Canvas,
    multi: MultiProgress,
    total: ProgressBar,
    files: Vec<(u64, ProgressBar)>,
    notes: Vec<ProgressBar>,
    screen: Screen,
    look: Look,
    height: usize,
    lower_for: u32,
}

impl Bars {
    pub(super) fn new(look: Look) -> Self {
        let canvas = Canvas::default();
        // Rows change one by one; a frame is asked for when all of them have.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas.clone()), 1);
        let multi = MultiProgress::with_draw_target(target);
        let total = multi.add(ProgressBar::new(0));
        Self {
            canvas,
            multi,
            total,
            files: Vec::new(),
            notes: Vec::new(),
            screen: Screen::default(),
            look,
            height: 0,
            lower_for: 0,
        }
    }

    /// What to write so that the terminal shows this, with `above` left behind above the live lines.
    pub(super) fn frame(&mut self, view: &View, above: &str, size: Size) -> String {
        let lines = if view.totals.asked == 0 { Vec::new() } else { self.lines(view, size) };
        self.screen.frame(above, lines, size)
    }

    /// What takes the live lines away.
    pub(super) fn erase(&mut self, size: Size) -> String {
        self.screen.erase(size)
    }

    fn lines(&mut self, view: &View, size: Size) -> Vec<String> {
        let layout = Layout::of(view, size, self.look);
        self.canvas.resize(layout.columns);
        self.assign(&view.files, layout.file_rows);
        self.draw_total(&view.totals, &layout);
        for (place, bar) in &self.files {
            if let Ok(found) = view.files.binary_search_by_key(place, |file| file.place) {
                layout.draw_file(bar, &view.files[found]);
            }
        }
        let notes = layout.notes(view, self.files.len());
        self.draw_notes(&notes, &layout);
        self.total.force_draw();
        let mut lines = self.canvas.lines();
        self.hold_height(&mut lines, size);
        lines
    }

    /// Gives each file that has a line its line again, and lines that are free to files that have none.
    fn assign(&mut self, files: &[FileView], rows: usize) {
        let mut without: Vec<u64> = files.iter().map(|file| file.place).collect();
        without.retain(|place| !self.files.iter().any(|(shown, _)| shown == place));
        let mut without = without.into_iter();
        let gone = |place: u64| files.binary_search_by_key(&place, |file| file.place).is_err();
        for (place, _) in &mut self.files {
            if gone(*place)
                && let Some(next) = without.next()
            {
                *place = next;
            }
        }
        while self.files.len() < rows
            && let Some(next) = without.next()
        {
            let after = self.files.last().map_or(&self.total, |(_, bar)| bar);
            let bar = self.multi.insert_after(after, ProgressBar::new(0));
            self.files.push((next, bar));
        }
        let mut kept = 0;
        let multi = &self.multi;
        self.files.retain(|(place, bar)| {
            let keep = !gone(*place) && kept < rows;
            if keep {
                kept += 1;
            } else {
                multi.remove(bar);
            }
            keep
        });
    }

    fn draw_total(&self, totals: &Totals, layout: &Layout) {
        let jobs = format!("{}/{} jobs", Count(totals.ended), Count(totals.asked));
        let jobs = format!("{jobs:0$}", layout.name);
        let mut facts = [
            Some(format!("{:>10}", Bytes(totals.bytes))),
            totals.bytes_per_s.map(|rate| format!("{:>12}", format!("{}/s", Bytes(rate)))),
            totals.left.map(|left| format!("about {} left", Time(left))),
            (totals.failed > 0).then(|| format!("{} failed", Count(totals.failed))),
        ];
        let room = layout.columns.saturating_sub(jobs.chars().count() + 1);
        let taken =
            |facts: &[Option<String>]| facts.iter().flatten().map(|fact| fact.len() + 2).sum::<usize>();
        // Where there is no room for all, failures and bytes say most.
        for least in [1, 2, 0] {
            if taken(&facts) > room {
                facts[least] = None;
            }
        }
        let bar = layout.bar.min(room.saturating_sub(taken(&facts)));
        facts[3] = facts[3].take().map(|failed| layout.paint(RED, &failed));
        let bar =
            if bar < BAR_MIN { String::new() } else { layout.paint(GREEN, &format!("{{bar:{bar}}}")) + " " };
        self.total.set_style(layout.style(&format!("{{prefix}} {bar}{{msg}}")));
        self.total.set_length(totals.asked);
        self.total.set_position(totals.ended);
        self.total.set_prefix(jobs);
        self.total.set_message(facts.into_iter().flatten().collect::<Vec<_>>().join("  "));
    }

    fn draw_notes(&mut self, notes: &[String], layout: &Layout) {
        while self.notes.len() > notes.len()
            && let Some(bar) = self.notes.pop()
        {
            self.multi.remove(&bar);
        }
        while self.notes.len() < notes.len() {
            let bar = self.multi.add(ProgressBar::new(0));
            bar.set_style(layout.style("{msg}"));
            self.notes.push(bar);
        }
        for (bar, note) in self.notes.iter().zip(notes) {
            bar.set_message(layout.paint(DIM, &layout.cut(note, layout.columns)));
        }
    }

    fn hold_height(&mut self, lines: &mut Vec<String>, size: Size) {
        if lines.len() >= self.height {
            self.lower_for = 0;
        } else {
            self.lower_for += 1;
        }
        if self.lower_for == 0 || self.lower_for >= SHRINK_AFTER {
            (self.height, self.lower_for) = (lines.len(), 0);
        }
        let room = size.rows.saturating_sub(1);
        lines.resize(self.height.max(lines.len()).min(room), String::new());
    }
}

/// How a frame is laid out on a terminal of this size.
struct Layout {
    /// The columns that may be used: all but the last.
    columns: usize,
    /// The width of names.
    name: usize,
    /// The width of a file's bar; 0 where there is no room for one.
    bar: usize,
    /// How many files have a line.
    file_rows: usize,
    /// How many waiting jobs have a line.
    wait_rows: usize,
    look: Look,
}

impl Layout {
    fn of(view: &View, size: Size, look: Look) -> Self {
        let columns = size.columns.saturating_sub(1).max(1);
        let names = view.files.iter().map(|file| name(file).len());
        let names = names.chain(view.waiting.iter().map(|waiting| waiting.name.len()));
        let name = names.max().unwrap_or_default().clamp(NAME_MIN, (columns / 3).max(NAME_MIN));
        let facts = facts_width(columns);
        let bar = columns.saturating_sub(name + facts + 2).min(BAR_MAX);
        // One row is the cursor's, one the total's.
        let rows = size.rows.saturating_sub(2).max(1);
        let wait_rows = view.waiting.len().min((rows / 4).max(1));
        let rest_waits = usize::from(view.totals.waiting > wait_rows as u64);
        let for_files = rows.saturating_sub(wait_rows + rest_waits).max(1);
        let files = view.files.len();
        let file_rows = if files > for_files { (for_files - 1).max(1) } else { files };
        Self { columns, name, bar: if bar < BAR_MIN { 0 } else { bar }, file_rows, wait_rows, look }
    }

    fn draw_file(&self, bar: &ProgressBar, file: &FileView) {
        let kind = if file.total.is_some() { "bar" } else { "spinner" };
        let shown = match self.bar {
            0 => String::new(),
            width => self.paint(CYAN, &format!("{{{kind}:{width}}}")) + " ",
        };
        bar.set_style(self.style(&format!("{{prefix}} {shown}{{msg}}")));
        bar.set_length(file.total.unwrap_or_default());
        bar.set_position(file.bytes);
        bar.set_prefix(format!("{:1$}", self.cut(&name(file), self.name), self.name));
        bar.set_message(self.facts(file));
        bar.tick();
    }

    fn facts(&self, file: &FileView) -> String {
        let share = file.total.map(|total| {
            let share = file.bytes.min(total).saturating_mul(100).checked_div(total).unwrap_or(100);
            format!("{share:>3}%")
        });
        let mut text = format!("{:4} {:>10}", share.unwrap_or_default(), Bytes(file.bytes));
        if self.columns >= TELLS_LENGTH_FROM {
            let total = file.total.map(|total| format!(" of {}", Bytes(total)));
            text = format!("{text}{:14}", total.unwrap_or_default());
        }
        if self.columns >= TELLS_RATE_FROM {
            text = format!("{text}{:>12}", format!("{}/s", Bytes(file.bytes_per_s)));
        }
        self.cut(text.trim_end(), self.columns.saturating_sub(self.name + 1))
    }

    /// The lines below the files: what is not shown, and who waits.
    fn notes(&self, view: &View, files_shown: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let hidden = view.files.len().saturating_sub(files_shown);
        let dots = if self.look.unicode { "…" } else { "..." };
        if hidden > 0 {
            notes.push(format!("{dots} and {} more under way", Count(hidden as u64)));
        }
        for waiting in view.waiting.iter().take(self.wait_rows) {
            notes.push(format!(
                "{:1$} {2}",
                self.cut(&waiting.name, self.name),
                self.name,
                wait_words(waiting)
            ));
        }
        let others = view.totals.waiting.saturating_sub(self.wait_rows as u64);
        if others > 0 {
            notes.push(format!("{dots} and {} more waiting", Count(others)));
        }
        notes
    }

    fn style(&self, template: &str) -> ProgressStyle {
        let (bar, spinner) = if self.look.unicode {
            ("━╸─", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        } else {
            ("=>-", "|/-\\ ")
        };
        // The templates stand in this file, and each of them is drawn in its tests.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars(bar).tick_chars(spinner)
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.look.color && !text.is_empty() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.into() }
    }

    /// The text in at most so many columns; its end says more than its middle, since it holds the output's number.
    fn cut(&self, text: &str, columns: usize) -> String {
        let letters = text.chars().count();
        if letters <= columns {
            return text.into();
        }
        let mark = if self.look.unicode { '…' } else { '~' };
        let tail = columns.saturating_sub(1) / 3;
        let head: String = text.chars().take(columns.saturating_sub(tail + 1)).collect();
        let tail: String = text.chars().skip(letters - tail).collect();
        format!("{head}{mark}{tail}")
    }
}

fn facts_width(columns: usize) -> usize {
    let length = if columns >= TELLS_LENGTH_FROM { 14 } else { 0 };
    let rate = if columns >= TELLS_RATE_FROM { 12 } else { 0 };
    15 + length + rate
}

fn name(file: &FileView) -> String {
    rung_word(file.rung).map_or_else(|| file.name.clone(), |rung| format!("{} ({rung})", file.name))
}

fn wait_words(waiting: &WaitView) -> String {
    // A server's words, in a line whose width must be known to the column.
    let plain = |letter: char| if letter.is_ascii_graphic() { letter } else { ' ' };
    let why: String = waiting.why.chars().take(200).map(plain).collect();
    match (waiting.ready_in, waiting.asked_in) {
        (Some(left), _) if left.as_secs() > 0 => format!("{why}, about {} left", Time(left)),
        (_, wait) if wait.as_secs() > 0 => format!("{why}, asked again in {}", Time(wait)),
        // Its wait is over; it has to find a place among those that are asked.
        _ => format!("{why}, asked again soon"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Shown;
    use super::*;
    use std::time::Duration;
    use vfetch::manifest::Rung;

    const PLAIN: Look = Look { shown: Shown::Bars, color: false, unicode: true };

    fn file(place: u64, total: Option<u64>, bytes: u64) -> FileView {
        FileView { place, name: format!("{place}-0"), rung: Rung::Output, total, bytes, bytes_per_s: 350_000 }
    }

    fn waiting(name: &str, why: &str, ready_in: Option<u64>) -> WaitView {
        let ready_in = ready_in.map(Duration::from_secs);
        WaitView { name: name.into(), why: why.into(), ready_in, asked_in: Duration::from_secs(7) }
    }

    fn some_view() -> View {
        let mut files =
            vec![file(147, Some(2 << 20), 1 << 20), file(148, None, 700), file(149, Some(10), 10)];
        files[1].rung = Rung::Proxy;
        View {
            totals: Totals {
                asked: 40,
                ended: 12,
                failed: 2,
                files: 3,
                waiting: 6,
                bytes: 34 << 20,
                bytes_per_s: Some(3 << 20),
                left: Some(Duration::from_secs(80)),
            },
            files,
            waiting: vec![
                waiting("153", "processing", Some(45)),
                waiting("154", "queued", None),
                waiting("155", "the host is in trouble: état 503 \u{1b}]0;x\u{7}", None),
            ],
        }
    }

    /// The rows of a terminal of this width after the frame.
    fn shown(bars: &mut Bars, view: &View, columns: u16, rows: u16) -> Vec<String> {
        let size = Size { columns: columns.into(), rows: rows.into() };
        let mut terminal = vt100::Parser::new(rows, columns, 0);
        terminal.process(bars.erase(size).as_bytes());
        terminal.process(bars.frame(view, "", size).as_bytes());
        terminal.screen().contents().trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn every_width_shows_what_it_has_room_for() {
        let table = [
            (
                60,
                "\
12/40 jobs      34.0 MiB  about 1m 20s left  2 failed
147-0         ━━━━━━━━━━━━━━╸──────────────  50%    1.0 MiB
148-0 (proxy) ⠹                                       700 B
149-0         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100%       10 B
153           processing, about 45s left
154           queued, asked again in 7s
155           the host is in trouble:  …, asked again in 7s
… and 3 more waiting",
            ),
            (
                80,
                "\
12/40 jobs    ━━━╸──────   34.0 MiB     3.0 MiB/s  about 1m 20s left  2 failed
147-0         ━━━━━━━━━━━━━━━━━╸─────────────────  50%    1.0 MiB of 2.0 MiB
148-0 (proxy) ⠹                                             700 B
149-0         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100%       10 B of 10 B
153           processing, about 45s left
154           queued, asked again in 7s
155           the host is in trouble:  tat 503  ]0;x , asked again in 7s
… and 3 more waiting",
            ),
            (
                200,
                "\
12/40 jobs    ━━━━━━━━━━━━╸───────────────────────────   34.0 MiB     3.0 MiB/s  about 1m 20s left  2 failed
147-0         ━━━━━━━━━━━━━━━━━━━━╸───────────────────  50%    1.0 MiB of 2.0 MiB    341.8 KiB/s
148-0 (proxy) ⠹                                                  700 B               341.8 KiB/s
149-0         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100%       10 B of 10 B       341.8 KiB/s
153           processing, about 45s left
154           queued, asked again in 7s
155           the host is in trouble:  tat 503  ]0;x , asked again in 7s
… and 3 more waiting",
            ),
        ];
        for (columns, want) in table {
            assert_eq!(shown(&mut Bars::new(PLAIN), &some_view(), columns, 24).join("\n"), want);
        }
    }

    #[test]
    fn no_line_reaches_the_last_column_with_colour_or_without() {
        for columns in 1..=250_usize {
            for look in [PLAIN, Look { color: true, unicode: false, ..PLAIN }] {
                let size = Size { columns, rows: 24 };
                let lines = Bars::new(look).lines(&some_view(), size);
                let widest = lines.iter().map(|line| super::super::screen::width(line)).max();
                assert!(lines.len() == 8 && widest < Some(columns.max(40)), "{columns}: {lines:#?}");
                assert_eq!(lines.concat().contains('\x1b'), look.color);
            }
        }
    }

    #[test]
    fn a_thousand_files_take_the_rows_that_there_are_and_the_rest_is_counted() {
        let mut view = some_view();
        view.files = (0..1_000).map(|place| file(place, Some(100), 50)).collect();
        view.totals = Totals { asked: 1_000_000, ended: 12_345, files: 1_000, ..view.totals };
        for (rows, shown_files) in [(24, 17), (10, 4), (6, 1), (200, 193)] {
            let lines = shown(&mut Bars::new(PLAIN), &view, 80, rows);
            assert!(lines[0].starts_with("12,345/1,000,000 jobs"), "{lines:#?}");
            let more = format!("… and {} more under way", 1_000 - shown_files);
            assert!(lines.contains(&more), "{rows}: {lines:#?}");
            assert!(lines.len() < rows.into());
        }
    }

    #[test]
    fn a_file_keeps_its_row_and_the_next_one_takes_over_that_of_one_that_ended() {
        let mut bars = Bars::new(PLAIN);
        let mut view = View { totals: Totals { asked: 9, ..Totals::default() }, ..View::default() };
        let mut names = |places: &[u64]| {
            view.files = places.iter().map(|place| file(*place, Some(100), 50)).collect();
            let lines = shown(&mut bars, &view, 80, 24);
            let names = lines[1..].iter().filter_map(|line| line.split('-').next());
            names.filter_map(|name| name.parse().ok()).collect::<Vec<u64>>()
        };
        assert_eq!(names(&[1, 2, 3]), [1, 2, 3]);
        assert_eq!(names(&[1, 3, 4]), [1, 4, 3]);
        assert_eq!(names(&[4]), [4]);
        assert_eq!(names(&[4, 5, 6, 7]), [4, 5, 6, 7]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn the_height_does_not_tremble_and_shrinks_in_the_end() {
        let mut bars = Bars::new(PLAIN);
        let view = some_view();
        let fewer = View { files: view.files[..1].to_vec(), ..view.clone() };
        let size = Size { columns: 80, rows: 24 };
        assert_eq!(bars.lines(&view, size).len(), 8);
        let heights: Vec<usize> = (0..12).map(|_| bars.lines(&fewer, size).len()).collect();
        assert_eq!(heights, [8, 8, 8, 8, 8, 8, 8, 8, 8, 6, 6, 6]);
        assert_eq!(bars.lines(&view, Size { rows: 5, ..size }).len(), 4);
    }

    #[test]
    fn a_long_name_keeps_its_end_which_tells_the_output() {
        let mut view = some_view();
        view.files[0].name = format!("enterprise/image_to_video_ultra/{}-12", "a".repeat(80));
        let lines = shown(&mut Bars::new(PLAIN), &view, 60, 24);
        assert!(lines[1].starts_with("enterprise/i…aaa-12 "), "{}", lines[1]);
    }

    #[test]
    fn a_job_whose_wait_is_over_is_asked_again_soon() {
        let table = [
            (Some(45), 7, "about 45s left"),
            (Some(0), 7, "asked again in 7s"),
            (None, 0, "asked again soon"),
        ];
        for (ready_in, asked_in, want) in table {
            let mut waiting = waiting("153", "queued", ready_in);
            waiting.asked_in = Duration::from_secs(asked_in);
            assert_eq!(wait_words(&waiting), format!("queued, {want}"));
        }
    }

    #[test]
    fn before_the_first_job_there_is_nothing_to_see() {
        assert!(shown(&mut Bars::new(PLAIN), &View::default(), 80, 24).is_empty());
    }
}
