//! The network: two clients that share nothing.
//!
//! [`api::Api`] holds the key and follows no redirect. [`Http`] fetches media from hosts that servers name: it never
//! holds the key, sends no cookie, no referrer and no credentials that stand in a link, asks for no encoding, follows a
//! few redirects to allowed addresses only, and speaks HTTP/1.1, since many connections carry many files faster than
//! one and fail one at a time.
//! Whatever goes wrong leaves here as a [`Failure`].

pub mod address;
pub mod api;
pub mod lane;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    EXPIRES, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, ClientBuilder};
use url::Url;

use crate::coding;
use crate::digests::Named;
use crate::job::Origin;
use crate::lifetime::{self, Birth, Lesson};
use crate::plan::{Answer, Resume};
use crate::retry::{self, Cause, Failure};
use address::{Allowed, FilteringResolver, Refused};
pub use api::{Api, ApiKey};

/// A connection is made within this time or not at all, unless the user says otherwise.
pub const DEFAULT_CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest silence of a media host, before its answer and within it, unless the user says otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30);
/// More redirects than this lead nowhere.
const REDIRECTS: usize = 10;

/// The most requests at once to one host, unless the user says otherwise.
pub const DEFAULT_MAX_PER_HOST: usize = 64;

/// How both clients are built.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The API's origin; media may come from its network too.
    pub origin: Origin,
    /// Certificates to trust besides the system's, each file's content as PEM.
    pub ca_certificates: Vec<Vec<u8>>,
    /// Whether media may come from private addresses.
    pub allow_private_hosts: bool,
    /// Whether requests go through the proxies that the environment names.
    pub through_proxies: bool,
    /// The most requests at once to one host.
    pub max_per_host: usize,
    /// The most connections to one host that are kept while nothing uses them.
    pub max_idle_per_host: usize,
    /// A connection is made within this time or not at all.
    pub connect_within: Duration,
    /// The longest silence of a media host, before its answer and within it.
    pub idle: Duration,
    /// How long a host may answer nothing but that it is asked too much; sensibly as long as a job may take.
    pub patience: Duration,
}

impl ClientOptions {
    /// For the API at this origin, with the limits that users get who say nothing.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            ca_certificates: Vec::new(),
            allow_private_hosts: false,
            through_proxies: true,
            max_per_host: DEFAULT_MAX_PER_HOST,
            max_idle_per_host: DEFAULT_MAX_PER_HOST,
            connect_within: DEFAULT_CONNECT_WITHIN,
            idle: DEFAULT_IDLE,
            patience: lane::DEFAULT_PATIENCE,
        }
    }
}

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A certificate cannot be read.
    #[error("the CA certificate cannot be used: {0}")]
    Certificate(String),
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// The media client.
pub struct Http {
    client: reqwest::Client,
    allowed: Allowed,
    lanes: Arc<lane::Lanes>,
    idle: Duration,
}

impl Http {
    /// A client for media.
    pub fn new(options: &ClientOptions) -> Result<Self, NetError> {
        let api = Url::parse(options.origin.as_str()).map_err(|error| NetError::Tls(error.to_string()))?;
        let allowed = Allowed::beside(&api, options.allow_private_hosts);
        let client = finish(options, || {
            client_builder(options)
                .redirect(Policy::custom(move |attempt| follow(attempt, allowed)))
                .dns_resolver(Arc::new(FilteringResolver(allowed)))
                .http1_only()
                // What is tried again, and when, is for whoever asks.
                .retry(reqwest::retry::never())
        })?;
        Ok(Self {
            client,
            allowed,
            lanes: Arc::new(lane::Lanes::new(options.max_per_host, options.patience)),
            idle: options.idle,
        })
    }

    /// The lanes of the hosts that media come from; a URL's is that of its authority without a user.
    #[must_use]
    pub fn lanes(&self) -> Arc<lane::Lanes> {
        Arc::clone(&self.lanes)
    }

