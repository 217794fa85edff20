//! What hosts make of a request for the rest of a file: nothing that is not the rest of the same bytes is appended.

use crate::support::{Answer, Content, Framing, Ranges, Script, Seen, World};

const BYTES: u64 = 60_000;
const CUT: u64 = 30_000;

/// A file that is cut at half, then this; asserts that the content comes home, and tells what was asked.
fn after_a_cut(cut: Answer, then: impl Into<Script>, content: &Content) -> (World, Vec<Seen>) {
    let world = World::new();
    world.content(content.clone());
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", cut.cut_at(CUT).then(then))]));
    world.get(&["147", "-R", "3"]).run().exits(0);
    world.holds("147", 0, content);
    let log = world.media.calls("/clip.mp4");
    assert!(log[0].header("Range").is_none() && log[0].header("If-Range").is_none());
    (world, log)
}

fn clip() -> Content {
    Content::mp4(1, BYTES)
}

/// Asserts that the rest was asked for, and the whole after that.
fn rest_then_whole(log: &[Seen]) {
    let asked: Vec<Option<u64>> = log.iter().map(Seen::range_from).collect();
    assert_eq!(asked, [None, Some(CUT), None]);
    assert!(log[1].header("If-Range").is_some());
}

#[test]
fn a_whole_file_in_answer_to_a_range_replaces_the_part() {
    let whole = Answer::file(&clip()).ranges(Ranges::Ignored);
    let (_, log) = after_a_cut(Answer::file(&clip()), whole, &clip());
    assert_eq!((log.len(), log[1].range_from()), (2, Some(CUT)));
}

#[test]
fn a_range_that_begins_elsewhere_is_refused_and_the_file_begun_again() {
    for by in [-1, 1, -1_000, 4_096] {
        let shifted = Answer::file(&clip()).ranges(Ranges::Shifted(by));
        let (_, log) = after_a_cut(Answer::file(&clip()), shifted, &clip());
        rest_then_whole(&log);
    }
}

#[test]
fn a_host_that_refuses_a_range_is_asked_for_the_whole() {
    for status in [304, 400, 403, 404, 405, 412, 500, 501] {
        let refuse = move |seen: &Seen| match seen.header("Range") {
            Some(_) => Answer::status(status),
            None => Answer::file(&clip()),
        };
        let (_, log) = after_a_cut(Answer::file(&clip()), Answer::decide(refuse), &clip());
        rest_then_whole(&log);
    }
}

#[test]
fn a_range_that_does_not_say_which_is_refused_and_the_file_begun_again() {
    for ranges in [Ranges::Unlabelled, Ranges::Multipart] {
        let (_, log) = after_a_cut(Answer::file(&clip()), Answer::file(&clip()).ranges(ranges), &clip());
        rest_then_whole(&log);
    }
}

#[test]
fn a_range_whose_label_is_garbage_or_tells_another_length_is_refused() {
    for label in ["bytes 30000-59999/*", "bytes 30000-59999", "bytes */60000", "bytes 30000-59999/70000", "x"]
    {
        let lie = move |seen: &Seen| {
            let file = Answer::file(&clip());
            if seen.header("Range").is_none() {
                return file;
            }
            let rest = Content::of(clip().bytes().split_off(30_000));
            let etag = seen.header("If-Range").unwrap_or_default().to_owned();
            let part = Answer::file(&rest).ranges(Ranges::Ignored).with_status(206).etag(Some(&etag));
            part.header("Content-Range", label)
        };
        let (_, log) = after_a_cut(Answer::file(&clip()), Answer::decide(lie), &clip());
        rest_then_whole(&log);
    }
}

#[test]
fn a_part_that_nobody_asked_for_is_refused() {
    for from in [0, 30_000] {
        let world = World::new();
        let clip = world.content(clip());
        let part = Answer::file(&clip).ranges(Ranges::Unasked(from));
        let url = world.media.on("/clip.mp4", part);
        let mirror = world.host().on("/clip.mp4", Answer::file(&clip));
        world.job("1", Answer::success(std::slice::from_ref(&url)));
        world.get(&["1", "-R", "1"]).run().exits(4);
        assert_eq!(world.state("1"), "pending");
        world.job("2", Answer::success_with_proxies(&[url], &[mirror]));
        world.get(&["2", "-R", "1"]).run().exits(0);
        world.holds("2", 0, &clip);
        assert_eq!(world.entry("2", 0)["left"][0]["cause"], "wrong_range");
    }
}

#[test]
fn a_range_that_cannot_be_had_is_no_sign_that_the_part_is_whole() {
    let refused = Answer::file(&clip()).ranges(Ranges::Refused);
    let (_, log) = after_a_cut(Answer::file(&clip()), refused, &clip());
    rest_then_whole(&log);
    // Not even where what is here is whole as far as it can tell.
    let free_space = [&30_000_u32.to_be_bytes()[..], b"free", &vec![7; 29_992]].concat();
    let longer = Content::of([Content::mp4(1, CUT).bytes(), free_space].concat());
    let file = Answer::file(&longer).framing(Framing::Chunked);
    let (_, log) = after_a_cut(file.clone(), file.ranges(Ranges::Refused), &longer);
    rest_then_whole(&log);
}

#[test]
fn content_that_has_changed_comes_whole() {
    let other = Content::mp4(2, BYTES);
    let (_, log) = after_a_cut(Answer::file(&clip()), Answer::file(&other), &other);
    assert_eq!((log.len(), log[1].range_from()), (2, Some(CUT)));
}

#[test]
fn content_that_has_changed_is_noticed_where_if_range_is_ignored() {
    let other = Content::mp4(2, BYTES);
    for etag in [Some("\"v2\""), Some("W/\"v1\""), None] {
        let blind = Answer::file(&other).ranges(Ranges::Blind).etag(etag);
        let (_, log) = after_a_cut(Answer::file(&clip()).etag(Some("\"v1\"")), blind, &other);
        rest_then_whole(&log);
    }
}

#[test]
fn without_a_strong_validator_nothing_is_continued() {
    let other = Content::mp4(2, BYTES);
    for etag in [None, Some("W/\"same\""), Some("unquoted"), Some("\"\""), Some("\"a\"b\"")] {
        let cut = Answer::file(&clip()).etag(etag).header("Last-Modified", "Sat, 01 Aug 2026 10:00:00 GMT");
        let (_, log) = after_a_cut(cut, Answer::file(&other).ranges(Ranges::Blind).etag(etag), &other);
        assert_eq!(log.len(), 2, "{etag:?}");
        assert!(log[1].header("Range").is_none() && log[1].header("If-Range").is_none(), "{etag:?}");
    }
}

#[test]
fn a_host_that_honours_ranges_only_without_compression_honours_them() {
    let picky = Answer::file(&clip()).ranges(Ranges::OnlyWithoutGzip);
    let (world, log) = after_a_cut(picky.clone(), picky, &clip());
    assert_eq!((log.len(), log[1].range_from()), (2, Some(CUT)));
    assert_eq!(world.media.body_bytes(), BYTES, "it began again");
}

#[test]
fn a_part_that_is_continued_and_cut_again_is_continued_again() {
    let (_, log) = after_a_cut(Answer::file(&clip()), Answer::file(&clip()).cut_at(10_000).times(2), &clip());
    let asked: Vec<Option<u64>> = log.iter().map(Seen::range_from).collect();
    assert_eq!(asked, [None, Some(CUT), Some(CUT + 10_000), Some(CUT + 20_000)]);
}
