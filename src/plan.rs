//! What to do next, decided from plain values: no clock, no dice, no network, no disk.
//!
//! - [`next`] walks the ladder of sources of one output: which one now, wait until when, ask the job again, give up.
//! - [`after_failure`] says where a source stands once an attempt has failed.
//! - [`keep`] tells which files of a record serve an output, so that only the others are fetched; [`renewed`], which output
//!   of a second answer is which of the first.
//! - [`stays`] decides whether the record gives way to what a run has to say.
//! - [`resume`] and [`judge_answer`] decide whether bytes may be appended to a part, and never splice two contents.
//!
//! Moments are durations since the run began, as a clock that never jumps counts them.

mod kept;
mod range;
mod renewal;

use std::time::Duration;

use crate::manifest::Rung;
use crate::retry::{Cause, Failure, backoff};
pub use kept::{FilePlan, Identity, keep, keep_the_others, renewed};
pub use range::{Answer, Body, ContentRange, Part, Resume, is_strong, judge_answer, refuses_ranges, resume};
pub use renewal::{Came, Renewal, stays};

/// How long after its success a fresh job's files may answer "not there" and mean "not yet".
pub const FRESH_FOR: Duration = Duration::from_secs(60);
/// A source of an old job is dead when it says so twice, this far apart.
pub const DOUBT_FOR: Duration = Duration::from_secs(10);
/// How often a file that is not there yet is asked for.
const NOT_YET_WAIT: Duration = Duration::from_secs(3);
/// Failures that may pass are tried this many times in a row; new bytes begin the count again.
pub const DEFAULT_RETRIES: u32 = 5;

/// A moment of this run.
pub type Moment = Duration;

/// Where a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not asked yet.
    Untried,
    /// It failed in a way that may pass, and may be tried again then.
    Waits {
        /// Not before this moment.
        until: Moment,
    },
    /// It belongs to a fresh job and said "not there", which means "not yet".
    NotYet {
        /// Not before this moment.
        until: Moment,
    },
    /// It said once that the file is not there, and will be asked once more then.
    Doubted {
        /// Not before this moment.
        until: Moment,
    },
    /// It said for good that the file is not there.
    Dead,
    /// What it gives is of no use, and asking again will not change that.
    Useless,
    /// Its retries are used up.
    Spent,
}

/// One rung of an output's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// Which rung it is.
    pub rung: Rung,
    /// Where it stands.
    pub standing: Standing,
    /// How often in a row it failed in a way that may pass; new bytes begin the count again.
    pub failures: u32,
    /// Whether it has said before that the file is not there.
    pub said_absent: bool,
}

impl SourceState {
    /// A source that was not asked yet.
    #[must_use]
    pub fn untried(rung: Rung) -> Self {
        Self { rung, standing: Standing::Untried, failures: 0, said_absent: false }
    }
}

/// What the job's own times and chances are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobClock {
    /// This moment.
    pub now: Moment,
    /// The job ends here, whatever progress it makes.
    pub deadline: Moment,
    /// Until when "not there" means "not yet": set for a job that was seen pending.
    pub fresh_until: Option<Moment>,
    /// Whether the job may still be asked for fresh links.
    pub may_ask_again: bool,
    /// How many failures in a row a source may have.
    pub retries: u32,
}

impl JobClock {
    fn is_fresh(&self) -> bool {
        self.fresh_until.is_some_and(|until| self.now < until)
    }
}

/// What an output does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try the source at this place of the list.
    Try(usize),
    /// Nothing to do before this moment; hold no slot until then.
    WaitUntil(Moment),
    /// Every source has failed: ask the job for fresh links.
    AskAgain,
    /// There is nothing left to try.
    GiveUp(GiveUp),
}

/// Why an output is given up for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Every source said that there is no such file.
    Gone,
    /// No source will serve, and not all of them because the file is gone.
    Useless,
    /// At least one source may serve at another time.
    Later,
    /// The time of the job is over.
    Deadline,
}

