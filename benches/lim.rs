//! "lim": what a downloader that hashes can do at best on this machine, as a program to compare with.
//!
//! Plain threads, one kept-alive HTTP/1.1 connection each, `recv`, SHA-256 and `write` inline, no API, no proof, no
//! sync, no manifest. `lim CONNECTIONS LIST DIR` fetches the URLs of a list into a folder, names the files by their
//! place, and prints a digest for each.
//!
//! `lim CONNECTIONS LIST DIR IDS ORIGIN` does for each file all that an archive that outlives a power cut takes: it asks
//! the API for the link, syncs the file, gives the job a folder, writes a record, and renames and syncs as vfetch does.
//! It checks nothing and cannot go on after anything; what vfetch takes more than this is the price of doing so. With a
//! sixth word, `ask`, it asks the API and archives nothing: what no program saves that is told of jobs and not of links.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bare program to compare with"
)]

use std::fs::File;
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
    let ([connections, list, folder], more) = words.split_at(words.len().min(3)) else {
        // `cargo bench` without arguments has nothing to measure here: compare.sh gives them.
        return;
    };
    let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    let (urls, folder): (Vec<String>, &Path) = (lines(list), Path::new(folder));
    std::fs::create_dir_all(folder).unwrap();
    let archive = match more {
        [ids, origin, only @ ..] => {
            let only_asks = only == ["ask"];
            Some(Archive { ids: lines(ids), origin, only_asks, root: File::open(folder).unwrap() })
        }
        _ => None,
    };
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..connections.parse().unwrap() {
            threads.spawn(|| {
                let mut connection = Connection { stream: None, buffer: vec![0; BUFFER] };
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(url) = urls.get(place) else { return };
                    let digest = match &archive {
                        Some(archive) => archive.bring(&mut connection, folder, place),
                        None => {
                            connection.fetch(&Url::parse(url).unwrap(), &folder.join(place.to_string())).0
                        }
                    };
                    println!("{digest}  {place}");
                }
            });
        }
    });
}

/// What is done for a file where it is to be archived.
struct Archive<'a> {
    ids: Vec<String>,
    origin: &'a str,
    only_asks: bool,
    root: File,
}

impl Archive<'_> {
    fn bring(&self, connection: &mut Connection, folder: &Path, place: usize) -> String {
        let id = &self.ids[place];
        let api = Url::parse(&format!("{}/api/v1/enterprise/video/fetch/{id}", self.origin)).unwrap();
        let answer = connection.ask(&api);
        let url = answer.split_once("\"output\":[\"").unwrap().1.split_once('"').unwrap().0;
        let (part, note) = (folder.join(format!("{place}.part")), folder.join(format!("{place}.new")));
        let (digest, file) = connection.fetch(&Url::parse(url).unwrap(), &part);
        if self.only_asks {
            return digest;
        }
        file.sync_all().unwrap();
        let job = folder.join(id);
        std::fs::create_dir(&job).unwrap();
        let job_folder = File::open(&job).unwrap();
        // As long as a record of one file is.
        let text = format!("{{\"id\":\"{id}\",\"sha256\":\"{digest}\",\"source\":\"{url}\"}}{:600}\n", "");
        let mut record = File::create(&note).unwrap();
        record.write_all(text.as_bytes()).unwrap();
        record.sync_all().unwrap();
        std::fs::rename(part, job.join("output-0.bin")).unwrap();
        job_folder.sync_all().unwrap();
        std::fs::rename(note, job.join("manifest.json")).unwrap();
        job_folder.sync_all().unwrap();
        self.root.sync_all().unwrap();
        digest
    }
}

/// One connection.
struct Connection {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn send(&mut self, url: &Url, request: &str) -> (&mut TcpStream, &mut [u8]) {
        let stream = self.stream.get_or_insert_with(|| {
            let stream =
                TcpStream::connect((url.host_str().unwrap(), url.port_or_known_default().unwrap())).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        });
        stream.write_all(request.as_bytes()).unwrap();
        (stream, &mut self.buffer)
    }

    fn fetch(&mut self, url: &Url, path: &Path) -> (String, File) {
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url.path(), url.authority());
        let (stream, buffer) = self.send(url, &request);
        let (mut file, mut hasher) = (File::create(path).unwrap(), Sha256::new());
        receive(stream, buffer, |bytes| {
            hasher.update(bytes);
            file.write_all(bytes).unwrap();
        });
        (data_encoding::HEXLOWER.encode(&hasher.finalize()), file)
    }

    fn ask(&mut self, url: &Url) -> String {
        let body = "{\"key\":\"bench\"}";
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            url.path(),
            url.authority(),
            body.len()
        );
        let (stream, buffer) = self.send(url, &request);
        let mut answer = Vec::new();
        receive(stream, buffer, |bytes| answer.extend_from_slice(bytes));
        String::from_utf8(answer).unwrap()
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
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
    take(&buffer[head..filled]);
    left -= filled - head;
    while left > 0 {
        let count = stream.read(buffer).unwrap();
        assert!(count > 0, "cut off");
        take(&buffer[..count]);
        left -= count;
    }
}
