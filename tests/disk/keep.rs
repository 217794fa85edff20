//! What an archive has is given up only for something proven.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::run::Signal;
use crate::support::{Answer, Content, KEY, World};

/// A world with a complete job 147 of two outputs.
fn complete() -> (World, [Content; 2]) {
    let world = World::new();
    let clips = [world.content(Content::mp4(1, 40_000)), world.content(Content::gif(2, 9_000))];
    let urls = [
        world.media.on("/a.mp4", Answer::file(&clips[0])),
        world.media.on("/b.gif", Answer::file(&clips[1])),
    ];
    world.job("147", Answer::success(&urls));
    world.get(&["147"]).run().exits(0);
    (world, clips)
}

fn record(world: &World) -> Vec<u8> {
    std::fs::read(world.archive().join("147/manifest.json")).unwrap()
}

fn sources(world: &World, paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| world.media.url(path)).collect()
}

#[test]
fn force_keeps_the_file_of_an_output_that_cannot_be_fetched_again() {
    let (world, [_, second]) = complete();
    let other = world.content(Content::mp4(3, 41_000));
    world.media.on("/a.mp4", Answer::file(&other));
    world.media.on("/b.gif", Answer::status(404));
    world.get(&["147", "--force"]).run().exits(1).says("404");
    world.holds("147", 0, &other);
    world.holds("147", 1, &second);
    assert_eq!(world.state("147"), "complete");
    assert_eq!(world.names("147").len(), 3, "the replaced file is gone: {:?}", world.names("147"));
    world.get(&["147"]).run().exits(0);
}

#[test]
fn force_on_a_job_whose_files_have_expired_changes_nothing() {
    let (world, [first, second]) = complete();
    let before = record(&world);
    world.media.on("/a.mp4", Answer::status(404));
    world.media.on("/b.gif", Answer::status(410));
    world.get(&["147", "--force"]).run().exits(1);
    world.holds("147", 0, &first);
    world.holds("147", 1, &second);
    assert_eq!(record(&world), before);
}

#[test]
fn force_with_the_same_bytes_leaves_them_under_their_names() {
    let (world, [first, second]) = complete();
    let names = world.names("147");
    world.get(&["147", "--force"]).run().exits(0);
    world.holds("147", 0, &first);
    world.holds("147", 1, &second);
    assert_eq!(world.names("147"), names);
}

#[test]
fn links_that_moved_and_lead_nowhere_cost_no_file_that_is_here() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 40_000));
    let here = world.media.on("/a.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[here, world.media.url("/lost.mp4")]));
    world.get(&["147"]).run().exits(1);
    assert_eq!(world.state("147"), "partial");
    let before = record(&world);
    world.job("147", Answer::success(&sources(&world, &["/moved/a.mp4", "/moved/lost.mp4"])));
    world.get(&["147"]).run().exits(1);
    world.holds("147", 0, &clip);
    assert_eq!(record(&world), before);
}

#[test]
fn an_answer_that_lists_less_than_is_here_costs_no_file() {
    let world = World::new();
    let clips = [world.content(Content::mp4(1, 40_000)), world.content(Content::mp4(2, 30_000))];
    let [a, b] = [
        world.media.on("/a.mp4", Answer::file(&clips[0])),
        world.media.on("/b.mp4", Answer::file(&clips[1])),
    ];
    world.job("147", Answer::success(&[a.clone(), b, world.media.url("/lost.mp4")]));
    world.get(&["147"]).run().exits(1);
    world.job("147", Answer::success(&[a]));
    world.get(&["147"]).run().exits(1);
    world.holds("147", 0, &clips[0]);
    world.holds("147", 1, &clips[1]);
    assert_eq!(world.state("147"), "partial");
}

