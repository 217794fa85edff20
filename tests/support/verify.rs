//! What holds after every run, whatever it met:
//!
//! 1. the key, in any form, is in no output, file, name, and in no request but the bodies of the API's;
//! 2. no media host saw a key, a cookie, a referrer or an authorization;
//! 3. every record keeps to the schema, and each file that it names has its exact length and digest;
//! 4. no file under a final name holds anything but a content that the test announced;
//! 5. nothing outside the archive was written, and no name in it is one that a system could trip over;
//! 6. no job was asked for more often, and no host got more at once, than manners allow;
//! 7. no panic, and nothing in either output that a terminal would obey;
//! 8. with `--json` every line is an event, every start has its end, and the summary comes last;
//! 9. exit 0 means that each job that was asked for is complete, and the digests on standard output are those of files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::run::Done;
use super::server::Seen;
use super::{KEY, World};

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = include_str!("../../fixtures/manifest.schema.json");
    let schema = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is one")
});

/// How the test's own folder looked before a run.
#[derive(Debug)]
pub(crate) struct Before {
    outside: BTreeMap<PathBuf, Option<Vec<u8>>>,
    may_write: Vec<PathBuf>,
}

impl Before {
    pub(crate) fn look(world: &World, may_write: Vec<PathBuf>) -> Self {
        Self { outside: outside(world), may_write }
    }
}

/// Everything in the test's own folder that is neither the archive nor the outputs of runs; folders hold `None`.
fn outside(world: &World) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    walk(&world.path(""), &mut |path| {
        let ours = path == world.archive() || path == world.path("io");
        if !ours {
            let bytes = path.is_file().then(|| std::fs::read(path).unwrap_or_default());
            found.insert(path.to_owned(), bytes);
        }
        !ours
    });
    found
}

/// Visits everything below a folder, links as themselves; `into` says whether to go into what it was given.
fn walk(folder: &Path, into: &mut impl FnMut(&Path) -> bool) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if into(&path) && is_folder {
            walk(&path, into);
        }
    }
}

/// Checks all of it.
pub(crate) fn check(world: &World, before: &Before, done: &Done) {
    let mut check = Check { world, wrong: Vec::new(), digests: BTreeMap::new() };
    check.output(done);
    check.requests();
    check.manners(done);
    check.outside(before);
    check.archive();
    check.success(done);
    check.json_lines(done);
    assert!(check.wrong.is_empty(), "\n{}\n{}", check.wrong.join("\n"), done.shown());
}

/// What was found so far.
struct Check<'w> {
    world: &'w World,
    wrong: Vec<String>,
    digests: BTreeMap<PathBuf, (u64, String)>,
}

/// Every form in which the key could slip by; each with its name.
fn key_forms() -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(KEY).expect("a text");
    let upper: String = KEY
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let mut forms = vec![
        ("raw", KEY.to_owned()),
        ("JSON", json.trim_matches('"').to_owned()),
        ("JSON with slashes", json.trim_matches('"').replace('/', "\\/")),
        ("JSON in JSON", json.trim_matches('"').replace('\\', "\\\\").replace('"', "\\\"")),
        ("URL", upper.clone()),
        ("URL in small letters", upper.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")),
        ("hexadecimal", data_encoding::HEXLOWER.encode(KEY.as_bytes())),
        ("the last half", KEY[KEY.len() / 2..].to_owned()),
    ];
    // Within other text the key can begin at any of three places of a base64 group; what is whole is looked for.
    for key in [KEY, json.trim_matches('"')] {
        for before in 0..3 {
            let text = format!("{}{key}", &"xxx"[..before]);
            let whole = &text.as_bytes()[..text.len() / 3 * 3];
            let skip = if before == 0 { 0 } else { 4 };
            forms.push(("base64", data_encoding::BASE64.encode(whole)[skip..].to_owned()));
            forms.push(("base64url", data_encoding::BASE64URL.encode(whole)[skip..].to_owned()));
        }
    }
    forms
}

static KEY_FORMS: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(key_forms);

/// In which form the key is in these bytes, if it is.
pub(crate) fn key_in(bytes: &[u8]) -> Option<&'static str> {
    // All forms are ASCII, which this leaves as it is; a search in a text is fast in tests too.
    let text = String::from_utf8_lossy(bytes);
    KEY_FORMS.iter().find(|(_, form)| text.contains(form)).map(|(name, _)| *name)
}

