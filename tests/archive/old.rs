//! An archive of the first format is read for ever.

use std::fs;
use std::path::Path;

use vfetch::manifest::Manifest;

use crate::bed::{Bed, copy_tree};

/// The archive in the fixtures, copied to where it may be written to.
fn first_format() -> Bed {
    let bed = Bed::new();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives/v1"), &bed.archive());
    bed
}

#[test]
fn an_archive_of_the_first_format_is_whole() {
    let bed = first_format();
    let ran = bed.run(&["verify", "out"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "8 jobs: 6 files ok (2.5 KiB)\n"));
}

#[test]
fn an_archive_of_the_first_format_is_counted() {
    let report = bed_status(&first_format());
    let jobs = |of: &str| report["states"][of]["jobs"].as_u64();
    let states = ["complete", "partial", "pending", "failed", "gone"].map(jobs);
    assert_eq!(states, [Some(4), Some(1), Some(1), Some(1), Some(1)]);
    assert_eq!(report["all"], serde_json::json!({"jobs": 8, "files": 6, "bytes": 2554}));
    assert_eq!(report["families"]["realtime"]["files"], 1);
    assert_eq!(report["hosts"]["media.example"]["jobs"], 5);
    assert_eq!(report["at_risk"]["first"][0]["job"], "150");
    assert_eq!(report["unreadable"]["records"], 0);
}

fn bed_status(bed: &Bed) -> serde_json::Value {
    bed.run(&["status", "out", "--json"]).exits(0).json().remove(0)
}

#[test]
fn an_archive_of_the_first_format_is_listed_and_exported() {
    let bed = first_format();
    let ran = bed.run(&["list", "out", "--json", "--prompt", "twice"]).exits(0);
    assert_eq!(ran.json()[0]["job"], "152");
    let sums = bed.run(&["export", "out"]).exits(0).stdout;
    assert_eq!(sums.lines().count(), 6);
    assert!(
        sums.contains("  out/152/152-0.9b3cca0c.gif\n") && sums.contains("  out/~ab~c~01/~ab~c~01-0.gif\n"),
        "{sums}"
    );
}

#[test]
fn an_archive_of_the_first_format_is_repaired_and_keeps_what_it_knows() {
    let bed = first_format();
    copy_tree(&bed.archive(), &bed.path("backup"));
    fs::write(bed.file("147/147-0.gif"), "bad").unwrap();
    bed.run(&["repair", "out", "--from", "backup"]).exits(0);
    assert_eq!(bed.run(&["verify", "out"]).exits(0).stdout, "");
    let read = |path: &str| Manifest::read(&fs::read(bed.path(path)).unwrap()).unwrap();
    let (old, new) = (read("backup/147/manifest.json"), read("out/147/manifest.json"));
    assert_eq!(new.unknown["project"], "kept through every rewrite");
    assert_eq!(new.files, old.files);
    assert_eq!((new.created_at, new.meta), (old.created_at, old.meta));
}
