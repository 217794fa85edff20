//! Whether bytes may be appended to a part: never two contents in one file.

use crate::retry::{Cause, Failure};

/// A part of a file that an earlier attempt left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The source it came from, without what may be secret.
    pub source: String,
    /// The host's `ETag`.
    pub etag: Option<String>,
    /// The length of the whole, where the host told it.
    pub total: Option<u64>,
    /// How many bytes are here.
    pub bytes: u64,
}

/// How to ask for a file of which a part may be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From the first byte.
    Restart,
    /// The bytes from `from` on, if the content still has this validator.
    Continue {
        /// How many bytes are here.
        from: u64,
        /// The strong validator for `If-Range`.
        etag: String,
        /// The length of the whole, where it is known.
        total: Option<u64>,
    },
}

/// Whether what was refused may be the range alone, so that the whole file is worth asking for at once: some hosts answer
/// 404, 304 or 500 to a part of what they give as a whole.
///
/// | asked for | the failure | |
/// | --- | --- | --- |
/// | a part | is that of a status, or of an encoding | yes |
/// | a part | asks for patience, or is another one | no |
/// | the whole | any | no |
#[must_use]
pub fn refuses_ranges(asked: &Resume, failure: &Failure) -> bool {
    let is_refusal = matches!(
        failure.cause,
        Cause::Absent | Cause::BadStatus | Cause::BadRedirect | Cause::Encoded | Cause::ServerError
    );
    matches!(asked, Resume::Continue { .. }) && is_refusal && failure.retry_after.is_none()
}

/// Whether a part may be continued.
///
/// | the part | resume |
/// | --- | --- |
/// | none, or without bytes | restart |
/// | of another source | restart |
/// | no `ETag`, or a weak or malformed one | restart |
/// | as long as the whole, or longer | restart |
/// | of this source, with a strong `ETag` | continue |
#[must_use]
pub fn resume(part: Option<&Part>, source: &str) -> Resume {
    let Some(part) = part else { return Resume::Restart };
    let strong = part.etag.as_deref().filter(|etag| is_strong(etag));
    match strong {
        Some(etag)
            if part.bytes > 0
                && part.source == source
                && part.total.is_none_or(|total| part.bytes < total) =>
        {
            Resume::Continue { from: part.bytes, etag: etag.into(), total: part.total }
        }
        _ => Resume::Restart,
    }
}

/// Whether an `ETag` is a strong validator: quoted, not marked `W/`, and without what a header cannot repeat.
#[must_use]
pub fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| {
        !inner.is_empty() && inner.bytes().all(|b| b == 0x21 || (0x23..=0x7e).contains(&b))
    })
}

/// What a host's answer says about the range it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 200, 206 or 416; other statuses are failures before this is asked.
    pub status: u16,
    /// The `ETag` header.
    pub etag: Option<&'a str>,
    /// The `Content-Range` header.
    pub content_range: Option<&'a str>,
    /// The `Content-Length` header.
    pub content_length: Option<u64>,
}

/// What to do with an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is the whole: begin again at the first byte.
    Whole {
        /// Its length, where the host told it.
        total: Option<u64>,
    },
    /// It continues the part.
    Rest {
        /// The length of the whole.
        total: u64,
    },
    /// It is not what was asked for: drop the part, and ask from the first byte.
    Refuse(&'static str),
}

/// Whether an answer may be appended.
///
/// | asked | status | the answer | body |
/// | --- | --- | --- | --- |
/// | any | 200 | | whole |
/// | restart | 206 | | refuse: not asked for |
/// | continue | 206 | no readable `Content-Range`, or without a total | refuse |
/// | continue | 206 | another start, or an end that is not the total's | refuse |
/// | continue | 206 | another total than was known, or a length that is not the range's | refuse |
/// | continue | 206 | another `ETag`, or none | refuse |
/// | continue | 206 | all as asked | rest |
/// | any | else | | refuse |
#[must_use]
pub fn judge_answer(asked: &Resume, answer: &Answer<'_>) -> Body {
    match (asked, answer.status) {
        (_, 200) => Body::Whole { total: answer.content_length },
        (Resume::Restart, 206) => Body::Refuse("a part came though the whole was asked for"),
        (Resume::Continue { from, etag, total }, 206) => judge_rest(*from, etag, *total, answer),
        _ => Body::Refuse("the range is not to be had"),
    }
}

