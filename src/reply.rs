//! Stub, replaced soon.
#![allow(missing_docs, clippy::pedantic)]
use crate::retry::{Cause, Failure};
use serde_json::{Map, Value};
use std::time::Duration;
pub struct Head<'a> {
    pub status: u16,
    pub content_encoding: Option<&'a str>,
    pub retry_after: Option<&'a str>,
    pub rate_limit_reset: Option<&'a str>,
    pub now_unix_s: u64,
}
pub fn parse(head: &Head<'_>, body: &[u8]) -> Result<Reply, Failure> {
    let ra = head.retry_after.and_then(|h| crate::retry::retry_after(h, head.now_unix_s));
    match head.status {
        401 => return Err(Failure::new(Cause::InvalidKey, "")),
        402 => return Err(Failure::new(Cause::NoCredits, "")),
        429 => return Err(Failure::new(Cause::RateLimited, "").after(ra)),
        500.. => return Err(Failure::new(Cause::ServerError, "").after(ra)),
        300..=399 => return Err(Failure::new(Cause::Redirected, "")),
        _ => {}
    }
    let v: Value = serde_json::from_slice(body).map_err(|e| Failure::new(Cause::Malformed, e.to_string()))?;
    let s = v["status"].as_str().unwrap_or("").to_lowercase();
    let msg = v["message"].as_str().or(v["messege"].as_str()).unwrap_or("").to_string();
    match s.as_str() {
        "success" => {}
        "failed" | "error" if msg.contains("not found") => return Err(Failure::new(Cause::JobNotFound, msg)),
        "failed" | "error" => return Err(Failure::new(Cause::JobFailed, msg)),
        _ => {
            return Ok(Reply::Pending(Pending {
                why: PendingWhy::Processing,
                eta: v["eta"].as_f64().map(Duration::from_secs_f64),
                fetch_url: None,
                message: None,
                answered_id: None,
            }));
        }
    }
    let list = |k: &str| -> Vec<String> {
        match &v[k] {
            Value::Array(a) => a.iter().map(|x| x.as_str().unwrap_or("").to_string()).collect(),
            Value::String(s) if !s.is_empty() => vec![s.clone()],
            Value::Object(o) => o.values().map(|x| x.as_str().unwrap_or("").to_string()).collect(),
            _ => vec![],
        }
    };
    let (o, p) = (list("output"), list("proxy_links"));
    let n = if o.is_empty() { p.len() } else { o.len() };
    let outputs: Vec<_> = (0..n)
        .map(|i| Output {
            index: i,
            source: o.get(i).cloned().map(Source::Url),
            proxy: p.get(i).filter(|x| Some(*x) != o.get(i)).cloned().map(Source::Url),
        })
        .collect();
    Ok(Reply::Done(Done {
        answered_id: None,
        outputs,
        meta: v["meta"].as_object().cloned(),
        rest: Map::new(),
    }))
}
pub enum Reply {
    Done(Done),
    Pending(Pending),
}
pub struct Done {
    pub answered_id: Option<String>,
    pub outputs: Vec<Output>,
    pub meta: Option<Map<String, Value>>,
    pub rest: Map<String, Value>,
}
#[derive(Clone, Debug)]
pub struct Output {
    pub index: usize,
    pub source: Option<Source>,
    pub proxy: Option<Source>,
}
#[derive(Clone, Debug)]
pub enum Source {
    Url(String),
    Inline(Vec<u8>),
}
pub struct Pending {
    pub why: PendingWhy,
    pub eta: Option<Duration>,
    pub fetch_url: Option<String>,
    pub message: Option<String>,
    pub answered_id: Option<String>,
}
pub enum PendingWhy {
    Processing,
    Queued,
    Unknown(String),
    NoOutputYet,
}
