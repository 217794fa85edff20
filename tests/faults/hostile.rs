//! What an API must not be able to do to its client: fill its memory, take its key elsewhere, speak to its terminal.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Content, Framing, KEY, World, tls};

/// What a run may need, whatever it is sent.
const MEMORY: u64 = 128 << 20;

fn world_with_a_clip() -> (World, Content, String) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    (world, clip, url)
}

#[test]
fn an_answer_that_does_not_end_is_cut_off_at_its_cap() {
    let world = World::new();
    let endless = Content::padded("{\"status\":\"success\",\"pad\":\"", b'a', 1 << 40, "\"}");
    let answer = Answer::status(200).header("Content-Type", "application/json").body(endless);
    world.job("1", answer.clone());
    world.job("2", answer.framing(Framing::Chunked));
    let done = world.get(&["1", "2", "-R", "1"]).run().exits_with(&[1, 4]);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
    assert!(world.api.body_bytes() < 256 << 20, "{} bytes were taken", world.api.body_bytes());
}

#[test]
fn json_that_is_deep_or_holds_impossible_numbers_is_unreadable_and_nothing_worse() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let texts = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!("{{\"status\":\"success\",\"output\":{}}}", deep("[", "]")),
        "{\"status\":\"processing\",\"eta\":1e400}".into(),
        "{\"status\":\"processing\",\"eta\":-1e308}".into(),
        format!("{{\"status\":\"failed\",\"id\":{},\"message\":\"x\"}}", "9".repeat(5_000)),
        format!("{{\"status\":\"processing\",\"eta\":\"{}\"}}", "9".repeat(5_000)),
        "{\"status\":\"processing\",\"eta\":\"NaN\"}".into(),
        "{\"status\":\"success\",\"status\":\"failed\",\"output\":[]}".into(),
    ];
    for text in texts {
        let world = World::new();
        world.job("147", Answer::text("application/json", &text));
        let done =
            world.get(&["147", "-R", "1", "--wait", "1s", "--timeout", "10s"]).run().exits_with(&[1, 4]);
        assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
    }
}

#[test]
fn a_redirect_of_the_api_is_never_followed_so_that_the_key_stays_where_it_is() {
    for status in [301, 302, 303, 307, 308] {
        for away in [true, false] {
            let (world, _, url) = world_with_a_clip();
            let other = world.host();
            other.on("/steal", Answer::success(std::slice::from_ref(&url)));
            world.api.on("/elsewhere", Answer::success(&[url]));
            let to = if away { other.url("/steal") } else { "/elsewhere".into() };
            world.job("147", Answer::redirect(status, &to));
            world.get(&["147"]).run().exits(1);
            assert!(other.log().is_empty() && world.api.calls("/elsewhere").is_empty(), "{status}");
            assert_eq!(world.polls("147").len(), 1);
        }
    }
}

#[test]
fn a_fetch_url_in_a_pending_answer_leads_the_key_nowhere() {
    let (world, clip, url) = world_with_a_clip();
    let other = world.host();
    let pending = json!({ "status": "processing", "eta": 1, "fetch_result": other.url("/api/v1/enterprise/video/fetch/147") });
    world.job("147", Answer::json(&pending).then(Answer::success(&[url])));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert!(other.log().is_empty());
}

#[test]
fn an_answer_that_drips_for_ever_is_given_up_and_moves_no_deadline() {
    let (world, _, url) = world_with_a_clip();
    world.job("147", Answer::success(&[url]).drip(1, Duration::from_secs(1)));
    let done = world.get(&["147", "--timeout", "3s"]).run().exits(4);
    assert!(done.took < Duration::from_secs(25), "the deadline was 3 s, it took {:?}", done.took);
}

