//! What the API said: a status, a few headers and some bytes in, one value out.
//!
//! The service answers in many shapes: errors come as statuses, as codes and as plain words inside a 200; links come
//! as lists, as one text, as objects and as bytes. All of that is understood here, once, so that everything above
//! speaks of [`Done`], [`Pending`] and [`Failure`] alone. An answer is judged in two steps:
//!
//! 1. [`answer`] decides whether the call failed. What stands first in this order and says something decides: the HTTP
//!    status, `code`, `error_code`, `status`, the text. A field that is merely there decides nothing.
//! 2. [`parse`] reads what is left as a job: done with links, or not done yet.
//!
//! # Whether the call failed
//!
//! | HTTP, or a number in `code`, `error_code`, `status` | cause |
//! | --- | --- |
//! | 300 to 399 (HTTP only) | redirected |
//! | 401 | invalid key |
//! | 402 | no credits |
//! | 403 | forbidden |
//! | 404, 410 | job not found |
//! | 408, 425, 500 to 599 | server error |
//! | 429 | rate limited |
//! | other 400 to 499 | what the rows below say, else rejected |
//! | 200 to 299 | the rows below |
//! | anything else as an HTTP status | malformed |
//!
//! | a word in `code`, `error_code` | cause |
//! | --- | --- |
//! | `invalid_api_key`, `unauthenticated` | invalid key |
//! | `insufficient_balance` | no credits |
//! | `no_subscription`, `forbidden` | forbidden |
//! | `validation_error` | rejected |
//! | `not_found` | job not found |
//! | `rate_limited` | rate limited |
//! | `upstream_unavailable` | server error |
//! | `provider_error` | job failed; server error where the text speaks of a 5xx |
//! | any other | the rows below |
//!
//! | `status` | the text | cause |
//! | --- | --- | --- |
//! | `failed`, `error`, absent | begins with the words of a known refusal | that refusal's |
//! | `failed`, `error` without an `id` | is the bare word of one (`Unauthorized`, `Not found`) | that refusal's |
//! | absent | begins with such a word | that refusal's |
//! | `failed`, `error` with an `id` | speaks of a 5xx, and of no URL | server error |
//! | `failed`, `error` without an `id`, absent | speaks of a 5xx | server error |
//! | `failed`, `error` without an `id`, absent | asks to try again in some time | rate limited |
//! | `failed`, `error`, absent | an object of lists of complaints, field by field | rejected |
//! | `failed`, `error` | any other, or none | job failed |
//! | absent, or no word | any other, or none | malformed |
//! | any other word | | the call did not fail |
//!
//! So a job is called failed only where the service says so of the job itself: a gateway's trouble passes, and the clip
//! behind it has been paid for. And a job that failed over its own inputs ends alone: an answer that names its job has
//! passed the gates at which keys and credits are looked at.
//!
//! # What the job's answer is
//!
//! | `status` | links | reply |
//! | --- | --- | --- |
//! | `success` | at least one | done |
//! | `success` | none | pending: no output yet |
//! | `processing` | never looked at | pending: processing |
//! | `queued` | never looked at | pending: queued |
//! | any other word | never looked at | pending: unknown, and so still processing |

mod links;
mod record;
mod repair;
mod words;

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::coding;
use crate::job::without_secrets;
use crate::retry::{Cause, Failure};

pub use links::outputs;

/// A job with more outputs than this is none; a list of a million is an attack on memory.
const OUTPUTS_MAX: usize = 10_000;
/// An answer with more commas than this is none: each may stand for a value, and values take far more memory than bytes.
const COMMAS_MAX: usize = 100_000;

/// What came before the answer's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Encoding` header, its lines as one list.
    pub content_encoding: Option<&'a str>,
    /// The `Retry-After` header.
    pub retry_after: Option<&'a str>,
    /// The `X-RateLimit-Reset` header: a moment, in seconds since 1970.
    pub rate_limit_reset: Option<&'a str>,
    /// The wall clock, in seconds since 1970, for headers that name a moment.
    pub now_unix_s: u64,
}

