//! Answers and the misbehaviours that they can have, as data.
//!
//! An [`Answer`] is right unless it is told otherwise: `Answer::file(&clip)` is a 200 with `Content-Length` and a
//! strong `ETag` that honours `Range` and `If-Range`. Each misbehaviour is one call on it. Several answers in a row
//! are a [`Script`]: `Answer::status(503).times(2).then(Answer::file(&clip))`; the last one holds for ever.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::content::Content;
use super::server::Seen;

/// How a body's end is told.
#[derive(Clone, Debug)]
pub(crate) enum Framing {
    /// `Content-Length`, and rightly so.
    Length,
    /// A `Content-Length` header for each of these texts, whatever the body has.
    Claims(Vec<String>),
    /// Chunked.
    Chunked,
    /// Chunked, but the last chunk never comes; the connection is closed instead.
    ChunkedWithoutEnd,
    /// Chunked in small pieces, with extensions, trailers and odd letter case, all of which are allowed.
    ChunkedOddly,
    /// `Content-Length` and `Transfer-Encoding: chunked` at once; the body is chunked.
    LengthAndChunked,
    /// The end of the connection is the end of the body (HTTP/1.0).
    UntilClose,
}

/// What the server makes of a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// It honours `Range` and `If-Range`.
    Right,
    /// It knows no ranges: always 200 with the whole.
    Ignored,
    /// It honours `Range` but not `If-Range`: 206 even where the content is another.
    Blind,
    /// It sends another range, so many bytes further, and says so.
    Shifted(i64),
    /// It sends the right bytes as 206, but without `Content-Range`.
    Unlabelled,
    /// It sends the right bytes in a multipart body.
    Multipart,
    /// It answers 206 though nobody asked for a range; the bytes begin at this offset.
    Unasked(u64),
    /// 416 to every range.
    Refused,
    /// It honours `Range` only where `Accept-Encoding` does not speak of gzip.
    OnlyWithoutGzip,
}

/// What happens before the answer.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    Nothing,
    /// The answer takes this long.
    Wait(Duration),
    /// Nothing comes until the client gives up.
    Stall,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
}

/// How the body of this answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// To its end.
    Whole,
    /// The connection is closed after so many bytes of it.
    CutAt(u64),
    /// The connection is reset after so many bytes of it.
    ResetAt(u64),
    /// Nothing more comes after so many bytes of it, until the client gives up.
    StallAt(u64),
}

type Decide = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// One answer.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(super) version: &'static str,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Content,
    pub(super) framing: Framing,
    pub(super) ranges: Ranges,
    pub(super) etag: Option<String>,
    pub(super) before: Before,
    pub(super) ending: Ending,
    /// Steps of so many bytes, with this pause after each.
    pub(super) drip: Option<(usize, Duration)>,
    /// Bytes in front of the status line.
    pub(super) preamble: Vec<u8>,
    /// Bytes after the body, which belong to nothing.
    pub(super) surplus: Vec<u8>,
    pub(super) close: bool,
    /// The whole answer, byte for byte; the connection is closed after it.
    pub(super) verbatim: Option<Vec<u8>>,
    pub(super) decide: Option<Decide>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} {:?} {:?} {:?})", self.status, self.framing, self.ranges, self.ending)
    }
}

