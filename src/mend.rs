//! How what verification found is put right: decided from plain values, and done elsewhere.
//!
//! Bytes that are here or in another archive come before a question to the API: they need no key, cost nothing, and
//! are exactly the ones that were lost.

use crate::verdict::Verdict;

/// Where the right bytes may come from. What was tried and did not serve is offered no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Another file of this archive has the same digest in its record.
    pub twin: bool,
    /// Another archive has the file, or the record.
    pub other: bool,
    /// The API may be asked.
    pub ask: bool,
}

/// What is done next about one file or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it should be.
    Keep,
    /// Move it out of the way.
    PutAside,
    /// Copy the twin's bytes.
    CopyTwin,
    /// Copy what the other archive has.
    CopyOther,
    /// Ask for the job, and fetch what is bad.
    Ask,
    /// Nothing can be done: leave it as it is.
    Leave,
}

/// How a file of a job with a sound record is put right.
///
/// | the file | a twin | the other archive | may ask | step |
/// | --- | --- | --- | --- | --- |
/// | whole | | | | keep |
/// | extra | | | | put aside |
/// | damaged, missing, unreadable | yes | | | copy the twin |
/// | damaged, missing, unreadable | no | yes | | copy from the other |
/// | damaged, missing, unreadable | no | no | yes | ask |
/// | damaged, missing, unreadable | no | no | no | leave |
#[must_use]
pub fn file(verdict: &Verdict, offers: Offers) -> Step {
    match verdict {
        Verdict::Whole => Step::Keep,
        Verdict::Extra => Step::PutAside,
        Verdict::Damaged(_) | Verdict::Missing | Verdict::Unreadable(_) => match offers {
            Offers { twin: true, .. } => Step::CopyTwin,
            Offers { other: true, .. } => Step::CopyOther,
            Offers { ask: true, .. } => Step::Ask,
            Offers { .. } => Step::Leave,
        },
    }
}

/// What is known of the record in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// It is sound.
    Sound,
    /// A newer vfetch wrote it.
    Newer,
    /// It is damaged, belongs elsewhere, or is not there.
    Lost,
}

/// How the record of a job is put right.
///
/// | the record | the other archive has a sound one | may ask | step |
/// | --- | --- | --- | --- |
/// | sound | | | keep |
/// | newer | | | leave |
/// | lost | yes | | copy from the other |
/// | lost | no | yes | ask |
/// | lost | no | no | leave |
#[must_use]
pub fn record(state: RecordState, offers: Offers) -> Step {
    match (state, offers) {
        (RecordState::Sound, _) => Step::Keep,
        (RecordState::Lost, Offers { other: true, .. }) => Step::CopyOther,
        (RecordState::Lost, Offers { ask: true, .. }) => Step::Ask,
        (RecordState::Newer | RecordState::Lost, Offers { .. }) => Step::Leave,
    }
}

/// What became of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is right again.
    Healed {
        /// Where the bytes came from, in words.
        from: String,
    },
    /// It was in the way and is in the quarantine now.
    PutAside,
    /// It is gone for good, and recorded so.
    Gone {
        /// What the sources said; may hold a server's text.
        why: String,
    },
    /// It is as it was, or recorded as missing for now.
    Left {
        /// Why.
        why: Left,
    },
}

/// Why a fault was not put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing that was offered has the bytes.
    NoSource(String),
    /// A source may serve at another time.
    Later(String),
    /// The account was refused.
    Refused(String),
    /// This machine failed.
    Local(String),
}

impl Left {
    /// The reason in words; may hold a server's text.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::NoSource(why) | Self::Later(why) | Self::Refused(why) | Self::Local(why) => why,
        }
    }
}

/// A fault and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Where the file is, below the archive's root.
    pub place: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a repair did, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Jobs that were looked at: folders with a record.
    pub jobs: u64,
    /// What is right again.
    pub healed: u64,
    /// What was in the way.
    pub put_aside: u64,
    /// What is gone for good.
    pub gone: u64,
    /// What is left because nothing that was offered has the bytes.
    pub no_source: u64,
    /// What may be put right at another time.
    pub later: u64,
    /// What the account was refused for.
    pub refused: u64,
    /// What this machine failed at.
    pub local: u64,
}

