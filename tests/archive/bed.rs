//! An archive made by hand, and the program that is run over it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use vfetch::job::{Asked, DEFAULT_ORIGIN, Defaults, JobRef};
use vfetch::layout::{self, Key};
use vfetch::manifest::{FileRecord, MANIFEST_MAX, Manifest, MissingRecord, Reason, Rung};
use vfetch::retry::{Cause, Failure};
use vfetch::sha256::Digest;

/// When every job of these tests was first recorded.
pub(crate) const CREATED: &str = "2026-01-02T03:04:05Z";

/// A folder of the test's own with an archive in it.
pub(crate) struct Bed {
    folder: tempfile::TempDir,
    origin: String,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::at(DEFAULT_ORIGIN)
    }

    /// An archive of jobs that another API knows.
    pub(crate) fn at(origin: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("vfetch-archive-").tempdir().unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder, origin: origin.into() }
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.path("out")
    }

    /// A path beside the archive.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the archive.
    pub(crate) fn file(&self, place: &str) -> PathBuf {
        self.archive().join(place)
    }

    pub(crate) fn job(&self, text: &str) -> JobRef {
        let Asked { job, .. } = Defaults::new(&self.origin, None).unwrap().parse(text).unwrap();
        job
    }

    /// An empty record of a job.
    pub(crate) fn record(&self, job: &str) -> Manifest {
        Manifest::new(&self.job(job), CREATED)
    }

    /// Puts a complete job into the archive with these contents.
    pub(crate) fn complete(&self, job: &str, contents: &[&[u8]]) -> Manifest {
        let mut record = self.record(job);
        record.outputs = Some(contents.len());
        record.done_seen_at = Some(CREATED.into());
        record.meta = Some(meta(&format!("prompt of {job}")));
        for (output, content) in contents.iter().enumerate() {
            record.files.push(self.put(job, output, content));
        }
        self.write(&record);
        record
    }

    /// Writes a file of a job; its entry in the record.
    pub(crate) fn put(&self, job: &str, output: usize, content: &[u8]) -> FileRecord {
        let job = self.job(job);
        let key = Key::output(&job, output, "gif", None);
        fs::create_dir_all(self.file(key.folder())).unwrap();
        fs::write(self.file(&key.to_string()), content).unwrap();
        FileRecord {
            output,
            path: key.name().into(),
            bytes: content.len() as u64,
            sha256: Digest::of(content),
            kind: "gif".into(),
            source: format!("https://media.test/{}", key.name()),
            rung: Rung::Output,
            etag: None,
            last_modified: None,
            attempts: 1,
            archived_at: CREATED.into(),
            left: vec![],
            unknown: Map::new(),
        }
    }

    /// Writes a record where it belongs.
    pub(crate) fn write(&self, record: &Manifest) {
        let job = record.job.to_job().unwrap();
        let folder = self.file(&layout::folder(&job));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(layout::MANIFEST_NAME), record.to_bytes()).unwrap();
    }

    pub(crate) fn read(&self, job: &str) -> Manifest {
        let place = self.file(&layout::folder(&self.job(job))).join(layout::MANIFEST_NAME);
        let bytes = fs::read(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        assert!(bytes.len() as u64 <= MANIFEST_MAX);
        Manifest::read(&bytes).unwrap()
    }

    /// `vfetch`, run in the folder beside the archive, with an environment of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfetch"));
        command.args(args).current_dir(self.folder.path()).env_clear();
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args))
    }

    /// Everything about the tree that must not change: names, kinds, lengths, times and bytes.
    pub(crate) fn fingerprint(&self) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Option<Digest>)> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.archive()];
        while let Some(path) = left.pop() {
            let seen = fs::symlink_metadata(&path).unwrap();
            if seen.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let digest = seen.is_file().then(|| Digest::of(&fs::read(&path).unwrap()));
            found.insert(path, (seen.mode(), seen.len(), seen.mtime_nsec(), seen.ctime_nsec(), digest));
        }
        found
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let ran = Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    }

    /// Asserts the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The lines of stdout, sorted.
    pub(crate) fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// The lines of stdout as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The parameters of a request, as the service repeats them.
pub(crate) fn meta(prompt: &str) -> Map<String, Value> {
    let meta = json!({"prompt": prompt, "seed": 42, "model_id": "sdxl"});
    meta.as_object().cloned().unwrap()
}

/// An output that is not here, because of this.
pub(crate) fn missing(output: usize, cause: Cause) -> MissingRecord {
    let reason = Reason::of(&Failure::new(cause, "seen in a test"), Some(Rung::Output), None);
    MissingRecord { output, gone: cause == Cause::Absent, reasons: vec![reason], unknown: Map::new() }
}

/// Bytes that are different for every seed.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend(std::iter::repeat_with(|| dice.u8(..)).take(length.saturating_sub(6)));
    bytes
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
