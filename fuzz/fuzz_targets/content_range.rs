//! A `Content-Range` is read strictly, and bytes are appended only where it names exactly the rest of the part.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vfetch::plan::{Answer, Body, ContentRange, Resume, judge_answer};

type Asked<'a> = (u64, Option<u64>, Option<u64>, (u64, u64, u64), &'a str);

fuzz_target!(|asked: Asked<'_>| {
    let (from, known_total, content_length, (first, last, total), header) = asked;
    for header in [header, &format!("bytes {first}-{last}/{total}"), &format!("bytes {from}-{last}/{total}")]
    {
        check(from, known_total, content_length, header);
    }
});

fn check(from: u64, known_total: Option<u64>, content_length: Option<u64>, header: &str) {
    let range = ContentRange::parse(header);
    if let Some(range) = range {
        assert!(range.first <= range.last && range.last < range.total);
        let again = format!("bytes {}-{}/{}", range.first, range.last, range.total);
        assert_eq!(ContentRange::parse(&again), Some(range));
    }
    let etag = Some("\"v1\"");
    let asked = Resume::Continue { from, etag: "\"v1\"".into(), total: known_total };
    let answer = Answer { status: 206, etag, content_range: Some(header), content_length };
    if let Body::Rest { total } = judge_answer(&asked, &answer) {
        assert_eq!(range, Some(ContentRange { first: from, last: total - 1, total }));
        assert!(known_total.is_none_or(|known| known == total));
        assert!(content_length.is_none_or(|length| length == total - from));
    }
    assert!(!matches!(judge_answer(&asked, &Answer { etag: None, ..answer }), Body::Rest { .. }));
    assert!(!matches!(judge_answer(&Resume::Restart, &answer), Body::Rest { .. }));
}