impl Repair {
    /// Adds one fault.
    pub fn note(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Healed { .. } => &mut self.healed,
            Outcome::PutAside => &mut self.put_aside,
            Outcome::Gone { .. } => &mut self.gone,
            Outcome::Left { why: Left::NoSource(_) } => &mut self.no_source,
            Outcome::Left { why: Left::Later(_) } => &mut self.later,
            Outcome::Left { why: Left::Refused(_) } => &mut self.refused,
            Outcome::Left { why: Left::Local(_) } => &mut self.local,
        };
        *count += 1;
    }

    /// The exit code of a repair that no signal ended: 0 all is right, 1 something is gone or has no source, 3 the account
    /// was refused, 4 try again, 5 this machine failed; where several hold, the first of 3, 5, 1, 4.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self { refused: 1.., .. } => 3,
            Self { local: 1.., .. } => 5,
            Self { gone: 1.., .. } | Self { no_source: 1.., .. } => 1,
            Self { later: 1.., .. } => 4,
            Self { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Damage;

    const NONE: Offers = Offers { twin: false, other: false, ask: false };

    #[test]
    fn the_nearest_bytes_come_first() {
        let table = [
            (Offers { twin: true, other: true, ask: true }, Step::CopyTwin),
            (Offers { twin: true, ..NONE }, Step::CopyTwin),
            (Offers { other: true, ask: true, ..NONE }, Step::CopyOther),
            (Offers { other: true, ..NONE }, Step::CopyOther),
            (Offers { ask: true, ..NONE }, Step::Ask),
            (NONE, Step::Leave),
        ];
        let faults = [Verdict::Damaged(Damage::NotAFile), Verdict::Missing, Verdict::Unreadable("x".into())];
        for (offers, want) in table {
            for verdict in &faults {
                assert_eq!(file(verdict, offers), want, "{verdict:?} {offers:?}");
            }
            assert_eq!(file(&Verdict::Whole, offers), Step::Keep);
            assert_eq!(file(&Verdict::Extra, offers), Step::PutAside);
        }
    }

    #[test]
    fn a_lost_record_comes_from_the_other_archive_or_from_the_api() {
        let table = [
            (RecordState::Sound, Offers { other: true, ask: true, ..NONE }, Step::Keep),
            (RecordState::Newer, Offers { other: true, ask: true, ..NONE }, Step::Leave),
            (RecordState::Lost, Offers { other: true, ask: true, ..NONE }, Step::CopyOther),
            (RecordState::Lost, Offers { ask: true, ..NONE }, Step::Ask),
            (RecordState::Lost, Offers { twin: true, ..NONE }, Step::Leave),
            (RecordState::Lost, NONE, Step::Leave),
        ];
        for (state, offers, want) in table {
            assert_eq!(record(state, offers), want, "{state:?} {offers:?}");
        }
    }

    #[test]
    fn what_was_left_says_why_in_the_words_of_its_failure() {
        for left in [Left::NoSource, Left::Later, Left::Refused, Left::Local] {
            assert_eq!(left("the disk is full".into()).words(), "the disk is full");
        }
    }

    #[test]
    fn the_worst_that_was_left_decides_the_exit_code() {
        let left = |why: fn(String) -> Left| Outcome::Left { why: why(String::new()) };
        let healed = Outcome::Healed { from: String::new() };
        let gone = Outcome::Gone { why: String::new() };
        let table: [(&[Outcome], u8); 8] = [
            (&[], 0),
            (&[healed.clone(), Outcome::PutAside], 0),
            (&[healed.clone(), left(Left::Later)], 4),
            (&[left(Left::Later), gone], 1),
            (&[left(Left::Later), left(Left::NoSource)], 1),
            (&[left(Left::NoSource), left(Left::Local)], 5),
            (&[left(Left::Local), left(Left::Refused)], 3),
            (&[left(Left::Refused), healed], 3),
        ];
        for (outcomes, want) in table {
            let mut repair = Repair::default();
            for outcome in outcomes {
                repair.note(outcome);
            }
            assert_eq!(repair.exit_code(), want, "{outcomes:?}");
        }
    }
}
