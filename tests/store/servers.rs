//! The servers behind the buckets: programs that this project did not write, each started once for all tests of the
//! process by whoever asks first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{BackoffConfig, RetryConfig};

use super::support::port::Port;

/// The account that Azurite has, and makes public.
pub(crate) const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// The key of that account, which Azurite makes public too.
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// A signature with that key which allows to make containers, until 2099.
const MAY_MAKE_CONTAINERS: &str = "sv=2020-02-10&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&spr=https%2Chttp&sig=yfB3X7N17i6jR4NnZCBPL8jssrdegvE0XDO83IMAhgw%3D";

/// A server that a test may need.
struct Program {
    /// What it is, in words.
    what: &'static str,
    /// The variable that names one that is running already.
    named_by: &'static str,
    /// The variable that says that the tests may not do without it.
    required_by: &'static str,
    name: &'static str,
    /// Its arguments, the port coming behind them.
    args: &'static str,
    /// How it is installed.
    comes_with: &'static str,
}

const MOTO: Program = Program {
    what: "S3 server",
    named_by: "VFETCH_TEST_S3",
    required_by: "VFETCH_TEST_REQUIRE_S3",
    name: "moto_server",
    args: "-H 127.0.0.1 -p",
    comes_with: "pip install 'moto[server]'",
};

const AZURITE: Program = Program {
    what: "Azure server",
    named_by: "VFETCH_TEST_AZURE",
    required_by: "VFETCH_TEST_REQUIRE_AZURE",
    name: "azurite-blob",
    args: "--inMemoryPersistence --disableTelemetry --skipApiVersionCheck --silent --blobHost 127.0.0.1 --blobPort",
    comes_with: "npm install -g azurite",
};

/// A server that runs, nothing where its program is not here, or why it does not answer: that is found out once.
type Started = OnceLock<Result<Option<Server>, String>>;

struct Server {
    address: SocketAddr,
    /// Whoever stops it in the end, and its port; nobody where it ran before.
    _started: Option<(Child, Port)>,
}

/// The S3 server of this process.
pub(crate) fn s3_server() -> Option<SocketAddr> {
    static SERVER: Started = OnceLock::new();
    MOTO.address(&SERVER)
}

/// The Azure server of this process.
pub(crate) fn azure_server() -> Option<SocketAddr> {
    static SERVER: Started = OnceLock::new();
    AZURITE.address(&SERVER)
}

impl Program {
    fn address(&self, started: &Started) -> Option<SocketAddr> {
        let server = started.get_or_init(|| match std::env::var(self.named_by) {
            Ok(running) => {
                let address = running.trim_start_matches("http://").parse().unwrap();
                Ok(Some(Server { address, _started: None }))
            }
            Err(_) => self.start(),
        });
        let address = server.as_ref().unwrap().as_ref().map(|server| server.address);
        if address.is_none() {
            let Self { what, name, comes_with, .. } = self;
            assert!(std::env::var_os(self.required_by).is_none(), "there is no {what}");
            println!("skipped: there is no {what}; {comes_with} brings one, as {name} in the path");
        }
        address
    }

    fn start(&self) -> Result<Option<Server>, String> {
        /// Tenths of a second that a busy machine may need to start it.
        const PATIENCE: usize = 3_000;
        let Self { name, args, .. } = self;
        let mut help = Command::new(name);
        if help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let mut port = Port::reserve();
        // The shell's input ends with this process, however that ends, and the server then ends too; and the shell ends
        // where the server does.
        let script = format!(
            "exec 3<&0; {name} {args} {} >/dev/null 2>&1 3<&- & server=$!; {{ cat <&3 >/dev/null; kill $server; }} & \
             wait $server",
            port.lend()
        );
        let mut keeper = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        for _ in 0..PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            if let Some(status) = keeper.try_wait().unwrap() {
                return Err(format!("{name} ended with {status}"));
            }
            if TcpStream::connect(port.address).is_ok() {
                return Ok(Some(Server { address: port.address, _started: Some((keeper, port)) }));
            }
        }
        Err(format!("{name} does not answer"))
    }
}

/// A client's patience: what the tests break stays broken.
pub(crate) fn little_patience() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(60) }
}

/// A client of a bucket.
pub(crate) fn s3_client(server: SocketAddr, bucket: &str) -> AmazonS3 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{server}"))
        .with_allow_http(true)
        .with_bucket_name(bucket)
        .with_access_key_id("AKIATESTTESTTEST")
        .with_secret_access_key("topsecret")
        .with_checksum_algorithm(Checksum::SHA256)
        .with_disable_bulk_delete(true)
        .with_retry(little_patience())
        .build()
        .unwrap()
}

/// A client of a container.
pub(crate) fn azure_client(server: SocketAddr, container: &str) -> MicrosoftAzure {
    let _ = rustls::crypto::ring::default_provider().install_default();
    MicrosoftAzureBuilder::new()
        .with_endpoint(format!("http://{server}/{AZURE_ACCOUNT}"))
        .with_allow_http(true)
        .with_account(AZURE_ACCOUNT)
        .with_access_key(AZURE_KEY)
        .with_container_name(container)
        .with_retry(little_patience())
        .build()
        .unwrap()
}

/// Makes a bucket that no other test has.
pub(crate) fn new_bucket(server: SocketAddr) -> String {
    let bucket = format!("vfetch-{:016x}", fastrand::u64(..));
    let answer = request(server, "PUT", &format!("/{bucket}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    bucket
}

/// Makes a container that no other test has.
pub(crate) fn new_container(server: SocketAddr) -> String {
    let container = format!("vfetch-{:016x}", fastrand::u64(..));
    let path = format!("/{AZURE_ACCOUNT}/{container}?restype=container&{MAY_MAKE_CONTAINERS}");
    let answer = request(server, "PUT", &path);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    container
}

/// One plain request without a body; the whole answer.
pub(crate) fn request(server: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
