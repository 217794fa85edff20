//! `vfetch verify`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::bed::{Bed, Ran, content};
use crate::planted::{self, Damage};

/// The lines of a verification without their reasons.
fn signs(stdout: &str) -> BTreeSet<String> {
    stdout.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
}

#[test]
fn a_thousand_planted_damages_are_found_and_nothing_else_and_nothing_is_written() {
    let bed = Bed::new();
    planted::whole(&bed, 2_000);
    let planted = planted::plant_all(&bed, 2_000, 1_000, 7);
    let before = bed.fingerprint();
    let ran = bed.run(&["verify", "out"]).exits(6);
    let want: BTreeSet<String> = planted.values().flat_map(|(_, lines)| lines.clone()).collect();
    let found = signs(&ran.stdout);
    assert_eq!(found.difference(&want).collect::<Vec<_>>(), Vec::<&String>::new(), "false alarms");
    assert_eq!(want.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "not found");
    assert_eq!(bed.fingerprint(), before, "verify has written");
    // A quick look finds what lengths and names show, and no bit that has flipped.
    let quick = signs(&bed.run(&["verify", "out", "--quick"]).exits(6).stdout);
    let visible = |damage: Damage| !matches!(damage, Damage::Flip | Damage::Swap);
    let want: BTreeSet<String> = planted
        .values()
        .filter(|(damage, _)| visible(*damage))
        .flat_map(|(_, lines)| lines.clone())
        .collect();
    assert_eq!(quick, want);
}

#[test]
fn a_whole_archive_is_silent_and_its_summary_counts() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500), &content(2, 700)]);
    bed.complete("realtime/98", &[&content(3, 100)]);
    bed.write(&bed.record("149"));
    let ran = bed.run(&["verify", "out"]).exits(0);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr, "3 jobs: 3 files ok (1.3 KiB)\n");
    let ran = bed.run(&["verify", "-q", "out"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let all = bed.run(&["verify", "out", "--all"]).exits(0);
    assert_eq!(all.sorted(), ["= 147/147-0.gif", "= 147/147-1.gif", "= realtime.98/98-0.gif"]);
}

#[test]
fn each_fault_says_what_is_wrong() {
    let bed = Bed::new();
    for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        bed.complete(id, &[&content(1, 500)]);
    }
    fs::write(bed.file("1/1-0.gif"), content(2, 500)).unwrap();
    fs::write(bed.file("2/2-0.gif"), content(1, 499)).unwrap();
    fs::remove_file(bed.file("3/3-0.gif")).unwrap();
    symlink(bed.file("1/1-0.gif"), bed.file("3/3-0.gif")).unwrap();
    fs::rename(bed.file("4"), bed.file("40")).unwrap();
    let newer =
        fs::read_to_string(bed.file("5/manifest.json")).unwrap().replace("\"version\": 1", "\"version\": 9");
    fs::write(bed.file("5/manifest.json"), newer).unwrap();
    fs::remove_file(bed.file("6/manifest.json")).unwrap();
    let lie = fs::read_to_string(bed.file("7/manifest.json")).unwrap().replace("\"complete\"", "\"partial\"");
    fs::write(bed.file("7/manifest.json"), lie).unwrap();
    fs::rename(bed.file("8"), bed.path("elsewhere")).unwrap();
    symlink(bed.path("elsewhere"), bed.file("8")).unwrap();
    let ran = bed.run(&["verify", "out"]).exits(6);
    let lines = ran.sorted();
    let want = [
        "! 40/manifest.json: the record of 4, whose folder is 4",
        "! 5/manifest.json: written by a newer vfetch (version 9 of the format)",
        "! 7/manifest.json: it says partial, but what it lists is complete",
        "! 8/manifest.json: opening out/8: ",
        "* 1/1-0.gif: sha256 ",
        "* 2/2-0.gif: 499 bytes, recorded with 500",
        "* 3/3-0.gif: not a regular file",
        "+ 6/6-0.gif",
        "- 6/manifest.json",
    ];
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "{line}\n{want}");
    }
    assert!(
        ran.stderr.contains("6 jobs: 0 files ok (0 B), 3 damaged, 1 missing, 1 extra, 4 unreadable"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("vfetch repair out"), "{}", ran.stderr);
}

