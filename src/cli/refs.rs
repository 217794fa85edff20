//! References to jobs, read lazily: from arguments, from lists of any length, from saved answers.
//!
//! A list has one reference a line: an id, `family/id`, a fetch URL, or a saved answer as JSON; `#` at the start or
//! after a space begins a comment. An answer may also span lines, and several may stand in an array. A line that
//! names no job is passed on with its place and stops nothing.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use vfetch::engine::archive::BadRef;
use vfetch::job::{Asked, Defaults};

use super::error::CliError;

/// A line, or an answer over several, that is longer than this names no job.
const ENTRY_MAX: u64 = 4 * 1024 * 1024;

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
                lists.push(Box::new(open_list(Path::new(text), defaults)?));
                continue;
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
}

impl List {
    fn new(name: String, input: Box<dyn Read + Send>, defaults: Defaults) -> Self {
        let input = BufReader::with_capacity(64 * 1024, input);
        Self { name, input, defaults, line: 0, ready: Vec::new().into_iter(), ended: false }
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

    /// The answer that begins with this line, gathered until it is whole.
    fn read_answer(&mut self, first: String) -> Result<Value, String> {
        let mut text = first;
        loop {
            match serde_json::from_str(&text) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_eof() && (text.len() as u64) < ENTRY_MAX => match self.read_line()? {
                    Some(line) => {
                        text.push('\n');
                        text.push_str(&line);
                    }
                    None => return Err("the saved answer is cut off".into()),
                },
                Err(error) => return Err(format!("the saved answer is not JSON: {error}")),
            }
        }
    }

    /// What the next entry names; `None` for a blank line or a comment.
    fn read_entry(&mut self, line: String) -> Result<Vec<Ref>, String> {
        if line.starts_with(['{', '[']) {
            let place = self.place();
            let answer = self.read_answer(line)?;
            let answers = if let Value::Array(answers) = answer { answers } else { vec![answer] };
            return Ok(answers.iter().map(|answer| self.parse_answer(answer, &place)).collect());
        }
        let text = without_comment(&line);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Ok(self.defaults.parse(text).map_err(|error| error.to_string())?)])
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

impl Iterator for List {
    type Item = Ref;

    fn next(&mut self) -> Option<Ref> {
        loop {
            if let Some(ready) = self.ready.next() {
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            let entry = match self.read_line() {
                Ok(Some(line)) => self.read_entry(line),
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Err(why) => {
                    self.ended = why.starts_with("the list cannot");
                    Err(why)
                }
            };
            let bad = |why| vec![Err(BadRef { place: self.place(), why })];
            self.ready = entry.unwrap_or_else(bad).into_iter();
        }
    }
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
}