    /// Asks for a file, or for the rest of one; answers when the headers are there.
    ///
    /// # Errors
    /// Every status but 200, 206 and 416 is a [`Failure`]; so is a silence that is too long.
    pub async fn get(&self, url: &Url, resume: &Resume, now_unix_s: u64) -> Result<Media, Failure> {
        self.allowed
            .check(url)
            .map_err(|refused| Failure::new(Cause::AddressRefused, refused.to_string()))?;
        let mut request = self.client.get(anonymous(url)).header(ACCEPT_ENCODING, "identity");
        if let Resume::Continue { from, etag, .. } = resume {
            request = request.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, etag);
        }
        let response = match tokio::time::timeout(self.idle, request.send()).await {
            Ok(sent) => sent.map_err(|error| transport_failure(&error))?,
            Err(_) => {
                return Err(Failure::new(Cause::Stalled, format!("no answer within {:?}", self.idle)));
            }
        };
        let media = Media { response, idle: self.idle };
        media.refusal(now_unix_s).map_or(Ok(media), Err)
    }
}

/// The URL without a user and a password: no host gets credentials from here that a server put into a link, and none
/// gets more at once because its links differ in them.
pub(crate) fn anonymous(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which have neither.
    let _ = (url.set_username(""), url.set_password(None));
    url
}

/// A media host's answer, with its body still to come.
pub struct Media {
    response: reqwest::Response,
    idle: Duration,
}

impl Media {
    /// What the answer says about the range it brings.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.response.status().as_u16(),
            etag: self.header(&ETAG),
            content_range: self.header(&CONTENT_RANGE),
            content_length: self.header(&CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        }
    }

    /// The `ETag` header.
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        self.header(&ETAG).map(str::to_owned)
    }

    /// The `Content-Type` header.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }

    /// The `Last-Modified` header.
    #[must_use]
    pub fn last_modified(&self) -> Option<String> {
        self.header(&LAST_MODIFIED).map(str::to_owned)
    }

    /// The digests that the host names for the file.
    #[must_use]
    pub fn digests(&self) -> Named {
        let headers = self.response.headers();
        Named::read(self.response.status().as_u16(), |name| {
            let lines: Vec<&str> =
                headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
            (!lines.is_empty()).then(|| lines.join(","))
        })
    }

    /// Whether the protocol tells where the body ends; else the end of the connection is all there is.
    #[must_use]
    pub fn is_delimited(&self) -> bool {
        let headers = self.response.headers();
        headers.contains_key(CONTENT_LENGTH) || is_chunked(headers)
    }

    /// The next bytes, or `None` at the end that the protocol vouches for.
    ///
    /// # Errors
    /// [`Cause::Broken`] where the connection ends early, [`Cause::Stalled`] after too long a silence.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| transport_failure(&error)),
            Err(_) => Err(Failure::new(Cause::Stalled, format!("no byte for {:?}", self.idle))),
        }
    }

    /// What the answer says about how long such files live, and about when this one came to be.
    #[must_use]
    pub fn lifetime(&self, now_unix_s: u64) -> (Option<Lesson>, Option<Birth>) {
        let headers = lifetime::Headers {
            expires: self.header(&EXPIRES),
            last_modified: self.header(&LAST_MODIFIED),
            cache_control: self.header(&CACHE_CONTROL),
            amz_expiration: self.header(&HeaderName::from_static("x-amz-expiration")),
        };
        (headers.lesson(now_unix_s), headers.birth())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    fn refusal(&self, now_unix_s: u64) -> Option<Failure> {
        let status = self.response.status().as_u16();
        let cause = match status {
            200 | 206 | 416 => return self.unfit_framing(),
            403 | 404 | 410 => Cause::Absent,
            // Hosts of files answer 503 to whoever asks too much; nginx does unless it is told otherwise.
            429 | 503 => Cause::RateLimited,
            408 | 425 | 500..=599 => Cause::ServerError,
            300..=399 => Cause::BadRedirect,
            _ => Cause::BadStatus,
        };
        let wait = self.header(&RETRY_AFTER).and_then(|header| retry::retry_after(header, now_unix_s));
        Some(Failure::new(cause, format!("status {status}")).after(wait))
    }

    /// What makes a body unfit before its first byte. Two ways to tell its end at once are how one answer is smuggled
    /// into another (RFC 9112, 6.3).
    fn unfit_framing(&self) -> Option<Failure> {
        let headers = self.response.headers();
        let encodings = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        if let Some(coding) = coding::named(encodings) {
            return Some(Failure::new(Cause::Encoded, format!("Content-Encoding {coding}")));
        }
        let coded = headers.contains_key(TRANSFER_ENCODING);
        let why = match () {
            () if coded && headers.contains_key(CONTENT_LENGTH) => {
                "both Content-Length and Transfer-Encoding"
            }
            () if coded && !is_chunked(headers) => "a Transfer-Encoding that is not chunked",
            () => return None,
        };
        Some(Failure::new(Cause::Malformed, why))
    }
}

