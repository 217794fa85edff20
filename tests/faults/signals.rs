//! Signals: the first one ends the run in good order and soon, whatever it waits for; the second one at once.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::run::Signal;
use crate::support::{Answer, Content, Running, World};

/// A run that was told to end does so within 2 s; the rest is for a machine that has more to do.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn whatever_a_run_waits_for_the_first_signal_ends_it_soon() {
    let clip = Content::mp4(1, 1 << 20);
    let busy = Answer::status(429).header("Retry-After", "60");
    let table = [
        ("the API's answer", Some(Answer::stall_at_once()), Answer::file(&clip)),
        ("the API's pause", Some(busy.clone()), Answer::file(&clip)),
        ("the job", Some(Answer::processing()), Answer::file(&clip)),
        ("the headers", None, Answer::stall_at_once()),
        ("the body", None, Answer::file(&clip).stall_at(1 << 19)),
        ("a body that drips for ever", None, Answer::file(&clip).drip(1_500, Duration::from_millis(500))),
        ("the host's pause", None, busy),
        ("the next attempt", None, Answer::status(500)),
    ];
    for (what, api, media) in table {
        let world = World::new();
        world.content(clip.clone());
        let url = world.media.on("/clip.mp4", media);
        let server = if api.is_some() { &world.api } else { &world.media };
        world.job("147", api.unwrap_or_else(|| Answer::success(&[url])));
        let running = world.get(&["147", "--wait", "10m"]).spawn();
        server.wait_for("the request", |log| !log.is_empty());
        let told = Instant::now();
        running.signal(Signal::INT);
        running.wait().exits(130);
        assert!(told.elapsed() < SOON, "waiting for {what}: {:?} after the signal", told.elapsed());
    }
}

#[test]
fn a_signal_that_whoever_began_the_run_had_ignored_does_not_end_it() {
    for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT)] {
        let world = World::new();
        let clip = world.content(Content::mp4(1, 60_000));
        let url = world.media.on("/clip.mp4", Answer::file(&clip).drip(2_000, Duration::from_millis(50)));
        world.job("147", Answer::success(&[url]));
        let running = world.get(&["147"]).after_shell(&format!("trap '' {name}")).spawn();
        world.media.wait_for("the request", |log| !log.is_empty());
        running.signal(signal);
        running.wait().exits(0);
        world.holds("147", 0, &clip);
    }
}

/// A pipe under this name that is full and that nobody reads, as long as it is held.
fn full_pipe(world: &World, name: &str) -> (std::path::PathBuf, std::fs::File) {
    let path = world.path(name);
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut pipe =
        std::fs::File::options().read(true).write(true).custom_flags(nonblocking).open(&path).unwrap();
    while pipe.write(&[b'\n'; 4_096]).is_ok() {}
    while pipe.write(b"\n").is_ok() {}
    (path, pipe)
}

/// How many connections and other sockets a process has.
fn sockets(pid: u32) -> usize {
    let Ok(handles) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Sends the first signal, and waits until it shows: the connection that brings the clip is let go.
fn tell(running: &Running<'_>, signal: Signal) {
    let before = sockets(running.pid());
    running.signal(signal);
    let deadline = Instant::now() + Duration::from_secs(60);
    while sockets(running.pid()) >= before {
        assert!(Instant::now() < deadline, "the transfer goes on after the signal");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_the_first_signal_cannot_end_the_second_one_ends_at_once_and_time_does() {
    // Results go to a pipe that is full, so the summary that ends a run in good order can never be written.
    for (second, code) in [(Some(Signal::TERM), 143), (Some(Signal::HUP), 129), (None, 130)] {
        let world = World::new();
        let clip = world.content(Content::mp4(1, 5 << 20));
        let file = Answer::file(&clip);
        let url = world.media.on("/clip.mp4", file.clone().stall_at(3 << 20).then(file));
        world.job("147", Answer::success(&[url]));
        let (path, _pipe) = full_pipe(&world, "io/results");
        let to_the_pipe = format!("exec \"$0\" \"$@\" >'{}'", path.display());
        let running = world.get(&["147", "--json"]).after_shell(&to_the_pipe).spawn();
        world.wait_for_staged(2 << 20);
        tell(&running, Signal::INT);
        world.wait_for_checkpoints(1);
        if let Some(second) = second {
            running.signal(second);
        }
        // The number of the second signal: without it the run would have ended with that of the first.
        running.wait().exits(code);
        world.get(&["147"]).run().exits(0);
        world.holds("147", 0, &clip);
        let from = world.media.calls("/clip.mp4")[1].range_from();
        // Of what was there, the last megabyte and what waited to be hashed may not have had a checkpoint.
        assert!(from.is_some_and(|from| from >= 1 << 20), "it went on from {from:?}");
    }
}
