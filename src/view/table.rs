//! Jobs as rows: cut to a width for people, whole for programs.

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::job::JobRef;
use crate::layout;
use crate::manifest::{Manifest, State};
use crate::query::Facts;
use crate::text::Untrusted;

/// One job as a row of a list. Model, seed and prompt are a server's texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The job, as a reference that `get` takes.
    pub job: String,
    /// Its folder below the archive's root.
    pub folder: String,
    /// Its state.
    pub state: State,
    /// How many files are here.
    pub files: usize,
    /// How many outputs are not.
    pub missing: usize,
    /// The files' bytes.
    pub bytes: u64,
    /// When it was first recorded, in UTC (RFC 3339).
    pub created_at: String,
    /// Which model made it.
    pub model: Option<String>,
    /// From which seed.
    pub seed: Option<String>,
    /// What was asked for.
    pub prompt: Option<String>,
}

impl Row {
    /// The row of a job.
    #[must_use]
    pub fn of(job: &JobRef, manifest: &Manifest, facts: Facts) -> Self {
        Self {
            job: job.to_string(),
            folder: layout::folder(job),
            state: manifest.state,
            files: manifest.files.len(),
            missing: manifest.missing.len(),
            bytes: manifest.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes)),
            created_at: manifest.created_at.clone(),
            model: facts.model,
            seed: facts.seed,
            prompt: facts.prompt,
        }
    }

    /// The fields as people read them, in the order of [`HEAD`].
    fn fields(&self) -> [String; 8] {
        let shown = |text: &Option<String>| text.as_deref().map(safe).unwrap_or_default();
        // `2026-01-02T03:04:05Z` is `2026-01-02 03:04`.
        let date: String = self.created_at.chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect();
        [
            safe(&self.job),
            self.state.word().into(),
            self.files.to_string(),
            bytes(self.bytes),
            safe(&date),
            shown(&self.model),
            shown(&self.seed),
            shown(&self.prompt),
        ]
    }

    /// The row for a program: whole fields between tabs.
    #[must_use]
    pub fn tabbed(&self) -> String {
        self.fields().join("\t")
    }
}

/// A server's text in one line and without what acts on a terminal.
fn safe(text: &str) -> String {
    let line: String = text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter }).collect();
    format!("{:.FIELD_MAX$}", Untrusted(line.trim()))
}

/// No field is longer, in characters.
const FIELD_MAX: usize = 32_768;
/// The names of the columns.
pub const HEAD: [&str; 8] = ["JOB", "STATE", "FILES", "SIZE", "CREATED (UTC)", "MODEL", "SEED", "PROMPT"];
/// How wide each column is made for what it usually holds; the prompt has what is left.
const USUAL: [usize; 7] = [12, 8, 5, 9, 16, 14, 10];
/// Columns that hold numbers stand at the right.
const RIGHT: [bool; 8] = [false, false, true, true, false, false, true, false];
/// Where the terminal is too narrow these columns go, in this order.
const DISPENSABLE: [usize; 4] = [6, 5, 4, 3];
/// The prompt has at least so much room, or a column goes.
const PROMPT_LEAST: usize = 20;
/// Between columns.
const GAP: usize = 2;

/// A table of a certain width.
#[derive(Clone, Debug)]
pub struct Table {
    /// The columns that are shown, and their widths.
    columns: Vec<(usize, usize)>,
}

impl Table {
    /// A table for a terminal of this width whose first rows are these.
    #[must_use]
    pub fn new(width: usize, first: &[Row]) -> Self {
        let mut job = USUAL[0];
        for row in first {
            job = job.max(row.job.width());
        }
        let mut columns: Vec<(usize, usize)> = USUAL.iter().copied().enumerate().collect();
        columns[0].1 = job.min(width / 2).max(USUAL[0]);
        let taken = |columns: &[(usize, usize)]| columns.iter().map(|(_, width)| width + GAP).sum::<usize>();
        for column in DISPENSABLE {
            if taken(&columns) + PROMPT_LEAST > width {
                columns.retain(|(shown, _)| *shown != column);
            }
        }
        let left = width.saturating_sub(taken(&columns));
        if left > 0 {
            columns.push((7, left));
        }
        Self { columns }
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> String {
        self.line(&HEAD.map(String::from))
    }

    /// A row, not wider than the table.
    #[must_use]
    pub fn row(&self, row: &Row) -> String {
        self.line(&row.fields())
    }

    fn line(&self, fields: &[String; 8]) -> String {
        let mut line = String::new();
        for (place, (column, width)) in self.columns.iter().enumerate() {
            if place > 0 {
                line.push_str("  ");
            }
            let cut = cut(&fields[*column], *width);
            let pad = " ".repeat(width.saturating_sub(cut.width()));
            let (before, behind) = if RIGHT[*column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([before, &cut, behind]);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The text, or its beginning and an ellipsis, in at most so many cells.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut kept = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

/// A number of bytes as people read it.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be rounded up to 1024.0 is written in the next unit.
    while value >= 1_023.95 && unit < UNITS.len() - 1 {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with its thousands apart: `9,812`.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing: `1 file`, `9,812 files`.
#[must_use]
pub fn counted(count: u64, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", number(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(job: &str, prompt: &str) -> Row {
        Row {
            job: job.into(),
            folder: job.into(),
            state: State::Complete,
            files: 2,
            missing: 0,
            bytes: 3_400_000,
            created_at: "2026-01-02T03:04:05Z".into(),
            model: Some("sdxl".into()),
            seed: Some("42".into()),
            prompt: Some(prompt.into()),
        }
    }

    #[test]
    fn a_wide_table_shows_everything_and_a_narrow_one_what_matters() {
        let fox = row("147", "a red fox\nin the snow");
        let wide = Table::new(120, std::slice::from_ref(&fox));
        assert_eq!(
            wide.head(),
            "JOB           STATE     FILES       SIZE  CREATED (UTC)     MODEL                 SEED  PROMPT"
        );
        assert_eq!(
            wide.row(&fox),
            "147           complete      2    3.2 MiB  2026-01-02 03:04  sdxl                    42  a red fox in the snow"
        );
        let narrow = Table::new(52, std::slice::from_ref(&fox));
        assert_eq!(narrow.row(&fox), "147           complete      2  a red fox in the snow");
        let tiny = Table::new(20, std::slice::from_ref(&fox));
        assert_eq!(tiny.head(), "JOB           STATE     FILES");
    }

    #[test]
    fn rows_for_programs_are_whole() {
        let long = "x".repeat(3_000);
        let text = row("147", &format!("{long}\ty")).tabbed();
        assert_eq!(text.split('\t').count(), 8);
        assert!(text.ends_with(&format!("{long} y")));
    }

    proptest! {
        #[test]
        fn no_row_is_wider_than_the_terminal_and_none_acts_on_it(prompt in "\\PC{0,40}|.{0,40}|[漢字é\u{1b}]{0,60}", width in 40_usize..220) {
            let row = row("enterprise/text-to-video-ultra/12345678901234567890", &prompt);
            let line = Table::new(width, std::slice::from_ref(&row)).row(&row);
            prop_assert!(line.width() <= width, "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn numbers_are_for_people() {
        let table = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3_400_000, "3.2 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (count, want) in table {
            assert_eq!(bytes(count), want);
        }
        let table = [(0, "0"), (999, "999"), (1_000, "1,000"), (9_812, "9,812"), (1_234_567, "1,234,567")];
        for (count, want) in table {
            assert_eq!(number(count), want);
        }
    }
}
