//! `vfetch resume`.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::listing::asked;
use crate::support::run::Signal;
use crate::support::{Answer, Content, Get, KEY, World};

fn resume<'w>(world: &'w World, args: &[&str]) -> Get<'w> {
    world.command("resume").args(&[world.archive().to_str().unwrap()]).args(args)
}

/// Puts a job into the archive whose files no longer existed when it was last asked for.
pub(crate) fn plant_gone(world: &World, id: &str) {
    let folder = world.archive().join(id);
    std::fs::create_dir_all(&folder).unwrap();
    let record = serde_json::json!({
        "format": "vfetch.manifest", "version": 1, "state": "gone",
        "job": {"origin": world.api.url(""), "family": "enterprise/video", "id": id,
            "fetch_url": world.api.url(&crate::support::job_path(id))},
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z", "outputs": 1, "files": [],
        "missing": [{"output": 0, "gone": true, "reasons": []}],
    });
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec_pretty(&record).unwrap()).unwrap();
}

#[test]
fn every_job_that_is_not_done_is_finished_without_a_list() {
    let world = World::new();
    let clip = |id: u64| world.content(Content::mp4(id, 1_000 + id));
    let clips: Vec<Content> = (1..=5).map(clip).collect();
    let serve = |id: usize| world.media.on(&format!("/{id}.mp4"), Answer::file(&clips[id - 1]));
    world.job("1", Answer::success(&[serve(1)]));
    world.job("2", Answer::processing());
    world.job("3", Answer::success(&[serve(3), world.media.on("/5.mp4", Answer::html())]));
    world.job("4", Answer::failed("something broke"));
    world.get(&["1", "2", "3", "4"]).args(&["--wait", "0"]).run().exits(1);
    let states = ["1", "2", "3", "4"].map(|id| world.state(id));
    assert_eq!(states, ["complete", "pending", "partial", "failed"]);
    let (done, media) = (asked(&world, "1"), world.media.calls("/3.mp4").len());
    world.job("2", Answer::success(&[serve(2)]));
    serve(5);
    world.job("4", Answer::success(&[serve(4)]));
    plant_gone(&world, "6");
    std::fs::create_dir(world.archive().join("notes")).unwrap();
    let resumed = resume(&world, &[]).run().exits(0);
    for (id, output, clip) in [("2", 0, 1), ("3", 1, 4), ("4", 0, 3), ("3", 0, 2)] {
        world.holds(id, output, &clips[clip]);
    }
    assert_eq!((asked(&world, "1"), world.media.calls("/3.mp4").len(), asked(&world, "6")), (done, media, 0));
    assert_eq!(resumed.stdout().lines().count(), 4, "a line for each file of the finished jobs");
    resume(&world, &[]).run().exits(0);
    assert_eq!(asked(&world, "2"), 2, "there is nothing left to ask for");
}

