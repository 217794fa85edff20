//! One attempt at one source: bytes from the network, hashed, staged, judged, proven.
//!
//! A [`Draft`] is what the attempts at one output share: the part on disk with its hasher and its walker, which always
//! stand at the same byte. An attempt continues it where [`plan::resume`] and [`plan::judge_answer`] allow that, and
//! begins it again otherwise. Each chunk is hashed and written right where it is received, while it is in the cache:
//! handing it to another thread costs more than it saves.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::{Error, Session};
use crate::event::{Event, FileRef};
use crate::job::without_secrets;
use crate::lifetime::Lesson;
use crate::manifest::Digest;
use crate::media::{Completeness, MediaKind, NotMedia, Sniff, Walker};
use crate::net::Media;
use crate::plan::{self, Body, Part, Resume};
use crate::retry::{Cause, Failure};
use crate::store::{Partial, Proven, StoreError};

/// A part gets a checkpoint each time so many bytes have come; a killed run fetches at most these again.
const CHECKPOINT_STEP: u64 = 1 << 20;
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
}

/// Why an attempt brought nothing.
pub(super) enum Stopped {
    /// The source failed; `progress` says whether new bytes came.
    Source { failure: Failure, progress: bool },
    /// This machine failed.
    Here(Error),
    /// The run is being stopped.
    Cancelled,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Source { failure, progress: false }
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Here(error.into())
    }
}

/// What the attempts at one output share.
pub(super) struct Draft<'a> {
    session: &'a Session,
    file: FileRef<'a>,
    open: Option<Open>,
    looked_for_left_over: bool,
}

/// A part with its hasher and walker, all at the same byte.
struct Open {
    partial: Partial,
    hasher: Sha256,
    walker: Walker,
    source: String,
    etag: Option<String>,
    total: Option<u64>,
    checkpoint_bytes: u64,
}

impl Open {
    fn part(&self) -> Part {
        let (source, etag) = (self.source.clone(), self.etag.clone());
        Part { source, etag, total: self.total, bytes: self.partial.bytes() }
    }