/// What an answer says of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It is done, and there are links or bytes.
    Done(Done),
    /// It is not done yet, or its links are not there yet.
    Pending(Pending),
}

/// A job that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The id in the answer; it may differ from the one that was asked for.
    pub answered_id: Option<String>,
    /// What the job made, in the order of the answer: never empty.
    pub outputs: Vec<Output>,
    /// The request's parameters as the service repeats them, fit for a record.
    pub meta: Option<Map<String, Value>>,
    /// The answer's remaining fields, fit for a record.
    pub rest: Map<String, Value>,
}

/// One thing that a job made. At least one of its two sources is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its place in the answer's list, from 0.
    pub index: usize,
    /// What stood in `output`, or in `links` or `link` in its stead.
    pub source: Option<Source>,
    /// What stood in `proxy_links` at the same place, where it is another.
    pub proxy: Option<Source>,
}

/// Where an output's bytes are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At this http or https URL.
    Url(Url),
    /// In the answer itself.
    Inline(Vec<u8>),
    /// Nowhere: this stood in place of a link, cut short.
    Unusable(String),
}

impl Source {
    /// The source as records and people see it: without user, query and fragment, and empty for bytes.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => without_secrets(url),
            Self::Inline(_) => String::new(),
            Self::Unusable(text) => text.clone(),
        }
    }
}

/// A job that is not done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// How far it is.
    pub why: PendingWhy,
    /// The service's estimate of the time that is left; never one that was left over on success.
    pub eta: Option<Duration>,
    /// The URL by which the service wants to be asked; it may lead anywhere, so it is not for following unchecked.
    pub fetch_url: Option<String>,
    /// What the service says about it.
    pub message: Option<String>,
    /// The id in the answer.
    pub answered_id: Option<String>,
}

/// How far a job is that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingWhy {
    /// The service works on it.
    Processing,
    /// It waits for its turn.
    Queued,
    /// The service uses a word that nobody knows.
    Unknown(String),
    /// The service is done, but has no link yet.
    NoOutputYet,
}

/// Reads an answer to a fetch call.
pub fn parse(head: &Head<'_>, body: &[u8]) -> Result<Reply, Failure> {
    let fields = answer(head, body)?;
    let answered_id = fields.get("id").and_then(words::id);
    let why = match words::status(&fields).as_deref() {
        Some("success") => match outputs(&fields) {
            outputs if outputs.len() > OUTPUTS_MAX => {
                return Err(Failure::new(Cause::Malformed, "it has more outputs than any job"));
            }
            outputs if !outputs.is_empty() => {
                let (meta, rest) = record::split(fields);
                return Ok(Reply::Done(Done { answered_id, outputs, meta, rest }));
            }
            _ => PendingWhy::NoOutputYet,
        },
        Some("processing") => PendingWhy::Processing,
        Some("queued") => PendingWhy::Queued,
        word => PendingWhy::Unknown(word.unwrap_or_default().into()),
    };
    Ok(Reply::Pending(Pending {
        eta: fields.get("eta").and_then(words::seconds).filter(|_| why != PendingWhy::NoOutputYet),
        why,
        fetch_url: fields.get("fetch_result").and_then(Value::as_str).map(|url| url.trim().to_owned()),
        message: words::message(&fields),
        answered_id,
    }))
}

/// Reads any answer of the API as far as it says whether the call failed; what it says otherwise is handed back.
pub fn answer(head: &Head<'_>, body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let fields = match read(head, body) {
        Ok(fields) => fields,
        Err(why) if (200..300).contains(&head.status) => return Err(Failure::new(Cause::Malformed, why)),
        // The status alone decides; pages of gateways add nothing.
        Err(_) => Map::new(),
    };
    match refusal(head.status, &fields) {
        None => Ok(fields),
        Some(cause) => {
            let detail = words::detail(&fields).unwrap_or_else(|| bare_detail(head.status, cause, body));
            Err(Failure::new(cause, detail).after(asked_wait(cause, head, &fields)))
        }
    }
}

