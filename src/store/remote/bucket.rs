//! Requests to a bucket: small, each answered once, with errors that name the place.
//!
//! What may be asked again without harm (reading, listing, deleting) is asked again by the `object_store` crate. Writing
//! under a condition is not that simple: where the answer is lost, or a second try of the crate's own meets the object
//! that its first try made, only a look tells what became of it. [`Bucket::create`] takes that look.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, AttributeValue, Attributes, Error as Refusal, GetOptions, GetRange, ListResult, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use tokio::sync::Semaphore;

use super::super::{StoreError, at};
use super::trouble::{Kind, Trouble};
use crate::manifest::MANIFEST_MAX;
use crate::retry::backoff;
use crate::sha256::{Digest, Sha256};

/// How often in a row a request whose outcome is in doubt is made again, where the crate does not do so itself.
pub(super) const DOUBTS: u32 = 5;
/// How many shares of [`SHARE`] bytes uploads may have in memory at once: as many as there are commits at once, and
/// enough to fill a fast line.
pub(super) const SHARES: u32 = 64;
/// The least memory that an upload counts for.
pub(super) const SHARE: u64 = 512 * 1024;
/// The name of the object's metadata that tells which commit made it.
const MARK: &str = "commit";

/// A bucket, and where in it the archive lies.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) objects: Arc<dyn ObjectStore>,
    pages: Option<Pages>,
    prefix: ObjectPath,
    pub(super) place: String,
    pub(super) room: Arc<Semaphore>,
}

struct Pages(Arc<dyn PaginatedListStore>);

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pages")
    }
}

/// An object's place in the bucket, and how it is shown.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) path: ObjectPath,
    pub(super) place: String,
}

/// What a look at an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) bytes: u64,
    /// The commit that made it, where that is known.
    pub(super) mark: Option<String>,
}

/// What became of an object that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is there, and this commit made it.
    Here,
    /// Something else was there, and is untouched.
    Taken(Head),
}

impl Bucket {
    pub(super) fn new(
        objects: Arc<dyn ObjectStore>,
        pages: Option<Arc<dyn PaginatedListStore>>,
        prefix: ObjectPath,
        place: String,
    ) -> Self {
        let room = Arc::new(Semaphore::new(SHARES as usize));
        Self { objects, pages: pages.map(Pages), prefix, place, room }
    }

    /// Where a name below the archive's root lies.
    pub(super) fn spot(&self, below: &str) -> Result<Spot, StoreError> {
        let place = at(&self.place, below);
        let whole = if self.prefix.is_root() { below.to_owned() } else { format!("{}/{below}", self.prefix) };
        match ObjectPath::parse(whole) {
            Ok(path) => Ok(Spot { path, place }),
            Err(error) => Err(StoreError::Io {
                doing: "naming",
                place,
                source: io::Error::new(io::ErrorKind::InvalidInput, error),
            }),
        }
    }

    /// An object's bytes, all at once, and its version for a swap; `None` where there is none.
    pub(super) async fn get(&self, spot: &Spot) -> Result<Option<(Bytes, UpdateVersion)>, StoreError> {
        let fail = failed("reading", spot);
        let got = match self.objects.get(&spot.path).await {
            Ok(got) => got,
            Err(refusal) => return absent(&refusal).map_or_else(|| Err(fail(&refusal)), |()| Ok(None)),
        };
        let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
        if got.meta.size > MANIFEST_MAX {
            // Too large for a record, and so no better than an empty one.
            return Ok(Some((Bytes::new(), version)));
        }
        Ok(Some((got.bytes().await.map_err(|refusal| fail(&refusal))?, version)))
    }

