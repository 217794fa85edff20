//! What a host gets: a window of requests at once that adapts, a moment before which it is left alone, and a breaker.
//!
//! [`Lane`] decides, from plain values: the window starts at 8 and grows with each answer that brings no complaint,
//! doubling in each round until the first complaint. A complaint (429, 503, a reset) halves it, once a round trip at
//! most, since one overload shows in many answers. Then it comes back as fast as it began to the largest window that was
//! calm for a whole round, grows by one a round from there, and by one in [`WARY_ROUNDS`] rounds where the last complaint
//! came. Growing by one a round from the half would leave a quarter of what a host bears
//! unused. `Retry-After` holds for the whole host. A host that cannot be reached three times in a row is closed for a while: everybody who asks then fails at
//! once instead of waiting out a timeout of their own, and one probe finds out whether it is back.
//!
//! [`Lanes`] keeps one for each host and lets tasks wait for their turn, in their order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::retry::{Cause, Failure};

/// Requests at once to a host of which nothing is known.
const FIRST_WINDOW: f64 = 8.0;
/// Rounds in which a window grows by one where its last complaint came.
const WARY_ROUNDS: f64 = 16.0;
/// This many failures to connect in a row close a host.
const CLOSES_AFTER: u32 = 3;
/// A closed host is probed after this time, then after twice as long each time, up to the cap.
const CLOSED_FOR: Duration = Duration::from_secs(2);
/// The longest time between two probes of a closed host.
const CLOSED_FOR_CAP: Duration = Duration::from_secs(30);
/// Lanes of hosts that nobody uses are forgotten beyond this many: names of hosts come from servers.
const LANES_KEPT: usize = 1_024;

/// The state of one host.
#[derive(Clone, Debug)]
pub struct Lane {
    window: f64,
    most: f64,
    in_flight: usize,
    /// The window that brought the last complaint.
    complained_at: Option<f64>,
    /// The largest window that had a whole round without a complaint.
    calm: f64,
    /// The window at the beginning of this round, which ends when so many good answers have come.
    round: f64,
    /// Good answers of this round.
    good: f64,
    last_cut: Option<Instant>,
    not_before: Option<Instant>,
    unreachable: u32,
    closed_until: Option<Instant>,
    probing: bool,
}

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It may.
    Go,
    /// The window is full: when another request ends.
    Full,
    /// The host asked to be left alone until then.
    NotBefore(Instant),
    /// The host cannot be reached and is probed again then.
    Closed(Instant),
}

/// What a request says about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Good,
    /// It answered that it is too much, or dropped the connection; it may have asked for a pause.
    Complaint(Option<Duration>),
    /// No connection came about.
    Unreachable,
    /// Nothing was learnt.
    Unknown,
}

impl Outcome {
    /// What a failure says about the host.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        match failure.cause {
            Cause::RateLimited => Self::Complaint(failure.retry_after),
            Cause::ServerError if failure.retry_after.is_some() => Self::Complaint(failure.retry_after),
            Cause::ServerError | Cause::Broken => Self::Complaint(None),
            Cause::Unreachable | Cause::Stalled => Self::Unreachable,
            Cause::Rejected
            | Cause::JobNotFound
            | Cause::JobFailed
            | Cause::Redirected
            | Cause::Malformed
            | Cause::Absent
            | Cause::BadStatus
            | Cause::NotMedia
            | Cause::Empty
            | Cause::Incomplete
            | Cause::Encoded
            | Cause::WrongRange
            | Cause::DigestMismatch
            | Cause::TooLarge => Self::Good,
            // An account that is refused is no reason to ask for more at once.
            Cause::InvalidKey
            | Cause::NoCredits
            | Cause::Forbidden
            | Cause::Tls
            | Cause::TooSlow
            | Cause::BadUrl
            | Cause::AddressRefused
            | Cause::BadRedirect
            | Cause::DeadlineOver => Self::Unknown,
        }
    }
}

