//! The media hosts of the look-alike: files with ranges and validators, as object stores serve them, and the faults
//! that the scenarios ask for.

use std::convert::Infallible;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use super::sample::Sample;
use super::scenario::{Manner, Output, Scenario};
use super::{Place, World};

/// Where finished files lie.
const FOLDER: &str = "/generations/";
/// Where the links lead that the API calls future ones.
const FUTURE_FOLDER: &str = "/future/";
/// The tail of a link that holds no more.
pub(super) const EXPIRED_SIGNATURE: &str = "Expires=1700000000&Signature=Zmlyc3Q";
/// The tail of a link that holds.
pub(super) const FRESH_SIGNATURE: &str = "Expires=4102444800&Signature=c2Vjb25k";
/// All files are as old.
const MODIFIED: &str = "Fri, 17 Apr 2026 09:30:00 GMT";
/// A file that is not sent as fast as it goes is sent in so many pieces a second.
const PIECES_PER_SECOND: u64 = 25;
/// A file that is sent as fast as it goes is sent in pieces of this size.
const PIECE: usize = 64 * 1024;
/// A connection is cut so long after its last bytes, which are on their way then.
const CUT_AFTER: Duration = Duration::from_millis(50);

/// One media host.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) world: Arc<World>,
    pub(super) place: Place,
}

/// The path of a file.
pub(super) fn path(id: &str, index: usize, output: &Output) -> String {
    format!("{FOLDER}{id}-{index}.{}", output.sample.extension())
}

/// The path that a file may have one day.
pub(super) fn future_path(id: &str, index: usize, output: &Output) -> String {
    format!("{FUTURE_FOLDER}{id}-{index}.{}", output.sample.extension())
}

