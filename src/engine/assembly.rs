//! The bytes of one output as they come together, from whatever brings them.
//!
//! A part on disk and its walker always stand at the same byte, and its hasher there or a little before it. An answer's
//! body is placed at their end where [`plan::resume`] and [`plan::judge_answer`] allow that, and at the first byte
//! otherwise. Nothing in here knows the network: whoever brings bytes asks [`Assembly::resume`] what to ask for, tells
//! [`Assembly::place`] what the answer says, feeds [`Assembly::take`], and ends in [`Assembly::finish`] or
//! [`Assembly::settle`].

use std::sync::Arc;

use bytes::Bytes;

use super::hasher::{Cores, Hasher};
use crate::digests::Named;
use crate::job::JobRef;
use crate::media::{self, Completeness, Hints, MediaKind, NotMedia, Sniff, Walker};
use crate::plan::{self, Answer, Body, Part, Resume};
use crate::retry::{Cause, Failure};
use crate::sha256::{Digest, Sha256};
use crate::store::StoreError;
use crate::store::disk::Disk;
use crate::store::staging::{Partial, Staging};

/// A part gets a checkpoint each time so many bytes have come: a killed run fetches about as many again at most.
const CHECKPOINT_STEP: u64 = 1 << 20;

/// Why bytes do not come together.
#[derive(Debug)]
pub enum Trouble {
    /// The source gave something wrong.
    Source(Failure),
    /// This machine failed.
    Here(StoreError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Source(failure)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Here(error)
    }
}

/// The bytes of one output, and what may be done with them.
#[derive(Debug)]
pub struct Assembly<D: Disk> {
    staging: Arc<Staging<D>>,
    job: JobRef,
    output: usize,
    max_bytes: u64,
    cores: Arc<Cores>,
    /// In a box of its own: of thousands of outputs that wait for their turn few have begun.
    open: Option<Box<OpenPart<D>>>,
    looked_for_left_over: bool,
}

/// A part with its hasher and walker.
#[derive(Debug)]
pub struct OpenPart<D: Disk> {
    partial: Partial<D>,
    hasher: Hasher,
    walker: Walker,
    source: String,
    etag: Option<String>,
    total: Option<u64>,
    /// What the answer's type and the link's name say that it is.
    hints: Hints,
    /// The digests that the host names.
    named: Named,
    /// Where the last checkpoint was asked for, and where the last one was written.
    asked_bytes: u64,
    checkpoint_bytes: u64,
}

/// A part that an earlier run left, and that is worth reading again.
#[derive(Debug)]
pub struct LeftOver<D: Disk> {
    staging: Arc<Staging<D>>,
    job: JobRef,
    output: usize,
    part: Part,
    cores: Arc<Cores>,
}

/// Bytes that are whole and right as far as they can tell themselves.
#[derive(Debug)]
#[must_use = "the bytes are not safe before they are proven"]
pub struct Whole<D: Disk> {
    /// The file.
    pub partial: Partial<D>,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
    /// What they show themselves to be.
    pub kind: MediaKind,
}

impl<D: Disk> Assembly<D> {
    /// An output of which nothing is here yet, or what an earlier run left; it may have so many bytes at most.
    #[must_use]
    pub fn new(
        staging: Arc<Staging<D>>,
        job: JobRef,
        output: usize,
        max_bytes: u64,
        cores: Arc<Cores>,
    ) -> Self {
        Self { staging, job, output, max_bytes, cores, open: None, looked_for_left_over: false }
    }

