//! `vfetch get --dry-run`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::listing::asked;
use crate::resume::plant_gone;
use crate::support::run::Signal;
use crate::support::{Answer, Content, World};

#[test]
fn a_dry_run_prints_what_is_not_home_in_the_order_of_the_list_and_changes_nothing() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 700));
    world.job("1", Answer::success(&[world.media.on("/1.mp4", Answer::file(&clip))]));
    world.job("2", Answer::processing());
    world.get(&["1", "2"]).args(&["--wait", "0"]).run().exits(4);
    plant_gone(&world, "6");
    let (names, asked_before) = (world.names(""), asked(&world, "2"));
    let list = "9\n6\n1\nrealtime/98\n2\n";
    let told = world.get(&["-n", "-i", "-"]).stdin(list).run().exits(0);
    assert_eq!(told.stdout(), "9\n6\nrealtime/98\n2\n");
    assert!(told.stderr().contains("4 jobs would be asked for, 1 passed over"), "{}", told.stderr());
    let settled = world.get(&["-nq", "--skip-gone", "-i", "-"]).stdin(list).quietly().run().exits(0);
    assert_eq!((settled.stdout().as_str(), settled.stderr().as_str()), ("9\nrealtime/98\n2\n", ""));
    let forced = world.get(&["-n", "--force", "1"]).quietly().run().exits(0);
    assert_eq!(forced.stdout(), "1\n");
    assert_eq!((world.names(""), asked(&world, "2"), asked(&world, "1")), (names, asked_before, 1));
}

#[test]
fn a_dry_run_needs_no_key_and_no_archive_and_its_rows_are_taken_by_get() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 700));
    world.job("1", Answer::success(&[world.media.on("/1.mp4", Answer::file(&clip))]));
    let told = world.get(&["-n", "--json", "1"]).key(None::<&str>).quietly().run().exits(0);
    let row: serde_json::Value = serde_json::from_str(&told.stdout()).unwrap();
    assert_eq!((&row["id"], &row["state"]), (&"1".into(), &serde_json::Value::Null));
    assert!(!world.archive().exists(), "a dry run makes no archive");
    world.get(&["-i", "-"]).stdin(told.stdout()).run().exits(0);
    world.holds("1", 0, &clip);
}

#[test]
fn a_dry_run_tells_of_each_job_once() {
    let world = World::new();
    let done = world.get(&["147", "148", "enterprise/video/147", "147", "--dry-run"]).run().exits(0);
    assert_eq!(done.stdout(), "147\n148\n");
}

#[test]
fn a_dry_run_says_which_lines_name_no_job_and_which_jobs_would_fail() {
    let world = World::new();
    plant_gone(&world, "6");
    let record = world.archive().join("6/manifest.json");
    let other = std::fs::read_to_string(&record).unwrap().replace("127.0.0.1", "127.0.0.2");
    std::fs::write(record, other).unwrap();
    let told = world.get(&["-n", "-i", "-"]).stdin("6\nno job\n7\n").run().exits(1);
    assert_eq!(told.stdout(), "7\n");
    let said = told.stderr();
    assert!(said.contains("belongs to") && said.contains("standard input:2: "), "{said}");
    assert!(said.contains("1 job would be asked for, 0 passed over, 2 would fail"), "{said}");
}

#[test]
fn a_dry_run_tells_of_each_line_as_it_comes_and_ends_at_a_signal_while_it_waits_for_the_next() {
    let world = World::new();
    let list = world.path("list");
    assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    // Held open: the list does not end.
    let mut pipe = std::fs::File::options().read(true).write(true).open(&list).unwrap();
    pipe.write_all(b"7\nno job\n").unwrap();
    let running = world.get(&["-n", "-i", list.to_str().unwrap()]).quietly().spawn();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !running.stderr().contains("no job") {
        assert!(Instant::now() < deadline, "nothing is told before the list ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = Instant::now();
    running.signal(Signal::INT);
    let done =
        running.wait().exits(130).says("stopped: 1 job would be asked for, 0 passed over, 1 would fail");
    assert_eq!(done.stdout(), "7\n");
    assert!(told.elapsed() < Duration::from_secs(2), "{:?} after the signal", told.elapsed());
}

#[test]
fn a_staging_folder_that_was_typed_for_a_folder_is_refused_before_anything_is_made() {
    let world = World::new();
    for dry in [&["-n"][..], &[]] {
        let typed = world.get(&["147", "--staging", "parts"]).args(dry).run().exits(2);
        typed.says("stages its parts in itself").says("--staging is for buckets");
        assert!(!world.archive().exists());
    }
    // What is set for all archives may not be meant for this one.
    world.get(&["147", "-n"]).env("VFETCH_STAGING", "parts").run().exits(0);
}

#[test]
fn a_folder_whose_name_is_no_utf_8_is_looked_at_and_not_made() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 700));
    world.job("1", Answer::success(&[world.media.on("/1.mp4", Answer::file(&clip))]));
    world.get(&["1"]).run().exits(0);
    let odd = OsStr::from_bytes(b"\xff");
    let refused = world.command("get").args(&["2", "-o"]).args(&[odd]).run().exits(2);
    refused.says("the name of a new folder has to be UTF-8");
    let moved = world.path("cwd").join(odd);
    std::fs::rename(world.archive(), &moved).unwrap();
    let told = world.command("get").args(&["-n", "1", "2", "-o"]).args(&[odd]).quietly().run().exits(0);
    assert_eq!(told.stdout(), "2\n");
    std::fs::rename(&moved, world.archive()).unwrap();
}
