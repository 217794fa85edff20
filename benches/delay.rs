//! A long way: passes connections on to a server, and every byte arrives so much later.
//!
//! `delay LISTEN SERVER ROUND_TRIP_MS` accepts at an address, connects to the server, and holds what comes from either
//! side for half a round trip; the bytes of a moment travel together, at any bandwidth. `benches/compare.sh -r` puts
//! it between the programs and nginx where the kernel cannot delay packets itself.
//!
//! What it cannot do: the kernel answers a connection's SYN at once. So the first bytes of a connection are held a whole
//! round trip longer, which is what its handshake would have taken; a client that waits for its connection before it
//! does something else sees no difference in the sum. Nor does a connection begin slowly here, as TCP does over a long
//! way: all programs are spared the same.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bare program to measure with, and it reads the clock"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What is read at once.
const CHUNK: usize = 256 * 1024;
/// Chunks under way in one direction of one connection. Enough never to be full at the sizes measured: a full line
/// would be a narrow way, not a long one.
const UNDER_WAY: usize = 256;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [listen, server, round_trip] = words.as_slice() else {
        // `cargo bench` without arguments has nothing to measure here: compare.sh gives them.
        return;
    };
    let round_trip = Duration::from_millis(round_trip.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(pass_on(listen, server.clone(), round_trip));
}

async fn pass_on(listen: &str, server: String, round_trip: Duration) {
    let listener = TcpListener::bind(listen).await.unwrap();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(&server).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (from_near, to_near) = near.into_split();
        let (from_far, to_far) = far.into_split();
        tokio::spawn(hold(from_near, to_far, round_trip / 2, Instant::now() + round_trip));
        tokio::spawn(hold(from_far, to_near, round_trip / 2, Instant::now()));
    }
}

/// One direction of a connection; nothing goes out before the connection would have been there and half a trip is over.
async fn hold(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, half: Duration, connected: Instant) {
    let (send, mut line) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let arrive = async move {
        while let Some((due, bytes)) = line.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let depart = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now().max(connected) + half;
            if send.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(arrive, depart);
}
