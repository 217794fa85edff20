//! What to do next, decided from plain values: no clock, no dice, no network, no disk.
//!
//! - [`next`] walks the ladder of sources of one output: which one now, wait until when, ask the job again, give up.
//! - [`after_failure`] says where a source stands once an attempt has failed.
//! - [`keep`] tells which files of a record serve an output, so that only the others are fetched.
//! - [`resume`] and [`judge_answer`] decide whether bytes may be appended to a part, and never splice two contents.
//!
//! Moments are durations since the run began, as a clock that never jumps counts them.

use std::time::Duration;

use crate::manifest::{FileRecord, Rung};
use crate::retry::{Cause, Failure, backoff};

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

/// What identifies an output's content: the paths of its links, or the digest of bytes in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The paths of its URLs.
    pub paths: Vec<String>,
    /// The digest of its inline bytes.
    pub inline: Option<crate::sha256::Digest>,
}

/// Whether an output is here already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlan {
    /// This record's file serves it.
    Keep(Box<FileRecord>),
    /// It has to be fetched.
    Fetch,
}

/// Which records serve which outputs: a record stays with the output one of whose links has the path that the record
/// came from, wherever it stood in the list then. No record serves two outputs. A file that came from the account's
/// listing may have a link that no later answer repeats, and be the last copy there is: it stays in its place.
///
/// | the record's source | the outputs | plan |
/// | --- | --- | --- |
/// | has the path of one | | that one keeps it |
/// | has the path of several | one stood at the record's index | that one keeps it |
/// | has the path of several | none stood there | the first without a record keeps it |
/// | has no such path | | nobody keeps it |
/// | has no such path, and came from the listing | the one at the record's index has no record | that one keeps it |
/// | bytes from the answer | one has the same bytes | that one keeps it |
#[must_use]
pub fn keep(outputs: &[Identity], records: &[FileRecord]) -> Vec<FilePlan> {
    let mut plans = vec![FilePlan::Fetch; outputs.len()];
    let mut give = |record: &FileRecord, path: Option<&String>, to: usize| {
        let free = plans[to] == FilePlan::Fetch && serves(record, path, &outputs[to]);
        if free {
            plans[to] = FilePlan::Keep(Box::new(record.clone()));
        }
        free
    };
    let mut moved: Vec<(&FileRecord, Option<String>)> = Vec::new();
    for record in records {
        let path = url::Url::parse(&record.source).ok().map(|url| url.path().to_owned());
        if record.output >= outputs.len() || !give(record, path.as_ref(), record.output) {
            moved.push((record, path));
        }
    }
    moved.retain(|(record, path)| !(0..outputs.len()).any(|to| give(record, path.as_ref(), to)));
    for (record, _) in moved.into_iter().filter(|(record, _)| record.rung == Rung::Listed) {
        if let Some(free) = plans.get_mut(record.output).filter(|plan| **plan == FilePlan::Fetch) {
            *free = FilePlan::Keep(Box::new(record.clone()));
        }
    }
    plans
}

/// Keeps what [`keep`] gave to nobody in the place that its record has: for a repair, which changes nothing but what is
/// bad. `false` where one has no place among these outputs.
///
/// | the record | the output at its index | |
/// | --- | --- | --- |
/// | serves an output | | stays there |
/// | serves none | is to be fetched | keeps it |
/// | serves none | is kept by another record, or does not exist | `false` |
#[must_use]
pub fn keep_the_others(plans: &mut [FilePlan], records: &[FileRecord]) -> bool {
    let placed = |plans: &[FilePlan], record: &FileRecord| {
        plans.iter().any(|plan| matches!(plan, FilePlan::Keep(kept) if kept.path == record.path))
    };
    records.iter().all(|record| {
        if placed(plans, record) {
            return true;
        }
        match plans.get_mut(record.output) {
            Some(free @ FilePlan::Fetch) => {
                *free = FilePlan::Keep(Box::new(record.clone()));
                true
            }
            Some(FilePlan::Keep(_)) | None => false,
        }
    })
}

/// Whether a record whose source has this path is of the output's content.
fn serves(record: &FileRecord, path: Option<&String>, output: &Identity) -> bool {
    if record.rung == Rung::Inline {
        return output.inline == Some(record.sha256);
    }
    path.is_some_and(|path| output.paths.contains(path))
}

/// A part of a file that an earlier attempt left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The source it came from, without what may be secret.
    pub source: String,
    /// The host's `ETag`.
    pub etag: Option<String>,
    /// The length of the whole, where the host told it.
    pub total: Option<u64>,
    /// How many bytes are here.
    pub bytes: u64,
}

/// How to ask for a file of which a part may be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From the first byte.
    Restart,
    /// The bytes from `from` on, if the content still has this validator.
    Continue {
        /// How many bytes are here.
        from: u64,
        /// The strong validator for `If-Range`.
        etag: String,
        /// The length of the whole, where it is known.
        total: Option<u64>,
    },
}

