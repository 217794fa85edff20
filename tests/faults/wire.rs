//! How media hosts speak: lengths, headers, redirects, connections, protocols, certificates.

use crate::shared::{MEMORY, SOON, a_clip, calls, causes, each_is_left_for_its_mirror};
use crate::support::{Answer, Content, Framing, Script, World, tls};

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
fn a_body_that_is_coded_in_another_way_than_in_chunks_leads_to_the_mirror() {
    let body = Content::mp4(1, 50_000).bytes();
    let coded = |lines: &str| -> Script {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n{lines}\r\n\r\n");
        Answer::verbatim([head.into_bytes(), body.clone()].concat()).into()
    };
    let (world, _) = each_is_left_for_its_mirror(vec![
        coded("Transfer-Encoding: identity"),
        coded("Transfer-Encoding: gzip"),
        coded("Transfer-Encoding: chunked, identity"),
        coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        coded("Transfer-Encoding: "),
    ]);
    assert!((0..5).all(|place| causes(&world, place) == ["malformed"]));
    let twice = Answer::file(&Content::mp4(1, 50_000)).framing(Framing::Chunked);
    let twice = twice.header("Transfer-Encoding", "gzip");
    each_is_left_for_its_mirror(vec![twice.into()]);
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
