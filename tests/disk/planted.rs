//! Links, records and parts that another hand has put into an archive.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::json;

use crate::support::run::Signal;
use crate::support::{Answer, Content, World};

fn world() -> (World, Content) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 40_000));
    let url = world.media.on("/a.mp4", Answer::file(&clip));
    world.job("147", Answer::success(&[url]));
    (world, clip)
}

/// A folder and a file outside the archive; that they stay as they are is checked after every run.
fn elsewhere(world: &World) -> (PathBuf, PathBuf) {
    let folder = world.path("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    (folder, world.file("victim", "untouched"))
}

#[test]
fn a_link_in_place_of_a_folder_is_refused_and_leads_nowhere() {
    for planted in ["147", ".vfetch", ".vfetch/staging"] {
        let (world, clip) = world();
        let (folder, _) = elsewhere(&world);
        let link = world.archive().join(planted);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&folder, &link).unwrap();
        let done = world.get(&["147"]).run().exits(5);
        assert!(done.stderr().contains(&link.display().to_string()), "{}", done.shown());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{planted}");
        std::fs::remove_file(link).unwrap();
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
    }
}

#[test]
fn a_link_in_place_of_a_file_is_replaced_or_refused_and_its_target_untouched() {
    let table = [
        ("147/147-0.mp4", 0),
        (".vfetch/staging/147-0.part", 0),
        (".vfetch/staging/147-0.note", 0),
        (".vfetch/staging/manifest-0.new", 0),
        ("147/manifest.json", 5),
        (".vfetch/staging/lock", 5),
    ];
    for (planted, code) in table {
        let (world, clip) = world();
        let (_, victim) = elsewhere(&world);
        let link = world.archive().join(planted);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&victim, &link).unwrap();
        let done = world.get(&["147"]).run().exits(code);
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched", "{planted}");
        if code == 0 {
            world.holds("147", 0, &clip);
            assert!(!link.is_symlink(), "{planted}");
        } else {
            assert!(done.stderr().contains(&link.display().to_string()), "{}", done.shown());
            std::fs::remove_file(link).unwrap();
            world.get(&["147"]).run().exits(0);
        }
    }
}

#[test]
fn a_folder_in_place_of_a_file_spoils_its_own_job_only() {
    let (world, _) = world();
    let other = world.content(Content::mp4(2, 30_000));
    let url = world.media.on("/b.mp4", Answer::file(&other));
    world.job("148", Answer::success(&[url]));
    let folder = world.archive().join("147/147-0.mp4");
    std::fs::create_dir_all(&folder).unwrap();
    let done = world.get(&["147", "148"]).run().exits(5);
    assert!(done.stderr().contains(&folder.display().to_string()), "{}", done.shown());
    world.holds("148", 0, &other);
}

#[test]
fn a_record_that_cannot_be_read_is_made_again_with_a_warning() {
    let (world, clip) = world();
    world.get(&["147"]).run().exits(0);
    let path = world.archive().join("147/manifest.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let spoilt = [
        String::new(),
        "garbage".into(),
        good[..good.len() / 2].into(),
        good.replace("\"complete\"", "\"failed\""),
        "[".repeat(100_000),
    ];
    for bad in spoilt {
        std::fs::write(&path, &bad).unwrap();
        let done = world.get(&["147"]).run().exits(0);
        assert!(done.stderr().contains(&path.display().to_string()), "{}", done.shown());
        world.holds("147", 0, &clip);
    }
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_not_touched() {
    let (world, _) = world();
    world.get(&["147"]).run().exits(0);
    let path = world.archive().join("147/manifest.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let newer = good.replace("\"version\": 1", "\"version\": 2");
    std::fs::write(&path, &newer).unwrap();
    for force in [&[][..], &["--force"]] {
        let done = world.get(&["147"]).args(force).run().exits(5);
        assert!(done.stderr().contains("newer vfetch"), "{}", done.shown());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }
}

/// Plants a part with a note that speaks of so many bytes of it.
fn plant_part(world: &World, bytes: &[u8], noted: usize, digest_of: &[u8]) {
    let staging = world.archive().join(".vfetch/staging");
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join("147-0.part"), bytes).unwrap();
    let etag = format!("\"{}\"", &Content::mp4(1, 40_000).sha256()[..32]);
    let note = json!({
        "job": {
            "origin": world.api.url(""), "family": "enterprise/video", "id": "147",
            "fetch_url": world.api.url("/api/v1/enterprise/video/fetch/147"),
        },
        "source": world.media.url("/a.mp4"),
        "etag": etag,
        "total": 40_000,
        "checkpoint": { "bytes": noted, "sha256": Content::of(digest_of).sha256() },
    });
    std::fs::write(staging.join("147-0.note"), note.to_string()).unwrap();
}

#[test]
fn a_part_that_is_what_its_note_says_is_gone_on_with() {
    let (world, clip) = world();
    let bytes = clip.bytes();
    plant_part(&world, &bytes[..25_000], 20_000, &bytes[..20_000]);
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.media.calls("/a.mp4")[0].range_from(), Some(20_000));
}

/// What the part is, its bytes, how many its note speaks of, the bytes of the note's digest, and whether it is of use.
type Row<'a> = (&'a str, &'a [u8], usize, &'a [u8], bool);

#[test]
fn a_stale_part_is_hashed_and_dropped() {
    let bytes = Content::mp4(1, 40_000).bytes();
    let other = Content::mp4(9, 90_000).bytes();
    let longer = [&bytes[..20_000], &other[..70_000]].concat();
    let table: [Row<'_>; 4] = [
        ("of another content", &other[..25_000], 20_000, &bytes[..20_000], false),
        ("shorter than its note says", &bytes[..10_000], 20_000, &bytes[..20_000], false),
        ("longer than the whole", &longer, 20_000, &bytes[..20_000], true),
        ("as long as the whole", &bytes, 40_000, &bytes, false),
    ];
    for (what, part, noted, digest_of, goes_on) in table {
        let (world, clip) = world();
        plant_part(&world, part, noted, digest_of);
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        let first = world.media.calls("/a.mp4")[0].range_from();
        assert_eq!(first, goes_on.then_some(20_000), "a part {what}");
    }
}

#[test]
fn what_is_not_proven_yet_is_for_its_owner_and_what_is_archived_is_as_the_user_says() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 400_000));
    let file = Answer::file(&clip);
    let url = world.media.on("/clip.mp4", file.clone().stall_at(100_000).then(file));
    world.job("147", Answer::success(&[url]));
    let mode =
        |path: &str| std::fs::metadata(world.archive().join(path)).unwrap().permissions().mode() & 0o777;
    let running = world.get(&["147"]).after_shell("umask 022").spawn();
    world.wait_for_staged(100_000);
    assert_eq!((mode(""), mode(".vfetch/staging")), (0o755, 0o750));
    running.signal(Signal::TERM);
    running.wait().exits(143);
    // Whoever shares the archive with a group goes on with it.
    std::fs::remove_dir_all(world.archive().join("147")).unwrap();
    world.get(&["147"]).after_shell("umask 002").run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!((mode("147"), mode("147/manifest.json")), (0o775, 0o664));
}
