//! `vfetch repair`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vfetch::manifest::State;
use vfetch::sha256::Digest;
use vfetch::store::Store;

use crate::bed::{Bed, Ran, content, copy_tree, missing};
use crate::planted;
use crate::support::{Answer, Content, Script, Server};

/// An archive whose jobs live at an API on loopback, with media hosts on the same server.
struct World {
    bed: Bed,
    server: Server,
}

impl World {
    fn new() -> Self {
        let server = Server::start();
        Self { bed: Bed::at(&server.url("")), server }
    }

    /// Says that the API has this job with outputs at these paths.
    fn has(&self, id: &str, paths: &[&str]) {
        let urls: Vec<String> = paths.iter().map(|path| self.server.url(path)).collect();
        self.server.on(&fetch_path(id), Answer::success(&urls));
    }

    fn repair(&self, args: &[&str]) -> Ran {
        let mut all = vec!["repair", "out"];
        all.extend(args);
        let mut command = self.bed.command(&all);
        command
            .env("MODELSLAB_API_KEY", "sk-0123456789abcdef")
            .env("MODELSLAB_BASE_URL", self.server.url(""));
        Ran::of(command)
    }

    /// Asserts that a verification has nothing to say.
    fn is_silent(&self) {
        assert_eq!(self.bed.run(&["verify", "out"]).exits(0).stdout, "");
    }
}

fn fetch_path(id: &str) -> String {
    format!("/api/v1/enterprise/video/fetch/{id}")
}

/// The files in a folder and below, with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.exists() {
            found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The jobs of an archive: everything but the private folder.
fn jobs(archive: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(archive);
    files.retain(|path, _| !path.starts_with(".vfetch"));
    files
}

#[test]
fn what_needs_no_key_is_repaired_where_the_variable_for_it_is_empty() {
    let (bed, back) = (Bed::new(), Bed::new());
    for bed in [&bed, &back] {
        bed.complete("147", &[b"GIF89a"]);
    }
    fs::remove_file(bed.file("147/147-0.gif")).unwrap();
    let repair = |args: &[&str]| {
        let mut command = bed.command(&[&["repair", "out"], args].concat());
        command.env("MODELSLAB_API_KEY", "");
        Ran::of(command)
    };
    let ran = repair(&[]).exits(1);
    assert!(ran.stderr.contains("no API key was given"), "{}", ran.stderr);
    repair(&["--from", back.archive().to_str().unwrap()]).exits(0);
    assert_eq!(fs::read(bed.file("147/147-0.gif")).unwrap(), b"GIF89a");
}

fn quarantine(bed: &Bed) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&bed.file(".vfetch/quarantine"))
}

#[test]
fn two_hundred_damages_are_healed_from_another_archive_and_nothing_else_is_touched() {
    let bed = Bed::new();
    planted::whole(&bed, 600);
    copy_tree(&bed.archive(), &bed.path("backup"));
    let planted = planted::plant_all(&bed, 600, 200, 11);
    let bad = jobs(&bed.archive());
    let whole = jobs(&bed.path("backup"));
    let ran = bed.run(&["repair", "out", "--from", "backup", "--offline"]).exits(0);
    assert_eq!(bed.run(&["verify", "out"]).exits(0).stdout, "");
    let healed = jobs(&bed.archive());
    let media = |path: &PathBuf| path.file_name().is_some_and(|name| name != "manifest.json");
    for (path, bytes) in whole.iter().filter(|(path, _)| media(path)) {
        assert!(healed.get(path) == Some(bytes), "{} is not what it was", path.display());
    }
    assert!(healed.keys().eq(whole.keys()), "a file too many, or too few");
    // Whatever was there and is not any more lies in the quarantine.
    let aside = quarantine(&bed);
    for (path, bytes) in bad.iter().filter(|(path, bytes)| media(path) && healed.get(*path) != Some(bytes)) {
        assert!(aside.values().any(|kept| kept == bytes), "{} was thrown away", path.display());
    }
    let faults: usize = planted.values().map(|(_, lines)| lines.len()).sum();
    assert_eq!(ran.stdout.lines().count(), faults, "{}", ran.stdout);
    // Records of jobs that were whole are the same byte for byte.
    let damaged: Vec<String> =
        planted.keys().flat_map(|id| [planted::folder(*id), planted::folder(id + 7)]).collect();
    for (path, bytes) in &whole {
        let folder = path.iter().next().unwrap().to_str().unwrap();
        if !damaged.iter().any(|damaged| damaged == folder) {
            assert!(healed.get(path) == Some(bytes), "{} was touched", path.display());
        }
    }
    // And it is right already, so a second repair has nothing to do.
    assert_eq!(bed.run(&["repair", "out", "--from", "backup", "--offline"]).exits(0).stdout, "");
}

