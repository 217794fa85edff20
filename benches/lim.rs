//! "lim": what a downloader that hashes can do at best on this machine, as a program to compare with.
//!
//! Plain threads, one kept-alive HTTP/1.1 connection each, `recv`, SHA-256 and `write` inline, no API, no proof, no
//! sync, no manifest. `lim CONNECTIONS LIST DIR` fetches the URLs of a list into a folder, names the files by their
//! place, and prints a digest for each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bare program to compare with"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use url::Url;

/// What one `recv` may bring.
const BUFFER: usize = 256 * 1024;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [connections, list, folder] = words.as_slice() else {
        // `cargo bench` without arguments has nothing to measure here: compare.sh gives them.
        return;
    };
    let urls: Vec<Url> =
        std::fs::read_to_string(list).unwrap().lines().map(|line| Url::parse(line).unwrap()).collect();
    std::fs::create_dir_all(folder).unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..connections.parse().unwrap() {
            threads.spawn(|| work(&urls, &next, Path::new(folder)));
        }
    });
}

fn work(urls: &[Url], next: &AtomicUsize, folder: &Path) {
    let mut buffer = vec![0; BUFFER];
    let mut connection: Option<TcpStream> = None;
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(url) = urls.get(place) else { return };
        let stream = connection.get_or_insert_with(|| {
            let stream =
                TcpStream::connect((url.host_str().unwrap(), url.port_or_known_default().unwrap())).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        });
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url.path(), url.authority());
        stream.write_all(request.as_bytes()).unwrap();
        let digest = receive(stream, &mut buffer, &folder.join(place.to_string()));
        println!("{}  {place}", data_encoding::HEXLOWER.encode(&digest));
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut [u8], path: &Path) -> [u8; 32] {
    let mut filled = 0;
    let (head, mut left) = loop {
        filled += stream.read(&mut buffer[filled..]).unwrap();
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            break (end + 4, length.trim().parse::<usize>().unwrap());
        }
    };
    let mut file = std::fs::File::create(path).unwrap();
    let mut hasher = Sha256::new();
    let mut take = |bytes: &[u8]| {
        hasher.update(bytes);
        file.write_all(bytes).unwrap();
        bytes.len()
    };
    left -= take(&buffer[head..filled]);
    while left > 0 {
        let count = stream.read(buffer).unwrap();
        assert!(count > 0, "cut off");
        left -= take(&buffer[..count]);
    }
    hasher.finalize().into()
}
