//! What holds after every run, whatever it met:
//!
//! 1. the key, in any form, is in no output, file, name, and in no request but the bodies of the API's;
//! 2. no media host saw a key, a cookie, a referrer or an authorization;
//! 3. every record keeps to the schema, and each file that it names has its exact length and digest;
//! 4. no file under a final name holds anything but a content that the test announced;
//! 5. nothing outside the archive was written, and no name in it is one that a system could trip over;
//! 6. no panic, and nothing in either output that a terminal would obey;
//! 7. exit 0 means that each job that was asked for is complete, and the digests on standard output are those of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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
    let mut wrong = Vec::new();
    check_output(done, &mut wrong);
    check_requests(world, &mut wrong);
    check_outside(world, before, &mut wrong);
    check_archive(world, &mut wrong);
    check_success(world, done, &mut wrong);
    assert!(wrong.is_empty(), "\n{}\n{}", wrong.join("\n"), done.shown());
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
    // All forms are longer than this; small contents are the common case.
    let found = |form: &str| bytes.windows(form.len()).any(|window| window == form.as_bytes());
    KEY_FORMS.iter().find(|(_, form)| found(form)).map(|(name, _)| *name)
}

fn check_output(done: &Done, wrong: &mut Vec<String>) {
    for (name, bytes) in [("stdout", done.stdout_bytes()), ("stderr", done.stderr_bytes())] {
        if let Some(form) = key_in(bytes) {
            wrong.push(format!("the key is on {name} ({form})"));
        }
        match std::str::from_utf8(bytes) {
            Err(error) => wrong.push(format!("{name} is no text: {error}")),
            Ok(text) => {
                if let Some(letter) = text.chars().find(|letter| obeyed(*letter)) {
                    wrong.push(format!("{name} holds {letter:?}, which a terminal obeys"));
                }
            }
        }
    }
    let stderr = done.stderr();
    if stderr.contains("panicked at") || stderr.contains("stack overflow") || done.code() == 101 {
        wrong.push("it panicked".into());
    }
    if matches!(done.code(), 132 | 134 | 135 | 136 | 139 | 153) {
        wrong.push(format!("it crashed: {:?}", done.status));
    }
}