#[test]
fn an_output_that_a_later_answer_no_longer_lists_is_missing_all_the_same() {
    let world = World::new();
    let clips = [world.content(Content::mp4(1, 40_000)), world.content(Content::mp4(2, 30_000))];
    let [a, b] = [
        world.media.on("/a.mp4", Answer::file(&clips[0])),
        world.media.on("/b.mp4", Answer::status(503).times(2).then(Answer::file(&clips[1]))),
    ];
    world.job("147", Answer::success(&[a.clone(), b.clone()]));
    world.get(&["147", "-R", "0"]).run().exits(4);
    world.job("147", Answer::success(std::slice::from_ref(&a)));
    world.get(&["147", "-R", "0"]).run().exits(4);
    assert_eq!(world.state("147"), "partial");
    assert_eq!(world.manifest("147").unwrap()["outputs"], 2);
    world.job("147", Answer::success(&[a.clone(), b]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 1, &clips[1]);
    // So is one whose file has vanished.
    std::fs::remove_file(world.archive().join("147/147-1.mp4")).unwrap();
    world.job("147", Answer::success(&[a]));
    world.get(&["147"]).run().exits(1);
    assert_eq!(world.state("147"), "partial");
    world.holds("147", 0, &clips[0]);
}

#[test]
fn an_output_is_known_by_its_link_where_a_shorter_answer_moves_the_others() {
    let clips = [1, 2].map(|seed| Content::mp4(seed, 30_000));
    for (lost, came) in [(0, 1), (1, 0)] {
        let world = World::new();
        let clips = clips.clone().map(|clip| world.content(clip));
        let urls = [0, 1].map(|place| {
            let file = Answer::file(&clips[place]);
            let script = if place == lost { Answer::status(503).times(2).then(file) } else { file.into() };
            world.media.on(&format!("/{place}.mp4"), script)
        });
        world.job("147", Answer::success(&urls));
        world.get(&["147", "-R", "0"]).run().exits(4);
        // The answer lists what is here alone: the other one is missing still.
        world.job("147", Answer::success(&[urls[came].clone()]));
        world.get(&["147", "-R", "0"]).run().exits(4);
        assert_eq!(world.state("147"), "partial", "without output {lost}");
        // The answer lists what is missing alone: it comes, and nothing is.
        world.job("147", Answer::success(&[urls[lost].clone()]));
        world.get(&["147", "-R", "0"]).run().exits(0);
        assert_eq!(world.state("147"), "complete", "with output {lost}");
    }
}

#[test]
fn a_second_answer_in_another_order_or_with_fewer_outputs_gives_no_output_the_file_of_another() {
    for shorter in [false, true] {
        let world = World::new();
        let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 30_000)));
        let a = world.media.on("/a.mp4", Answer::status(404).times(2).then(Answer::file(&clips[0])));
        let b = world.media.on("/b.mp4", Answer::file(&clips[1]));
        let (first, renewed) = ([a.clone(), b.clone()], [b, a]);
        let second = Answer::success(if shorter { &renewed[..1] } else { &renewed });
        world.job("147", Answer::success(&first).then(second.times(1)).then(Answer::success(&first)));
        let run = world.get(&["147", "-R", "0"]).run();
        world.holds("147", 1, &clips[1]);
        if shorter {
            run.exits(4);
            assert_eq!(world.state("147"), "partial", "output 0 is missing still");
            world.get(&["147"]).run().exits(0);
        } else {
            run.exits(0);
        }
        world.holds("147", 0, &clips[0]);
        assert_eq!(world.state("147"), "complete");
    }
}

#[test]
fn an_output_that_was_never_tried_is_not_forgotten_by_a_shorter_answer() {
    let world = World::new();
    let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 30_000)));
    let urls = [0, 1, 2].map(|place| {
        let file = Answer::file(&clips[place]);
        let script = if place == 0 { file.into() } else { file.clone().stall_at(0).then(file) };
        world.media.on(&format!("/{place}.mp4"), script)
    });
    world.job("147", Answer::success(&urls));
    let running = world.get(&["147", "--progress", "json"]).quietly().spawn();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !running.stderr().contains("file_ended") {
        assert!(Instant::now() < deadline, "{}", running.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    running.wait().exits(130);
    world.job("147", Answer::success(&urls[..2]));
    world.get(&["147"]).run().exits_with(&[1, 4]);
    world.holds("147", 1, &clips[1]);
    assert_eq!(world.state("147"), "partial");
    world.job("147", Answer::success(&urls));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 2, &clips[2]);
}

