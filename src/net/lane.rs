//! What a host gets: a window of requests at once that adapts, a moment before which it is left alone, and a breaker.
//!
//! [`Lane`] decides, from plain values: the window starts at 8 and grows with each answer that brings no complaint,
//! doubling in each round until the first complaint. Complaints (429, 503, resets) halve it, once a round trip at most,
//! since one overload shows in many answers. Then it comes back as fast as it began to the largest window that was
//! calm for a whole round, grows by one a round from there, and by one in [`WARY_ROUNDS`] rounds where the last complaint
//! came. Growing by one a round from the half would leave a quarter of what a host bears unused. `Retry-After` holds for
//! the whole host.
//!
//! A host that refuses what it bore before, or a request that was alone, minds how often it is asked and not how many
//! ask at once: it gets a [pace] in place of a smaller window. A connection that breaks now and then, and a refusal
//! now and then, are accidents and change nothing: a host that is asked too much refuses more than that.
//!
//! A host that cannot be reached three times in a row, or refuses single requests seconds apart, is closed for a while:
//! everybody who asks then fails at once instead of waiting out a timeout of their own, and one probe finds out whether
//! it is back. So is one that has answered nothing but "later" for longer than anybody's patience, or those who wait for
//! it would each spend that time one after another.
//!
//! [`Lanes`] keeps one for each host and lets tasks wait for their turn, in their order.

mod lanes;
mod pace;

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{Cause, Failure};
pub use lanes::{Lanes, Permit, TryEnter};
use pace::Pace;

/// Requests at once to a host of which nothing is known.
const FIRST_WINDOW: f64 = 8.0;
/// Rounds in which a window grows by one where its last complaint came.
const WARY_ROUNDS: f64 = 32.0;
/// A small window grows by one there in so many answers, or it would complain of one in sixteen.
const WARY_ANSWERS: f64 = 128.0;
/// So many connections may break by accident, and one more with each so many good answers; overload breaks more.
const ACCIDENTS: f64 = 2.0;
const GOOD_FOR_AN_ACCIDENT: f64 = 32.0;
/// As many requests may be refused for no reason, and one more with each so many good answers: a host that throws one
/// in two hundred is not asked less, and one that bears a few more than it gets hears one in fifty too many.
const GOOD_FOR_A_WHIM: f64 = 48.0;
/// A round has at least so many answers: that one or two were good says little.
const ROUND_MIN: f64 = 4.0;
/// How late a timer may be without the next one being late too.
const LATE: Duration = Duration::from_millis(10);
/// This many failures to connect in a row close a host, and as many refusals after a time of nothing else.
const CLOSES_AFTER: u32 = 3;
/// A closed host is probed after this time, then after twice as long each time, up to the cap.
const CLOSED_FOR: Duration = Duration::from_secs(2);
/// The longest time between two probes of a closed host that does not ask for a longer one.
const CLOSED_FOR_CAP: Duration = Duration::from_secs(30);

/// A host may refuse everything for this long, unless the user says otherwise: as long as a job may take.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// The state of one host.
#[derive(Clone, Debug)]
pub struct Lane {
    window: f64,
    most: f64,
    /// How long it may refuse everything.
    patience: Duration,
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
    /// How many requests were let go, and how many of them before the last cut.
    begun: u64,
    begun_before_cut: u64,
    /// The most requests at once since the last cut.
    peak: usize,
    /// Refusals in a row with nothing good between them; after the second one request at a time finds out more.
    refused_in_a_row: u32,
    /// Since when it has refused, with nothing good between; time in which nobody asks moves it on.
    refusing_since: Option<Instant>,
    /// Good answers since the last complaint.
    good_since: u64,
    /// Connections that broke of late.
    accidents: f64,
    /// Refusals of late that may have had no reason.
    whims: f64,
    /// How often it may be asked, of a host that minds.
    pace: Option<Pace>,
    /// When the last request was due, which is when it began or a little before: timers are late.
    last_due: Option<Instant>,
    /// How long the last good answer took.
    takes: Duration,
    /// Since when nothing is under way and nobody asks, and how long that was so since the last cut.
    idle_since: Option<Instant>,
    idle: Duration,
    not_before: Option<Instant>,
    unreachable: u32,
    /// How often in a row it was closed.
    closings: u32,
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
    /// The host asked to be left alone until then, or minds being asked more often.
    NotBefore(Instant),
    /// The host gives nothing and is probed again then.
    Closed(Instant),
}

/// When a request began, in time and among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    at: Instant,
    number: u64,
}