    /// A look at an object; `None` where there is none.
    pub(super) async fn head(&self, spot: &Spot) -> Result<Option<Head>, StoreError> {
        let look = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&spot.path, look).await {
            Ok(got) => {
                let mark = got.attributes.get(&Attribute::Metadata(MARK.into()));
                let mark = mark.map(|mark| mark.as_ref().to_owned());
                Ok(Some(Head { bytes: got.meta.size, mark }))
            }
            Err(refusal) => {
                absent(&refusal).map_or_else(|| Err(failed("looking at", spot)(&refusal)), |()| Ok(None))
            }
        }
    }

    /// Makes an object where there is none, and says for certain whether it is there.
    ///
    /// | the answer | a look | so it is |
    /// | --- | --- | --- |
    /// | done | | here |
    /// | there is one, or no clear answer | of this commit | here |
    /// | there is one, or no clear answer | of another one | taken |
    /// | there is one, or no clear answer | nothing there | asked again, unless that was done often enough |
    /// | refused | | an error |
    pub(super) async fn create(&self, spot: &Spot, body: Bytes, mark: &str) -> Result<Created, StoreError> {
        let bytes = body.len() as u64;
        let payload = PutPayload::from_bytes(body);
        let mut failures = 0;
        loop {
            let options = PutOptions { attributes: attributes(spot, mark), ..PutMode::Create.into() };
            let Err(refusal) = self.objects.put_opts(&spot.path, payload.clone(), options).await else {
                return Ok(Created::Here);
            };
            if !in_doubt(&refusal) {
                return Err(failed("writing", spot)(&refusal));
            }
            match self.head(spot).await? {
                Some(head) if head.mark.as_deref() == Some(mark) && head.bytes == bytes => {
                    return Ok(Created::Here);
                }
                Some(head) => return Ok(Created::Taken(head)),
                None => {}
            }
            failures += 1;
            if failures > DOUBTS || !is_worth_a_try(&refusal) {
                return Err(failed("writing", spot)(&refusal));
            }
            tracing::debug!(place = %spot.place, %failures, "the outcome of a write is in doubt");
            tokio::time::sleep(pause(failures)).await;
        }
    }

    /// Removes an object that nothing names any more. What cannot be removed is left over, and harms nobody.
    pub(super) async fn remove(&self, spot: &Spot) {
        if let Err(refusal) = self.objects.delete(&spot.path).await
            && absent(&refusal).is_none()
        {
            tracing::warn!("{}", failed("removing", spot)(&refusal));
        }
    }

    /// The digest of an object's bytes, and how many there are; `None` where there is none.
    pub(super) async fn hash(self: &Arc<Self>, spot: &Spot) -> Result<Option<(Digest, u64)>, StoreError> {
        let Some(mut reader) = Reader::open(self, spot).await? else { return Ok(None) };
        let mut hasher = Sha256::default();
        while let Some(chunk) = reader.next().await? {
            hasher.update(&chunk);
        }
        Ok(Some((hasher.digest(), reader.offset)))
    }

    /// What lies directly below a name: objects, and the names that others have in common.
    pub(super) async fn list(&self, below: &str) -> Result<ListResult, StoreError> {
        let spot = self.spot(below)?;
        let listed = self.objects.list_with_delimiter(Some(&spot.path)).await;
        let mut listed = listed.map_err(|refusal| failed("listing", &spot)(&refusal))?;
        // Some tools mark a folder with an empty object that has its name and a slash.
        listed.objects.retain(|object| object.location != spot.path);
        Ok(listed)
    }

    /// One page of the names at the archive's root that are folders, and the token of the next page.
    pub(super) async fn page(
        &self,
        token: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), StoreError> {
        let spot = Spot { path: self.prefix.clone(), place: self.place.clone() };
        let fail = |refusal: Refusal| failed("listing", &spot)(&refusal);
        let (listed, next) = match &self.pages {
            Some(Pages(pages)) => {
                let prefix = (!self.prefix.is_root()).then(|| format!("{}/", self.prefix));
                let options = PaginatedListOptions {
                    delimiter: Some("/".into()),
                    page_token: token,
                    ..Default::default()
                };
                let page = pages.list_paginated(prefix.as_deref(), options).await.map_err(fail)?;
                (page.result, page.page_token)
            }
            None => (self.objects.list_with_delimiter(Some(&self.prefix)).await.map_err(fail)?, None),
        };
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        Ok((names.collect(), next))
    }
}

/// Attributes of a new object: which commit makes it, and what kind of content a browser is told.
pub(super) fn attributes(spot: &Spot, mark: &str) -> Attributes {
    let content_type = content_type(spot.path.extension().unwrap_or_default());
    Attributes::from_iter([
        (Attribute::Metadata(MARK.into()), AttributeValue::from(mark.to_owned())),
        (Attribute::ContentType, AttributeValue::from(content_type)),
    ])
}

fn content_type(extension: &str) -> &'static str {
    match extension {
        "gif" => "image/gif",
        "jpg" | "jpeg" => "image/jpeg",
        "json" => "application/json",
        "m4a" => "audio/mp4",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "png" => "image/png",
        "wav" => "audio/wav",
        "webm" => "video/webm",
        "webp" => "image/webp",
        _ => "application/octet-stream",
    }
}

