//! What media hosts do with a file: refuse it, break it, stall, send something else, send too much.

use std::fmt::Write as _;
use std::time::Duration;

use crate::shared::{MEMORY, SOON, a_clip, calls, causes, each_is_left_for_its_mirror, one_source};
use crate::support::run::Signal;
use crate::support::{Answer, Content, Framing, Ranges, Script, Seen, World};

#[test]
fn a_file_that_is_not_there_comes_from_its_mirror_at_once() {
    let absent = [404, 410, 403].map(|status| Answer::status(status).into());
    let (world, _) = each_is_left_for_its_mirror(absent.to_vec());
    assert_eq!((0..3).map(|place| causes(&world, place)).collect::<Vec<_>>(), [["absent"]; 3]);
    assert_eq!(world.media.log().len(), 3, "asked again though the mirror was well");
}

#[test]
fn a_file_that_no_source_has_is_gone_when_each_has_said_so_twice() {
    let world = World::new();
    let mirror = world.host();
    let (url, proxy) = (world.media.url("/clip.mp4"), mirror.url("/clip.mp4"));
    world.job("147", Answer::success_with_proxies(&[url], &[proxy]));
    world.get(&["147"]).run().exits(1);
    assert_eq!((world.state("147"), world.names("147")), ("gone".into(), vec!["manifest.json".into()]));
    let first = world.media.calls("/clip.mp4");
    assert!(first[1].at.duration_since(first[0].at) >= Duration::from_secs(10), "asked twice too soon");
    assert_eq!((world.polls("147").len(), calls(&world.media), calls(&mirror)), (2, 3, 3));
}

