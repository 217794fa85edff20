//! The API's client: asks for a job, and keeps the key.
//!
//! The key travels in the request's body, which a redirect would send on to wherever it points. So this client follows
//! none: any 3xx is an error. It speaks to the configured origin alone, reads a bounded number of bytes of an answer,
//! and gives the whole exchange a bounded time. An answer may repeat the request, so the key is taken out of it before
//! it is understood: no message, no record and no log downstream ever holds it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, RETRY_AFTER};
use serde_json::json;
use url::Url;

use super::lane::{Lanes, Outcome};
use super::{ClientOptions, NetError, client_builder, finish, transport_failure};
use crate::job::{JobRef, Origin};
use crate::listing::{self, AssetType, Page};
use crate::reply::{self, Head, Reply};
use crate::retry::{Cause, Failure};
use crate::text::Redactor;
/// The account's key, which goes into a request's body and nowhere else.
pub use crate::text::Secret as ApiKey;

/// The most that is read of an answer, in bytes.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// A whole exchange takes at most this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// All requests share one connection in HTTP/2, and one that has fallen silent would be asked again and again. While
/// answers are waited for it is pinged this often, and closed where a ping is not answered for as long.
const PING_EACH: Duration = Duration::from_secs(5);

/// The two documented paths of the listing.
const LISTINGS: [&str; 2] = ["/api/assets_generated", "/api/v6/assets_generated"];

/// The API of one account.
pub struct Api {
    client: reqwest::Client,
    key: ApiKey,
    redactor: Redactor,
    lanes: Lanes,
    origin: Origin,
    /// The origin again; each request has another path.
    base: Url,
    /// Which of [`LISTINGS`] the API has.
    listing: AtomicUsize,
}

impl Api {
    /// A client with this key.
    pub fn new(key: ApiKey, options: &ClientOptions) -> Result<Self, NetError> {
        let base = Url::parse(options.origin.as_str()).map_err(|error| NetError::Tls(error.to_string()))?;
        let client = finish(options, || {
            client_builder(options)
                .redirect(reqwest::redirect::Policy::none())
                .timeout(ANSWER_WITHIN)
                .http2_keep_alive_interval(PING_EACH)
                .http2_keep_alive_timeout(PING_EACH)
        })?;
        let origin = options.origin.clone();
        Ok(Self {
            origin,
            base,
            client,
            redactor: Redactor::new(&key),
            key,
            lanes: Lanes::new(options.max_per_host, options.patience),
            listing: AtomicUsize::new(0),
        })
    }

    /// The one origin that may see the key.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes this client's key out of texts.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Asks for a job once. `now_unix_s` is the wall clock, for headers that hold a moment.
    ///
    /// A job of another origin is refused here too: records name their job's origin, and whoever wrote one must not
    /// be able to say where the key goes.
    pub async fn fetch(&self, job: &JobRef, now_unix_s: u64) -> Result<Reply, Failure> {
        if job.origin != self.origin {
            let why = format!("the job belongs to {}, and the key is only for {}", job.origin, self.origin);
            return Err(Failure::new(Cause::AddressRefused, why));
        }
        let body = if job.family.id_in_body() {
            json!({ "key": self.key.expose(), "request_id": job.id.as_str() })
        } else {
            json!({ "key": self.key.expose() })
        };
        let permit = self.lanes.enter(job.origin.as_str()).await?;
        let answer = self.exchange(&job.fetch_path(), body.to_string()).await;
        let reply = answer.and_then(|answer| reply::parse(&answer.head(now_unix_s), &answer.body));
        match &reply {
            Ok(_) => permit.end(Outcome::Good),
            Err(failure) => permit.fail(failure),
        }
        reply
    }

    /// Asks for one page of the account's listing, from 1. `now_unix_s` as in [`Api::fetch`].
    ///
    /// The call is documented at two paths. The first is asked; where it is not there, the second, from then on.
    pub async fn list(&self, assets: AssetType, page: u64, now_unix_s: u64) -> Result<Page, Failure> {
        let body = json!({
            "key": self.key.expose(),
            "type": assets.word(),
            "per_page": listing::PER_PAGE,
            "page": page,
        })
        .to_string();
        let first = self.listing.load(Ordering::Relaxed);
        for (number, path) in LISTINGS.iter().enumerate().skip(first) {
            let permit = self.lanes.enter(self.origin.as_str()).await?;
            let answer = self.exchange(path, body.clone()).await;
            let not_here =
                number + 1 < LISTINGS.len() && answer.as_ref().is_ok_and(|answer| answer.status == 404);
            let page = answer.and_then(|answer| listing::parse(&answer.head(now_unix_s), &answer.body));
            match &page {
                Ok(_) => permit.end(Outcome::Good),
                Err(failure) => permit.fail(failure),
            }
            if !not_here {
                if page.is_ok() {
                    self.listing.store(number, Ordering::Relaxed);
                }
                return page;
            }
        }
        Err(Failure::new(Cause::Rejected, "the API has no listing"))
    }

