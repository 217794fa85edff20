//! A commit to a bucket; the order of its steps is told in [`super`].

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::{PutMode, PutOptions, PutPayload, UpdateVersion};

use super::super::look::{Found, Version, dropped, written};
use super::super::{Proven, StoreError, at};
use super::bucket::{
    Bucket, Created, DOUBTS, Spot, attributes, failed, in_doubt, is_worth_a_try, pause, was_refused_at_once,
};
use super::trouble::{Kind, Trouble};
use super::upload::{self, Part};
use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{FileRecord, Manifest};
use crate::sha256::Digest;

/// Further names that a file is tried under: more than this are never taken.
const FURTHER_NAMES: usize = 16;
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
    let record = bucket.spot(&Key::manifest(&job).to_string())?;
    written(&job, &manifest, &record.place)?;
    let before = Before::read(&bucket, &job, &record, replaces, &folder).await?;
    let mark = format!("{:032x}", fastrand::u128(..));
    let commit = Commit { bucket: &bucket, before: &before, record: &record, mark };
    let placed = commit.place_all(&files, &manifest).await?;
    for file in &placed {
        rename(&mut manifest, &file.asked, &file.key);
    }
    let bytes = Bytes::from(written(&job, &manifest, &record.place)?);
    match commit.swap(&bytes).await? {
        Swap::Done => {
            for key in dropped(&job, &before.found, &manifest) {
                bucket.remove(&bucket.spot(&key.to_string())?).await;
            }
            let discard = move || files.iter().for_each(|(proven, _)| proven.discard());
            // What stays is swept away by the next run.
            let _ = tokio::task::spawn_blocking(discard).await;
            Ok((manifest, Version(Digest::of(&bytes))))
        }
        Swap::Lost { never_there } => {
            if never_there {
                commit.clear_away(&placed).await;
            }
            Err(StoreError::Conflict { place: folder })
        }
    }
}

/// What a commit replaces.
struct Before {
    found: Found,
    /// The bucket's word for it, for the swap; `None` where there is to be none.
    version: Option<UpdateVersion>,
}

impl Before {
    /// Reads the record again, unless there is to be none: then the swap itself finds out.
    async fn read(
        bucket: &Bucket,
        job: &JobRef,
        record: &Spot,
        replaces: Option<Version>,
        folder: &str,
    ) -> Result<Self, StoreError> {
        if replaces.is_none() {
            return Ok(Self { found: Found::Nothing, version: None });
        }
        let conflict = || StoreError::Conflict { place: folder.into() };
        let (bytes, version) = bucket.get(record).await?.ok_or_else(conflict)?;
        let found = Found::of(job, &bytes, &record.place)?;
        if found.version() != replaces {
            return Err(conflict());
        }
        Ok(Self { found, version: Some(version) })
    }

    /// The file that the record gives this name.
    fn names(&self, key: &Key) -> Option<&FileRecord> {
        let Found::Record(manifest, _) = &self.found else { return None };
        manifest.files.iter().find(|file| file.path == key.name())
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
        match &self.found {
            Found::Nothing => true,
            // A job that is worked on again has no number of outputs, whatever it had before; what its record once named is
            // remembered as lost.
            Found::Record(manifest, _) => manifest.outputs.is_none() && manifest.lost.is_empty(),
            Found::Damaged { .. } => false,
        }
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
    /// Another one is there, or none where there was one. Where no answer was lost, ours never was there.
    Lost {
        never_there: bool,
    },
}

struct Commit<'a> {
    bucket: &'a Arc<Bucket>,
    before: &'a Before,
    record: &'a Spot,
    /// Tells this commit's objects from those of all others.
    mark: String,
}

