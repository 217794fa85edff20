//! The real program is killed at random moments, started again, and killed again, until everything is home.
//!
//! After each kill the whole archive is looked at: every file under a final name is a content of the origin, every
//! record is true. In the end no job is lost, and the origin has counted what was sent twice. `VFETCH_KILLS` says how
//! often the program is killed in all.

#![expect(clippy::disallowed_methods, reason = "the number of kills is no setting of the program")]
#![expect(clippy::print_stdout, reason = "the figures stand in the test's output")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use support::run::Signal;
use support::{Answer, Content, World};

/// Kills of an ordinary run of the tests.
const KILLS: u32 = 20;
const JOBS: usize = 40;
/// Archives at once: a kill is mostly a wait.
const ARCHIVES: u64 = 4;
/// Each connection of the origin brings so many bytes and then pauses; 1.25 MiB/s.
const DRIP: (usize, Duration) = (13_107, Duration::from_millis(10));
/// A run lives between a tenth of this and all of it.
const LIFE: Duration = Duration::from_secs(3);
/// What may be sent twice, of what there is.
const TWICE_MAX: f64 = 0.10;

/// What came of it, over all archives.
#[derive(Debug, Default)]
struct Figures {
    kills: u32,
    archives: u32,
    /// Bytes of all files, and bytes that the origin sent.
    bytes: u64,
    sent: u64,
    /// Requests that went on with a part.
    resumed: usize,
}

/// An origin with its jobs: most have one output, each fourth has three.
fn jobs(seed: u64) -> (World, Vec<(String, Vec<Content>)>) {
    let world = World::new();
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let id = (1_000 + number).to_string();
        let outputs = if number % 4 == 0 { 3 } else { 1 };
        let contents: Vec<Content> = (0..outputs)
            .map(|_| {
                let bytes = dice.u64(200_000..2_400_000) / outputs;
                world.content(Content::mp4(dice.u64(..), bytes))
            })
            .collect();
        let serve = |(output, content): (usize, &Content)| {
            let answer = Answer::file(content).drip(DRIP.0, DRIP.1);
            world.media.on(&format!("/{id}/{output}.mp4"), answer)
        };
        let urls: Vec<String> = contents.iter().enumerate().map(serve).collect();
        world.job(&id, Answer::success(&urls));
        jobs.push((id, contents));
    }
    (world, jobs)
}

/// Fills one archive, killing the program while there are kills left.
fn fill(seed: u64, left: &AtomicU32, figures: &mut Figures) {
    let (world, jobs) = jobs(seed);
    let mut dice = fastrand::Rng::with_seed(seed);
    let ids: Vec<&str> = jobs.iter().map(|(id, _)| id.as_str()).collect();
    loop {
        let get = world.get(&ids).args(&["--jobs", "8"]).quietly();
        let take = |left: u32| left.checked_sub(1);
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            get.run().exits(0);
            break;
        }
        let running = get.spawn();
        std::thread::sleep(LIFE.mul_f64(dice.f64().mul_add(0.9, 0.1)));
        running.signal(Signal::KILL);
        let done = running.wait();
        match done.code() {
            137 => figures.kills += 1,
            0 => {
                // It was done before the kill, which then counts for the next archive.
                left.fetch_add(1, Ordering::SeqCst);
                break;
            }
            _ => panic!("seed {seed}: {}", done.shown()),
        }
    }
    for (id, contents) in &jobs {
        assert_eq!(world.state(id), "complete", "seed {seed}");
        contents.iter().enumerate().for_each(|(output, content)| world.holds(id, output, content));
    }
    assert_eq!(world.staged(), Vec::<String>::new(), "seed {seed}: nothing is left over");
    figures.archives += 1;
    figures.bytes += jobs.iter().flat_map(|(_, contents)| contents).map(Content::len).sum::<u64>();
    figures.sent += world.media.body_bytes();
    figures.resumed += world.media.log().iter().filter(|seen| seen.range_from().is_some()).count();
}

#[test]
fn killed_again_and_again_the_archive_loses_nothing_and_fetches_little_twice() {
    let kills = std::env::var("VFETCH_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let left = Arc::new(AtomicU32::new(kills));
    let workers = (0..ARCHIVES).map(|worker| {
        let left = Arc::clone(&left);
        std::thread::spawn(move || {
            let mut figures = Figures::default();
            let mut round = 0;
            while round == 0 || left.load(Ordering::SeqCst) > 0 {
                fill(worker + round * ARCHIVES, &left, &mut figures);
                round += 1;
            }
            figures
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut all = Figures::default();
    for worker in workers {
        let figures = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all.kills += figures.kills;
        all.archives += figures.archives;
        all.bytes += figures.bytes;
        all.sent += figures.sent;
        all.resumed += figures.resumed;
    }
    let twice = all.sent.saturating_sub(all.bytes) as f64 / all.bytes as f64;
    println!(
        "kills: {} over {} archives of {JOBS} jobs, 0 corrupt, 0 lost, {:.1} % of {} MiB sent twice, {} parts taken up",
        all.kills,
        all.archives,
        100.0 * twice,
        all.bytes >> 20,
        all.resumed,
    );
    assert_eq!(all.kills, kills);
    assert!(twice < TWICE_MAX, "{all:?}");
    assert!(all.resumed > 0, "{all:?}");
}
