//! What single words, numbers and texts of an answer mean.

use std::time::Duration;

use serde_json::{Map, Value};

use super::record::{cut, without_secrets_in};
use crate::retry::Cause;

/// Fields that hold what the service says, the documented ones first; the second one's spelling is the service's.
const MESSAGES: &[&str] = &["message", "messege", "error", "errors", "detail"];
/// A server's word is shown up to this length.
const SHORT: usize = 40;
/// A server's message is kept up to this length.
const DETAIL_MAX: usize = 1_000;
/// Longer waits and estimates mean the same as this one.
const SECONDS_MAX: f64 = 1e9;

/// What one field says about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It failed for this cause.
    Cause(Cause),
    /// It was refused; something further down may say why.
    Refused,
    /// Nothing: what follows decides.
    Nothing,
}

impl Says {
    pub(super) fn of_http(status: u16) -> Self {
        match status {
            200..=299 => Self::Nothing,
            300..=399 => Self::Cause(Cause::Redirected),
            400..=599 => Self::of_number(status.into()),
            _ => Self::Cause(Cause::Malformed),
        }
    }

    /// A status where it stands in the body; numbers that are no statuses say nothing.
    fn of_number(number: u64) -> Self {
        Self::Cause(match number {
            401 => Cause::InvalidKey,
            402 => Cause::NoCredits,
            403 => Cause::Forbidden,
            404 | 410 => Cause::JobNotFound,
            429 => Cause::RateLimited,
            408 | 425 | 500..=599 => Cause::ServerError,
            400..=499 => return Self::Refused,
            _ => return Self::Nothing,
        })
    }

    pub(super) fn of_code(code: &Value) -> Self {
        match code {
            Value::Number(number) => {
                let whole = number.as_u64().or_else(|| number.as_f64().and_then(whole));
                whole.map_or(Self::Nothing, Self::of_number)
            }
            Value::String(word) => {
                let word = word.trim().to_ascii_lowercase();
                word.parse().map_or_else(|_| Self::of_word(&word), Self::of_number)
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Self::Nothing,
        }
    }

    fn of_word(word: &str) -> Self {
        Self::Cause(match word {
            "invalid_api_key" | "unauthenticated" => Cause::InvalidKey,
            "insufficient_balance" => Cause::NoCredits,
            "no_subscription" | "forbidden" => Cause::Forbidden,
            "validation_error" => Cause::Rejected,
            "not_found" => Cause::JobNotFound,
            "rate_limited" => Cause::RateLimited,
            "upstream_unavailable" => Cause::ServerError,
            "provider_error" => Cause::JobFailed,
            _ => return Self::Nothing,
        })
    }
}

/// A float that is a whole number and small enough to be a status or an id.
fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the guard leaves neither")]
    (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
}

/// The `status` word in lower case; `None` where there is none.
pub(super) fn status(fields: &Map<String, Value>) -> Option<String> {
    let word = fields.get("status")?.as_str()?.trim();
    (!word.is_empty()).then(|| cut(&word.to_lowercase(), SHORT))
}

/// An id as text; ids are opaque, and an empty one is none.
pub(super) fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if number.is_f64() => number.as_f64().and_then(whole)?.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then(|| cut(&text, SHORT * 2))
}

/// Seconds as an integer, a float or a text of either; negative and impossible ones are none.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(SECONDS_MAX)))
}

/// What the service says, with its tip, fit for a record.
pub(super) fn detail(fields: &Map<String, Value>) -> Option<String> {
    let tip = fields.get("tip").and_then(said);
    match (message(fields), tip) {
        (Some(message), Some(tip)) if message != tip => Some(short_of(&format!("{message} ({tip})"))),
        (Some(message), _) => Some(message),
        (None, tip) => tip,
    }
}

/// What the service says in the first field that says something, fit for a record.
pub(super) fn message(fields: &Map<String, Value>) -> Option<String> {
    MESSAGES.iter().find_map(|name| said(fields.get(*name)?))
}

/// What the service says in plain words, in lower case: never a complaint about single fields.
pub(super) fn text(fields: &Map<String, Value>) -> Option<String> {
    let values = MESSAGES.iter().chain(&["tip"]).filter_map(|name| fields.get(*name));
    let mut texts = values.filter(|value| said(value).is_some()).map(Value::as_str);
    texts.next()?.map(|text| text.trim().to_lowercase())
}

/// Whether what the service says is an object of lists of complaints, field by field.
pub(super) fn complains(fields: &Map<String, Value>) -> bool {
    let first = MESSAGES.iter().filter_map(|name| fields.get(*name)).find(|value| said(value).is_some());
    let fields = first.and_then(Value::as_object);
    fields.is_some_and(|fields| fields.values().any(Value::is_array))
}

/// A message as text: as it stands, or an object of arrays as `field: complaint; field: complaint`.
fn said(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => joined(items.iter().filter_map(Value::as_str).map(ToOwned::to_owned)),
        Value::Object(fields) => joined(fields.iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some(format!("{name}: {text}")),
            Value::Array(items) => {
                let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                (!texts.is_empty()).then(|| format!("{name}: {}", texts.join(" ")))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        })),
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    (!text.is_empty()).then(|| short_of(&text))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