#[test]
fn a_host_that_refuses_connections_is_left_for_the_mirror() {
    let world = World::new();
    let clip = a_clip(&world);
    let dead = format!("{}/clip.mp4", world.refusing());
    let mirror = world.media.on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success_with_proxies(&[dead], &[mirror]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(causes(&world, 0), ["unreachable"]);
}

#[test]
fn a_host_that_is_back_serves_all_before_the_file_that_showed_it_has_ended() {
    let world = World::new();
    let (pieces, pause) = (60, Duration::from_millis(100));
    for id in 1..=3 {
        let clip = world.content(Content::mp4(id, u64::from(pieces) * 1_000));
        let slow = Answer::file(&clip).drip(1_000, pause);
        let url = world.media.on(&format!("/{id}.mp4"), Answer::stall_at_once().then(slow));
        world.job(&id.to_string(), Answer::success(&[url]));
    }
    world.get(&["1", "2", "3"]).args(&["--idle-timeout", "2s"]).run().exits(0);
    let log = world.media.log();
    assert_eq!(log.len(), 6, "a host that stalled for all is asked by one, and then by all");
    let apart = log[5].at.duration_since(log[3].at);
    assert!(apart < pause * pieces, "the others waited for the end of the probe");
}

#[test]
fn a_host_that_is_busy_twice_serves_the_third_time() {
    for status in [503, 429, 500, 408] {
        let clip = Content::mp4(1, 60_000);
        let world = one_source(Answer::status(status).times(2).then(Answer::file(&clip)), clip.clone());
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        assert_eq!(calls(&world.media), 3);
    }
}

#[test]
fn a_media_host_that_asks_for_a_pause_gets_it() {
    let clip = Content::mp4(1, 60_000);
    let busy = Answer::status(429).header("Retry-After", "2");
    let world = one_source(busy.then(Answer::file(&clip)), clip.clone());
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    let log = world.media.log();
    assert!(log[1].at.duration_since(log[0].at) >= Duration::from_secs(2));
}

#[test]
fn a_body_that_is_cut_is_continued_where_it_stopped() {
    let clip = Content::mp4(1, 3 << 20);
    let world = one_source(Answer::file(&clip).cut_at(2 << 20).then(Answer::file(&clip)), clip.clone());
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    let log = world.media.log();
    assert_eq!((log.len(), log[1].range_from()), (2, Some(2 << 20)));
    assert_eq!(log[1].header("If-Range"), world.entry("147", 0)["etag"].as_str());
    assert_eq!(world.media.body_bytes(), clip.len());
}

#[test]
fn a_body_that_is_always_cut_is_given_up_after_its_retries_and_left_for_the_next_run() {
    let clip = Content::mp4(1, 3 << 20);
    let cut = Answer::file(&clip).cut_at(2 << 20);
    let then_nothing = cut.clone().then(Answer::file(&clip).cut_at(0));
    let never_a_range: Script = cut.clone().ranges(Ranges::Ignored).into();
    for always in [then_nothing, never_a_range] {
        let world = one_source(always, clip.clone());
        world.get(&["147", "--timeout", "30s"]).args(&SOON).run().exits(4);
        assert_eq!(
            (world.state("147"), world.names("147")),
            ("pending".into(), vec!["manifest.json".into()])
        );
        assert!(!world.staged().is_empty(), "nothing is left for the next run");
        assert!(calls(&world.media) <= 6, "{} requests, each cut at the same byte", calls(&world.media));
        world.media.on("/clip.mp4", Answer::file(&clip));
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        assert_eq!(world.media.calls("/clip.mp4")[0].call, 0);
        assert!(world.media.log().last().unwrap().range_from().is_some(), "it began again");
    }
}

#[test]
fn a_chunked_body_without_its_last_chunk_is_not_whole() {
    let clip = Content::gif(1, 60_000);
    let endless = Answer::file(&clip).framing(Framing::ChunkedWithoutEnd);
    let world = one_source(endless.clone().then(Answer::file(&clip)), clip.clone());
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert!(calls(&world.media) > 1);
    let world = one_source(endless, clip);
    world.get(&["147", "--timeout", "30s"]).args(&SOON).run().exits(4);
    assert_eq!(world.state("147"), "pending");
    assert!(calls(&world.media) <= 8, "{} requests", calls(&world.media));
}

#[test]
fn a_body_that_ends_with_its_connection_is_taken_only_where_the_container_tells_its_end() {
    let until_close = |content: &Content| Answer::file(content).framing(Framing::UntilClose);
    for whole in [Content::mp4(1, 60_000), Content::gif(1, 60_000)] {
        let world = one_source(until_close(&whole), whole.clone());
        world.get(&["147"]).args(&SOON).run().exits(0);
        world.holds("147", 0, &whole);
        let world = one_source(until_close(&whole).cut_at(40_000).ranges(Ranges::Ignored), whole);
        world.get(&["147"]).args(&SOON).run().exits(4);
    }
    let boxes = b"\0\0\0\x10ftypisomxxxx\0\0\0\x08moov\0\0\0\x08moof\0\0\0\x0cmdatwxyz";
    let (fragments, padded) =
        (Content::of(boxes), [Content::mp4(1, 60_000).bytes(), b"\r\n".into()].concat());
    for untold in [Content::unknown(1, 60_000), fragments, Content::of(padded)] {
        let world = one_source(until_close(&untold), untold.clone());
        world.get(&["147"]).args(&SOON).run().exits(4);
        assert_eq!(world.names("147"), ["manifest.json"]);
        let world = one_source(Answer::file(&untold), untold.clone());
        world.get(&["147"]).args(&SOON).run().exits(0);
        world.holds("147", 0, &untold);
    }
}

#[test]
fn bytes_in_an_encoding_that_was_not_asked_for_are_not_taken_for_media() {
    let gzip = |content: &Content| Answer::file(content).header("Content-Encoding", "gzip");
    let packed = Content::of(b"\x1f\x8b\x08\0\0\0\0\0\0\x03not to be kept");
    let (world, _) =
        each_is_left_for_its_mirror(vec![gzip(&packed).into(), gzip(&Content::mp4(1, 60_000)).into()]);
    assert_eq!(causes(&world, 0), ["encoded"]);
    let clip = Content::mp4(1, 60_000);
    let said = |said: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Encoding: ", clip.len());
        Answer::verbatim([head.as_bytes(), said, b"\r\n\r\n", &clip.bytes()].concat()).into()
    };
    let twice = Answer::file(&clip).header("Content-Encoding", "identity");
    let twice = twice.also_header("Content-Encoding", "gzip").into();
    let (world, _) = each_is_left_for_its_mirror(vec![twice, said(b"gzip\xff"), said(b"identity, gzip")]);
    assert!((0..3).all(|place| causes(&world, place) == ["encoded"]));
    let world = one_source(gzip(&packed), Content::gif(1, 10));
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.names("147"), ["manifest.json"]);
    for seen in world.media.log() {
        assert_eq!(seen.header("Accept-Encoding"), Some("identity"));
    }
}