#[test]
fn files_of_the_users_own_beside_the_jobs_are_left_alone() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::write(bed.file("notes.txt"), "mine").unwrap();
    fs::write(bed.file("sha256sums"), "mine").unwrap();
    fs::create_dir(bed.file("thumbnails")).unwrap();
    fs::write(bed.file("thumbnails/147.png"), "mine").unwrap();
    fs::create_dir(bed.file("Best of")).unwrap();
    fs::write(bed.file("Best of/147-0.gif"), "mine").unwrap();
    fs::create_dir(bed.file("148")).unwrap();
    assert_eq!(bed.run(&["verify", "out"]).exits(0).stdout, "");
}

#[test]
fn names_that_act_on_a_terminal_are_shown_escaped() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::write(bed.file("147/\u{1b}[2J\n* 148.gif"), "x").unwrap();
    let ran = bed.run(&["verify", "out"]).exits(6);
    assert_eq!(ran.stdout, "+ 147/\\u{1b}[2J\\n* 148.gif\n");
    let ran = bed.run(&["verify", "out", "--json"]).exits(6);
    assert_eq!(ran.json()[0]["path"], "147/\u{1b}[2J\n* 148.gif");
}

#[test]
fn a_name_that_is_no_text_is_extra_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::write(bed.file("147").join(std::ffi::OsStr::from_bytes(b"\xff.gif")), "x").unwrap();
    assert_eq!(bed.run(&["verify", "out"]).exits(6).stdout, "+ 147/\u{fffd}.gif\n");
}

#[test]
fn a_part_that_holds_no_job_says_that_nothing_was_checked() {
    let bed = Bed::new();
    let said = |args: &[&str]| bed.run(&[&["verify", "out"], args].concat()).exits(0).stderr;
    bed.complete("1", &[&content(1, 500)]);
    let one = "the archive's only job did not fall into this part, so nothing was checked\n";
    assert_eq!(said(&["--subset", "1/1000000"]), one);
    assert_eq!(said(&["--subset", "1/1000000", "-q"]), "");
    for id in ["2", "3", "4"] {
        bed.complete(id, &[&content(1, 500)]);
    }
    let none = "none of the archive's 4 jobs fell into this part, so nothing was checked\n";
    assert_eq!(said(&["--subset", "1/1000000"]), none);
    assert_eq!(said(&["--sample", "0.000000001%"]), none);
    assert_eq!(said(&[]), "4 jobs: 4 files ok (2.0 KiB)\n");
}

#[test]
fn parts_are_told_once_each_and_a_sample_is_a_share() {
    let bed = Bed::new();
    planted::whole(&bed, 200);
    let mut seen = Vec::new();
    for part in 1..=3 {
        let ran = bed.run(&["verify", "out", "--all", "--quick", "--subset", &format!("{part}/3")]).exits(0);
        seen.extend(ran.stdout.lines().map(str::to_owned));
    }
    seen.sort();
    assert_eq!(seen, bed.run(&["verify", "out", "--all", "--quick"]).exits(0).sorted());
    let jobs = |ran: &Ran| ran.json().last().unwrap()["jobs"].as_u64().unwrap();
    let half = jobs(&bed.run(&["verify", "out", "--json", "--sample", "50%"]).exits(0));
    assert!((50..150).contains(&half), "{half} of 200 jobs");
    assert_eq!(jobs(&bed.run(&["verify", "out", "--json", "--sample", "100%"]).exits(0)), 200);
}

