//! Many writers, one job, and a network that delays, loses and repeats: whatever they do, the visible record is true.
//!
//! Each writer has a store of its own over the same objects, as on a machine of its own. Between a writer and the
//! objects stands [`Shaky`]: requests take their time, answers get lost, what was lost may still be carried out later,
//! and now and then a writer's machine dies for good. A witness reads the record and each file that it names, over and
//! over, while all this goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use vfetch::job::JobRef;
use vfetch::manifest::Manifest;
use vfetch::sha256::Digest;
use vfetch::store::{Found, StoreError};

use super::places::{Place, file, job};

/// How often in a hundred requests an answer gets lost.
const LOST: u64 = 8;
/// How many requests a writer lives, at least and at most.
const LIFE: (u64, u64) = (5, 200);

/// The objects, over a network that cannot be relied on.
#[derive(Debug)]
struct Shaky {
    objects: Arc<InMemory>,
    /// Requests until the writer dies.
    life: AtomicU64,
}

impl std::fmt::Display for Shaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a shaky store")
    }
}

fn lost() -> Error {
    Error::Generic { store: "shaky", source: "the answer is lost".into() }
}

async fn moment() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..300))).await;
}

impl Shaky {
    /// Carries a request out: at once, with its answer lost, or later, when nobody waits for it any more.
    async fn shaken<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.life.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            // Dead: nothing that this writer does has any effect, and nobody hears of it.
            return Err(Error::NotSupported { source: "dead".into() });
        }
        moment().await;
        if fastrand::u64(0..100) >= LOST {
            let done = work.await;
            moment().await;
            return done;
        }
        tokio::spawn(async move {
            if fastrand::bool() {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..30))).await;
            }
            drop(work.await);
        });
        moment().await;
        Err(lost())
    }
}

impl ObjectStore for Shaky {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        payload: PutPayload,
        opts: PutOptions,
    ) -> BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        let (objects, location) = (Arc::clone(&self.objects), location.clone());
        self.shaken(async move { objects.put_opts(&location, payload, opts).await }).boxed()
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        _: &'b ObjectPath,
        _: PutMultipartOptions,
    ) -> BoxFuture<'c, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
    {
        unimplemented!("the files of this test are small")
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        options: GetOptions,
    ) -> BoxFuture<'c, Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        // Reading again is the client's own affair, and its answers are not lost here.
        async move {
            moment().await;
            self.objects.get_opts(location, options).await
        }
        .boxed()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        let (objects, life) = (Arc::clone(&self.objects), self.life.load(Ordering::SeqCst));
        locations
            .then(move |location| {
                let objects = Arc::clone(&objects);
                async move {
                    let location = location?;
                    if life == 0 {
                        return Err(lost());
                    }
                    // The slower a removal, the more may have happened before it.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
                    objects.delete(&location).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b ObjectPath>,
    ) -> BoxFuture<'c, Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        self.objects.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b ObjectPath,
        to: &'d ObjectPath,
        options: CopyOptions,
    ) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
    {
        self.objects.copy_opts(from, to, options)
    }
}

/// One writer's life: it reads the record, and commits one with other contents over it, until it dies or time is over.
async fn write(place: &Place, job: &JobRef, over: &AtomicBool, swaps: &AtomicU64) {
    while !over.load(Ordering::SeqCst) {
        let found = match place.store.look(job) {
            Ok(found) => found,
            Err(StoreError::Remote { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        let before = match &found {
            Found::Record(manifest, _) => Some(manifest),
            Found::Nothing => None,
            Found::Damaged { why, .. } => panic!("{why}"),
        };
        if before.is_none() && fastrand::bool() {
            let note = Manifest::new(job, "2026-01-02T03:04:05Z");
            let _ = place.commit_async(job, &[], note, None).await;
            continue;
        }
        let outputs = fastrand::usize(1..=2);
        let mut manifest =
            before.map_or_else(|| Manifest::new(job, "2026-01-02T03:04:05Z"), |found| (**found).clone());
        let visible = std::mem::take(&mut manifest.files);
        manifest.updated_at = fastrand::u64(..).to_string();
        manifest.outputs = Some(outputs);
        let mut files: Vec<(usize, &[u8])> = Vec::new();
        for output in 0..outputs {
            // Few contents, so that names come back soon after they were dropped.
            let bytes: &[u8] = [b"one".as_slice(), b"two", b"three"][fastrand::usize(0..3)];
            // As the engine chooses: the plain name, unless the visible record gives it to other bytes.
            let plain = file(job, output, bytes, false);
            let taken = visible.iter().any(|file| file.path == plain.path && file.sha256 != plain.sha256);
            manifest.files.push(if taken { file(job, output, bytes, true) } else { plain });
            files.push((output, bytes));
        }
        manifest.state = manifest.derived_state();
        let work = place.commit_async(job, &files, manifest, found.version());
        match work.await {
            Ok(_) => drop(swaps.fetch_add(1, Ordering::SeqCst)),
            Err(StoreError::Remote { trouble, .. }) if trouble.kind == vfetch::store::remote::Kind::Unfit => {
                return;
            }
            Err(StoreError::Conflict { .. } | StoreError::Remote { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads the record and each file that it names; a record that is still the same after that must have been true.
async fn witness(objects: &InMemory, folder: &str, over: &AtomicBool) {
    let record = ObjectPath::parse(format!("{folder}/manifest.json")).unwrap();
    let read = async || match objects.get(&record).await {
        Ok(got) => Some(got.bytes().await.unwrap()),
        Err(_) => None,
    };
    while !over.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
        let Some(before) = read().await else { continue };
        let manifest = Manifest::read(&before).unwrap();
        for file in &manifest.files {
            let path = ObjectPath::parse(format!("{folder}/{}", file.path)).unwrap();
            let bytes = match objects.get(&path).await {
                Ok(got) => Some(got.bytes().await.unwrap()),
                Err(_) => None,
            };
            let is_true = bytes.as_ref().is_some_and(|bytes| Digest::of(bytes) == file.sha256);
            let still = read().await == Some(before.clone());
            assert!(is_true || !still, "{} names {}, which holds {bytes:?}", record, file.path);
        }
    }
}

#[test]
fn whatever_many_writers_do_the_visible_record_is_true() {
    const WRITERS: usize = 4;
    let rounds = std::env::var("VFETCH_TEST_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());

    let (job, swaps) = (job("147"), AtomicU64::new(0));
    for _ in 0..rounds {
        let objects = Arc::new(InMemory::new());
        let shaky = || {
            Arc::new(Shaky {
                objects: Arc::clone(&objects),
                life: AtomicU64::new(fastrand::u64(LIFE.0..LIFE.1)),
            })
        };
        // The staging areas are opened while the network is well: what is tested is the commit.
        let places: Vec<Place> =
            (0..WRITERS).map(|_| Place::over_in_trouble(Arc::clone(&objects) as _, shaky())).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = places
                .iter()
                .map(|place| scope.spawn(|| place.runtime().block_on(write(place, &job, &over, &swaps))))
                .collect();
            let watch = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(witness(&objects, "clips/2026/147", &over));
            });
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(10));
                if watch.is_finished() || writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    break;
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        let place = Place::over(objects);
        if matches!(place.store.look(&job).unwrap(), Found::Record(..)) {
            place.holds_what_it_says(&job);
        }
    }
    assert!(swaps.load(Ordering::SeqCst) > rounds, "the writers did get on");
}