/// An error page of a web server.
pub(super) fn page(status: StatusCode, title: &str) -> Response {
    let text = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n<body><h1>{title}</h1></body></html>\n"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Answers one request.
pub(super) async fn answer(State(host): State<Host>, request: Request) -> Result<Response, Infallible> {
    host.note(&request);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(page(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"));
    }
    let path = request.uri().path();
    let Some((scenario, output)) = host.file(path) else {
        return Ok(page(StatusCode::NOT_FOUND, "404 Not Found"));
    };
    let manner = match host.place {
        Place::Output => output.source,
        Place::Proxy => output.proxy.unwrap_or(Manner::DeadHost),
        Place::Dead => Manner::DeadHost,
    };
    let before = host.world.count_request(host.place, path, request.method() == Method::GET);
    let query = request.uri().query().unwrap_or_default();
    Ok(match deed(manner, before, host.world.done_for(scenario), query) {
        Deed::Serve => host.serve(output.sample, &request, None),
        Deed::Cut { percent } => {
            host.serve(output.sample, &request, Some(output.sample.bytes.len() * percent / 100))
        }
        Deed::Page(status, title) => {
            page(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND), title)
        }
        Deed::Throttle { retry_after_s } => {
            let mut response = page(StatusCode::TOO_MANY_REQUESTS, "429 Too Many Requests");
            response.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
            response
        }
    })
}

/// What a host does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Serve,
    Cut { percent: usize },
    Page(u16, &'static str),
    Throttle { retry_after_s: u32 },
}

/// What a host of this manner does, after so many requests for the same file, so long after its job's success.
///
/// | manner | before | the job | the link | deed |
/// | --- | --- | --- | --- | --- |
/// | serves | | | | serve |
/// | dead | | | | 404, from whoever has its port |
/// | refuses | | | | its status |
/// | soft | | | | 200 and a page |
/// | cuts | fewer than its times | | | cut |
/// | unavailable | fewer than its times | | | 503 |
/// | throttles | fewer than its times | | | 429 |
/// | these three | as many | | | serve |
/// | appears | | done long enough | | serve |
/// | appears | | else | | 404 |
/// | expires | | | fresh | serve |
/// | expires | | | else | 403 |
fn deed(manner: Manner, before: u32, done_for: Option<Duration>, query: &str) -> Deed {
    const NOT_FOUND: Deed = Deed::Page(404, "404 Not Found");
    match manner {
        Manner::DeadHost => NOT_FOUND,
        Manner::Refuses(status) => Deed::Page(status, "No such file"),
        Manner::SoftNotFound => Deed::Page(200, "Sorry, this file could not be found"),
        Manner::Cuts { percent, times } if before < times => Deed::Cut { percent },
        Manner::Unavailable { times } if before < times => {
            Deed::Page(503, "503 Service Temporarily Unavailable")
        }
        Manner::Throttles { retry_after_s, times } if before < times => Deed::Throttle { retry_after_s },
        Manner::Serves | Manner::Cuts { .. } | Manner::Unavailable { .. } | Manner::Throttles { .. } => {
            Deed::Serve
        }
        Manner::Appears { after } => {
            if done_for.is_some_and(|done_for| done_for >= after) {
                Deed::Serve
            } else {
                NOT_FOUND
            }
        }
        Manner::Expires => {
            if query == FRESH_SIGNATURE {
                Deed::Serve
            } else {
                Deed::Page(403, "Request has expired")
            }
        }
    }
}

impl Host {
    fn note(&self, request: &Request) {
        let mut state = self.world.state();
        state.seen.media_requests += 1;
        state.seen.future_links += u64::from(request.uri().path().starts_with(FUTURE_FOLDER));
        let uri = request.uri().to_string();
        let holds = |key: &String| {
            let in_header = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(key));
            uri.contains(key) || request.headers().values().any(in_header)
        };
        state.seen.leaked_keys += u64::from(state.keys.iter().any(holds));
    }

    /// The file at a path: `/generations/<id>-<index>.<extension>`.
    fn file(&self, path: &str) -> Option<(&'static Scenario, &'static Output)> {
        let (name, extension) = path.strip_prefix(FOLDER)?.rsplit_once('.')?;
        let (id, index) = name.rsplit_once('-')?;
        let scenario = self.world.find(id)?;
        let output = scenario.story.outputs.get(index.parse::<usize>().ok()?)?;
        (output.sample.extension() == extension).then_some((scenario, output))
    }

    /// Serves a file, or the part of it that is asked for; `most` bytes of it where the connection is to be cut.
    fn serve(&self, sample: &'static Sample, request: &Request, most: Option<usize>) -> Response {
        let headers = request.headers();
        let total = sample.bytes.len();
        let wanted = wanted(headers, sample.etag(), total);
        let (status, range) = match &wanted {
            Wanted::Whole => (StatusCode::OK, 0..total),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
            Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0..0),
            Wanted::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        };
        let length = range.len();
        let body = if request.method() == Method::HEAD || length == 0 {
            Body::empty()
        } else {
            let pace = self.world.settings.bytes_per_second;
            let bytes = Bytes::from_static(sample.bytes).slice(range);
            Body::from_stream(pieces(bytes, pace, most))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let mut set = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                response.headers_mut().insert(name, value);
            }
        };
        set(ETAG, sample.etag());
        set(LAST_MODIFIED, MODIFIED);
        set(ACCEPT_RANGES, "bytes");
        match wanted {
            Wanted::Whole => {}
            Wanted::Part(range) => {
                set(CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
                self.world.state().seen.continued += 1;
            }
            Wanted::Nothing => return response,
            Wanted::Beyond => set(CONTENT_RANGE, &format!("bytes */{total}")),
        }
        set(CONTENT_TYPE, sample.content_type);
        set(CONTENT_LENGTH, &length.to_string());
        response
    }
}

/// The bytes in pieces, at a pace, with an error after `most` of them.
fn pieces(
    mut bytes: Bytes,
    bytes_per_second: Option<u64>,
    most: Option<usize>,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let piece = match bytes_per_second {
        Some(pace) => usize::try_from(pace / PIECES_PER_SECOND).unwrap_or(PIECE).clamp(1, PIECE),
        None => PIECE,
    };
    let pause = bytes_per_second.map(|pace| Duration::from_secs_f64(piece as f64 / pace.max(1) as f64));
    bytes.truncate(most.unwrap_or(bytes.len()));
    futures::stream::try_unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            if most.is_none() {
                return Ok(None);
            }
            tokio::time::sleep(CUT_AFTER).await;
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let now = left.split_to(piece.min(left.len()));
        Ok(Some((now, left)))
    })
}

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<usize>),
    /// Nothing: the client has it already.
    Nothing,
    /// Bytes that it does not have.
    Beyond,
}

/// What a request wants of a file with this validator and length.
///
/// | `If-None-Match` | `If-Range` | `Range` | wanted |
/// | --- | --- | --- | --- |
/// | names the validator, or `*` | | | nothing |
/// | | | none | the whole |
/// | | another validator | any | the whole |
/// | | none, the validator, or the date | several ranges, another unit, or garbage | the whole |
/// | | none, the validator, or the date | begins beyond the end | beyond |
/// | | none, the validator, or the date | one within | that part |
fn wanted(headers: &HeaderMap, etag: &str, total: usize) -> Wanted {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let same = |listed: &str| {
        listed.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
    };
    if header(IF_NONE_MATCH).is_some_and(same) {
        return Wanted::Nothing;
    }
    let unchanged = header(IF_RANGE).is_none_or(|validator| validator == etag || validator == MODIFIED);
    match header(RANGE).filter(|_| unchanged) {
        Some(range) => part(range, total).unwrap_or(Wanted::Whole),
        None => Wanted::Whole,
    }
}

