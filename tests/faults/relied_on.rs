//! The server and the contents themselves: what the rows rely on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vfetch::media::{Completeness, MediaKind, Sniff, judge};

use crate::support::server::Server;
use crate::support::verify::key_in;
use crate::support::{Answer, Content, Framing, KEY, Ranges, World};

/// Everything that the server sends until it closes.
fn ask(server: &Server, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.authority()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn get(server: &Server, path: &str, headers: &str) -> (String, Vec<u8>) {
    let answer =
        ask(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end..].to_vec())
}

#[test]
fn contents_are_whole_files_of_their_kind_and_no_two_places_look_alike() {
    let mp4 = judge(&Content::mp4(1, 50_000).bytes());
    assert_eq!((mp4.sniff, mp4.completeness), (Sniff::Kind(MediaKind::Mp4), Completeness::Whole));
    let gif = judge(&Content::gif(1, 5_000).bytes());
    assert_eq!((gif.sniff, gif.completeness), (Sniff::Kind(MediaKind::Gif), Completeness::Whole));
    let unknown = judge(&Content::unknown(1, 5_000).bytes());
    assert_eq!((unknown.sniff, unknown.completeness), (Sniff::Unknown, Completeness::Untold));

    let content = Content::mp4(7, 3 << 20);
    let bytes = content.bytes();
    let mut blocks: Vec<&[u8]> = bytes.chunks_exact(1 << 10).collect();
    let all = blocks.len();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), all, "a block repeats");
    assert_ne!(Content::mp4(7, 1 << 20).sha256(), Content::mp4(8, 1 << 20).sha256());
    let mut middle = vec![0; 70_000];
    assert_eq!(content.fill(1_234_567, &mut middle), middle.len());
    assert_eq!(middle, bytes[1_234_567..][..70_000]);
    let shifted = [&bytes[..5_000], &bytes[6_000..]].concat();
    assert!(content.explain(&shifted).contains("up to byte 5000, where those from byte 6000 follow"));
}

#[test]
fn a_range_is_honoured_only_for_the_content_that_is_asked_for() {
    let (server, content) = (Server::start(), Content::mp4(1, 10_000));
    server.on("/a", Answer::file(&content).etag(Some("\"v1\"")));
    let (head, body) = get(&server, "/a", "Range: bytes=4000-\r\nIf-Range: \"v1\"\r\n");
    assert!(
        head.starts_with("HTTP/1.1 206 ") && head.contains("Content-Range: bytes 4000-9999/10000\r\n"),
        "{head}"
    );
    assert_eq!(body, content.bytes()[4_000..]);
    let (head, body) = get(&server, "/a", "Range: bytes=4000-\r\nIf-Range: \"v0\"\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 10000\r\n"), "{head}");
    assert_eq!(body, content.bytes());
    let (head, _) = get(&server, "/a", "Range: bytes=10000-\r\n");
    assert!(head.starts_with("HTTP/1.1 416 ") && head.contains("Content-Range: bytes */10000\r\n"), "{head}");
    server.on("/a", Answer::file(&content).ranges(Ranges::Shifted(-8)));
    let (head, body) = get(&server, "/a", "Range: bytes=4000-\r\n");
    assert!(head.contains("Content-Range: bytes 3992-9999/10000\r\n"), "{head}");
    assert_eq!(body, content.bytes()[3_992..]);
}