/// Says that there is no such object. A bucket that is not there is another matter.
pub(super) fn absent(refusal: &Refusal) -> Option<()> {
    (matches!(refusal, Refusal::NotFound { .. }) && Trouble::of(refusal).kind != Kind::NoBucket).then_some(())
}

/// Whether something lies where something was to be created, or has changed where it was to be swapped.
pub(super) fn lost_race(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::AlreadyExists { .. } | Refusal::Precondition { .. } | Refusal::NotModified { .. }
    )
}

/// Whether only a look can tell what a write has done.
pub(super) fn in_doubt(refusal: &Refusal) -> bool {
    lost_race(refusal) || Trouble::of(refusal).is_unclear()
}

/// Whether a condition did not hold, and did not hold at the first try: an earlier one cannot have been carried out.
pub(super) fn was_refused_at_once(refusal: &Refusal) -> bool {
    lost_race(refusal) && !Trouble::of(refusal).is_spent()
}

/// Whether a write that a look did not find is worth another try.
pub(super) fn is_worth_a_try(refusal: &Refusal) -> bool {
    lost_race(refusal) || Trouble::of(refusal).is_worth_a_try()
}

pub(super) fn failed(doing: &'static str, spot: &Spot) -> impl Fn(&Refusal) -> StoreError {
    let place = spot.place.clone();
    move |refusal| StoreError::Remote { doing, place: place.clone(), trouble: Trouble::of(refusal) }
}

/// How long to wait before a request in doubt is made again.
pub(super) fn pause(failures: u32) -> Duration {
    backoff(failures, None, fastrand::f64())
}

/// An object that is being read: from its first byte to its last, over as many connections as it takes.
pub(super) struct Reader {
    bucket: Arc<Bucket>,
    spot: Spot,
    total: u64,
    /// How many bytes were read.
    pub(super) offset: u64,
    e_tag: Option<String>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    failures: u32,
}

impl Reader {
    /// `None` where there is no such object.
    pub(super) async fn open(bucket: &Arc<Bucket>, spot: &Spot) -> Result<Option<Self>, StoreError> {
        let got = match bucket.objects.get(&spot.path).await {
            Ok(got) => got,
            Err(refusal) => {
                return absent(&refusal)
                    .map_or_else(|| Err(failed("reading", spot)(&refusal)), |()| Ok(None));
            }
        };
        let (total, e_tag) = (got.meta.size, got.meta.e_tag.clone());
        let (bucket, spot, stream) = (Arc::clone(bucket), spot.clone(), got.into_stream());
        Ok(Some(Self { bucket, spot, total, offset: 0, e_tag, stream, failures: 0 }))
    }

    /// The next bytes; `None` at the end. Only the object that was opened is read on, never a newer one.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let refusal = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    self.failures = 0;
                    self.offset += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None if self.offset >= self.total => return Ok(None),
                None => Refusal::Generic { store: "the store", source: "the answer was cut short".into() },
                Some(Err(refusal)) => refusal,
            };
            self.failures += 1;
            if self.failures > DOUBTS || !Trouble::of(&refusal).is_worth_a_try() {
                return Err(failed("reading", &self.spot)(&refusal));
            }
            tokio::time::sleep(pause(self.failures)).await;
            let rest = GetOptions {
                range: Some(GetRange::Offset(self.offset)),
                if_match: self.e_tag.clone(),
                ..GetOptions::default()
            };
            let got = self.bucket.objects.get_opts(&self.spot.path, rest).await;
            let got = got.map_err(|refusal| failed("reading", &self.spot)(&refusal))?;
            // Not every store heeds the condition.
            if self.e_tag.is_none() || (&got.meta.e_tag, got.meta.size) != (&self.e_tag, self.total) {
                let trouble = Trouble::new(Kind::Refused, "it has changed while it was read");
                return Err(StoreError::Remote { doing: "reading", place: self.spot.place.clone(), trouble });
            }
            self.stream = got.into_stream();
        }
    }

    /// Some of the next bytes, gathered so that each hand-over is worth its cost; nothing at the end.
    pub(super) async fn gather(&mut self) -> Result<Vec<Bytes>, StoreError> {
        /// Enough that handing it over costs little beside reading it.
        const GATHERED: usize = 1 << 20;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while bytes < GATHERED {
            let Some(chunk) = self.next().await? else { break };
            bytes += chunk.len();
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}