/// What an output does next.
///
/// The first row that holds decides:
///
/// | the clock and the sources | next |
/// | --- | --- |
/// | the deadline is over | give up: deadline |
/// | one is untried | try it, the lowest rung first |
/// | one waits, and its moment has come | try it, the lowest rung first |
/// | one waits | wait until the first of their moments, or the deadline |
/// | none is left, and the job may be asked again | ask again |
/// | none is left: all dead | give up: gone |
/// | none is left: one is spent | give up: later |
/// | none is left | give up: useless |
#[must_use]
pub fn next(sources: &[SourceState], clock: &JobClock) -> Next {
    if clock.now >= clock.deadline {
        return Next::GiveUp(GiveUp::Deadline);
    }
    if let Some(untried) = sources.iter().position(|source| source.standing == Standing::Untried) {
        return Next::Try(untried);
    }
    if let Some(due) =
        sources.iter().position(|source| waits_until(source).is_some_and(|until| until <= clock.now))
    {
        return Next::Try(due);
    }
    if let Some(first) = sources.iter().filter_map(waits_until).min() {
        return Next::WaitUntil(first.min(clock.deadline));
    }
    if clock.may_ask_again {
        return Next::AskAgain;
    }
    let all = |standing| !sources.is_empty() && sources.iter().all(|source| source.standing == standing);
    let any = |standing| sources.iter().any(|source| source.standing == standing);
    Next::GiveUp(match () {
        () if all(Standing::Dead) => GiveUp::Gone,
        () if any(Standing::Spent) => GiveUp::Later,
        () => GiveUp::Useless,
    })
}

fn waits_until(source: &SourceState) -> Option<Moment> {
    match source.standing {
        Standing::Waits { until } | Standing::NotYet { until } | Standing::Doubted { until } => Some(until),
        Standing::Untried | Standing::Dead | Standing::Useless | Standing::Spent => None,
    }
}

/// What a failure says about the source it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    NotThere,
    Nonsense,
    Never,
    Later,
}

fn says(cause: Cause) -> Says {
    match cause {
        Cause::Absent => Says::NotThere,
        // An error page or nothing at all: a host's way to say "not there" without the status.
        Cause::NotMedia | Cause::Empty => Says::Nonsense,
        Cause::InvalidKey
        | Cause::NoCredits
        | Cause::Forbidden
        | Cause::Rejected
        | Cause::JobNotFound
        | Cause::JobFailed
        | Cause::Redirected
        | Cause::BadStatus
        | Cause::Encoded
        | Cause::DigestMismatch
        | Cause::TooLarge
        | Cause::BadUrl
        | Cause::AddressRefused
        | Cause::BadRedirect => Says::Never,
        Cause::RateLimited
        | Cause::ServerError
        | Cause::Malformed
        | Cause::Unreachable
        | Cause::Tls
        | Cause::Broken
        | Cause::Stalled
        | Cause::TooSlow
        | Cause::Incomplete
        | Cause::WrongRange
        | Cause::NotReady
        | Cause::DeadlineOver => Says::Later,
    }
}

/// Where a source stands after a failed attempt; `progress` says whether it came further than any before, `dice` is a
/// random number in `[0, 1)`.
///
/// | the source | the job | stands |
/// | --- | --- | --- |
/// | not there, an error page, or nothing | fresh | not yet |
/// | not there | fresh until a moment ago | dead |
/// | not there, a fresh link | old | dead |
/// | not there, the first time | old | doubted for 10 s |
/// | not there, again | old | dead |
/// | an error page, nothing, or what will not change | old | useless |
/// | may pass, and retries are left | any | waits, the longer the more often it failed in a row |
/// | may pass, and none is left | any | spent |
#[must_use]
pub fn after_failure(
    source: &SourceState,
    failure: &Failure,
    progress: bool,
    clock: &JobClock,
    dice: f64,
) -> SourceState {
    let before = SourceState { failures: if progress { 0 } else { source.failures }, ..*source };
    match says(failure.cause) {
        Says::NotThere | Says::Nonsense if clock.is_fresh() => {
            let wait = failure.retry_after.map_or(NOT_YET_WAIT, |asked| asked.max(NOT_YET_WAIT));
            SourceState {
                standing: Standing::NotYet { until: clock.now + wait },
                said_absent: true,
                ..before
            }
        }
        Says::NotThere if source.said_absent || is_second_answer(source.rung) => {
            SourceState { standing: Standing::Dead, ..before }
        }
        Says::NotThere => SourceState {
            standing: Standing::Doubted { until: clock.now + DOUBT_FOR },
            said_absent: true,
            ..before
        },
        Says::Nonsense | Says::Never => SourceState { standing: Standing::Useless, ..before },
        Says::Later if before.failures >= clock.retries => {
            SourceState { standing: Standing::Spent, ..before }
        }
        Says::Later => {
            let failures = before.failures + 1;
            let until = clock.now + backoff(failures, failure.retry_after, dice);
            SourceState { standing: Standing::Waits { until }, failures, ..before }
        }
    }
}

