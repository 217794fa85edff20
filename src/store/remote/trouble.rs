//! What an object store's refusal means, told from its error alone.
//!
//! The texts of such errors hold whole URLs and XML documents, and some of those repeat a key's id or a signature. What
//! is shown is therefore picked out, never passed on: the status, the code and the message, or the innermost cause.

use std::error::Error;
use std::fmt;

use object_store::Error as Refusal;

use super::address::Vendor;

/// A message of a server is cut to this many characters.
const SHOWN: usize = 200;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such bucket.
    NoBucket,
    /// The credentials do not allow it.
    Denied,
    /// There are no credentials.
    NoCredentials,
    /// The store does not do what an archive rests on.
    Unfit,
    /// It cannot be reached, is overloaded, or answers what cannot be understood: this may pass.
    Unreachable,
    /// It refuses this one request.
    Refused,
}

impl Kind {
    /// Whether it is the bucket's, so that every other object would meet the same; what one object met says nothing of
    /// the others.
    #[must_use]
    pub fn is_of_the_bucket(self) -> bool {
        match self {
            Self::NoBucket | Self::Denied | Self::NoCredentials | Self::Unfit | Self::Unreachable => true,
            Self::Refused => false,
        }
    }
}

/// Why an object store did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble it is.
    pub kind: Kind,
    why: String,
    /// Whether the request was made again already, as often as the client's patience goes.
    spent: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way_out = match self.kind {
            Kind::NoBucket => "; create the bucket first, or correct its name",
            Kind::Denied => {
                "; check the credentials, and that they allow to read, write, list and delete below this prefix"
            }
            Kind::Unfit => "; use another object store, or a folder",
            Kind::Unreachable => "; run the same command again later: what is archived stays",
            // What is to be set stands there already, and the store itself refused nothing.
            Kind::NoCredentials | Kind::Refused => "",
        };
        write!(f, "{}{way_out}", self.why)
    }
}

impl Trouble {
    pub(in crate::store) fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), spent: false }
    }

    /// What this refusal means.
    ///
    /// | the error | status | code | kind |
    /// | --- | --- | --- | --- |
    /// | it is of a machine that was asked for credentials | 408, 429, 500 and more | | unreachable |
    /// | it is of a machine that was asked for credentials | any other, or none | | no credentials |
    /// | any | | `NoSuchBucket`, `ContainerNotFound` | no bucket |
    /// | any | | the object lies in a class of storage from which nothing is read at once | refused |
    /// | it is of a token that was asked for with credentials | 400 | | denied |
    /// | not permitted, not authenticated | | | denied |
    /// | any other | 401, 403 | | denied |
    /// | not supported | | | unfit |
    /// | any other | 501 | | unfit |
    /// | any other | 408, 429, 500 and more | | unreachable |
    /// | | 400 | the body did not arrive whole | unreachable |
    /// | | 400 | the token is not valid, or no longer | denied |
    /// | | another one from 300 | | refused |
    /// | | none, or of success | | unreachable |
    pub(super) fn of(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        let (status, code) = (status(&text), between(&text, "<Code>", "</Code>"));
        let asked = Vendor::asked_for_credentials(&text);
        let kind = match (refusal, status) {
            (_, Some(408 | 429 | 500..)) if asked.is_some() => Kind::Unreachable,
            _ if asked.is_some() => Kind::NoCredentials,
            _ if is_no_bucket(&text) => Kind::NoBucket,
            _ if code.is_some_and(|code| COLD.contains(&code)) => Kind::Refused,
            (_, Some(400)) if text.contains(TOKEN) => Kind::Denied,
            (Refusal::PermissionDenied { .. } | Refusal::Unauthenticated { .. }, _)
            | (_, Some(401 | 403)) => Kind::Denied,
            (Refusal::NotSupported { .. } | Refusal::NotImplemented { .. }, _) | (_, Some(501)) => {
                Kind::Unfit
            }
            (_, Some(408 | 429 | 500..)) => Kind::Unreachable,
            (_, Some(400)) if code.is_some_and(|code| BROKEN_BODY.contains(&code)) => Kind::Unreachable,
            (_, Some(400)) if code.is_some_and(|code| BAD_TOKEN.contains(&code)) => Kind::Denied,
            (_, Some(300..)) => Kind::Refused,
            (Refusal::Generic { .. } | Refusal::JoinError { .. }, _) => Kind::Unreachable,
            _ => Kind::Refused,
        };
        let spent = text.contains(RETRIED);
        let why = match asked.filter(|_| kind == Kind::NoCredentials) {
            // Of a request the reader knows nothing; what a tool says helps.
            Some(vendor) if !text.contains("://") => {
                format!("{}; {}", plain(&innermost(refusal)), vendor.way_in())
            }
            Some(vendor) => {
                format!("there are no credentials, and this machine has none; {}", vendor.way_in())
            }
            None => why(refusal, &text, status, code),
        };
        Self { kind, why, spent }
    }

    /// Whether nobody knows what the request has done: it may have been carried out all the same.
    pub(super) fn is_unclear(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// Whether the same request is worth another try at once.
    pub(super) fn is_worth_a_try(&self) -> bool {
        self.is_unclear() && !self.is_spent()
    }

    /// Whether the client has made the request more than once.
    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }
}