/// Whether a terminal does something for this letter, or shows the text around it in another order.
fn obeyed(letter: char) -> bool {
    (letter.is_control() && letter != '\n')
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

impl Check<'_> {
    fn note(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    fn output(&mut self, done: &Done) {
        for (name, bytes) in [("stdout", done.stdout_bytes()), ("stderr", done.stderr_bytes())] {
            if let Some(form) = key_in(bytes) {
                self.note(format!("the key is on {name} ({form})"));
            }
            match std::str::from_utf8(bytes) {
                Err(error) => self.note(format!("{name} is no text: {error}")),
                Ok(text) => {
                    if let Some(letter) = text.chars().find(|letter| obeyed(*letter)) {
                        self.note(format!("{name} holds {letter:?}, which a terminal obeys"));
                    }
                }
            }
        }
        let stderr = done.stderr();
        if stderr.contains("panicked at") || stderr.contains("stack overflow") || done.code() == 101 {
            self.note("it panicked");
        }
        if matches!(done.code(), 132 | 134 | 135 | 136 | 139 | 153) {
            self.note(format!("it crashed: {:?}", done.status));
        }
    }

    fn requests(&mut self) {
        let about = |seen: &Seen| format!("{} {} with {:?}", seen.method, seen.target, seen.headers);
        for seen in self.world.api.log() {
            if key_in(format!("{} {:?}", seen.target, seen.headers).as_bytes()).is_some() {
                self.note(format!("the key is outside the body: {}", about(&seen)));
            }
            if seen.header("Cookie").is_some() || seen.header("Referer").is_some() {
                self.note(format!("the API saw a cookie or a referrer: {}", about(&seen)));
            }
        }
        for seen in self.world.hosts().iter().flat_map(|host| host.log()) {
            let all = [format!("{} {:?}", seen.target, seen.headers).as_bytes(), &seen.body].concat();
            if key_in(&all).is_some() {
                self.note(format!("a media host saw the key: {}", about(&seen)));
            }
            for header in ["Cookie", "Referer", "Authorization", "Proxy-Authorization"] {
                if seen.header(header).is_some() {
                    self.note(format!("a media host saw {header}: {}", about(&seen)));
                }
            }
            if seen.method != "GET" || !seen.body.is_empty() {
                self.note(format!("a media host was sent something: {}", about(&seen)));
            }
        }
    }

    /// No job is asked for more often than 4 times a second, and no host gets more at once than it may.
    fn manners(&mut self, done: &Done) {
        const POLLS_APART: Duration = Duration::from_millis(250);
        // Pages of a listing are one call with many bodies, and each of them is another question.
        let mut last: BTreeMap<(String, Vec<u8>), Instant> = BTreeMap::new();
        for seen in self.world.api.log().into_iter().filter(|seen| seen.at >= done.began) {
            // The server notes the time before it answers, so what it sees is never shorter than what was waited.
            let pause = last
                .insert((seen.target.clone(), seen.body.clone()), seen.at)
                .map(|last| seen.at.duration_since(last));
            if pause.is_some_and(|pause| pause < POLLS_APART) {
                self.note(format!("{} was asked for again after {pause:?}", seen.target));
            }
        }
        let most = done.args.iter().skip_while(|arg| *arg != "-x").nth(1);
        let most = most.and_then(|most| most.parse().ok()).unwrap_or(64);
        for host in self.world.hosts() {
            if host.most_at_once() > most {
                self.note(format!("{} requests at once to a host that may get {most}", host.most_at_once()));
            }
        }
    }

    fn outside(&mut self, before: &Before) {
        let now = outside(self.world);
        for (path, bytes) in now.iter().filter(|(path, _)| !before.may_write.contains(path)) {
            match before.outside.get(path) {
                None => self.note(format!("{} was made outside the archive", path.display())),
                Some(was) if was != bytes => {
                    self.note(format!("{} was changed outside the archive", path.display()));
                }
                Some(_) => {}
            }
        }
        let removed = |path: &&PathBuf| !now.contains_key(*path) && !before.may_write.contains(path);
        for path in before.outside.keys().filter(removed) {
            self.note(format!("{} was removed outside the archive", path.display()));
        }
    }

    fn archive(&mut self) {
        let root = self.world.archive();
        let mut found = Vec::new();
        walk(&root, &mut |path| {
            found.push(path.to_owned());
            true
        });
        for path in found {
            self.name(&path);
            let link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            let private = path.components().any(|part| part.as_os_str() == ".vfetch");
            match () {
                () if link || !path.is_file() => {}
                () if path.file_name().is_some_and(|name| name == "manifest.json") && !private => {
                    self.manifest(&path);
                }
                () => self.file(&path, private),
            }
        }
    }

    fn name(&mut self, path: &Path) {
        const NAME_MAX: usize = 200;
        let name = path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return self.note(format!("{} is no UTF-8", path.display()));
        };
        let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let numbered = stem.len() == 4 && stem.ends_with(|letter: char| letter.is_ascii_digit());
        let device = matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
            || (numbered && (stem.starts_with("com") || stem.starts_with("lpt")));
        let odd = name.chars().any(|letter| obeyed(letter) || r#"<>:"/\|?*"#.contains(letter));
        let edge = name.ends_with(['.', ' ']) || name.starts_with(['-', ' ']);
        if name.len() > NAME_MAX || device || odd || edge || key_in(name.as_bytes()).is_some() {
            self.note(format!("{name:?} is no name for a file"));
        }
    }

    /// A content that was announced holds no key; in anything else the ends are where one could have been put.
    fn file(&mut self, path: &Path, private: bool) {
        const LOOKED_AT: usize = 64 * 1024;
        let (bytes, digest) = self.digest(path);
        if self.world.is_good(&digest) {
            return;
        }
        if !private {
            self.note(format!("{} holds {bytes} wrong bytes ({digest})", path.display()));
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        let (head, tail) =
            (&bytes[..bytes.len().min(LOOKED_AT)], &bytes[bytes.len().saturating_sub(LOOKED_AT)..]);
        if let Some(form) = key_in(head).or_else(|| key_in(tail)) {
            self.note(format!("the key is in {} ({form})", path.display()));
        }
    }

    fn manifest(&mut self, path: &Path) {
        let bytes = std::fs::read(path).unwrap_or_default();
        if let Some(form) = key_in(&bytes) {
            self.note(format!("the key is in {} ({form})", path.display()));
        }
        let Ok(manifest) = serde_json::from_slice::<Value>(&bytes) else {
            return self.note(format!("{} is no JSON", path.display()));
        };
        if manifest["version"].as_u64() > Some(1) {
            // Somebody else's; whether it was left alone its own test asks.
            return;
        }
        for error in SCHEMA.iter_errors(&manifest) {
            self.note(format!("{}: {error} at {}", path.display(), error.instance_path()));
        }
        let files = manifest["files"].as_array().cloned().unwrap_or_default();
        for file in &files {
            let name = path.with_file_name(file["path"].as_str().unwrap_or_default());
            let (bytes, digest) = self.digest(&name);
            if file["bytes"] != bytes || file["sha256"] != digest.as_str() {
                self.note(format!("{} is not what its record says: {file}", name.display()));
            }
        }
        let missing = manifest["missing"].as_array().map_or(0, Vec::len);
        if let Some(outputs) = manifest["outputs"].as_u64()
            && outputs != (files.len() + missing) as u64
        {
            self.note(format!("{}: {outputs} outputs, but {} and {missing}", path.display(), files.len()));
        }
    }

    fn success(&mut self, done: &Done) {
        if done.args.iter().any(|arg| matches!(arg.as_str(), "--dry-run" | "-n" | "--help" | "--version")) {
            return;
        }
        if done.code() == 0 {
            for id in asked(self.world, done) {
                let state = self.world.state(&id);
                if state != "complete" {
                    self.note(format!("exit 0, but job {id} is {state}"));
                }
            }
        }
        for line in done.stdout().lines().filter(|line| !line.starts_with('{')) {
            let told = line.split_once("  ").filter(|(digest, _)| digest.len() == 64);
            if let Some((digest, name)) = told
                && self.digest(&self.world.named(name)).1 != digest
            {
                self.note(format!("stdout gives a digest that {name} does not have"));
            }
        }
    }

    /// With `--json`, each line of a run that works on jobs is an event, each start has one end, and the last line is the
    /// summary.
    fn json_lines(&mut self, done: &Done) {
        let cut_off = done.stdout_bytes().is_empty() || done.status.code().is_none();
        let works = ["get", "sync", "resume"].contains(&done.args[0].as_str());
        let previews = done.args.iter().any(|arg| matches!(arg.as_str(), "-n" | "--dry-run"));
        if !done.args.iter().any(|arg| arg == "--json") || cut_off || !works || previews {
            return;
        }
        let mut open: BTreeMap<String, i64> = BTreeMap::new();
        let mut last = Value::Null;
        for line in done.stdout().lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                return self.note(format!("a line on stdout is no JSON: {line}"));
            };
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let what = if kind.starts_with("file_") { event["output"].to_string() } else { String::new() };
            let of = format!("{} {what}", event["job"]);
            match kind.as_str() {
                "job_started" | "file_started" => *open.entry(of).or_default() += 1,
                "job_ended" | "file_ended" => *open.entry(of).or_default() -= 1,
                _ => {}
            }
            last = event;
        }
        if last["type"] != "summary" || last["exit_code"] != done.code() {
            self.note(format!("the last line is no summary of exit {}: {last}", done.code()));
        }
        for (of, count) in open.into_iter().filter(|(_, count)| *count != 0) {
            self.note(format!("{of} was begun {count} times more than it ended"));
        }
    }

    /// The length and the digest of a file; those of nothing where there is none.
    fn digest(&mut self, path: &Path) -> (u64, String) {
        if let Some(known) = self.digests.get(path) {
            return known.clone();
        }
        let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        if let Ok(mut file) = std::fs::File::open(path) {
            while let Ok(count) = file.read(&mut buffer)
                && count > 0
            {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
        let found = (bytes, data_encoding::HEXLOWER.encode(&hasher.finalize()));
        self.digests.insert(path.to_owned(), found.clone());
        found
    }
}

/// The references on the command line that are bare ids, for `get` into the usual archive.
fn asked(world: &World, done: &Done) -> Vec<String> {
    let into = done.args.iter().any(|arg| arg.as_str() == world.archive().to_string_lossy());
    if done.args.first().is_none_or(|command| command != "get") || !into {
        return Vec::new();
    }
    let refs = done.args.iter().skip(1).take_while(|arg| !arg.starts_with('-'));
    refs.filter(|arg| arg.bytes().all(|byte| byte.is_ascii_digit())).cloned().collect()
}