    fn checkpoint(&mut self) {
        let strong = self.etag.as_deref().filter(|etag| plan::is_strong(etag));
        if let Some(etag) = strong.filter(|_| self.partial.bytes() > self.checkpoint_bytes) {
            self.partial.checkpoint(&self.source, etag, self.total, Digest::finish(self.hasher.clone()));
            self.checkpoint_bytes = self.partial.bytes();
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(session: &'a Session, file: FileRef<'a>) -> Self {
        Self { session, file, open: None, looked_for_left_over: false }
    }

    /// Fetches the output from this source, continuing what is there where that is sound.
    pub(super) async fn fetch(&mut self, url: &Url) -> Result<Fetched, Stopped> {
        let source = without_secrets(url);
        self.take_up_left_over(&source).await?;
        let resume = plan::resume(self.open.as_ref().map(Open::part).as_ref(), &source);
        let mut media = self.session.http.get(url, &resume, super::unix_seconds()).await?;
        let placed = self.place_body(&media, &resume, source);
        let before = self.bytes();
        let received = match placed {
            Ok(()) => {
                self.announce(before);
                self.receive(&mut media).await
            }
            Err(stopped) => Err(stopped),
        };
        let progress = self.bytes() > before;
        if let Err(stopped) = received {
            return Err(self.settle(stopped, progress));
        }
        let (etag, last_modified) = (media.etag(), media.last_modified());
        let lesson = media.lesson(super::unix_seconds());
        let (proven, kind) = self.prove(media.is_delimited(), progress).await?;
        Ok(Fetched { proven, kind, etag, last_modified, lesson })
    }

    /// Stores bytes that stood in the answer itself.
    pub(super) async fn store(&mut self, bytes: &[u8]) -> Result<Fetched, Stopped> {
        self.begin(String::new(), None, Some(bytes.len() as u64))?;
        self.announce(0);
        self.take(bytes)?;
        let (proven, kind) = self.prove(true, false).await?;
        Ok(Fetched { proven, kind, etag: None, last_modified: None, lesson: None })
    }

    /// Leaves what has come in a state from which a later run can go on.
    pub(super) fn set_aside(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.checkpoint();
            self.looked_for_left_over = false;
        }
    }

    fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.partial.bytes())
    }

    fn announce(&self, resumed: u64) {
        let total = self.open.as_ref().and_then(|open| open.total);
        self.session.report(&Event::FileSized { file: self.file, total, resumed });
    }

    /// Once per output: takes up the part that a killed run left, if this source can continue it.
    async fn take_up_left_over(&mut self, source: &str) -> Result<(), Stopped> {
        if self.open.is_some() || std::mem::replace(&mut self.looked_for_left_over, true) {
            return Ok(());
        }
        let (job, output) = (self.file.job, self.file.output);
        let Some(part) = self.session.staging.left_over(job, output) else { return Ok(()) };
        if plan::resume(Some(&part), source) == Resume::Restart {
            // It may still belong to a source further down.
            self.looked_for_left_over = part.source == source;
            return Ok(());
        }
        let (staging, job) = (self.session.staging.clone(), job.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut walker = Walker::new();
            let resumed = staging.resume(&job, output, |bytes| walker.feed(bytes))?;
            Ok::<_, StoreError>(resumed.map(|(partial, hasher)| (partial, hasher, walker)))
        });
        let Ok(read) = read.await else { return Err(Stopped::Cancelled) };
        if let Some((partial, hasher, walker)) = read? {
            let Part { source, etag, total, bytes } = part;
            self.open = Some(Open { partial, hasher, walker, source, etag, total, checkpoint_bytes: bytes });
        }
        Ok(())
    }

    /// Puts the part where the answer's body belongs: its end, or the first byte.
    fn place_body(&mut self, media: &Media, asked: &Resume, source: String) -> Result<(), Stopped> {
        let answer = media.answer();
        let total = match plan::judge_answer(asked, &answer) {
            Body::Rest { total } => {
                if let Some(open) = &mut self.open {
                    open.total = Some(total);
                }
                Some(total)
            }
            Body::Whole { total } => {
                self.begin(source, media.etag(), total)?;
                total
            }
            Body::Refuse(why) => {
                self.forget();
                return Err(
                    Failure::new(Cause::WrongRange, format!("status {}: {why}", answer.status)).into()
                );
            }
        };
        match total {
            Some(0) => Err(Failure::new(Cause::Empty, "Content-Length 0").into()),
            Some(total) if total > self.session.options.max_file_bytes => {
                Err(Failure::new(Cause::TooLarge, format!("{total} bytes announced")).into())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, source: String, etag: Option<String>, total: Option<u64>) -> Result<(), Stopped> {
        let partial = match self.open.take() {
            Some(mut open) => {
                open.partial.restart()?;
                open.partial
            }
            None => self.session.staging.begin(self.file.job, self.file.output)?,
        };
        let (hasher, walker) = (Sha256::new(), Walker::new());
        self.open = Some(Open { partial, hasher, walker, source, etag, total, checkpoint_bytes: 0 });
        Ok(())
    }

    fn forget(&mut self) {
        if self.open.take().is_some() {
            self.session.staging.discard(self.file.job, self.file.output);
        }
    }

    /// After a failure: a connection that broke leaves a part to go on with, bytes that are wrong leave nothing.
    fn settle(&mut self, stopped: Stopped, progress: bool) -> Stopped {
        let Stopped::Source { failure, .. } = stopped else { return stopped };
        match (failure.cause, &mut self.open) {
            (Cause::Broken | Cause::Stalled | Cause::TooSlow, Some(open)) => open.checkpoint(),
            _ => self.forget(),
        }
        Stopped::Source { failure, progress }
    }

    /// Takes the body in to its end. May be dropped at any await: the draft then stands after a whole chunk.
    async fn receive(&mut self, media: &mut Media) -> Result<(), Stopped> {
        let mut report = Report::begin();
        let mut pace = Pace::begin(self.session.options.min_speed);
        while let Some(chunk) = media.chunk().await? {
            self.take(&chunk)?;
            let now = super::now();
            report.add(self.session, self.file, chunk.len(), now);
            pace.add(chunk.len(), now)?;
            self.session.rate.pass(chunk.len()).await;
        }
        report.flush(self.session, self.file);
        Ok(())
    }

    /// Takes bytes in: judged by their head, hashed, written.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let had_head = open.walker.sniff().is_some();
        open.walker.feed(bytes);
        if let (false, Some(Sniff::NotMedia(document))) = (had_head, open.walker.sniff()) {
            return Err(not_media(document).into());
        }
        open.hasher.update(bytes);
        open.partial.append(bytes)?;
        if open.partial.bytes() > self.session.options.max_file_bytes {
            let most = self.session.options.max_file_bytes;
            return Err(Failure::new(Cause::TooLarge, format!("more than {most} bytes")).into());
        }
        if open.partial.bytes() - open.checkpoint_bytes >= CHECKPOINT_STEP {
            open.checkpoint();
        }
        Ok(())
    }

    /// Judges the whole, and proves it. `delimited` says whether the protocol vouches for its end.
    async fn prove(&mut self, delimited: bool, progress: bool) -> Result<(Proven, MediaKind), Stopped> {
        let Some(open) = self.open.take() else { return Err(Stopped::Cancelled) };
        let bytes = open.partial.bytes();
        let verdict = open.walker.finish();
        let refused = match (verdict.sniff, verdict.completeness) {
            _ if bytes == 0 => Some(Failure::new(Cause::Empty, "")),
            _ if open.total.is_some_and(|total| total != bytes) => {
                Some(Failure::new(Cause::Broken, format!("{bytes} of {} bytes", open.total.unwrap_or(0))))
            }
            (Sniff::NotMedia(document), _) => Some(not_media(document)),
            (_, Completeness::Cut(what)) => {
                Some(Failure::new(Cause::Incomplete, format!("{what} is missing")))
            }
            (_, Completeness::Untold) if !delimited => {
                Some(Failure::new(Cause::Incomplete, "nothing tells whether this is all of it"))
            }
            (Sniff::Kind(_) | Sniff::Unknown, Completeness::Whole | Completeness::Untold) => None,
        };
        if let Some(failure) = refused {
            drop(open.partial);
            self.session.staging.discard(self.file.job, self.file.output);
            return Err(Stopped::Source { failure, progress });
        }
        let kind = match verdict.sniff {
            Sniff::Kind(kind) => kind,
            Sniff::Unknown | Sniff::NotMedia(_) => MediaKind::Unknown,
        };
        let digest = Digest::finish(open.hasher);
        let proven = self.session.store.prove(open.partial, digest, bytes).await?;
        Ok((proven, kind))
    }
}

fn not_media(document: NotMedia) -> Failure {
    let what = match document {
        NotMedia::Html => "an HTML page",
        NotMedia::Json => "a JSON document",
        NotMedia::Xml => "an XML document",
    };
    Failure::new(Cause::NotMedia, what)
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
struct Pace {
    least: u64,
    bytes: u64,
    since: Instant,
}

impl Pace {
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
