//! Which job: its origin, its family and its id, parsed once and trusted afterwards.
//!
//! A job is named by a bare id (`147`), by the URL that fetches it, or by a saved answer of the API: the reply to a
//! submission, to a fetch, or a webhook's payload. An id says nothing about its family, so a bare one takes the
//! family and origin that the user chose ([`Defaults`]). The key goes only to that origin: a URL of another host is
//! an error here, long before there is a request.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

/// The vendor's own address.
pub const DEFAULT_ORIGIN: &str = "https://modelslab.com";
/// Ids are opaque; this bound keeps every name made from one within what all file systems take.
const ID_MAX: usize = 80;
/// Family names are path segments; the longest documented one has 30 characters.
const FAMILY_MAX: usize = 60;

/// Families whose path under `/api` cannot be derived from their name; hyphens and underscores are as documented.
const FAMILIES: &[(&str, &str)] = &[
    ("enterprise/video", "v1/enterprise/video"),
    ("enterprise/realtime", "v1/enterprise/realtime"),
    ("enterprise/flux", "v1/enterprise/flux"),
    ("enterprise/flux_klein", "v1/enterprise/flux_klein"),
    ("enterprise/flux_headshot", "v1/enterprise/flux_headshot"),
    ("enterprise/flux_kontext_dev", "v1/enterprise/flux_kontext_dev"),
    ("enterprise/qwen", "v1/enterprise/qwen"),
    ("enterprise/face_gen", "v1/enterprise/face_gen"),
    ("enterprise/interior", "v1/enterprise/interior"),
    ("enterprise/image_editing", "v1/enterprise/image_editing"),
    ("enterprise/image_to_video_ultra", "v1/enterprise/image_to_video_ultra"),
    ("enterprise/text-to-video-ultra", "v1/enterprise/text-to-video-ultra"),
    ("enterprise/super-resolution", "v1/enterprise/super-resolution"),
    ("enterprise/faceswap", "v1/enterprise/faceswap"),
    ("enterprise/deepfake", "v1/enterprise/deepfake"),
    ("enterprise/images", "v1/enterprise/images"),
    ("enterprise/speech_to_text", "v1/enterprise/speech_to_text"),
    ("enterprise/text_to_speech", "v1/enterprise/text_to_speech"),
    ("enterprise/voice-cloning", "v1/enterprise/voice-cloning"),
    ("enterprise/voice", "v1/enterprise/voice"),
    ("enterprise/3d", "v1/enterprise/3d"),
    ("enterprise/minimax_h3", "v1/enterprise/minimax_h3"),
    ("enterprise/text-to-image", "v1/enterprise"),
    ("video", "v6/video"),
    ("realtime", "v6/realtime"),
    ("images", "v6/images"),
    ("image_editing", "v6/image_editing"),
    ("interior", "v6/interior"),
    ("faceswap", "v6/faceswap"),
    ("deepfake", "v6/deepfake"),
    ("voice", "v6/voice"),
    ("whisper", "v6/whisper"),
    ("3d", "v6/3d"),
    ("v7/images", "v7/images"),
    ("v7/video-fusion", "v7/video-fusion"),
    ("v7/voice", "v7/voice"),
];
/// The family that a bare id belongs to unless the user says otherwise; its folders carry the bare id.
pub const DEFAULT_FAMILY: &str = "enterprise/video";
/// The one family whose fetch call has the id in its body and not in its path.
const ID_IN_BODY: &str = "enterprise/text-to-image";