/// What there is to say where the answer itself says nothing.
fn bare_detail(status: u16, cause: Cause, body: &[u8]) -> String {
    match cause {
        _ if !(200..300).contains(&status) => format!("status {status}"),
        Cause::Malformed => format!("it has no status and begins with {}", beginning(body)),
        Cause::JobFailed => "it gives no reason".into(),
        _ => String::new(),
    }
}

fn read(head: &Head<'_>, body: &[u8]) -> Result<Map<String, Value>, String> {
    if let Some(coding) = coding::named(head.content_encoding.map(str::as_bytes)) {
        return Err(format!("it is encoded ({coding}), which was not asked for"));
    }
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.iter().filter(|byte| **byte == b',').nth(COMMAS_MAX).is_some() {
        return Err("it has more values than any real answer".into());
    }
    match json(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(format!("it is no JSON object: {}", beginning(text))),
        Err(_) if text.starts_with(b"<") => Err(format!("it is a page, not JSON: {}", beginning(text))),
        Err(error) if error.is_eof() => Err(format!("it is cut short: {}", beginning(text))),
        Err(error) => Err(format!("it is not JSON ({error}): {}", beginning(text))),
    }
}

/// Reads JSON, and what is almost JSON only where nothing else reads it.
fn json(text: &[u8]) -> serde_json::Result<Value> {
    let strict = serde_json::from_slice(text);
    if strict.is_ok() || !text.starts_with(b"{") {
        return strict;
    }
    repair::repaired(text).map_or(strict, |text| serde_json::from_slice(&text))
}

/// The first bytes of a body, for people.
fn beginning(body: &[u8]) -> String {
    /// Enough to tell a gateway's page from a cut answer; too little for a signed link to be whole.
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    record::without_secrets_in(text.trim())
}

/// Whether the call failed, and why: the tables of the module.
fn refusal(http: u16, fields: &Map<String, Value>) -> Option<Cause> {
    use words::Says;
    let status = fields.get("status");
    let codes = [fields.get("code"), fields.get("error_code")];
    let in_order = [Says::of_http(http)]
        .into_iter()
        .chain(codes.into_iter().flatten().map(Says::of_code))
        .chain(status.filter(|status| status.is_number()).map(Says::of_code));
    let text = words::text(fields);
    let about = words::About::of(fields);
    let speaks_of_trouble = text.as_deref().is_some_and(|text| words::is_trouble(text, about));
    let mut refused = false;
    for says in in_order {
        match says {
            Says::Cause(Cause::JobFailed) if speaks_of_trouble => return Some(Cause::ServerError),
            Says::Cause(cause) => return Some(cause),
            Says::Refused => refused = true,
            Says::Nothing => {}
        }
    }
    let by_text = text.as_deref().and_then(|text| words::cause_of_text(text, about));
    match words::status(fields).as_deref() {
        _ if refused => by_text.or(Some(Cause::Rejected)),
        Some("failed" | "error") | None if words::complains(fields) => Some(Cause::Rejected),
        Some("failed" | "error") => by_text.or(Some(Cause::JobFailed)),
        None => by_text.or(Some(Cause::Malformed)),
        Some(_) => None,
    }
}

/// How long the service asks to be left alone: the `Retry-After` header, else `retry_after` in the body, else the text,
/// else the moment when its limit is reset.
fn asked_wait(cause: Cause, head: &Head<'_>, fields: &Map<String, Value>) -> Option<Duration> {
    if !matches!(cause, Cause::RateLimited | Cause::ServerError) {
        return None;
    }
    let header = head.retry_after.and_then(|header| crate::retry::retry_after(header, head.now_unix_s));
    let field = || fields.get("retry_after").and_then(words::seconds);
    let text = || words::text(fields).as_deref().and_then(words::wait_in);
    let reset = || {
        let moment: u64 =
            head.rate_limit_reset.filter(|_| cause == Cause::RateLimited)?.trim().parse().ok()?;
        moment.checked_sub(head.now_unix_s).filter(|wait| *wait > 0).map(Duration::from_secs)
    };
    header.or_else(field).or_else(text).or_else(reset)
}

#[cfg(test)]
mod tests;
