//! Where texts mention jobs: lists, saved answers, webhook payloads, log lines of any program.
//!
//! A text that was not written for us is read with care for what it may leave out: a job that is mentioned and not found
//! is a job that nobody will miss in time, while one that is found by mistake costs a look. So everything that can be a
//! job's name in its place counts, and numbers that merely stand somewhere do not.
//!
//! | in a line | is a job |
//! | --- | --- |
//! | a fetch URL, anywhere | yes, with its family |
//! | a JSON object with `fetch_result` | yes, with the family of that URL |
//! | a JSON object with `id` or `request_id`, and `output`, `status` or another field of an answer | yes |
//! | a JSON object with `job` | if it is a reference |
//! | a JSON array of references | each of them |
//! | `id=147`, `"job_id": 147` and the like, outside of JSON | if it is a number |
//! | one word alone | if it is a reference with a digit in it, and no date |
//! | any other number or word | no |
//!
//! JSON is found wherever it begins in a line, as loggers write it behind a time and a level.

use serde_json::{Map, Value};

use crate::job::{Defaults, Family, JobError, JobId};
use crate::manifest::seconds_of;
use crate::nesting;

/// Fields that only answers of the API and webhook payloads have beside an id.
const ANSWER_FIELDS: &[&str] = &[
    "output",
    "links",
    "proxy_links",
    "future_links",
    "eta",
    "generationTime",
    "track_id",
    "webhook_status",
    "fetch_result",
];
/// The words that `status` has in them.
const ANSWER_WORDS: &[&str] = &["success", "processing", "queued", "failed", "error"];
/// What a number is called in a log line when it is a job's.
const NAMES: &[&str] = &["id", "job", "job_id", "jobid", "request_id", "generation_id", "fetch_id"];
/// Ids that are plain numbers have fewer digits than this.
const DIGITS_MAX: usize = 20;
/// JSON is followed so deep.
const DEPTH_MAX: usize = 16;

/// A job that a text mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Its id.
    pub id: JobId,
    /// Its family, where the text tells.
    pub family: Option<Family>,
    /// When the text was written, in seconds since 1970, where it tells.
    pub at: Option<u64>,
}

/// What a line holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// The jobs.
    pub jobs: Vec<Mention>,
    /// Jobs of other APIs, by their origins.
    pub elsewhere: Vec<String>,
}

impl Mentions {
    /// Whether the line mentions nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.elsewhere.is_empty()
    }

    /// What a text mentions: a line, or a JSON value over several.
    #[must_use]
    pub fn of(text: &str, defaults: &Defaults) -> Self {
        let mut reader = Reader { defaults, at: written_at(text), found: Self::default() };
        reader.read(text.trim_start_matches('\u{feff}').trim());
        reader.found
    }
}