impl Lane {
    /// A host of which nothing is known, and which gets at most so many requests at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self {
            window: FIRST_WINDOW.min(most),
            most,
            in_flight: 0,
            complained_at: None,
            calm: 0.0,
            round: FIRST_WINDOW.min(most),
            good: 0.0,
            last_cut: None,
            not_before: None,
            unreachable: 0,
            closed_until: None,
            probing: false,
        }
    }

    /// How many requests at once it gets now.
    #[must_use]
    pub fn window(&self) -> usize {
        if self.closed_until.is_some() {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a usize")]
        let window = self.window as usize;
        window.max(1)
    }

    /// Whether a request may go out now; one that may is counted until [`Lane::done`].
    pub fn admit(&mut self, now: Instant) -> Admit {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Admit::NotBefore(until);
        }
        if let Some(until) = self.closed_until {
            if until > now || self.probing {
                return Admit::Closed(until.max(now + CLOSED_FOR));
            }
            self.probing = true;
        } else if self.in_flight >= self.window() {
            return Admit::Full;
        }
        self.in_flight += 1;
        Admit::Go
    }

    /// A request has ended that began at `began`.
    pub fn done(&mut self, outcome: Outcome, began: Instant, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Good => {
                self.open();
                self.good += 1.0;
                self.window = self.grown().min(self.most);
                if self.good >= self.round {
                    self.calm = self.calm.max(self.round);
                    (self.round, self.good) = (self.window.floor(), 0.0);
                }
            }
            Outcome::Complaint(pause) => {
                self.open();
                let until = pause.map(|pause| now + pause);
                self.not_before = self.not_before.max(until);
                // What was under way at the last cut could not know of it.
                if self.last_cut.is_none_or(|cut| began >= cut) {
                    self.complained_at = Some(self.window.floor());
                    // A complaint where it was calm before says that the host bears less now.
                    let half = (self.window / 2.0).max(1.0);
                    self.calm = if self.calm < self.window { self.calm } else { half };
                    (self.window, self.round, self.good) = (half, half.floor(), 0.0);
                    self.last_cut = Some(now);
                }
            }
            Outcome::Unreachable => self.count_unreachable(now),
            Outcome::Unknown => self.probing = false,
        }
    }

    /// The window after one more good answer.
    ///
    /// | the window | a round adds |
    /// | --- | --- |
    /// | no complaint was ever heard | as much again |
    /// | below the largest one that was calm | as much again, up to that one |
    /// | right below the one that brought the last complaint, or there | a sixteenth |
    /// | elsewhere | one |
    fn grown(&self) -> f64 {
        match self.complained_at {
            None => self.window + 1.0,
            Some(_) if self.window < self.calm => (self.window + 1.0).min(self.calm),
            Some(at) if (at - 1.0..=at + 1.0).contains(&self.window.floor()) => {
                self.window + 1.0 / (self.window * WARY_ROUNDS)
            }
            Some(_) => self.window + 1.0 / self.window,
        }
    }

    fn open(&mut self) {
        self.unreachable = 0;
        self.closed_until = None;
        self.probing = false;
    }

    fn count_unreachable(&mut self, now: Instant) {
        self.probing = false;
        self.unreachable = self.unreachable.saturating_add(1);
        if self.unreachable >= CLOSES_AFTER && self.closed_until.is_none_or(|until| until <= now) {
            let doublings = (self.unreachable - CLOSES_AFTER).min(8);
            self.closed_until = Some(now + CLOSED_FOR.saturating_mul(1 << doublings).min(CLOSED_FOR_CAP));
        }
    }
}

/// What a host answers to one who does not wait.
#[derive(Debug)]
pub enum Turn {
    /// It is his turn.
    Go(Permit),
    /// The window is full: when another request ends.
    Full,
    /// The host asked to be left alone until then.
    NotBefore(Instant),
    /// The host could not be reached a moment ago.
    Closed(Failure),
}

/// The lanes of all hosts.
#[derive(Debug)]
pub struct Lanes {
    most: usize,
    lanes: Mutex<HashMap<String, Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    lane: Mutex<Lane>,
    freed: Notify,
}

impl Lanes {
    /// Lanes for hosts that get at most so many requests at once each.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, lanes: Mutex::new(HashMap::new()) }
    }

    /// Waits for this host's turn, in the order of asking.
    ///
    /// # Errors
    /// [`Cause::Unreachable`] at once where the host is closed.
    pub async fn enter(&self, host: &str) -> Result<Permit, Failure> {
        let shared = self.lane(host);
        loop {
            // In the queue before the look, so that a turn that comes free in between is not missed.
            let mut freed = std::pin::pin!(shared.freed.notified());
            freed.as_mut().enable();
            match ask(&shared, host) {
                Turn::Go(permit) => return Ok(permit),
                Turn::Full => freed.await,
                Turn::NotBefore(until) => tokio::time::sleep_until(until).await,
                Turn::Closed(failure) => return Err(failure),
            }
        }
    }

    /// Asks for this host's turn without waiting for it.
    #[must_use]
    pub fn try_enter(&self, host: &str) -> Turn {
        ask(&self.lane(host), host)
    }

    fn lane(&self, host: &str) -> Arc<Shared> {
        let mut lanes = held(&self.lanes);
        if let Some(shared) = lanes.get(host) {
            return Arc::clone(shared);
        }
        if lanes.len() >= LANES_KEPT {
            lanes.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let shared = Arc::new(Shared { lane: Mutex::new(Lane::new(self.most)), freed: Notify::new() });
        lanes.insert(host.into(), Arc::clone(&shared));
        shared
    }
}

