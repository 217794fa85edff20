//! `vfetch export`.

use std::fs;
use std::process::{Command, Stdio};

use vfetch::manifest::Manifest;
use vfetch::retry::Cause;

use crate::bed::{Bed, content, meta, missing};

/// Runs `sha256sum -c` in a folder over a list; whether it agrees. `None` where there is no such program.
fn sha256sum(folder: &std::path::Path, list: &str) -> Option<bool> {
    let list_path = folder.join("SUMS.test");
    fs::write(&list_path, list).unwrap();
    let ran = Command::new("sha256sum")
        .args(["-c", "--strict", "SUMS.test"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status();
    fs::remove_file(list_path).unwrap();
    Some(ran.ok()?.success())
}

#[test]
fn sha256sum_accepts_the_sums_from_beside_the_archive_and_from_within() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000), &content(2, 500)]);
    bed.complete("realtime/98", &[&content(3, 100)]);
    let beside = bed.run(&["export", "out"]).exits(0).stdout;
    assert_eq!(beside.lines().count(), 3);
    assert!(beside.lines().all(|line| line.contains("  out/")), "{beside}");
    let within = bed.command(&["export"]).current_dir(bed.archive()).output().unwrap();
    let within = String::from_utf8(within.stdout).unwrap();
    let Some(agrees) = sha256sum(&bed.path(""), &beside) else {
        // Skipped: there is no sha256sum here.
        return;
    };
    assert!(agrees, "{beside}");
    assert_eq!(sha256sum(&bed.archive(), &within), Some(true), "{within}");
    fs::write(bed.file("147/147-0.gif"), "other").unwrap();
    assert_eq!(sha256sum(&bed.path(""), &beside), Some(false));
}

#[test]
fn the_sums_of_an_archive_that_is_named_by_its_address_lead_to_its_files() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000)]);
    fs::rename(bed.archive(), bed.path("a b")).unwrap();
    let place = bed.path("a%20b").display().to_string();
    for address in [format!("file://{place}"), format!("FILE://{place}/")] {
        let sums = bed.run(&["export", &address]).exits(0).stdout;
        let (_, path) = sums.trim_end().split_once("  ").unwrap();
        assert_eq!(path, bed.path("a b/147/147-0.gif").to_str().unwrap());
        assert_ne!(sha256sum(&bed.path(""), &sums), Some(false), "{sums}");
    }
    // A folder may be called like an address that none is.
    fs::create_dir(bed.path("1:")).unwrap();
    fs::rename(bed.path("a b"), bed.path("1:/out")).unwrap();
    let sums = bed.run(&["export", "1://out"]).exits(0).stdout;
    assert!(sums.ends_with("  1://out/147/147-0.gif\n"), "{sums}");
}

#[test]
fn sha256sum_accepts_the_sums_whatever_the_archive_is_called() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000), &content(2, 100)]);
    let mut place = bed.archive();
    let names = [
        "a b",
        "*star",
        "./-dash",
        "back\\slash\nline",
        "a\\b",
        "a\nb",
        "a\rb",
        "\\",
        "tail\\n",
        "ü影",
        "out",
    ];
    for name in names {
        fs::rename(&place, bed.path(name)).unwrap();
        place = bed.path(name);
        let sums = bed.run(&["export", name]).exits(0).stdout;
        assert_eq!(sums.lines().count(), 2, "{sums}");
        assert_ne!(sha256sum(&bed.path(""), &sums), Some(false), "{sums}");
    }
}

#[test]
fn json_lines_are_the_records_themselves() {
    let bed = Bed::new();
    let one = bed.complete("147", &[&content(1, 1_000)]);
    let two = bed.complete("1000", &[]);
    for args in [&["export", "out", "-f", "jsonl"][..], &["export", "out", "--json"]] {
        let lines = bed.run(args).exits(0).stdout;
        let records: Vec<Manifest> =
            lines.lines().map(|line| Manifest::read(line.as_bytes())).collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0], Manifest { state: records[0].state, ..one.clone() });
        assert_eq!(records[1].job, two.job);
    }
}

#[test]
fn the_table_has_a_row_a_file_and_one_for_a_job_without_any() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000), &content(2, 500)]);
    let mut gone = bed.record("148");
    gone.outputs = Some(1);
    gone.missing = vec![missing(0, Cause::Absent)];
    gone.meta = Some(meta("a fox, \"red\"\nin snow"));
    bed.write(&gone);
    let text = bed.run(&["export", "out", "--format", "csv"]).exits(0).stdout;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap().len(), 17);
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[1][1], &rows[1][2], &rows[1][4], &rows[1][5]),
        ("147", "complete", "1", "147/147-1.gif")
    );
    assert_eq!(
        (&rows[2][1], &rows[2][2], &rows[2][5], &rows[2][14]),
        ("148", "gone", "", "a fox, \"red\"\nin snow")
    );
}

#[test]
fn an_export_that_lacks_a_job_says_so() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 1_000)]);
    bed.complete("148", &[&content(2, 1_000)]);
    fs::write(bed.file("148/manifest.json"), "{").unwrap();
    let ran = bed.run(&["export", "out"]).exits(1);
    assert_eq!(ran.stdout.lines().count(), 1);
    assert_eq!(ran.stderr, "left out: 1 record that cannot be used; vfetch verify out says why\n");
}