/// What a request says about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Good,
    /// It answered that it is too much; it may have asked for a pause.
    Complaint(Option<Duration>),
    /// It dropped the connection before the answer was whole, or something went wrong on its side.
    Broke,
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
            Cause::ServerError | Cause::Broken => Self::Broke,
            Cause::Unreachable | Cause::Stalled => Self::Unreachable,
            Cause::Rejected
            | Cause::JobNotFound
            | Cause::JobFailed
            | Cause::Redirected
            | Cause::Malformed
            | Cause::NotReady
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
    /// A host of which nothing is known, which gets at most so many requests at once, and which may refuse everything for
    /// so long.
    #[must_use]
    pub fn new(most: usize, patience: Duration) -> Self {
        let most = most.max(1) as f64;
        Self {
            window: FIRST_WINDOW.min(most),
            most,
            patience,
            in_flight: 0,
            complained_at: None,
            calm: 0.0,
            round: FIRST_WINDOW.min(most),
            good: 0.0,
            last_cut: None,
            begun: 0,
            begun_before_cut: 0,
            peak: 0,
            refused_in_a_row: 0,
            refusing_since: None,
            good_since: 0,
            accidents: 0.0,
            whims: 0.0,
            pace: None,
            last_due: None,
            takes: Duration::ZERO,
            idle_since: None,
            idle: Duration::ZERO,
            not_before: None,
            unreachable: 0,
            closings: 0,
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
        if let Some(since) = self.idle_since.take() {
            let idle = now.saturating_duration_since(since);
            self.idle += idle;
            self.refusing_since = self.refusing_since.map(|refusing| refusing + idle);
        }
        let not_before = self.not_before.filter(|until| *until > now);
        if let Some(until) = self.closed_until.max(not_before).filter(|_| self.closed_until.is_some()) {
            if until > now || self.probing {
                return Admit::Closed(until.max(now + CLOSED_FOR));
            }
            self.probing = true;
            self.last_due = Some(now);
        } else if let Some(until) = not_before {
            return Admit::NotBefore(until);
        } else if self.room() == 0 {
            return Admit::Full;
        } else {
            let due = self.next_due(now);
            if due > now {
                return Admit::NotBefore(due);
            }
            self.last_due = Some(due);
        }
        self.in_flight += 1;
        self.begun += 1;
        self.peak = self.peak.max(self.in_flight);
        Admit::Go
    }

    /// How many more requests may be under way.
    fn room(&self) -> usize {
        let most = if self.refused_in_a_row > 1 { self.window().min(1) } else { self.window() };
        most.saturating_sub(self.in_flight)
    }

    /// When the next request is due: now or a little before, or later where the host minds how often it is asked.
    fn next_due(&mut self, now: Instant) -> Instant {
        let (Some(pace), Some(cut), Some(last)) = (self.pace, self.last_cut, self.last_due) else {
            return now;
        };
        let Some(gap) = pace.gap(now.saturating_duration_since(cut), self.takes) else {
            self.pace = None;
            return now;
        };
        (last + gap).max(now.checked_sub(LATE).unwrap_or(now))
    }

    /// The request that was let go last.
    #[must_use]
    pub fn last_begun(&self, at: Instant) -> Began {
        Began { at, number: self.begun }
    }

    /// A request that has not ended brings bytes. Where it is the probe of a closed host, the host is back: a large file
    /// may take its time, and the others need not wait for its end.
    pub fn brings(&mut self) {
        if self.probing {
            self.open();
            (self.closings, self.refused_in_a_row, self.refusing_since) = (0, 0, None);
        }
    }

    /// A request has ended.
    pub fn done(&mut self, outcome: Outcome, began: Began, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.idle_since = Some(now);
        }
        match outcome {
            Outcome::Good => {
                self.open();
                (self.closings, self.refused_in_a_row, self.refusing_since) = (0, 0, None);
                self.takes = now.saturating_duration_since(began.at);
                self.good_since += 1;
                self.accidents = (self.accidents - 1.0 / GOOD_FOR_AN_ACCIDENT).max(0.0);
                self.whims = (self.whims - 1.0 / GOOD_FOR_A_WHIM).max(0.0);
                self.good += 1.0;
                self.window = self.grown().min(self.most);
                if self.good >= self.round.max(ROUND_MIN) {
                    self.calm = self.calm.max(self.round);
                    (self.round, self.good) = (self.window.floor(), 0.0);
                }
            }
            Outcome::Complaint(pause) => {
                let (closed_until, is_news) = (self.closed_until, self.is_news(began));
                self.open();
                let until = pause.map(|pause| now + pause);
                self.not_before = self.not_before.max(until);
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
                let since = *self.refusing_since.get_or_insert(now);
                let is_over = now.saturating_duration_since(since) >= self.patience;
                if is_news {
                    self.whims += 1.0;
                    self.refused(pause, began.at, now);
                }
                match is_over && self.refused_in_a_row >= CLOSES_AFTER {
                    true if is_news => self.close(now),
                    true => self.closed_until = closed_until,
                    false => {}
                }
            }
            Outcome::Broke => {
                self.open();
                if self.is_news(began) {
                    self.accidents += 1.0;
                    (self.round, self.good) = (self.window.floor(), 0.0);
                    if self.accidents > ACCIDENTS {
                        self.halve();
                        self.note_cut(now);
                    }
                }
            }
            Outcome::Unreachable => self.count_unreachable(now),
            Outcome::Unknown => self.probing = false,
        }
    }

    /// What was under way at the last cut could not know of it.
    fn is_news(&self, began: Began) -> bool {
        began.number > self.begun_before_cut
    }

    fn halve(&mut self) {
        self.complained_at = Some(self.window.floor());
        // A complaint where it was calm before says that the host bears less now.
        let half = (self.window / 2.0).max(1.0);
        self.calm = if self.calm < self.window { self.calm } else { half };
        (self.window, self.round, self.good) = (half, half.floor(), 0.0);
    }

    fn note_cut(&mut self, now: Instant) {
        (self.last_cut, self.begun_before_cut) = (Some(now), self.begun);
        (self.peak, self.good_since) = (self.in_flight, 0);
        self.idle = Duration::ZERO;
    }

    /// A refusal halves the window, or sets the pace where the window was not the reason.
    ///
    /// | since the last cut | the host | |
    /// | --- | --- | --- |
    /// | nothing good | refused a request that was alone | window and pace are halved; closed where it gives nothing now |
    /// | nothing good | refused one of several | the window is halved |
    /// | good answers | refused at most one other of late, or none while more is tried than it refused before | nothing: an accident |
    /// | good answers | has a pace | the pace of those answers |
    /// | good answers | bore this window, and asks for a pause | the pace of those answers |
    /// | good answers | bore this window | half of the pace now: the next refusal tells more |
    /// | good answers | never bore this window | the window is halved |
    ///
    /// A host that asks for a pause means it, so that is no accident; and it needs no pace where nothing good came.
    fn refused(&mut self, pause: Option<Duration>, began: Instant, now: Instant) {
        let calm_for = self.last_cut.map_or(Duration::ZERO, |cut| now.saturating_duration_since(cut));
        let was_calm_here = self.window.floor() <= self.calm;
        let tries_more = match self.pace {
            Some(pace) => pace.tries_more(calm_for, self.takes),
            None => self.is_wary() && !was_calm_here,
        };
        let is_accident = pause.is_none() && self.whims <= if tries_more { 1.0 } else { ACCIDENTS };
        match self.last_cut {
            Some(cut) if self.good_since == 0 && self.peak <= 1 && pause.is_none() => {
                let waited = began.saturating_duration_since(cut);
                let pace = self.pace.map_or_else(Pace::first, |pace| pace.slower(waited));
                self.pace = Some(pace);
                self.halve();
                if pace.is_hopeless() || self.closings > 0 {
                    self.pace = None;
                    self.close(now);
                }
            }
            _ if self.good_since > 0 && is_accident => {
                if !was_calm_here {
                    (self.round, self.good) = (self.window.floor(), 0.0);
                }
                return;
            }
            Some(_) if self.good_since > 0 && (self.pace.is_some() || was_calm_here && pause.is_some()) => {
                let time = calm_for.saturating_sub(self.idle);
                let before = self.pace.and_then(|pace| Some((pace, pace.gap(calm_for, self.takes)?)));
                self.pace = Some(Pace::measured(before, time, self.good_since));
            }
            Some(_) if self.good_since > 0 && was_calm_here => {
                self.pace = Some(Pace::half_of(self.window, self.takes));
            }
            _ => self.halve(),
        }
        self.note_cut(now);
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
            Some(_) if self.is_wary() => self.window + 1.0 / (self.window * WARY_ROUNDS).max(WARY_ANSWERS),
            Some(_) => self.window + 1.0 / self.window,
        }
    }

    /// Whether the window is where the last complaint came.
    fn is_wary(&self) -> bool {
        self.complained_at.is_some_and(|at| (at - 1.0..=at + 1.0).contains(&self.window.floor()))
    }

    fn open(&mut self) {
        (self.unreachable, self.closed_until, self.probing) = (0, None, false);
    }

    fn count_unreachable(&mut self, now: Instant) {
        self.probing = false;
        self.unreachable = self.unreachable.saturating_add(1);
        if self.unreachable >= CLOSES_AFTER {
            self.close(now);
        }
    }

    fn close(&mut self, now: Instant) {
        if self.closed_until.is_none_or(|until| until <= now) {
            let longer = 1 << self.closings.min(8);
            self.closed_until = Some(now + CLOSED_FOR.saturating_mul(longer).min(CLOSED_FOR_CAP));
            self.closings = self.closings.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
