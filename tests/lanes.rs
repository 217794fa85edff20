//! How well a lane finds out what a host bears, with hosts of many kinds on a clock that stands still while nothing
//! happens: what each gives through [`Lanes`], beside the best of the fixed windows. Neither knows anything of the host.
//!
//! The work never ends, and whoever is refused lets the next one try, as in a run with many files; only the fixed
//! windows wait a little after a refusal, as programs with a fixed number of connections do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use vfetch::net::lane::{DEFAULT_PATIENCE, Lanes, Outcome};

/// The most requests at once that vfetch sends to a host, unless the user says otherwise.
const MOST: usize = 64;
/// Enough tasks that the window is always full.
const TASKS: usize = 96;
/// The settings that a user could have chosen.
const FIXED: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// So many answers would a host give that is asked in the best way.
const ANSWERS: f64 = 4_000.0;

/// What a host is like.
#[derive(Clone, Copy)]
struct Host {
    name: &'static str,
    /// From a request to the first byte, and to a refusal.
    latency_ms: u64,
    /// A file over one connection that has the network for itself takes so long.
    body_ms: u64,
    /// All connections together carry so many files a second.
    shared_per_s: Option<f64>,
    /// More at once are refused.
    at_once: Option<usize>,
    /// More a second are refused, save for so many that were saved up.
    rate: Option<(f64, f64)>,
    /// A refusal asks for this pause.
    pause_s: Option<u64>,
    /// It drops the connections that are too many in place of an answer.
    is_rude: bool,
    /// So many of a thousand answers break in the middle.
    breaks: u32,
    /// So many of a thousand requests are refused for no reason.
    whims: u32,
}

const HOST: Host = Host {
    name: "",
    latency_ms: 40,
    body_ms: 10,
    shared_per_s: None,
    at_once: None,
    rate: None,
    pause_s: None,
    is_rude: false,
    breaks: 0,
    whims: 0,
};

const HOSTS: [Host; 28] = [
    Host { name: "1 ms, no limit", latency_ms: 1, body_ms: 0, ..HOST },
    Host { name: "40 ms, no limit", ..HOST },
    Host { name: "300 ms, no limit", latency_ms: 300, ..HOST },
    Host { name: "40 ms, slow connections", body_ms: 2_000, ..HOST },
    Host { name: "1 ms, 100 files/s shared", latency_ms: 1, shared_per_s: Some(100.0), ..HOST },
    Host { name: "300 ms, 50 files/s shared", latency_ms: 300, shared_per_s: Some(50.0), ..HOST },
    Host { name: "1 ms, 4 at once", latency_ms: 1, at_once: Some(4), ..HOST },
    Host { name: "40 ms, 4 at once", at_once: Some(4), ..HOST },
    Host { name: "300 ms, 4 at once", latency_ms: 300, at_once: Some(4), ..HOST },
    Host { name: "40 ms, 2 at once", at_once: Some(2), ..HOST },
    Host { name: "40 ms, 1 at once", at_once: Some(1), ..HOST },
    Host { name: "40 ms, 16 at once", at_once: Some(16), ..HOST },
    Host { name: "300 ms, 16 at once, long", latency_ms: 300, body_ms: 700, at_once: Some(16), ..HOST },
    Host { name: "40 ms, 40 at once", at_once: Some(40), ..HOST },
    Host { name: "1 ms, 5/s", latency_ms: 1, rate: Some((5.0, 10.0)), ..HOST },
    Host {
        name: "1 ms, 5/s, asks for 1 s",
        latency_ms: 1,
        rate: Some((5.0, 10.0)),
        pause_s: Some(1),
        ..HOST
    },
    Host { name: "40 ms, 5/s, no burst", rate: Some((5.0, 1.0)), ..HOST },
    Host { name: "40 ms, 30/s", rate: Some((30.0, 30.0)), ..HOST },
    Host { name: "40 ms, 30/s, asks for 1 s", rate: Some((30.0, 30.0)), pause_s: Some(1), ..HOST },
    Host { name: "40 ms, 200/s, small burst", rate: Some((200.0, 20.0)), ..HOST },
    Host { name: "300 ms, 80/s", latency_ms: 300, rate: Some((80.0, 80.0)), ..HOST },
    Host {
        name: "1 ms, 20/s and 4 at once",
        latency_ms: 1,
        at_once: Some(4),
        rate: Some((20.0, 20.0)),
        ..HOST
    },
    Host {
        name: "300 ms, 60/s, asks for 7 s",
        latency_ms: 300,
        rate: Some((60.0, 600.0)),
        pause_s: Some(7),
        ..HOST
    },
    Host { name: "40 ms, 16 at once, breaks the others", at_once: Some(16), is_rude: true, ..HOST },
    Host { name: "40 ms, 1 in 1,000 breaks", breaks: 1, ..HOST },
    Host { name: "40 ms, 1 in 200 breaks", breaks: 5, ..HOST },
    Host { name: "40 ms, 1 in 1,000 refused for no reason", whims: 1, ..HOST },
    Host { name: "40 ms, 1 in 200 refused for no reason", whims: 5, ..HOST },
];

