//! A server on loopback that speaks HTTP by hand, so that it can break every rule of it, and remembers what it saw.
//!
//! Each connection has a thread. A path has a [`Script`]; a path without one is a 404. Everything that was asked is
//! in the log, and a test waits for what it needs to see there ([`Server::wait_for`]) instead of sleeping.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{Answer, Before, Ending, Framing, Script};
use super::content::Content;
use super::prepared::Prepared;

/// A stalled connection looks this often whether the client has given up.
const LOOK_EACH: Duration = Duration::from_millis(50);
/// Bodies go out in steps of this size.
const STEP: usize = 64 * 1024;
/// A request is never longer.
const REQUEST_MAX: usize = 1 << 20;
/// What [`Server::wait_for`] waits at most.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// A request that a server saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) method: String,
    /// The path and the query, as they stood in the request line.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Which call of its path it is, from 0.
    pub(crate) call: usize,
    /// How many requests were under way at this host, this one included; never more than the client had.
    pub(crate) in_flight: usize,
}

impl Seen {
    /// The header of this name, in any letter case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut same = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        same.next().map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first byte of an open range that was asked for.
    pub(crate) fn range_from(&self) -> Option<u64> {
        self.header("Range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// A server on a port of its own.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: bool,
}

#[derive(Debug, Default)]
struct Shared {
    scripts: Mutex<HashMap<String, (Script, usize)>>,
    log: Mutex<Vec<Seen>>,
    news: Condvar,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    body_bytes: AtomicU64,
    stop: AtomicBool,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// A server that speaks plain HTTP.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// A server that speaks TLS, with the certificate of `fixtures/tls`, which nobody trusts.
    pub(crate) fn start_tls() -> Self {
        Self::start_with(Some(super::tls::config()))
    }

    /// A server that speaks TLS, and says that it would rather speak HTTP/2, which it cannot.
    pub(crate) fn start_tls_preferring_http_2() -> Self {
        let mut config = rustls::ServerConfig::clone(&super::tls::config());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::start_with(Some(Arc::new(config)))
    }

    fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (for_thread, is_tls) = (Arc::clone(&shared), tls.is_some());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, tls) = (Arc::clone(&for_thread), tls.clone());
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if let Some(wire) = Wire::open(stream, tls) {
                        Connection { shared, wire, input: Vec::new(), under_way: None }.serve();
                    }
                });
            }
        });
        Self { shared, address, tls: is_tls }
    }

    /// The URL of a path of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// The host and port.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Says how this path is answered; the query counts only where the path given here has one. Returns its URL.
    pub(crate) fn on(&self, path: &str, script: impl Into<Script>) -> String {
        held(&self.shared.scripts).insert(path.into(), (script.into(), 0));
        self.url(path)
    }

    /// Every request so far, in their order.
    pub(crate) fn log(&self) -> Vec<Seen> {
        held(&self.shared.log).clone()
    }

    /// The requests for this path.
    pub(crate) fn calls(&self, path: &str) -> Vec<Seen> {
        let mut log = self.log();
        log.retain(|seen| seen.target == path || seen.path() == path);
        log
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies went out, over all answers.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.log().iter().map(|seen| seen.in_flight).max().unwrap_or(0)
    }

    /// Waits until the log shows it.
    pub(crate) fn wait_for(&self, what: &str, shows: impl Fn(&[Seen]) -> bool) {
        let deadline = Instant::now() + SEEN_WITHIN;
        let mut log = held(&self.shared.log);
        while !shows(&log) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} was not seen within {SEEN_WITHIN:?}; the log: {log:#?}");
            let waited = self.shared.news.wait_timeout(log, left);
            log = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until so many bytes of bodies went out in all.
    pub(crate) fn wait_for_body_bytes(&self, bytes: u64) {
        let deadline = Instant::now() + SEEN_WITHIN;
        while self.body_bytes() < bytes {
            assert!(Instant::now() < deadline, "{} of {bytes} bytes went out", self.body_bytes());
            std::thread::sleep(LOOK_EACH / 10);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; where that fails, the thread ends with the process.
        let _ = TcpStream::connect(self.address);
    }
}

/// What a connection runs over.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>),
}