#[test]
fn a_content_encoding_that_names_no_coding_is_no_fault() {
    let world = World::new();
    let clip = a_clip(&world);
    let words = ["", "aws-chunked", "utf-8", "none", "binary"];
    let urls = words.iter().enumerate().map(|(place, word)| {
        let file = Answer::file(&clip).header("Content-Encoding", word).also_header("Content-Encoding", "");
        world.media.on(&format!("/{place}.mp4"), file)
    });
    let urls: Vec<String> = urls.collect();
    world.job("147", Answer::success(&urls).header("Content-Encoding", "utf-8"));
    world.get(&["147"]).args(&SOON).run().exits(0);
    assert!((0..words.len()).all(|place| causes(&world, place).is_empty()));
    for place in 0..words.len() {
        world.holds("147", place, &clip);
    }
}

#[test]
fn a_stall_before_or_within_the_answer_leads_to_the_mirror() {
    let clip = Content::mp4(1, 60_000);
    let (world, _) = each_is_left_for_its_mirror(vec![
        Answer::stall_at_once().into(),
        Answer::file(&clip).stall_at(0).into(),
        Answer::file(&clip).stall_at(30_000).into(),
    ]);
    assert_eq!((0..3).map(|place| causes(&world, place)).collect::<Vec<_>>(), [["stalled"]; 3]);
}

#[test]
fn a_host_that_drips_moves_no_deadline_and_delays_no_signal() {
    let clip = Content::mp4(1, 60_000);
    let drips = Answer::file(&clip).drip(1, Duration::from_millis(200));
    let world = one_source(drips.clone(), clip.clone());
    let done = world.get(&["147", "--timeout", "3s"]).run().exits(4);
    assert!(done.took < Duration::from_secs(30), "it took {:?}", done.took);
    let world = one_source(drips, clip);
    let running = world.get(&["147"]).spawn();
    world.wait_for_staged(1);
    running.signal(Signal::TERM);
    running.wait().exits(143);
}

#[test]
fn an_empty_file_leads_to_the_mirror() {
    let nothing = Content::of(b"");
    let (world, _) = each_is_left_for_its_mirror(vec![
        Answer::file(&nothing).into(),
        Answer::file(&nothing).framing(Framing::Chunked).into(),
        Answer::file(&nothing).framing(Framing::UntilClose).into(),
        Answer::status(204).into(),
    ]);
    assert_eq!((causes(&world, 0), causes(&world, 1)), (vec!["empty".to_owned()], vec!["empty".to_owned()]));
}

#[test]
fn white_space_alone_is_no_file_and_leads_to_the_mirror() {
    let bodies = ["\n", "\r\n\r\n", &" ".repeat(5_000)];
    let blank = |body: &str| Answer::file(&Content::of(body)).header("Content-Type", "video/mp4").into();
    let (world, _) = each_is_left_for_its_mirror(bodies.map(blank).into());
    assert_eq!((0..3).map(|place| causes(&world, place)).collect::<Vec<_>>(), [["empty"]; 3]);
    let world = World::new();
    let url = world.media.on("/a.txt", Answer::text("text/plain", "\n"));
    world.job("147", Answer::success(&[url]));
    world.get(&["147"]).args(&SOON).run().exits(1).says("nothing but white space");
}

#[test]
fn a_page_in_place_of_the_file_leads_to_the_mirror_whatever_it_calls_itself() {
    let (page, as_gif) = (Answer::html(), Answer::html().header("Content-Type", "image/gif"));
    let (world, _) = each_is_left_for_its_mirror(vec![
        page.clone().into(),
        as_gif.clone().into(),
        page.framing(Framing::Chunked).into(),
    ]);
    assert_eq!((0..3).map(|place| causes(&world, place)).collect::<Vec<_>>(), [["not_media"]; 3]);
    for page in [Answer::html(), as_gif] {
        let world = one_source(page, Content::gif(1, 10));
        world.get(&["147"]).args(&SOON).run().exits(1).says("HTML");
        assert_eq!((world.state("147"), world.names("147").len()), ("failed".into(), 1));
    }
}

