//! Why an attempt failed, and how long to wait before the next one.
//!
//! Everything that can go wrong with one request is a [`Cause`]. Its [`Class`] is recorded here, once, where the
//! meaning is known, so that nobody has to guess it later from a status or a text. Waiting is decided here too, as
//! plain numbers: this module reads no clock and throws no dice, its callers bring both.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest wait that a server may ask for; a longer `Retry-After` is cut to it.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);
/// The upper bound of the first back-off; full jitter draws below it.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// No back-off grows beyond this.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// No two attempts at the same thing come closer than this, whatever the dice say.
pub const BACKOFF_FLOOR: Duration = Duration::from_millis(250);
/// The bounds within which a server's estimate is believed: shorter would hurry it, longer would miss an early end.
const ETA_BOUNDS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The wait between polls once the estimate is used up (the vendor's own samples poll each 5 to 10 s).
const POLL_FIRST: Duration = Duration::from_secs(5);
/// Polls slow down to this.
const POLL_LAST: Duration = Duration::from_secs(15);
/// How much a wait between polls grows from one to the next.
const POLL_GROWTH: f64 = 1.25;
/// Polls are spread by this share of their wait, so that thousands of jobs do not ask in step.
const POLL_JITTER: f64 = 0.2;

/// Why one attempt failed: the cause, what was seen, and how long the server asked to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Failure {
    /// What kind of failure it was.
    pub cause: Cause,
    /// What was seen, in words; may hold a server's text and is escaped only when it is shown.
    pub detail: String,
    /// How long the server asked to wait, already capped.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of this cause with what was seen.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), retry_after: None }
    }

    /// The same failure with the wait that the server asked for, cut to [`RETRY_AFTER_CAP`].
    #[must_use]
    pub fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait.map(|wait| wait.min(RETRY_AFTER_CAP));
        self
    }

    /// What follows from this failure for the job.
    #[must_use]
    pub fn class(&self) -> Class {
        self.cause.class()
    }
}

/// What kind of failure an attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The API does not know this key (401).
    InvalidKey,
    /// The account has no credits left (402).
    NoCredits,
    /// The account's plan does not allow this (403).
    Forbidden,
    /// The API refused the request as malformed (400).
    Rejected,
    /// The API does not know this job.
    JobNotFound,
    /// The API says that the job itself failed.
    JobFailed,
    /// The API answered with a redirect, which is never followed: the key is in the request's body.
    Redirected,
    /// The host asked to slow down (429).
    RateLimited,
    /// The host is in trouble (5xx).
    ServerError,
    /// The answer cannot be understood.
    Malformed,
    /// No connection could be made: refused, unreachable, or the name does not resolve.
    Unreachable,
    /// The host's certificate is not trusted, or TLS failed otherwise.
    Tls,
    /// The connection broke before the answer was whole.
    Broken,
    /// Nothing came for too long.
    Stalled,
    /// Bytes came, but fewer than the least speed.
    TooSlow,
    /// The source answered 403, 404 or 410: no such file, or not yet.
    Absent,
    /// The source answered with another status that will not change by asking again.
    BadStatus,
    /// The bytes are an error page or another document, not media.
    NotMedia,
    /// The answer had no bytes.
    Empty,
    /// The file ends before its container does.
    Incomplete,
    /// The bytes came in an encoding that was not asked for.
    Encoded,
    /// The answer's range is not the one that was asked for.
    WrongRange,
    /// The bytes are not those that the host's own digest names.
    DigestMismatch,
    /// The file is larger than allowed.
    TooLarge,
    /// The URL cannot be fetched: garbage, or a scheme other than http and https.
    BadUrl,
    /// The address is private, and private hosts are not allowed.
    AddressRefused,
    /// The redirects do not end, or lead where they must not.
    BadRedirect,
    /// The service has no link for it now: its place in the answer is empty, or a second answer lacks it.
    NotReady,
    /// The time given to the whole job is over.
    DeadlineOver,
}

/// What follows from a failure. What fails on this machine, a full disk or a lock, is no attempt's failure and has no
/// class: the engine's own error says how much that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The account is refused: other jobs will fare no better.
    Auth,
    /// Asking again will not change the answer.
    Permanent,
    /// It may pass: wait and try again.
    Transient,
}