#[test]
fn a_twin_in_the_archive_heals_without_a_network_or_a_key() {
    let bed = Bed::new();
    let same = content(1, 900);
    bed.complete("147", &[&same, &content(2, 100)]);
    bed.complete("realtime/98", &[&content(3, 100), &same]);
    fs::write(bed.file("147/147-0.gif"), "bad").unwrap();
    let ran = bed.run(&["repair", "out"]).exits(0);
    assert_eq!(ran.stdout, "healed 147/147-0.gif: from realtime.98/98-1.gif\n");
    assert_eq!(fs::read(bed.file("147/147-0.gif")).unwrap(), same);
    assert_eq!(quarantine(&bed).into_iter().collect::<Vec<_>>(), [("147/147-0.gif".into(), b"bad".to_vec())]);
    bed.run(&["verify", "out"]).exits(0);
}

#[test]
fn the_jobs_own_source_heals_and_its_whole_neighbours_are_not_asked_for() {
    let world = World::new();
    let (one, two) = (Content::gif(1, 5_000), Content::gif(2, 5_000));
    world.bed.complete("147", &[&one.bytes(), &two.bytes()]);
    fs::remove_file(world.bed.file("147/147-1.gif")).unwrap();
    // The links are other ones than those that the record knows.
    world.has("147", &["/new/0.gif", "/new/1.gif"]);
    world.server.on("/new/1.gif", Answer::file(&two));
    let ran = world.repair(&[]).exits(0);
    assert_eq!(ran.stdout, "healed 147/147-1.gif: from its own sources\n");
    assert_eq!(fs::read(world.bed.file("147/147-1.gif")).unwrap(), two.bytes());
    assert_eq!(world.server.calls("/new/0.gif").len(), 0);
    world.is_silent();
}

#[test]
fn other_bytes_at_the_source_get_a_name_of_their_own_and_the_bad_file_is_kept_aside() {
    let world = World::new();
    let (old, new) = (Content::gif(1, 5_000), Content::gif(2, 6_000));
    world.bed.complete("147", &[&old.bytes()]);
    let mut bad = old.bytes();
    bad[200] ^= 1;
    fs::write(world.bed.file("147/147-0.gif"), &bad).unwrap();
    world.has("147", &["/a.gif"]);
    world.server.on("/a.gif", Answer::file(&new));
    let name = format!("147-0.{}.gif", &new.sha256()[..8]);
    let ran = world.repair(&[]).exits(0);
    assert_eq!(
        ran.stdout,
        format!("healed 147/147-0.gif: from its own sources, as {name} with other bytes\n")
    );
    assert_eq!(fs::read(world.bed.file(&format!("147/{name}"))).unwrap(), new.bytes());
    assert_eq!(quarantine(&world.bed).into_values().collect::<Vec<_>>(), [bad]);
    world.is_silent();
}

#[test]
fn what_is_gone_is_recorded_so_and_still_healed_when_a_copy_turns_up() {
    let world = World::new();
    let (one, two) = (Content::gif(1, 5_000), Content::gif(2, 5_000));
    world.bed.complete("147", &[&one.bytes(), &two.bytes()]);
    copy_tree(&world.bed.archive(), &world.bed.path("backup"));
    fs::write(world.bed.file("147/147-1.gif"), "bad").unwrap();
    world.has("147", &["/0.gif", "/1.gif"]);
    world.server.on("/1.gif", Answer::html());
    let ran = world.repair(&[]).exits(1);
    assert!(ran.stdout.starts_with("gone 147/147-1.gif: "), "{}", ran.stdout);
    assert_eq!(fs::read(world.bed.file("147/147-0.gif")).unwrap(), one.bytes());
    assert_eq!(quarantine(&world.bed).into_values().collect::<Vec<_>>(), [b"bad"]);
    let record = world.bed.read("147");
    assert_eq!((record.state, record.lost[0].sha256), (State::Partial, Digest::of(&two.bytes())));
    world.is_silent();
    let ran = world.bed.run(&["repair", "out", "--from", "backup"]).exits(0);
    assert_eq!(ran.stdout, "healed 147/147-1.gif: from the other archive\n");
    let record = world.bed.read("147");
    assert_eq!((record.state, record.lost.len(), record.missing.len()), (State::Complete, 0, 0));
    assert_eq!(fs::read(world.bed.file("147/147-1.gif")).unwrap(), two.bytes());
    world.is_silent();
}