#[test]
fn a_page_is_refused_whatever_it_is_written_in() {
    let utf16 = "\u{feff}<html>gone".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let pages: [Vec<u8>; 5] = [
        b"<!DOCTYPE html><title>Acc\xe8s refus\xe9</title>".into(),
        utf16,
        b"<html>gone\0</html>".into(),
        [b"\n".repeat(600), b"<html>gone".into()].concat(),
        b"<pre>Not Found</pre>".into(),
    ];
    let page = |page: &Vec<u8>| Answer::file(&Content::of(page)).header("Content-Type", "video/mp4");
    let (world, _) = each_is_left_for_its_mirror(pages.iter().map(|bytes| page(bytes).into()).collect());
    assert_eq!((0..5).map(|place| causes(&world, place)).collect::<Vec<_>>(), [["not_media"]; 5]);
}

#[test]
fn json_and_xml_in_place_of_the_file_are_refused() {
    let texts = [
        ("application/json", "{\"error\":\"no such key\"}"),
        ("video/mp4", "  [{\"error\": 1}]"),
        ("application/xml", "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"),
        ("video/mp4", "\u{feff}<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
        ("text/xml", "<Error><Code>NoSuchKey</Code></Error>"),
    ];
    let scripts = texts.iter().map(|(kind, text)| Answer::text(kind, text).into());
    let (world, _) = each_is_left_for_its_mirror(scripts.collect());
    for (place, text) in texts.iter().enumerate() {
        assert_eq!(causes(&world, place), ["not_media"], "{text:?}");
    }
    let world = World::new();
    let urls = texts
        .iter()
        .enumerate()
        .map(|(place, (kind, text))| world.media.on(&format!("/{place}.mp4"), Answer::text(kind, text)));
    world.job("147", Answer::success(&urls.collect::<Vec<_>>()));
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.names("147"), ["manifest.json"]);
}

#[test]
fn words_under_a_name_of_binary_media_lead_to_the_mirror_and_other_texts_are_taken() {
    let said = ["error code: 1015", "File has expired\n"];
    let words = said.iter().map(|words| Answer::file(&Content::of(words)).into());
    let (world, _) = each_is_left_for_its_mirror(words.collect());
    assert!((0..2).all(|place| causes(&world, place) == ["not_media"]));
    let world = one_source(Answer::text("video/mp4", said[0]), Content::gif(1, 10));
    world.get(&["147"]).args(&SOON).run().exits(1).says("plain text");

    let world = World::new();
    let base64 = "AAAAGGZ0eXBpc29t".repeat(9);
    let texts = [
        ("/a.srt", "1\n00:00:00,000 --> 00:00:02,500\na fox barks\n", "text/plain"),
        ("/a.obj", "# OBJ\nv 1 2 3\n", "application/octet-stream"),
        ("/a.mp4", base64.as_str(), "text/plain"),
        ("/a", "a fox", "text/plain"),
        ("/a.gltf", "{\"asset\": {\"version\": \"2.0\"}}", "application/json"),
        ("/a.bin", "{\"asset\": {\"version\": \"2.0\"}}", "model/gltf+json"),
    ];
    let texts = texts.map(|(path, text, kind)| {
        let content = world.content(Content::of(text));
        (world.media.on(path, Answer::file(&content).header("Content-Type", kind)), content)
    });
    world.job("147", Answer::success(&texts.clone().map(|(url, _)| url)));
    world.get(&["147"]).args(&SOON).run().exits(0);
    for (place, (_, content)) in texts.iter().enumerate() {
        world.holds("147", place, content);
    }
}

#[test]
fn words_in_other_encodings_lead_to_the_mirror() {
    let utf16 = "\u{feff}Error".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin = ("text/plain; charset=iso-8859-1", b"Acc\xe8s refus\xe9".to_vec());
    let said = [latin, ("text/plain", utf16)];
    let words =
        said.map(|(kind, words)| Answer::file(&Content::of(&words)).header("Content-Type", kind).into());
    let (world, _) = each_is_left_for_its_mirror(words.into());
    assert!((0..2).all(|place| causes(&world, place) == ["not_media"]));
    let world = World::new();
    let url = world.media.on("/a.m4v", Answer::text("text/plain", "error code: 1015"));
    world.job("147", Answer::success(&[url]));
    world.get(&["147"]).args(&SOON).run().exits(1).says("plain text");
}