/// Whether the body comes in chunks and is coded in no other way. Under any other coding the client reads to the end of
/// the connection, or leaves the bytes coded.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked =
        lines.next().is_some_and(|line| line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    chunked && lines.next().is_none()
}

fn follow(attempt: Attempt<'_>, allowed: Allowed) -> reqwest::redirect::Action {
    let downgraded =
        attempt.previous().iter().any(|url| url.scheme() == "https") && attempt.url().scheme() != "https";
    match () {
        () if attempt.previous().len() > REDIRECTS => attempt.error(LostRedirect("there are too many")),
        () if !matches!(attempt.url().scheme(), "http" | "https") => {
            attempt.error(LostRedirect("it leads away from http and https"))
        }
        // The client would put them into its connections' names, and so into the log.
        () if anonymous(attempt.url()) != *attempt.url() => {
            attempt.error(LostRedirect("it leads to a link with a user or a password"))
        }
        () if downgraded => attempt.error(LostRedirect("it leads from https to http")),
        () => match allowed.check(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        },
    }
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LostRedirect(&'static str);

fn client_builder(options: &ClientOptions) -> ClientBuilder {
    // Another part of the program may have chosen a provider already, and then that one holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder();
    let builder = if options.through_proxies { builder } else { builder.no_proxy() };
    builder
        .user_agent(concat!("vfetch/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_within)
        .pool_max_idle_per_host(options.max_idle_per_host)
        .referer(false)
}

/// Builds a client that trusts the system's certificates and the given ones. Where the system has none it is built
/// without: plain HTTP works, and TLS says that the issuer is unknown.
fn finish(options: &ClientOptions, builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client, NetError> {
    let mut extra = Vec::new();
    for pem in &options.ca_certificates {
        let found =
            Certificate::from_pem_bundle(pem).map_err(|error| NetError::Certificate(chain(&error)))?;
        if found.is_empty() {
            return Err(NetError::Certificate("the file holds no PEM certificate".into()));
        }
        extra.extend(found);
    }
    let trusting = if extra.is_empty() { builder() } else { builder().tls_certs_merge(extra.clone()) };
    let built = trusting.build().or_else(|_| builder().tls_certs_only(extra).build());
    built.map_err(|error| NetError::Tls(chain(&error)))
}

/// What a client's error means. Of the URL only the host goes into the text: the rest may hold a signature.
fn transport_failure(error: &reqwest::Error) -> Failure {
    let mut sources =
        std::iter::successors(error.source(), |source: &&(dyn Error + 'static)| (*source).source());
    if let Some(refused) = sources.clone().find_map(|source| source.downcast_ref::<Refused>()) {
        return Failure::new(Cause::AddressRefused, refused.to_string());
    }
    let tls = sources.any(|source| source.is::<rustls::Error>() || is_rustls_io(source));
    let cause = match () {
        () if tls => Cause::Tls,
        () if error.is_redirect() => Cause::BadRedirect,
        () if error.is_connect() => Cause::Unreachable,
        () if error.is_timeout() => Cause::Stalled,
        () if error.is_builder() => Cause::BadUrl,
        () => Cause::Broken,
    };
    let host = error.url().map(|url| format!("{}: ", anonymous(url).authority())).unwrap_or_default();
    Failure::new(cause, host + &chain(error))
}

fn is_rustls_io(source: &(dyn Error + 'static)) -> bool {
    // Connectors wrap one such error in another.
    let inner = source.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>() || is_rustls_io(inner))
}

/// How the client calls the step that failed, which the cause says too.
const CLIENT_SAYS: &str = "client error (";

/// The innermost causes of an error, which say more than its outer layers.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> =
        std::iter::successors(error.source(), |source: &&(dyn Error + 'static)| (*source).source())
            .map(ToString::to_string)
            .filter(|cause| !cause.starts_with(CLIENT_SAYS))
            .collect();
    causes.dedup();
    if causes.is_empty() { "the request failed".into() } else { causes.join(": ") }
}