/// The server's side.
struct Server {
    host: Host,
    inside: usize,
    tokens: f64,
    counted_at: Instant,
    /// When the shared line has carried what it was given so far.
    line_free: Instant,
    dice: u64,
    good: u64,
    refused: u64,
    broken: u64,
}

/// What becomes of a request, and when.
struct Fate {
    at: Instant,
    outcome: Outcome,
    is_inside: bool,
}

impl Server {
    fn new(host: Host, now: Instant) -> Self {
        Self {
            host,
            inside: 0,
            tokens: host.rate.map_or(0.0, |(_, burst)| burst),
            counted_at: now,
            line_free: now,
            dice: 0x9e37_79b9_7f4a_7c15,
            good: 0,
            refused: 0,
            broken: 0,
        }
    }

    fn arrives(&mut self, now: Instant) -> Fate {
        let latency = Duration::from_millis(self.host.latency_ms);
        if let Some((per_s, burst)) = self.host.rate {
            self.tokens = (self.tokens + per_s * (now - self.counted_at).as_secs_f64()).min(burst);
            self.counted_at = now;
        }
        let is_too_many = self.host.at_once.is_some_and(|most| self.inside >= most);
        let is_too_often = self.host.rate.is_some() && self.tokens < 1.0;
        let is_whim = self.roll() * 1_000.0 < f64::from(self.host.whims);
        if is_too_many || is_too_often || is_whim {
            let pause = self.host.pause_s.map(Duration::from_secs);
            let outcome = if self.host.is_rude { Outcome::Broke } else { Outcome::Complaint(pause) };
            return Fate { at: now + latency, outcome, is_inside: false };
        }
        self.tokens -= 1.0;
        self.inside += 1;
        // Lengths differ by a third up and down, so that answers come in no step.
        let body = Duration::from_millis(self.host.body_ms).mul_f64(2.0 / 3.0 + 2.0 / 3.0 * self.roll());
        let mut at = now + latency + body;
        if let Some(per_s) = self.host.shared_per_s {
            self.line_free = self.line_free.max(now + latency) + Duration::from_secs_f64(1.0 / per_s);
            at = at.max(self.line_free);
        }
        if self.roll() * 1_000.0 < f64::from(self.host.breaks) {
            return Fate { at: now + (at - now) / 2, outcome: Outcome::Broke, is_inside: true };
        }
        Fate { at, outcome: Outcome::Good, is_inside: true }
    }

    fn ends(&mut self, fate: &Fate) {
        self.inside -= usize::from(fate.is_inside);
        match (fate.outcome, fate.is_inside) {
            (Outcome::Good, _) => self.good += 1,
            (_, true) => self.broken += 1,
            (_, false) => self.refused += 1,
        }
    }

