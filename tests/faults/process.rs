//! What may happen to the process: signals, closed outputs, few file handles, little memory, a clock that jumps, and
//! another process in the same archive.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::run::Signal;
use crate::support::{Answer, Content, Running, World, job_path};

/// What a run may need, whatever it fetches.
const MEMORY: u64 = 128 << 20;

/// A world with a job whose clip stops in its middle the first time, and comes whole after that.
fn world_with_a_clip_that_stops() -> (World, Content) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 5 << 20));
    let file = Answer::file(&clip);
    let url = world.media.on("/clip.mp4", file.clone().stall_at(3 << 20).then(file));
    world.job("147", Answer::success(&[url]));
    (world, clip)
}

/// Starts the run, and waits until a good part of the clip is staged.
fn begin(world: &World) -> Running<'_> {
    let running = world.get(&["147"]).spawn();
    world.wait_for_staged(2 << 20);
    running
}

#[test]
fn a_signal_in_the_middle_of_a_file_ends_the_run_soon_and_the_next_one_goes_on_from_there() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        let (world, clip) = world_with_a_clip_that_stops();
        let running = begin(&world);
        let told = Instant::now();
        running.signal(signal);
        running.wait().exits(128 + number);
        assert!(told.elapsed() < Duration::from_secs(20), "it took {:?} after the signal", told.elapsed());
        assert_eq!(world.state("147"), "pending");
        assert!(!world.staged().is_empty());
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        let from = world.media.calls("/clip.mp4")[1].range_from();
        assert!(from.is_some_and(|from| from >= 2 << 20), "it went on from {from:?}");
    }
}

#[test]
fn a_signal_leaves_no_event_without_its_end_and_no_run_without_its_summary() {
    let (world, _) = world_with_a_clip_that_stops();
    world.job("1", Answer::processing());
    world.job("2", Answer::failed("no"));
    let running = world.get(&["147", "1", "2", "--json"]).spawn();
    world.wait_for_staged(2 << 20);
    world.api.wait_for("all jobs asked for", |log| log.len() >= 3);
    world.wait_for_state("2", "failed");
    running.signal(Signal::TERM);
    let done = running.wait().exits(143);
    let last = done.stdout().lines().last().unwrap_or_default().to_owned();
    let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&summary["exit_code"], &summary["cancelled"]), (&json!(143), &json!(2)), "{last}");
}