/// Whether a part may be continued.
///
/// | the part | resume |
/// | --- | --- |
/// | none, or without bytes | restart |
/// | of another source | restart |
/// | no `ETag`, or a weak or malformed one | restart |
/// | as long as the whole, or longer | restart |
/// | of this source, with a strong `ETag` | continue |
#[must_use]
pub fn resume(part: Option<&Part>, source: &str) -> Resume {
    let Some(part) = part else { return Resume::Restart };
    let strong = part.etag.as_deref().filter(|etag| is_strong(etag));
    match strong {
        Some(etag)
            if part.bytes > 0
                && part.source == source
                && part.total.is_none_or(|total| part.bytes < total) =>
        {
            Resume::Continue { from: part.bytes, etag: etag.into(), total: part.total }
        }
        _ => Resume::Restart,
    }
}

/// Whether an `ETag` is a strong validator: quoted, not marked `W/`, and without what a header cannot repeat.
#[must_use]
pub fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| {
        !inner.is_empty() && inner.bytes().all(|b| b == 0x21 || (0x23..=0x7e).contains(&b))
    })
}

/// What a host's answer says about the range it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 200, 206 or 416; other statuses are failures before this is asked.
    pub status: u16,
    /// The `ETag` header.
    pub etag: Option<&'a str>,
    /// The `Content-Range` header.
    pub content_range: Option<&'a str>,
    /// The `Content-Length` header.
    pub content_length: Option<u64>,
}

/// What to do with an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is the whole: begin again at the first byte.
    Whole {
        /// Its length, where the host told it.
        total: Option<u64>,
    },
    /// It continues the part.
    Rest {
        /// The length of the whole.
        total: u64,
    },
    /// It is not what was asked for: drop the part, and ask from the first byte.
    Refuse(&'static str),
}

/// Whether an answer may be appended.
///
/// | asked | status | the answer | body |
/// | --- | --- | --- | --- |
/// | any | 200 | | whole |
/// | restart | 206 | | refuse: not asked for |
/// | continue | 206 | no readable `Content-Range`, or without a total | refuse |
/// | continue | 206 | another start, or an end that is not the total's | refuse |
/// | continue | 206 | another total than was known, or a length that is not the range's | refuse |
/// | continue | 206 | another `ETag`, or none | refuse |
/// | continue | 206 | all as asked | rest |
/// | any | else | | refuse |
#[must_use]
pub fn judge_answer(asked: &Resume, answer: &Answer<'_>) -> Body {
    match (asked, answer.status) {
        (_, 200) => Body::Whole { total: answer.content_length },
        (Resume::Restart, 206) => Body::Refuse("a part came though the whole was asked for"),
        (Resume::Continue { from, etag, total }, 206) => judge_rest(*from, etag, *total, answer),
        _ => Body::Refuse("the range is not to be had"),
    }
}

fn judge_rest(from: u64, etag: &str, known_total: Option<u64>, answer: &Answer<'_>) -> Body {
    let Some(range) = answer.content_range.and_then(ContentRange::parse) else {
        return Body::Refuse("a part came without saying which");
    };
    let rest = range.total - from.min(range.total);
    match () {
        () if range.first != from => Body::Refuse("the part begins elsewhere"),
        () if range.last + 1 != range.total => Body::Refuse("the part does not reach the end"),
        () if known_total.is_some_and(|known| known != range.total) => {
            Body::Refuse("the whole has another length now")
        }
        () if answer.content_length.is_some_and(|length| length != rest) => {
            Body::Refuse("the part's length is not that of its range")
        }
        () if answer.etag != Some(etag) => Body::Refuse("the content has changed"),
        () => Body::Rest { total: range.total },
    }
}

/// A `Content-Range` header of a satisfied range with a known total: `bytes 5-9/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte's offset.
    pub first: u64,
    /// The last byte's offset.
    pub last: u64,
    /// The length of the whole.
    pub total: u64,
}

impl ContentRange {
    /// Reads the header; `None` for what is malformed, impossible, or without a total.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, rest) = header.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let parsed = Self { first: number(first)?, last: number(last)?, total: number(total)? };
        (unit.eq_ignore_ascii_case("bytes") && parsed.first <= parsed.last && parsed.last < parsed.total)
            .then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::sha256::Digest;
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

    fn record(output: usize, source: &str, rung: Rung) -> FileRecord {
        serde_json::from_value(serde_json::json!({
            "output": output, "path": format!("147-{output}.gif"), "bytes": 3, "sha256": Digest::of(source.as_bytes()),
            "kind": "gif", "source": source, "rung": rung, "attempts": 1, "archived_at": "2026-01-02T03:04:05Z"
        }))
        .unwrap()
    }