fn ask(shared: &Arc<Shared>, host: &str) -> Turn {
    let admit = held(&shared.lane).admit(now());
    match admit {
        Admit::Go => Turn::Go(Permit { shared: Arc::clone(shared), began: now(), outcome: None }),
        Admit::Full => Turn::Full,
        Admit::NotBefore(until) => Turn::NotBefore(until),
        Admit::Closed(until) => {
            let wait = until.saturating_duration_since(now());
            let failure =
                Failure::new(Cause::Unreachable, format!("{host} could not be reached a moment ago"));
            Turn::Closed(failure.after(Some(wait)))
        }
    }
}

/// A turn at a host; dropping it ends it.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    began: Instant,
    outcome: Option<Outcome>,
}

impl Permit {
    /// Ends the turn with what it showed of the host.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::Unknown);
        let mut lane = held(&self.shared.lane);
        let before = lane.window();
        lane.done(outcome, self.began, now());
        let after = lane.window();
        drop(lane);
        if after == 0 {
            // The host is closed: nobody's turn will come, and everybody is to hear it.
            self.shared.freed.notify_waiters();
        }
        for _ in before..=after {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test makes its own moments")]
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn full(lane: &mut Lane, now: Instant) -> usize {
        let mut admitted = 0;
        while lane.admit(now) == Admit::Go {
            admitted += 1;
        }
        admitted
    }

    #[test]
    fn the_window_doubles_each_round_until_the_first_complaint_and_then_comes_back_to_where_it_was_calm() {
        let now = Instant::now();
        let mut lane = Lane::new(64);
        for want in [8, 16, 32, 64, 64] {
            assert_eq!(full(&mut lane, now), want);
            assert_eq!(lane.admit(now), Admit::Full);
            for _ in 0..want {
                lane.done(Outcome::Good, now, now);
            }
        }
        assert_eq!(lane.admit(now), Admit::Go);
        lane.done(Outcome::Complaint(None), now, now);
        assert_eq!(lane.window(), 32);
        assert_eq!(full(&mut lane, now), 32);
        let rounds = |lane: &mut Lane, count: usize| {
            let round = |_| {
                for _ in 0..lane.window() {
                    lane.done(Outcome::Good, now, now);
                }
                lane.window()
            };
            (0..count).map(round).collect::<Vec<_>>()
        };
        // 64 was calm for a round before it brought a complaint, so it says nothing any more.
        assert_eq!(rounds(&mut lane, 4), [32, 33, 34, 35]);
        lane.done(Outcome::Complaint(None), now + S(1), now + S(1));
        assert_eq!(
            (lane.window(), rounds(&mut lane, 3)),
            (17, vec![34, 34, 34]),
            "back to what was calm, and wary"
        );
    }

    /// A host that bears so many requests at once, each of which takes 100 ms, and answers the others with 429.
    fn work_at(bears: usize, most: usize) -> (u64, u64) {
        const TAKES: Duration = Duration::from_millis(100);
        const REFUSES_IN: Duration = Duration::from_millis(5);
        let began = Instant::now();
        let end = began + S(120);
        let mut lane = Lane::new(most);
        let mut under_way: Vec<(Instant, Instant, bool)> = Vec::new();
        let (mut now, mut good, mut refused, mut served) = (began, 0, 0, 0);
        while now < end {
            while lane.admit(now) == Admit::Go {
                let is_good = served < bears;
                served += usize::from(is_good);
                under_way.push((now + if is_good { TAKES } else { REFUSES_IN }, now, is_good));
            }
            let next = (0..under_way.len()).min_by_key(|place| under_way[*place].0).expect("never idle");
            let (ended, started, is_good) = under_way.swap_remove(next);
            now = ended;
            if is_good {
                (good, served) = (good + 1, served - 1);
                lane.done(Outcome::Good, started, now);
            } else {
                refused += 1;
                lane.done(Outcome::Complaint(None), started, now);
            }
        }
        (good, refused)
    }

    #[test]
    fn a_throttling_host_gives_nine_tenths_of_what_it_has_and_hears_few_requests_too_many() {
        for (bears, most) in [(4, 64), (10, 64), (16, 64), (25, 64), (48, 64), (100, 256), (16, 16)] {
            let (good, refused) = work_at(bears, most);
            let ideal = 120 * 10 * bears as u64;
            assert!(good * 10 >= ideal * 9, "bears {bears}: {good} of {ideal}");
            assert!(refused * 50 <= good + refused, "bears {bears}: {refused} of {}", good + refused);
        }
    }

    #[test]
    fn one_overload_halves_the_window_once() {
        let began = Instant::now();
        let later = began + S(1);
        let mut lane = Lane::new(8);
        assert_eq!(full(&mut lane, began), 8);
        for _ in 0..7 {
            lane.done(Outcome::Complaint(None), began, later);
        }
        assert_eq!(lane.window(), 4);
        lane.done(Outcome::Complaint(None), later, later);
        assert_eq!(lane.window(), 2);
        for _ in 0..9 {
            lane.done(Outcome::Complaint(None), later, later);
        }
        assert_eq!(lane.window(), 1);
    }

    #[test]
    fn a_pause_that_one_answer_asks_for_holds_for_the_whole_host() {
        let now = Instant::now();
        let mut lane = Lane::new(8);
        assert_eq!(lane.admit(now), Admit::Go);
        lane.done(Outcome::Complaint(Some(S(3))), now, now);
        assert_eq!(lane.admit(now + S(2)), Admit::NotBefore(now + S(3)));
        lane.done(Outcome::Complaint(Some(S(1))), now, now);
        assert_eq!(
            lane.admit(now + S(2)),
            Admit::NotBefore(now + S(3)),
            "a shorter pause does not shorten it"
        );
        assert_eq!(lane.admit(now + S(3)), Admit::Go);
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_closed_and_probed_by_one() {
        let now = Instant::now();
        let mut lane = Lane::new(8);
        assert_eq!(full(&mut lane, now), 8);
        lane.done(Outcome::Unreachable, now, now);
        lane.done(Outcome::Unreachable, now, now);
        assert_eq!(lane.window(), 8);
        lane.done(Outcome::Unreachable, now, now);
        assert_eq!((lane.window(), lane.admit(now)), (0, Admit::Closed(now + S(2))));
        let probe = now + S(2);
        assert_eq!(lane.admit(probe), Admit::Go);
        assert!(matches!(lane.admit(probe), Admit::Closed(_)), "one probe at a time");
        lane.done(Outcome::Unreachable, probe, probe);
        assert_eq!(lane.admit(probe), Admit::Closed(probe + S(4)));
        assert_eq!(lane.admit(probe + S(4)), Admit::Go);
        lane.done(Outcome::Good, probe, probe + S(4));
        assert_eq!(lane.admit(probe + S(4)), Admit::Go, "and it is open again");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_turn_gets_it_when_one_ends() {
        let lanes = Arc::new(Lanes::new(1));
        let first = lanes.enter("m.test").await;
        let second = tokio::spawn({
            let lanes = Arc::clone(&lanes);
            async move { lanes.enter("m.test").await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && lanes.enter("other.test").await.is_ok());
        drop(first);
        assert!(matches!(second.await, Ok(Ok(()))));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_turn_is_told_when_the_host_closes() {
        let lanes = Arc::new(Lanes::new(3));
        let mut permits = Vec::new();
        for _ in 0..3 {
            permits.extend(lanes.enter("dead.test").await);
        }
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let lanes = Arc::clone(&lanes);
                tokio::spawn(async move { lanes.enter("dead.test").await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        for permit in permits {
            permit.end(Outcome::Unreachable);
        }
        for waiter in waiting {
            let told = tokio::time::timeout(S(1), waiter).await;
            assert!(matches!(told, Ok(Ok(Err(_)))), "{told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_host_fails_at_once_and_says_when_to_come_back() {
        let lanes = Lanes::new(4);
        for _ in 0..3 {
            if let Ok(permit) = lanes.enter("dead.test").await {
                permit.end(Outcome::Unreachable);
            }
        }
        let failure = lanes.enter("dead.test").await.map(drop).expect_err("closed");
        assert_eq!((failure.cause, failure.retry_after.is_some()), (Cause::Unreachable, true));
        tokio::time::advance(S(2)).await;
        assert!(lanes.enter("dead.test").await.is_ok());
    }
}