#[test]
fn text_behind_a_whole_mp4_is_taken_where_the_protocol_tells_its_end() {
    let world = World::new();
    let bytes =
        [Content::mp4(1, 50_000).bytes(), b"forty-one bytes that some encoder has left".into()].concat();
    let clip = world.content(Content::of(bytes));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn the_right_bytes_are_taken_whatever_their_type_is_called() {
    let world = World::new();
    let kinds = ["application/octet-stream", "", "text/plain", "video/webm", "text/html", "audio/x; =;;"];
    let clip = a_clip(&world);
    let urls = kinds.iter().enumerate().map(|(place, kind)| {
        let file = Answer::file(&clip).without_header("Content-Type");
        let file = if kind.is_empty() { file } else { file.header("Content-Type", kind) };
        world.media.on(&format!("/{place}"), file)
    });
    world.job("147", Answer::success(&urls.collect::<Vec<_>>()));
    world.get(&["147"]).args(&SOON).run().exits(0);
    for place in 0..kinds.len() {
        world.holds("147", place, &clip);
        assert_eq!(world.entry("147", place)["path"], format!("147-{place}.mp4"));
    }
}

#[test]
fn a_body_without_end_is_cut_off_at_the_largest_size_and_nothing_of_it_stays() {
    let endless = Answer::file(&Content::endless_mp4(1));
    let until_close = endless.clone().framing(Framing::UntilClose);
    for endless in [endless.clone().framing(Framing::Chunked), until_close] {
        let world = one_source(endless, Content::gif(1, 10));
        let done = world.get(&["147", "--max-file-size", "4M"]).args(&SOON).run().exits(1);
        assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
        assert_eq!((world.staged(), world.names("147")), (Vec::new(), vec!["manifest.json".into()]));
    }
    // A length that is told is believed before a byte is taken.
    let world = one_source(endless, Content::gif(1, 10));
    world.get(&["147"]).args(&SOON).run().exits(1).says("9223372036854775807 bytes announced");
    assert_eq!((world.staged(), world.names("147")), (Vec::new(), vec!["manifest.json".into()]));
}

#[test]
fn a_file_of_exactly_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let clip = Content::mp4(1, 60_000);
    for framing in [Framing::Length, Framing::Chunked] {
        let world = one_source(Answer::file(&clip).framing(framing), clip.clone());
        world.get(&["147", "--max-file-size", "59999"]).args(&SOON).run().exits(1);
        world.get(&["147", "--max-file-size", "60000"]).args(&SOON).run().exits(0);
        world.holds("147", 0, &clip);
    }
}

#[test]
fn a_connection_that_is_reset_in_the_middle_twice_costs_no_file() {
    let clip = Content::mp4(1, 3 << 20);
    let file = Answer::file(&clip);
    let reset = file.clone().reset_at(1 << 20).then(file.clone().reset_at(1 << 19)).then(file.clone());
    for script in [reset, Answer::reset_at_once().times(2).then(file)] {
        let world = one_source(script, clip.clone());
        world.get(&["147", "-R", "2"]).run().exits(0);
        world.holds("147", 0, &clip);
        assert_eq!(calls(&world.media), 3);
    }
}

#[test]
fn progress_renews_the_retries() {
    let clip = Content::mp4(1, 1_000_000);
    let cut = Answer::file(&clip).cut_at(150_000);
    let world = one_source(cut, clip.clone());
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    let log = world.media.log();
    assert_eq!((log.len(), world.polls("147").len()), (7, 1));
    assert!(log.windows(2).all(|pair| pair[0].range_from() < pair[1].range_from()), "{log:#?}");
}