/// Why a text names no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The id has characters that ids do not have, or is too long.
    #[error(
        "{0:?} is not a job id: ids have up to {ID_MAX} letters, digits, '-', '_' and '.', and begin with a letter or digit"
    )]
    Id(String),
    /// The family is not in the table.
    #[error(
        "{0:?} is not a known family; give the job's full fetch URL instead, or one of these: {known}",
        known = Family::names().collect::<Vec<_>>().join(", ")
    )]
    Family(String),
    /// The text is not a URL, or not one whose scheme is http or https.
    #[error("{0:?} is not an address of the form http(s)://host[:port]")]
    Address(String),
    /// The address of an API has something that such an address has not.
    #[error(
        "{more} is not taken in the API's address, which is http(s)://host[:port], or that with a family's path (/api/v6/realtime): {url:?}"
    )]
    MoreThanOrigin {
        /// What it has, in words.
        more: &'static str,
        /// The address without what may be secret in it.
        url: String,
    },
    /// The URL does not fetch a job.
    #[error("{0:?} is not a fetch URL: expected /api/v<n>/…/fetch/<id>")]
    FetchUrl(String),
    /// The URL belongs to another host than the one that may see the key.
    #[error(
        "{url:?} belongs to {theirs}, but the key is only for {ours}; use --base-url {theirs} if the key is meant for it"
    )]
    ForeignOrigin {
        /// The URL as given, cut short.
        url: String,
        /// Its origin.
        theirs: String,
        /// The origin that the key belongs to.
        ours: String,
    },
    /// The saved answer is not JSON, or names no job.
    #[error("the saved answer names no job: {0}")]
    Answer(String),
}

/// Scheme, host and port of an API: `https://modelslab.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(Arc<str>);

impl Origin {
    /// The origin of an absolute http or https URL, without its path.
    pub fn of(url: &Url) -> Result<Self, JobError> {
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(JobError::Address(shorten(url.as_str())));
        }
        Ok(Self(url.origin().ascii_serialization().into()))
    }

    /// The origin as text, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group of models behind one fetch call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    name: Cow<'static, str>,
    path: Cow<'static, str>,
}

impl Family {
    /// A family by its name, or by its path under `/api`.
    pub fn named(name: &str) -> Result<Self, JobError> {
        let known = FAMILIES.iter().find(|(known, _)| *known == name);
        match known {
            Some((name, path)) => Ok(Self { name: (*name).into(), path: (*path).into() }),
            None => Self::at(name).ok_or_else(|| JobError::Family(shorten(name))),
        }
    }

    /// The names of all families in the table.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|(name, _)| *name)
    }

    /// The family's name: `enterprise/video`; for a family that is not in the table, its path: `v8/morph`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the fetch call wants the id in its body, as `request_id`.
    #[must_use]
    pub fn id_in_body(&self) -> bool {
        self.name == ID_IN_BODY
    }

    /// The family at a path under `/api`: of the table where it is there, else named by the path itself.
    fn at(path: &str) -> Option<Self> {
        match FAMILIES.iter().find(|(_, known)| *known == path) {
            Some((name, path)) => Some(Self { name: (*name).into(), path: (*path).into() }),
            None => Self::unlisted(path),
        }
    }

    fn unlisted(path: &str) -> Option<Self> {
        let mut segments = path.split('/');
        let version = segments.next()?.strip_prefix('v')?;
        let versioned =
            !version.is_empty() && version.len() <= 3 && version.bytes().all(|b| b.is_ascii_digit());
        let rest: Vec<&str> = segments.collect();
        let plain = |segment: &&str| {
            !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        let good = versioned && !rest.is_empty() && rest.iter().all(plain) && path.len() <= FAMILY_MAX;
        good.then(|| Self { name: path.to_owned().into(), path: path.to_owned().into() })
    }
}

/// An id as the API gave it; opaque, but safe in a path and in a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(String);

impl JobId {
    /// Checks that the text can be an id.
    pub fn new(text: &str) -> Result<Self, JobError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= ID_MAX && text.bytes().all(inner) {
            Ok(Self(text.into()))
        } else {
            Err(JobError::Id(shorten(text)))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One job: where it lives, which family it belongs to, and its id.
///
/// Whatever works on a job keeps one of these, so they share what they say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobRef(Arc<JobName>);

/// What a [`JobRef`] says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobName {
    /// The API that knows the job, and the only host that may see the key.
    pub origin: Origin,
    /// The family, which decides the path of the fetch call.
    pub family: Family,
    /// The id.
    pub id: JobId,
}

impl Hash for JobName {
    /// Of the id alone: the jobs of a run differ in it, and it is what is short of a name.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Deref for JobRef {
    type Target = JobName;

