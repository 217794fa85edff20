//! The API's client: asks for a job, and keeps the key.
//!
//! The key travels in the request's body, which a redirect would send on to wherever it points. So this client follows
//! none: any 3xx is an error. It speaks to the configured origin alone, reads at most [`BODY_MAX`] bytes of an answer,
//! and gives the whole exchange [`ANSWER_WITHIN`].

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, RETRY_AFTER};
use serde_json::json;

use super::lane::{Lanes, Outcome};
use super::{ClientOptions, NetError, client_builder, finish, transport_failure};
use crate::job::JobRef;
use crate::reply::{self, Head, Reply};
use crate::retry::{Cause, Failure};

/// The most that is read of an answer, in bytes.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// A whole exchange takes at most this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The account's key. It has no `Debug`, no `Display` and is never serialised, except into a request's body.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key.
    #[must_use]
    pub fn new(key: String) -> Self {
        Self(key)
    }

    /// The key itself, for the request's body and for whoever removes it from texts.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The API of one account.
pub struct Api {
    client: reqwest::Client,
    key: ApiKey,
    lanes: Lanes,
}

impl Api {
    /// A client with this key.
    pub fn new(key: ApiKey, options: &ClientOptions) -> Result<Self, NetError> {
        let client = finish(options, || {
            client_builder(options).redirect(reqwest::redirect::Policy::none()).timeout(ANSWER_WITHIN)
        })?;
        Ok(Self { client, key, lanes: Lanes::new(options.max_per_host) })
    }

    /// Asks for a job once. `now_unix_s` is the wall clock, for headers that hold a moment.
    pub async fn fetch(&self, job: &JobRef, now_unix_s: u64) -> Result<Reply, Failure> {
        let body = if job.family.id_in_body() {
            json!({ "key": self.key.0, "request_id": job.id.as_str() })
        } else {
            json!({ "key": self.key.0 })
        };
        let permit = self.lanes.enter(job.origin.as_str()).await?;
        let reply = self.exchange(&job.fetch_url(), body.to_string(), now_unix_s).await;
        permit.end(reply.as_ref().map_or_else(Outcome::of, |_| Outcome::Good));
        reply
    }

    async fn exchange(&self, url: &str, body: String, now_unix_s: u64) -> Result<Reply, Failure> {
        let request =
            self.client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(|error| transport_failure(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport_failure(&error))? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(Failure::new(Cause::Malformed, "the answer is larger than any real one"));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers();
        let head = Head {
            status: response.status().as_u16(),
            content_encoding: text(headers, &CONTENT_ENCODING),
            retry_after: text(headers, &RETRY_AFTER),
            rate_limit_reset: headers.get("x-ratelimit-reset").and_then(|value| value.to_str().ok()),
            now_unix_s,
        };
        reply::parse(&head, &body)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
