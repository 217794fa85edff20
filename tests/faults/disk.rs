//! What the disk may do to a run: no room, no permission, links where files should be, records and parts that are spoilt.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::support::run::Signal;
use crate::support::{Answer, Content, World, read_manifest};

/// A world with a small clip as job 1 and another as job 2.
fn two_jobs() -> (World, [Content; 2]) {
    let world = World::new();
    let clips = [Content::mp4(1, 60_000), Content::mp4(2, 70_000)].map(|clip| world.content(clip));
    for (place, clip) in clips.iter().enumerate() {
        let url = world.media.on(&format!("/{place}.mp4"), Answer::file(clip));
        world.job(&(place + 1).to_string(), Answer::success(&[url]));
    }
    (world, clips)
}

/// A job whose clip stops at 3 MiB of 5 the first time; its run was stopped there.
fn a_part_of_a_clip() -> (World, Content) {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 5 << 20));
    let file = Answer::file(&clip);
    world.job(
        "147",
        Answer::success(&[world.media.on("/clip.mp4", file.clone().stall_at(3 << 20).then(file))]),
    );
    let running = world.get(&["147"]).spawn();
    world.wait_for_staged(3 << 20);
    running.signal(Signal::TERM);
    running.wait().exits(143);
    (world, clip)
}

fn part(world: &World) -> std::path::PathBuf {
    let name = world.staged().into_iter().find(|name| name.ends_with(".part")).unwrap();
    world.archive().join(".vfetch/staging").join(name)
}

#[test]
fn a_file_larger_than_the_system_allows_fails_alone_and_kills_nothing() {
    let (world, [clip, _]) = two_jobs();
    let film = world.content(Content::mp4(3, 3 << 20));
    world.job("3", Answer::success(&[world.media.on("/film.mp4", Answer::file(&film))]));
    let limited = world.get(&["3", "1"]).quietly().after_shell("ulimit -f 2048");
    limited.run().exits(5);
    world.holds("1", 0, &clip);
    assert_eq!(world.state("3"), "absent");
    world.get(&["3", "1"]).run().exits(0);
    world.holds("3", 0, &film);
}

#[test]
fn an_archive_that_cannot_be_written_is_told_before_any_call() {
    let world = World::new();
    world.job("147", Answer::processing());
    let file = world.file("a-file", "");
    let places = [file.clone(), file.join("below"), "/proc/vfetch".into(), "/dev/null".into()];
    for (place, named) in places.iter().zip(["a-file", "a-file", "/proc/vfetch", "/dev/null"]) {
        let done = world.command("get").args(&["147", "-o"]).args(&[place]).run().exits_with(&[2, 5]);
        assert!(done.stderr().contains(named), "{}", done.shown());
    }
    assert_eq!(world.api.connections(), 0);
}

#[test]
fn an_archive_whose_parents_are_missing_is_made() {
    let (world, [clip, _]) = two_jobs();
    let deep = world.archive().join("a/b");
    world.command("get").args(&["1", "-o"]).args(&[&deep]).run().exits(0);
    let record = read_manifest(&deep.join("1/manifest.json")).unwrap();
    assert_eq!(record["files"][0]["sha256"], clip.sha256().as_str());
}

#[test]
fn links_that_were_planted_in_an_archive_are_not_followed() {
    let planted = ["1", "1/1-0.mp4", "1/manifest.json"];
    for name in planted {
        let (world, [_, other]) = two_jobs();
        let target = world.path("elsewhere");
        std::fs::create_dir_all(world.archive().join("1")).unwrap();
        if name == "1" {
            std::fs::remove_dir(world.archive().join("1")).unwrap();
            std::fs::create_dir(&target).unwrap();
        } else {
            std::fs::write(&target, "untouched").unwrap();
        }
        symlink(&target, world.archive().join(name)).unwrap();
        let code = world.get(&["1", "2"]).run().exits_with(&[0, 5]).code();
        world.holds("2", 0, &other);
        assert_eq!(code == 0, world.state("1") == "complete" && name != "1", "{name}");
    }
    for name in [".vfetch", ".vfetch/staging", ".vfetch/staging/lock"] {
        let (world, _) = two_jobs();
        let target = world.path("elsewhere");
        let link = world.archive().join(name);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        world.get(&["1"]).run().exits(5);
        assert_eq!(world.state("1"), "absent");
    }
}

#[test]
fn a_link_in_place_of_a_part_is_not_written_through() {
    let (world, clip) = a_part_of_a_clip();
    let (part, target) = (part(&world), world.path("elsewhere"));
    std::fs::copy(&part, &target).unwrap();
    std::fs::remove_file(&part).unwrap();
    symlink(&target, &part).unwrap();
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
}