impl Commit<'_> {
    async fn place_all(
        &self,
        files: &[(Proven, Key)],
        manifest: &Manifest,
    ) -> Result<Vec<Placed>, StoreError> {
        let (mut left, mut under_way, mut placed) = (files.iter(), FuturesUnordered::new(), Vec::new());
        loop {
            while under_way.len() < FILES_AT_ONCE
                && let Some((proven, key)) = left.next()
            {
                under_way.push(self.place(proven, key, manifest));
            }
            match under_way.next().await {
                Some(file) => placed.push(file?),
                None => return Ok(placed),
            }
        }
    }

    /// Uploads a file under the first of its names that nobody has.
    async fn place(&self, proven: &Proven, asked: &Key, manifest: &Manifest) -> Result<Placed, StoreError> {
        let part = Part::open(proven)?;
        let further = asked.alternatives(part.digest).take(FURTHER_NAMES);
        for key in std::iter::once(asked.clone()).chain(further) {
            let others = self.before.names(&key).is_some_and(|file| file.sha256 != part.digest);
            let of_another = key != *asked && manifest.files.iter().any(|file| file.path == key.name());
            if others || of_another {
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
    async fn swap(&self, bytes: &Bytes) -> Result<Swap, StoreError> {
        let (spot, before) = (self.record, self.before.found.version());
        let mode = self.before.version.clone().map_or(PutMode::Create, PutMode::Update);
        let (mut failures, mut never_there) = (0, true);
        loop {
            let options = PutOptions { attributes: attributes(spot, &self.mark), ..mode.clone().into() };
            let payload = PutPayload::from_bytes(bytes.clone());
            let Err(refusal) = self.bucket.objects.put_opts(&spot.path, payload, options).await else {
                return Ok(Swap::Done);
            };
            if !in_doubt(&refusal) {
                return Err(failed("writing", spot)(&refusal));
            }
            // Ours may have been there for a moment, and be replaced by now.
            never_there &= was_refused_at_once(&refusal);
            let there = self.bucket.get(spot).await?.map(|(there, _)| there);
            if there.as_ref() == Some(bytes) {
                return Ok(Swap::Done);
            }
            let now = there.as_ref().map(|there| Version(Digest::of(there)));
            if now != before {
                return Ok(Swap::Lost { never_there });
            }
            failures += 1;
            if failures > DOUBTS || !is_worth_a_try(&refusal) {
                return Err(failed("writing", spot)(&refusal));
            }
            tracing::debug!(place = %spot.place, %failures, "the outcome of a swap is in doubt");
            tokio::time::sleep(pause(failures)).await;
        }
    }

    /// After a lost race: removes what this commit made, where it is certain that nobody else will remove it too, or
    /// comes to name it. That is so where files were named before, since others are then not adopted, and for those that
    /// the record before did not name.
    async fn clear_away(&self, placed: &[Placed]) {
        let Found::Record(before, _) = &self.before.found else { return };
        if before.outputs.is_none() {
            return;
        }
        for file in placed.iter().filter(|file| file.ours && self.before.names(&file.key).is_none()) {
            self.bucket.remove(&file.spot).await;
        }
    }
}

/// Lets the record name a file as it is called in the bucket.
fn rename(manifest: &mut Manifest, asked: &Key, key: &Key) {
    let record = manifest.files.iter_mut().find(|file| file.path == asked.name());
    if let Some(record) = record {
        key.name().clone_into(&mut record.path);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use serde_json::json;

    #[test]
    fn an_object_of_another_commit_is_named_only_where_nobody_can_be_about_to_remove_it() {
        let job = Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse("147").unwrap().job;
        let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
        let key = Key::output(&job, 0, "gif", None);
        let found = |outputs, named: Option<(&str, Digest)>| {
            let mut manifest = Manifest::new(&job, "2026-01-02T03:04:05Z");
            manifest.outputs = outputs;
            manifest.files.extend(named.map(|(path, sha256)| -> FileRecord {
                let record = json!({"output": 0, "path": path, "bytes": 4, "sha256": sha256, "kind": "gif", "source": "",
                    "rung": "output", "attempts": 1, "archived_at": ""});
                serde_json::from_value(record).unwrap()
            }));
            Found::Record(Box::new(manifest), Version(other))
        };
        let mut again = found(None, Some(("147-0.gif", ours)));
        if let Found::Record(manifest, _) = &mut again {
            manifest.lost = std::mem::take(&mut manifest.files);
        }
        let table = [
            ("no record", Found::Nothing, true),
            ("a note that the job is pending", found(None, None), true),
            ("a pending job whose file was lost", again, false),
            ("it names the object with this content", found(Some(1), Some(("147-0.gif", ours))), true),
            ("it names the object with other content", found(Some(1), Some(("147-0.gif", other))), false),
            ("it names another one", found(Some(1), Some(("147-0.12345678.gif", ours))), false),
            ("a job that has outputs, none of them here", found(Some(1), None), false),
            (
                "a record that cannot be read",
                Found::Damaged { why: String::new(), version: Version(other) },
                false,
            ),
        ];
        for (what, found, want) in table {
            assert_eq!(Before { found, version: None }.lets_adopt(&key, &ours), want, "{what}");
        }
    }
}