    /// Whether a text holds the key, in whatever form.
    #[must_use]
    pub fn key_is_in(&self, text: &str) -> bool {
        matches!(self.redactor.text(text), std::borrow::Cow::Owned(_))
    }

    async fn exchange(&self, path: &str, body: String) -> Result<Answer, Failure> {
        let mut url = self.base.clone();
        url.set_path(path);
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
        let header = |name: &HeaderName| text(headers, name).map(|text| self.redactor.text(text).into());
        Ok(Answer {
            status: response.status().as_u16(),
            encoding: joined(headers, &CONTENT_ENCODING),
            retry_after: header(&RETRY_AFTER),
            rate_limit_reset: header(&HeaderName::from_static("x-ratelimit-reset")),
            body: self.redactor.bytes(&body).into(),
        })
    }
}

/// What came back, without the key.
struct Answer {
    status: u16,
    encoding: Option<String>,
    retry_after: Option<String>,
    rate_limit_reset: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn head(&self, now_unix_s: u64) -> Head<'_> {
        Head {
            status: self.status,
            content_encoding: self.encoding.as_deref(),
            retry_after: self.retry_after.as_deref(),
            rate_limit_reset: self.rate_limit_reset.as_deref(),
            now_unix_s,
        }
    }
}

/// All lines of a header as one list, or `None` where it is not there.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{Defaults, Origin};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    const KEY: &str = "sk-4/7+q\"w e";

    /// Serves one answer to one request, and tells the request's body.
    fn serve(answer: String) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut bytes = [0; 4096];
            while !request.ends_with('}') {
                let count = stream.read(&mut bytes).unwrap();
                request.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
            )
            .unwrap();
            request.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
        });
        (origin, served)
    }

    async fn ask(answer: String) -> (Result<Reply, Failure>, String) {
        let (origin, served) = serve(answer);
        let options = ClientOptions::new(Origin::of(&Url::parse(&origin).unwrap()).unwrap());
        let api = Api::new(ApiKey::new(KEY.into()).unwrap(), &options).unwrap();
        let job = Defaults::new(&origin, None).unwrap().parse("147").unwrap().job;
        let reply = api.fetch(&job, 0).await;
        (reply, served.join().unwrap())
    }

    #[tokio::test]
    async fn a_key_that_the_answer_repeats_goes_no_further_than_this_client() {
        let plain = serde_json::to_string(KEY).unwrap();
        let units = KEY.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        let escaped = units.collect::<Vec<_>>().concat();
        let base64 = data_encoding::BASE64.encode(KEY.as_bytes()).replace('/', "\\/");
        let answer = format!(
            r#"{{"status":"success","output":["http://127.0.0.1/a.gif"],"meta":{{"model":{plain},"again":"{escaped}","coded":"{base64}"}}}}"#
        );
        let (reply, sent) = ask(answer).await;
        assert_eq!(sent, json!({ "key": KEY }).to_string());
        let Ok(Reply::Done(done)) = reply else { panic!("not done") };
        let meta = serde_json::to_value(done.meta).unwrap();
        assert_eq!(meta, json!({ "model": "[key]", "again": "[key]", "coded": "[key]" }));
    }

    #[tokio::test]
    async fn the_key_does_not_go_where_a_record_says() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let elsewhere = format!("http://{}", listener.local_addr().unwrap());
        let origin = Origin::of(&Url::parse("http://127.0.0.1:9").unwrap()).unwrap();
        let options = ClientOptions { allow_private_hosts: true, ..ClientOptions::new(origin) };
        let api = Api::new(ApiKey::new(KEY.into()).unwrap(), &options).unwrap();
        let job = Defaults::new(&elsewhere, None).unwrap().parse("147").unwrap().job;
        let refused = api.fetch(&job, 0).await.map(drop).unwrap_err();
        assert_eq!(refused.cause, Cause::AddressRefused);
        assert_eq!(listener.accept().map(drop).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_failure_does_not_repeat_the_key() {
        let message = serde_json::to_string(&format!("key {KEY} is fine, the job is not")).unwrap();
        let (reply, _) = ask(format!(r#"{{"status":"failed","message":{message}}}"#)).await;
        let Err(failure) = reply else { panic!("not failed") };
        assert_eq!(failure.detail, "key [key] is fine, the job is not");
    }
}