/// Whether a terminal does something for this letter, or shows the text around it in another order.
fn obeyed(letter: char) -> bool {
    (letter.is_control() && letter != '\n')
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

fn check_requests(world: &World, wrong: &mut Vec<String>) {
    let about = |seen: &Seen| format!("{} {} with {:?}", seen.method, seen.target, seen.headers);
    for seen in world.api.log() {
        let head = format!("{} {:?}", seen.target, seen.headers);
        if key_in(head.as_bytes()).is_some() {
            wrong.push(format!("the key is outside the body: {}", about(&seen)));
        }
        if seen.header("Cookie").is_some() || seen.header("Referer").is_some() {
            wrong.push(format!("the API saw a cookie or a referrer: {}", about(&seen)));
        }
    }
    for seen in world.hosts().iter().flat_map(|host| host.log()) {
        let all = [format!("{} {:?}", seen.target, seen.headers).as_bytes(), &seen.body].concat();
        if key_in(&all).is_some() {
            wrong.push(format!("a media host saw the key: {}", about(&seen)));
        }
        for header in ["Cookie", "Referer", "Authorization", "Proxy-Authorization"] {
            if seen.header(header).is_some() {
                wrong.push(format!("a media host saw {header}: {}", about(&seen)));
            }
        }
        if seen.method != "GET" || !seen.body.is_empty() {
            wrong.push(format!("a media host was sent something: {}", about(&seen)));
        }
    }
}

fn check_outside(world: &World, before: &Before, wrong: &mut Vec<String>) {
    let now = outside(world);
    for (path, bytes) in now.iter().filter(|(path, _)| !before.may_write.contains(path)) {
        match before.outside.get(path) {
            None => wrong.push(format!("{} was made outside the archive", path.display())),
            Some(was) if was != bytes => {
                wrong.push(format!("{} was changed outside the archive", path.display()));
            }
            Some(_) => {}
        }
    }
    for path in before.outside.keys().filter(|path| !now.contains_key(*path)) {
        wrong.push(format!("{} was removed outside the archive", path.display()));
    }
}

fn check_archive(world: &World, wrong: &mut Vec<String>) {
    let root = world.archive();
    walk(&root, &mut |path| {
        check_name(path, wrong);
        let link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if !link && path.is_file() {
            let bytes = std::fs::read(path).unwrap_or_default();
            if let Some(form) = key_in_file(&bytes) {
                wrong.push(format!("the key is in {} ({form})", path.display()));
            }
            if !path.starts_with(root.join(".vfetch")) {
                check_final(world, path, &bytes, wrong);
            }
        }
        !link
    });
}

/// Long files are made of contents that hold no key; their ends are where something could have been put.
fn key_in_file(bytes: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 256 * 1024;
    if bytes.len() <= 2 * LOOKED_AT {
        return key_in(bytes);
    }
    key_in(&bytes[..LOOKED_AT]).or_else(|| key_in(&bytes[bytes.len() - LOOKED_AT..]))
}

fn check_name(path: &Path, wrong: &mut Vec<String>) {
    const NAME_MAX: usize = 200;
    let name = path.file_name().unwrap_or_default();
    let Some(name) = name.to_str() else {
        return wrong.push(format!("{} is no UTF-8", path.display()));
    };
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let device = matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
        || (stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    let odd = name.chars().any(|letter| obeyed(letter) || r#"<>:"/\|?*"#.contains(letter));
    let edge = name.ends_with(['.', ' ']) || name.starts_with(['-', ' ']);
    if name.len() > NAME_MAX || device || odd || edge || key_in(name.as_bytes()).is_some() {
        wrong.push(format!("{name:?} is no name for a file"));
    }
}

fn check_final(world: &World, path: &Path, bytes: &[u8], wrong: &mut Vec<String>) {
    if path.file_name().is_some_and(|name| name == "manifest.json") {
        return check_manifest(path, bytes, wrong);
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    if !world.is_good(&digest) {
        wrong.push(format!("{} holds {} wrong bytes ({digest})", path.display(), bytes.len()));
    }
}

fn check_manifest(path: &Path, bytes: &[u8], wrong: &mut Vec<String>) {
    let Ok(manifest) = serde_json::from_slice::<Value>(bytes) else {
        return wrong.push(format!("{} is no JSON", path.display()));
    };
    for error in SCHEMA.iter_errors(&manifest) {
        wrong.push(format!("{}: {error} at {}", path.display(), error.instance_path()));
    }
    let folder = path.parent().unwrap_or(path);
    let files = manifest["files"].as_array().cloned().unwrap_or_default();
    for file in &files {
        let name = folder.join(file["path"].as_str().unwrap_or_default());
        let bytes = std::fs::read(&name).unwrap_or_default();
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
        if file["bytes"] != bytes.len() || file["sha256"] != digest.as_str() {
            wrong.push(format!("{} is not what its record says: {file}", name.display()));
        }
    }
    let missing = manifest["missing"].as_array().map_or(0, Vec::len);
    if let Some(outputs) = manifest["outputs"].as_u64()
        && outputs != (files.len() + missing) as u64
    {
        wrong.push(format!("{}: {outputs} outputs, but {} and {missing}", path.display(), files.len()));
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

fn check_success(world: &World, done: &Done, wrong: &mut Vec<String>) {
    if done.args.iter().any(|arg| matches!(arg.as_str(), "--dry-run" | "-n" | "--help" | "--version")) {
        return;
    }
    if done.code() == 0 {
        for id in asked(world, done) {
            if world.state(&id) != "complete" {
                wrong.push(format!("exit 0, but job {id} is {}", world.state(&id)));
            }
        }
    }
    let stdout = done.stdout();
    for line in stdout.lines().filter(|line| !line.starts_with('{')) {
        let Some((digest, name)) = line.split_once("  ").filter(|(digest, _)| digest.len() == 64) else {
            continue;
        };
        let bytes = std::fs::read(world.path("cwd").join(name)).unwrap_or_default();
        if data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes)) != digest {
            wrong.push(format!("stdout gives a digest that {name} does not have"));
        }
    }
}
