//! References to jobs, read lazily: from arguments, from lists of any length, from saved answers.
//!
//! A list has one reference a line: an id, `family/id`, a fetch URL, or a saved answer as JSON; `#` at the start or
//! after a space begins a comment. An answer may also span lines, and several may stand in an array. A line that
//! names no job is passed on with its place and stops nothing.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use vfetch::engine::archive::BadRef;
use vfetch::job::{Asked, Defaults};
use vfetch::nesting::{self, Nesting};

use super::error::CliError;

/// A line, or an answer over several, that is longer than this names no job.
const ENTRY_MAX: u64 = 4 * 1024 * 1024;

/// What files are called that are given in place of a job, rightly or not.
const FILE_EXTENSIONS: [&str; 5] = ["json", "jsonl", "txt", "log", "csv"];

/// Jobs to work on.
#[derive(Debug, clap::Args)]
pub(crate) struct RefArgs {
    /// Jobs: ids (147), family/id (realtime/98), fetch URLs, or files with a saved answer (job.json)
    #[arg(value_name = "REF")]
    pub(crate) refs: Vec<String>,
    /// Read references from this file, one a line; - is standard input. May be given again.
    #[arg(short, long, value_name = "FILE", env = "VFETCH_INPUT")]
    pub(crate) input: Vec<PathBuf>,
}

/// One reference, or why there is none.
pub(crate) type Ref = Result<Asked, BadRef>;

impl RefArgs {
    /// The references, lazily; arguments first. An argument that names no job, or a list that cannot be opened, is an
    /// error at once: nothing was begun yet.
    pub(crate) fn open(&self, defaults: &Defaults) -> Result<Box<dyn Iterator<Item = Ref> + Send>, CliError> {
        let mut given = Vec::new();
        let mut lists: Vec<Box<dyn Iterator<Item = Ref> + Send>> = Vec::new();
        for (place, text) in self.refs.iter().enumerate() {
            if is_answer_file(text) {
                let answer = open_list(Path::new(text), defaults)?;
                // A list may well be empty; an answer that was saved is not.
                let is_answer = Path::new(text).extension().is_some_and(|extension| extension == "json");
                lists.push(Box::new(List { must_name_a_job: is_answer, ..answer }));
                continue;
            }
            if let Some(error) = mistaken_file(text, place + 1) {
                return Err(error);
            }
            let asked = defaults
                .parse(text)
                .map_err(|error| CliError::usage(format!("argument {}: {error}", place + 1)))?;
            given.push(Ok(asked));
        }
        for path in &self.input {
            lists.push(Box::new(open_list(path, defaults)?));
        }
        Ok(Box::new(given.into_iter().chain(lists.into_iter().flatten())))
    }

    /// The saved answers that are read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.refs.iter().filter(|text| is_answer_file(text)).map(Path::new)
    }

    /// Whether standard input is one of the lists.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.input.iter().any(|path| path == Path::new("-"))
    }

    /// Whether there is nothing to work on.
    pub(crate) fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.input.is_empty()
    }
}

/// An argument that is the path of a saved answer and not an id: ids hold no slash, and a job named `x.json` can still
/// be given as a line of a list.
fn is_answer_file(text: &str) -> bool {
    let path = Path::new(text);
    let named = path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
    named && !text.contains("://") && path.is_file()
}

/// What is wrong with an argument that is called as a file is and is no saved answer: as an id it would be asked for, and
/// leave a record, for what is a slip of the pen.
fn mistaken_file(text: &str, place: usize) -> Option<CliError> {
    let path = Path::new(text);
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let is_called_so = FILE_EXTENSIONS.contains(&extension.as_str());
    // A number is a job, whatever lies here under its name, and so is what a family stands before.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_path = !text.contains('/') || text.starts_with(['.', '/']);
    let is_file = path.is_file() && (is_called_so || is_path && !is_number);
    if text.contains("://") || !(is_called_so || is_file) {
        return None;
    }
    Some(if is_file {
        CliError::usage(format!("argument {place}: {text:?} is a file, and no saved answer by its name"))
            .hint("a list is given with -i; a saved answer has a name that ends in .json")
    } else {
        CliError::usage(format!("argument {place}: there is no file {text:?}"))
            .hint("a job of this name can be given as a line of a list: -i - reads one from standard input")
    })
}