#[test]
fn an_answer_that_is_never_finished_is_given_up_in_its_time_and_asked_for_again() {
    let (world, clip, url) = world_with_a_clip();
    let success = Answer::success(&[url]);
    world.job("147", success.clone().stall_at(30).then(success));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_connection_that_breaks_before_or_within_the_answer_is_made_again() {
    let (world, clip, url) = world_with_a_clip();
    let success = Answer::success(&[url]);
    let before = Answer::reset_at_once().then(Answer::close_at_once());
    let within = success.clone().reset_at(10).then(success.clone().cut_at(10));
    world.job("1", before.then(success.clone()));
    world.job("2", within.then(success));
    world.get(&["1", "2"]).run().exits(0);
    world.holds("1", 0, &clip);
    world.holds("2", 0, &clip);
}

#[test]
fn an_api_that_refuses_connections_is_given_up_within_a_minute() {
    let world = World::new();
    let nobody = world.refusing();
    let done = world.get(&["147"]).base_url(Some(&nobody)).run().exits(4);
    assert!(done.took < Duration::from_secs(60), "{:?}", done.took);
    assert_eq!(world.state("147"), "absent");
}

/// Clear the screen, set the title, the clipboard by OSC 52, a bell, back over the line, letters backwards.
const ORDERS: &str = "x\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}31m\rover\u{8}\u{7f}\u{202e}evil\u{2066}\u{0}\n\u{85}y";

#[test]
fn what_a_server_says_gives_no_orders_to_the_terminal() {
    for show in [&["-v"][..], &["--json"], &["-vv", "--json"], &["-q"]] {
        let (world, clip, url) = world_with_a_clip();
        world.job("1", Answer::failed(ORDERS));
        world.job("2", Answer::json(&json!({ "status": ORDERS, "message": ORDERS })));
        world.job("3", Answer::status(503).body(Content::of(ORDERS)));
        world.job(
            "4",
            Answer::json(
                &json!({ "status": "success", "id": ORDERS, "output": [url], "meta": { "prompt": ORDERS } }),
            ),
        );
        world.job("5", Answer::success(&[format!("http://{ORDERS}/"), ORDERS.to_owned()]));
        let odd = Answer::status(200)
            .header("Content-Type", "text/html")
            .body(Content::of(format!("<html>{ORDERS}")));
        world.job("6", Answer::success(&[world.media.on("/odd.mp4", odd)]));
        let run = world.get(&["1", "2", "3", "4", "5", "6", "--wait", "1s", "-R", "1", "--timeout", "15s"]);
        let run = if show[0] == "-q" { run.quietly() } else { run };
        run.args(show).run().exits(1);
        world.holds("4", 0, &clip);
    }
}

#[test]
fn a_key_that_the_server_repeats_is_shown_and_kept_nowhere() {
    let escaped = serde_json::to_string(KEY).unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect();
    let coded = data_encoding::BASE64.encode(format!("{{\"key\":{escaped}}}").as_bytes());
    let said = format!("your key {KEY} ({escaped}, {encoded}, {coded}) is fine");
    for show in [&["-v"][..], &["--json"]] {
        let (world, clip, url) = world_with_a_clip();
        world.job("1", Answer::failed(&said));
        let done = json!({
            "status": "success", "output": [url], "message": said, "tip": said, "id": said, KEY: "the name of a field",
            "meta": { "key": KEY, "prompt": said, "nested": [{ "deep": said, KEY: 1 }] },
        });
        world.job("2", Answer::json(&done));
        world.job("3", Answer::json(&json!({ "status": said, "message": said })));
        world.job("4", Answer::text("text/html", &format!("<html>{said}")));
        world.job("5", Answer::failed(&said).with_status(400));
        let headers = Answer::file(&clip).header("Last-Modified", KEY).etag(Some(&format!("\"{encoded}\"")));
        world.job("6", Answer::success(&[world.media.on("/headers.mp4", headers)]));
        let encoded = Answer::file(&clip).header("Content-Encoding", KEY);
        world.job("7", Answer::success(&[world.media.on("/encoded.mp4", encoded)]));
        let run = world.get(&["1", "2", "3", "4", "5", "6", "7", "--wait", "1s", "-R", "1"]);
        run.args(show).run().exits(1);
        world.holds("2", 0, &clip);
    }
}

#[test]
fn an_encoding_that_was_not_asked_for_is_no_answer() {
    let (world, clip, url) = world_with_a_clip();
    let success = Answer::success(&[url]);
    world.job("1", success.clone().header("Content-Encoding", "gzip").then(success.clone()));
    let twice = success.clone().header("Content-Encoding", "identity");
    world.job("2", twice.also_header("Content-Encoding", "br"));
    world.get(&["1"]).run().exits(0);
    world.holds("1", 0, &clip);
    world.get(&["2", "-R", "1"]).run().exits(4);
    for seen in world.api.log() {
        assert!(!seen.header("Accept-Encoding").unwrap_or_default().contains("gzip"), "{:?}", seen.headers);
    }
}

#[test]
fn a_compressed_bomb_is_never_unpacked() {
    let world = World::new();
    let bomb =
        Answer::status(200).header("Content-Type", "application/json").header("Content-Encoding", "gzip");
    world.job("147", bomb.body(Content::of(gzip_bomb())));
    let done = world.get(&["147", "-R", "1"]).run().exits_with(&[1, 4]);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

/// Some 3 MiB of gzip that unpack to 480 MiB of one letter: one literal, then copies of 258 bytes from one byte back.
fn gzip_bomb() -> Vec<u8> {
    /// In fixed Huffman codes, from the first bit on: length 285 is 11000101, distance 1 is 00000.
    const COPY: [u8; 13] = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    // The last block, with fixed codes (1, then 1 and 0), and the literal `a` (0x30 + 0x61).
    let head = [1, 1, 0].into_iter().chain((0..8).rev().map(|bit| (0x91_u8 >> bit) & 1));
    let copies = std::iter::repeat_n(COPY, 1_950_000).flatten();
    let bits: Vec<u8> = head.chain(copies).chain([0; 7]).collect();
    let deflated =
        bits.chunks(8).map(|byte| byte.iter().enumerate().map(|(place, bit)| bit << place).sum::<u8>());
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".iter().copied().chain(deflated).chain([0; 8]);
    gzip.collect()
}

#[test]
fn a_host_with_a_certificate_that_nobody_vouches_for_never_sees_the_key() {
    let world = World::with_tls_api();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    world.get(&["147", "-R", "1"]).run().exits_with(&[1, 4]);
    assert!(world.api.log().is_empty() && world.api.connections() > 0);
    world.get(&["147", "--insecure"]).run().exits(2);
    world.get(&["147", "--ca-cert", tls::CA]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn cookies_are_neither_kept_nor_sent() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let cookie = |answer: Answer| answer.header("Set-Cookie", "session=crumb; Path=/");
    let file = cookie(Answer::file(&clip));
    let hop = cookie(Answer::redirect(302, &world.media.on("/there.mp4", file)));
    let url = world.media.on("/here.mp4", hop);
    world.job("1", cookie(Answer::processing()).then(cookie(Answer::success(std::slice::from_ref(&url)))));
    world.job("2", cookie(Answer::success(&[url])));
    world.get(&["1", "2"]).run().exits(0);
    world.holds("1", 0, &clip);
    world.holds("2", 0, &clip);
    assert_eq!((world.polls("1").len(), world.media.calls("/there.mp4").len()), (2, 2));
}
