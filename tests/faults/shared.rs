//! What rows about media hosts share: jobs whose first sources are bad, and short waits.

use crate::support::{Answer, Content, Done, Script, Server, World};

/// Short waits, so that a row about giving up does not take long.
pub(crate) const SOON: [&str; 6] = ["-R", "1", "--idle-timeout", "1s", "--connect-timeout", "5s"];

/// What a run may need, whatever it is sent.
pub(crate) const MEMORY: u64 = 128 << 20;

pub(crate) fn a_clip(world: &World) -> Content {
    world.content(Content::mp4(1, 60_000))
}

/// A world with a job whose only source is this.
pub(crate) fn one_source(script: impl Into<Script>, clip: Content) -> World {
    let world = World::new();
    world.content(clip);
    world.job("147", Answer::success(&[world.media.on("/clip.mp4", script)]));
    world
}

/// For each of these first sources an output whose mirror is well; asserts that each was asked, and left for it.
pub(crate) fn each_is_left_for_its_mirror(first: Vec<Script>) -> (World, Done) {
    let world = World::new();
    let mirror = world.host();
    let (mut urls, mut proxies, mut clips) = (Vec::new(), Vec::new(), Vec::new());
    for (place, script) in first.into_iter().enumerate() {
        let clip = world.content(Content::mp4(100 + place as u64, 50_000));
        let path = format!("/{place}.mp4");
        urls.push(world.media.on(&path, script));
        proxies.push(mirror.on(&path, Answer::file(&clip)));
        clips.push(clip);
    }
    world.job("147", Answer::success_with_proxies(&urls, &proxies));
    let done = world.get(&["147"]).args(&SOON).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
        let entry = world.entry("147", place);
        assert_eq!(entry["rung"], "proxy", "output {place} came from {entry:#}");
        assert_eq!(entry["source"], proxies[place].as_str());
        assert!(!world.media.calls(&format!("/{place}.mp4")).is_empty(), "source {place} was not asked");
    }
    (world, done)
}

pub(crate) fn causes(world: &World, output: usize) -> Vec<String> {
    let left = world.entry("147", output)["left"].as_array().cloned().unwrap_or_default();
    left.iter().map(|reason| reason["cause"].as_str().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn calls(server: &Server) -> usize {
    server.calls("/clip.mp4").len()
}