#[expect(clippy::disallowed_methods, reason = "a list of the user's, not of an archive")]
fn open_list(path: &Path, defaults: &Defaults) -> Result<List, CliError> {
    let (name, input): (_, Box<dyn Read + Send>) = if path == Path::new("-") {
        ("standard input".into(), Box::new(io::stdin()))
    } else {
        let failed = |error| CliError::usage(format!("opening the list {}: {error}", path.display()));
        let file = std::fs::File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(CliError::usage(format!("{} is a folder, not a list", path.display())));
        }
        (path.display().to_string(), Box::new(file))
    };
    Ok(List::new(name, input, defaults.clone()))
}

/// A list that is being read.
struct List {
    name: String,
    input: BufReader<Box<dyn Read + Send>>,
    defaults: Defaults,
    line: u64,
    ready: std::vec::IntoIter<Ref>,
    ended: bool,
    /// Whether nothing in it is an error: until something came.
    must_name_a_job: bool,
}

impl List {
    fn new(name: String, input: Box<dyn Read + Send>, defaults: Defaults) -> Self {
        let input = BufReader::with_capacity(64 * 1024, input);
        Self {
            name,
            input,
            defaults,
            line: 0,
            ready: Vec::new().into_iter(),
            ended: false,
            must_name_a_job: false,
        }
    }

    /// The next line without its end; `None` at the end of the list.
    fn read_line(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(ENTRY_MAX).read_until(b'\n', &mut bytes);
        match read.map_err(|error| format!("the list cannot be read on: {error}"))? {
            0 => return Ok(None),
            _ => self.line += 1,
        }
        if !bytes.ends_with(b"\n") && bytes.len() as u64 == ENTRY_MAX {
            self.input.skip_until(b'\n').map_err(|error| format!("the list cannot be read on: {error}"))?;
            return Err("the line is too long".into());
        }
        if self.line == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        match String::from_utf8(bytes) {
            Ok(line) => Ok(Some(line.trim().into())),
            Err(_) => Err("the line is not UTF-8".into()),
        }
    }

    /// The answers that begin with this line, gathered until their brackets are closed. What is no JSON then is told once;
    /// the jobs that its single lines name are not lost with it.
    fn read_answers(&mut self, first: String) -> Vec<Ref> {
        let place = self.place();
        let mut nesting = Nesting::default();
        nesting.read(&first);
        let (mut text, mut tried_bytes) = (first, 0);
        let bad = loop {
            let over = nesting.is_cut() || !nesting.is_open() || text.len() as u64 >= ENTRY_MAX;
            if over || is_worth_a_try(text.len(), tried_bytes) {
                tried_bytes = text.len();
                match from_json(&text) {
                    Ok(Value::Array(answers)) => return self.parse_answers(&answers, &place),
                    Ok(answer) => return self.parse_answers(&[answer], &place),
                    Err(error) if error.is_eof() && !over => {}
                    Err(error) => {
                        break BadRef { place, why: format!("the saved answer is not JSON: {error}") };
                    }
                }
            }
            match self.read_line() {
                Ok(Some(line)) => {
                    nesting.read(&line);
                    text.push('\n');
                    text.push_str(&line);
                }
                Ok(None) => break BadRef { place, why: "the saved answer is cut off".into() },
                Err(why) => break BadRef { place: self.place(), why },
            }
        };
        let alone = self.parse_lines(&text);
        std::iter::once(Err(bad)).chain(alone.into_iter().map(Ok)).collect()
    }

