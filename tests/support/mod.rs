//! What the tests of the real program share: a world that misbehaves on cue, and a check that nothing slips by.
//!
//! ```ignore
//! let world = World::new();                                   // an API and a media host, each on its own port
//! let clip = world.content(Content::mp4(1, 100_000));         // bytes that may end up under a final name
//! let url = world.media.on("/a.mp4", Answer::status(503).times(2).then(Answer::file(&clip)));
//! world.job("147", Answer::processing().then(Answer::success(&[url])));
//! world.get(&["147"]).run().exits(0);                         // runs `vfetch get 147 -o …`, then checks everything
//! world.holds("147", 0, &clip);                               // output 0 of job 147 is this clip, says its record
//! ```
//!
//! - [`content`]: bodies of any length in which a shifted or repeated block shows, in a container or bare;
//! - [`answer`]: answers, scripts of answers, and every misbehaviour as one call;
//! - [`server`]: the server on loopback, its log, and waiting for what it sees;
//! - [`run`]: the program, started with an archive and a key of its own, under a hard time limit;
//! - [`verify`]: what holds after every run, whatever the row was about. It is called by [`run`] itself, so that no
//!   test can forget it. Only contents that were announced with [`World::content`] may end up under a final name.
//!
//! More media hosts come from [`World::host`], an address that refuses connections from [`World::refusing`], jobs of
//! other families from `world.api.on(path, …)`.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a test may panic, and looks at files and clocks for itself"
)]

pub(crate) mod answer;
pub(crate) mod content;
pub(crate) mod port;
mod prepared;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod verify;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use answer::{Answer, Framing, Ranges, Script};
pub(crate) use content::Content;
pub(crate) use run::{Done, Get, Running};
pub(crate) use server::{Seen, Server};

/// The key of every run: with what JSON, URLs and shells escape, so that each form of it looks different.
pub(crate) const KEY: &str = "sk-\"fault/suite+key=9f8e7d6c5b4a";

/// An API, media hosts, a folder with an archive in it, and what may end up there.
pub(crate) struct World {
    pub(crate) api: Server,
    /// The first media host.
    pub(crate) media: Arc<Server>,
    hosts: Mutex<Vec<Arc<Server>>>,
    refusing: Mutex<Vec<port::Port>>,
    good: Mutex<BTreeSet<String>>,
    folder: tempfile::TempDir,
    /// Where the archive really is, if it is not the folder.
    pub(crate) mirror: OnceLock<Mirror>,
}

/// An archive elsewhere, of which a copy is laid into [`World::archive`] after each run, before that is looked at.
pub(crate) struct Mirror {
    /// What `-o` is told.
    pub(crate) place: String,
    /// Lays the copy into this folder.
    pub(crate) copy: Box<dyn Fn(&Path) + Send + Sync>,
}

impl World {
    /// A new world; everything in it is gone when it is dropped.
    pub(crate) fn new() -> Self {
        Self::with_api(Server::start())
    }

    /// A world whose API speaks TLS with a certificate that nobody trusts; see [`tls::CA`].
    pub(crate) fn with_tls_api() -> Self {
        Self::with_api(Server::start_tls())
    }

    fn with_api(api: Server) -> Self {
        let folder =
            tempfile::Builder::new().prefix("vfetch-fault-").tempdir().expect("a folder for the test");
        let media = Arc::new(Server::start());
        let world = Self {
            api,
            media: Arc::clone(&media),
            hosts: Mutex::new(vec![media]),
            refusing: Mutex::default(),
            good: Mutex::default(),
            folder,
            mirror: OnceLock::new(),
        };
        for name in ["home", "cwd", "io"] {
            std::fs::create_dir(world.path(name)).expect("a folder in the test's own");
        }
        for canary in ["canary.txt", "home/canary.txt", "cwd/canary.txt"] {
            std::fs::write(world.path(canary), "sings\n").expect("a file in the test's own folder");
        }
        world
    }

    /// One more media host.
    pub(crate) fn host(&self) -> Arc<Server> {
        self.with_host(Server::start())
    }

    /// One more media host, with a certificate of [`tls::CA`]; it would speak HTTP/2 to whoever wants that, and fail.
    pub(crate) fn tls_host(&self) -> Arc<Server> {
        self.with_host(Server::start_tls_preferring_http_2())
    }

    fn with_host(&self, host: Server) -> Arc<Server> {
        let host = Arc::new(host);
        self.hosts.lock().unwrap().push(Arc::clone(&host));
        host
    }

    /// All media hosts.
    pub(crate) fn hosts(&self) -> Vec<Arc<Server>> {
        self.hosts.lock().unwrap().clone()
    }

    /// The base URL of an address that refuses connections; its port stays taken while the world lives.
    pub(crate) fn refusing(&self) -> String {
        let port = port::Port::reserve();
        let origin = format!("http://{}", port.address);
        self.refusing.lock().unwrap().push(port);
        origin
    }

    /// Announces a content that may end up under a final name. Any other file there fails the test.
    pub(crate) fn content(&self, content: Content) -> Content {
        self.good.lock().unwrap().insert(content.sha256());
        content
    }

    pub(crate) fn is_good(&self, sha256: &str) -> bool {
        self.good.lock().unwrap().contains(sha256)
    }