fn judge_rest(from: u64, etag: &str, known_total: Option<u64>, answer: &Answer<'_>) -> Body {
    let Some(range) = answer.content_range.and_then(ContentRange::parse) else {
        return Body::Refuse("a part came without saying which");
    };
    let rest = range.total - from.min(range.total);
    match () {
        () if range.first != from => Body::Refuse("the part begins elsewhere"),
        () if range.last + 1 != range.total => Body::Refuse("the part does not reach the end"),
        () if known_total.is_some_and(|known| known != range.total) => {
            Body::Refuse("the whole has another length now")
        }
        () if answer.content_length.is_some_and(|length| length != rest) => {
            Body::Refuse("the part's length is not that of its range")
        }
        () if answer.etag != Some(etag) => Body::Refuse("the content has changed"),
        () => Body::Rest { total: range.total },
    }
}

/// A `Content-Range` header of a satisfied range with a known total: `bytes 5-9/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte's offset.
    pub first: u64,
    /// The last byte's offset.
    pub last: u64,
    /// The length of the whole.
    pub total: u64,
}

impl ContentRange {
    /// Reads the header; `None` for what is malformed, impossible, or without a total.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, rest) = header.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let parsed = Self { first: number(first)?, last: number(last)?, total: number(total)? };
        (unit.eq_ignore_ascii_case("bytes") && parsed.first <= parsed.last && parsed.last < parsed.total)
            .then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_part_is_continued_only_where_its_row_allows_it() {
        let part = |etag: Option<&str>, bytes, total| Part {
            source: "https://m.test/a".into(),
            etag: etag.map(Into::into),
            total,
            bytes,
        };
        let strong = Some("\"v1\"");
        let go_on = |total| Resume::Continue { from: 5, etag: "\"v1\"".into(), total };
        let table = [
            ("none", None, Resume::Restart),
            ("no bytes", Some(part(strong, 0, Some(9))), Resume::Restart),
            ("no validator", Some(part(None, 5, Some(9))), Resume::Restart),
            ("a weak one", Some(part(Some("W/\"v1\""), 5, Some(9))), Resume::Restart),
            ("an unquoted one", Some(part(Some("v1"), 5, Some(9))), Resume::Restart),
            ("an empty one", Some(part(Some("\"\""), 5, Some(9))), Resume::Restart),
            ("one that no header can repeat", Some(part(Some("\"a\nb\""), 5, Some(9))), Resume::Restart),
            ("one with a quote inside", Some(part(Some("\"a\"b\""), 5, Some(9))), Resume::Restart),
            ("whole already", Some(part(strong, 9, Some(9))), Resume::Restart),
            ("too long", Some(part(strong, 10, Some(9))), Resume::Restart),
            ("sound", Some(part(strong, 5, Some(9))), go_on(Some(9))),
            ("sound, length unknown", Some(part(strong, 5, None)), go_on(None)),
        ];
        for (what, part, want) in table {
            assert_eq!(resume(part.as_ref(), "https://m.test/a"), want, "{what}");
        }
        assert_eq!(
            resume(Some(&part(strong, 5, Some(9))), "https://proxy.test/a"),
            Resume::Restart,
            "another source"
        );
    }

