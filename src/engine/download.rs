//! One attempt at one source: bytes from the network, hashed, staged, judged, proven.
//!
//! A [`Draft`] is what the attempts at one output share: its [`Assembly`], and the session that it reports to. Each
//! chunk is written right where it is received, while it is in the cache, and hashed a moment later, in turn with those of
//! other transfers, or on a core that is idle ([`super::hasher`]).

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use url::Url;

use super::assembly::{Assembly, Trouble};
use super::gate::Turn;
use super::{Error, Session};
use crate::event::{Event, FileRef};
use crate::job::without_secrets;
use crate::lifetime::{Birth, Lesson};
use crate::media::{Hints, MediaKind};
use crate::net::{Api, Media};
use crate::plan::{self, Answer, Resume};
use crate::retry::{Cause, Failure};
use crate::store::disk::RealDisk;
use crate::store::{Proven, StoreError};

/// A part gets a checkpoint each time so much time has passed too, so that a slow transfer is not begun anew.
const CHECKPOINT_EACH: Duration = Duration::from_millis(100);
/// Progress is reported when so many bytes have come, or so much time has passed.
const REPORT_BYTES: u64 = 1 << 20;
/// See [`REPORT_BYTES`].
const REPORT_EACH: Duration = Duration::from_millis(100);
/// The speed of a transfer is measured over this time.
const SLOW_SPAN: Duration = Duration::from_secs(60);

/// A whole file, and what its source said of it.
pub(super) struct Fetched {
    pub(super) proven: Proven,
    pub(super) kind: MediaKind,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// What the host said about how long it keeps the file.
    pub(super) lesson: Option<Lesson>,
    /// When the file came to be, where the host said so.
    pub(super) birth: Option<Birth>,
}

/// Why an attempt brought nothing.
pub(super) enum Stopped {
    /// The source failed when so many bytes were here.
    Source { failure: Failure, reached_bytes: u64 },
    /// The source's host is left alone until then, and another one may have the file.
    Away(Instant),
    /// This machine failed.
    Here(Error),
    /// The run is being stopped.
    Cancelled,
}

impl Stopped {
    /// The same without the key, which a host beside the API may repeat: what it says goes into events and records.
    pub(super) fn without_key(self, api: &Api) -> Self {
        match self {
            Self::Source { failure, reached_bytes } => {
                let detail = api.redactor().text(&failure.detail).into_owned();
                Self::Source { failure: Failure { detail, ..failure }, reached_bytes }
            }
            Self::Away(_) | Self::Here(_) | Self::Cancelled => self,
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Source { failure, reached_bytes: 0 }
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Here(error.into())
    }
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Source(failure) => failure.into(),
            Trouble::Here(error) => error.into(),
        }
    }
}

/// What the attempts at one output share.
pub(super) struct Draft<'a> {
    session: &'a Session,
    file: FileRef<'a>,
    takes_up: bool,
    assembly: Assembly<RealDisk>,
}

impl<'a> Draft<'a> {
    /// `takes_up` says whether the part that an earlier run left is this output's for sure. Where only a query tells its
    /// source from another output's it may be that one's, and notes hold no query.
    pub(super) fn new(session: &'a Session, file: FileRef<'a>, takes_up: bool) -> Self {
        let (staging, most) = (session.staging.clone(), session.options.max_file_bytes);
        let cores = session.cores.clone();
        Self {
            session,
            file,
            takes_up,
            assembly: Assembly::new(staging, file.job.clone(), file.output, most, cores),
        }
    }

