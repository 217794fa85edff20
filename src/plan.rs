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
    /// It failed in a way that may pass, so many times in a row, and may be tried again then.
    Waits {
        /// Failures since the last progress.
        failures: u32,
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
        Standing::Waits { until, .. } | Standing::NotYet { until } | Standing::Doubted { until } => {
            Some(until)
        }
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

/// Where a source stands after a failed attempt; `progress` says whether the attempt brought new bytes, `dice` is a
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
) -> Standing {
    match says(failure.cause) {
        Says::NotThere | Says::Nonsense if clock.is_fresh() => {
            let wait = failure.retry_after.map_or(NOT_YET_WAIT, |asked| asked.max(NOT_YET_WAIT));
            Standing::NotYet { until: clock.now + wait }
        }
        Says::NotThere if is_last_word(source) => Standing::Dead,
        Says::NotThere => Standing::Doubted { until: clock.now + DOUBT_FOR },
        Says::Nonsense | Says::Never => Standing::Useless,
        Says::Later => {
            let earlier = match source.standing {
                Standing::Waits { failures, .. } if !progress => failures,
                _ => 0,
            };
            let failures = earlier + 1;
            if failures > clock.retries {
                return Standing::Spent;
            }
            Standing::Waits { failures, until: clock.now + backoff(failures, failure.retry_after, dice) }
        }
    }
}

/// Whether one more "not there" settles it.
fn is_last_word(source: &SourceState) -> bool {
    match source.standing {
        Standing::Doubted { .. } | Standing::NotYet { .. } | Standing::Dead => true,
        Standing::Untried | Standing::Waits { .. } | Standing::Useless | Standing::Spent => match source.rung
        {
            Rung::FreshOutput | Rung::FreshProxy | Rung::Inline => true,
            Rung::Output | Rung::Proxy => false,
        },
    }
}

/// What identifies an output's content: the paths of its links, or the digest of bytes in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The paths of its URLs.
    pub paths: Vec<String>,
    /// The digest of its inline bytes.
    pub inline: Option<crate::manifest::Digest>,
}

/// Whether an output is here already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlan {
    /// This record's file serves it.
    Keep(Box<FileRecord>),
    /// It has to be fetched.
    Fetch,
}

/// Which records serve which outputs: a record stays with the output whose link, or whose proxy's link, has the path
/// that the record came from, wherever it stood in the list then. No record serves two outputs.
///
/// | the record's source | the outputs | plan |
/// | --- | --- | --- |
/// | has the path of one | | that one keeps it |
/// | has the path of several | one stood at the record's index | that one keeps it |
/// | has the path of several | none stood there | the first without a record keeps it |
/// | has no such path | | nobody keeps it |
/// | bytes from the answer | one has the same bytes | that one keeps it |
#[must_use]
pub fn keep(outputs: &[Identity], records: &[FileRecord]) -> Vec<FilePlan> {
    let mut plans = vec![FilePlan::Fetch; outputs.len()];
    let mut give = |record: &FileRecord, to: usize| {
        let free = plans[to] == FilePlan::Fetch && serves(record, &outputs[to]);
        if free {
            plans[to] = FilePlan::Keep(Box::new(record.clone()));
        }
        free
    };
    let mut moved: Vec<&FileRecord> = Vec::new();
    for record in records {
        if record.output >= outputs.len() || !give(record, record.output) {
            moved.push(record);
        }
    }
    for record in moved {
        let _ = (0..outputs.len()).any(|to| give(record, to));
    }
    plans
}

fn serves(record: &FileRecord, output: &Identity) -> bool {
    if record.rung == Rung::Inline {
        return output.inline == Some(record.sha256);
    }
    let path = url::Url::parse(&record.source).map(|url| url.path().to_owned());
    path.is_ok_and(|path| output.paths.contains(&path))
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