    #[test]
    fn a_refusal_is_that_of_the_range_only_where_a_part_was_asked_for_and_nobody_asks_for_patience() {
        let part = Resume::Continue { from: 5, etag: "\"v1\"".into(), total: None };
        let failure = |cause| Failure::new(cause, "");
        for cause in [Cause::Absent, Cause::BadStatus, Cause::BadRedirect, Cause::Encoded, Cause::ServerError]
        {
            assert!(refuses_ranges(&part, &failure(cause)), "{cause:?}");
            assert!(!refuses_ranges(&Resume::Restart, &failure(cause)), "{cause:?}");
            let later = failure(cause).after(Some(std::time::Duration::from_secs(1)));
            assert!(!refuses_ranges(&part, &later), "{cause:?}");
        }
        for cause in [Cause::RateLimited, Cause::Unreachable, Cause::Broken, Cause::Stalled, Cause::TooLarge]
        {
            assert!(!refuses_ranges(&part, &failure(cause)), "{cause:?}");
        }
    }

    #[test]
    fn an_answer_is_appended_only_where_everything_matches() {
        let asked = Resume::Continue { from: 5, etag: "\"v1\"".into(), total: Some(9) };
        let blind = Resume::Continue { from: 5, etag: "\"v1\"".into(), total: None };
        let good = Answer {
            status: 206,
            etag: Some("\"v1\""),
            content_range: Some("bytes 5-8/9"),
            content_length: Some(4),
        };
        let with = |content_range| Answer { content_range, content_length: None, ..good };
        assert_eq!(judge_answer(&asked, &good), Body::Rest { total: 9 });
        assert_eq!(judge_answer(&asked, &Answer { content_length: None, ..good }), Body::Rest { total: 9 });
        assert_eq!(judge_answer(&blind, &with(Some("bytes 5-19/20"))), Body::Rest { total: 20 });
        let whole = Answer { status: 200, content_length: Some(9), ..good };
        for any in [&asked, &blind, &Resume::Restart] {
            assert_eq!(judge_answer(any, &whole), Body::Whole { total: Some(9) });
            assert!(matches!(judge_answer(any, &Answer { status: 416, ..good }), Body::Refuse(_)));
        }
        let refused = [
            (&Resume::Restart, good, "a part came though the whole was asked for"),
            (&asked, with(None), "a part came without saying which"),
            (&asked, with(Some("bytes 5-8/*")), "a part came without saying which"),
            (&asked, with(Some("bytes 4-8/9")), "the part begins elsewhere"),
            (&asked, with(Some("bytes 6-8/9")), "the part begins elsewhere"),
            (&asked, with(Some("bytes 5-7/9")), "the part does not reach the end"),
            (&asked, with(Some("bytes 5-9/10")), "the whole has another length now"),
            (
                &asked,
                Answer { content_length: Some(5), ..good },
                "the part's length is not that of its range",
            ),
            (&asked, Answer { etag: Some("\"v2\""), ..good }, "the content has changed"),
            (&asked, Answer { etag: Some("W/\"v1\""), ..good }, "the content has changed"),
            (&asked, Answer { etag: None, ..good }, "the content has changed"),
        ];
        for (asked, answer, why) in refused {
            assert_eq!(judge_answer(asked, &answer), Body::Refuse(why), "{asked:?} {answer:?}");
        }
    }

    #[test]
    fn content_ranges_are_read_strictly() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        let table = [
            ("bytes 5-8/9", range(5, 8, 9)),
            (" Bytes 0-0/1 ", range(0, 0, 1)),
            ("bytes 5-8/*", None),
            ("bytes */9", None),
            ("bytes 5-9/9", None),
            ("bytes 8-5/9", None),
            ("bytes -5-8/9", None),
            ("bytes +5-8/9", None),
            ("bytes 5-8", None),
            ("items 5-8/9", None),
            ("bytes 5-8/99999999999999999999999", None),
            ("bytes 5-/9", None),
            ("", None),
        ];
        for (header, want) in table {
            assert_eq!(ContentRange::parse(header), want, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_content_range_never_panics(header in ".{0,40}") {
            let _ = ContentRange::parse(&header);
        }
    }
}