/// The bytes that a `Range` header names; `None` where it is not one range of bytes.
fn part(range: &str, total: usize) -> Option<Wanted> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<usize>().unwrap_or(usize::MAX))
    };
    let (start, end) = match (first, last) {
        ("", last) => (total.saturating_sub(number(last)?), total),
        (first, "") => (number(first)?, total),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(total))
        }
    };
    Some(if start < end { Wanted::Part(start..end) } else { Wanted::Beyond })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_host_keeps_to_its_manner() {
        let page = |status| Deed::Page(status, "");
        let seconds = Duration::from_secs;
        let cuts = Manner::Cuts { percent: 40, times: 2 };
        let throttles = Manner::Throttles { retry_after_s: 1, times: 1 };
        let appears = Manner::Appears { after: seconds(4) };
        let table = [
            (Manner::Serves, 0, None, "", Deed::Serve),
            (Manner::DeadHost, 0, None, "", page(404)),
            (Manner::Refuses(410), 9, None, "", page(410)),
            (Manner::SoftNotFound, 9, None, "", page(200)),
            (cuts, 1, None, "", Deed::Cut { percent: 40 }),
            (cuts, 2, None, "", Deed::Serve),
            (Manner::Unavailable { times: 1 }, 0, None, "", page(503)),
            (Manner::Unavailable { times: 1 }, 1, None, "", Deed::Serve),
            (throttles, 0, None, "", Deed::Throttle { retry_after_s: 1 }),
            (throttles, 1, None, "", Deed::Serve),
            (appears, 0, Some(seconds(4)), "", Deed::Serve),
            (appears, 9, Some(seconds(3)), "", page(404)),
            (appears, 0, None, "", page(404)),
            (Manner::Expires, 0, None, FRESH_SIGNATURE, Deed::Serve),
            (Manner::Expires, 0, None, EXPIRED_SIGNATURE, page(403)),
            (Manner::Expires, 0, None, "", page(403)),
        ];
        for (manner, before, done_for, query, want) in table {
            let got = match deed(manner, before, done_for, query) {
                Deed::Page(status, _) => page(status),
                other => other,
            };
            assert_eq!(got, want, "{manner:?} after {before}, {done_for:?}, {query:?}");
        }
    }

    #[test]
    fn a_range_is_served_where_the_content_is_the_same() {
        let ranges = [
            (None, Wanted::Whole),
            (Some("bytes=4-"), Wanted::Part(4..10)),
            (Some("bytes=0-0"), Wanted::Part(0..1)),
            (Some("bytes=2-99"), Wanted::Part(2..10)),
            (Some("bytes=-3"), Wanted::Part(7..10)),
            (Some("bytes=-99"), Wanted::Part(0..10)),
            (Some("bytes=10-"), Wanted::Beyond),
            (Some("bytes=-0"), Wanted::Beyond),
            (Some("bytes=99999999999999999999-"), Wanted::Beyond),
            (Some("bytes=5-4"), Wanted::Whole),
            (Some("bytes=1-2,4-5"), Wanted::Whole),
            (Some("lines=1-2"), Wanted::Whole),
            (Some("bytes=-"), Wanted::Whole),
            (Some("bytes=+1-"), Wanted::Whole),
        ];
        let asked = |none_match: Option<&str>, if_range: Option<&str>, range: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(IF_NONE_MATCH, none_match), (IF_RANGE, if_range), (RANGE, range)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            wanted(&headers, "\"e\"", 10)
        };
        for (range, want) in ranges {
            for same in [None, Some("\"e\""), Some(MODIFIED)] {
                assert_eq!(asked(None, same, range), want, "{same:?} {range:?}");
            }
            for other in ["\"f\"", "W/\"e\"", "Fri, 17 Apr 2026 09:30:01 GMT"] {
                assert_eq!(asked(None, Some(other), range), Wanted::Whole, "{other} {range:?}");
            }
            for known in ["\"e\"", "\"x\", W/\"e\"", "*"] {
                assert_eq!(asked(Some(known), None, range), Wanted::Nothing, "{known} {range:?}");
            }
            assert_eq!(asked(Some("\"other\""), None, range), want, "{range:?}");
        }
    }
}