impl Cause {
    /// What follows from this cause for the job.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::InvalidKey | Self::NoCredits | Self::Forbidden => Class::Auth,
            Self::Rejected
            | Self::JobNotFound
            | Self::JobFailed
            | Self::Redirected
            | Self::Absent
            | Self::BadStatus
            | Self::NotMedia
            | Self::TooLarge
            | Self::BadUrl
            | Self::AddressRefused
            | Self::BadRedirect
            | Self::Empty
            | Self::Encoded
            | Self::DigestMismatch => Class::Permanent,
            Self::RateLimited
            | Self::ServerError
            | Self::Malformed
            | Self::Unreachable
            | Self::Tls
            | Self::Broken
            | Self::Stalled
            | Self::TooSlow
            | Self::Incomplete
            | Self::WrongRange
            | Self::NotReady
            | Self::DeadlineOver => Class::Transient,
        }
    }

    /// The cause in a few words, for people; failures are grouped by it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::InvalidKey => "the API does not accept this key",
            Self::NoCredits => "the account has no credits left",
            Self::Forbidden => "the account's plan does not allow this",
            Self::Rejected => "the API refused the request",
            Self::JobNotFound => "the API does not know this job",
            Self::JobFailed => "the job failed at the service",
            Self::Redirected => "the API answered with a redirect, which is never followed",
            Self::RateLimited => "the host asks to slow down",
            Self::ServerError => "the host is in trouble",
            Self::Malformed => "the answer cannot be understood",
            Self::Unreachable => "no connection",
            Self::Tls => "no trusted TLS connection",
            Self::Broken => "the connection broke",
            Self::Stalled => "nothing came for too long",
            Self::TooSlow => "the transfer was too slow",
            Self::Absent => "the file is not there",
            Self::BadStatus => "the host refused the file",
            Self::NotMedia => "a document came in place of media",
            Self::Empty => "the file is empty",
            Self::Incomplete => "the file is cut short",
            Self::Encoded => "the bytes came in an encoding that was not asked for",
            Self::WrongRange => "the answer is not the range that was asked for",
            Self::DigestMismatch => "the bytes are not those that the host's digest names",
            Self::TooLarge => "the file is too large",
            Self::BadUrl => "the address cannot be fetched",
            Self::AddressRefused => "the address is private",
            Self::BadRedirect => "the redirects lead nowhere",
            Self::NotReady => "the service has no link for it now",
            Self::DeadlineOver => "the time for this job is over",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The wait before attempt `failures + 1`: full jitter below a bound that doubles from 0.5 s to 30 s, or what the
/// server asked for where that is longer.
///
/// `dice` is a random number in `[0, 1)`.
#[must_use]
pub fn backoff(failures: u32, asked: Option<Duration>, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_CAP);
    let own = bound.mul_f64(dice.clamp(0.0, 1.0)).max(BACKOFF_FLOOR);
    asked.map_or(own, |asked| asked.min(RETRY_AFTER_CAP).max(own))
}

/// When to ask a pending job again.
///
/// | wait | length |
/// | --- | --- |
/// | the first | the server's estimate, held between 2 s and 60 s; 5 s where it gave none |
/// | the later ones | 5 s, growing by a quarter each time to 15 s, spread by a fifth |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollSchedule {
    waits: u32,
}

impl PollSchedule {
    /// The wait before the next poll; `dice` is a random number in `[0, 1)`.
    pub fn next_wait(&mut self, eta: Option<Duration>, dice: f64) -> Duration {
        let earlier = self.waits;
        self.waits = earlier.saturating_add(1);
        match (earlier, eta) {
            (0, Some(eta)) => eta.clamp(ETA_BOUNDS.0, ETA_BOUNDS.1),
            (0, None) => POLL_FIRST,
            (later, _) => {
                let growth = POLL_GROWTH.powi(i32::try_from(later - 1).unwrap_or(i32::MAX));
                let steady = (POLL_FIRST.as_secs_f64() * growth).min(POLL_LAST.as_secs_f64());
                let spread = 1.0 + POLL_JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
                Duration::from_secs_f64(steady * spread)
            }
        }
    }
}

