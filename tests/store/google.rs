//! Google's dialect of S3: what stands between the client for Google Cloud Storage and the S3 server.
//!
//! The client speaks Google's XML interface, which is that of S3 with headers of other names and with generations in
//! place of entity tags for conditions. No emulator that can be installed from a package registry takes writes in it
//! (`fake-gcs-server` and `gcp-storage-emulator` take them as JSON alone), so this translates: names of headers go over
//! as they are, and generations are counted here. One write passes at a time, so a generation that was looked at still
//! holds when the write is passed on.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use serde_json::json;

use super::servers::{little_patience, new_bucket, s3_server};

/// A translator in front of the S3 server, with a new bucket.
pub(crate) struct Translator {
    pub(crate) address: SocketAddr,
    pub(crate) bucket: String,
}

/// The generation of each object, by its path, and the last one that was given.
#[derive(Default)]
struct Generations {
    last: u64,
    now: HashMap<String, u64>,
}

impl Translator {
    /// `None` where there is no S3 server.
    pub(crate) fn new() -> Option<Self> {
        let server = s3_server()?;
        let bucket = new_bucket(server);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let generations: Arc<Mutex<Generations>> = Arc::default();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let generations = Arc::clone(&generations);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is its own affair.
                    let _ = serve(&client, server, &generations);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Some(Self { address, bucket })
    }
}

/// What the S3 server wants to see; it does not look at the signature.
const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=AKIATESTTESTTEST/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// A service account's key as the client reads it: one for a server that asks for none.
pub(crate) fn service_account(server: SocketAddr) -> String {
    let account = json!({"private_key": "topsecret", "private_key_id": "1", "client_email": "a@b.test",
        "disable_oauth": true, "gcs_base_url": format!("http://{server}")});
    account.to_string()
}

/// A client of a bucket.
pub(crate) fn google_client(server: SocketAddr, bucket: &str) -> GoogleCloudStorage {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plain = object_store::ClientOptions::new().with_allow_http(true);
    GoogleCloudStorageBuilder::new()
        .with_service_account_key(service_account(server))
        .with_client_options(plain)
        .with_bucket_name(bucket)
        .with_retry(little_patience())
        .build()
        .unwrap()
}

/// A request that came.
struct Request {
    method: String,
    path: String,
    query: String,
    /// The generation that the object is to have.
    condition: Option<String>,
    /// What is passed on.
    translated: Vec<u8>,
}

impl Request {
    /// `None` where the client closed the connection.
    fn read(client: &TcpStream) -> std::io::Result<Option<Self>> {
        let mut reader = BufReader::new(client);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(None);
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap();
        let (mut condition, mut length) = (None, 0);
        let mut translated = vec![first.to_owned(), "connection: close".into(), SIGNED.into()];
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match name.to_ascii_lowercase().as_str() {
                // The token is Google's.
                "connection" | "authorization" => {}
                "x-goog-if-generation-match" => condition = Some(value.to_owned()),
                name => {
                    if name == "content-length" {
                        length = value.parse().unwrap();
                    }
                    translated.push(format!("{}: {value}", name.replacen("x-goog-", "x-amz-", 1)));
                }
            }
        }
        let mut translated = (translated.join("\r\n") + "\r\n\r\n").into_bytes();
        let begin = translated.len();
        translated.resize(begin + length, 0);
        reader.read_exact(&mut translated[begin..])?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        Ok(Some(Self { method, path, query, condition, translated }))
    }
}

fn serve(
    mut client: &TcpStream,
    server: SocketAddr,
    generations: &Mutex<Generations>,
) -> std::io::Result<()> {
    let Some(request) = Request::read(client)? else { return Ok(()) };
    let Request { method, path, query, condition, translated } = &request;
    let mut generations = generations.lock().unwrap();
    if condition.as_ref().is_some_and(|condition| *condition != generations.of(path).to_string()) {
        let refusal =
            "<Error><Code>PreconditionFailed</Code><Message>A condition did not hold.</Message></Error>";
        let length = refusal.len();
        return write!(
            client,
            "HTTP/1.1 412 x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{refusal}"
        );
    }
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(translated)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let is_done = head.starts_with("HTTP/1.1 2");
    match method.as_str() {
        "DELETE" if is_done && query.is_empty() => drop(generations.now.remove(path)),
        // A piece of a large object is no object yet.
        "PUT" if is_done && query.is_empty() => generations.count(path),
        "POST" if is_done && query.contains("uploadId") => generations.count(path),
        _ => {}
    }
    let now = generations.of(path);
    drop(generations);
    client.write_all(head.replace("\r\nx-amz-", "\r\nx-goog-").as_bytes())?;
    if is_done && now > 0 {
        write!(client, "\r\nx-goog-generation: {now}")?;
    }
    client.write_all(&answer[end..])
}

impl Generations {
    fn of(&self, path: &str) -> u64 {
        self.now.get(path).copied().unwrap_or(0)
    }

    fn count(&mut self, path: &str) {
        self.last += 1;
        // Google's are microseconds since 1970.
        self.now.insert(path.into(), 1_700_000_000_000_000 + self.last);
    }
}