/// The bytes of the files that the record of job 147 names.
fn archived(world: &World) -> Vec<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&record(world)).unwrap();
    let names = manifest["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    names.map(|name| std::fs::read(world.archive().join("147").join(name)).unwrap()).collect()
}

#[test]
fn force_gives_up_no_file_that_the_answer_does_not_list() {
    for (first, second) in [(&[0, 1][..], &[1][..]), (&[0, 1, 2], &[1, 2]), (&[0, 1], &[1, 2])] {
        let world = World::new();
        let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 30_000)));
        let urls = [0, 1, 2].map(|at| world.media.on(&format!("/{at}.mp4"), Answer::file(&clips[at])));
        let answer =
            |places: &[usize]| -> Vec<String> { places.iter().map(|at| urls[*at].clone()).collect() };
        world.job("147", Answer::success(&answer(first)));
        world.get(&["147"]).run().exits(0);
        world.job("147", Answer::success(&answer(second)));
        world.get(&["147", "--force"]).run().exits(0);
        let archived = archived(&world);
        for at in first.iter().chain(second) {
            assert!(archived.contains(&clips[*at].bytes()), "file {at} of {first:?} after {second:?}");
        }
        world.command("verify").args(&[world.archive()]).quietly().run().exits(0);
    }
}

#[test]
fn what_only_a_query_tells_apart_is_fetched_where_the_answer_moves_it() {
    // The file of the second link is there late, or has vanished.
    for is_late in [true, false] {
        let world = World::new();
        let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 30_000)));
        let a = world.media.on("/dl?f=a", Answer::file(&clips[0]));
        let late = Answer::status(503).times(2).then(Answer::file(&clips[1]));
        let b = world.media.on("/dl?f=b", if is_late { late } else { Answer::file(&clips[1]).into() });
        world.job("147", Answer::success(&[a, b.clone()]));
        world.get(&["147", "-R", "0"]).run().exits(if is_late { 4 } else { 0 });
        if !is_late {
            std::fs::remove_file(world.archive().join("147/147-1.mp4")).unwrap();
        }
        world.job("147", Answer::success(&[b]));
        world.get(&["147", "-R", "0"]).run().exits(0);
        let archived = archived(&world);
        assert!(clips.iter().all(|clip| archived.contains(&clip.bytes())), "late: {is_late}");
        assert_eq!(world.state("147"), "complete");
    }
}

#[test]
fn a_file_that_is_here_does_not_stand_for_a_new_one_that_did_not_come() {
    let world = World::new();
    let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 30_000)));
    let [a, b] = [0, 1].map(|at| world.media.on(&format!("/{at}.mp4"), Answer::file(&clips[at])));
    world.job("147", Answer::success(&[a, b.clone()]));
    world.get(&["147"]).run().exits(0);
    std::fs::remove_file(world.archive().join("147/147-1.mp4")).unwrap();
    let x = Answer::status(500).times(2).then(Answer::file(&clips[2]));
    let x = world.media.on("/x.mp4", x);
    world.job("147", Answer::success(&[x, b]));
    world.get(&["147", "-R", "0"]).run().exits(4);
    assert_eq!(world.state("147"), "partial");
    world.get(&["147", "-R", "1"]).run().exits(0);
    let archived = archived(&world);
    assert!(clips.iter().all(|clip| archived.contains(&clip.bytes())), "all three");
    assert_eq!(world.state("147"), "complete");
}

#[test]
fn what_an_earlier_answer_said_of_the_job_is_kept_where_a_later_one_says_nothing() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 30_000));
    let late = Answer::status(503).times(2).then(Answer::file(&clip));
    let urls = [world.media.on("/a.mp4", Answer::file(&clip)), world.media.on("/b.mp4", late)];
    let meta = json!({"prompt": "a fox", "seed": 7});
    let told = json!({"status": "success", "output": urls, "meta": meta, "generationTime": 2.5});
    world.job("147", Answer::json(&told).times(2).then(Answer::success(&urls)));
    world.get(&["147", "-R", "0"]).run().exits(4);
    world.get(&["147", "-R", "0"]).run().exits(0);
    let manifest: Value = serde_json::from_slice(&record(&world)).unwrap();
    assert_eq!(manifest["meta"]["prompt"], "a fox");
}

