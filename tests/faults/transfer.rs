//! What media hosts do with a file: refuse it, break it, stall, send something else, send it oddly, send too much.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256, Sha512};

use crate::support::run::Signal;
use crate::support::{Answer, Content, Done, Framing, Ranges, Script, Server, World, tls};

/// Short waits, so that a row about giving up does not take long.
const SOON: [&str; 6] = ["-R", "1", "--idle-timeout", "1s", "--connect-timeout", "5s"];
/// What a run may need, whatever it is sent.
const MEMORY: u64 = 128 << 20;

fn a_clip(world: &World) -> Content {
    world.content(Content::mp4(1, 60_000))
}

/// A world with a job whose only source is this.
fn one_source(script: impl Into<Script>, clip: Content) -> World {
    let world = World::new();
    world.content(clip);
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", script)]));
    world
}

/// For each of these first sources an output whose mirror is well; asserts that each was asked, and left for it.
fn each_is_left_for_its_mirror(first: Vec<Script>) -> (World, Done) {
    let world = World::new();
    let mirror = world.host();
    let (mut urls, mut proxies, mut clips) = (Vec::new(), Vec::new(), Vec::new());
    for (place, script) in first.into_iter().enumerate() {
        let clip = world.content(Content::mp4(100 + place as u64, 50_000));
        let path = format!("/{place}.mp4");
        urls.push(world.media.on(&path, script));
        proxies.push(mirror.on(&path, Answer::file(&clip)));
        clips.push(clip);
    }
    world.job("147", Answer::success_with_proxies(&urls, &proxies));
    let done = world.get(&["147"]).args(&SOON).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
        let entry = world.entry("147", place);
        assert_eq!(entry["rung"], "proxy", "output {place} came from {entry:#}");
        assert_eq!(entry["source"], proxies[place].as_str());
        assert!(!world.media.calls(&format!("/{place}.mp4")).is_empty(), "source {place} was not asked");
    }
    (world, done)
}

fn causes(world: &World, output: usize) -> Vec<String> {
    let left = world.entry("147", output)["left"].as_array().cloned().unwrap_or_default();
    left.iter().map(|reason| reason["cause"].as_str().unwrap_or_default().to_owned()).collect()
}

fn calls(server: &Server) -> usize {
    server.calls("/clip.mp4").len()
}

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
        assert_eq!((world.state("147"), world.names("147").len()), ("absent".into(), 0));
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
    assert_eq!(world.state("147"), "absent");
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
    let untold = Content::unknown(1, 60_000);
    let world = one_source(until_close(&untold), untold.clone());
    world.get(&["147"]).args(&SOON).run().exits(4);
    assert_eq!(world.names("147").len(), 0);
    let world = one_source(Answer::file(&untold), untold.clone());
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &untold);
}

