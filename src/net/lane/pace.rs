//! How often a host may be asked that refuses whoever asks too often, however few at once.
//!
//! Such hosts count: so many requests a second, with some saved up for later. No window fits them: one request at a time
//! may be too many where answers are quick. But between two refusals what was saved up went from nothing to nothing, so
//! the good answers between them, over the time between them, are what the host gives. That is a [`Pace`], and
//! it is kept until the host was calm for a while; then ever more is tried, up to the next refusal.

use std::time::Duration;

/// The gap after a first refusal of a request that was alone.
const FIRST_GAP: Duration = Duration::from_millis(50);
/// A host that refuses requests further apart than this, each of them alone, gives nothing now.
const LONGEST_GUESS: Duration = Duration::from_secs(3);
/// Fewer good answers than this between two refusals are no measure.
const MEASURE: u64 = 16;
/// What a few answers make believe is stretched by this, so that there are more before the next refusal.
const STRETCH: f64 = 1.25;
/// A measure is made slower by at least this where few answers were enough for a refusal.
const A_LITTLE: f64 = 1.02;
/// After this time without a refusal, or so many requests where that is longer, the pace is tried that was refused.
const CALM_FOR: Duration = Duration::from_secs(30);
const CALM_REQUESTS: u32 = 100;
const CALM_FOR_CAP: Duration = Duration::from_secs(120);
/// Once it would be so many times as fast as it was measured, a pace is forgotten.
const FORGOTTEN_AT: f64 = 8.0;

/// From one request to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    gap: Duration,
    basis: Basis,
}

/// What a pace follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// Refusals without a good answer between them.
    Guess,
    /// Few good answers between two refusals.
    Few,
    /// Enough good answers between two refusals.
    Measured,
}

impl Pace {
    /// For a host that refused a request that was alone.
    pub(super) fn first() -> Self {
        Self { gap: FIRST_GAP, basis: Basis::Guess }
    }

    /// Half of what goes out now, so many at once that take so long each.
    pub(super) fn half_of(window: f64, takes: Duration) -> Self {
        Self { gap: takes.mul_f64(2.0 / window.max(1.0)).min(LONGEST_GUESS), basis: Basis::Guess }
    }

    /// What follows from good answers over the time between two refusals, the second of which came at this pace, if any,
    /// and this gap.
    ///
    /// | answers | the pace before | now |
    /// | --- | --- | --- |
    /// | enough | tried more | what they show, and a quarter of the way to what was refused: a host that saves nothing up gave less than it has |
    /// | enough | else | what they show |
    /// | few | measured | a little slower, as far as they show it |
    /// | few | a guess, or none | what they show, and a quarter slower |
    pub(super) fn measured(before: Option<(Self, Duration)>, time: Duration, answers: u64) -> Self {
        let gap = time.div_f64(answers.max(1) as f64);
        match before {
            Some((before, refused)) if answers >= MEASURE && refused < before.gap.min(gap) => {
                Self { gap: (3 * gap + refused) / 4, basis: Basis::Measured }
            }
            _ if answers >= MEASURE => Self { gap, basis: Basis::Measured },
            Some((before, _)) if before.basis == Basis::Measured => {
                Self { gap: gap.clamp(before.gap.mul_f64(A_LITTLE), before.gap.mul_f64(STRETCH)), ..before }
            }
            _ => Self { gap: gap.mul_f64(STRETCH).min(LONGEST_GUESS), basis: Basis::Few },
        }
    }

    /// After a refusal with nothing good since the last one: half of this pace, where somebody kept to it.
    #[must_use]
    pub(super) fn slower(self, waited: Duration) -> Self {
        Self { gap: if waited < self.gap / 2 { self.gap } else { 2 * self.gap }, basis: Basis::Guess }
    }

    /// Whether the host gives nothing now.
    pub(super) fn is_hopeless(self) -> bool {
        self.basis == Basis::Guess && self.gap > LONGEST_GUESS
    }