/// Whether the link comes from a second answer, and so from a job that had its time.
fn is_second_answer(rung: Rung) -> bool {
    match rung {
        Rung::FreshOutput | Rung::FreshProxy | Rung::Inline => true,
        Rung::Output | Rung::Proxy | Rung::Listed => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn clock() -> JobClock {
        JobClock { now: S(100), deadline: S(1_000), fresh_until: None, may_ask_again: true, retries: 2 }
    }

    fn source(rung: Rung, standing: Standing) -> SourceState {
        SourceState { standing, ..SourceState::untried(rung) }
    }

    fn waits(until: u64) -> Standing {
        Standing::Waits { until: S(until) }
    }

    #[test]
    fn the_ladder_is_walked_row_by_row() {
        use Standing::{Dead, Spent, Untried, Useless};
        let doubted = |until| Standing::Doubted { until: S(until) };
        let not_yet = |until| Standing::NotYet { until: S(until) };
        let asked = JobClock { may_ask_again: false, ..clock() };
        let late = JobClock { now: S(1_000), ..clock() };
        let table: [(&str, &[Standing], JobClock, Next); 18] = [
            ("the deadline comes first", &[Untried], late, Next::GiveUp(GiveUp::Deadline)),
            ("the lowest rung first", &[Untried, Untried], clock(), Next::Try(0)),
            ("the other rung at once", &[waits(200), Untried], clock(), Next::Try(1)),
            ("an untried one before one that is due", &[waits(50), Untried], clock(), Next::Try(1)),
            ("one that is due", &[Dead, doubted(100)], clock(), Next::Try(1)),
            ("the lowest of those that are due", &[not_yet(99), waits(98)], clock(), Next::Try(0)),
            ("a moment too early", &[doubted(101), Dead], clock(), Next::WaitUntil(S(101))),
            ("the first of several moments", &[waits(150), not_yet(120)], clock(), Next::WaitUntil(S(120))),
            ("never beyond the deadline", &[waits(5_000)], clock(), Next::WaitUntil(S(1_000))),
            ("a wait before asking again", &[Dead, waits(300)], clock(), Next::WaitUntil(S(300))),
            ("all dead", &[Dead, Dead], clock(), Next::AskAgain),
            ("none of use", &[Useless, Spent], clock(), Next::AskAgain),
            ("no source at all", &[], clock(), Next::AskAgain),
            ("all dead, asked again", &[Dead, Dead, Dead], asked, Next::GiveUp(GiveUp::Gone)),
            ("one spent", &[Dead, Spent], asked, Next::GiveUp(GiveUp::Later)),
            ("spent weighs more than useless", &[Useless, Spent], asked, Next::GiveUp(GiveUp::Later)),
            ("dead and useless", &[Dead, Useless], asked, Next::GiveUp(GiveUp::Useless)),
            ("nothing, asked again", &[], asked, Next::GiveUp(GiveUp::Useless)),
        ];
        for (what, standings, clock, want) in table {
            let sources: Vec<_> = standings.iter().map(|standing| source(Rung::Output, *standing)).collect();
            assert_eq!(next(&sources, &clock), want, "{what}");
        }
    }

    #[test]
    fn a_failed_source_stands_where_its_row_says() {
        let fresh = JobClock { fresh_until: Some(S(101)), ..clock() };
        let just_over = JobClock { fresh_until: Some(S(100)), ..clock() };
        let not_yet = Standing::NotYet { until: S(103) };
        let doubted = Standing::Doubted { until: S(110) };
        let table = [
            (Cause::Absent, Rung::Output, false, 0, fresh, not_yet),
            (Cause::NotMedia, Rung::Output, false, 0, fresh, not_yet),
            (Cause::Empty, Rung::Proxy, false, 2, fresh, not_yet),
            (Cause::Absent, Rung::Output, true, 0, fresh, not_yet),
            (Cause::Absent, Rung::Output, true, 0, just_over, Standing::Dead),
            (Cause::Absent, Rung::FreshOutput, false, 0, clock(), Standing::Dead),
            (Cause::Absent, Rung::FreshProxy, false, 1, clock(), Standing::Dead),
            (Cause::Absent, Rung::Output, false, 0, clock(), doubted),
            (Cause::Absent, Rung::Proxy, false, 2, clock(), doubted),
            (Cause::Absent, Rung::Output, true, 0, clock(), Standing::Dead),
            (Cause::NotMedia, Rung::Output, false, 0, clock(), Standing::Useless),
            (Cause::Empty, Rung::Output, false, 0, clock(), Standing::Useless),
            (Cause::BadStatus, Rung::Output, false, 0, fresh, Standing::Useless),
            (Cause::BadUrl, Rung::Output, false, 0, clock(), Standing::Useless),
            (Cause::Broken, Rung::Output, false, 2, clock(), Standing::Spent),
            (Cause::Stalled, Rung::Output, true, 2, fresh, Standing::Spent),
        ];
        for (cause, rung, said_absent, failures, clock, want) in table {
            let before = SourceState { failures, said_absent, ..SourceState::untried(rung) };
            let got = after_failure(&before, &Failure::new(cause, ""), false, &clock, 0.5);
            assert_eq!(
                (got.standing, got.rung),
                (want, rung),
                "{cause:?} at {rung}, {said_absent}, {failures}"
            );
            let remembers = matches!(want, Standing::NotYet { .. } | Standing::Doubted { .. });
            assert_eq!(
                (got.said_absent, got.failures),
                (said_absent || remembers, failures),
                "{cause:?} at {rung}"
            );
        }
    }

    #[test]
    fn failures_that_may_pass_are_counted_until_bytes_come() {
        let broken = Failure::new(Cause::Broken, "");
        let mut state = SourceState::untried(Rung::Output);
        let mut step = |progress| {
            state = after_failure(&state, &broken, progress, &clock(), 1.0);
            (state.standing, state.failures)
        };
        let half_a_second_later = Standing::Waits { until: S(100) + Duration::from_millis(500) };
        assert_eq!(step(false), (half_a_second_later, 1));
        assert_eq!(step(false), (waits(101), 2));
        assert_eq!(step(true), (half_a_second_later, 1));
        assert_eq!(step(false), (waits(101), 2));
        assert_eq!(step(false), (Standing::Spent, 2));
        let asked = Failure::new(Cause::RateLimited, "").after(Some(S(7)));
        let got = after_failure(&SourceState::untried(Rung::Output), &asked, false, &clock(), 0.0);
        assert_eq!(got.standing, waits(107));
        let slow_to_come = Failure::new(Cause::Absent, "").after(Some(S(8)));
        let fresh = JobClock { fresh_until: Some(S(900)), ..clock() };
        let got = after_failure(&SourceState::untried(Rung::Output), &slow_to_come, false, &fresh, 0.0);
        assert_eq!(got.standing, Standing::NotYet { until: S(108) });
    }

    proptest! {
        #[test]
        fn a_ladder_always_ends(causes in proptest::collection::vec(0..4_usize, 1..80)) {
            let (mut now, mut asked) = (S(0), false);
            let mut sources = vec![SourceState::untried(Rung::Output), SourceState::untried(Rung::Proxy)];
            let mut causes = causes.into_iter().cycle();
            for _ in 0..200 {
                let clock = JobClock { now, deadline: S(600), fresh_until: Some(S(60)), may_ask_again: !asked, retries: 3 };
                match next(&sources, &clock) {
                    Next::Try(place) => {
                        let cause = [Cause::Absent, Cause::Broken, Cause::NotMedia, Cause::BadStatus][causes.next().unwrap()];
                        now += S(1);
                        sources[place] =
                            after_failure(&sources[place], &Failure::new(cause, ""), false, &JobClock { now, ..clock }, 0.9);
                    }
                    Next::WaitUntil(moment) => {
                        prop_assert!(moment > now && moment <= S(600));
                        now = moment;
                    }
                    Next::AskAgain => {
                        prop_assert!(!asked);
                        asked = true;
                        sources.push(SourceState::untried(Rung::FreshOutput));
                    }
                    Next::GiveUp(_) => return Ok(()),
                }
            }
            prop_assert!(false, "it did not end");
        }
    }
}