    /// Fetches the output from this source, continuing what is there where that is sound. The turn is that at its host.
    pub(super) async fn fetch(&mut self, url: &Url, turn: &Turn) -> Result<Fetched, Stopped> {
        let source = without_secrets(url);
        self.take_up_left_over(&source).await?;
        let mut resume = self.assembly.resume(&source);
        let mut asked = self.session.http.get(url, &resume, super::unix_seconds()).await;
        // Some hosts refuse a part of what they give as a whole; what comes then is the file from its first byte.
        if let Err(failure) = &asked
            && plan::refuses_ranges(&resume, failure)
        {
            resume = Resume::Restart;
            asked = self.session.http.get(url, &resume, super::unix_seconds()).await;
        }
        let mut media = asked?;
        let answer = media.answer();
        let answer = Answer { etag: answer.etag.filter(|etag| self.is_harmless(etag)), ..answer };
        let placed = self.assembly.place(&resume, &answer, &source);
        self.assembly.expect_kind(Hints::of(media.content_type(), url.path()));
        self.assembly.expect_digests(media.digests());
        let received = match placed {
            Ok(()) => {
                self.announce(self.assembly.bytes());
                self.receive(&mut media, turn).await
            }
            Err(trouble) => Err(trouble.into()),
        };
        received.map_err(|stopped| self.settle(stopped))?;
        let etag = media.etag().filter(|etag| self.is_harmless(etag));
        let last_modified = media.last_modified().filter(|moment| self.is_harmless(moment));
        let (lesson, birth) = media.lifetime(super::unix_seconds());
        let (proven, kind) = self.prove(media.is_delimited()).await?;
        Ok(Fetched { proven, kind, etag, last_modified, lesson, birth })
    }

    /// What a host says goes into records as it is, unless it says the key: where it stands beside the API it knows it.
    fn is_harmless(&self, header: &str) -> bool {
        !self.session.api.key_is_in(header)
    }

    /// Stores bytes that stood in the answer itself.
    pub(super) async fn store(&mut self, bytes: &[u8]) -> Result<Fetched, Stopped> {
        self.assembly.begin(String::new(), None, Some(bytes.len() as u64))?;
        self.announce(0);
        let taken = self.assembly.take(Bytes::copy_from_slice(bytes)).map_err(Stopped::from);
        taken.map_err(|stopped| self.settle(stopped))?;
        let (proven, kind) = self.prove(true).await?;
        Ok(Fetched { proven, kind, etag: None, last_modified: None, lesson: None, birth: None })
    }

    /// Leaves what has come in a state from which a later run can go on.
    pub(super) fn set_aside(&mut self) {
        self.assembly.set_aside();
    }

    fn announce(&self, resumed: u64) {
        self.session.report(&Event::FileSized { file: self.file, total: self.assembly.total(), resumed });
    }

    /// Once per output: takes up the part that a killed run left, if this source can continue it.
    async fn take_up_left_over(&mut self, source: &str) -> Result<(), Stopped> {
        let left_over = if self.takes_up { self.assembly.left_over(source) } else { None };
        let Some(left_over) = left_over else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || left_over.read());
        let Ok(read) = read.await else { return Err(Stopped::Cancelled) };
        if let Some(open) = read? {
            self.assembly.adopt(open);
        }
        Ok(())
    }

    /// After a failure: see [`Assembly::settle`] and [`Assembly::forget`].
    fn settle(&mut self, stopped: Stopped) -> Stopped {
        let reached_bytes = self.assembly.bytes();
        match stopped {
            Stopped::Source { failure, .. } => {
                self.assembly.settle(failure.cause);
                Stopped::Source { failure, reached_bytes }
            }
            Stopped::Here(error) => {
                self.assembly.forget();
                Stopped::Here(error)
            }
            Stopped::Away(until) => Stopped::Away(until),
            Stopped::Cancelled => Stopped::Cancelled,
        }
    }

    /// Takes the body in to its end, and tells of every byte.
    async fn receive(&mut self, media: &mut Media, turn: &Turn) -> Result<(), Stopped> {
        let _core = self.session.cores.occupy();
        let mut report = Report::begin();
        let received = self.take_in(media, turn, &mut report).await;
        report.flush(self.session, self.file);
        received
    }

    /// May be dropped at any await: the draft then stands after a whole chunk.
    async fn take_in(&mut self, media: &mut Media, turn: &Turn, report: &mut Report) -> Result<(), Stopped> {
        let mut pace = LeastSpeed::begin(self.session.options.min_speed);
        let mut noted = super::now();
        let mut brings = false;
        while let Some(chunk) = media.chunk().await? {
            if !std::mem::replace(&mut brings, true) {
                turn.brings();
            }
            let bytes = chunk.len();
            self.assembly.take(chunk)?;
            let now = super::now();
            if now.saturating_duration_since(noted) >= CHECKPOINT_EACH {
                self.assembly.checkpoint();
                noted = now;
            }
            report.add(self.session, self.file, bytes, now);
            pace.add(bytes, now)?;
            pace.rest(self.session.rate.pass(bytes).await);
        }
        Ok(())
    }

    /// Judges the whole, and proves it. `delimited` says whether the protocol vouches for its end.
    async fn prove(&mut self, delimited: bool) -> Result<(Proven, MediaKind), Stopped> {
        if self.assembly.waits_for_company() {
            tokio::task::yield_now().await;
        }
        let reached_bytes = self.assembly.bytes();
        let whole = self.assembly.finish(delimited);
        let whole = whole.map_err(|failure| Stopped::Source { failure, reached_bytes })?;
        let proven = self.session.store.prove(whole.partial, whole.digest, whole.bytes).await?;
        Ok((proven, whole.kind))
    }
}

