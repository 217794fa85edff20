//! The lanes of all hosts, and the turns that tasks wait for at them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Admit, Began, Lane, Outcome};
use crate::retry::{Cause, Failure};

/// Lanes of hosts that nobody uses are forgotten beyond this many: names of hosts come from servers.
const LANES_KEPT: usize = 1_024;

/// What a host answers to one who does not wait.
#[derive(Debug)]
pub enum TryEnter {
    /// It is his turn.
    Go(Permit),
    /// The window is full: when another request ends.
    Full,
    /// The host is left alone until then.
    NotBefore(Instant),
    /// The host gave nothing a moment ago.
    Closed(Failure),
}

/// The lanes of all hosts.
#[derive(Debug)]
pub struct Lanes {
    most: usize,
    patience: Duration,
    by_host: Mutex<HashMap<String, Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    lane: Mutex<Lane>,
    freed: Notify,
    /// What was seen when it last could not be reached, in words.
    trouble: Mutex<String>,
}

impl Lanes {
    /// Lanes for hosts that get at most so many requests at once each, and may each refuse everything for so long.
    #[must_use]
    pub fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, by_host: Mutex::new(HashMap::new()) }
    }

    /// Waits for this host's turn, in the order of asking.
    ///
    /// # Errors
    /// Why the host is closed, at once where it is.
    pub async fn enter(&self, host: &str) -> Result<Permit, Failure> {
        let shared = self.lane(host);
        loop {
            // In the queue before the look, so that a turn that comes free in between is not missed.
            let mut freed = std::pin::pin!(shared.freed.notified());
            freed.as_mut().enable();
            match ask(&shared, host) {
                TryEnter::Go(permit) => return Ok(permit),
                TryEnter::Full => freed.await,
                TryEnter::NotBefore(until) => {
                    let in_place = InPlace(&shared.freed);
                    tokio::time::sleep_until(until).await;
                    std::mem::forget(in_place);
                }
                TryEnter::Closed(failure) => return Err(failure),
            }
        }
    }

    /// Asks for this host's turn without waiting for it.
    #[must_use]
    pub fn try_enter(&self, host: &str) -> TryEnter {
        ask(&self.lane(host), host)
    }

    fn lane(&self, host: &str) -> Arc<Shared> {
        let mut lanes = held(&self.by_host);
        if let Some(shared) = lanes.get(host) {
            return Arc::clone(shared);
        }
        if lanes.len() >= LANES_KEPT {
            lanes.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let lane = Mutex::new(Lane::new(self.most, self.patience));
        let shared = Arc::new(Shared { lane, freed: Notify::new(), trouble: Mutex::default() });
        lanes.insert(host.into(), Arc::clone(&shared));
        shared
    }
}

/// Whoever sleeps until the host may be asked again may have used up the call that was meant for anybody who waits.
/// Where he gives up before, the next one is called in his place.
struct InPlace<'a>(&'a Notify);

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn ask(shared: &Arc<Shared>, host: &str) -> TryEnter {
    let mut lane = held(&shared.lane);
    match lane.admit(now()) {
        Admit::Go => {
            TryEnter::Go(Permit { shared: Arc::clone(shared), began: lane.last_begun(now()), outcome: None })
        }
        Admit::Full => TryEnter::Full,
        Admit::NotBefore(until) => TryEnter::NotBefore(until),
        Admit::Closed(until) => {
            let failure = if lane.unreachable > 0 {
                let trouble = held(&shared.trouble);
                let why = if trouble.is_empty() { String::new() } else { format!(": {trouble}") };
                Failure::new(Cause::Unreachable, format!("{host} could not be reached a moment ago{why}"))
            } else {
                Failure::new(Cause::RateLimited, format!("{host} refused every request a moment ago"))
            };
            TryEnter::Closed(failure.after(Some(until.saturating_duration_since(now()))))
        }
    }
}

/// A turn at a host; dropping it ends it.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    began: Began,
    outcome: Option<Outcome>,
}

impl Permit {
    /// Says that the host gives something, before the turn ends.
    pub fn brings(&self) {
        held(&self.shared.lane).brings();
    }

    /// Ends the turn with a failure, of which those hear who find the host closed.
    pub fn fail(self, failure: &Failure) {
        let outcome = Outcome::of(failure);
        if outcome == Outcome::Unreachable {
            held(&self.shared.trouble).clone_from(&failure.detail);
        }
        self.end(outcome);
    }

    /// Ends the turn with what it showed of the host.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::Unknown);
        let mut lane = held(&self.shared.lane);
        lane.done(outcome, self.began, now());
        let (is_closed, room) = (lane.window() == 0, lane.room());
        drop(lane);
        if is_closed {
            // Nobody's turn will come, and everybody is to hear it.
            self.shared.freed.notify_waiters();
        }
        for _ in 0..room {
            self.shared.freed.notify_one();
        }
    }
}

/// A lock whose holder cannot have left it half changed: nothing in here panics between two writes.
fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a lane waits by the runtime's clock")]
fn now() -> Instant {
    Instant::now()
}