impl Wire {
    fn open(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        let Some(config) = tls else { return Some(Self::Plain(stream)) };
        let connection = rustls::ServerConnection::new(config).ok()?;
        Some(Self::Tls(Box::new(rustls::StreamOwned::new(connection, stream))))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Ends the connection with a reset.
    fn reset(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Ends the connection in an orderly way, without losing what is on its way.
    fn close(&mut self) {
        let _ = self.flush();
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.tcp().shutdown(Shutdown::Write);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// How a connection goes on after an answer.
enum After {
    KeepAlive,
    Close,
    Reset,
}

struct Connection {
    shared: Arc<Shared>,
    wire: Wire,
    input: Vec<u8>,
    /// Given up before the last byte goes out: what the client may take for the end must not come before it.
    under_way: Option<UnderWay>,
}

impl Connection {
    fn serve(mut self) {
        while let Some((mut seen, asks_to_close)) = self.read_request() {
            let script = {
                let mut scripts = held(&self.shared.scripts);
                let key =
                    if scripts.contains_key(&seen.target) { seen.target.clone() } else { seen.path().into() };
                scripts.get_mut(&key).map(|(script, calls)| {
                    *calls += 1;
                    (script.clone(), *calls - 1)
                })
            };
            seen.call = script.as_ref().map_or(0, |(_, call)| *call);
            let under_way = UnderWay::begin(&self.shared);
            seen.in_flight = under_way.count;
            self.under_way = Some(under_way);
            held(&self.shared.log).push(seen.clone());
            self.shared.news.notify_all();
            let answer = match script {
                Some((script, call)) => script.answer(call),
                None => Answer::status(404)
                    .body(Content::of("{\"status\":\"error\",\"message\":\"Request not found\"}")),
            };
            let answer = answer.decide.as_ref().map_or_else(|| answer.clone(), |decide| decide(&seen));
            let after = self.answer(&answer, &seen);
            self.under_way = None;
            match after {
                Ok(After::KeepAlive) if !asks_to_close => {}
                Ok(After::KeepAlive | After::Close) | Err(_) => return self.wire.close(),
                Ok(After::Reset) => return self.wire.reset(),
            }
        }
    }

    fn read_request(&mut self) -> Option<(Seen, bool)> {
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut request_line = lines.next()?.split(' ');
        let (method, target) = (request_line.next()?.to_owned(), request_line.next()?.to_owned());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().into(), value.trim().into()))
            .collect();
        let mut seen =
            Seen { at: Instant::now(), method, target, headers, body: Vec::new(), call: 0, in_flight: 0 };
        let length: usize = seen.header("Content-Length").and_then(|text| text.parse().ok()).unwrap_or(0);
        while self.input.len() < end + length {
            self.read_more()?;
        }
        seen.body = self.input[end..end + length].to_vec();
        self.input.drain(..end + length);
        let asks_to_close =
            seen.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Some((seen, asks_to_close))
    }

    fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let count = self.wire.read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.input.extend_from_slice(&buffer[..count]);
        (self.input.len() <= REQUEST_MAX).then_some(())
    }

    fn answer(&mut self, answer: &Answer, seen: &Seen) -> io::Result<After> {
        match answer.before {
            Before::Nothing => {}
            Before::Wait(wait) => self.pause(wait)?,
            Before::Stall => return self.stall(),
            Before::Close => return Ok(After::Close),
            Before::Reset => return Ok(After::Reset),
        }
        if let Some(bytes) = &answer.verbatim {
            self.under_way = None;
            self.wire.write_all(bytes)?;
            return Ok(After::Close);
        }
        self.wire.write_all(&answer.preamble)?;
        let prepared = Prepared::new(answer, seen);
        if prepared.len() == 0 {
            self.under_way = None;
        }
        self.wire.write_all(prepared.head(answer).as_bytes())?;
        let after = self.send_body(answer, &prepared)?;
        self.wire.write_all(&answer.surplus)?;
        self.wire.flush()?;
        Ok(if answer.close { After::Close } else { after })
    }

    fn send_body(&mut self, answer: &Answer, prepared: &Prepared) -> io::Result<After> {
        let (step, pause) = answer.drip.unwrap_or((STEP, Duration::ZERO));
        let stop_at = match answer.ending {
            Ending::Whole => u64::MAX,
            Ending::CutAt(bytes) | Ending::ResetAt(bytes) | Ending::StallAt(bytes) => bytes,
        };
        let (mut sent, mut buffer) = (0, vec![0; step.min(STEP)]);
        loop {
            let most = usize::try_from(stop_at - sent).unwrap_or(usize::MAX).min(buffer.len());
            let count = prepared.fill(sent, &mut buffer[..most]);
            if count == 0 {
                break;
            }
            sent += count as u64;
            if sent == stop_at.min(prepared.len()) {
                self.under_way = None;
            }
            self.send_piece(answer, &buffer[..count])?;
            self.shared.body_bytes.fetch_add(count as u64, Ordering::SeqCst);
            self.pause(pause)?;
        }
        match answer.ending {
            Ending::CutAt(bytes) if sent == bytes => return Ok(After::Close),
            Ending::ResetAt(bytes) if sent == bytes => return Ok(After::Reset),
            Ending::StallAt(bytes) if sent == bytes => return self.stall(),
            _ => {}
        }
        match answer.framing {
            Framing::Length => Ok(After::KeepAlive),
            Framing::Claims(_) | Framing::ChunkedWithoutEnd | Framing::UntilClose => Ok(After::Close),
            Framing::Chunked | Framing::LengthAndChunked => {
                self.wire.write_all(b"0\r\n\r\n")?;
                Ok(After::KeepAlive)
            }
            Framing::ChunkedOddly => {
                self.wire.write_all(b"000;last=\"yes\"\r\nX-Trailer: 1\r\nETag: \"trailer\"\r\n\r\n")?;
                Ok(After::KeepAlive)
            }
        }
    }

    fn send_piece(&mut self, answer: &Answer, piece: &[u8]) -> io::Result<()> {
        /// Small enough that a file has many.
        const ODD_PIECE: usize = 1_021;
        match answer.framing {
            Framing::Length | Framing::Claims(_) | Framing::UntilClose => self.wire.write_all(piece),
            Framing::Chunked | Framing::ChunkedWithoutEnd | Framing::LengthAndChunked => {
                self.wire.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                self.wire.write_all(piece)?;
                self.wire.write_all(b"\r\n")
            }
            Framing::ChunkedOddly => piece.chunks(ODD_PIECE).try_for_each(|piece| {
                self.wire.write_all(format!("00{:X};name=\"a;b\"\r\n", piece.len()).as_bytes())?;
                self.wire.write_all(piece)?;
                self.wire.write_all(b"\r\n")
            }),
        }
    }

    /// Waits, but not longer than the server lives.
    fn pause(&self, pause: Duration) -> io::Result<()> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.still_here()?;
            std::thread::sleep(left.min(LOOK_EACH));
        }
    }

    fn still_here(&self) -> io::Result<()> {
        if self.shared.stop.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Sends nothing until the client gives up.
    fn stall(&mut self) -> io::Result<After> {
        self.under_way = None;
        self.wire.flush()?;
        self.wire.tcp().set_read_timeout(Some(LOOK_EACH))?;
        let mut buffer = [0; 64];
        loop {
            self.still_here()?;
            match self.wire.read(&mut buffer) {
                Ok(0) => return Ok(After::Close),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Counts a request while it is under way.
struct UnderWay {
    shared: Arc<Shared>,
    count: usize,
}

impl UnderWay {
    fn begin(shared: &Arc<Shared>) -> Self {
        Self { count: shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1, shared: Arc::clone(shared) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