#[test]
fn a_job_that_the_api_no_longer_knows_is_written_off_and_its_bad_file_is_kept_aside() {
    let world = World::new();
    let clip = Content::gif(1, 5_000);
    world.bed.complete("147", &[&clip.bytes()]);
    copy_tree(&world.bed.archive(), &world.bed.path("backup"));
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    world.server.on(&fetch_path("147"), Answer::failed("Request not found"));
    let ran = world.repair(&[]).exits(1);
    assert!(ran.stdout.starts_with("gone 147/147-0.gif: "), "{}", ran.stdout);
    assert_eq!(world.bed.read("147").state, State::Gone);
    assert_eq!(quarantine(&world.bed).into_values().collect::<Vec<_>>(), [b"bad"]);
    world.is_silent();
    world.repair(&["--from", "backup"]).exits(0);
    assert_eq!(world.bed.read("147").state, State::Complete);
    assert_eq!(fs::read(world.bed.file("147/147-0.gif")).unwrap(), clip.bytes());
    world.is_silent();
}

#[test]
fn without_a_source_a_bad_file_stays_where_it_is() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::write(bed.file("147/147-0.gif"), "bad").unwrap();
    let before = jobs(&bed.archive());
    let ran = bed.run(&["repair", "out"]).exits(1);
    assert_eq!(ran.stdout, "left 147/147-0.gif: no copy is here, and the API was not asked\n");
    assert!(ran.stderr.contains("MODELSLAB_API_KEY"), "{}", ran.stderr);
    assert_eq!(jobs(&bed.archive()), before);
    assert_eq!(bed.run(&["verify", "out"]).exits(6).stdout.lines().count(), 1);
}

#[test]
fn trouble_that_may_pass_leaves_everything_as_it_is() {
    let world = World::new();
    world.bed.complete("147", &[&content(1, 500)]);
    world.bed.complete("148", &[&content(2, 500)]);
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    fs::write(world.bed.file("148/148-0.gif"), "bad").unwrap();
    world.server.on(&fetch_path("147"), Answer::status(503));
    world.has("148", &["/a.gif"]);
    world.server.on("/a.gif", Answer::status(503));
    let before = jobs(&world.bed.archive());
    let ran = world.repair(&["--retries", "0"]).exits(4);
    assert!(ran.sorted().iter().all(|line| line.starts_with("left 14")), "{}", ran.stdout);
    assert_eq!(jobs(&world.bed.archive()), before);
    assert!(quarantine(&world.bed).is_empty());
}

#[test]
fn a_refused_key_ends_the_asking_and_is_told_by_the_exit_code() {
    let world = World::new();
    for id in 1..=40 {
        world.bed.complete(&id.to_string(), &[&content(id, 500)]);
        fs::write(world.bed.file(&format!("{id}/{id}-0.gif")), "bad").unwrap();
        world.server.on(&fetch_path(&id.to_string()), Answer::status(401));
    }
    let ran = world.repair(&[]).exits(3);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("left ")).count(), 40);
    assert!(
        world.server.log().len() < 40,
        "{} requests with a key that is refused",
        world.server.log().len()
    );
}

#[test]
fn a_torn_record_is_made_anew_from_the_jobs_own_sources() {
    let world = World::new();
    let clip = Content::gif(1, 5_000);
    world.bed.complete("realtime/98", &[&clip.bytes()]);
    fs::write(world.bed.file("realtime.98/manifest.json"), "{\"format\":").unwrap();
    let url = world.server.url("/a.gif");
    world.server.on("/api/v6/realtime/fetch/98", Answer::success(&[url]));
    world.server.on("/a.gif", Answer::file(&clip));
    let ran = world.repair(&[]).exits(0);
    assert_eq!(ran.stdout, "healed realtime.98/manifest.json: from its own sources\n");
    assert_eq!(world.bed.read("realtime/98").files[0].sha256, Digest::of(&clip.bytes()));
    assert_eq!(quarantine(&world.bed).len(), 2, "the torn record, and the file that nobody vouched for");
    world.is_silent();
}