#[test]
fn bytes_in_an_encoding_that_was_not_asked_for_are_not_taken_for_media() {
    let gzip = |content: &Content| Answer::file(content).header("Content-Encoding", "gzip");
    let packed = Content::of(b"\x1f\x8b\x08\0\0\0\0\0\0\x03not to be kept");
    let (world, _) =
        each_is_left_for_its_mirror(vec![gzip(&packed).into(), gzip(&Content::mp4(1, 60_000)).into()]);
    assert_eq!(causes(&world, 0), ["encoded"]);
    let world = one_source(gzip(&packed), Content::gif(1, 10));
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.names("147"), ["manifest.json"]);
    for seen in world.media.log() {
        assert_eq!(seen.header("Accept-Encoding"), Some("identity"));
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
fn lengths_that_contradict_each_other_or_are_no_numbers_lead_to_the_mirror() {
    let clip = Content::mp4(1, 50_000);
    let claims = |claims: &[&str]| -> Script {
        let claims = claims.iter().map(|claim| (*claim).to_owned()).collect();
        Answer::file(&clip).framing(Framing::Claims(claims)).into()
    };
    each_is_left_for_its_mirror(vec![
        claims(&["50000", "49999"]),
        claims(&["50000, 49999"]),
        Answer::file(&clip).framing(Framing::LengthAndChunked).into(),
        claims(&["-50000"]),
        claims(&["banana"]),
        claims(&["18446744073709551616"]),
        claims(&["0xC350"]),
    ]);
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
    for place in 0..texts.len() {
        assert_eq!(causes(&world, place), ["not_media"], "{:?}", texts[place]);
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
fn headers_without_measure_lead_to_the_mirror() {
    let file = Answer::file(&Content::mp4(1, 50_000));
    let flood = |line: &str, bytes: usize| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n".to_owned();
        Answer::verbatim(head + &line.repeat(bytes / line.len()))
    };
    let (_, done) = each_is_left_for_its_mirror(vec![
        file.clone().header("X-Long", &"a".repeat(1 << 20)).into(),
        flood("X-Many: of these\r\n", 8 << 20).into(),
        flood("x", 8 << 20).into(),
        Answer::verbatim("\0\0garbage in place of a status line\r\n\r\n").into(),
        Answer::verbatim("HTTP/1.1 999999 OK\r\n\r\n").into(),
    ]);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

#[test]
fn a_thousand_interim_answers_before_the_real_one_do_no_harm() {
    let world = World::new();
    let (clip, other) = (a_clip(&world), world.content(Content::mp4(2, 50_000)));
    let many = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(1_000);
    let early = world.media.on("/early.mp4", Answer::file(&clip).preamble(many));
    let go_on =
        world.media.on("/100.mp4", Answer::file(&other).preamble("HTTP/1.1 100 Continue\r\n\r\n".repeat(9)));
    world.job("147", Answer::success(&[early, go_on]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    world.holds("147", 1, &other);
}

#[test]
fn redirects_in_a_circle_are_left_after_ten_steps() {
    let world = World::new();
    let clip = a_clip(&world);
    let circle = world.media.on("/clip.mp4", Answer::redirect(302, "/clip.mp4"));
    let mirror = world.host().on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success_with_proxies(&[circle], &[mirror]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!((causes(&world, 0), calls(&world.media)), (vec!["bad_redirect".into()], 11));
}

#[test]
fn redirects_over_several_hosts_are_followed_and_carry_nothing_along() {
    let world = World::new();
    let clip = a_clip(&world);
    let mut to = world.host().on("/there.mp4", Answer::file(&clip).cut_at(20_000).then(Answer::file(&clip)));
    for (place, status) in [301, 302, 303, 307, 308, 302, 302, 302, 302].into_iter().enumerate() {
        let hop = Answer::redirect(status, &to).header("Set-Cookie", "crumb=1");
        to = world.host().on(&format!("/{place}.mp4"), hop);
    }
    let first = world.media.on("/clip.mp4", Answer::redirect(302, &to));
    world.job("147", Answer::success(std::slice::from_ref(&first)));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.entry("147", 0)["source"], first.as_str());
    assert!(world.hosts().iter().all(|host| host.log().len() == 2), "each hop is asked twice");
}

#[test]
fn redirects_that_lead_away_from_the_web_lead_to_the_mirror() {
    let file = World::new().file("secret.mp4", Content::mp4(9, 50_000).bytes());
    let file = format!("file://{}", file.display());
    let to = |to: &str| Answer::redirect(302, to).into();
    let (world, _) = each_is_left_for_its_mirror(vec![
        to(&file),
        to("file:///etc/passwd"),
        to("ftp://127.0.0.1/clip.mp4"),
        to("data:video/mp4;base64,AAAA"),
        to("javascript:alert(1)"),
        to("http://"),
        to("http://user:word@127.0.0.1/clip.mp4"),
        Answer::status(302).into(),
        Answer::status(304).into(),
    ]);
    assert_eq!(
        (causes(&world, 0), causes(&world, 6)),
        (vec!["bad_redirect".into()], vec!["bad_redirect".into()])
    );
    assert_eq!(world.media.log().len(), 9);
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

/// Six files one after the other from a host that speaks like this; asserts that all come.
fn six_files_in_a_row(spoken: impl Fn(Answer) -> Answer) -> World {
    let world = World::new();
    let clips: Vec<Content> = (0..6).map(|seed| world.content(Content::mp4(seed, 30_000))).collect();
    let url = |(place, clip): (usize, &Content)| {
        world.media.on(&format!("/{place}.mp4"), spoken(Answer::file(clip)))
    };
    world.job("147", Answer::success(&clips.iter().enumerate().map(url).collect::<Vec<_>>()));
    world.get(&["147", "-x", "1", "-R", "2"]).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    world
}

#[test]
fn a_host_that_closes_each_connection_after_its_answer_costs_no_file() {
    let world = six_files_in_a_row(Answer::close_after);
    assert!(world.media.connections() >= 6);
}

#[test]
fn bytes_after_a_body_never_become_the_next_answer() {
    let forged = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 9\r\n\r\nforgeries";
    six_files_in_a_row(|file| file.surplus(*forged));
    six_files_in_a_row(|file| file.surplus(*b"\0\0\r\n\r\n").framing(Framing::Chunked));
}

#[test]
fn odd_but_allowed_ways_to_send_a_file_are_understood() {
    six_files_in_a_row(|file| file.framing(Framing::ChunkedOddly));
    six_files_in_a_row(|file| file.version("HTTP/1.0"));
    let world = six_files_in_a_row(|file| file.header("X-Empty", "").header("x-ODD", " \t two  words "));
    assert!(world.media.connections() < 6, "no connection was used twice");
}

#[test]
fn media_hosts_are_spoken_to_in_http_1_even_where_they_prefer_another() {
    let world = World::new();
    let clip = a_clip(&world);
    let url = world.tls_host().on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    world.get(&["147", "-R", "0", "--ca-cert", tls::CA]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_media_host_whose_certificate_nobody_vouches_for_is_left_for_the_mirror() {
    let world = World::new();
    let clip = a_clip(&world);
    let strange = world.tls_host();
    let url = strange.on("/clip.mp4", Answer::file(&clip));
    let mirror = world.media.on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success_with_proxies(&[url], &[mirror]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!((causes(&world, 0), strange.log().len()), (vec!["tls".into()], 0));
}

#[test]
fn a_host_that_bears_few_requests_at_once_gets_fewer() {
    let world = World::new();
    let clips: Vec<Content> = (0..60).map(|seed| world.content(Content::mp4(seed, 20_000))).collect();
    let url = |(place, clip): (usize, &Content)| {
        let (path, file) = (format!("/{place}.mp4"), Answer::file(clip).after(Duration::from_millis(20)));
        let refusal = if place % 2 == 0 { Answer::status(429) } else { Answer::status(503) };
        let bears = move |seen: &crate::support::Seen| {
            if seen.in_flight > 8 { refusal.clone() } else { file.clone() }
        };
        world.media.on(&path, Answer::decide(bears))
    };
    world.job("147", Answer::success(&clips.iter().enumerate().map(url).collect::<Vec<_>>()));
    world.get(&["147"]).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    let refused = world.media.log().len() - clips.len();
    assert!((1..60).contains(&refused), "{refused} requests were too much for the host");
}

/// Digests of a content as hosts write them: `sha-256=:…:`.
fn digests(content: &Content) -> (String, String, String) {
    let bytes = content.bytes();
    let sha256 = BASE64.encode(&Sha256::digest(&bytes));
    (format!("sha-256=:{sha256}:"), format!("sha-512=:{}:", BASE64.encode(&Sha512::digest(&bytes))), sha256)
}

#[test]
fn bytes_that_are_not_those_of_the_hosts_own_digest_lead_to_the_mirror() {
    let (clip, other) = (Content::mp4(1, 50_000), Content::mp4(2, 50_000));
    let (sha256, sha512, bare) = digests(&other);
    let says = |name: &str, value: &str| Answer::file(&clip).header(name, value);
    let (world, _) = each_is_left_for_its_mirror(vec![
        says("Repr-Digest", &sha256).into(),
        says("Content-Digest", &format!("{sha512}, {sha256};q=1")).into(),
        says("Repr-Digest", &sha512).also_header("Repr-Digest", &sha256).framing(Framing::Chunked).into(),
        says("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==").into(),
        says("x-amz-checksum-sha256", &bare).into(),
    ]);
    for place in 0..5 {
        assert_eq!(causes(&world, place), ["digest_mismatch"]);
    }
    let world = one_source(says("Repr-Digest", &sha256), clip.clone());
    world.get(&["147"]).args(&SOON).run().exits(1).says("Repr-Digest");
    assert_eq!((world.staged(), world.names("147")), (Vec::new(), vec!["manifest.json".into()]));
}

#[test]
fn digests_that_agree_or_cannot_be_read_stand_in_no_ones_way() {
    let world = World::new();
    let clip = world.content(Content::of(b"GIF89a\x01\0\x01\0\0\0\0\x3b"));
    let (sha256, sha512, bare) = digests(&clip);
    let md5 = BASE64.encode(&HEXLOWER.decode(b"bc4be32fc23f91be8d1d93f61cf61838").unwrap());
    let answers = [
        ("Repr-Digest", sha256.as_str()),
        ("Content-Digest", &format!("{sha512},{sha256}")),
        ("Content-MD5", &md5),
        ("x-amz-checksum-sha256", &bare),
        ("x-amz-checksum-sha256", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=-3"),
        ("Repr-Digest", "sha-256=:short=:, unixsum=:AAA=:"),
        ("Repr-Digest", "sha-256=garbage"),
        ("Content-MD5", "!"),
        ("Repr-Digest", ""),
    ];
    let urls = answers.iter().enumerate().map(|(place, (name, value))| {
        world.media.on(&format!("/{place}.gif"), Answer::file(&clip).header(name, value))
    });
    world.job("147", Answer::success(&urls.collect::<Vec<_>>()));
    world.get(&["147"]).args(&SOON).run().exits(0);
    for place in 0..answers.len() {
        world.holds("147", place, &clip);
        assert_eq!(world.entry("147", place)["rung"], "output", "{:?}", answers[place]);
    }
}

#[test]
fn a_digest_of_the_whole_is_held_against_a_file_that_came_in_two_parts() {
    let clip = Content::mp4(1, 60_000);
    let right = digests(&clip).0;
    let wrong = digests(&Content::mp4(2, 60_000)).0;
    let cut = Answer::file(&clip).cut_at(30_000);
    // The part's own digest says nothing about the whole.
    let rest = Answer::file(&clip).header("Repr-Digest", &right).header("Content-Digest", &wrong);
    let world = one_source(cut.clone().then(rest), clip.clone());
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.media.log()[1].range_from(), Some(30_000));
    // A file that was changed under the same validator.
    let world = one_source(cut.then(Answer::file(&clip).header("Repr-Digest", &wrong)), clip);
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.names("147"), ["manifest.json"]);
}