#[test]
fn a_job_that_was_noted_without_a_link_and_is_worked_on_then_is_seen_pending() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 30_000));
    let url = world.media.on("/a.mp4", Answer::file(&clip));
    let no_link = Answer::json(&json!({"status": "success", "output": []})).times(1);
    let processing = Answer::json(&json!({"status": "processing", "eta": 1})).times(1);
    world.job("147", no_link.then(processing).then(Answer::success(&[url])));
    for seen in [false, true] {
        world.get(&["147", "--wait", "0"]).run().exits(4);
        let manifest: Value = serde_json::from_slice(&record(&world)).unwrap();
        assert_eq!(manifest["pending_seen_at"].is_string(), seen, "{manifest}");
    }
    world.get(&["147"]).run().exits(0);
}

#[test]
fn what_lies_under_a_recorded_name_and_is_something_else_is_put_aside() {
    let (world, [first, _]) = complete();
    let path = world.archive().join("147/147-0.mp4");
    // Another job's file, say: longer than this one's.
    let other = Content::mp4(9, 50_000).bytes();
    std::fs::write(&path, &other).unwrap();
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &first);
    assert_eq!(files_below(&world.archive().join(".vfetch/quarantine")), [other]);
    // A length that somebody has edited makes a stranger of the right bytes.
    let text = String::from_utf8(record(&world)).unwrap();
    let length = first.bytes().len();
    assert!(text.contains(&format!("\"bytes\": {length}")));
    let edited = text.replace(&format!("\"bytes\": {length}"), &format!("\"bytes\": {}", length + 1));
    std::fs::write(world.archive().join("147/manifest.json"), edited).unwrap();
    let new = world.content(Content::mp4(4, 42_000));
    world.media.on("/a.mp4", Answer::file(&new));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &new);
    assert!(files_below(&world.archive().join(".vfetch/quarantine")).contains(&first.bytes()));
}

#[test]
fn what_lies_beside_a_damaged_record_is_never_overwritten() {
    let world = World::new();
    let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 30_000)));
    let [a, b] = [0, 1].map(|place| world.media.on(&format!("/{place}.mp4"), Answer::file(&clips[place])));
    world.job("147", Answer::success(&[a.clone(), b]));
    world.get(&["147"]).run().exits(0);
    std::fs::write(world.archive().join("147/manifest.json"), "{\"torn").unwrap();
    let other = Answer::status(503).times(2).then(Answer::file(&clips[2]));
    world.job("147", Answer::success(&[a, world.media.on("/other.mp4", other)]));
    world.get(&["147", "-R", "0"]).run().exits(4);
    world.get(&["147", "-R", "0"]).run().exits(0);
    world.holds("147", 1, &clips[2]);
    let quarantine = world.archive().join(".vfetch/quarantine");
    let kept = files_below(&quarantine);
    for clip in &clips[..2] {
        assert!(kept.contains(&clip.bytes()), "{} files are kept aside", kept.len());
    }
}

fn files_below(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![std::fs::read(path).unwrap()] })
        .collect()
}

#[test]
fn a_file_that_moves_takes_no_missing_outputs_place() {
    let world = World::new();
    let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 30_000)));
    let [b, c, d] =
        [0, 1, 2].map(|place| world.media.on(&format!("/{place}.mp4"), Answer::file(&clips[place])));
    let a = world.media.on("/a.mp4", Answer::status(503));
    world.job("147", Answer::success(&[a, b, c]));
    world.get(&["147", "-R", "0"]).run().exits(4);
    world.job("147", Answer::success(&[d]));
    world.get(&["147", "-R", "0"]).run().exits(4);
    assert_eq!(world.state("147"), "partial");
}