#[test]
fn a_lost_record_that_cannot_be_made_anew_costs_no_file_its_place() {
    type Answers<'a> = [(&'a str, i32, &'a dyn Fn(&World) -> Script); 5];
    let url = |world: &World| world.server.url("/a.gif");
    let answers: Answers<'_> = [
        ("the job is gone", 1, &|_| Answer::failed("Request not found").into()),
        ("its link is dead", 1, &|world| Answer::success(&[url(world)]).into()),
        ("the service works on it again", 4, &|_| Answer::processing().into()),
        ("the API is in trouble", 4, &|_| Answer::status(503).into()),
        ("the host is in trouble", 4, &|world| Answer::success(&[url(world)]).into()),
    ];
    for (what, code, answer) in answers {
        for torn in [true, false] {
            let world = World::new();
            world.bed.complete("147", &[&content(1, 500)]);
            world.bed.complete("148", &[&content(2, 500)]);
            if torn {
                fs::write(world.bed.file("147/manifest.json"), "{\"format\":").unwrap();
            } else {
                fs::remove_file(world.bed.file("147/manifest.json")).unwrap();
            }
            world.server.on(&fetch_path("147"), answer(&world));
            world.server.on("/a.gif", Answer::status(if code == 1 { 404 } else { 503 }));
            let before = jobs(&world.bed.archive());
            let ran = world.repair(&["--retries", "0", "--wait", "0"]).exits(code);
            let lines = ran.sorted();
            assert!(lines.iter().all(|line| line.starts_with("left 147/")), "{what}: {lines:?}");
            assert_eq!(jobs(&world.bed.archive()), before, "{what}");
            assert!(quarantine(&world.bed).is_empty(), "{what}");
        }
    }
}

#[test]
fn a_torn_record_does_not_give_way_to_one_that_lacks_what_is_here() {
    let bed = Bed::new();
    let clips = [content(1, 500), content(2, 600)];
    let mut partial = bed.complete("147", &[&clips[0], &clips[1]]);
    copy_tree(&bed.archive(), &bed.path("backup"));
    let lost = partial.files.pop().unwrap();
    partial.missing = vec![missing(1, vfetch::retry::Cause::Stalled)];
    partial.state = partial.derived_state();
    fs::write(bed.path("backup/147/manifest.json"), partial.to_bytes()).unwrap();
    fs::remove_file(bed.path("backup/147").join(&lost.path)).unwrap();
    fs::write(bed.file("147/manifest.json"), "{\"torn").unwrap();
    let before = jobs(&bed.archive());
    let ran = bed.run(&["repair", "out", "--from", "backup", "--offline"]).exits(1);
    assert!(ran.stdout.starts_with("left 147/manifest.json: "), "{}", ran.stdout);
    assert_eq!(jobs(&bed.archive()), before);
    assert!(quarantine(&bed).is_empty());
}

#[test]
fn a_request_that_something_in_between_refuses_writes_nothing_off() {
    let world = World::new();
    world.bed.complete("147", &[&content(1, 500)]);
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    world.server.on(&fetch_path("147"), Answer::status(405));
    let before = jobs(&world.bed.archive());
    let ran = world.repair(&[]).exits(1);
    assert!(ran.stdout.starts_with("left 147/147-0.gif: "), "{}", ran.stdout);
    assert_eq!(jobs(&world.bed.archive()), before);
}

#[test]
fn a_lost_record_is_made_anew_as_a_whole_or_not_at_all() {
    let clips = [1, 2].map(|seed| Content::gif(seed, 5_000));
    for (quarantine_is_usable, code) in [(true, 4), (false, 5)] {
        let world = World::new();
        world.bed.complete("148", &[&content(2, 500)]);
        world.bed.complete("147", &clips.each_ref().map(Content::bytes).each_ref().map(Vec::as_slice));
        fs::remove_file(world.bed.file("147/manifest.json")).unwrap();
        world.has("147", &["/a.gif", "/b.gif"]);
        world.server.on("/a.gif", Answer::file(&clips[0]));
        if quarantine_is_usable {
            world.server.on("/b.gif", Answer::status(503));
        } else {
            world.server.on("/b.gif", Answer::file(&clips[1]));
            fs::create_dir_all(world.bed.file(".vfetch")).unwrap();
            fs::write(world.bed.file(".vfetch/quarantine"), "no folder").unwrap();
        }
        let before = jobs(&world.bed.archive());
        world.repair(&["--retries", "0"]).exits(code);
        assert_eq!(jobs(&world.bed.archive()), before);
    }
}