fn short_of(text: &str) -> String {
    cut(&without_secrets_in(text), DETAIL_MAX)
}

/// What refusals begin with, in lower case. Only beginnings count: a failed job's message may quote its prompt.
const REFUSALS: &[(Cause, &[&str])] = &[
    (Cause::InvalidKey, &["invalid api key", "invalid api_key", "api key is invalid"]),
    (
        Cause::NoCredits,
        &["insufficient credit", "insufficient balance", "insufficient fund", "not enough credit"],
    ),
    (Cause::Forbidden, &["this feature requires", "no subscription", "no active subscription"]),
    (Cause::RateLimited, &["rate limit", "too many requests"]),
    (Cause::JobNotFound, &["request not found", "job not found"]),
];
/// Words that may be all that a refusal says. A failed job's message may begin with them too, and then they are about
/// its inputs: "Unauthorized image source", "Forbidden: `init_video` answered 403".
const BARE_REFUSALS: &[(Cause, &[&str])] = &[
    (Cause::InvalidKey, &["unauthenticated", "unauthorized"]),
    (Cause::Forbidden, &["forbidden"]),
    (Cause::JobNotFound, &["not found"]),
    (Cause::ServerError, &["server error"]),
];

/// What an answer's text is about, as far as its other fields tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The call: no status calls anything failed.
    Call,
    /// Something that failed: the call, or its job.
    Failure,
    /// The job that the answer names and calls failed. A refused call has not come as far as to know its job.
    Job,
}

impl About {
    pub(super) fn of(fields: &Map<String, Value>) -> Self {
        match status(fields).as_deref() {
            Some("failed" | "error") if fields.get("id").and_then(id).is_some() => Self::Job,
            Some("failed" | "error") => Self::Failure,
            _ => Self::Call,
        }
    }
}

/// What a text in lower case says about the call.
///
/// | the text | about the call | about a failure | about a job |
/// | --- | --- | --- | --- |
/// | begins with the words of a known refusal | that refusal | that refusal | that refusal |
/// | begins with a bare word of one | that refusal | that refusal, if it is all | nothing |
/// | speaks of a host's trouble | server error | server error | server error, unless at a URL |
/// | asks to try again in some time | rate limited | rate limited | nothing |
pub(super) fn cause_of_text(text: &str, about: About) -> Option<Cause> {
    let begins = |refusals: &[(Cause, &[&str])]| {
        let refusal = refusals.iter().find(|(_, begins)| begins.iter().any(|words| text.starts_with(words)));
        refusal.map(|(cause, _)| *cause)
    };
    let is_all = || {
        let bare = text.trim_end_matches(['.', '!']);
        BARE_REFUSALS.iter().find(|(_, words)| words.contains(&bare)).map(|(cause, _)| *cause)
    };
    let bare = match about {
        About::Call => begins(BARE_REFUSALS),
        About::Failure => is_all(),
        About::Job => None,
    };
    let trouble = || is_trouble(text, about).then_some(Cause::ServerError);
    let wait = || wait_in(text).filter(|_| about != About::Job).map(|_| Cause::RateLimited);
    begins(REFUSALS).or(bare).or_else(trouble).or_else(wait)
}

/// What hosts and gateways say of themselves when they are in trouble, in lower case.
const TROUBLE: &[&str] = &[
    "internal server error",
    "bad gateway",
    "service unavailable",
    "service temporarily unavailable",
    "gateway timeout",
    "gateway time-out",
    "upstream unavailable",
    "server is busy",
    "server busy",
];

/// Whether a text in lower case speaks of a host's trouble: a phrase, or a 5xx that is called a status or an error. What
/// a failed job tells of a URL is trouble at that URL, from where the job's inputs come: it will not pass by itself.
pub(super) fn is_trouble(text: &str, about: About) -> bool {
    if about == About::Job && text.contains("://") {
        return false;
    }
    let names_it = |word: &str| matches!(word, "http" | "status" | "code" | "error");
    let number = |word: &str| word.len() == 3 && matches!(word.parse(), Ok(500..=504 | 520..=527));
    let mut before = "status";
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if names_it(before) && number(word) {
            return true;
        }
        before = word;
    }
    TROUBLE.iter().any(|phrase| text.contains(phrase))
}

/// The wait in "try again in 30 seconds" and "retry after 2 minutes", in a text in lower case.
pub(super) fn wait_in(text: &str) -> Option<Duration> {
    let asks = ["try again in ", "try again after ", "retry in ", "retry after "];
    let rest = asks.iter().find_map(|asks| text.split_once(asks)).map(|(_, rest)| rest)?;
    let rest = rest.trim_start().trim_start_matches("about ");
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start_matches([' ', '-']);
    let factor = match unit {
        _ if unit.starts_with("ms") || unit.starts_with("milli") => 0.001,
        _ if unit.starts_with('m') => 60.0,
        _ if unit.starts_with('h') => 3_600.0,
        _ => 1.0,
    };
    Some(Duration::from_secs_f64((number * factor).min(SECONDS_MAX)))
}
