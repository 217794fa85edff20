//! A proxy in front of a server that misbehaves on cue, and remembers what passed.
//!
//! It speaks one request a connection, forwards a request as it came, and lets one write pass at a time, as a real store
//! decides each condition at one moment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::places::Place;
use super::servers::{new_bucket, s3_server};

/// What is done with a request in place of passing it on and its answer back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Not passed on; this status and body are answered.
    Answer(u16, &'static str),
    /// Passed on; this status and body are answered.
    AnswerAfter(u16, &'static str),
    /// Passed on; the connection is closed without an answer.
    LoseAnswer,
    /// Passed on; the connection is closed after so many bytes of the answer's body.
    Cut(usize),
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query as they came.
    pub(crate) target: String,
    /// What `x-amz-checksum-sha256` says, and whether that is the body's digest.
    pub(crate) checksum: Option<bool>,
    pub(crate) bytes: usize,
}

struct Rule {
    method: &'static str,
    part: String,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    writes: Mutex<()>,
    without_conditions: Mutex<bool>,
    /// How many requests it still answers; `None` where there is no end to them.
    lives: Mutex<Option<usize>>,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// The server behind it.
    pub(crate) server: SocketAddr,
    pub(crate) bucket: String,
    state: Arc<State>,
}

impl Proxy {
    /// In front of the S3 server, with a new bucket; `None` where there is no server.
    pub(crate) fn new() -> Option<Self> {
        let server = s3_server()?;
        Some(Self::before(server, new_bucket(server)))
    }

    /// In front of any server, with a bucket that it has.
    pub(crate) fn before(server: SocketAddr, bucket: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is its own affair.
                    let _ = serve(&client, server, &state);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, server, bucket, state }
    }

    /// An archive in the bucket, through the proxy.
    pub(crate) fn place(&self) -> Place {
        Place::s3_at(self.address, &self.bucket)
    }

    /// The next so many requests of this method whose path or query has this part meet the fault.
    pub(crate) fn on(&self, method: &'static str, part: &str, times: usize, fault: Fault) {
        self.state.rules.lock().unwrap().push(Rule { method, part: part.into(), fault, times });
    }

    /// After so many requests more it closes every connection without an answer.
    pub(crate) fn dies_after(&self, requests: usize) {
        *self.state.lives.lock().unwrap() = Some(requests);
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        self.state.rules.lock().unwrap().clear();
        *self.state.lives.lock().unwrap() = None;
    }

    /// How many faults were not met yet.
    pub(crate) fn left(&self) -> usize {
        self.state.rules.lock().unwrap().iter().map(|rule| rule.times).sum()
    }

    /// From now on conditions are taken off what is passed on.
    pub(crate) fn drop_conditions(&self) {
        *self.state.without_conditions.lock().unwrap() = true;
    }

    /// What came since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.state.seen.lock().unwrap())
    }

    /// Waits until so many writes more have come, or the writer has nothing more to write.
    pub(crate) fn wait_for_writes(&self, writes: usize) {
        let came = || Self::count(&self.state.seen.lock().unwrap(), "PUT", "");
        let want = came() + writes;
        for _ in 0..2_000 {
            if came() >= want {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// What of it was of this method and had this part.
    pub(crate) fn count(seen: &[Seen], method: &str, part: &str) -> usize {
        seen.iter().filter(|seen| seen.method == method && seen.target.contains(part)).count()
    }
}

fn serve(client: &TcpStream, server: SocketAddr, state: &State) -> std::io::Result<()> {
    match &mut *state.lives.lock().unwrap() {
        None => {}
        Some(0) => return Ok(()),
        Some(requests) => *requests -= 1,
    }
    let mut reader = BufReader::new(client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (first, headers) = head.split_once("\r\n").unwrap();
    let header = |name: &str| {
        let lines = headers.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let digest = data_encoding::BASE64.encode(&Sha256::digest(&body));
    let checksum = header("x-amz-checksum-sha256").map(|said| said == digest);
    let fault = fault_for(state, &method, &target);
    state.seen.lock().unwrap().push(Seen { method: method.clone(), target, checksum, bytes: body.len() });
    if let Some(Fault::Answer(status, text)) = fault {
        return answer(client, status, text);
    }
    let drops = *state.without_conditions.lock().unwrap();
    let forwarded: String = head
        .split_inclusive("\r\n")
        .filter(|line| {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            name != "connection" && !(drops && matches!(name.as_str(), "if-match" | "if-none-match"))
        })
        .collect();
    let forwarded = forwarded.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let answered = {
        let _one = (method == "PUT" || method == "POST").then(|| state.writes.lock().unwrap());
        let mut upstream = TcpStream::connect(server)?;
        upstream.write_all(forwarded.as_bytes())?;
        upstream.write_all(&body)?;
        let mut answered = Vec::new();
        upstream.read_to_end(&mut answered)?;
        answered
    };
    let mut client = client;
    match fault {
        None => client.write_all(&answered),
        Some(Fault::LoseAnswer) => Ok(()),
        Some(Fault::AnswerAfter(status, text)) => answer(client, status, text),
        Some(Fault::Cut(bytes)) => {
            let body = answered.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            client.write_all(&answered[..(body + bytes).min(answered.len())])
        }
        Some(Fault::Answer(..)) => unreachable!("answered above"),
    }
}

fn fault_for(state: &State, method: &str, target: &str) -> Option<Fault> {
    let mut rules = state.rules.lock().unwrap();
    let rule = rules
        .iter_mut()
        .find(|rule| rule.times > 0 && rule.method == method && target.contains(&rule.part))?;
    rule.times -= 1;
    Some(rule.fault)
}

fn answer(mut client: &TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(client, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
