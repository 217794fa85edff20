//! The real program, started with a folder, a key and an environment of its own.
//!
//! It never runs longer than its limit, its output goes to files, and when it has ended [`verify`](super::verify)
//! looks at everything it did.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;

use super::{KEY, World, verify};

/// No run lasts longer, however slow the machine: then it is killed, and the test fails.
const LIMIT: Duration = Duration::from_secs(150);
/// A running program is looked at this often.
const LOOK_EACH: Duration = Duration::from_millis(10);

static RUNS: AtomicUsize = AtomicUsize::new(0);

/// A command that is about to run.
#[must_use = "nothing runs before `run` or `spawn`"]
pub(crate) struct Get<'w> {
    world: &'w World,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    key: Option<OsString>,
    base_url: Option<String>,
    stdin: Option<Vec<u8>>,
    shell: Option<String>,
    stdout: Out,
    limit: Duration,
    tracing: bool,
    may_write: Vec<PathBuf>,
}

/// Where standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    File,
    Closed,
}

impl<'w> Get<'w> {
    pub(super) fn new(world: &'w World, command: &str) -> Self {
        Self {
            world,
            args: vec![command.into()],
            env: Vec::new(),
            key: Some(KEY.into()),
            base_url: Some(world.api.url("")),
            stdin: None,
            shell: None,
            stdout: Out::File,
            limit: LIMIT,
            tracing: true,
            may_write: Vec::new(),
        }
    }

    /// More arguments.
    pub(crate) fn args<A: Into<OsString> + Clone>(mut self, args: &[A]) -> Self {
        self.args.extend(args.iter().cloned().map(Into::into));
        self
    }

    /// One more environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another key in the environment, or none.
    pub(crate) fn key(mut self, key: Option<impl Into<OsString>>) -> Self {
        self.key = key.map(Into::into);
        self
    }

    /// Another API, or the program's own default.
    pub(crate) fn base_url(mut self, url: Option<&str>) -> Self {
        self.base_url = url.map(str::to_owned);
        self
    }

    /// What stands on standard input.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Shell commands before the program takes the shell's place: `ulimit -n 64`.
    pub(crate) fn after_shell(mut self, commands: &str) -> Self {
        self.shell = Some(commands.into());
        self
    }

    /// Standard output is a pipe that nobody reads.
    pub(crate) fn stdout_closed(mut self) -> Self {
        self.stdout = Out::Closed;
        self
    }

    /// Without the `-vvv` that every other run has.
    pub(crate) fn quietly(mut self) -> Self {
        self.tracing = false;
        self
    }

    /// Lets it write this file, or remove it, outside the archive.
    pub(crate) fn may_write(mut self, path: impl Into<PathBuf>) -> Self {
        self.may_write.push(path.into());
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Done {
        self.spawn().wait()
    }

    /// Starts it.
    pub(crate) fn spawn(self) -> Running<'w> {
        let before = verify::Before::look(self.world, self.may_write.clone());
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        let stdout = self.world.path(&format!("io/{run}.stdout"));
        let stderr = self.world.path(&format!("io/{run}.stderr"));
        let mut command = self.command();
        command.stderr(File::create(&stderr).expect("a file for stderr"));
        let out = File::create(&stdout).expect("a file for stdout");
        match self.stdout {
            Out::File => command.stdout(out),
            Out::Closed => command.stdout(std::io::pipe().expect("a pipe").1),
        };
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let began = Instant::now();
        let mut child = command.spawn().expect("the program starts");
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // The program may well end without reading it.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let limit = self.limit;
        Running {
            world: self.world,
            child,
            args: self.args,
            stdout,
            stderr,
            began,
            limit,
            before,
            peak: (0, 0),
        }
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_vfetch");
        let mut command = match &self.shell {
            None => Command::new(program),
            Some(commands) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        command.args(&self.args);
        if self.tracing {
            command.arg("-vvv");
        }
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.world.path("home")).env("TMPDIR", self.world.path("home"));
        // Where coverage is measured, the program says where it puts what it saw.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        if let Some(key) = &self.key {
            command.env("MODELSLAB_API_KEY", key);
        }
        if let Some(url) = &self.base_url {
            command.env("MODELSLAB_BASE_URL", url);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.world.path("cwd"));
        command
    }
}