#[test]
fn a_job_of_which_a_killed_run_left_parts_alone_is_finished_without_a_list() {
    let world = World::new();
    let clips = [1, 2].map(|seed| world.content(Content::mp4(seed, 5 << 20)));
    let urls: Vec<String> = (0..2)
        .map(|output| {
            let file = Answer::file(&clips[output]);
            world.media.on(&format!("/{output}.mp4"), file.clone().stall_at(3 << 20).then(file))
        })
        .collect();
    world.job("147", Answer::success(&urls));
    let running = world.get(&["147"]).spawn();
    world.wait_for_checkpoints(2);
    running.signal(Signal::KILL);
    running.wait().exits(137);
    assert_eq!(world.state("147"), "absent");
    let archive = world.archive();
    let say = |command: &str| world.command(command).args(&[archive.to_str().unwrap()]).quietly().run();
    let status = say("status").exits(0).stdout();
    assert!(status.contains("At risk: 1 job has files that are not here"), "{status}");
    let list = world.command("list").args(&[archive.to_str().unwrap(), "--json"]).quietly().run().exits(0);
    assert!(list.stdout().contains(r#""state":"pending""#), "{}", list.stdout());
    assert!(list.stdout().contains(r#""created_at":"""#), "nobody has noted when: {}", list.stdout());
    assert!(!status.contains("expected to be deleted"), "{status}");
    say("audit").exits(1);
    let resumed = resume(&world, &[]).run().exits(0);
    assert_eq!(resumed.stdout().lines().count(), 2);
    for (output, clip) in clips.iter().enumerate() {
        world.holds("147", output, clip);
        let calls = world.media.calls(&format!("/{output}.mp4"));
        assert!(calls[1].range_from().is_some(), "it went on from where it was");
    }
    assert_eq!(asked(&world, "147"), 2);
}

#[test]
fn jobs_that_are_gone_are_asked_again_only_where_that_is_asked_for() {
    let world = World::new();
    plant_gone(&world, "6");
    resume(&world, &[]).run().exits(0).says("passed over as gone for good: 1; --gone asks for them too");
    assert_eq!(asked(&world, "6"), 0);
    let clip = world.content(Content::mp4(6, 700));
    world.job("6", Answer::success(&[world.media.on("/6.mp4", Answer::file(&clip))]));
    resume(&world, &["--gone"]).run().exits(0);
    world.holds("6", 0, &clip);
}

#[test]
fn a_complete_job_whose_file_was_removed_is_completed() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 700));
    world.job("1", Answer::success(&[world.media.on("/1.mp4", Answer::file(&clip))]));
    world.get(&["1"]).run().exits(0);
    std::fs::remove_file(world.archive().join("1/1-0.mp4")).unwrap();
    resume(&world, &[]).run().exits(0);
    world.holds("1", 0, &clip);
}

#[test]
fn a_job_of_another_api_is_told_and_the_key_stays_here() {
    let (world, other) = (World::new(), World::new());
    world.job("1", Answer::processing());
    world.get(&["1"]).args(&["--wait", "0"]).run().exits(4);
    let calls = world.api.log().len();
    let done = resume(&world, &[]).base_url(Some(&other.api.url(""))).run().exits(1);
    let stderr = done.stderr();
    assert!(
        stderr.contains("1/manifest.json: belongs to ") && stderr.contains("--base-url"),
        "{}",
        done.shown()
    );
    assert_eq!((world.api.log().len(), other.api.log().len()), (calls, 0));
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_stops_nothing() {
    let world = World::new();
    let clip = world.content(Content::mp4(2, 700));
    world.job(
        "2",
        Answer::processing().then(Answer::success(&[world.media.on("/2.mp4", Answer::file(&clip))])),
    );
    world.get(&["2"]).args(&["--wait", "0"]).run().exits(4);
    plant_gone(&world, "1");
    let path = world.archive().join("1/manifest.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"gone\"", "\"complete\"");
    std::fs::write(&path, text).unwrap();
    // The check after every run is not for an archive that is meant to be damaged.
    let done = Command::new(env!("CARGO_BIN_EXE_vfetch"))
        .arg("resume")
        .arg(world.archive())
        .env("MODELSLAB_BASE_URL", world.api.url(""))
        .env("MODELSLAB_API_KEY", KEY)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && stderr.contains("1/manifest.json: missing field"), "{stderr}");
    world.holds("2", 0, &clip);
}

#[test]
fn where_there_is_no_archive_there_is_nothing_to_resume() {
    let world = World::new();
    resume(&world, &[]).run().exits(2).says("there is no archive");
    assert!(!world.archive().exists());
}

#[test]
fn a_job_that_a_run_asked_for_and_did_not_finish_is_known_to_the_archive_whatever_ended_it() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 200_000));
    let served = || Answer::file(&clip);
    for id in ["1", "2", "3"] {
        let url = world.media.on(&format!("/{id}.mp4"), served().stall_at(60_000));
        world.job(id, Answer::success(&[url]));
    }
    // It has no link yet, ends first, and then a place is free for the fifth, whose turn does not come.
    world.job("4", Answer::success(&[] as &[String]));
    world.job("5", Answer::success(&[world.media.on("/5.mp4", Answer::status(503))]));
    let running = world.get(&["1", "2", "3", "4", "5"]).args(&["-j", "2", "--wait", "1s", "-R", "0"]).spawn();
    world.media.wait_for_body_bytes(2 * 60_000);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !world.archive().join("4/manifest.json").exists() {
        assert!(Instant::now() < deadline, "{:?}", world.names(""));
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    running.wait().exits(130);
    for id in ["1", "2", "3", "4", "5"] {
        assert_eq!(world.state(id), "pending", "{id}");
        let url = world.media.on(&format!("/{id}.mp4"), served());
        world.job(id, Answer::success(&[url]));
    }
    resume(&world, &[]).run().exits(0);
    for id in ["1", "2", "3", "4", "5"] {
        world.holds(id, 0, &clip);
    }
}