    fn paths(paths: &[&str]) -> Identity {
        Identity { paths: paths.iter().map(ToString::to_string).collect(), inline: None }
    }

    fn kept(outputs: &[Identity], records: &[FileRecord]) -> Vec<Option<usize>> {
        let source_of = |plan| match plan {
            FilePlan::Keep(record) => Some(records.iter().position(|other| *other == *record).unwrap()),
            FilePlan::Fetch => None,
        };
        keep(outputs, records).into_iter().map(source_of).collect()
    }

    #[test]
    fn a_record_stays_with_the_output_whose_path_it_came_from() {
        let (a, b) = ("https://m.test/x/a.gif", "https://proxy.test/x/b.gif");
        let (of_a, of_b) = (record(0, a, Rung::Output), record(1, b, Rung::Proxy));
        let both = [of_a.clone(), of_b.clone()];
        assert_eq!(kept(&[paths(&["/x/a.gif"]), paths(&["/y", "/x/b.gif"])], &both), [Some(0), Some(1)]);
        assert_eq!(
            kept(&[paths(&["/x/b.gif"]), paths(&["/x/a.gif"])], &both),
            [Some(1), Some(0)],
            "another order"
        );
        assert_eq!(
            kept(&[paths(&["/x/c.gif"]), paths(&["/x/a.gif"])], &both),
            [None, Some(0)],
            "never by index"
        );
        let twice = [paths(&["/x/a.gif"]), paths(&["/x/a.gif"])];
        assert_eq!(kept(&twice, std::slice::from_ref(&of_a)), [Some(0), None], "one record, one output");
        let second = record(1, a, Rung::Output);
        assert_eq!(kept(&twice, &[second.clone(), of_a.clone()]), [Some(1), Some(0)], "its own index first");
        assert_eq!(
            kept(&[paths(&["/x/a.gif"])], &[record(9, a, Rung::Output)]),
            [Some(0)],
            "an index too high"
        );
        assert_eq!(kept(&[paths(&[""])], &[record(0, "", Rung::Output)]), [None], "no source is no match");
        let inline = Identity { paths: vec![], inline: Some(Digest::of(b"")) };
        assert_eq!(kept(&[inline], &[record(0, "", Rung::Inline)]), [Some(0)]);
        assert_eq!(kept(&[paths(&[])], &[record(0, "", Rung::Inline)]), [None]);
    }

    #[test]
    fn a_file_of_the_listing_stays_in_its_place_where_no_answer_repeats_its_link() {
        let (a, b) = ("https://m.test/x/a.gif", "https://m.test/x/b.gif");
        let listed = |output, source| record(output, source, Rung::Listed);
        let other = [paths(&["/y"]), paths(&["/z"])];
        assert_eq!(kept(&other, &[listed(1, a)]), [None, Some(0)]);
        assert_eq!(kept(&other, &[listed(2, a)]), [None, None], "there is no such place");
        let moved = [paths(&["/x/b.gif"]), paths(&["/x/a.gif"])];
        assert_eq!(
            kept(&moved, &[listed(0, a), listed(1, b)]),
            [Some(1), Some(0)],
            "a link that is repeated decides"
        );
        let taken = [listed(0, a), record(0, b, Rung::Output)];
        assert_eq!(kept(&[paths(&["/x/b.gif"])], &taken), [Some(1)], "and so does another file's");
    }

    #[test]
    fn a_repair_keeps_what_is_not_bad_whatever_the_answer_says() {
        let (a, b) = ("https://m.test/x/a.gif", "https://m.test/x/b.gif");
        let (of_a, of_b) = (record(0, a, Rung::Output), record(1, b, Rung::Output));
        let mended = |outputs: &[Identity], records: &[FileRecord]| {
            let mut plans = keep(outputs, records);
            let all = keep_the_others(&mut plans, records);
            let path = |plan: &FilePlan| match plan {
                FilePlan::Keep(record) => record.path.clone(),
                FilePlan::Fetch => String::new(),
            };
            (plans.iter().map(path).collect::<Vec<_>>(), all)
        };
        let new = || paths(&["/new"]);
        let names = |names: [&str; 2]| names.map(String::from).to_vec();
        let only_b = std::slice::from_ref(&of_b);
        assert_eq!(mended(&[new(), new()], only_b), (names(["", "147-1.gif"]), true));
        assert_eq!(mended(&[paths(&["/x/b.gif"]), new()], only_b), (names(["147-1.gif", ""]), true));
        assert!(!mended(&[new()], only_b).1, "the output is not there any more");
        assert!(
            !mended(&[paths(&["/x/b.gif"]), paths(&["/x/c.gif"])], &[of_a, of_b]).1,
            "its place is taken"
        );
    }