#[test]
fn folders_that_have_changed_places_are_put_right_from_another_archive() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    bed.complete("148", &[&content(2, 500)]);
    copy_tree(&bed.archive(), &bed.path("backup"));
    fs::rename(bed.file("147"), bed.path("swap")).unwrap();
    fs::rename(bed.file("148"), bed.file("147")).unwrap();
    fs::rename(bed.path("swap"), bed.file("148")).unwrap();
    let ran = bed.run(&["repair", "out", "--from", "backup"]).exits(0);
    assert_eq!(
        ran.sorted(),
        [
            "healed 147/manifest.json: from the other archive",
            "healed 148/manifest.json: from the other archive"
        ]
    );
    assert_eq!(jobs(&bed.archive()), jobs(&bed.path("backup")));
    assert_eq!(quarantine(&bed).len(), 4);
}

#[test]
fn a_file_that_a_shorter_answer_no_longer_lists_stays_missing_until_a_copy_turns_up() {
    let world = World::new();
    let (one, two) = (Content::gif(1, 5_000), Content::gif(2, 5_000));
    world.bed.complete("147", &[&one.bytes(), &two.bytes()]);
    copy_tree(&world.bed.archive(), &world.bed.path("backup"));
    fs::write(world.bed.file("147/147-1.gif"), "bad").unwrap();
    world.has("147", &["/0.gif"]);
    let ran = world.repair(&[]).exits(1);
    assert!(
        ran.stdout.starts_with("gone 147/147-1.gif: ") && ran.stdout.contains("no longer lists it"),
        "{}",
        ran.stdout
    );
    let record = world.bed.read("147");
    assert_eq!((record.state, record.outputs, record.missing[0].output), (State::Partial, Some(2), 1));
    assert_eq!(record.lost[0].sha256, Digest::of(&two.bytes()));
    let ran = world.repair(&["--from", "backup"]).exits(0);
    assert_eq!(ran.stdout, "healed 147/147-1.gif: from the other archive\n");
    assert_eq!(fs::read(world.bed.file("147/147-1.gif")).unwrap(), two.bytes());
    let record = world.bed.read("147");
    assert_eq!((record.state, record.lost.len(), record.missing.len()), (State::Complete, 0, 0));
    assert_eq!(world.server.calls("/0.gif").len(), 0);
    world.is_silent();
}

#[test]
fn a_backup_that_knows_of_fewer_files_gives_up_none_of_those_that_are_here() {
    let bed = Bed::new();
    let clips = [1, 2, 3].map(|seed| content(seed, 500));
    bed.complete("147", &[&clips[0]]);
    copy_tree(&bed.archive(), &bed.path("backup"));
    bed.complete("147", &[&clips[0], &clips[1], &clips[2]]);
    fs::write(bed.file("147/manifest.json"), "").unwrap();
    let ran = bed.run(&["repair", "out", "--from", "backup", "--offline"]).exits(1);
    assert!(ran.stdout.starts_with("left 147/manifest.json: "), "{}", ran.stdout);
    for (output, clip) in clips.iter().enumerate() {
        assert_eq!(fs::read(bed.file(&format!("147/147-{output}.gif"))).unwrap(), *clip);
    }
    assert!(quarantine(&bed).is_empty());
}

#[test]
fn no_file_that_is_here_takes_the_place_of_a_bad_one_that_moved_there() {
    let world = World::new();
    let (one, two) = (Content::gif(1, 5_000), Content::gif(2, 5_000));
    let mut record = world.bed.complete("147", &[&one.bytes(), &two.bytes()]);
    for file in &mut record.files {
        file.source = world.server.url("/dl");
    }
    world.bed.write(&record);
    fs::write(world.bed.file("147/147-1.gif"), "bad").unwrap();
    // Both came from links that only a query told apart, and the answer lists one of them.
    world.has("147", &["/dl?f=b"]);
    let ran = world.repair(&[]).exits(4);
    assert!(ran.stdout.starts_with("left 147/147-1.gif: "), "{}", ran.stdout);
    assert_eq!(world.bed.read("147").files, record.files);
    assert_eq!(fs::read(world.bed.file("147/147-1.gif")).unwrap(), b"bad");
}

