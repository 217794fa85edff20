//! Against a server that nobody here wrote: nginx answers for the API (static JSON) and for two media hosts.
//!
//! 200 files of three kinds; over plain HTTP and over TLS under a CA of our own, with HTTP/2 on and off; with the
//! output host shut down, so that the proxy host serves. Every SHA-256 in the records is compared with the files in
//! the server's own folder. Where nginx is absent the tests say that they were skipped.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test may panic, reads files, and says when it is skipped"
)]

#[path = "support/port.rs"]
mod port;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use port::Port;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const JOBS: usize = 100;
const KEY: &str = "nginx-needs-no-key";

/// One nginx with its document root and its ports; it ends with the test.
struct Nginx {
    process: Child,
    _ports: [Port; 3],
    root: tempfile::TempDir,
    api: String,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Clone, Copy)]
struct Setup {
    tls: bool,
    http2: bool,
    output_host_is_up: bool,
}

fn nginx() -> Option<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx", "/opt/homebrew/bin/nginx"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: nginx is not installed, so nothing was fetched from it");
    }
    found
}

/// A whole file of one of three kinds whose bytes are not those of any other.
fn media(number: usize) -> (&'static str, Vec<u8>) {
    let noise: Vec<u8> = (0..3_000 + 977 * number)
        .map(|at| u8::try_from((at * 31 + number * 17) % 256).unwrap() | 1)
        .collect();
    match number % 3 {
        0 => {
            let blocks =
                noise.chunks(255).flat_map(|block| [&[u8::try_from(block.len()).unwrap()], block].concat());
            let comment: Vec<u8> = blocks.collect();
            ("gif", [b"GIF89a\x01\0\x01\0\0\0\0\x21\xfe".as_slice(), &comment, b"\0\x3b"].concat())
        }
        1 => {
            let size = u32::try_from(noise.len() + 8).unwrap().to_be_bytes();
            let head = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov".as_slice();
            ("mp4", [head, &size, b"mdat", &noise].concat())
        }
        _ => {
            let size = u32::try_from(noise.len() + 12).unwrap().to_le_bytes();
            let data = u32::try_from(noise.len()).unwrap().to_le_bytes();
            ("wav", [b"RIFF".as_slice(), &size, b"WAVEdata", &data, &noise].concat())
        }
    }
}

fn start(nginx: &Path, setup: Setup) -> Nginx {
    let root = tempfile::tempdir().unwrap();
    let mut ports: [Port; 3] = std::array::from_fn(|_| Port::reserve());
    let [api, output, proxy] = ports.each_mut().map(Port::lend);
    let scheme = if setup.tls { "https" } else { "http" };
    write_site(
        root.path(),
        &format!("{scheme}://127.0.0.1:{output}"),
        &format!("{scheme}://127.0.0.1:{proxy}"),
    );
    if setup.tls {
        write_certificates(root.path());
    }
    let mut media_ports = vec![proxy];
    media_ports.extend(setup.output_host_is_up.then_some(output));
    std::fs::write(root.path().join("nginx.conf"), config(root.path(), setup, api, &media_ports)).unwrap();
    let mut process = Command::new(nginx)
        .args([
            "-p",
            root.path().to_str().unwrap(),
            "-c",
            "nginx.conf",
            "-e",
            "error.log",
            "-g",
            "daemon off;",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    for port in media_ports.into_iter().chain([api]) {
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "nginx does not run");
            std::thread::yield_now();
        }
    }
    Nginx { process, _ports: ports, root, api: format!("{scheme}://127.0.0.1:{api}") }
}

/// Two files a job, and the API's answers as static JSON.
fn write_site(root: &Path, output: &str, proxy: &str) {
    let answers = root.join("site/api/v1/enterprise/video/fetch");
    let files = root.join("site/clips");
    std::fs::create_dir_all(&answers).unwrap();
    std::fs::create_dir_all(&files).unwrap();
    for job in 0..JOBS {
        let mut names = Vec::new();
        for number in [2 * job, 2 * job + 1] {
            let (extension, bytes) = media(number);
            let name = format!("clip-{number}.{extension}");
            std::fs::write(files.join(&name), bytes).unwrap();
            names.push(name);
        }
        let links = |host: &str| names.iter().map(|name| format!("{host}/clips/{name}")).collect::<Vec<_>>();
        let answer = json!({ "status": "success", "id": 1_000 + job, "output": links(output), "proxy_links": links(proxy) });
        std::fs::write(answers.join((1_000 + job).to_string()), answer.to_string()).unwrap();
    }
}