    #[test]
    fn a_part_is_continued_only_where_its_row_allows_it() {
        let part = |etag: Option<&str>, bytes, total| Part {
            source: "https://m.test/a".into(),
            etag: etag.map(Into::into),
            total,
            bytes,
        };
        let strong = Some("\"v1\"");
        let go_on = |total| Resume::Continue { from: 5, etag: "\"v1\"".into(), total };
        let table = [
            ("none", None, Resume::Restart),
            ("no bytes", Some(part(strong, 0, Some(9))), Resume::Restart),
            ("no validator", Some(part(None, 5, Some(9))), Resume::Restart),
            ("a weak one", Some(part(Some("W/\"v1\""), 5, Some(9))), Resume::Restart),
            ("an unquoted one", Some(part(Some("v1"), 5, Some(9))), Resume::Restart),
            ("an empty one", Some(part(Some("\"\""), 5, Some(9))), Resume::Restart),
            ("one that no header can repeat", Some(part(Some("\"a\nb\""), 5, Some(9))), Resume::Restart),
            ("one with a quote inside", Some(part(Some("\"a\"b\""), 5, Some(9))), Resume::Restart),
            ("whole already", Some(part(strong, 9, Some(9))), Resume::Restart),
            ("too long", Some(part(strong, 10, Some(9))), Resume::Restart),
            ("sound", Some(part(strong, 5, Some(9))), go_on(Some(9))),
            ("sound, length unknown", Some(part(strong, 5, None)), go_on(None)),
        ];
        for (what, part, want) in table {
            assert_eq!(resume(part.as_ref(), "https://m.test/a"), want, "{what}");
        }
        assert_eq!(
            resume(Some(&part(strong, 5, Some(9))), "https://proxy.test/a"),
            Resume::Restart,
            "another source"
        );
    }

    #[test]
    fn an_answer_is_appended_only_where_everything_matches() {
        let asked = Resume::Continue { from: 5, etag: "\"v1\"".into(), total: Some(9) };
        let blind = Resume::Continue { from: 5, etag: "\"v1\"".into(), total: None };
        let good = Answer {
            status: 206,
            etag: Some("\"v1\""),
            content_range: Some("bytes 5-8/9"),
            content_length: Some(4),
        };
        let with = |content_range| Answer { content_range, content_length: None, ..good };
        assert_eq!(judge_answer(&asked, &good), Body::Rest { total: 9 });
        assert_eq!(judge_answer(&asked, &Answer { content_length: None, ..good }), Body::Rest { total: 9 });
        assert_eq!(judge_answer(&blind, &with(Some("bytes 5-19/20"))), Body::Rest { total: 20 });
        let whole = Answer { status: 200, content_length: Some(9), ..good };
        for any in [&asked, &blind, &Resume::Restart] {
            assert_eq!(judge_answer(any, &whole), Body::Whole { total: Some(9) });
            assert!(matches!(judge_answer(any, &Answer { status: 416, ..good }), Body::Refuse(_)));
        }
        let refused = [
            (&Resume::Restart, good, "a part came though the whole was asked for"),
            (&asked, with(None), "a part came without saying which"),
            (&asked, with(Some("bytes 5-8/*")), "a part came without saying which"),
            (&asked, with(Some("bytes 4-8/9")), "the part begins elsewhere"),
            (&asked, with(Some("bytes 6-8/9")), "the part begins elsewhere"),
            (&asked, with(Some("bytes 5-7/9")), "the part does not reach the end"),
            (&asked, with(Some("bytes 5-9/10")), "the whole has another length now"),
            (
                &asked,
                Answer { content_length: Some(5), ..good },
                "the part's length is not that of its range",
            ),
            (&asked, Answer { etag: Some("\"v2\""), ..good }, "the content has changed"),
            (&asked, Answer { etag: Some("W/\"v1\""), ..good }, "the content has changed"),
            (&asked, Answer { etag: None, ..good }, "the content has changed"),
        ];
        for (asked, answer, why) in refused {
            assert_eq!(judge_answer(asked, &answer), Body::Refuse(why), "{asked:?} {answer:?}");
        }
    }

    #[test]
    fn content_ranges_are_read_strictly() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        let table = [
            ("bytes 5-8/9", range(5, 8, 9)),
            (" Bytes 0-0/1 ", range(0, 0, 1)),
            ("bytes 5-8/*", None),
            ("bytes */9", None),
            ("bytes 5-9/9", None),
            ("bytes 8-5/9", None),
            ("bytes -5-8/9", None),
            ("bytes +5-8/9", None),
            ("bytes 5-8", None),
            ("items 5-8/9", None),
            ("bytes 5-8/99999999999999999999999", None),
            ("bytes 5-/9", None),
            ("", None),
        ];
        for (header, want) in table {
            assert_eq!(ContentRange::parse(header), want, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_content_range_never_panics(header in ".{0,40}") {
            let _ = ContentRange::parse(&header);
        }

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
