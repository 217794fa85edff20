//! HTTP/2, which only the API is spoken to in, gone wrong: the job is asked for again over a new connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{Answer, Content, World, tls};

type Tls = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// A frame of this type and with these flags, on stream 1 where it belongs to a request.
fn frame(kind: u8, flags: u8, on_the_request: bool, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, u8::from(on_the_request)];
    [&head[..], payload].concat()
}

fn opened(stream: TcpStream, protocol: &[u8]) -> Tls {
    let mut config = rustls::ServerConfig::clone(&tls::config());
    config.alpn_protocols = vec![protocol.to_vec()];
    rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::new(config)).unwrap(), stream)
}

/// Reads until these bytes have come.
fn read_until(stream: &mut Tls, end: &[u8]) -> Option<Vec<u8>> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
    while !read.windows(end.len()).any(|window| window == end) {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
    }
    Some(read)
}

/// An API that speaks HTTP/2 on its first connection, breaks it with these bytes once it was asked, or falls silent, and answers in
/// HTTP/1.1 on all others. Its base URL, and how often it was connected to.
fn breaks_once(with: Option<Vec<u8>>, then: &serde_json::Value) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, body) = (Arc::clone(&connections), then.to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                let mut stream = opened(stream, b"h2");
                // The request's own words: its body is sent as it is.
                if read_until(&mut stream, b"\"key\"").is_some() {
                    match &with {
                        Some(with) => drop(stream.write_all(with).and_then(|()| stream.flush())),
                        // Reads on, and says nothing.
                        None => drop(read_until(&mut stream, b"never said")),
                    }
                }
            } else {
                let mut stream = opened(stream, b"http/1.1");
                while read_until(&mut stream, b"\"key\"").is_some() {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
                    let _ =
                        write!(stream, "{head} {}\r\n\r\n{body}", body.len()).and_then(|()| stream.flush());
                }
            }
        }
    });
    (format!("https://{address}"), connections)
}

#[test]
fn a_connection_in_http_2_that_breaks_its_rules_is_left_for_a_new_one() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GO_AWAY: u8 = 7;
    let settings = frame(SETTINGS, 0, false, &[]);
    let status_200 = frame(HEADERS, 4, true, &[0x88]);
    let after_settings = |frames: &[Vec<u8>]| [&settings[..], &frames.concat()[..]].concat();
    let table = [
        ("closes at once", Vec::new()),
        ("closes after its settings", settings.clone()),
        ("goes away", after_settings(&[frame(GO_AWAY, 0, false, &[0, 0, 0, 0, 0, 0, 0, 2])])),
        ("refuses the stream", after_settings(&[frame(RESET, 0, true, &[0, 0, 0, 7])])),
        ("resets the stream", after_settings(&[frame(RESET, 0, true, &[0, 0, 0, 2])])),
        (
            "resets it in the answer",
            after_settings(&[status_200.clone(), frame(RESET, 0, true, &[0, 0, 0, 2])]),
        ),
        ("closes in the answer", after_settings(&[status_200.clone(), frame(DATA, 0, true, b"{\"sta")])),
        ("sends headers that cannot be unpacked", after_settings(&[frame(HEADERS, 4, true, &[0xff; 9])])),
        ("sends data before headers", after_settings(&[frame(DATA, 0, true, b"{}")])),
        ("sends a frame that is too long", after_settings(&[vec![0xff; 9]])),
        ("forgets its settings", status_200),
        ("pings without end", after_settings(&vec![frame(PING, 0, false, &[0; 8]); 20_000])),
        ("answers in HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()),
    ];
    for (what, bytes) in table {
        leaves(what, Some(bytes));
    }
}

#[test]
fn a_connection_in_http_2_that_falls_silent_is_left_for_a_new_one() {
    leaves("falls silent", None);
}

fn leaves(what: &str, with: Option<Vec<u8>>) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 60_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip));
    let success = json!({ "status": "success", "output": [url] });
    let (api, connections) = breaks_once(with, &success);
    let done = world.get(&["147", "--ca-cert", tls::CA]).base_url(Some(&api)).run();
    assert_eq!(done.code(), 0, "an API that {what}\n{}", done.shown());
    world.holds("147", 0, &clip);
    assert_eq!(connections.load(Ordering::SeqCst), 2, "an API that {what}");
}