    /// A number in `[0, 1)`, the same ones in each run.
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Host {
    /// How many answers a second it gives to the best of clients that keeps to `most` at once.
    fn ideal_per_s(&self, most: usize) -> f64 {
        let at_once = self.at_once.unwrap_or(most).min(most) as f64;
        let each_s = (self.latency_ms + self.body_ms) as f64 / 1_000.0;
        let rate = self.rate.map_or(f64::MAX, |(per_s, _)| per_s);
        (at_once / each_s).min(rate).min(self.shared_per_s.unwrap_or(f64::MAX))
    }

    /// How many answers it gives to the best of clients while the work lasts.
    fn ideal(&self) -> f64 {
        let at_first = self.rate.map_or(0.0, |(_, burst)| burst);
        (self.ideal_per_s(MOST) * self.takes().as_secs_f64() + at_first).round()
    }

    /// How long the work lasts: so many answers, and more where the beginning is not like the rest.
    fn takes(&self) -> Duration {
        let answers = if self.breaks + self.whims > 0 { 4.0 * ANSWERS } else { ANSWERS };
        let at_least_s = if self.rate.is_some() { 120.0 } else { 0.0 };
        Duration::from_secs_f64((answers / self.ideal_per_s(MOST)).max(at_least_s))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Lane,
    Fixed(usize),
}

/// Good answers, refused and broken ones in the time in which the best of clients would get [`ANSWERS`].
async fn work(host: Host, client: Client) -> (u64, u64, u64) {
    let began = now();
    let end = began + host.takes();
    let server = Arc::new(Mutex::new(Server::new(host, began)));
    let lanes = Arc::new(Lanes::new(MOST, DEFAULT_PATIENCE));
    let (tasks, slots) = match client {
        Client::Lane => (TASKS, TASKS),
        Client::Fixed(window) => (window, window),
    };
    let slots = Arc::new(Semaphore::new(slots));
    let mut work = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (server, lanes, slots) = (Arc::clone(&server), Arc::clone(&lanes), Arc::clone(&slots));
        work.spawn(async move {
            while now() < end {
                let slot = slots.acquire().await.expect("never closed");
                let permit = match client {
                    Client::Fixed(_) => None,
                    Client::Lane => match lanes.enter("m.test").await {
                        Ok(permit) => Some(permit),
                        Err(closed) => {
                            sleep(closed.retry_after.expect("says when")).await;
                            continue;
                        }
                    },
                };
                if now() >= end {
                    break;
                }
                let fate = server.lock().expect("whole").arrives(now());
                sleep_until(fate.at).await;
                server.lock().expect("whole").ends(&fate);
                match permit {
                    Some(permit) => permit.end(fate.outcome),
                    None if !fate.is_inside => sleep(Duration::from_millis(500)).await,
                    None => {}
                }
                drop(slot);
            }
        });
    }
    sleep_until(end).await;
    let server = server.lock().expect("whole");
    (server.good, server.refused, server.broken)
}

#[expect(clippy::disallowed_methods, reason = "the test's clock, which stands still while nothing happens")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "figures are for whoever runs the tests")]
#[tokio::test(start_paused = true)]
async fn a_lane_gives_nine_tenths_of_the_best_fixed_window_and_is_told_to_slow_down_by_few_answers() {
    // From here on every moment is a whole tick of the clock, so that each run is like the last.
    sleep(Duration::from_millis(1)).await;
    let mut short = Vec::new();
    for host in HOSTS {
        let mut best = (0, 0);
        for window in FIXED {
            let (good, _, _) = work(host, Client::Fixed(window)).await;
            best = best.max((good, window));
        }
        let (good, refused, broken) = work(host, Client::Lane).await;
        let close = 100.0 * good as f64 / best.0 as f64;
        let ideal = 100.0 * good as f64 / host.ideal();
        let complaints = 100.0 * refused as f64 / (good + refused + broken) as f64;
        println!(
            "figure: lane, {}: {close:.1} % of the best fixed window ({}), {ideal:.1} % of what it has, \
             {complaints:.2} % refused",
            host.name, best.1
        );
        if close < 90.0 || ideal < 90.0 || complaints >= 2.0 {
            short.push(host.name);
        }
    }
    assert!(short.is_empty(), "{short:?}");
}