/// A program that runs.
#[must_use = "a run that nobody waits for proves nothing"]
pub(crate) struct Running<'w> {
    world: &'w World,
    child: Child,
    args: Vec<OsString>,
    stdout: PathBuf,
    stderr: PathBuf,
    began: Instant,
    limit: Duration,
    before: verify::Before,
    /// Of memory in bytes, and of open files.
    peak: (u64, usize),
}

impl Running<'_> {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process number"), signal).expect("the program runs");
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many files it has open now.
    pub(crate) fn open_files(&self) -> usize {
        open_files(self.child.id())
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits for its end, then checks what holds after every run.
    pub(crate) fn wait(mut self) -> Done {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                break status;
            }
            self.peak.0 = self.peak.0.max(peak_rss(self.child.id()).unwrap_or(0));
            self.peak.1 = self.peak.1.max(open_files(self.child.id()));
            if self.began.elapsed() > self.limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{:?} did not end within {:?}\n{}", self.args, self.limit, ends(&self.stderr()));
            }
            std::thread::sleep(LOOK_EACH);
        };
        let read = |path| std::fs::read(path).expect("the run's own output");
        let done = Done {
            status,
            args: self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            began: self.began,
            took: self.began.elapsed(),
            peak_rss: self.peak.0,
            peak_files: self.peak.1,
        };
        if let Some(mirror) = self.world.mirror.get() {
            (mirror.copy)(&self.world.archive());
        }
        verify::check(self.world, &self.before, &done);
        done
    }
}

/// The most memory that the process has had, in bytes.
fn peak_rss(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How many files the program has open; none before it has begun.
///
/// A process that is about to become the program holds copies of what the test process has open, and may still be seen
/// with them when it has been started. Linux closes them before it gives the process the program's name.
fn open_files(pid: u32) -> usize {
    if std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() != "vfetch") {
        return 0;
    }
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// A run that has ended, and was found to have broken none of the promises.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) args: Vec<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// The most memory that was seen, in bytes.
    pub(crate) peak_rss: u64,
    /// The most open files that were seen.
    pub(crate) peak_files: usize,
}

impl Done {
    /// The exit code; 128 + n where signal n ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        self.exits_with(&[code])
    }

    /// Asserts that the exit code is one of these.
    pub(crate) fn exits_with(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code()), "exit {}, not one of {codes:?}\n{}", self.code(), self.shown());
        self
    }

    /// Asserts that standard error holds this text.
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr().contains(text), "stderr lacks {text:?}\n{}", self.shown());
        self
    }

    /// Asserts that neither output holds this text.
    pub(crate) fn never_says(self, text: &str) -> Self {
        let absent = !self.stderr().contains(text) && !self.stdout().contains(text);
        assert!(absent, "{text:?} is shown\n{}", self.shown());
        self
    }

    pub(crate) fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    pub(crate) fn stderr_bytes(&self) -> &[u8] {
        &self.stderr
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The lines of `--json`, each of which must be as the schema says.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        let schema = std::fs::read("fixtures/events.schema.json").expect("the schema of events");
        let schema = serde_json::from_slice(&schema).expect("the schema is JSON");
        let schema = jsonschema::validator_for(&schema).expect("the schema is one");
        let parsed = |line| serde_json::from_str(line).expect("a line of JSON");
        let lines: Vec<serde_json::Value> = self.stdout().lines().map(parsed).collect();
        for line in &lines {
            assert!(schema.is_valid(line), "{line}");
        }
        lines
    }

    /// Everything, for the message of a failed assertion.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{:?} after {:?}: {:?}", self.args, self.took, self.status);
        let _ = writeln!(text, "--- stdout\n{}", ends(&self.stdout()));
        let _ = writeln!(text, "--- stderr\n{}", ends(&self.stderr()));
        text
    }
}

/// The begin and the end of a text, and how much is between them.
fn ends(text: &str) -> String {
    const SHOWN: usize = 3_000;
    let letters: Vec<char> = text.chars().collect();
    let Some(left_out) = letters.len().checked_sub(2 * SHOWN) else { return text.into() };
    let (head, tail) = (&letters[..SHOWN], &letters[letters.len() - SHOWN..]);
    format!("{}\n… {left_out} letters …\n{}", String::from_iter(head), String::from_iter(tail))
}