/// Gathers progress, so that watching costs nothing.
struct Report {
    bytes: u64,
    last: Instant,
}

impl Report {
    fn begin() -> Self {
        Self { bytes: 0, last: super::now() }
    }

    fn add(&mut self, session: &Session, file: FileRef<'_>, bytes: usize, now: Instant) {
        self.bytes += bytes as u64;
        if self.bytes >= REPORT_BYTES || now.saturating_duration_since(self.last) >= REPORT_EACH {
            self.last = now;
            self.flush(session, file);
        }
    }

    fn flush(&mut self, session: &Session, file: FileRef<'_>) {
        if self.bytes > 0 {
            session.report(&Event::FileReceived { file, bytes: std::mem::take(&mut self.bytes) });
        }
    }
}

/// Watches over the least speed.
struct LeastSpeed {
    least: u64,
    bytes: u64,
    since: Instant,
}

impl LeastSpeed {
    /// Time in which this run took no bytes, so that none could come, is not held against their source.
    fn rest(&mut self, time: Duration) {
        self.since += time;
    }

    fn begin(least_per_second: u64) -> Self {
        Self { least: least_per_second.saturating_mul(SLOW_SPAN.as_secs()), bytes: 0, since: super::now() }
    }

    fn add(&mut self, bytes: usize, now: Instant) -> Result<(), Failure> {
        self.bytes += bytes as u64;
        if now.saturating_duration_since(self.since) < SLOW_SPAN {
            return Ok(());
        }
        if self.bytes < self.least {
            return Err(Failure::new(
                Cause::TooSlow,
                format!("{} bytes in {} s", self.bytes, SLOW_SPAN.as_secs()),
            ));
        }
        (self.bytes, self.since) = (0, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test makes its own moments")]
    use super::*;

    #[test]
    fn a_transfer_is_too_slow_when_a_whole_minute_brought_too_little() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let slow = |pace: &mut LeastSpeed, bytes, seconds| {
            pace.add(bytes, after(seconds)).err().map(|failure| failure.cause)
        };
        let mut pace = LeastSpeed { least: 60 * 1024, bytes: 0, since: began };
        assert_eq!(slow(&mut pace, 1, 59), None, "a minute is not over");
        assert_eq!(slow(&mut pace, 60 * 1024, 60), None, "it was fast enough");
        assert_eq!(slow(&mut pace, 60 * 1024 - 1, 119), None, "a minute is not over");
        assert_eq!(slow(&mut pace, 0, 120), Some(Cause::TooSlow), "one byte less than the least");
        pace.rest(Duration::from_secs(600));
        assert_eq!(slow(&mut pace, 0, 719), None, "of the time since, 59 s were its own");
        assert_eq!(slow(&mut pace, 0, 720), Some(Cause::TooSlow));
        let mut never = LeastSpeed { least: 0, bytes: 0, since: began };
        assert_eq!(slow(&mut never, 0, 600), None);
    }
}