    /// The jobs that lines of a broken answer name: those which stand in its outermost brackets, since deeper ones may hold
    /// any number.
    fn parse_lines(&self, text: &str) -> Vec<Asked> {
        let mut nesting = Nesting::default();
        let mut found = Vec::new();
        for line in text.lines() {
            if nesting.depth() == 1 {
                let line = without_comment(line).trim_end_matches(',');
                let parsed = match serde_json::from_str(line) {
                    Ok(answer) => self.parse_answer(&answer, ""),
                    Err(_) => self.parse_text(line, ""),
                };
                found.extend(parsed);
            }
            nesting.read(line);
        }
        found
    }

    /// What the next entry names; nothing for a blank line or a comment.
    fn read_entry(&mut self, line: String) -> Vec<Ref> {
        if line.starts_with(['{', '[']) {
            return self.read_answers(line);
        }
        match without_comment(&line) {
            "" => Vec::new(),
            text => vec![self.parse_text(text, &self.place())],
        }
    }

    fn parse_text(&self, text: &str, place: &str) -> Ref {
        let parsed = self.defaults.parse(text);
        parsed.map_err(|error| BadRef { place: place.into(), why: error.to_string() })
    }

    fn parse_answers(&self, answers: &[Value], place: &str) -> Vec<Ref> {
        answers.iter().map(|answer| self.parse_answer(answer, place)).collect()
    }

    fn parse_answer(&self, answer: &Value, place: &str) -> Ref {
        let parsed = match answer {
            Value::String(text) => self.defaults.parse(text),
            Value::Number(id) => self.defaults.parse(&id.to_string()),
            answer => self.defaults.parse_value(answer),
        };
        parsed.map_err(|error| BadRef { place: place.into(), why: error.to_string() })
    }

    fn place(&self) -> String {
        format!("{}:{}", self.name, self.line)
    }
}

/// The answer that a text is, with a comment at the end of its last line or without.
fn from_json(text: &str) -> serde_json::Result<Value> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    match values.next() {
        Some(Ok(value)) if nesting::is_over(&text[values.byte_offset()..]) => Ok(value),
        _ => serde_json::from_str(text),
    }
}

impl Iterator for List {
    type Item = Ref;

    fn next(&mut self) -> Option<Ref> {
        loop {
            if let Some(ready) = self.ready.next() {
                self.must_name_a_job = false;
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            let entry = match self.read_line() {
                Ok(Some(line)) => self.read_entry(line),
                Ok(None) => {
                    self.ended = true;
                    let nothing =
                        || BadRef { place: self.name.clone(), why: "the saved answer is empty".into() };
                    Vec::from_iter(self.must_name_a_job.then(nothing).map(Err))
                }
                Err(why) => {
                    self.ended = why.starts_with("the list cannot");
                    vec![Err(BadRef { place: self.place(), why })]
                }
            };
            self.ready = entry.into_iter();
        }
    }
}

/// Whether so much of an answer whose end has not come is parsed: each time it has doubled. So what is no JSON takes no
/// more of the list with it than it must, and what is long is not parsed after each of its lines.
fn is_worth_a_try(bytes: usize, tried_bytes: usize) -> bool {
    bytes >= 2 * tried_bytes
}

/// The line up to a `#` at its start or after a space; a URL may hold one elsewhere.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with([' ', '\t']);
    let end = line.match_indices('#').find(begins).map_or(line.len(), |(at, _)| at);
    line[..end].trim()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn read(text: &[u8]) -> Vec<String> {
        let defaults = Defaults::new("https://modelslab.com", None).unwrap();
        let input = Box::new(io::Cursor::new(text.to_vec()));
        let show = |reference: Ref| match reference {
            Ok(asked) => format!("{}{}", asked.job, if asked.submitted { " fresh" } else { "" }),
            Err(bad) => format!("? {}", bad.place),
        };
        List::new("l".into(), input, defaults).map(show).collect()
    }