#[test]
fn a_file_that_could_not_be_fetched_again_under_a_new_link_is_told_with_its_reason() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 40_000));
    let url = world.media.on("/a.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    world.get(&["147"]).run().exits(0);
    let moved = world.media.on("/moved/a.mp4", Answer::status(503));
    world.job("147", Answer::success(&[moved]));
    world.get(&["147", "--force", "-R", "0"]).run().exits(4).says("1 of 1 output missing");
    world.holds("147", 0, &clip);
    assert_eq!(world.state("147"), "complete");
}

#[test]
fn the_same_bytes_under_a_new_link_get_a_name_of_their_own() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 40_000));
    let x = world.media.on("/x.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[x.clone(), world.media.url("/lost.mp4")]));
    world.get(&["147"]).run().exits(1);
    let y = world.media.on("/y.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[y, x]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    world.holds("147", 1, &clip);
    assert_ne!(world.entry("147", 0)["path"], world.entry("147", 1)["path"]);
    world.get(&["147"]).run().exits(0);
    assert_eq!(world.polls("147").len(), 3, "the record can be read, and says that all is done");
}

#[test]
fn fields_of_another_hand_survive_a_forced_rewrite() {
    let (world, _) = complete();
    let path = world.archive().join("147/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&record(&world)).unwrap();
    manifest["note"] = json!("for the fox film");
    manifest["job"]["project"] = json!("fox");
    manifest["files"][0]["rating"] = json!(5);
    manifest["files"][1]["rating"] = json!(4);
    std::fs::write(&path, manifest.to_string()).unwrap();
    let other = world.content(Content::gif(7, 9_500));
    world.media.on("/b.gif", Answer::file(&other));
    world.get(&["147", "--force"]).run().exits(0);
    let after: Value = serde_json::from_slice(&record(&world)).unwrap();
    assert_eq!((&after["note"], &after["job"]["project"]), (&json!("for the fox film"), &json!("fox")));
    assert_eq!(after["files"][0]["rating"], json!(5), "the same bytes");
    assert_eq!(after["files"][1]["rating"], Value::Null, "other bytes have no rating yet");
}

#[test]
fn a_failed_job_that_is_worked_on_again_is_pending() {
    let world = World::new();
    world.job("147", Answer::failed("no more memory").then(Answer::processing()));
    world.get(&["147"]).run().exits(1);
    assert_eq!(world.state("147"), "failed");
    world.get(&["147", "--wait", "0s"]).run().exits(4);
    assert_eq!(world.state("147"), "pending");
}

#[test]
fn an_output_that_a_stop_cut_short_is_listed_as_missing() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 40_000));
    let slow = world.content(Content::mp4(2, 400_000));
    let a = world.media.on("/a.mp4", Answer::file(&clip));
    let b = world.media.on("/b.mp4", Answer::file(&slow).stall_at(100_000));
    world.job("147", Answer::success(&[a, b]));
    // One request at a time, so that the first output is proven when the second one begins.
    let running = world.get(&["147", "--max-per-host", "1"]).spawn();
    world.wait_for_staged(100_000);
    running.signal(Signal::INT);
    running.wait().exits(130);
    world.holds("147", 0, &clip);
    let manifest = world.manifest("147").unwrap();
    assert_eq!((&manifest["state"], &manifest["missing"][0]["output"]), (&json!("partial"), &json!(1)));
}

/// A world in which two of three outputs are home: the third one's link leads nowhere.
fn two_of_three() -> (World, [Content; 3]) {
    let world = World::new();
    let clips = [1, 2, 3].map(|seed| world.content(Content::mp4(seed, 20_000 + seed)));
    for (path, clip) in ["/a.mp4", "/b.mp4"].iter().zip(&clips) {
        world.media.on(path, Answer::file(clip));
    }
    world.job("147", Answer::success(&sources(&world, &["/a.mp4", "/b.mp4", "/c.mp4"])));
    world.get(&["147"]).run().exits(1);
    assert_eq!(world.state("147"), "partial");
    (world, clips)
}

