//! The floors of the house: no module names one that stands above it, and no two modules name each other in a circle.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads the sources"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module with the ones that it may name. A module that is not listed fails the test: give it a floor.
const FLOORS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("job", &[]),
    ("media", &[]),
    ("retry", &[]),
    ("nesting", &[]),
    ("coding", &[]),
    ("sha256", &[]),
    ("manifest", &["job", "retry", "sha256"]),
    ("layout", &["job", "manifest", "sha256"]),
    ("reply", &["coding", "job", "media", "retry"]),
    ("lifetime", &["job", "manifest", "sha256"]),
    ("listing", &["job", "reply", "retry"]),
    ("mention", &["job", "manifest", "nesting"]),
    ("closure", &["job", "lifetime", "manifest", "mention", "retry", "sha256"]),
    ("plan", &["manifest", "retry", "sha256"]),
    ("event", &["job", "manifest", "retry", "sha256"]),
    ("verdict", &["job", "layout", "manifest", "sha256"]),
    ("mend", &["verdict"]),
    ("query", &["manifest"]),
    ("digests", &["sha256"]),
    ("census", &["event", "job", "lifetime", "manifest", "retry", "sha256"]),
    ("net", &["coding", "digests", "job", "lifetime", "listing", "plan", "reply", "retry", "text"]),
    ("store", &["job", "layout", "manifest", "plan", "retry", "sha256"]),
    (
        "engine",
        &[
            "census", "closure", "digests", "event", "job", "layout", "lifetime", "listing", "manifest",
            "media", "mend", "mention", "nesting", "net", "plan", "reply", "retry", "sha256", "store",
            "verdict",
        ],
    ),
    (
        "view",
        &["census", "closure", "engine", "job", "lifetime", "manifest", "query", "sha256", "store", "text"],
    ),
    ("serve", &["job", "manifest", "media", "sha256"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Everything before the file's own tests, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn no_import_runs_upward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let own = module(&path, &root);
        if matches!(own.as_str(), "lib" | "main" | "cli") {
            continue;
        }
        let Some(allowed) = floors.get(own.as_str()) else {
            wrong.push(format!("{}: the module {own} has no floor", path.display()));
            continue;
        };
        for (named, _) in FLOORS {
            let names_it = code(&path).contains(&format!("crate::{named}::"));
            if names_it && *named != own && !allowed.contains(named) {
                wrong.push(format!("{}: names crate::{named}, which is not below {own}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_circle_exists() {
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    for start in floors.keys() {
        let mut reached: Vec<&str> = floors[start].to_vec();
        let mut next = 0;
        while next < reached.len() {
            reached.extend(
                floors[reached[next]].iter().filter(|module| !reached.contains(module)).collect::<Vec<_>>(),
            );
            next += 1;
        }
        assert!(!reached.contains(start), "{start} reaches itself");
    }
}

#[test]
fn the_program_uses_the_library_as_any_other_user_would() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let program = sources(&root.join("cli")).into_iter().chain([root.join("main.rs")]);
    for path in program {
        let text = code(&path);
        for (module, _) in FLOORS {
            let declared = text.lines().any(|line| line.trim() == format!("mod {module};"));
            let inside = path.starts_with(root.join("cli"));
            assert!(
                inside || !declared,
                "{} declares {module}, which belongs to the library",
                path.display()
            );
        }
    }
}