#[test]
fn a_copy_that_is_bad_too_is_no_copy() {
    let world = World::new();
    let clip = Content::gif(1, 5_000);
    world.bed.complete("147", &[&clip.bytes()]);
    copy_tree(&world.bed.archive(), &world.bed.path("backup"));
    let mut bad = clip.bytes();
    bad[300] ^= 1;
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    fs::write(world.bed.path("backup/147/147-0.gif"), bad).unwrap();
    let ran = world.bed.run(&["repair", "out", "--from", "backup"]).exits(1);
    assert!(ran.stdout.starts_with("left 147/147-0.gif"), "{}", ran.stdout);
    world.has("147", &["/a.gif"]);
    world.server.on("/a.gif", Answer::file(&clip));
    let ran = world.repair(&["--from", "backup"]).exits(0);
    assert_eq!(ran.stdout, "healed 147/147-0.gif: from its own sources\n");
    world.is_silent();
}

#[test]
fn a_job_of_another_api_is_not_asked_for_with_this_key() {
    let world = World::new();
    let elsewhere = Server::start();
    let foreign = Bed::at(&elsewhere.url(""));
    foreign.complete("147", &[&content(1, 500)]);
    copy_tree(&foreign.archive(), &world.bed.archive());
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    let ran = world.repair(&[]).exits(1);
    assert!(ran.stdout.contains(&format!("the job belongs to {}", elsewhere.url(""))), "{}", ran.stdout);
    assert_eq!((elsewhere.log().len(), world.server.log().len()), (0, 0));
}

#[test]
fn an_extra_file_never_replaces_one_that_was_put_aside_before() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    for text in ["first", "second", "third"] {
        fs::write(bed.file("147/notes.txt"), text).unwrap();
        let ran = bed.run(&["repair", "out"]).exits(0);
        assert_eq!(ran.stdout, "put aside 147/notes.txt: into .vfetch/quarantine\n");
    }
    let kept: Vec<Vec<u8>> = quarantine(&bed).into_values().collect();
    assert_eq!(kept, [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
    bed.run(&["verify", "out"]).exits(0);
}

#[test]
fn a_whole_archive_is_not_touched_and_nobody_is_asked() {
    let world = World::new();
    planted::whole(&world.bed, 20);
    let before = jobs(&world.bed.archive());
    let ran = world.repair(&[]).exits(0);
    assert_eq!((ran.stdout.as_str(), world.server.log().len()), ("", 0));
    assert_eq!(jobs(&world.bed.archive()), before);
}

#[test]
fn a_record_of_a_newer_vfetch_is_left_alone() {
    let world = World::new();
    world.bed.complete("147", &[&content(1, 500)]);
    let record = fs::read_to_string(world.bed.file("147/manifest.json")).unwrap();
    fs::write(world.bed.file("147/manifest.json"), record.replace("\"version\": 1", "\"version\": 2"))
        .unwrap();
    let before = jobs(&world.bed.archive());
    let ran = world.repair(&[]).exits(1);
    assert_eq!(ran.stdout, "left 147/manifest.json: only the vfetch that wrote it can repair it\n");
    assert_eq!((jobs(&world.bed.archive()), world.server.log().len()), (before, 0));
}

#[test]
fn a_repair_does_not_run_beside_another_writer() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    let store = Store::create(&bed.archive(), false).unwrap();
    let _lock = store.staging().unwrap();
    let ran = bed.run(&["repair", "out"]).exits(7);
    assert!(ran.stderr.contains("another vfetch"), "{}", ran.stderr);
}