#[test]
fn a_second_signal_is_obeyed_at_once() {
    let (world, clip) = world_with_a_clip_that_stops();
    let running = begin(&world);
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    running.wait().exits_with(&[130, 143]);
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_signal_stops_a_run_that_is_asking_for_many_jobs() {
    let world = World::new();
    let ids: Vec<String> = (1..=200).map(|id| id.to_string()).collect();
    for id in &ids {
        world.job(id, Answer::processing().after(Duration::from_secs(1)));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let running = world.get(&ids).spawn();
    world.api.wait_for("some polls", |log| log.len() > 5);
    running.signal(Signal::TERM);
    running.wait().exits(143);
    let asked: Vec<String> = world.api.log().into_iter().map(|seen| seen.target).collect();
    assert!(
        asked.len() < ids.len() && asked.iter().all(|target| ids.iter().any(|id| *target == job_path(id)))
    );
}

#[test]
fn results_that_nobody_reads_stop_no_download_and_cause_no_noise() {
    for json in [false, true] {
        let world = World::new();
        let clip = world.content(Content::mp4(1, 60_000));
        let url = world.media.on("/clip.mp4", Answer::file(&clip));
        for id in ["1", "2", "3"] {
            world.job(id, Answer::success(std::slice::from_ref(&url)));
        }
        let run = world.get(&["1", "2", "3"]).stdout_closed();
        let run = if json { run.args(&["--json"]) } else { run };
        run.run().exits_with(&[0, 141]);
        world.get(&["1", "2", "3"]).run().exits(0);
        world.holds("3", 0, &clip);
    }
}

/// A job with 200 outputs of so many bytes each.
fn world_with_200_outputs(bytes: u64) -> (World, Vec<Content>) {
    let world = World::new();
    let clips: Vec<Content> = (0..200).map(|seed| world.content(Content::mp4(seed, bytes))).collect();
    let url = |(place, clip): (usize, &Content)| {
        world.media.on(&format!("/{place}.mp4"), Answer::file(clip).after(Duration::from_millis(5)))
    };
    let urls: Vec<String> = clips.iter().enumerate().map(url).collect();
    world.job("147", Answer::success(&urls));
    (world, clips)
}

#[test]
fn few_file_handles_mean_less_at_once_and_nothing_worse() {
    let (world, clips) = world_with_200_outputs(2_000);
    for id in 1..=100 {
        world.job(&id.to_string(), Answer::success(&[world.media.url("/7.mp4")]));
    }
    let ids: Vec<String> = (1..=100).map(|id| id.to_string()).collect();
    world.get(&["147"]).args(&["-i", "-"]).stdin(ids.join("\n")).after_shell("ulimit -n 64").run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    world.holds("100", 0, &clips[7]);
}

#[test]
fn two_hundred_outputs_at_once_need_little_memory() {
    let (world, clips) = world_with_200_outputs(300_000);
    let done = world.get(&["147", "-j", "200", "-x", "200"]).run().exits(0);
    world.holds("147", 199, &clips[199]);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

#[test]
fn as_many_files_are_open_as_transfers_need_and_few_more() {
    let allowed = 2 * 8 + 32;
    let (world, clips) = world_with_200_outputs(50_000);
    for (place, clip) in clips.iter().enumerate() {
        let file = Answer::file(clip);
        world.media.on(&format!("/{place}.mp4"), file.clone().stall_at(30_000).then(file));
    }
    // All eight transfers have come to their middle, and each has its part and its connection.
    let running = world.get(&["147", "-j", "8"]).spawn();
    world.media.wait_for_body_bytes(8 * 30_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.staged().iter().filter_map(|name| name.strip_suffix(".part")).count() < 8 {
        assert!(Instant::now() < deadline, "only {:?} are staged", world.staged());
        std::thread::sleep(Duration::from_millis(5));
    }
    let open = running.open_files();
    assert!((2 * 8..=allowed).contains(&open), "{open} files for 8 transfers");
    running.signal(Signal::TERM);
    running.wait().exits(143);
    for (place, clip) in clips.iter().enumerate() {
        world.media.on(&format!("/{place}.mp4"), Answer::file(clip));
    }
    let done = world.get(&["147", "-j", "8"]).run().exits(0);
    world.holds("147", 199, &clips[199]);
    assert!((1..=allowed).contains(&done.peak_files), "{} files for 8 transfers", done.peak_files);
}

#[test]
fn a_large_file_needs_no_more_memory_than_a_small_one() {
    let world = World::new();
    let film = world.content(Content::mp4(1, 256 << 20));
    let url = world.media.on("/film.mp4", Answer::file(&film));
    world.job("147", Answer::success(&[url]));
    let done = world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &film);
    assert!(done.peak_rss < MEMORY, "{} MiB", done.peak_rss >> 20);
}

/// Moves the wall clock by a year, forth or back, each second anew; the monotonic clock is left alone.
const JUMPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (clock == CLOCK_REALTIME && result == 0) {
        struct timespec now;
        real(CLOCK_MONOTONIC, &now);
        at->tv_sec += (now.tv_sec % 2 ? 1 : -1) * 365L * 24 * 3600;
    }
    return result;
}
"#;

#[test]
fn a_clock_that_jumps_by_years_changes_neither_waits_nor_names() {
    let world = World::new();
    let Some(library) = world.preloaded("clock", JUMPING_CLOCK) else { return };
    let clip = world.content(Content::mp4(1, 60_000));
    let busy = Answer::status(503).header("Retry-After", "1");
    let url = world.media.on("/clip.mp4", busy.then(Answer::file(&clip)));
    let pending = json!({ "status": "processing", "eta": 2 });
    world.job("147", Answer::json(&pending).then(Answer::success(&[url])));
    let done = world.get(&["147", "--wait", "2m"]).env("LD_PRELOAD", &library).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.names("147"), ["147-0.mp4", "manifest.json"]);
    assert!(done.took < Duration::from_secs(60), "it took {:?}", done.took);
    let polls = world.polls("147");
    assert!(polls[1].at.duration_since(polls[0].at) >= Duration::from_secs(2));
    let written = world.manifest("147").unwrap()["updated_at"].as_str().unwrap().to_owned();
    let this_year =
        humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()[..4].to_owned();
    assert!(!written.starts_with(&this_year), "the clock did not jump: {written}");
}

#[test]
fn a_run_that_slept_for_longer_than_it_waits_for_anybody_goes_on_when_it_wakes_up() {
    let world = World::new();
    let clips = [world.content(Content::mp4(1, 400_000)), world.content(Content::mp4(2, 60_000))];
    let drips = Answer::file(&clips[0]).drip(20_000, Duration::from_millis(100));
    let urls = [world.media.on("/1.mp4", drips), world.media.on("/2.mp4", Answer::file(&clips[1]))];
    world.job("1", Answer::success(&urls[..1]));
    let pending = json!({ "status": "processing", "eta": 2 });
    world.job("2", Answer::json(&pending).then(Answer::success(&urls[1..])));
    let running = world.get(&["1", "2", "--idle-timeout", "1s", "--connect-timeout", "1s"]).spawn();
    world.wait_for_staged(1);
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    running.signal(Signal::CONT);
    running.wait().exits(0);
    world.holds("1", 0, &clips[0]);
    world.holds("2", 0, &clips[1]);
}

#[test]
fn a_second_run_in_the_same_archive_is_told_so_at_once_and_harms_nothing() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 200_000));
    let slow = Answer::file(&clip).drip(20_000, Duration::from_millis(300));
    world.job("1", Answer::success(&[world.media.on("/slow.mp4", slow)]));
    let first = world.get(&["1"]).spawn();
    world.wait_for_staged(1);
    world.get(&["2"]).run().exits(7).says("lock");
    assert!(world.polls("2").is_empty());
    first.wait().exits(0);
    world.holds("1", 0, &clip);
}

#[test]
fn a_lock_whose_holder_is_dead_is_free_whatever_number_stands_in_it() {
    let (world, clip) = world_with_a_clip_that_stops();
    let running = begin(&world);
    running.signal(Signal::KILL);
    running.wait().exits(137);
    // A process of that number is alive, but it is this test, and does not hold the lock.
    std::fs::write(world.archive().join(".vfetch/staging/lock"), format!("{}\n", std::process::id()))
        .unwrap();
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn what_only_a_query_tells_apart_is_not_continued_by_another_run() {
    let world = World::new();
    let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 3_000_000)));
    let links = ["/dl?f=a", "/dl?f=b"];
    let file = |clip: &Content| Answer::file(clip).etag(Some("\"1\""));
    let urls = [0, 1].map(|at| world.media.on(links[at], file(&clips[at]).stall_at(2_500_000)));
    world.job("147", Answer::success(&urls));
    let running = world.get(&["147"]).spawn();
    world.wait_for_checkpoints(2);
    running.signal(Signal::KILL);
    running.wait();
    for at in [0, 1] {
        world.media.on(links[at], file(&clips[at]));
    }
    let [a, b] = urls;
    world.job("147", Answer::success(&[b, a]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clips[1]);
    world.holds("147", 1, &clips[0]);
}