#[test]
fn a_mirror_with_other_content_begins_at_its_own_first_byte() {
    let world = World::new();
    let (first, second) = (a_clip(&world), world.content(Content::mp4(2, 60_000)));
    let mirror = world.host();
    let url = world.media.on(
        "/clip.mp4",
        Answer::file(&first).etag(Some("\"same\"")).cut_at(30_000).then(Answer::status(500)),
    );
    let proxy = mirror.on("/clip.mp4", Answer::file(&second).etag(Some("\"same\"")));
    world.job("147", Answer::success_with_proxies(&[url], &[proxy]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &second);
    assert!(mirror.log().iter().all(|seen| seen.header("Range").is_none()));
}

#[test]
fn one_output_of_three_that_fails_is_fetched_by_the_next_run_and_the_others_are_not() {
    let world = World::new();
    let clips: Vec<Content> = (0..3).map(|seed| world.content(Content::mp4(seed, 50_000))).collect();
    let path = |place: usize| format!("/{place}.mp4");
    let mut urls: Vec<String> =
        (0..3).map(|place| world.media.on(&path(place), Answer::file(&clips[place]))).collect();
    urls[1] = world.media.on(&path(1), Answer::html());
    world.job("147", Answer::success(&urls));
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.state("147"), "partial");
    assert_eq!(world.names("147"), ["147-0.mp4", "147-2.mp4", "manifest.json"]);
    world.media.on(&path(1), Answer::file(&clips[1]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    assert_eq!((world.media.calls(&path(0)).len(), world.media.calls(&path(2)).len()), (1, 1));
}

#[test]
fn a_run_over_finished_jobs_asks_for_nothing() {
    let clip = Content::mp4(1, 60_000);
    let world = one_source(Answer::file(&clip), clip.clone());
    let first = world.get(&["147"]).run().exits(0);
    let (record, asked) = (world.manifest("147"), world.api.log().len());
    let again = world.get(&["147"]).run().exits(0);
    assert_eq!((world.media.log().len(), world.api.log().len()), (1, asked));
    assert_eq!((world.manifest("147"), again.stdout()), (record, first.stdout()));
    world.holds("147", 0, &clip);
}

#[test]
fn a_host_that_bears_few_requests_at_once_gets_fewer() {
    let world = World::new();
    // Eight are asked for at once where nothing is known of a host.
    let clips: Vec<Content> = (0..40).map(|seed| world.content(Content::mp4(seed, 20_000))).collect();
    let url = |(place, clip): (usize, &Content)| {
        let (path, file) = (format!("/{place}.mp4"), Answer::file(clip).after(Duration::from_millis(150)));
        let refusal = if place % 2 == 0 { Answer::status(429) } else { Answer::status(503) };
        let bears = move |seen: &Seen| {
            if seen.in_flight > 4 { refusal.clone() } else { file.clone() }
        };
        world.media.on(&path, Answer::decide(bears))
    };
    world.job("147", Answer::success(&clips.iter().enumerate().map(url).collect::<Vec<_>>()));
    world.get(&["147"]).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    let refused = world.media.log().len() - clips.len();
    assert!((1..40).contains(&refused), "{refused} requests were too much for the host");
}

#[test]
fn while_a_host_asks_to_be_left_alone_its_files_come_from_their_mirrors() {
    let world = World::new();
    let mirror = world.host();
    let away = Answer::status(429).header("Retry-After", "60");
    let ids: Vec<String> = (1..=30).map(|id| id.to_string()).collect();
    for (seed, id) in (1..).zip(&ids) {
        let clip = world.content(Content::mp4(seed, 3_000));
        let path = format!("/{id}.mp4");
        let links = [world.media.on(&path, away.clone())];
        world.job(id, Answer::success_with_proxies(&links, &[mirror.on(&path, Answer::file(&clip))]));
    }
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    let done = world.get(&refs).run().exits(0);
    assert!(done.took < Duration::from_secs(30), "it waited {:?} for a host that has mirrors", done.took);
}

#[test]
fn a_host_that_asks_to_be_left_alone_does_not_hold_up_the_jobs_behind_its_own() {
    const AWAY: usize = 1_600;
    let world = World::new();
    let away = world.media.on("/away.mp4", Answer::status(429).header("Retry-After", "60"));
    let mut list = String::new();
    for id in 1..=AWAY {
        world.job(&id.to_string(), Answer::success(std::slice::from_ref(&away)));
        writeln!(list, "{id}").unwrap();
    }
    let clip = world.content(Content::mp4(1, 3_000));
    let healthy = world.host();
    world.job("9000", Answer::success(&[healthy.on("/clip.mp4", Answer::file(&clip))]));
    list.push_str("9000\n");
    let ids = world.file("ids.txt", list);
    let running = world.get(&["-i", ids.to_str().unwrap()]).quietly().spawn();
    healthy.wait_for("the last job's file", |log| !log.is_empty());
    running.signal(Signal::INT);
    running.wait().exits(130);
}