#[test]
fn what_is_left_over_is_told_and_is_no_damage() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::create_dir_all(bed.file(".vfetch/staging")).unwrap();
    fs::create_dir_all(bed.file(".vfetch/quarantine/147")).unwrap();
    fs::write(bed.file(".vfetch/staging/lock"), "").unwrap();
    fs::write(bed.file(".vfetch/staging/148-0.part"), "abc").unwrap();
    fs::write(bed.file(".vfetch/quarantine/147/147-0.gif"), "abcd").unwrap();
    let ran = bed.run(&["verify", "out"]).exits(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("1 file left in .vfetch/staging (3 B)"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 file put aside in .vfetch/quarantine (4 B)"), "{}", ran.stderr);
    let lines = bed.run(&["verify", "out", "--json"]).exits(0).json();
    let leftovers: Vec<_> = lines.iter().filter(|line| line["event"] == "leftover").collect();
    assert_eq!(leftovers.len(), 2);
    assert_eq!(leftovers[1]["path"], ".vfetch/quarantine/147/147-0.gif");
}

#[test]
fn an_archive_of_somebody_else_is_verified_without_what_is_left_over_there() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::create_dir_all(bed.file(".vfetch/staging")).unwrap();
    fs::write(bed.file(".vfetch/staging/148-0.part"), "abc").unwrap();
    fs::set_permissions(bed.file(".vfetch/staging"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(bed.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let Some(ran) = as_nobody(&bed, &["verify", "out"]) else { return };
    let ran = ran.exits(0);
    let [refused, summary] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
    assert!(refused.starts_with("opening out/.vfetch/staging: Permission denied"), "{refused}");
    assert!(refused.ends_with("; what is left over there was not looked at"), "{refused}");
    assert_eq!(summary, "1 job: 1 file ok (500 B)");
    assert_eq!(as_nobody(&bed, &["verify", "-q", "out"]).unwrap().exits(0).stderr, "");
    fs::write(bed.file("147/147-0.gif"), content(2, 500)).unwrap();
    let damaged = as_nobody(&bed, &["verify", "out", "--json"]).unwrap().exits(6).json();
    assert_eq!(damaged.last().unwrap()["damaged"], 1);
    fs::set_permissions(bed.file(".vfetch/staging"), fs::Permissions::from_mode(0o750)).unwrap();
}

/// The same by somebody whom permissions hold back; `None` where root cannot become anybody else.
fn as_nobody(bed: &Bed, args: &[&str]) -> Option<Ran> {
    if !rustix::process::geteuid().is_root() {
        return Some(bed.run(args));
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: only root with setpriv can become somebody without rights");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_vfetch")]);
    command.args(args).current_dir(bed.path("")).env_clear();
    Some(Ran::of(command))
}

#[test]
fn json_lines_carry_every_finding_and_end_in_a_summary() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    bed.complete("148", &[&content(2, 500)]);
    fs::remove_file(bed.file("148/148-0.gif")).unwrap();
    let ran = bed.run(&["verify", "out", "--json", "--all"]).exits(6);
    let mut lines = ran.json();
    let summary = lines.pop().unwrap();
    lines.sort_by_key(|line| line["path"].to_string());
    let want = serde_json::json!([
        {"event": "file", "verdict": "ok", "path": "147/147-0.gif", "why": ""},
        {"event": "file", "verdict": "missing", "path": "148/148-0.gif", "why": ""},
    ]);
    assert_eq!(serde_json::Value::from(lines), want);
    assert_eq!(
        (&summary["event"], &summary["jobs"], &summary["missing"]),
        (&"summary".into(), &2.into(), &1.into())
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_place_without_an_archive_is_named_and_so_is_the_way_out() {
    let bed = Bed::new();
    for (place, why) in [("out", "the folder holds no job"), ("nowhere", "there is no such folder")] {
        for command in ["verify", "status", "list", "export"] {
            let ran = bed.run(&[command, place]).exits(2);
            assert!(ran.stderr.contains(&format!("there is no archive at {place}: {why}")), "{}", ran.stderr);
            assert!(ran.stderr.contains("vfetch get -o"), "{}", ran.stderr);
        }
    }
    assert!(!bed.path("nowhere").exists(), "a look has made a folder");
    let ran = bed.run(&["status", ""]).exits(2);
    assert!(ran.stderr.contains("\"\" cannot be used as an archive: it names no folder"), "{}", ran.stderr);
    fs::write(bed.path("file"), "").unwrap();
    let ran = bed.run(&["verify", "file"]).exits(2);
    assert!(ran.stderr.contains("it is not a folder"), "{}", ran.stderr);
    let help = bed.run(&["verify", "out", "--subset", "8/7"]).exits(2);
    assert!(help.stderr.contains("for example 3/7"), "{}", help.stderr);
}

#[test]
fn the_archive_is_this_folder_unless_another_one_is_named() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    let output = bed.command(&["verify"]).current_dir(bed.archive()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_verification_quietly() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let bed = Bed::new();
    planted::whole(&bed, 300);
    let mut child = bed
        .command(&["verify", "out", "--all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("= "), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn a_signal_ends_a_verification_soon_and_says_how_far_it_came() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let bed = Bed::new();
    let mut record = bed.complete("147", &[&content(1, 500)]);
    // Hashing this takes far longer than anybody waits: most of it is a hole.
    record.files[0].bytes = 1 << 36;
    fs::File::options().write(true).open(bed.file("147/147-0.gif")).unwrap().set_len(1 << 36).unwrap();
    bed.write(&record);
    fs::write(bed.file("147/notes.txt"), "x").unwrap();
    let mut child =
        bed.command(&["verify", "out"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "+ 147/notes.txt\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("stopped: 1 job: 0 files ok"), "{said}");
}

#[test]
fn a_writer_at_work_is_no_damage() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio_util::sync::CancellationToken;
    use vfetch::engine::survey::Progress;
    use vfetch::engine::verify::{self, VerifyOptions};
    use vfetch::layout::Key;
    use vfetch::sha256::Digest;
    use vfetch::store::Store;

    let bed = Bed::new();
    let mut record = bed.complete("147", &[&content(0, 400)]);
    let job = bed.job("147");
    let store = Store::create(&bed.archive(), false).unwrap();
    let rounds = Arc::new(AtomicU64::new(0));
    let (writer, written) = (store.clone(), Arc::clone(&rounds));
    // Each round gives the output other bytes under another name, as a run with --force does.
    let writing = std::thread::spawn(move || {
        let staging = Arc::new(writer.staging().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for round in 1..=400 {
            let bytes = content(round, 400);
            let digest = Digest::of(&bytes);
            let mut part = staging.begin(&job, 0).unwrap();
            part.append(&bytes).unwrap();
            let key = Key::output(&job, 0, "gif", Some(&digest));
            (record.files[0].path, record.files[0].sha256) = (key.name().into(), digest);
            let replaces = writer.look(&job).unwrap().version();
            let commit = async {
                let proven = writer.prove(part, digest, 400).await?;
                writer.commit(&staging, &job, vec![(proven, key)], record.clone(), replaces).await
            };
            runtime.block_on(commit).unwrap();
            written.store(round, Ordering::SeqCst);
        }
    });
    let mut looks = 0;
    while rounds.load(Ordering::SeqCst) < 400 && !writing.is_finished() {
        let (options, stop, progress) =
            (VerifyOptions::default(), CancellationToken::new(), Progress::default());
        let tally = verify::verify(&store, &options, &stop, &progress, |finding| {
            panic!("a false alarm: {finding:?}");
        });
        assert_eq!(tally.unwrap().faults(), 0);
        looks += 1;
    }
    writing.join().unwrap();
    assert!(looks > 3, "{looks}");
}