fn write_certificates(root: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    std::fs::write(root.join("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(root.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(root.join("server.key"), key.serialize_pem()).unwrap();
}

fn config(root: &Path, setup: Setup, api: u16, media_ports: &[u16]) -> String {
    let root = root.display();
    let flags = match (setup.tls, setup.http2) {
        (true, true) => " ssl http2",
        (true, false) => " ssl",
        (false, _) => "",
    };
    let tls = if setup.tls {
        format!("ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.key;")
    } else {
        String::new()
    };
    let mut servers = format!(
        "server {{ listen 127.0.0.1:{api}{flags}; root {root}/site; default_type application/json; error_page 405 =200 $uri; }}"
    );
    for port in media_ports {
        write!(servers, " server {{ listen 127.0.0.1:{port}{flags}; root {root}/site; }}").unwrap();
    }
    format!(
        "master_process off; pid nginx.pid; events {{ worker_connections 512; }} http {{ access_log access.log; \
         client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp; \
         {tls} {servers} }}"
    )
}

fn get(nginx: &Nginx, out: &Path, setup: Setup) -> Output {
    let mut list = String::new();
    for job in 0..JOBS {
        writeln!(list, "{}", 1_000 + job).unwrap();
    }
    let ids = nginx.root.path().join("ids.txt");
    std::fs::write(&ids, list).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfetch"));
    command.env_clear().env("MODELSLAB_API_KEY", KEY).args([
        "get",
        "-q",
        "-R1",
        "--base-url",
        &nginx.api,
        "-i",
    ]);
    command.arg(&ids).arg("-o").arg(out);
    if setup.tls {
        command.arg("--ca-cert").arg(nginx.root.path().join("ca.pem"));
    }
    command.output().unwrap()
}

fn sha256(path: &Path) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(std::fs::read(path).unwrap()))
}

/// Each record names two files whose digests are those of the server's own.
fn compare(nginx: &Nginx, out: &Path, rung: &str) {
    let mut compared = 0;
    for job in 0..JOBS {
        let folder = out.join((1_000 + job).to_string());
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        for (index, file) in manifest["files"].as_array().unwrap().iter().enumerate() {
            let number = 2 * job + index;
            let (extension, _) = media(number);
            let original = nginx.root.path().join(format!("site/clips/clip-{number}.{extension}"));
            let fetched = folder.join(file["path"].as_str().unwrap());
            assert_eq!(
                (sha256(&fetched), file["rung"].as_str()),
                (sha256(&original), Some(rung)),
                "{}",
                fetched.display()
            );
            assert_eq!(file["sha256"], Value::String(sha256(&original)));
            assert!(fetched.extension().is_some_and(|found| found == extension), "{}", fetched.display());
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * JOBS);
}

fn bring_home(setup: Setup, rung: &str) {
    let Some(nginx) = nginx() else { return };
    let nginx = start(&nginx, setup);
    let out = tempfile::tempdir().unwrap();
    let run = get(&nginx, out.path(), setup);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8(run.stdout).unwrap().lines().count(), 2 * JOBS);
    compare(&nginx, out.path(), rung);
}

#[test]
fn two_hundred_files_come_home_from_nginx() {
    bring_home(Setup { tls: false, http2: false, output_host_is_up: true }, "output");
}

#[test]
fn they_come_over_tls_under_a_ca_of_ones_own() {
    bring_home(Setup { tls: true, http2: false, output_host_is_up: true }, "output");
}

#[test]
fn they_come_over_tls_where_the_server_speaks_http2() {
    bring_home(Setup { tls: true, http2: true, output_host_is_up: true }, "output");
}

#[test]
fn the_proxy_host_serves_where_the_output_host_is_shut_down() {
    bring_home(Setup { tls: false, http2: false, output_host_is_up: false }, "proxy");
}

#[test]
fn a_certificate_that_nobody_trusts_is_refused_before_the_key_is_sent() {
    let Some(nginx) = nginx() else { return };
    let setup = Setup { tls: true, http2: false, output_host_is_up: true };
    let nginx = start(&nginx, setup);
    let out = tempfile::tempdir().unwrap();
    let run = get(&nginx, out.path(), Setup { tls: false, ..setup });
    assert_eq!(run.status.code(), Some(4), "{}", String::from_utf8_lossy(&run.stderr));
    let log = std::fs::read_to_string(nginx.root.path().join("access.log")).unwrap();
    assert!(log.is_empty(), "{log}");
}