#[test]
fn a_record_that_is_spoilt_is_made_again_and_one_of_a_newer_program_is_left_alone() {
    let spoilt: [&[u8]; 5] =
        [b"", b"{", b"\0\0\0\0", b"null", b"{\"format\":\"vfetch.manifest\",\"version\":1}"];
    for bytes in spoilt {
        let (world, [clip, _]) = two_jobs();
        world.get(&["1"]).run().exits(0);
        std::fs::write(world.archive().join("1/manifest.json"), bytes).unwrap();
        world.get(&["1"]).run().exits(0);
        world.holds("1", 0, &clip);
        assert_eq!(world.names("1"), ["1-0.mp4", "manifest.json"]);
    }
    let (world, _) = two_jobs();
    world.get(&["1", "2"]).run().exits(0);
    let path = world.archive().join("1/manifest.json");
    let mut record = world.manifest("1").unwrap();
    record["version"] = 999.into();
    let newer = serde_json::to_vec(&record).unwrap();
    std::fs::write(&path, &newer).unwrap();
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.get(&["1", "2"]).run()));
    // The check after the run knows no such version either, and says so.
    let said = code.err().and_then(|panic| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(
        said.contains("version 999 of the format) and is left alone")
            && said.contains("unix_wait_status(1280)"),
        "{said}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[test]
fn a_part_with_more_bytes_than_were_noted_is_cut_back_and_continued() {
    let (world, clip) = a_part_of_a_clip();
    let part = part(&world);
    let bytes = [std::fs::read(&part).unwrap(), vec![7; 4 << 20]].concat();
    std::fs::write(&part, bytes).unwrap();
    world.get(&["147"]).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.media.log()[1].range_from(), Some(3 << 20));
}

#[test]
fn a_part_with_other_bytes_than_were_noted_is_begun_again() {
    let spoil: [fn(&mut Vec<u8>); 3] = [|bytes| bytes[1_000] ^= 1, |bytes| bytes.truncate(100), Vec::clear];
    for spoil in spoil {
        let (world, clip) = a_part_of_a_clip();
        let part = part(&world);
        let mut bytes = std::fs::read(&part).unwrap();
        spoil(&mut bytes);
        std::fs::write(&part, bytes).unwrap();
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        assert_eq!(world.media.log()[1].range_from(), None);
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn can(what: &str, program: &str, args: &[&str]) -> bool {
    let said = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = said.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: no {what} here");
    }
    can
}

/// Mounts a small disk at the archive, lets the program fetch what has room there and then all of it, makes the disk
/// larger, lets it try again, and brings what is on the disk to the archive.
const ON_A_SMALL_DISK: &str = r#"
exec unshare -rm sh -c '
    mkdir "$ARCHIVE" && mount -t tmpfs -o size=2m small "$ARCHIVE" || exit 99
    "$0" get 1 2 -q -o "$ARCHIVE"
    "$0" "$@"
    echo "on the full disk: $?" >&2
    mount -o remount,size=64m "$ARCHIVE"
    "$0" "$@"
    code=$?
    mkdir "$ARCHIVE.kept" && cp -r "$ARCHIVE/." "$ARCHIVE.kept" && umount "$ARCHIVE" || exit 98
    cp -r "$ARCHIVE.kept/." "$ARCHIVE" && rm -r "$ARCHIVE.kept"
    exit $code
' "$0" "$@"
"#;

#[test]
fn a_full_disk_ends_the_run_and_spares_what_is_there_and_the_next_one_goes_on_when_there_is_room() {
    let probe = "mount -t tmpfs -o size=1m small /mnt && umount /mnt";
    if !can("right to mount a disk", "unshare", &["-rm", "sh", "-c", probe]) {
        return;
    }
    let (world, clips) = two_jobs();
    let film = world.content(Content::mp4(3, 5 << 20));
    world.job("3", Answer::success(&[world.media.on("/film.mp4", Answer::file(&film))]));
    let run = world.get(&["1", "2", "3"]).env("ARCHIVE", world.archive());
    let done = run.after_shell(ON_A_SMALL_DISK).run().exits(0).says("on the full disk: 5");
    assert!(done.stderr().contains("3-0.part") && done.stderr().contains("more needed"), "{}", done.shown());
    world.holds("1", 0, &clips[0]);
    world.holds("2", 0, &clips[1]);
    world.holds("3", 0, &film);
    assert_eq!((world.media.calls("/0.mp4").len(), world.media.calls("/1.mp4").len()), (1, 1));
}

#[test]
fn a_system_call_that_fails_ends_the_run_and_the_next_one_goes_on() {
    let probe = ["-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"];
    if !can("strace that may trace", "strace", &probe) {
        return;
    }
    let renames = "rename,renameat,renameat2";
    let faults = [
        ("fsync", "EIO", "1"),
        ("fsync", "EIO", "2"),
        ("fsync", "EIO", "3"),
        ("fsync", "ENOSPC", "4"),
        ("fsync", "EIO", "1+"),
        (renames, "EIO", "1"),
        (renames, "EIO", "2"),
        ("pwrite64", "ENOSPC", "3"),
        ("pwrite64", "EDQUOT", "3+"),
    ];
    for (calls, error, when) in faults {
        let (world, [clip, _]) = two_jobs();
        let inject = format!("-e trace={calls} -e inject={calls}:error={error}:when={when}");
        let traced = format!("exec strace -f -qq --seccomp-bpf -o /dev/null {inject} \"$0\" \"$@\"");
        let done = world.get(&["1"]).after_shell(&traced).run();
        assert_eq!(done.code(), 5, "{calls} {error} {when}: {}", done.shown());
        world.get(&["1"]).run().exits(0);
        world.holds("1", 0, &clip);
    }
    let (world, [clip, _]) = two_jobs();
    let interrupted = "-e trace=pwrite64 -e inject=pwrite64:error=EINTR:when=2..20+3";
    let traced = format!("exec strace -f -qq --seccomp-bpf -o /dev/null {interrupted} \"$0\" \"$@\"");
    world.get(&["1"]).after_shell(&traced).run().exits(0);
    world.holds("1", 0, &clip);
}