    /// How many bytes are here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.partial.bytes())
    }

    /// The length of the whole, where it is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.open.as_ref().and_then(|open| open.total)
    }

    /// The part that an earlier run left, once, if this source can continue it; whoever gets it reads it and gives it
    /// to [`Assembly::adopt`].
    pub fn left_over(&mut self, source: &str) -> Option<LeftOver<D>> {
        if self.open.is_some() || std::mem::replace(&mut self.looked_for_left_over, true) {
            return None;
        }
        let part = self.staging.left_over(&self.job, self.output)?;
        if plan::resume(Some(&part), source) == Resume::Restart {
            // It may still belong to a source further down.
            self.looked_for_left_over = part.source == source;
            return None;
        }
        let (staging, cores) = (Arc::clone(&self.staging), Arc::clone(&self.cores));
        Some(LeftOver { staging, job: self.job.clone(), output: self.output, part, cores })
    }

    /// Goes on from what was read again.
    pub fn adopt(&mut self, open: OpenPart<D>) {
        self.open = Some(Box::new(open));
    }

    /// What to ask this source for.
    #[must_use]
    pub fn resume(&self, source: &str) -> Resume {
        plan::resume(self.open.as_ref().map(|open| open.part()).as_ref(), source)
    }

    /// Puts the part where the answer's body belongs: its end, or the first byte.
    pub fn place(&mut self, asked: &Resume, answer: &Answer<'_>, source: &str) -> Result<(), Trouble> {
        let total = match plan::judge_answer(asked, answer) {
            Body::Rest { total } => {
                if let Some(open) = &mut self.open {
                    open.expect(Some(total));
                }
                Some(total)
            }
            Body::Whole { total } => {
                self.begin(source.into(), answer.etag.map(str::to_owned), total)?;
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
            Some(total) if total > self.max_bytes => {
                Err(Failure::new(Cause::TooLarge, format!("{total} bytes announced")).into())
            }
            _ => Ok(()),
        }
    }

    /// Notes what the answer's type and the link's name say that it is.
    pub fn expect_kind(&mut self, hints: Hints) {
        if let Some(open) = &mut self.open {
            open.hints = hints;
        }
    }

    /// Notes which digests the host names for the whole. One that would have to be computed from the first byte is
    /// looked at only where nothing has come yet.
    pub fn expect_digests(&mut self, named: Named) {
        let Some(open) = &mut self.open else { return };
        if named.wants_md5() && open.partial.bytes() == 0 {
            open.hasher.want_md5();
        }
        open.named.add(named);
    }

    /// Begins at the first byte with what comes from this source; an empty one is nobody's.
    pub fn begin(
        &mut self,
        source: String,
        etag: Option<String>,
        total: Option<u64>,
    ) -> Result<(), StoreError> {
        let partial = match self.open.take() {
            Some(mut open) => {
                open.partial.restart()?;
                open.partial
            }
            None => self.staging.begin(&self.job, self.output)?,
        };
        let hasher = Hasher::at(Arc::clone(&self.cores), Sha256::default());
        let mut open = OpenPart::at(partial, hasher, Walker::new(), source, etag);
        open.expect(total);
        self.open = Some(Box::new(open));
        Ok(())
    }

    /// Takes bytes in: judged by their head, hashed, written. Blocks.
    pub fn take(&mut self, bytes: Bytes) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let had_head = open.walker.sniff().is_some();
        open.walker.feed(&bytes);
        let sniffed = open.walker.sniff().filter(|_| !had_head);
        if let Some(document) = sniffed.and_then(|sniff| media::in_place_of_media(sniff, open.hints)) {
            return Err(not_media(document).into());
        }
        open.partial.append(&bytes)?;
        open.hasher.take(bytes);
        if open.partial.bytes() > self.max_bytes {
            return Err(Failure::new(Cause::TooLarge, format!("more than {} bytes", self.max_bytes)).into());
        }
        if open.partial.bytes() - open.asked_bytes >= CHECKPOINT_STEP {
            open.checkpoint();
        }
        Ok(())
    }

    /// Notes how far the bytes have come, so that a later run can go on from here.
    pub fn checkpoint(&mut self) {
        if let Some(open) = &mut self.open {
            open.checkpoint();
        }
    }

    /// Leaves what has come in a state from which a later run, or a later attempt of this one, can go on.
    pub fn set_aside(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.checkpoint_all();
            self.looked_for_left_over = false;
        }
    }

    /// After a failure of the source: a connection that broke leaves a part to go on with, bytes that are wrong leave
    /// nothing.
    pub fn settle(&mut self, cause: Cause) {
        match (cause, &mut self.open) {
            (Cause::Broken | Cause::Stalled | Cause::TooSlow, Some(open)) => open.checkpoint_all(),
            _ => self.forget(),
        }
    }

    /// Gives up what has come. After a failure of this machine too: what it did to the last bytes nobody knows, and
    /// on a full disk they are in the way of what is finished.
    pub fn forget(&mut self) {
        if let Some(open) = self.open.take() {
            open.partial.discard();
        }
    }

    /// Whether the digest would be there sooner if other transfers went on first.
    #[must_use]
    pub fn waits_for_company(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.hasher.waits_for_company())
    }

    /// Judges the whole; `delimited` says whether the protocol vouches for its end. What is refused is gone.
    pub fn finish(&mut self, delimited: bool) -> Result<Whole<D>, Failure> {
        let Some(open) = self.open.take() else { return Err(Failure::new(Cause::Empty, "")) };
        let bytes = open.partial.bytes();
        let (digest, md5) = open.hasher.finish();
        let belied = open.named.belied_by(&digest, md5);
        let is_blank = open.walker.is_blank();
        let is_message = media::is_message(open.walker.head(), open.hints);
        let verdict = open.walker.finish();
        let message = (verdict.sniff == Sniff::Unknown && is_message).then_some(NotMedia::Text);
        let document = media::in_place_of_media(verdict.sniff, open.hints).or(message);
        let refused = match (document, verdict.completeness) {
            _ if bytes == 0 => Some(Failure::new(Cause::Empty, "")),
            _ if open.total.is_some_and(|total| total != bytes) => {
                Some(Failure::new(Cause::Broken, format!("{bytes} of {} bytes", open.total.unwrap_or(0))))
            }
            (Some(document), _) => Some(not_media(document)),
            _ if is_blank => Some(Failure::new(Cause::Empty, "nothing but white space")),
            (_, Completeness::Cut(what)) => {
                Some(Failure::new(Cause::Incomplete, format!("{what} is missing")))
            }
            (_, Completeness::Untold) if !delimited => {
                Some(Failure::new(Cause::Incomplete, "nothing tells whether this is all of it"))
            }
            (None, Completeness::Whole | Completeness::Untold) => {
                belied.map(|header| Failure::new(Cause::DigestMismatch, header))
            }
        };
        if let Some(failure) = refused {
            open.partial.discard();
            return Err(failure);
        }
        let kind = match verdict.sniff {
            Sniff::Kind(kind) => kind,
            Sniff::Unknown | Sniff::Text | Sniff::NotMedia(_) => MediaKind::Unknown,
        };
        Ok(Whole { partial: open.partial, digest, bytes, kind })
    }
}

