//! What a request makes of an answer: the status, the part of the body, the headers.

use super::answer::{Answer, Framing, Ranges};
use super::content::Content;
use super::server::Seen;

/// An answer with what the request made of it: which status, which part of the body, which headers on top.
pub(super) struct Prepared {
    status: u16,
    body: Content,
    from: u64,
    headers: Vec<(&'static str, String)>,
}

impl Prepared {
    pub(super) fn new(answer: &Answer, seen: &Seen) -> Self {
        let total = answer.body.len();
        let etag = answer.etag.clone();
        let mut headers: Vec<(&str, String)> = etag.iter().map(|etag| ("ETag", etag.clone())).collect();
        if matches!(answer.ranges, Ranges::Right | Ranges::Blind | Ranges::Shifted(_)) {
            headers.push(("Accept-Ranges", "bytes".into()));
        }
        let whole =
            Self { status: answer.status, body: answer.body.clone(), from: 0, headers: headers.clone() };
        let part = |from: u64, shown: u64| {
            let mut headers = headers.clone();
            headers.push(("Content-Range", format!("bytes {shown}-{}/{total}", total.saturating_sub(1))));
            Self { status: 206, body: answer.body.clone(), from, headers }
        };
        if answer.status != 200 {
            return whole;
        }
        if let Ranges::Unasked(from) = answer.ranges {
            return part(from, from);
        }
        let Some(from) = seen.range_from() else { return whole };
        let same = seen.header("If-Range").is_none_or(|given| etag.as_deref() == Some(given));
        let no_gzip = !seen.header("Accept-Encoding").unwrap_or_default().contains("gzip");
        match answer.ranges {
            Ranges::Right | Ranges::Blind | Ranges::OnlyWithoutGzip if from >= total => {
                unsatisfied(total, headers)
            }
            Ranges::Right if same => part(from, from),
            Ranges::OnlyWithoutGzip if same && no_gzip => part(from, from),
            Ranges::Blind => part(from, from),
            Ranges::Shifted(by) => {
                let from = from.saturating_add_signed(by).min(total - 1);
                part(from, from)
            }
            Ranges::Unlabelled => Self { status: 206, from, ..whole },
            Ranges::Multipart => multipart(&answer.body, from, headers),
            Ranges::Refused => unsatisfied(total, headers),
            Ranges::Right | Ranges::OnlyWithoutGzip | Ranges::Ignored | Ranges::Unasked(_) => whole,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.body.len() - self.from
    }

    pub(super) fn fill(&self, offset: u64, buffer: &mut [u8]) -> usize {
        self.body.fill(self.from + offset, buffer)
    }

    pub(super) fn head(&self, answer: &Answer) -> String {
        let odd = matches!(answer.framing, Framing::ChunkedOddly);
        let mut lines = vec![format!("{} {} {}", answer.version, self.status, reason(self.status))];
        let mine: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let given = answer.headers.iter().filter(|(name, _)| mine.iter().all(|(known, _)| known != name));
        lines.extend(given.cloned().chain(mine.clone()).map(|(name, value)| {
            let name = if odd { name.to_ascii_uppercase() } else { name };
            format!("{name}: {value}")
        }));
        match &answer.framing {
            Framing::Length => lines.push(format!("Content-Length: {}", self.len())),
            Framing::Claims(claims) => {
                lines.extend(claims.iter().map(|claim| format!("Content-Length: {claim}")));
            }
            Framing::Chunked | Framing::ChunkedWithoutEnd => lines.push("Transfer-Encoding: chunked".into()),
            Framing::ChunkedOddly => lines.push("tRaNsFeR-eNcOdInG: Chunked".into()),
            Framing::LengthAndChunked => {
                lines.push(format!("Content-Length: {}", self.len()));
                lines.push("Transfer-Encoding: chunked".into());
            }
            Framing::UntilClose => lines.push("Connection: close".into()),
        }
        lines.join("\r\n") + "\r\n\r\n"
    }
}

fn unsatisfied(total: u64, mut headers: Vec<(&'static str, String)>) -> Prepared {
    headers.push(("Content-Range", format!("bytes */{total}")));
    Prepared { status: 416, body: Content::of(b""), from: 0, headers }
}

fn multipart(body: &Content, from: u64, mut headers: Vec<(&'static str, String)>) -> Prepared {
    let (bytes, total) = (body.bytes(), body.len());
    let start = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let head = format!(
        "\r\n--cut\r\nContent-Type: video/mp4\r\nContent-Range: bytes {from}-{}/{total}\r\n\r\n",
        total.saturating_sub(1)
    );
    let parts = [head.as_bytes(), &bytes[start..], b"\r\n--cut--\r\n"].concat();
    headers.push(("Content-Type", "multipart/byteranges; boundary=cut".into()));
    Prepared { status: 206, body: Content::of(parts), from: 0, headers }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        300..=399 => "Elsewhere",
        404 => "Not Found",
        400..=499 => "No",
        _ => "Trouble",
    }
}