impl Answer {
    /// An answer with this status and an empty body.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            version: "HTTP/1.1",
            status,
            headers: Vec::new(),
            body: Content::of(b""),
            framing: Framing::Length,
            ranges: Ranges::Ignored,
            etag: None,
            before: Before::Nothing,
            ending: Ending::Whole,
            drip: None,
            preamble: Vec::new(),
            surplus: Vec::new(),
            close: false,
            verbatim: None,
            decide: None,
        }
    }

    /// A 200 with JSON.
    pub(crate) fn json(value: &Value) -> Self {
        Self::text("application/json", &value.to_string())
    }

    /// A 200 with this text of this type.
    pub(crate) fn text(kind: &str, text: &str) -> Self {
        Self::status(200).header("Content-Type", kind).body(Content::of(text))
    }

    /// A 200 with an HTML page, as gateways send it.
    pub(crate) fn html() -> Self {
        Self::status(200).header("Content-Type", "text/html; charset=utf-8").body(Content::html())
    }

    /// The API's answer for a job that is done and has these outputs.
    pub(crate) fn success(outputs: &[String]) -> Self {
        Self::json(&json!({ "status": "success", "output": outputs }))
    }

    /// The API's answer for a job that is done, with a second list of sources.
    pub(crate) fn success_with_proxies(outputs: &[String], proxies: &[String]) -> Self {
        Self::json(&json!({ "status": "success", "output": outputs, "proxy_links": proxies }))
    }

    /// The API's answer for a job that it works on; polls come soon.
    pub(crate) fn processing() -> Self {
        Self::json(&json!({ "status": "processing", "eta": 1, "output": [] }))
    }

    /// The API's answer for a job that failed.
    pub(crate) fn failed(message: &str) -> Self {
        Self::json(&json!({ "status": "failed", "message": message }))
    }

    /// A media host's answer: this content, with a strong validator and ranges.
    pub(crate) fn file(content: &Content) -> Self {
        let mut answer = Self::status(200).header("Content-Type", "application/octet-stream");
        answer.ranges = Ranges::Right;
        let etag = if content.len() > 1 << 40 { "endless".into() } else { content.sha256()[..32].to_owned() };
        answer.etag = Some(format!("\"{etag}\""));
        answer.body(content.clone())
    }

    /// An answer that is decided when the request is there.
    pub(crate) fn decide(decide: impl Fn(&Seen) -> Self + Send + Sync + 'static) -> Self {
        Self { decide: Some(Arc::new(decide)), ..Self::status(500) }
    }

    /// These bytes and nothing else, then the end of the connection.
    pub(crate) fn verbatim(bytes: impl Into<Vec<u8>>) -> Self {
        Self { verbatim: Some(bytes.into()), ..Self::status(200) }
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("Location", to)
    }

    /// No answer: the connection is closed.
    pub(crate) fn close_at_once() -> Self {
        Self { before: Before::Close, ..Self::status(200) }
    }

    /// No answer: the connection is reset.
    pub(crate) fn reset_at_once() -> Self {
        Self { before: Before::Reset, ..Self::status(200) }
    }

    /// No answer, for as long as the client waits.
    pub(crate) fn stall_at_once() -> Self {
        Self { before: Before::Stall, ..Self::status(200) }
    }

    /// Changes the status and nothing else.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Adds a header, or replaces the one of this name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.also_header(name, value)
    }

    /// Adds a header beside others of the same name.
    pub(crate) fn also_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Takes a header away.
    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Changes the body.
    pub(crate) fn body(self, body: Content) -> Self {
        Self { body, ..self }
    }

    /// Changes the `ETag`, given with its quotes; `None` takes it away.
    pub(crate) fn etag(self, etag: Option<&str>) -> Self {
        Self { etag: etag.map(str::to_owned), ..self }
    }

    /// Changes what it makes of ranges.
    pub(crate) fn ranges(self, ranges: Ranges) -> Self {
        Self { ranges, ..self }
    }

    /// Changes how the body's end is told.
    pub(crate) fn framing(self, framing: Framing) -> Self {
        let version = if matches!(framing, Framing::UntilClose) { "HTTP/1.0" } else { self.version };
        Self { version, framing, ..self }
    }

    /// Changes what the status line calls the protocol.
    pub(crate) fn version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// The answer takes this long.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { before: Before::Wait(wait), ..self }
    }

    /// The connection is closed after so many bytes of the body.
    pub(crate) fn cut_at(self, bytes: u64) -> Self {
        Self { ending: Ending::CutAt(bytes), ..self }
    }

    /// The connection is reset after so many bytes of the body.
    pub(crate) fn reset_at(self, bytes: u64) -> Self {
        Self { ending: Ending::ResetAt(bytes), ..self }
    }

    /// Nothing more comes after so many bytes of the body.
    pub(crate) fn stall_at(self, bytes: u64) -> Self {
        Self { ending: Ending::StallAt(bytes), ..self }
    }

    /// The body comes in steps of so many bytes with a pause after each.
    pub(crate) fn drip(self, bytes: usize, pause: Duration) -> Self {
        Self { drip: Some((bytes, pause)), ..self }
    }

    /// Bytes in front of the status line: interim answers, or what does not belong there.
    pub(crate) fn preamble(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { preamble: bytes.into(), ..self }
    }

    /// Bytes after the body that belong to nothing.
    pub(crate) fn surplus(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { surplus: bytes.into(), ..self }
    }

    /// The connection is closed after the answer, without a word of it in the headers.
    pub(crate) fn close_after(self) -> Self {
        Self { close: true, ..self }
    }

    /// This answer so often.
    pub(crate) fn times(self, times: usize) -> Script {
        Script(vec![self; times])
    }

    /// This answer once, then what follows.
    pub(crate) fn then(self, next: impl Into<Script>) -> Script {
        Script::from(self).then(next)
    }
}

/// Answers to the first call, the second, and so on; the last one holds for ever.
#[derive(Clone, Debug)]
pub(crate) struct Script(Vec<Answer>);

impl Script {
    /// What follows.
    pub(crate) fn then(mut self, next: impl Into<Self>) -> Self {
        self.0.extend(next.into().0);
        self
    }

    /// The answer to this call, counted from 0.
    pub(super) fn answer(&self, call: usize) -> Answer {
        self.0[call.min(self.0.len() - 1)].clone()
    }
}

impl From<Answer> for Script {
    fn from(answer: Answer) -> Self {
        Self(vec![answer])
    }
}