struct Reader<'a> {
    defaults: &'a Defaults,
    at: Option<u64>,
    found: Mentions,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        let mut rest = text;
        // What stands outside of JSON, so that no number is found twice under two rules.
        let mut plain = String::new();
        while let Some(begin) = rest.find(['{', '[']) {
            let (before, candidate) = rest.split_at(begin);
            plain.push_str(before);
            let mut values = serde_json::Deserializer::from_str(candidate).into_iter::<Value>();
            if let Some(Ok(value @ (Value::Object(_) | Value::Array(_)))) = values.next() {
                let whole = plain.trim().is_empty() && nesting::is_over(&candidate[values.byte_offset()..]);
                self.value(&value, whole, 0);
                plain.push(' ');
                rest = if whole { "" } else { &candidate[values.byte_offset()..] };
            } else {
                plain.push_str(&candidate[..1]);
                rest = &candidate[1..];
            }
        }
        plain.push_str(rest);
        self.words(&plain);
    }

    /// A value somewhere in JSON; `whole` where it is all that the text is.
    fn value(&mut self, value: &Value, whole: bool, depth: usize) {
        match value {
            _ if depth > DEPTH_MAX => {}
            Value::Object(fields) => {
                self.object(fields);
                for value in fields.values() {
                    self.value(value, false, depth + 1);
                }
            }
            Value::Array(values) => {
                for value in values {
                    match value {
                        Value::Number(_) | Value::String(_) if whole => self.reference(&text_of(value)),
                        value => self.value(value, whole, depth + 1),
                    }
                }
            }
            // An answer that a logger has put into a string.
            Value::String(text) if text.trim_start().starts_with('{') => {
                if let Ok(inner) = serde_json::from_str::<Value>(text) {
                    self.value(&inner, whole, depth + 1);
                }
            }
            Value::String(text) => self.urls(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        let status = fields.get("status").and_then(Value::as_str).map(str::to_ascii_lowercase);
        let word = status.is_some_and(|status| ANSWER_WORDS.contains(&status.as_str()));
        if word || ANSWER_FIELDS.iter().any(|name| fields.contains_key(*name)) {
            let answer = Value::Object(fields.clone());
            // A fetch URL of another API is found among the texts.
            if let Ok(asked) = self.defaults.parse_value(&answer) {
                let told = fields.get("fetch_result").and_then(Value::as_str);
                let told = told.is_some_and(|url| !url.trim().is_empty());
                self.push(asked.job.id.clone(), told.then(|| asked.job.family.clone()));
            }
        }
        if let Some(job) = fields.get("job").filter(|job| job.is_string() || job.is_u64()) {
            let text = text_of(job);
            if is_number(text.rsplit('/').next().unwrap_or_default()) {
                self.reference(&text);
            }
        }
    }

    /// Text that is no JSON.
    fn words(&mut self, text: &str) {
        let text = text.replace("\\/", "/");
        let bare = without_comment(&text);
        let mut words = bare.split_whitespace().map(|word| word.trim_matches(['"', '\'', ',', ';']));
        match (words.next(), words.next()) {
            (Some(word), None) if has_digit(word) && !begins_with_date(word) => self.reference(word),
            _ => {
                self.urls(&text);
                self.assignments(bare);
            }
        }
    }

    /// One reference as a list has it.
    fn reference(&mut self, text: &str) {
        if text.contains("://") || text.contains('=') {
            self.urls(text);
            return self.assignments(text);
        }
        if let Ok(asked) = self.defaults.parse(text) {
            self.push(asked.job.id.clone(), text.contains('/').then(|| asked.job.family.clone()));
        }
    }

    fn urls(&mut self, text: &str) {
        let ends = |letter: char| letter.is_whitespace() || "\"'<>\\^`{|}()[],;".contains(letter);
        for (at, _) in text.match_indices("http") {
            let candidate = &text[at..];
            if candidate.starts_with("http://") || candidate.starts_with("https://") {
                let end = candidate.find(ends).unwrap_or(candidate.len());
                self.url(candidate[..end].trim_end_matches(['.', ':', '!']));
            }
        }
    }

    fn url(&mut self, text: &str) {
        match self.defaults.parse_url(text) {
            Ok(job) => self.push(job.id.clone(), Some(job.family.clone())),
            // Any link has an origin; only a fetch URL is a job's.
            Err(JobError::ForeignOrigin { theirs, .. }) => {
                let same = Defaults::new(&theirs, None).and_then(|defaults| defaults.parse_url(text));
                if same.is_ok() {
                    self.found.elsewhere.push(theirs);
                }
            }
            Err(_) => {}
        }
    }

    /// `id=147`, `"job_id": 147`.
    fn assignments(&mut self, text: &str) {
        for (at, sign) in text.match_indices(['=', ':']) {
            let name = last_word(text[..at].trim_end_matches(['"', '\'', ' '])).to_ascii_lowercase();
            let value = text[at + sign.len()..].trim_start_matches(['"', '\'', ' ']);
            let digits = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
            let (number, behind) = value.split_at(digits);
            // A longer word that only begins with digits is something else.
            let ends = !behind.starts_with(|letter: char| letter.is_alphanumeric() || "-_".contains(letter))
                && !behind.strip_prefix('.').is_some_and(begins_with_digit);
            if NAMES.contains(&name.as_str()) && ends && is_number(number) {
                self.reference(number);
            }
        }
    }

    fn push(&mut self, id: JobId, family: Option<Family>) {
        let mention = Mention { id, family, at: self.at };
        if !self.found.jobs.contains(&mention) {
            self.found.jobs.push(mention);
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn begins_with_digit(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit())
}

fn has_digit(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_digit())
}

fn begins_with_date(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' && is_number(&word[..4])
}

/// The letters, digits and underscores at the end.
fn last_word(text: &str) -> &str {
    let inner = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let length = text.chars().rev().take_while(inner).count();
    &text[text.len() - length..]
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The line up to a `#` at its start or after a space; a URL may hold one elsewhere.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with([' ', '\t']);
    let end = line.match_indices('#').find(begins).map_or(line.len(), |(at, _)| at);
    line[..end].trim()
}

/// The first moment that stands in a text, in seconds since 1970: `2026-01-02T03:04:05Z`, with a space for the `T`, a
/// fraction, an offset, or none, which is taken for UTC.
#[must_use]
pub fn written_at(text: &str) -> Option<u64> {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |window: &[u8]| {
        window.iter().zip(FORM).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' ' | b'_'),
            form => byte == form,
        })
    };
    let at = text.as_bytes().windows(FORM.len()).position(fits)?;
    let mut moment = text[at..at + FORM.len()].to_owned();
    moment.replace_range(10..11, "T");
    let moment = seconds_of(&(moment + "Z"))?;
    let rest = &text[at + FORM.len()..];
    let rest = rest
        .strip_prefix(['.', ','])
        .map_or(rest, |rest| rest.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    moment.checked_add_signed(-offset_s(rest.as_bytes()))
}