#[test]
fn a_file_whose_link_moved_and_leads_nowhere_stays_where_another_output_comes() {
    let (world, clips) = two_of_three();
    world.media.on("/c.mp4", Answer::file(&clips[2]));
    world.job("147", Answer::success(&sources(&world, &["/a.mp4", "/moved/b.mp4", "/c.mp4"])));
    world.get(&["147"]).run().exits(0);
    for (output, clip) in clips.iter().enumerate() {
        world.holds("147", output, clip);
    }
    assert_eq!(world.state("147"), "complete");
    world.command("verify").args(&[world.archive()]).quietly().run().exits(0);
}

#[test]
fn an_answer_with_other_outputs_adds_them_and_takes_none_away() {
    let (world, clips) = two_of_three();
    let other = world.content(Content::mp4(4, 50_000));
    world.job("147", Answer::success(&[world.media.on("/d.mp4", Answer::file(&other))]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &other);
    world.holds("147", 1, &clips[0]);
    world.holds("147", 2, &clips[1]);
    world.command("verify").args(&[world.archive()]).quietly().run().exits(0);
    let polls = world.polls("147").len();
    world.get(&["147"]).run().exits(0);
    assert_eq!(world.polls("147").len(), polls, "the record says that all is done");
}

#[test]
fn outputs_whose_links_differ_in_their_query_alone_are_never_taken_for_each_other() {
    let world = World::new();
    let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 20_000 + seed)));
    let a = world.media.on("/dl?f=a", Answer::file(&clips[0]));
    let b = world.media.on("/dl?f=b", Answer::status(404));
    world.job("147", Answer::success(&[a.clone(), b.clone()]));
    world.get(&["147"]).run().exits(1);
    world.media.on("/dl?f=b", Answer::file(&clips[1]));
    world.job("147", Answer::success(&[b, a]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clips[1]);
    world.holds("147", 1, &clips[0]);
}

#[test]
fn an_answer_that_leaves_out_an_index_is_archived_under_those_it_gives() {
    let world = World::new();
    let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 20_000 + seed)));
    let [first, second] = ["/1.mp4", "/2.mp4"].map(|path| world.media.url(path));
    world.media.on("/1.mp4", Answer::file(&clips[0]));
    world.job("147", Answer::json(&json!({ "status": "success", "output": { "1": first, "2": second } })));
    world.get(&["147"]).run().exits(1);
    world.media.on("/2.mp4", Answer::file(&clips[1]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 1, &clips[0]);
    world.holds("147", 2, &clips[1]);
    assert_eq!(world.state("147"), "complete");
}

#[test]
fn a_damaged_record_and_what_it_may_have_named_are_put_aside_and_never_written_over() {
    let (world, clips) = complete();
    let path = world.archive().join("147/manifest.json");
    let mut bytes = record(&world);
    bytes[0] = b'#';
    std::fs::write(&path, &bytes).unwrap();
    for answer in [Answer::processing(), Answer::failed("unknown"), Answer::success(&[world.media.url("/x")])]
    {
        world.job("147", answer);
        // The check after every run is not for an archive that is meant to be damaged.
        let get = Command::new(env!("CARGO_BIN_EXE_vfetch"))
            .args(["get", "147", "--wait", "0", "-o"])
            .arg(world.archive())
            .env("MODELSLAB_BASE_URL", world.api.url(""))
            .env("MODELSLAB_API_KEY", KEY)
            .output()
            .unwrap();
        assert!(!get.status.success());
        assert_eq!(record(&world), bytes, "what brings nothing changes nothing");
    }
    let other = world.content(Content::mp4(5, 70_000));
    world.job("147", Answer::success(&[world.media.on("/d.mp4", Answer::file(&other))]));
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &other);
    let aside = world.archive().join(".vfetch/quarantine/147");
    assert_eq!(std::fs::read(aside.join("manifest.json")).unwrap(), bytes);
    assert_eq!(std::fs::read(aside.join("147-0.mp4")).unwrap(), clips[0].bytes());
}
