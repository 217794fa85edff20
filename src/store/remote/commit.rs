//! A commit to a bucket; the order of its steps is told in [`super`].

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::{PutMode, PutOptions, PutPayload, UpdateVersion};

use super::super::look::{Found, Version};
use super::super::{Proven, StoreError, at};
use super::bucket::{Bucket, Created, DOUBTS, Spot, attributes, failed, in_doubt, is_worth_a_try, pause};
use super::trouble::{Kind, Trouble};
use super::upload::{self, Part};
use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{Digest, FileRecord, Manifest};

/// Files of one job that are uploaded at once.
const FILES_AT_ONCE: usize = 8;

/// Commits a job; see [`super::RemoteStore::commit`].
pub(super) async fn commit(
    bucket: Arc<Bucket>,
    job: JobRef,
    files: Vec<(Proven, Key)>,
    mut manifest: Manifest,
    replaces: Option<Version>,
) -> Result<(Manifest, Version), StoreError> {
    let folder = at(&bucket.place, Key::manifest(&job).folder());
    let before = Before::read(&bucket, &job, replaces, &folder).await?;
    let commit = Commit { bucket: &bucket, before: &before, mark: format!("{:032x}", fastrand::u128(..)) };
    let placed = commit.place_all(&files).await?;
    for file in &placed {
        rename(&mut manifest, &file.asked, &file.key);
    }
    let bytes = Bytes::from(manifest.to_bytes());
    match commit.swap(&job, &bytes).await? {
        Swap::Done => {
            for name in before.names_beside(&manifest) {
                bucket.remove(&bucket.spot(&format!("{}/{name}", Key::manifest(&job).folder()))?).await;
            }
            // The parts have served; one that cannot be removed is swept away by the next run.
            let _ = tokio::task::spawn_blocking(move || {
                files.iter().for_each(|(proven, _)| upload::discard(proven))
            })
            .await;
            Ok((manifest, Version(Digest::of(&bytes))))
        }
        Swap::Lost(winner) => {
            commit.clear_away(&placed, winner.as_deref()).await;
            Err(StoreError::Conflict { place: folder })
        }
    }
}

/// The record that a commit replaces.
struct Before {
    manifest: Option<Box<Manifest>>,
    /// Its content, and the bucket's word for it; `None` where there is to be none.
    version: Option<(Version, UpdateVersion)>,
}

impl Before {
    /// Reads the record again, unless there is to be none: then the swap itself finds out.
    async fn read(
        bucket: &Bucket,
        job: &JobRef,
        replaces: Option<Version>,
        folder: &str,
    ) -> Result<Self, StoreError> {
        let Some(replaces) = replaces else { return Ok(Self { manifest: None, version: None }) };
        let conflict = || StoreError::Conflict { place: folder.into() };
        let spot = bucket.spot(&Key::manifest(job).to_string())?;
        let (bytes, version) = bucket.get(&spot).await?.ok_or_else(conflict)?;
        let found = Found::of(job, &bytes, &spot.place)?;
        if found.version() != Some(replaces) {
            return Err(conflict());
        }
        let manifest = if let Found::Record(manifest, _) = found { Some(manifest) } else { None };
        Ok(Self { manifest, version: Some((replaces, version)) })
    }

    fn files(&self) -> &[FileRecord] {
        self.manifest.as_ref().map_or(&[], |manifest| &manifest.files)
    }

    /// The file that the record gives this name.
    fn names(&self, key: &Key) -> Option<&FileRecord> {
        self.files().iter().find(|file| file.path == key.name())
    }

    /// Whether an object of this content under this name, made by another commit, is as good as one of our own.
    ///
    /// | the record | an object under a name of ours | may be named |
    /// | --- | --- | --- |
    /// | names it with this content | is what is to be there | yes |
    /// | there is none, or none that ever named a file | was left by a commit that was cut short | yes |
    /// | any other | may be about to be removed by whoever dropped it | no |
    fn lets_adopt(&self, key: &Key, digest: &Digest) -> bool {
        if let Some(file) = self.names(key) {
            return file.sha256 == *digest;
        }
        match (&self.manifest, &self.version) {
            (None, None) => true,
            // Once the number of outputs is known it stays known, so this record never named a file.
            (Some(manifest), _) => manifest.outputs.is_none(),
            (None, Some(_)) => false,
        }
    }

    /// Names that this record has and the new one has not.
    fn names_beside(&self, manifest: &Manifest) -> Vec<String> {
        let names = self.files().iter().map(|file| &file.path);
        names.filter(|name| manifest.files.iter().all(|file| file.path != **name)).cloned().collect()
    }
}

/// A file that is in the bucket.
struct Placed {
    asked: Key,
    key: Key,
    spot: Spot,
    /// Whether this commit made it.
    ours: bool,
}