    fn deref(&self) -> &JobName {
        &self.0
    }
}

impl JobRef {
    /// The job of this id.
    #[must_use]
    pub fn new(origin: Origin, family: Family, id: JobId) -> Self {
        Self(Arc::new(JobName { origin, family, id }))
    }

    /// The URL that fetches the job.
    #[must_use]
    pub fn fetch_url(&self) -> String {
        [self.origin.as_str(), &self.fetch_path()].concat()
    }

    /// The path of that URL.
    #[must_use]
    pub fn fetch_path(&self) -> String {
        let (slash, id) = if self.family.id_in_body() { ("", "") } else { ("/", self.id.0.as_ref()) };
        ["/api/", &self.family.path, "/fetch", slash, id].concat()
    }
}

impl fmt::Display for JobRef {
    /// The bare id for the default family, else `family/id`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.family.name != DEFAULT_FAMILY {
            write!(f, "{}/", self.family.name)?;
        }
        f.write_str(&self.id.0)
    }
}

/// What a bare id stands for: the origin that may see the key, and a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The origin of bare ids, and the only one that URLs may name.
    pub origin: Origin,
    /// The family of bare ids.
    pub family: Family,
}

impl Defaults {
    /// Reads a base URL (`https://host`, or with a family's path: `http://127.0.0.1:8080/api/v6/realtime`) and an
    /// optional family name, which wins over the path.
    pub fn new(base_url: &str, family: Option<&str>) -> Result<Self, JobError> {
        let no_address = || JobError::Address(shorten(without_user(base_url.trim())));
        let url = Url::parse(base_url.trim()).map_err(|_| no_address())?;
        let origin = Origin::of(&url).map_err(|_| no_address())?;
        let has = |more| JobError::MoreThanOrigin { more, url: shorten(&without_secrets(&url)) };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(has("a user or a password"));
        }
        if url.query().is_some() {
            return Err(has("a query"));
        }
        let path = url.path().trim_matches('/');
        let path = path.strip_prefix("api/").unwrap_or(path);
        let family = match (family, path) {
            (Some(name), _) => Family::named(name)?,
            (None, "" | "api") => Family::named(DEFAULT_FAMILY)?,
            (None, path) => {
                let path = path.strip_suffix("/fetch").unwrap_or(path);
                Family::at(path).ok_or_else(|| has("a path of no family"))?
            }
        };
        Ok(Self { origin, family })
    }

    /// Reads one reference: an id, `family/id`, a fetch URL, or a saved answer as JSON.
    pub fn parse(&self, text: &str) -> Result<Asked, JobError> {
        let text = text.trim();
        if text.starts_with('{') {
            return self.parse_answer(text);
        }
        if text.contains("://") {
            return Ok(Asked::new(self.parse_url(text)?));
        }
        let (family, id) = match text.rsplit_once('/') {
            Some((family, id)) => {
                let no_id = |error| if is_wordlike(family) { error } else { JobError::Id(shorten(text)) };
                (Family::named(family).map_err(no_id)?, id)
            }
            None => (self.family.clone(), text),
        };
        Ok(Asked::new(JobRef::new(self.origin.clone(), family, JobId::new(id)?)))
    }

    /// Reads a fetch URL; its query and fragment are dropped.
    pub fn parse_url(&self, text: &str) -> Result<JobRef, JobError> {
        self.parse_fetch(text, None)
    }

    /// Reads a fetch URL whose id, for the family that has it in the call's body, stands beside it.
    fn parse_fetch(&self, text: &str, id_beside: Option<&str>) -> Result<JobRef, JobError> {
        let url = Url::parse(text).map_err(|_| JobError::FetchUrl(shorten(text)))?;
        let origin = self.meant(&url, Origin::of(&url)?);
        if origin != self.origin {
            let url = shorten(&without_secrets(&url));
            return Err(JobError::ForeignOrigin {
                url,
                theirs: origin.to_string(),
                ours: self.origin.to_string(),
            });
        }
        let not_a_fetch = || JobError::FetchUrl(shorten(&without_secrets(&url)));
        let path = url.path().strip_prefix("/api/").ok_or_else(not_a_fetch)?.trim_end_matches('/');
        if let Some((family, id)) = path.rsplit_once("/fetch/") {
            let family = Family::at(family).ok_or_else(not_a_fetch)?;
            return Ok(JobRef::new(origin, family, JobId::new(id)?));
        }
        let family = path.strip_suffix("/fetch").and_then(Family::at).filter(Family::id_in_body);
        match (family, id_beside) {
            (Some(family), Some(id)) => Ok(JobRef::new(origin, family, JobId::new(id)?)),
            _ => Err(not_a_fetch()),
        }
    }

    /// The origin that a URL means. A service behind a proxy that ends TLS may write `http://` into its own links: those
    /// are this origin's all the same, and asked for at `https://`. Other ports are other services.
    fn meant(&self, url: &Url, named: Origin) -> Origin {
        let bare = |origin: &'_ Origin, scheme| origin.as_str().strip_prefix(scheme).map(str::to_owned);
        let host = bare(&named, "http://").filter(|_| url.port().is_none());
        if host.is_some() && host == bare(&self.origin, "https://") { self.origin.clone() } else { named }
    }

    /// Reads a saved answer: `fetch_result` decides where there is one (its tail may differ from `id`), else `id`.
    fn parse_answer(&self, text: &str) -> Result<Asked, JobError> {
        let answer: Value =
            serde_json::from_str(text).map_err(|error| JobError::Answer(error.to_string()))?;
        self.parse_value(&answer)
    }

    /// Reads a saved answer that is JSON already.
    pub fn parse_value(&self, answer: &Value) -> Result<Asked, JobError> {
        let word = answer.get("status").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let submitted = matches!(word.as_str(), "processing" | "queued");
        let id = ["id", "request_id"].into_iter().find_map(|name| id_text(answer.get(name)?));
        let url = answer.get("fetch_result").and_then(Value::as_str).map(str::trim);
        let job = match (url.filter(|url| !url.is_empty()), id) {
            (Some(url), id) => self.parse_fetch(url, id.as_deref())?,
            (None, Some(id)) => JobRef::new(self.origin.clone(), self.family.clone(), JobId::new(&id)?),
            (None, None) => return Err(JobError::Answer("it has neither `fetch_result` nor `id`".into())),
        };
        Ok(Asked { submitted, ..Asked::new(job) })
    }
}

