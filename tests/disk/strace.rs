//! System calls of the real program that fail, made to by strace.

use std::process::{Command, Stdio};

use crate::support::{Answer, Content, Get, World};

/// Whether this machine can make system calls fail; says why not.
fn can_inject() -> bool {
    let probe = ["-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "--", "true"];
    let ran = Command::new("strace").args(probe).stderr(Stdio::null()).status();
    match ran {
        Ok(status) if status.success() => true,
        Ok(status) => skip(&format!("strace cannot trace here: {status}")),
        Err(error) => skip(&format!("strace is not here: {error}")),
    }
}

fn skip(why: &str) -> bool {
    println!("skipped: {why}");
    false
}

/// The run under strace, with this call on this path made to fail; the trace goes to a file.
fn under<'w>(world: &World, get: Get<'w>, path: &str, inject: &str) -> Get<'w> {
    let trace = world.path("io/trace");
    get.after_shell(&format!(
        "exec strace -f -qq -o '{}' -P '{}' -e 'inject={inject}' -- \"$0\" \"$@\"",
        trace.display(),
        world.archive().join(path).display().to_string().trim_end_matches('/'),
    ))
}

/// How often the call was made and failed.
fn failures(world: &World) -> usize {
    let trace = std::fs::read_to_string(world.path("io/trace")).unwrap();
    trace.lines().filter(|line| line.contains("(INJECTED)")).count()
}

fn world() -> (World, [Content; 2]) {
    let world = World::new();
    let clips = [world.content(Content::mp4(1, 40_000)), world.content(Content::gif(2, 9_000))];
    let urls = [
        world.media.on("/a.mp4", Answer::file(&clips[0])),
        world.media.on("/b.gif", Answer::file(&clips[1])),
    ];
    world.job("147", Answer::success(&urls));
    (world, clips)
}

#[test]
fn a_call_that_fails_is_exit_5_with_its_path_and_the_next_run_succeeds() {
    if !can_inject() {
        return;
    }
    let staged = ".vfetch/staging";
    let table = [
        (format!("{staged}/147-0.part"), "fsync:error=EIO", "syncing", format!("{staged}/147-0.part"), 1),
        (format!("{staged}/147-0.part"), "fsync:error=EINTR", "syncing", format!("{staged}/147-0.part"), 1),
        (format!("{staged}/147-0.part"), "pwrite64:error=EIO", "writing", format!("{staged}/147-0.part"), 1),
        (
            format!("{staged}/147-0.part"),
            "pwrite64:error=ENOSPC",
            "writing",
            format!("{staged}/147-0.part"),
            1,
        ),
        (
            format!("{staged}/147-0.part"),
            "pwrite64:error=EDQUOT",
            "writing",
            format!("{staged}/147-0.part"),
            1,
        ),
        (format!("{staged}/manifest-0.new"), "fsync:error=EIO", "writing", "147/manifest.json".into(), 1),
        (
            format!("{staged}/manifest-0.new"),
            "pwrite64:error=ENOSPC",
            "writing",
            "147/manifest.json".into(),
            1,
        ),
        ("147".into(), "fsync:error=EIO", "syncing", "147".into(), 1),
        ("147".into(), "fsync:error=EIO:when=2", "syncing", "147".into(), 1),
        (String::new(), "fsync:error=EIO", "syncing", String::new(), 1),
        ("147".into(), "renameat,renameat2:error=EIO", "renaming to", "147/147-0.mp4".into(), 1),
        ("147".into(), "renameat,renameat2:error=ENOSPC:when=2", "renaming to", "147/147-1.gif".into(), 1),
        ("147".into(), "renameat,renameat2:error=EIO:when=3", "writing", "147/manifest.json".into(), 1),
    ];
    for (path, inject, doing, names, times) in table {
        let (world, clips) = world();
        let place = world.archive().join(&names).display().to_string();
        let place = place.trim_end_matches('/');
        let at = format!("{inject} on {path}");
        let done = under(&world, world.get(&["147"]), &path, inject).run();
        assert_eq!(done.code(), 5, "{at}\n{}", done.shown());
        assert!(done.stderr().contains(&format!("{doing} {place}: ")), "{at}\n{}", done.shown());
        assert_eq!(failures(&world), times, "{at}: it is not tried again");
        world.get(&["147"]).run().exits(0);
        for (output, clip) in clips.iter().enumerate() {
            world.holds("147", output, clip);
        }
    }
}

#[test]
fn a_write_that_is_interrupted_or_short_goes_on() {
    if !can_inject() {
        return;
    }
    for inject in ["pwrite64:error=EINTR:when=1", "pwrite64:error=EINTR:when=2+3"] {
        let (world, clips) = world();
        let get = world.get(&["147"]);
        under(&world, get, ".vfetch/staging/147-0.part", inject).run().exits(0);
        assert!(failures(&world) > 0, "{inject} was met");
        world.holds("147", 0, &clips[0]);
    }
}