    /// Says how the API answers for this job of the default family.
    pub(crate) fn job(&self, id: &str, script: impl Into<Script>) {
        self.api.on(&job_path(id), script);
    }

    /// The calls of the API for this job.
    pub(crate) fn polls(&self, id: &str) -> Vec<Seen> {
        self.api.calls(&job_path(id))
    }

    /// `vfetch get` of these references into the archive, ready to be changed and run.
    pub(crate) fn get(&self, refs: &[&str]) -> Get<'_> {
        let get = self.command("get").args(refs);
        get.args(&["-o"]).args(&[self.archive().to_str().unwrap()])
    }

    /// Any other command, without an archive.
    pub(crate) fn command(&self, command: &str) -> Get<'_> {
        Get::new(self, command)
    }

    /// The archive of this world; it is made by the first run.
    pub(crate) fn archive(&self) -> PathBuf {
        self.path("out")
    }

    /// The file that standard output names.
    pub(crate) fn named(&self, name: &str) -> PathBuf {
        let mirrored =
            self.mirror.get().and_then(|mirror| name.strip_prefix(&mirror.place)?.strip_prefix('/'));
        mirrored.map_or_else(|| self.path("cwd").join(name), |below| self.archive().join(below))
    }

    /// A path in the test's own folder, outside the archive.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the test's own folder, outside the archive.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in the test's own folder");
        path
    }

    /// The record of a job of the default family, or `None`.
    pub(crate) fn manifest(&self, id: &str) -> Option<Value> {
        read_manifest(&self.archive().join(id).join("manifest.json"))
    }

    /// The state in a job's record; `absent` where there is none.
    pub(crate) fn state(&self, id: &str) -> String {
        let manifest = self.manifest(id);
        manifest.map_or("absent".into(), |manifest| manifest["state"].as_str().unwrap_or("none").into())
    }

    /// The record's entry for one output of a job.
    pub(crate) fn entry(&self, id: &str, output: usize) -> Value {
        let manifest = self.manifest(id).unwrap_or_else(|| panic!("job {id} has no record"));
        let files = manifest["files"].as_array().cloned().unwrap_or_default();
        let entry = files.into_iter().find(|file| file["output"] == output);
        entry
            .unwrap_or_else(|| panic!("the record of job {id} has no file for output {output}: {manifest:#}"))
    }

    /// Asserts that an output of a job is here and is this content.
    pub(crate) fn holds(&self, id: &str, output: usize, content: &Content) {
        let entry = self.entry(id, output);
        let path = self.archive().join(id).join(entry["path"].as_str().unwrap());
        if entry["sha256"] != content.sha256().as_str() {
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            panic!("output {output} of job {id}: {}", content.explain(&bytes));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), content.len(), "{}", path.display());
    }

    /// The names of what is staged, without the lock: in the archive, or one folder below it, where that is what
    /// `--staging` names.
    pub(crate) fn staged(&self) -> Vec<String> {
        let below = std::fs::read_dir(self.archive()).into_iter().flatten();
        let folders = below.map(|entry| entry.unwrap().path()).chain([self.archive()]);
        let entries = folders.filter_map(|folder| std::fs::read_dir(folder.join(".vfetch/staging")).ok());
        let names = entries.flatten().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
        names.sort();
        names
    }

    /// Waits until so many bytes are staged in one file.
    pub(crate) fn wait_for_staged(&self, bytes: u64) {
        let folder = self.archive().join(".vfetch/staging");
        let longest = || {
            let entries = std::fs::read_dir(&folder).ok()?;
            let parts = entries.filter_map(|entry| entry.ok().filter(|entry| entry.file_name() != "lock"));
            parts.filter_map(|part| part.metadata().ok()).map(|metadata| metadata.len()).max()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while longest().unwrap_or(0) < bytes {
            assert!(Instant::now() < deadline, "only {:?} of {bytes} bytes were staged", longest());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many parts have a checkpoint: from there on a run that is killed goes on behind the first byte.
    pub(crate) fn wait_for_checkpoints(&self, parts: usize) {
        let folder = self.archive().join(".vfetch/staging");
        let noted = || {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let notes = entries.filter(|entry| entry.path().extension().is_some_and(|name| name == "note"));
            // One that is being written says nothing yet.
            notes.filter(|note| note.metadata().is_ok_and(|note| note.len() > 0)).count()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while noted() < parts {
            assert!(Instant::now() < deadline, "too few parts have a checkpoint: {:?}", self.staged());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A library of this source in C, for `LD_PRELOAD`; says so where none can be made.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
    pub(crate) fn preloaded(&self, name: &str, source: &str) -> Option<PathBuf> {
        let (source, library) = (self.file(&format!("{name}.c"), source), self.path(&format!("{name}.so")));
        let mut compiler = std::process::Command::new("cc");
        let made = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
        if made.is_ok_and(|status| status.success()) {
            return Some(library);
        }
        eprintln!("skipped: no C compiler that makes a shared library");
        None
    }

    /// Waits until the job's manifest says so.
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.state(id) != state {
            assert!(Instant::now() < deadline, "job {id} is {}, not {state}", self.state(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The names in a job's folder.
    pub(crate) fn names(&self, id: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.archive().join(id)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The path that fetches a job of the default family.
pub(crate) fn job_path(id: &str) -> String {
    format!("/api/v1/enterprise/video/fetch/{id}")
}

pub(crate) fn read_manifest(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