#[test]
fn each_call_of_a_path_gets_the_next_answer_of_its_script_and_the_log_tells_them_apart() {
    let server = Server::start();
    server.on("/a", Answer::status(503).times(2).then(Answer::status(204)));
    let statuses: Vec<String> =
        (0..4).map(|_| get(&server, "/a?x=1", "X-A: b\r\n").0[9..12].to_owned()).collect();
    assert_eq!(statuses, ["503", "503", "204", "204"]);
    let calls = server.calls("/a");
    assert_eq!(calls.iter().map(|seen| seen.call).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(
        (calls[0].header("x-a"), calls[0].target.as_str(), calls[0].in_flight),
        (Some("b"), "/a?x=1", 1)
    );
    assert!(get(&server, "/b", "").0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn bodies_end_as_they_are_told_to() {
    let (server, content) = (Server::start(), Content::mp4(1, 10_000));
    let path = |name: &str, answer: Answer| {
        server.on(name, answer);
        get(&server, name, "")
    };
    assert_eq!(path("/cut", Answer::file(&content).cut_at(100)).1.len(), 100);
    assert!(path("/reset", Answer::file(&content).reset_at(100)).1.len() <= 100);
    assert_eq!(path("/none", Answer::close_at_once()), (String::new(), Vec::new()));
    let (head, body) = path("/until-close", Answer::file(&content).framing(Framing::UntilClose));
    assert!(head.starts_with("HTTP/1.0 200 ") && !head.contains("Content-Length"), "{head}");
    assert_eq!(body, content.bytes());
    let (head, body) = path("/chunked", Answer::file(&content).framing(Framing::Chunked));
    assert!(head.contains("Transfer-Encoding: chunked") && body.ends_with(b"\r\n0\r\n\r\n"), "{head}");
    let (_, body) = path("/endless-chunks", Answer::file(&content).framing(Framing::ChunkedWithoutEnd));
    assert!(!body.ends_with(b"0\r\n\r\n"));
    let claims = Framing::Claims(vec!["1".into(), "2".into()]);
    assert!(
        path("/claims", Answer::file(&content).framing(claims))
            .0
            .contains("Content-Length: 1\r\nContent-Length: 2")
    );
}

#[test]
fn the_key_is_recognised_in_every_form() {
    let body = serde_json::json!({ "key": KEY }).to_string();
    for before in ["", "{\"a\":\"", "x{\"a\":\"b"] {
        let text = format!("{before}{body}");
        assert_eq!(
            key_in(data_encoding::BASE64.encode(text.as_bytes()).as_bytes()),
            Some("base64"),
            "{text}"
        );
    }
    assert!(key_in(body.as_bytes()).is_some());
    assert!(
        key_in(url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect::<String>().as_bytes()).is_some()
    );
    assert_eq!(key_in(b"nothing of the kind"), None);
}

/// What the check after a run says when this is done while the run is under way.
fn caught(deed: impl Fn(&World)) -> String {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let slow = Answer::file(&clip).after(Duration::from_millis(300));
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", slow)]));
    let running = world.get(&["147"]).spawn();
    world.media.wait_for("the request for the clip", |log| !log.is_empty());
    deed(&world);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.wait()));
    let Err(panic) = checked else { return "nothing".into() };
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

type Deed = fn(&World);

#[test]
fn the_check_after_each_run_sees_what_must_not_be() {
    let in_archive = |world: &World, name: &str, bytes: &str| {
        std::fs::create_dir_all(world.archive().join("1")).unwrap();
        std::fs::write(world.archive().join("1").join(name), bytes).unwrap();
    };
    assert_eq!(caught(|_| ()), "nothing");
    let wrong = caught(|world| in_archive(world, "1-0.mp4", "wrong"));
    assert!(wrong.contains("1-0.mp4 holds 5 wrong bytes"), "{wrong}");
    let told = caught(|world| in_archive(world, "1-0.mp4", &format!("{{\"key\":\"{KEY}\"}}")));
    assert!(told.contains("the key is in "), "{told}");
    let named = caught(|world| in_archive(world, "a\u{1b}b", ""));
    assert!(named.contains("is no name for a file"), "{named}");
    let record = caught(|world| in_archive(world, "manifest.json", "{\"version\":1,\"outputs\":3}"));
    assert!(
        record.contains("\"job\" is a required property") && record.contains("3 outputs, but 0 and 0"),
        "{record}"
    );
    let elsewhere: [(Deed, &str); 4] = [
        (|world| drop(world.file("cwd/new", "")), "cwd/new was made outside"),
        (|world| drop(world.file("canary.txt", "dead")), "canary.txt was changed outside"),
        (
            |world| std::fs::remove_file(world.path("home/canary.txt")).unwrap(),
            "canary.txt was removed outside",
        ),
        (|world| drop(get(&world.media, "/x", "Cookie: a=b\r\n")), "a media host saw Cookie"),
    ];
    for (deed, want) in elsewhere {
        let said = caught(deed);
        assert!(said.contains(want), "{want}: {said}");
    }
}

#[test]
fn what_the_network_does_is_traced_so_that_the_search_for_the_key_has_something_to_search() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", Answer::file(&clip))]));
    world.get(&["147"]).run().exits(0).says(" DEBUG ").says(&world.api.authority());
    world.get(&["147"]).quietly().run().exits(0).never_says(" DEBUG ");
}