/// An id in JSON; a number that JSON cannot hold exactly is none.
fn id_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(id) if !id.is_f64() => id.to_string(),
        Value::String(id) => id.trim().to_owned(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A job as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The job.
    pub job: JobRef,
    /// Whether it came from an answer that called it pending: then it is fresh, and "not found" may mean "not yet".
    pub submitted: bool,
    /// The links that the account's listing has for its outputs, where it came from there: one for each output, or none
    /// where the listing has nothing that can be fetched.
    pub listed: Vec<Option<Url>>,
}

impl Asked {
    /// A job of which nothing more is known.
    #[must_use]
    pub fn new(job: JobRef) -> Self {
        Self { job, submitted: false, listed: Vec::new() }
    }
}

/// A URL without what may be secret in it: user, password, query and fragment.
#[must_use]
pub fn without_secrets(url: &Url) -> String {
    let mut bare = url.clone();
    // These setters fail only for URLs that cannot hold the part, which is then absent anyway.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    bare.set_fragment(None);
    bare.into()
}

/// Whether a text that is no family's name was perhaps meant to be one, and not a path.
fn is_wordlike(family: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    family.split('/').all(|word| !word.is_empty() && word.bytes().all(inner))
}

/// What stands behind a user and a password, in a text that is no URL.
fn without_user(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

fn shorten(text: &str) -> String {
    /// Enough to recognise a line by.
    const SHOWN: usize = 100;
    if text.chars().count() <= SHOWN {
        return text.into();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> Defaults {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap()
    }

    #[test]
    fn an_id_takes_the_family_and_origin_that_were_chosen() {
        let asked = defaults().parse(" 147 ").unwrap();
        assert_eq!(asked.job.fetch_url(), "https://modelslab.com/api/v1/enterprise/video/fetch/147");
        assert_eq!(asked.job.to_string(), "147");
        assert!(!asked.submitted);
        let realtime = Defaults::new("http://127.0.0.1:8080/api/v6/realtime", None).unwrap();
        let job = realtime.parse("98").unwrap().job;
        assert_eq!(job.fetch_url(), "http://127.0.0.1:8080/api/v6/realtime/fetch/98");
        assert_eq!(job.to_string(), "realtime/98");
        assert_eq!(defaults().parse("realtime/98").unwrap().job.family, job.family);
    }

    #[test]
    fn every_family_of_the_table_is_found_again_by_its_url() {
        for name in Family::names() {
            let named = Defaults::new(DEFAULT_ORIGIN, Some(name)).unwrap();
            let job = named.parse("x1").unwrap().job;
            if name == ID_IN_BODY {
                assert_eq!(job.fetch_url(), "https://modelslab.com/api/v1/enterprise/fetch");
                continue;
            }
            assert_eq!(defaults().parse(&job.fetch_url()).unwrap().job, job, "{name}");
        }
    }

    #[test]
    fn the_table_lists_each_family_once() {
        let names: std::collections::BTreeSet<_> = Family::names().collect();
        let paths: std::collections::BTreeSet<_> = FAMILIES.iter().map(|(_, path)| path).collect();
        assert_eq!((names.len(), paths.len()), (FAMILIES.len(), FAMILIES.len()));
        assert!(
            names.contains(DEFAULT_FAMILY) && names.contains(ID_IN_BODY) && names.contains("v7/video-fusion")
        );
    }

    #[test]
    fn only_a_versioned_path_of_plain_segments_names_an_unlisted_family() {
        let longest = format!("v8/{}", "m".repeat(57));
        for good in ["v8/morph", "v123/a", "v1/a/b-c/d_e9", &longest] {
            assert_eq!(Family::named(good).map(|family| family.name), Ok(good.into()));
        }
        let too_long = format!("{longest}m");
        for bad in [
            "", "v8", "v8/", "/v8/a", "v/a", "v1234/a", "vx/a", "v8x/a", "8/a", "V8/a", "v8//a", "v8/a/",
            "v8/A", "v8/a.b", "v8/é", "v8/a b", "v8/..", &too_long,
        ] {
            assert_eq!(Family::named(bad), Err(JobError::Family(bad.into())), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let table = [
            ("https://ModelsLab.com/x?y", "https://modelslab.com"),
            ("https://u:p@x.test:443/", "https://x.test"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:80/a", "http://[::1]"),
        ];
        for (url, want) in table {
            let origin = Origin::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!((origin.as_str(), origin.to_string().as_str()), (want, want));
        }
        for bad in ["file:///a", "ftp://x.test", "data:,x", "mailto:a@b"] {
            assert!(matches!(Origin::of(&Url::parse(bad).unwrap()), Err(JobError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn a_family_that_is_not_in_the_table_is_named_by_its_path() {
        let job = defaults().parse("https://modelslab.com/api/v8/morph/fetch/7?x=1").unwrap().job;
        assert_eq!(job.id.as_str(), "7");
        assert_eq!((job.family.name(), job.to_string().as_str()), ("v8/morph", "v8/morph/7"));
        assert_eq!(job.fetch_url(), "https://modelslab.com/api/v8/morph/fetch/7");
        assert_eq!(defaults().parse("v8/morph/7").unwrap().job, job);
        let family_path =
            Defaults::new("https://modelslab.com/api/v1/enterprise/video/fetch/", None).unwrap();
        assert_eq!(family_path.family.name(), DEFAULT_FAMILY);
    }

    #[test]
    fn what_is_no_job_says_why() {
        let table = [
            ("", "not a job id"),
            ("-1", "not a job id"),
            ("../x", "not a job id"),
            ("a b", "not a job id"),
            ("..", "not a job id"),
            ("é", "not a job id"),
            ("a\0", "not a job id"),
            ("nowhere/7", "\"nowhere\" is not a known family; give the job's full fetch URL instead"),
            ("Enterprise/video/7", "\"Enterprise/video\" is not a known family"),
            ("./out/7", "not a job id"),
            ("/7", "not a job id"),
            ("realtime/../7", "not a job id"),
            ("realtime/", "not a job id"),
            ("https://evil.test/api/v6/video/fetch/1", "the key is only for https://modelslab.com"),
            ("http://modelslab.com:443/api/v6/video/fetch/1", "the key is only for https://modelslab.com"),
            ("http://modelslab.com:8080/api/v6/video/fetch/1", "the key is only for https://modelslab.com"),
            ("http://evil.test/api/v6/video/fetch/1", "the key is only for https://modelslab.com"),
            ("https://modelslab.com:444/api/v6/video/fetch/1", "the key is only for"),
            ("https://modelslab.com/api/v6/video/status/1", "not a fetch URL"),
            ("https://modelslab.com/api/../x/fetch/1", "not a fetch URL"),
            ("https://modelslab.com/api/v6/Video/fetch/1", "not a fetch URL"),
            ("https://modelslab.com/api/v6/video/fetch/a%2fb", "not a job id"),
            ("file:///etc/fetch/1", "not an address"),
            ("{\"status\":", "names no job"),
            ("{\"status\":\"success\"}", "neither"),
            ("{\"id\":\"../x\"}", "not a job id"),
        ];
        for (text, want) in table {
            let error = defaults().parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        }
        assert!(defaults().parse(&"9".repeat(ID_MAX)).is_ok());
        assert!(defaults().parse(&"9".repeat(ID_MAX + 1)).is_err());
    }

    #[test]
    fn a_link_of_the_apis_own_without_tls_is_asked_for_with_it() {
        let job = defaults().parse("https://modelslab.com/api/v6/video/fetch/6").unwrap();
        for url in
            ["http://modelslab.com/api/v6/video/fetch/6", "http://ModelsLab.com:80/api/v6/video/fetch/6"]
        {
            assert_eq!(defaults().parse(url).unwrap(), job);
            let answer = format!(r#"{{"status":"success","id":6,"fetch_result":"{url}"}}"#);
            assert_eq!(defaults().parse(&answer).unwrap(), job);
        }
        let plain = Defaults::new("http://127.0.0.1", None).unwrap();
        assert!(
            plain.parse("https://127.0.0.1/api/v6/video/fetch/6").is_err(),
            "nobody said that it has TLS"
        );
        let same_port = Defaults::new("https://127.0.0.1:8443", None).unwrap();
        assert!(same_port.parse("http://127.0.0.1:8443/api/v6/video/fetch/6").is_err());
    }

    #[test]
    fn a_saved_answer_is_followed_by_its_fetch_url_first() {
        let text =
            r#"{"status":"processing","id":5,"fetch_result":"https://modelslab.com/api/v6/video/fetch/6"}"#;
        let asked = defaults().parse(text).unwrap();
        assert_eq!((asked.job.to_string().as_str(), asked.submitted), ("video/6", true));
        let asked =
            defaults().parse(r#"{"status":"success","id":"9","output":["https://x.test/a.gif"]}"#).unwrap();
        assert_eq!((asked.job.to_string().as_str(), asked.submitted), ("9", false));
    }

    #[test]
    fn a_family_has_one_name_however_it_is_given() {
        for (name, path) in FAMILIES {
            assert_eq!(Family::named(path).unwrap(), Family::named(name).unwrap(), "{path}");
        }
        assert_eq!(defaults().parse("v6/video/7").unwrap().job.to_string(), "video/7");
    }

    #[test]
    fn the_family_with_the_id_in_its_body_takes_it_from_beside_the_url() {
        let text = r#"{"status":"processing","id":5,"fetch_result":"https://modelslab.com/api/v1/enterprise/fetch"}"#;
        let asked = defaults().parse(text).unwrap();
        assert_eq!((asked.job.to_string().as_str(), asked.submitted), ("enterprise/text-to-image/5", true));
        assert_eq!(asked.job.fetch_url(), "https://modelslab.com/api/v1/enterprise/fetch");
        assert!(asked.job.family.id_in_body());
        assert_eq!(defaults().parse(&asked.job.to_string()).unwrap().job, asked.job);
        let foreign = text.replace("modelslab.com", "evil.test");
        assert!(matches!(defaults().parse(&foreign), Err(JobError::ForeignOrigin { .. })));
        let other = text.replace("v1/enterprise/fetch", "v6/video/fetch");
        assert!(matches!(defaults().parse(&other), Err(JobError::FetchUrl(_))));
        let without = text.replace("\"id\":5,", "");
        assert!(matches!(defaults().parse(&without), Err(JobError::FetchUrl(_))));
    }

    #[test]
    fn a_saved_answers_id_is_taken_as_it_stands_or_not_at_all() {
        let table = [
            (r#"{"id":147}"#, Some("147")),
            (r#"{"id":" 147 "}"#, Some("147")),
            (r#"{"id":null,"request_id":"7b"}"#, Some("7b")),
            (r#"{"id":"","request_id":9}"#, Some("9")),
            (r#"{"id":9,"request_id":8}"#, Some("9")),
            (r#"{"id":9,"fetch_result":" "}"#, Some("9")),
            (r#"{"id":9,"fetch_result":null}"#, Some("9")),
            (r#"{"id":1000000000000000000000000000000}"#, None),
            (r#"{"id":1.5}"#, None),
            (r#"{"id":[1]}"#, None),
            (r#"{"id":-5}"#, None),
            (r#"{"id":""}"#, None),
        ];
        for (text, want) in table {
            let id = defaults().parse(text).ok().map(|asked| asked.job.id.0.clone());
            assert_eq!(id.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn base_urls_are_hosts_not_secrets() {
        let table = [
            ("modelslab.com", "\"modelslab.com\" is not an address of the form"),
            ("ftp://x.test", "\"ftp://x.test\" is not an address of the form"),
            ("u:hidden@x.test", "\"x.test\" is not an address of the form"),
            ("https://u:hidden@x.test:99999", "\"x.test:99999\" is not an address of the form"),
            ("https://u:hidden@x.test", "a user or a password is not taken in the API's address"),
            ("https://hidden@x.test", "a user or a password is not taken in the API's address"),
            ("https://x.test/?k=hidden", "a query is not taken in the API's address"),
            ("https://x.test/a/b#hidden", "a path of no family is not taken in the API's address"),
        ];
        for (bad, want) in table {
            let error = Defaults::new(bad, None).expect_err(bad).to_string();
            assert!(error.contains(want) && !error.contains("hidden"), "{bad}: {error}");
        }
        assert!(matches!(Defaults::new(DEFAULT_ORIGIN, Some("vidoe")), Err(JobError::Family(_))));
        let url = Url::parse("https://u:p@x.test/a?sig=1#f").unwrap();
        assert_eq!(without_secrets(&url), "https://x.test/a");
    }

    /// What every job that is read must keep to, whatever it was read from.
    fn assert_sound(job: &JobRef) {
        let url = Url::parse(&job.fetch_url()).unwrap();
        assert_eq!(Origin::of(&url).unwrap(), defaults().origin, "the key goes elsewhere");
        assert!(url.path().starts_with("/api/v") && url.query().is_none(), "{url}");
        assert_eq!(url.as_str(), job.fetch_url(), "a URL parser reads another path");
        assert_eq!(&defaults().parse(&job.to_string()).unwrap().job, job);
        if !job.family.id_in_body() {
            assert_eq!(&defaults().parse_url(&job.fetch_url()).unwrap(), job);
        }
    }

    proptest! {
        #[test]
        fn any_text_names_a_sound_job_or_none(text in ".{0,60}") {
            if let Ok(asked) = defaults().parse(&text) {
                assert_sound(&asked.job);
            }
        }

        #[test]
        fn what_looks_like_a_reference_names_a_sound_job_or_none(
            before in "(https://modelslab\\.com/api/)?(v[0-9]{1,3}/|enterprise/)?[a-z0-9_/-]{0,12}(/fetch)?/?",
            id in "[A-Za-z0-9._%-]{0,12}/?(\\?[a-z]=[0-9])?",
        ) {
            if let Ok(asked) = defaults().parse(&format!("{before}{id}")) {
                assert_sound(&asked.job);
            }
        }
    }
}