/// Reads a `Retry-After` header: seconds, or an HTTP date, of which `now_unix_s` is taken off.
///
/// Garbage, negative numbers and dates in the past are `None`: the header is then treated as absent.
#[must_use]
pub fn retry_after(header: &str, now_unix_s: u64) -> Option<Duration> {
    let text = header.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u64>().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_CAP));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let until = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs().checked_sub(now_unix_s)?;
    (until > 0).then(|| Duration::from_secs(until).min(RETRY_AFTER_CAP))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_back_off_doubles_to_its_cap_and_keeps_to_the_dice() {
        let table = [
            (1, 0.999_999, MS(500)),
            (2, 0.999_999, MS(1_000)),
            (3, 0.5, MS(1_000)),
            (7, 0.999_999, MS(30_000)),
            (u32::MAX, 0.999_999, MS(30_000)),
            (1, 0.0, MS(250)),
            (0, 0.0, MS(250)),
        ];
        for (failures, dice, want) in table {
            let got = backoff(failures, None, dice);
            assert!(got.abs_diff(want) < MS(1), "{failures} failures, dice {dice}: {got:?}, not {want:?}");
        }
    }

    #[test]
    fn a_server_that_asks_for_more_time_gets_it_up_to_the_cap() {
        assert_eq!(backoff(1, Some(MS(7_000)), 0.5), MS(7_000));
        assert_eq!(backoff(1, Some(Duration::from_secs(999_999_999)), 0.5), RETRY_AFTER_CAP);
        assert_eq!(backoff(4, Some(MS(1)), 0.5), MS(2_000));
    }

    #[test]
    fn polls_follow_the_estimate_first_and_then_slow_down_to_fifteen_seconds() {
        let mut polls = PollSchedule::default();
        let eta = Some(Duration::from_secs(960));
        assert_eq!(polls.next_wait(eta, 0.5), MS(60_000));
        let later: Vec<_> = (0..7).map(|_| polls.next_wait(eta, 0.5).as_millis()).collect();
        assert_eq!(later, [5_000, 6_250, 7_812, 9_765, 12_207, 15_000, 15_000]);
        assert_eq!(PollSchedule::default().next_wait(Some(MS(1)), 0.5), MS(2_000));
        assert_eq!(PollSchedule::default().next_wait(None, 0.5), MS(5_000));
        assert_eq!(PollSchedule { waits: u32::MAX }.next_wait(None, 0.0), MS(12_000));
        assert_eq!(PollSchedule { waits: 1 }.next_wait(None, 1.0), MS(6_000));
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_treats_the_rest_as_absent() {
        let now = 1_700_000_000;
        let at =
            |offset: u64| httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(now + offset));
        let table: [(String, Option<u64>); 12] = [
            ("1".into(), Some(1)),
            (" 12 ".into(), Some(12)),
            ("999999999".into(), Some(60)),
            ("99999999999999999999999999".into(), Some(60)),
            ("-5".into(), None),
            ("soon".into(), None),
            (String::new(), None),
            (at(9), Some(9)),
            (at(1), Some(1)),
            (at(0), None),
            (at(9_999), Some(60)),
            (httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(now - 9)), None),
        ];
        for (header, want) in table {
            assert_eq!(retry_after(&header, now), want.map(Duration::from_secs), "{header:?}");
        }
    }

    #[test]
    fn a_failure_reads_as_its_cause_and_what_was_seen() {
        assert_eq!(
            Failure::new(Cause::Broken, "after 12 bytes").to_string(),
            "the connection broke: after 12 bytes"
        );
        assert_eq!(Failure::new(Cause::Empty, "").to_string(), "the file is empty");
        let capped = Failure::new(Cause::RateLimited, "").after(Some(Duration::MAX));
        assert_eq!(capped.retry_after, Some(RETRY_AFTER_CAP));
    }

    #[test]
    fn causes_have_stable_names_in_records() {
        assert_eq!(serde_json::to_string(&Cause::JobNotFound).unwrap(), "\"job_not_found\"");
        assert_eq!(serde_json::from_str::<Cause>("\"rate_limited\"").unwrap(), Cause::RateLimited);
    }
}
