//! System calls of the real program that fail, made to by strace.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use crate::support::run::Signal;
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
        ("147".into(), "renameat,renameat2:error=EIO", "renaming to", "147/147-".into(), 1),
        ("147".into(), "renameat,renameat2:error=ENOSPC:when=2", "renaming to", "147/147-".into(), 1),
        ("147".into(), "renameat,renameat2:error=EIO:when=3", "writing", "147/manifest.json".into(), 1),
    ];
    for (path, inject, doing, names, times) in table {
        let (world, clips) = world();
        let place = world.archive().join(&names).display().to_string();
        let place = place.trim_end_matches('/');
        let at = format!("{inject} on {path}");
        let done = under(&world, world.get(&["147"]), &path, inject).run();
        assert_eq!(done.code(), 5, "{at}\n{}", done.shown());
        // Which of the two files comes first is not told.
        let end = if place.ends_with('-') { "" } else { ": " };
        assert!(done.stderr().contains(&format!("{doing} {place}{end}")), "{at}\n{}", done.shown());
        assert_eq!(failures(&world), times, "{at}: it is not tried again");
        world.get(&["147"]).run().exits(0);
        for (output, clip) in clips.iter().enumerate() {
            world.holds("147", output, clip);
        }
    }
}

#[test]
fn a_file_system_that_knows_no_sync_and_no_lock_of_folders_is_taken_as_it_is() {
    if !can_inject() {
        return;
    }
    for inject in ["fsync:error=EINVAL", "fsync:error=EBADF", "flock:error=EBADF", "flock:error=ENOLCK"] {
        let (world, clips) = world();
        let get = world.get(&["147"]);
        under(&world, get, "147", inject).run().exits(0);
        assert!(failures(&world) > 0, "{inject} was met");
        world.holds("147", 0, &clips[0]);
    }
}

#[test]
fn without_sync_no_sync_is_made() {
    if !can_inject() {
        return;
    }
    let (world, _) = world();
    let trace = world.path("io/trace");
    let calls = "fsync,fdatasync,syncfs,sync,sync_file_range,msync";
    let strace = format!("exec strace -f -qq -o '{}' -e trace={calls} -- \"$0\" \"$@\"", trace.display());
    let syncs =
        || std::fs::read_to_string(&trace).unwrap().lines().filter(|line| line.contains("sync")).count();
    world.get(&["147", "--no-sync"]).after_shell(&strace).run().exits(0);
    assert_eq!(syncs(), 0);
    world.get(&["147", "--no-sync", "--force"]).after_shell(&strace).run().exits(0);
    assert_eq!(syncs(), 0);
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

/// A call as the trace shows it: when it began and ended, counted in lines, and its arguments.
struct Traced {
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
}

/// The calls of a trace with `-f -y`, each whole even where another thread's came in between.
fn traced(trace: &str) -> Vec<Traced> {
    let mut open: HashMap<&str, (usize, &str, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(rest) = text.strip_suffix(" <unfinished ...>") {
            let Some((name, arguments)) = rest.split_once('(') else { continue };
            open.insert(thread, (line, name, arguments));
        } else if text.starts_with("<... ") {
            let Some((began, name, arguments)) = open.remove(thread) else { continue };
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            calls.push(Traced { name, arguments, began, ended: line });
        } else if let Some((name, arguments)) = text.split_once('(') {
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            calls.push(Traced { name, arguments, began: line, ended: line });
        }
    }
    calls
}

impl Traced {
    /// The paths of the folders in its arguments, and the names in quotes.
    fn parts(&self) -> (Vec<&str>, Vec<&str>) {
        let paths = self.arguments.split('<').skip(1).filter_map(|part| part.split('>').next()).collect();
        let names = self.arguments.split('"').skip(1).step_by(2).collect();
        (paths, names)
    }
}

#[test]
fn the_system_calls_of_every_commit_are_in_order() {
    if !can_inject() {
        return;
    }
    let world = World::new();
    let ids: Vec<String> = (1..=12).map(|id| id.to_string()).collect();
    for (seed, id) in (0..).zip(&ids) {
        let serve = |output: u64| {
            let clip = world.content(Content::mp4(3 * seed + output, 30_000));
            world.media.on(&format!("/{id}/{output}.mp4"), Answer::file(&clip))
        };
        world.job(id, Answer::success(&[serve(0), serve(1), serve(2)]));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let trace = world.path("io/trace");
    let strace = format!(
        "exec strace -f -y -qq -o '{}' -e trace=fsync,renameat,renameat2 -- \"$0\" \"$@\"",
        trace.display()
    );
    world.get(&ids).after_shell(&strace).run().exits(0);
    let calls = traced(&std::fs::read_to_string(trace).unwrap());
    let synced = |path: &str, from: usize, to: usize| {
        let within = |call: &&Traced| call.began > from && call.ended < to;
        let of = |call: &Traced| call.name == "fsync" && call.parts().0 == [path];
        calls.iter().filter(within).any(of)
    };
    let root = world.archive().display().to_string();
    let (mut files, mut records) = (0, 0);
    for rename in calls.iter().filter(|call| call.name.starts_with("renameat")) {
        let (folders, names) = rename.parts();
        let ([staging, folder], [old, new]) = (&folders[..], &names[..]) else {
            panic!("{}", rename.arguments);
        };
        let at = format!("{folder}/{new}");
        assert!(synced(&format!("{staging}/{old}"), 0, rename.began), "{at}: its bytes are not synced");
        let is_record =
            |call: &&Traced| call.parts().1.last() == Some(&"manifest.json") && call.parts().0[1] == *folder;
        if *new == "manifest.json" {
            records += 1;
            assert!(synced(folder, rename.ended, usize::MAX), "{at}: its folder is not synced");
            assert!(synced(&root, rename.ended, usize::MAX), "{at}: the root is not synced");
        } else {
            files += 1;
            let renames = || calls.iter().filter(|call| call.name.starts_with("renameat"));
            let record = renames().find(is_record).expect("it is committed");
            assert!(rename.ended < record.began, "{at}: its record is there before it");
            assert!(
                synced(folder, rename.ended, record.began),
                "{at}: it is named before its name is synced"
            );
        }
    }
    assert_eq!((files, records), (36, 12));
}

#[test]
fn only_a_run_that_was_killed_makes_the_next_one_sync_the_file_system() {
    if !can_inject() {
        return;
    }
    let (world, _) = world();
    let slow = world.content(Content::mp4(3, 400_000));
    let url = world.media.on("/slow.mp4", Answer::file(&slow).stall_at(100_000).then(Answer::file(&slow)));
    world.job("148", Answer::success(&[url]));
    let trace = world.path("io/trace");
    let strace = format!("exec strace -f -qq -o '{}' -e trace=syncfs -- \"$0\" \"$@\"", trace.display());
    let syncs = |ids: &[&str]| {
        world.get(ids).after_shell(&strace).run().exits(0);
        std::fs::read_to_string(&trace).unwrap().lines().filter(|line| line.contains("syncfs(")).count()
    };
    assert_eq!((syncs(&["147"]), syncs(&["147"])), (0, 0));
    let running = world.get(&["148"]).spawn();
    world.wait_for_staged(100_000);
    running.signal(Signal::KILL);
    running.wait().exits(137);
    assert_eq!((syncs(&["147", "148"]), syncs(&["147", "148"])), (1, 0));
}