    #[test]
    fn blanks_comments_carriage_returns_and_a_byte_order_mark_are_harmless() {
        let text = "\u{feff}147\r\n\r\n  # all of it\n148 # the rest\n\trealtime/9\t#x\nhttps://modelslab.com/api/v6/video/fetch/5#top\n149";
        assert_eq!(read(text.as_bytes()), ["147", "148", "realtime/9", "video/5", "149"]);
        assert!(read(b"").is_empty() && read(b"\n\n").is_empty());
    }

    #[test]
    fn a_comment_may_stand_behind_an_answer() {
        let list = b"{\"id\": 7} # see [8\n[\"9\", {\"id\":\n10}]\t# both [\n{\"id\": 11} 12\n13\n";
        assert_eq!(read(list), ["7", "9", "10", "? l:4", "13"]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_does_not_stop_the_rest() {
        let list = b"1\n../x\n\xff\xfe\n2\n-1\n{\"id\": \"a/b\"}\n3\n";
        assert_eq!(read(list), ["1", "? l:2", "? l:3", "2", "? l:5", "? l:6", "3"]);
        let long = [vec![b'9'; usize::try_from(ENTRY_MAX).unwrap() + 7], b"\n4\n".to_vec()].concat();
        assert_eq!(read(&long), ["? l:1", "4"]);
    }

    #[test]
    fn saved_answers_may_span_lines_and_stand_in_arrays() {
        let list = b"{\"status\":\"processing\",\"id\":7}\n{\n  \"status\": \"success\",\n  \"id\": \"8\"\n}\n[{\"id\":9}, \"10\", 11, null]\n12\n{\"id\":\n";
        let want = ["7 fresh", "8", "9", "10", "11", "? l:6", "12", "? l:8"];
        assert_eq!(read(list), want);
        assert_eq!(read(b"{\"id\" 3}\n4\n"), ["? l:1", "4"]);
    }

    #[test]
    fn an_answer_that_is_broken_takes_no_other_line_with_it() {
        let table: [(&str, &[&str]); 7] = [
            ("[\n147\n148", &["? l:1", "147", "148"]),
            ("[\n147,\n148 # the rest\n]\n149", &["? l:1", "147", "148", "? l:4", "149"]),
            ("[\n147,\n\"148\",\n{\"id\": 149},", &["? l:1", "147", "148", "149"]),
            ("{\"message\": \"cut\n{\"id\": 5}\n6", &["? l:1", "5", "6"]),
            ("{\"id\":\n{\"status\": \"processing\", \"id\": 5}\n6", &["? l:1", "5 fresh", "6"]),
            ("{\n\"id\": 7,\n\"size\": [\n512,\n512\n],\n", &["? l:1"]),
            ("[\n1,\n2,\n3,\n4,\n5,\n6,\n7", &["? l:1", "1", "2", "3", "4", "5", "6", "7"]),
        ];
        for (text, want) in table {
            assert_eq!(read(text.as_bytes()), want, "{text}");
        }
        assert_eq!(read(b"[\n1,\n\xff\n2\n"), ["? l:3", "1", "2"]);
    }

    #[test]
    fn a_long_answer_over_many_lines_is_not_parsed_again_after_each() {
        let job = |id| {
            format!(
                "  {{\n    \"id\": {id},\n    \"output\": [\n      \"https://media.test/{id}.mp4\"\n    ]\n  }}"
            )
        };
        let jobs: Vec<String> = (0..20_000).map(job).collect();
        assert_eq!(read(format!("[\n{}\n]\n7\n", jobs.join(",\n")).as_bytes()).len(), 20_001);
        let (mut bytes, mut tried_bytes, mut tries) = (2, 0, 0);
        while bytes < 4 << 20 {
            if is_worth_a_try(bytes, tried_bytes) {
                (tried_bytes, tries) = (bytes, tries + 1);
            }
            bytes += 40;
        }
        assert!((10..=22).contains(&tries), "{tries} tries");
    }
}