/// Codes of a request whose body did not arrive as it was sent.
const BROKEN_BODY: &[&str] = &[
    "RequestTimeout",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
];
/// Codes of an object that must be brought back from an archive class of the store before it can be read.
const COLD: &[&str] = &["InvalidObjectState", "BlobArchived"];
/// Codes of a session that is over.
const BAD_TOKEN: &[&str] = &["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];
/// How the client says that it had asked for a token.
const TOKEN: &str = "Error performing token request";
/// How the client says that it has tried more than once.
const RETRIED: &str = " retries, max_retries: ";

fn is_no_bucket(text: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|word| text.contains(word))
}

fn why(refusal: &Refusal, text: &str, status: Option<u16>, code: Option<&str>) -> String {
    let message = between(text, "<Message>", "</Message>");
    let said = match (code, message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    };
    let shown = match (status, said) {
        (Some(status), Some(said)) => format!("the store answers {status}, {said}"),
        (Some(status), None) => format!("the store answers {status}"),
        (None, Some(said)) => format!("the store answers {said}"),
        (None, None) => innermost(refusal),
    };
    plain(&shown)
}

/// The innermost cause, which says most and names no URL.
pub(super) fn innermost(error: &Refusal) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let innermost = innermost.to_string();
    // What has no source may still hold a request's URL with its query.
    let words: Vec<_> = innermost.split_whitespace().map(without_query).collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

fn without_query(word: &str) -> &str {
    if word.contains("://") { word.split(['?', '#']).next().unwrap_or_default() } else { word }
}

fn status(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (found, _) = text.split_once(from)?.1.split_once(to)?;
    Some(found)
}

fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Refusal {
        Refusal::Generic { store: "S3", source: text.to_owned().into() }
    }

    fn answered(status: &str, code: &str) -> String {
        format!(
            "Error performing PUT http://h/b/147/147-0.gif?X-Amz-Signature=secret in 1s - Server returned non-2xx \
             status code: {status}: <Error><Code>{code}</Code><Message>said\u{1b}[1m</Message>\
             <AWSAccessKeyId>AKIASECRET</AWSAccessKeyId></Error>"
        )
    }

    #[test]
    fn a_refusal_is_told_by_its_kind_its_status_and_its_code() {
        let path = || "147/147-0.gif".to_owned();
        let table = [
            (
                Refusal::NotFound { path: path(), source: answered("404", "NoSuchBucket").into() },
                Kind::NoBucket,
            ),
            (Refusal::NotFound { path: path(), source: answered("404", "NoSuchKey").into() }, Kind::Refused),
            (
                Refusal::PermissionDenied { path: path(), source: answered("403", "AccessDenied").into() },
                Kind::Denied,
            ),
            (Refusal::Unauthenticated { path: path(), source: "401".into() }, Kind::Denied),
            (Refusal::NotSupported { source: "no".into() }, Kind::Unfit),
            (Refusal::NotImplemented { operation: "put".into(), implementer: "x".into() }, Kind::Unfit),
            (generic(&answered("404", "NoSuchBucket")), Kind::NoBucket),
            (generic(&answered("403", "AccessDenied")), Kind::Denied),
            (generic(&answered("503", "SlowDown")), Kind::Unreachable),
            (generic(&answered("501", "NotImplemented")), Kind::Unfit),
            (generic(&answered("429", "TooMany")), Kind::Unreachable),
            (generic(&answered("408", "")), Kind::Unreachable),
            (generic(&answered("400", "RequestTimeout")), Kind::Unreachable),
            (generic(&answered("400", "BadDigest")), Kind::Unreachable),
            (generic(&answered("400", "ExpiredToken")), Kind::Denied),
            (generic(&answered("400", "InvalidArgument")), Kind::Refused),
            (generic(&answered("301", "PermanentRedirect")), Kind::Refused),
            (
                Refusal::PermissionDenied {
                    path: path(),
                    source: answered("403", "InvalidObjectState").into(),
                },
                Kind::Refused,
            ),
            (
                generic("Server returned error response: <Error><Code>InternalError</Code></Error>"),
                Kind::Unreachable,
            ),
            (generic("connection refused"), Kind::Unreachable),
            (
                generic("Error performing token request: Error performing POST https://oauth2.test/token in 1s - Server \
                         returned non-2xx status code: 400 Bad Request: {\"error\":\"invalid_grant\"}"),
                Kind::Denied,
            ),
            (generic("'az account get-access-token' command failed: Please run 'az login'"), Kind::NoCredentials),
            (
                generic("Error performing PUT http://169.254.169.254/latest/api/token in 11s"),
                Kind::NoCredentials,
            ),
            (
                Refusal::PermissionDenied {
                    path: path(),
                    source: "Error performing GET http://metadata.google.internal/computeMetadata/v1/x in 1s - Server \
                             returned non-2xx status code: 403 Forbidden: "
                        .into(),
                },
                Kind::NoCredentials,
            ),
            (
                generic("Error performing GET http://169.254.169.254/metadata/identity/oauth2/token in 1s - Server \
                         returned non-2xx status code: 503 Service Unavailable: "),
                Kind::Unreachable,
            ),
        ];
        for (refusal, want) in table {
            let trouble = Trouble::of(&refusal);
            assert_eq!(trouble.kind, want, "{refusal}");
            assert_eq!(trouble.is_unclear(), want == Kind::Unreachable);
            let shown = trouble.to_string();
            assert!(!shown.contains("secret") && !shown.contains("AKIASECRET"), "{shown}");
            assert!(shown.chars().all(|letter| !letter.is_control()), "{shown}");
        }
    }

    #[test]
    fn only_what_was_not_tried_again_already_is_tried_again() {
        let lost =
            "Error performing PUT http://h/b in 1s - HTTP error: connection closed before message completed";
        let spent = "Error performing PUT http://h/b in 9s, after 3 retries, max_retries: 3, retry_timeout: 60s  - HTTP error";
        assert!(Trouble::of(&generic(lost)).is_worth_a_try() && Trouble::of(&generic(spent)).is_unclear());
        assert!(!Trouble::of(&generic(spent)).is_worth_a_try());
        assert!(!Trouble::of(&generic(&answered("400", "InvalidArgument"))).is_worth_a_try());
    }

    #[test]
    fn what_is_shown_is_the_servers_own_code_and_message() {
        let shown = Trouble::of(&generic(&answered("503", "SlowDown"))).to_string();
        assert!(shown.starts_with("the store answers 503, SlowDown: said [1m; "), "{shown}");
        let shown = Trouble::of(&generic("no route to https://h/b?sig=secret")).to_string();
        assert!(shown.starts_with("no route to https://h/b; "), "{shown}");
    }
}