/// What became of the record.
enum Swap {
    Done,
    /// Another one is there, with these bytes, or none where there was one.
    Lost(Option<Bytes>),
}

struct Commit<'a> {
    bucket: &'a Arc<Bucket>,
    before: &'a Before,
    /// Tells this commit's objects from those of all others.
    mark: String,
}

impl Commit<'_> {
    async fn place_all(&self, files: &[(Proven, Key)]) -> Result<Vec<Placed>, StoreError> {
        let (mut left, mut under_way, mut placed) = (files.iter(), FuturesUnordered::new(), Vec::new());
        loop {
            while under_way.len() < FILES_AT_ONCE
                && let Some((proven, key)) = left.next()
            {
                under_way.push(self.place(proven, key));
            }
            match under_way.next().await {
                Some(file) => placed.push(file?),
                None => return Ok(placed),
            }
        }
    }

    /// Uploads a file under the first of its names that nobody has.
    async fn place(&self, proven: &Proven, asked: &Key) -> Result<Placed, StoreError> {
        let part = Part::open(proven).await?;
        let names = std::iter::once(asked.clone()).chain(asked.alternatives(&part.digest));
        for key in names {
            if self.before.names(&key).is_some_and(|file| file.sha256 != part.digest) {
                continue;
            }
            let spot = self.bucket.spot(&key.to_string())?;
            let placed = |ours| Placed { asked: asked.clone(), key: key.clone(), spot: spot.clone(), ours };
            match upload::upload(self.bucket, &spot, &part, &self.mark).await? {
                Created::Here => return Ok(placed(true)),
                Created::Taken(there)
                    if there.bytes == part.bytes
                        && self.before.lets_adopt(&key, &part.digest)
                        && self.bucket.hash(&spot).await? == Some((part.digest, part.bytes)) =>
                {
                    return Ok(placed(false));
                }
                Created::Taken(_) => tracing::debug!(place = %spot.place, "the name is taken"),
            }
        }
        let trouble = Trouble::new(Kind::Refused, "every name for it is taken by other bytes");
        Err(StoreError::Remote {
            doing: "naming",
            place: at(&self.bucket.place, &asked.to_string()),
            trouble,
        })
    }

    /// Puts the record in the place of the one before, and says for certain whether it is there.
    ///
    /// | the answer | the record that is there now | so ours is |
    /// | --- | --- | --- |
    /// | done | | there |
    /// | it has changed, or no clear answer | ours | there |
    /// | it has changed, or no clear answer | the one before | put again, unless that was done often enough |
    /// | it has changed, or no clear answer | another one | lost |
    /// | refused | | an error |
    async fn swap(&self, job: &JobRef, bytes: &Bytes) -> Result<Swap, StoreError> {
        let spot = self.bucket.spot(&Key::manifest(job).to_string())?;
        let before = self.before.version.as_ref();
        let mode = before.map_or(PutMode::Create, |(_, version)| PutMode::Update(version.clone()));
        let mut failures = 0;
        loop {
            let options = PutOptions { attributes: attributes(&spot, &self.mark), ..mode.clone().into() };
            let payload = PutPayload::from_bytes(bytes.clone());
            let Err(refusal) = self.bucket.objects.put_opts(&spot.path, payload, options).await else {
                return Ok(Swap::Done);
            };
            if !in_doubt(&refusal) {
                return Err(failed("writing", &spot)(&refusal));
            }
            let there = self.bucket.get(&spot).await?.map(|(there, _)| there);
            if there.as_ref() == Some(bytes) {
                return Ok(Swap::Done);
            }
            let now = there.as_ref().map(|there| Version(Digest::of(there)));
            if now != before.map(|(version, _)| *version) {
                return Ok(Swap::Lost(there));
            }
            failures += 1;
            if failures > DOUBTS || !is_worth_a_try(&refusal) {
                return Err(failed("writing", &spot)(&refusal));
            }
            tracing::debug!(place = %spot.place, %failures, "the outcome of a swap is in doubt");
            tokio::time::sleep(pause(failures)).await;
        }
    }

    /// After a lost race: removes what this commit made and the winner does not name. Nobody else will ever name it:
    /// objects of others are adopted only where no record is.
    async fn clear_away(&self, placed: &[Placed], winner: Option<&[u8]>) {
        let Some(Ok(winner)) = winner.map(Manifest::read) else { return };
        let named = |file: &Placed| winner.files.iter().any(|record| record.path == file.key.name());
        for file in placed.iter().filter(|file| file.ours && !named(file)) {
            self.bucket.remove(&file.spot).await;
        }
    }
}

fn rename(manifest: &mut Manifest, asked: &Key, key: &Key) {
    let record = manifest.files.iter_mut().find(|file| file.path == asked.name());
    if let Some(record) = record {
        key.name().clone_into(&mut record.path);
    }
}