    /// The gap after so much time without a refusal, at a host whose answers take so long; `None` where none is needed
    /// any more.
    ///
    /// | calm for | a measured pace |
    /// | --- | --- |
    /// | no time | a hundredth slower than it was measured, since it was refused |
    /// | as long as a host is trusted to change its mind | a hundredth faster |
    /// | twice as long | a third faster |
    /// | three times as long | two and a half times as fast |
    /// | more than four times as long | forgotten |
    ///
    /// What is no measure doubles in a few requests and their answers, up to the next refusal.
    pub(super) fn gap(self, calm_for: Duration, takes: Duration) -> Option<Duration> {
        let faster = self.faster(calm_for, takes);
        (faster < FORGOTTEN_AT).then(|| self.gap.div_f64(faster))
    }

    /// Whether more is tried after so much time without a refusal than was refused or measured.
    pub(super) fn tries_more(self, calm_for: Duration, takes: Duration) -> bool {
        self.faster(calm_for, takes) > 1.0
    }

    fn faster(self, calm_for: Duration, takes: Duration) -> f64 {
        let doubles_in = |requests: u32| calm_for.div_duration_f64((self.gap + takes) * requests).exp2();
        match self.basis {
            Basis::Guess => doubles_in(8),
            Basis::Few => doubles_in(64),
            Basis::Measured => {
                let long = (self.gap * CALM_REQUESTS).clamp(CALM_FOR, CALM_FOR_CAP);
                0.99 + 0.02 * calm_for.div_duration_f64(long).powi(4)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const S: fn(u64) -> Duration = Duration::from_secs;

    fn gaps_ms<const N: usize>(pace: Pace, takes: Duration, calm_s: [u64; N]) -> [Option<u128>; N] {
        calm_s.map(|calm_s| pace.gap(S(calm_s), takes).map(|gap| gap.as_millis()))
    }

    #[test]
    fn a_measured_pace_is_kept_while_the_host_may_still_mind_and_forgotten_when_it_was_calm_for_long() {
        let want = [Some(202), Some(198), Some(152), Some(76), Some(32), None];
        assert_eq!(gaps_ms(Pace::measured(None, S(10), 50), S(1), [0, 30, 60, 90, 120, 135]), want);
        // One that is slow is kept for longer, and the slowest not for ever.
        let want = [Some(50_505), Some(49_504), None];
        assert_eq!(gaps_ms(Pace::measured(None, S(1_000), 20), S(1), [0, 120, 540]), want);
    }

    #[test]
    fn a_guess_is_forgotten_soon_and_few_answers_are_not_much_more() {
        let want = [Some(2_000), Some(1_000), Some(500), None];
        assert_eq!(gaps_ms(Pace::half_of(4.0, S(4)), S(1), [0, 24, 48, 72]), want);
        let few = Pace::measured(None, S(15), 15);
        assert_eq!(few, Pace { gap: MS(1_250), basis: Basis::Few });
        assert_eq!(gaps_ms(few, MS(750), [0, 128, 384]), [Some(1_250), Some(625), None]);
        assert_eq!(Pace::measured(None, S(16), 16), Pace { gap: S(1), basis: Basis::Measured });
        assert_eq!(Pace::measured(None, S(900), 1), Pace { gap: LONGEST_GUESS, basis: Basis::Few });
        let second = Pace::measured(None, S(16), 16);
        let table = [
            (S(1), 2, MS(1_000), MS(1_020)),
            (MS(2_200), 2, MS(1_000), MS(1_100)),
            (S(900), 2, MS(1_000), MS(1_250)),
            (S(18), 20, MS(1_000), MS(900)),
            (S(18), 20, MS(700), MS(850)),
            (S(10), 20, MS(700), MS(500)),
        ];
        for (time, answers, refused, gap) in table {
            let got = Pace::measured(Some((second, refused)), time, answers);
            assert_eq!(
                got,
                Pace { gap, basis: Basis::Measured },
                "{answers} answers in {time:?}, {refused:?}"
            );
        }
    }

    #[test]
    fn a_refused_pace_is_halved_where_it_was_waited_for_until_the_host_gives_nothing() {
        let mut pace = Pace::first();
        assert_eq!(pace.slower(MS(24)), pace, "nobody kept to it");
        let mut refusals = 0;
        while !pace.is_hopeless() {
            pace = pace.slower(pace.gap);
            refusals += 1;
        }
        assert_eq!((refusals, pace.gap), (6, MS(3_200)));
        assert!(!Pace::measured(None, S(900), 90).is_hopeless(), "a slow host gives something");
    }
}
