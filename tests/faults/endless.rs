//! What never ends, or claims to be endless: headers, interim answers, trails, drips, lengths.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::shared::{MEMORY, SOON, a_clip, calls, causes};
use crate::support::run::Signal;
use crate::support::{Answer, Content, Framing, World};

/// A host that answers every request with this beginning, and then with this again and again for as long as somebody
/// reads; a pause in between makes it slow. The URL of a file there.
fn repeats(begin: &'static str, again: &'static str, pause: Duration) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    let address = listener.local_addr().expect("an address");
    let tell = move |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(begin.as_bytes());
        let block = if pause.is_zero() { again.repeat(64 * 1024 / again.len()) } else { again.to_owned() };
        while stream.write_all(block.as_bytes()).is_ok() {
            std::thread::sleep(pause);
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || tell(stream));
        }
    });
    format!("http://{address}/clip.mp4")
}

#[test]
fn headers_interim_answers_and_trails_without_end_lead_to_the_mirror() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let now_and_then = Duration::from_millis(200);
    let table = [
        ("headers", repeats(OK, "X-More: and more\r\n", Duration::ZERO)),
        ("slow headers", repeats(OK, "X-More: and more\r\n", now_and_then)),
        ("one header", repeats("HTTP/1.1 200 OK\r\nX-Long: ", "a", Duration::ZERO)),
        ("a status line", repeats("HTTP/1.1 200 ", "very ", Duration::ZERO)),
        ("103", repeats("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", Duration::ZERO)),
        ("slow 103", repeats("", "HTTP/1.1 103 Early Hints\r\n\r\n", now_and_then)),
        ("100", repeats("", "HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO)),
        ("a chunk's extension", repeats(CHUNKED, "1;so=much;", Duration::ZERO)),
        ("a chunk's size", repeats(CHUNKED, "0", Duration::ZERO)),
        (
            "trailers",
            repeats("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n", Duration::ZERO),
        ),
    ];
    let world = World::new();
    let mirror = world.host();
    let (mut urls, mut proxies, mut clips) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (_, url)) in table.iter().enumerate() {
        clips.push(world.content(Content::mp4(place as u64, 50_000)));
        proxies.push(mirror.on(&format!("/{place}.mp4"), Answer::file(&clips[place])));
        urls.push(url.clone());
    }
    world.job("147", Answer::success_with_proxies(&urls, &proxies));
    // These servers leave little of the machine to the mirror, which is to have its time all the same.
    let patient = ["-R", "1", "--idle-timeout", "6s", "--connect-timeout", "6s"];
    let done = world.get(&["147"]).args(&patient).run().exits(0);
    for (place, (what, _)) in table.iter().enumerate() {
        world.holds("147", place, &clips[place]);
        assert_eq!(world.entry("147", place)["rung"], "proxy", "{what} without end");
        assert!(!causes(&world, place).is_empty(), "{what} without end");
    }
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

#[test]
fn a_length_beyond_all_reason_is_refused_at_once_and_leads_to_the_mirror() {
    let world = World::new();
    let clip = a_clip(&world);
    let claim = Framing::Claims(vec!["9223372036854775807".to_owned()]);
    let url = world.media.on("/clip.mp4", Answer::file(&clip).framing(claim).stall_at(30_000));
    let mirror = world.host().on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success_with_proxies(&[url], &[mirror]));
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!((causes(&world, 0), calls(&world.media)), (vec!["too_large".to_owned()], 1));
}

#[test]
fn a_length_that_is_allowed_takes_no_more_room_than_the_bytes_that_came() {
    let world = World::new();
    let clip = Content::mp4(1, 60_000);
    let pebibyte = "1125899906842624";
    let claim = Framing::Claims(vec![pebibyte.to_owned()]);
    let url = world.media.on("/clip.mp4", Answer::file(&clip).framing(claim).stall_at(30_000));
    world.job("147", Answer::success(&[url]));
    let running = world.get(&["147", "--max-file-size", pebibyte]).spawn();
    world.wait_for_staged(30_000);
    let part = std::fs::metadata(world.archive().join(".vfetch/staging/147-0.part")).unwrap();
    assert!(part.len() <= 60_000 && part.blocks() * 512 < 1 << 20, "{} blocks", part.blocks());
    running.signal(Signal::TERM);
    let done = running.wait().exits(143);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

/// Lets the monotonic clock run thirty times as fast.
const FAST_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int (*real)(clockid_t, struct timespec *);
static struct timespec began;
__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &began);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real) begin();
    int result = real(clock, at);
    if (clock == CLOCK_MONOTONIC && result == 0) {
        long long ns = (at->tv_sec - began.tv_sec) * 1000000000LL + at->tv_nsec - began.tv_nsec;
        ns = ns * 30 + began.tv_nsec;
        at->tv_sec = began.tv_sec + ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return result;
}
"#;

#[test]
fn a_file_that_drips_for_ever_is_too_slow_after_a_minute_and_comes_from_its_mirror() {
    let world = World::new();
    let Some(library) = world.preloaded("fast", FAST_CLOCK) else { return };
    let clip = a_clip(&world);
    let url = world.media.on("/clip.mp4", Answer::file(&clip).drip(1, Duration::from_millis(100)));
    let mirror = world.host().on("/clip.mp4", Answer::file(&clip));
    world.job("147", Answer::success_with_proxies(&[url], &[mirror]));
    world
        .get(&["147", "--idle-timeout", "10m", "--connect-timeout", "10m"])
        .env("LD_PRELOAD", library)
        .run()
        .exits(0);
    world.holds("147", 0, &clip);
    assert_eq!((causes(&world, 0), calls(&world.media)), (vec!["too_slow".to_owned()], 1));
}
