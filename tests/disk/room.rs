//! Folders that take nothing more, or nothing at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Answer, Content, World};

/// A small file system in memory on the archive of a world; gone when it is dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts one of this size, where this test may; else says why not.
    fn on(world: &World, options: &str) -> Option<Self> {
        std::fs::create_dir(world.archive()).unwrap();
        let small = Self(world.archive());
        let why = small.mount(&["-t", "tmpfs", "-o", options, "tmpfs"]).err()?;
        println!("skipped: this test may not mount: {why}");
        std::mem::forget(small);
        None
    }

    fn mount(&self, args: &[&str]) -> Result<(), String> {
        let ran = Command::new("mount").args(args).arg(&self.0).output();
        let ran = ran.map_err(|error| error.to_string())?;
        if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).trim().into()) }
    }

    fn remount(&self, options: &str) {
        self.mount(&["-o", &format!("remount,{options}")]).expect("what was mounted can be changed");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn clips(world: &World, lengths: &[u64]) -> Vec<Content> {
    let serve = |(number, length): (usize, &u64)| {
        let clip = world.content(Content::mp4(number as u64, *length));
        let id = (number + 1).to_string();
        let url = world.media.on(&format!("/{id}.mp4"), Answer::file(&clip));
        world.job(&id, Answer::success(&[url]));
        clip
    };
    lengths.iter().enumerate().map(serve).collect()
}

#[test]
fn on_a_full_disk_finished_jobs_are_intact_and_the_message_says_how_much_is_missing() {
    let world = World::new();
    let Some(small) = Small::on(&world, "size=1m") else { return };
    let clips = clips(&world, &[200_000, 300_000, 2_000_000]);
    world.get(&["1", "2"]).run().exits(0);
    let done = world.get(&["1", "2", "3"]).run().exits(5);
    let place = world.archive().join(".vfetch/staging/3-0.part");
    let said = done.stderr();
    let line = said.lines().find(|line| line.contains("No space left on device")).unwrap_or_default();
    assert!(line.contains(&format!("writing {}: ", place.display())), "{}", done.shown());
    assert!(line.contains(" MiB more needed, ") && line.contains(" free"), "{line}");
    world.holds("1", 0, &clips[0]);
    world.holds("2", 0, &clips[1]);
    assert_eq!(world.staged(), Vec::<String>::new(), "what did not fit is not in the way");
    small.remount("size=8m");
    world.get(&["1", "2", "3"]).run().exits(0);
    world.holds("3", 0, &clips[2]);
    assert_eq!(world.polls("1").len(), 1, "what was finished was not asked for again");
}

#[test]
fn whichever_page_is_the_last_one_a_job_is_whole_or_absent() {
    const PAGE: usize = 4_096;
    const PAGES: usize = 64;
    let mut codes = [0; 2];
    for left in 0..16 {
        let world = World::new();
        let Some(_small) = Small::on(&world, &format!("size={}", PAGE * PAGES)) else { return };
        let clips = clips(&world, &[5 * PAGE as u64, 2 * PAGE as u64]);
        let filler = world.archive().join("filler");
        let zeros = world.content(Content::of(vec![0; PAGE * (PAGES - left)]));
        std::fs::write(&filler, zeros.bytes()).unwrap();
        let done = world.get(&["1", "2"]).run().exits_with(&[0, 5]);
        codes[usize::from(done.code() == 5)] += 1;
        std::fs::remove_file(&filler).unwrap();
        world.get(&["1", "2"]).run().exits(0);
        world.holds("1", 0, &clips[0]);
        world.holds("2", 0, &clips[1]);
    }
    assert!(codes.iter().all(|count| *count > 0), "both happened: {codes:?}");
}

#[test]
fn a_file_beyond_the_limit_on_file_sizes_fails_its_own_job_and_kills_nothing() {
    let world = World::new();
    let clips = clips(&world, &[40_000, 400_000]);
    // The shell counts in blocks of 512 bytes.
    let done = world.get(&["1", "2"]).after_shell("ulimit -f 300").run().exits(5);
    let place = world.archive().join(".vfetch/staging/2-0.part").display().to_string();
    assert!(done.stderr().contains(&format!("writing {place}: File too large")), "{}", done.shown());
    assert!(done.stderr().contains("more needed"), "{}", done.shown());
    world.holds("1", 0, &clips[0]);
    world.get(&["1", "2"]).run().exits(0);
    world.holds("2", 0, &clips[1]);
}

/// The run ends before anything was asked, with the place in its message.
fn refused_at_once(world: &World, done: &crate::support::Done, place: &Path) {
    assert!(matches!(done.code(), 2 | 5), "{}", done.shown());
    assert!(done.stderr().contains(&place.display().to_string()), "{}", done.shown());
    assert!(world.api.log().is_empty(), "nothing was asked: {:?}", world.api.log());
}

#[test]
fn a_read_only_archive_is_refused_before_anything_is_asked() {
    let world = World::new();
    let Some(small) = Small::on(&world, "size=1m") else { return };
    clips(&world, &[1_000]);
    small.remount("ro");
    let done = world.get(&["1"]).run();
    refused_at_once(&world, &done, &world.archive());
    small.remount("rw");
    world.get(&["1"]).run().exits(0);
}

#[test]
fn a_file_in_place_of_the_archive_is_refused_before_anything_is_asked() {
    let world = World::new();
    clips(&world, &[1_000]);
    let file = world.file("taken", "something else");
    for place in [file.clone(), file.join("below")] {
        let done = world.command("get").args(&["1", "-o"]).args(&[place]).run();
        refused_at_once(&world, &done, &file);
    }
    assert_eq!(std::fs::read(file).unwrap(), b"something else");
}

#[test]
fn an_archive_that_may_not_be_entered_is_refused_before_anything_is_asked() {
    let world = World::new();
    clips(&world, &[1_000]);
    let root = rustix::process::geteuid().is_root();
    if !root || Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: only root with setpriv can become somebody without rights");
        return;
    }
    // The folder of the world is the test's own.
    let nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"";
    let get = world.get(&["1"]).after_shell(&format!("cd /; {nobody}"));
    let done = get.run();
    refused_at_once(&world, &done, &world.archive());
}

#[test]
fn an_archive_whose_parents_are_not_there_is_made_with_them() {
    let world = World::new();
    let clip = clips(&world, &[1_000]).remove(0);
    let place = world.archive().join("a/b");
    world.command("get").args(&["1", "-o"]).args(std::slice::from_ref(&place)).run().exits(0);
    assert_eq!(std::fs::read(place.join("1/1-0.mp4")).unwrap(), clip.bytes());
}

#[test]
fn an_archive_that_vanishes_under_a_run_is_exit_5_and_can_be_filled_again() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 400_000));
    let url = world.media.on("/a.mp4", Answer::file(&clip).stall_at(100_000).then(Answer::file(&clip)));
    world.job("147", Answer::success(&[url]));
    let running = world.get(&["147", "--idle-timeout", "2s"]).spawn();
    world.wait_for_staged(100_000);
    std::fs::remove_dir_all(world.archive()).unwrap();
    let done = running.wait().exits(5);
    assert!(done.stderr().contains(&world.archive().display().to_string()), "{}", done.shown());
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}