/// `+02:00` or `-0330`, in seconds.
fn offset_s(text: &[u8]) -> i64 {
    let (sign, rest) = match text.split_first() {
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return 0,
    };
    let digits: Vec<i64> = rest
        .iter()
        .filter(|byte| **byte != b':')
        .take(4)
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| i64::from(byte - b'0'))
        .collect();
    match digits.as_slice() {
        [a, b, c, d] => sign * ((a * 10 + b) * 3_600 + (c * 10 + d) * 60),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::DEFAULT_ORIGIN;
    use proptest::prelude::*;

    fn defaults() -> Defaults {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap()
    }

    fn found(text: &str) -> Vec<String> {
        let mentions = Mentions::of(text, &defaults());
        let shown = |mention: &Mention| match &mention.family {
            Some(family) => format!("{}/{}", family.name(), mention.id.as_str()),
            None => mention.id.as_str().to_owned(),
        };
        let elsewhere = mentions.elsewhere.iter().map(|origin| format!("at {origin}"));
        mentions.jobs.iter().map(shown).chain(elsewhere).collect()
    }

    #[test]
    fn a_job_is_found_wherever_a_line_names_one() {
        let table: [(&str, &[&str]); 38] = [
            (
                r#"{"id":777,"status":"processing","fetch_result":"https://example.com/api/v6/video/fetch/777"}"#,
                &["at https://example.com"],
            ),
            // Lists.
            ("[147] was all there is", &[]),
            ("[147] # and not [148]", &["147"]),
            ("these are all: [147]", &[]),
            (r#"{"seeds":[147,"148"]}"#, &[]),
            ("147", &["147"]),
            ("\u{feff}  realtime/98  # the rest", &["realtime/98"]),
            ("https://modelslab.com/api/v6/video/fetch/5?x=1#top", &["video/5"]),
            ("a1b2-c3", &["a1b2-c3"]),
            ("abcd-12-34", &["abcd-12-34"]),
            ("'147',", &["147"]),
            ("[147, \"realtime/98\"]", &["147", "realtime/98"]),
            // Answers and payloads.
            (
                r#"{"status":"processing","id":7,"fetch_result":"https:\/\/modelslab.com\/api\/v6\/realtime\/fetch\/7"}"#,
                &["realtime/7"],
            ),
            (r#"{"status":"success","id":"8","output":["https://m.test/8.mp4"],"track_id":"99"}"#, &["8"]),
            (r#"{"request_id":9,"eta":4}"#, &["9"]),
            (r#"2026-01-02T03:04:05Z INFO webhook {"status":"failed","id":10,"message":"x"} done"#, &["10"]),
            (r#"{"time":"x","level":"info","body":{"status":"queued","id":11}}"#, &["11"]),
            (r#"{"level":"info","body":"{\"status\":\"queued\",\"id\":12}"}"#, &["12"]),
            (
                r#"{"msg":"polling https://modelslab.com/api/v1/enterprise/flux/fetch/13, again"}"#,
                &["enterprise/flux/13"],
            ),
            (r#"{"v":1,"type":"job_ended","job":"realtime/14","end":"failed"}"#, &["realtime/14"]),
            (
                r#"[{"status":"success","id":15,"output":[]},{"status":"success","id":16,"output":[]}]"#,
                &["15", "16"],
            ),
            (
                r#"{"status":"processing","id":17,"fetch_result":"https://modelslab.com/api/v1/enterprise/fetch"}"#,
                &["enterprise/text-to-image/17"],
            ),
            // Log lines.
            ("03:04:05 submitted id=18, polling", &["18"]),
            ("submitted job: 19.", &["19"]),
            ("submitted Job_ID : \"20\"; request_id='21'", &["20", "21"]),
            ("  \"id\": 22,", &["22"]),
            ("GET <https://modelslab.com/api/v7/voice/fetch/23>.", &["v7/voice/23"]),
            (
                "POST https://modelslab.com/api/v6/images/fetch/24 and https://modelslab.com/api/v6/images/fetch/25",
                &["images/24", "images/25"],
            ),
            ("id=26", &["26"]),
            ("é=27 id=28é {id: 29}", &["29"]),
            // What is no job.
            ("took 147 ms, user_id=5, grid=6, id=7ms, id=8.5, width: 512", &[]),
            (r#"{"id":30,"status":200}"#, &[]),
            (r#"{"id":31,"name":"user"}"#, &[]),
            ("2026-01-02", &[]),
            ("started", &[]),
            ("# id=33, fetched by hand", &[]),
            ("retry 2 of 3\t# was id=34", &[]),
            (
                "see https://example.com/api/v6/video/fetch/32 and https://example.com/x",
                &["at https://example.com"],
            ),
        ];
        for (text, want) in table {
            assert_eq!(found(text), want, "{text}");
        }
    }

    #[test]
    fn a_line_tells_when_it_was_written() {
        let then = Some(1_767_323_045);
        let table = [
            ("2026-01-02T03:04:05Z", then),
            ("[2026-01-02 03:04:05] id=1", then),
            ("x 2026-01-02T03:04:05.123456Z y", then),
            ("2026-01-02T04:34:05,5+01:30", then),
            ("2026-01-01T23:04:05-0400", then),
            // Kathmandu, and the Chatham Islands in summer.
            ("2026-01-02T08:49:05+0545", then),
            ("2026-01-02 16:49:05.250+13:45", then),
            ("12026-01-02T03:04:05", then),
            ("2026-13-02T03:04:05Z", None),
            ("2026-01-02", None),
            ("ééé2026-01-02T03:04:05ééé", then),
            ("1970-01-01T00:00:00+14:00", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(written_at(text), want, "{text}");
        }
        let mentions = Mentions::of("2026-01-02T03:04:05Z id=1", &defaults());
        assert_eq!(mentions.jobs[0].at, then);
        assert!(!mentions.is_empty() && Mentions::of("nothing", &defaults()).is_empty());
    }

    #[test]
    fn deep_json_is_followed_to_a_bound() {
        let nested = |depth: usize| {
            format!("{}{}{}", "{\"a\":".repeat(depth), r#"{"eta":1,"id":1}"#, "}".repeat(depth))
        };
        assert_eq!(found(&nested(DEPTH_MAX)), ["1"]);
        assert!(found(&nested(DEPTH_MAX + 1)).is_empty());
        let listed =
            |depth: usize| format!("{}{}{}", "[".repeat(depth), r#"{"eta":1,"id":1}"#, "]".repeat(depth));
        assert_eq!(found(&listed(DEPTH_MAX)), ["1"]);
        assert!(found(&listed(DEPTH_MAX + 1)).is_empty());
        // Each answer in a string is two steps down.
        let quoted = |depth: usize| {
            (0..depth).fold(r#"{"eta":1,"id":1}"#.to_owned(), |inner, _| {
                serde_json::json!({ "a": inner }).to_string()
            })
        };
        assert_eq!(found(&quoted(DEPTH_MAX / 2)), ["1"]);
        assert!(found(&quoted(DEPTH_MAX / 2 + 1)).is_empty());
        let _ = found(&"{\"a\":".repeat(100_000));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~éß\"{}:=/0-9\\[\\]]{0,120}", any in ".{0,80}") {
            let _ = (Mentions::of(&text, &defaults()), Mentions::of(&any, &defaults()));
        }

        #[test]
        fn what_get_reads_from_a_list_is_found(id in "[0-9]{1,20}", family in prop::sample::select(&["realtime", "v7/voice"][..])) {
            prop_assert_eq!(found(&id), std::slice::from_ref(&id));
            let job = format!("{family}/{id}");
            prop_assert_eq!(found(&format!("{job} # x")), std::slice::from_ref(&job));
        }
    }
}