impl<D: Disk> OpenPart<D> {
    fn at(partial: Partial<D>, hasher: Hasher, walker: Walker, source: String, etag: Option<String>) -> Self {
        let (asked_bytes, checkpoint_bytes) = (partial.bytes(), partial.bytes());
        let (total, hints, named) = (None, Hints::default(), Named::default());
        Self { partial, hasher, walker, source, etag, total, hints, named, asked_bytes, checkpoint_bytes }
    }

    fn part(&self) -> Part {
        let (source, etag) = (self.source.clone(), self.etag.clone());
        Part { source, etag, total: self.total, bytes: self.partial.bytes() }
    }

    fn expect(&mut self, total: Option<u64>) {
        self.total = total;
        self.partial.expect(total);
    }

    /// Asks for a checkpoint here, and writes what came of those asked for before.
    fn checkpoint(&mut self) {
        if self.partial.bytes() > self.asked_bytes && self.may_go_on() {
            self.asked_bytes = self.partial.bytes();
            self.hasher.mark();
        }
        self.write_checkpoint();
    }

    /// Writes a checkpoint of all that is here.
    fn checkpoint_all(&mut self) {
        if self.may_go_on() {
            self.hasher.come_back();
            // The one before may be written where that of the end may not.
            self.write_checkpoint();
            self.hasher.mark();
        }
        self.write_checkpoint();
    }

    fn may_go_on(&self) -> bool {
        self.etag.as_deref().is_some_and(plan::is_strong)
    }

    fn write_checkpoint(&mut self) {
        let Some(checkpoint) = self.hasher.marked() else { return };
        let bytes = checkpoint.bytes;
        // A part as long as the whole could not be continued, while the checkpoint before it can.
        let worth = bytes > self.checkpoint_bytes && self.total.is_none_or(|total| bytes < total);
        if let Some(etag) = self.etag.as_deref().filter(|_| worth) {
            self.partial.checkpoint(&self.source, etag, self.total, checkpoint);
            self.checkpoint_bytes = bytes;
        }
    }
}

impl<D: Disk> LeftOver<D> {
    /// Reads the part again, hashing and walking its bytes; `None` where they are no longer what they were. Blocks.
    pub fn read(self) -> Result<Option<OpenPart<D>>, StoreError> {
        let mut walker = Walker::new();
        let Some((partial, hasher)) =
            self.staging.resume(&self.job, self.output, |bytes| walker.feed(bytes))?
        else {
            return Ok(None);
        };
        let Part { source, etag, total, bytes: _ } = self.part;
        let hasher = Hasher::at(self.cores, hasher);
        let mut open = OpenPart::at(partial, hasher, walker, source, etag);
        open.expect(total);
        Ok(Some(open))
    }
}

fn not_media(document: NotMedia) -> Failure {
    let what = match document {
        NotMedia::Html => "an HTML page",
        NotMedia::Json => "a JSON document",
        NotMedia::Xml => "an XML document",
        NotMedia::Text => "plain text",
    };
    Failure::new(Cause::NotMedia, what)
}