#[test]
fn a_repair_as_json_names_every_fault_and_ends_in_a_summary() {
    let bed = Bed::new();
    bed.complete("147", &[&content(1, 500)]);
    fs::write(bed.file("147/147-0.gif"), "bad").unwrap();
    fs::write(bed.file("147/notes.txt"), "mine").unwrap();
    let ran = bed.run(&["repair", "out", "--json", "--offline"]).exits(1);
    let mut lines = ran.json();
    let summary = lines.pop().unwrap();
    let words: Vec<_> = lines
        .iter()
        .map(|line| (line["path"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(words, [("147/147-0.gif", "left"), ("147/notes.txt", "put_aside")]);
    assert_eq!((&summary["put_aside"], &summary["left"]), (&1.into(), &1.into()));
}

#[test]
fn an_archive_behind_an_address_is_verified_and_heals_and_is_healed() {
    let bed = Bed::new();
    planted::whole(&bed, 24);
    copy_tree(&bed.archive(), &bed.path("backup"));
    let address = |name: &str| format!("file://{}", bed.path(name).display());
    assert_eq!(bed.run(&["verify", &address("out")]).exits(0).stdout, "");
    let planted = planted::plant_all(&bed, 24, 8, 3);
    let faults: usize = planted.values().map(|(_, lines)| lines.len()).sum();
    assert_eq!(bed.run(&["verify", &address("out")]).exits(6).stdout.lines().count(), faults);
    copy_tree(&bed.archive(), &bed.path("twice"));
    // A bucket heals a folder, and a folder heals a bucket.
    bed.run(&["repair", "out", "--offline", "--from", &address("backup")]).exits(0);
    assert_eq!(bed.run(&["verify", "out"]).exits(0).stdout, "");
    let mut command = bed.command(&["repair", &address("twice"), "--offline", "--from", "backup"]);
    command.env("XDG_CACHE_HOME", bed.path("cache")).env("HOME", bed.path(""));
    Ran::of(command).exits(0);
    assert_eq!(bed.run(&["verify", &address("twice")]).exits(0).stdout, "");
    assert_eq!(bed.run(&["verify", "twice"]).exits(0).stdout, "");
    let media = |files: BTreeMap<PathBuf, Vec<u8>>| {
        files.into_values().map(|bytes| Digest::of(&bytes)).collect::<std::collections::BTreeSet<_>>()
    };
    let gifs = |name: &str| {
        let mut files = jobs(&bed.path(name));
        files.retain(|path, _| path.extension().is_some_and(|extension| extension == "gif"));
        media(files)
    };
    assert_eq!(gifs("twice"), gifs("backup"));
    assert_eq!(gifs("out"), gifs("backup"));
}

#[test]
fn a_signal_ends_a_repair_soon_and_the_bad_file_is_where_it_was() {
    let world = World::new();
    world.bed.complete("147", &[&content(1, 500)]);
    fs::write(world.bed.file("147/147-0.gif"), "bad").unwrap();
    world.has("147", &["/a.gif"]);
    world.server.on("/a.gif", Answer::stall_at_once());
    let before = jobs(&world.bed.archive());
    let mut command = world.bed.command(&["repair", "out"]);
    command.env("MODELSLAB_API_KEY", "sk-0123456789abcdef").env("MODELSLAB_BASE_URL", world.server.url(""));
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    world.server.wait_for("the request for the file", |seen| seen.iter().any(|seen| seen.path() == "/a.gif"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "left 147/147-0.gif: the run was stopped\n");
    assert_eq!(jobs(&world.bed.archive()), before);
    assert!(quarantine(&world.bed).is_empty());
}

#[test]
fn a_repair_gets_by_with_few_open_files() {
    let bed = Bed::new();
    planted::whole(&bed, 150);
    copy_tree(&bed.archive(), &bed.path("backup"));
    planted::plant_all(&bed, 150, 60, 5);
    let program = env!("CARGO_BIN_EXE_vfetch");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" repair out --offline --from backup", program]);
    command.current_dir(bed.path("")).env_clear();
    Ran::of(command).exits(0);
    bed.run(&["verify", "out"]).exits(0);
}

#[test]
fn what_is_no_job_is_not_counted_as_one() {
    let bed = Bed::new();
    bed.complete("1", &[&content(1, 500)]);
    bed.complete("2", &[&content(2, 500)]);
    fs::write(bed.file("notes.txt"), "mine").unwrap();
    fs::create_dir(bed.file("photos")).unwrap();
    let ran = bed.run(&["repair", "out", "--offline"]).exits(0);
    assert_eq!(ran.stderr, "2 jobs looked at: 0 healed\n");
    fs::remove_file(bed.file("1/1-0.gif")).unwrap();
    let ran = bed.run(&["repair", "out", "--offline"]).exits(1);
    assert_eq!(ran.stderr, "2 jobs looked at: 0 healed, 1 left as it is\n");
    fs::remove_file(bed.file("2/2-0.gif")).unwrap();
    let ran = bed.run(&["repair", "out", "--offline"]).exits(1);
    assert_eq!(ran.stderr, "2 jobs looked at: 0 healed, 2 left as they are\n");
}
