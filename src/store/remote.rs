//! An archive in a bucket: object stores that speak S3, Google Cloud Storage, Azure Blob Storage.
//!
//! Parts are staged in a folder of this machine, under the user's cache or where the user says, and so is the lock that
//! keeps a second process of this machine away. Many machines may write to one bucket all the same: what keeps them
//! apart are the store's own conditional writes, and a store that ignores the conditions is refused.
//!
//! [`RemoteStore::commit`] is a protocol. Nothing in it writes over an object, but for the record, which is swapped:
//!
//! 1. The record is read again: if it is no longer the one that the caller saw, the commit ends here as a conflict.
//! 2. Each proven file is read back, hashed once more and uploaded, to S3 with its checksum, on the condition that nothing has
//!    its key. Where another commit's object has it, the file takes a further name of its output. Such an object is
//!    named in place of an upload only where no record ever named a file, and its bytes are the right ones: only then
//!    is it certain that nobody is about to remove it.
//! 3. An answer that is lost or unclear is settled by a look. Objects carry a mark of the commit that made them, and the
//!    record is compared byte for byte, so a second try is never taken for somebody else's success.
//! 4. With every file confirmed the record is swapped: created where there was none, else put over the version that was
//!    read in step 1. Whoever comes second gets a conflict, and removes what only it can ever have known of.
//! 5. Files that only the old record named are removed, if the new one is complete and has another for their output.
//!
//! A name may be used again only while nobody is left who would still remove what had it before. Hence each object has
//! one remover at most: the commit whose record no longer names it, or, before any record did, the one that made it. A
//! repair puts an object aside only after it has swapped the job's record for one that says the same: a commit that
//! was about to name the object gets a conflict.
//!
//! A commit that is cut short leaves whole objects without a record, and of a large file perhaps pieces; a lifecycle rule
//! of the bucket for unfinished uploads removes those.
//!
//! Requests run on threads of this store's own, so that the calls that block may be made from any thread.

mod address;
mod bucket;
mod commit;
mod credentials;
mod trouble;
mod upload;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};

use bytes::Bytes;
use object_store::list::PaginatedListStore;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload, UpdateVersion};
use tokio::runtime::{Builder, Handle, Runtime};

use super::disk::{Entry, RealDisk};
use super::local::LocalStore;
use super::look::{Found, Leftover, LeftoverKind, Record, Version};
use super::{Folders, Proven, Staging, StoreError, at, ctx};
use crate::job::JobRef;
use crate::layout::{self, Key, MANIFEST_NAME, PRIVATE_FOLDER};
use crate::manifest::{FileRecord, Manifest};
use crate::sha256::Digest;
use address::Patience;
pub(super) use address::{Address, Place};
use bucket::{Bucket, Reader, attributes, failed, lost_race};
pub use trouble::{Kind, Trouble};

/// Where bad files are put aside, below the private folder.
const QUARANTINE_FOLDER: &str = "quarantine";
/// An object that says that this is an archive, and on which the store's conditions are tried.
const MARKER: &str = "archive.txt";
/// What stands in it.
const MARKER_TEXT: &str =
    "An archive of vfetch. This object is how each run finds out whether the store keeps conditions.\n";
/// The folder of all staging areas, below the user's cache.
const CACHE_FOLDER: &str = "vfetch";

/// An archive in a bucket.
#[derive(Debug)]
pub struct RemoteStore {
    /// The same bucket for the first request of a run, with less patience.
    door: Arc<Bucket>,
    bucket: Arc<Bucket>,
    threads: Threads,
    staging: OnceLock<PathBuf>,
    staging_name: String,
}

impl RemoteStore {
    /// The archive at an address, with the client that the environment describes. Sends nothing.
    pub(super) fn open(address: &Address) -> Result<Self, StoreError> {
        let bucket = |(objects, pages)| {
            Bucket::new(objects, Some(pages), address.prefix.clone(), address.place.clone())
        };
        let (first, then) = (address.connect(Patience::Short)?, address.connect(Patience::Long)?);
        Self::of(Arc::new(bucket(first)), Arc::new(bucket(then)), address.folder_name())
    }

    /// The archive in an object store that is open already, below a prefix; `place` is what it is called. A store that
    /// lists in pages has `pages` too; without them the names of all folders are in memory at once.
    pub fn over(
        objects: Arc<dyn ObjectStore>,
        pages: Option<Arc<dyn PaginatedListStore>>,
        prefix: &str,
        place: &str,
    ) -> Result<Self, StoreError> {
        let prefix = ObjectPath::parse(prefix)
            .map_err(|error| StoreError::BadPlace { place: place.into(), why: error.to_string() })?;
        let name = Digest::of(place.as_bytes()).to_string();
        let bucket = Arc::new(Bucket::new(objects, pages, prefix, place.trim_end_matches('/').into()));
        Self::of(Arc::clone(&bucket), bucket, name)
    }

    fn of(door: Arc<Bucket>, bucket: Arc<Bucket>, staging_name: String) -> Result<Self, StoreError> {
        let threads = Threads::start().map_err(ctx("starting threads for", &bucket.place))?;
        Ok(Self { door, bucket, threads, staging: OnceLock::new(), staging_name })
    }

    /// Stages parts below this folder instead of the user's cache, in one of its own for each archive; the first word on
    /// it holds.
    pub fn stage_in(&self, folder: PathBuf) {
        let _ = self.staging.set(folder);
    }

    /// Opens and locks the staging area, once it is certain that the bucket can be written to under a condition.
    pub fn staging(&self) -> Result<Staging, StoreError> {
        let why =
            "neither XDG_CACHE_HOME nor HOME says where files can be staged; name a folder with --staging";
        let nowhere = || StoreError::BadPlace { place: self.bucket.place.clone(), why: why.into() };
        let folder = self.staging_folder().ok_or_else(nowhere)?;
        let bucket = Arc::clone(&self.door);
        self.threads.wait(async move { keeps_conditions(&bucket).await })?;
        // What is staged here is worth one download: the bucket is what makes it last.
        LocalStore::create(RealDisk, &folder, false)?.staging()
    }

    /// A note of an earlier run on this machine. Blocks. Notes are kept where parts are staged: another machine's runs
    /// know nothing of them.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(folder) = self.staging_folder() else { return Ok(None) };
        match LocalStore::open(RealDisk, &folder, false) {
            Ok(here) => here.note(name),
            // Nothing was ever staged here.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes something for a later run on this machine. Blocks.
    pub fn keep_note(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self.staging_folder() {
            Some(folder) => LocalStore::create(RealDisk, &folder, false)?.keep_note(name, bytes),
            // Without a place for it a later run starts without the note, and learns anew.
            None => Ok(()),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the user's cache is where the environment says, as for every program"
    )]
    fn staging_folder(&self) -> Option<PathBuf> {
        let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = || named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
        let below = self.staging.get().cloned().or_else(|| Some(cache()?.join(CACHE_FOLDER)));
        Some(below?.join(&self.staging_name))
    }

    /// Whether something below the prefix belongs to an archive. Blocks.
    pub fn is_archive(&self) -> Result<bool, StoreError> {
        let (bucket, private) = (Arc::clone(&self.door), PRIVATE_FOLDER);
        let marked = self.threads.wait(async move { bucket.list(private).await })?;
        if !marked.objects.is_empty() || !marked.common_prefixes.is_empty() {
            return Ok(true);
        }
        for folder in self.folders()? {
            match self.record_in(&folder?) {
                Ok(Record::Nothing) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Reads a job's record: one request. Blocks.
    pub fn look(&self, job: &JobRef) -> Result<Found, StoreError> {
        let (spot, bytes) = self.record(Key::manifest(job).folder())?;
        bytes.map_or(Ok(Found::Nothing), |bytes| Found::of(job, &bytes, &spot))
    }

    /// The record in a folder, whoever it belongs to: one request. Blocks.
    pub fn record_in(&self, folder: &str) -> Result<Record, StoreError> {
        let (_, bytes) = self.record(folder)?;
        Ok(bytes.map_or(Record::Nothing, |bytes| Record::of(folder, &bytes)))
    }

    fn record(&self, folder: &str) -> Result<(String, Option<Bytes>), StoreError> {
        let spot = self.bucket.spot(&at(folder, MANIFEST_NAME))?;
        let (bucket, place) = (Arc::clone(&self.bucket), spot.place.clone());
        let bytes = self.threads.wait(async move { Ok(bucket.get(&spot).await?.map(|(bytes, _)| bytes)) })?;
        Ok((place, bytes))
    }

    /// Which of a record's files are there with their size, in its order: one request. Blocks.
    pub fn present(&self, job: &JobRef, manifest: &Manifest) -> Result<Vec<bool>, StoreError> {
        if manifest.files.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.names(&layout::folder(job))?;
        let is_there = |file: &FileRecord| {
            let key = Key::recorded(job, &file.path);
            key.is_some_and(|key| {
                there.iter().any(|(name, entry)| name == key.name() && *entry == Entry::File(file.bytes))
            })
        };
        Ok(manifest.files.iter().map(is_there).collect())
    }

    /// Reads a job's record as [`Self::look`] does, and says which of its files are there, as [`Self::present`]. Blocks.
    pub fn look_through(&self, job: &JobRef) -> Result<(Found, Vec<bool>), StoreError> {
        let found = self.look(job)?;
        let present = match &found {
            Found::Record(manifest, _) => self.present(job, manifest)?,
            Found::Nothing | Found::Damaged { .. } => Vec::new(),
        };
        Ok((found, present))
    }

    /// What lies in a folder, in no order, the record included. Blocks.
    pub fn names(&self, folder: &str) -> Result<Vec<(String, Entry)>, StoreError> {
        let (bucket, below) = (Arc::clone(&self.bucket), folder.to_owned());
        let listed = self.threads.wait(async move { bucket.list(&below).await })?;
        let files = listed.objects.iter().map(|object| (&object.location, Entry::File(object.size)));
        let folders = listed.common_prefixes.iter().map(|path| (path, Entry::Folder));
        let named =
            files.chain(folders).filter_map(|(path, entry)| Some((path.filename()?.to_owned(), entry)));
        Ok(named.collect())
    }

    /// The names at the root that may be job folders, a page at a time. Blocks.
    pub fn folders(&self) -> Result<Folders, StoreError> {
        let (bucket, handle) = (Arc::clone(&self.bucket), self.threads.handle());
        let pages = PageWalk { bucket, handle, names: Vec::new().into_iter(), next: Next::First };
        Ok(Box::new(pages.filter(|name| name.as_ref().map_or(true, |name| layout::may_be_folder(name)))))
    }

    /// Opens an archived file to read its bytes. Blocks.
    pub fn contents(&self, key: &Key) -> Result<Contents<'_>, StoreError> {
        let spot = self.bucket.spot(&key.to_string())?;
        let (bucket, place) = (Arc::clone(&self.bucket), spot.place.clone());
        let opened = self.threads.wait(async move { Reader::open(&bucket, &spot).await })?;
        let reader = opened.ok_or_else(|| ctx("opening", &place)(io::ErrorKind::NotFound.into()))?;
        let (chunks, chunk) = (Vec::new().into_iter(), Bytes::new());
        Ok(Contents { threads: &self.threads, place, reader: Some(reader), chunks, chunk })
    }

    /// The digest of an archived file's bytes, and how many there are. Blocks for as long as reading it takes.
    pub fn hash(&self, key: &Key) -> Result<(Digest, u64), StoreError> {
        let spot = self.bucket.spot(&key.to_string())?;
        let (bucket, place) = (Arc::clone(&self.bucket), spot.place.clone());
        let hashed = self.threads.wait(async move { bucket.hash(&spot).await })?;
        hashed.ok_or_else(|| ctx("opening", &place)(io::ErrorKind::NotFound.into()))
    }

    /// Parts of unfinished downloads on this machine, and files in the bucket that were put aside. Blocks.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        let mut found = self.staged()?;
        let (bucket, below) = (Arc::clone(&self.bucket), format!("{PRIVATE_FOLDER}/{QUARANTINE_FOLDER}"));
        let aside = self.threads.wait(async move {
            let mut aside = Vec::new();
            for folder in bucket.list(&below).await?.common_prefixes {
                let Some(folder) = folder.filename() else { continue };
                let below = at(&below, folder);
                let listed = bucket.list(&below).await?.objects.into_iter();
                aside.extend(listed.filter_map(|object| {
                    let place = at(&below, object.location.filename()?);
                    Some(Leftover { kind: LeftoverKind::Quarantined, place, bytes: object.size })
                }));
            }
            Ok(aside)
        })?;
        found.extend(aside);
        Ok(found)
    }

    /// The jobs of which parts are here, on this machine, that a run can go on with. Blocks.
    pub fn part_jobs(&self) -> Result<Vec<JobRef>, StoreError> {
        self.staging_store()?.map_or_else(|| Ok(Vec::new()), |(local, _)| local.part_jobs())
    }

    fn staged(&self) -> Result<Vec<Leftover>, StoreError> {
        let Some((local, root)) = self.staging_store()? else { return Ok(Vec::new()) };
        let parts = local.leftovers()?.into_iter();
        Ok(parts.map(|part| Leftover { place: at(&root, &part.place), ..part }).collect())
    }

    /// The folder of the staging area, and where it is; `None` where nothing was ever staged.
    fn staging_store(&self) -> Result<Option<(LocalStore<RealDisk>, String)>, StoreError> {
        let Some(folder) = self.staging_folder() else { return Ok(None) };
        match LocalStore::open(RealDisk, &folder, false) {
            Ok(local) => Ok(Some((local, folder.display().to_string()))),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves what has this name in a job's folder into the quarantine, never over something else; says where it is now,
    /// below the root, or `None` where there was nothing to move. Blocks.
    pub fn put_aside(&self, folder: &str, name: &str) -> Result<Option<String>, StoreError> {
        let (bucket, from) = (Arc::clone(&self.bucket), at(folder, name));
        let aside = format!("{PRIVATE_FOLDER}/{QUARANTINE_FOLDER}/{from}");
        self.threads.wait(async move { put_aside(&bucket, &from, aside).await })
    }

    /// Makes these files and this record the job's, in place of the record that `replaces` names. The record that comes
    /// back says under which names they are.
    ///
    /// May be called again after a failure. Runs to its end even where the caller no longer waits for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the record is no longer that one; [`StoreError::Foreign`] and
    /// [`StoreError::Newer`] as for a look; [`StoreError::Remote`] where the store refuses; [`StoreError::Io`] where
    /// the staging area does.
    pub async fn commit(
        &self,
        job: &JobRef,
        files: Vec<(Proven, Key)>,
        manifest: Manifest,
        replaces: Option<Version>,
    ) -> Result<(Manifest, Version), StoreError> {
        let (bucket, job) = (Arc::clone(&self.bucket), job.clone());
        let work = self.threads.handle().spawn(commit::commit(bucket, job, files, manifest, replaces));
        match work.await {
            Ok(done) => done,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(stopped(&self.bucket.place)),
        }
    }
}

fn stopped(place: &str) -> StoreError {
    ctx("talking to", place)(io::Error::other("the run is being stopped"))
}

/// Tries on the archive's marker whether the store refuses what it has to refuse: to create what is there, and to put
/// something over another version than the one that is there.
async fn keeps_conditions(bucket: &Bucket) -> Result<(), StoreError> {
    let spot = bucket.spot(&format!("{PRIVATE_FOLDER}/{MARKER}"))?;
    let put = async |mode: PutMode| {
        let options = PutOptions { attributes: attributes(&spot, "marker"), ..mode.into() };
        match bucket
            .objects
            .put_opts(&spot.path, PutPayload::from_static(MARKER_TEXT.as_bytes()), options)
            .await
        {
            Ok(_) => Ok(true),
            Err(refusal) if lost_race(&refusal) => Ok(false),
            Err(refusal) => Err(failed("writing", &spot)(&refusal)),
        }
    };
    // The first of these makes the marker where the archive is new.
    let made_twice = put(PutMode::Create).await? && put(PutMode::Create).await?;
    let another = UpdateVersion { e_tag: Some(ANOTHER_TAG.into()), version: Some(ANOTHER_GENERATION.into()) };
    if !made_twice && !put(PutMode::Update(another)).await? {
        return Ok(());
    }
    let why = "it ignores the conditions If-None-Match and If-Match, so two writers could spoil each other's records";
    Err(StoreError::Remote {
        doing: "writing",
        place: bucket.place.clone(),
        trouble: Trouble::new(Kind::Unfit, why),
    })
}

/// No object has this tag: it is no digest of anything that anybody stores.
const ANOTHER_TAG: &str = "\"00000000000000000000000000000000\"";
/// Nor this generation, which would be of the year 1970.
const ANOTHER_GENERATION: &str = "1";

async fn put_aside(bucket: &Bucket, from: &str, aside: String) -> Result<Option<String>, StoreError> {
    use object_store::ObjectStoreExt;
    let from = bucket.spot(from)?;
    let Some(bad) = bucket.head(&from).await? else { return Ok(None) };
    let mut free = aside.clone();
    let mut tried = 0_u32;
    while bucket.head(&bucket.spot(&free)?).await?.is_some() {
        tried += 1;
        free = format!("{aside}.{tried}");
    }
    let to = bucket.spot(&free)?;
    bucket
        .objects
        .copy(&from.path, &to.path)
        .await
        .map_err(|refusal| failed("putting aside", &from)(&refusal))?;
    if bucket.head(&to).await?.map(|copy| copy.bytes) != Some(bad.bytes) {
        let trouble = Trouble::new(Kind::Unreachable, format!("no whole copy of it is at {}", to.place));
        return Err(StoreError::Remote { doing: "putting aside", place: from.place, trouble });
    }
    bucket.objects.delete(&from.path).await.map_err(|refusal| failed("removing", &from)(&refusal))?;
    Ok(Some(free))
}

/// The names at the root, fetched a page at a time.
struct PageWalk {
    bucket: Arc<Bucket>,
    handle: Handle,
    names: std::vec::IntoIter<String>,
    next: Next,
}

/// Which page comes next.
enum Next {
    First,
    After(String),
    None,
}

impl Iterator for PageWalk {
    type Item = Result<String, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(name) = self.names.next() {
                return Some(Ok(name));
            }
            let token = match std::mem::replace(&mut self.next, Next::None) {
                Next::First => None,
                Next::After(token) => Some(token),
                Next::None => return None,
            };
            let bucket = Arc::clone(&self.bucket);
            let place = self.bucket.place.clone();
            match wait(&self.handle, &place, async move { bucket.page(token).await }) {
                Ok((names, token)) => {
                    self.names = names.into_iter();
                    self.next = token.map_or(Next::None, Next::After);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// An archived file that is being read, from its first byte to its last.
pub struct Contents<'a> {
    threads: &'a Threads,
    place: String,
    /// `None` after an error.
    reader: Option<Reader>,
    chunks: std::vec::IntoIter<Bytes>,
    chunk: Bytes,
}

impl Contents<'_> {
    /// The next bytes; none at the end. Blocks.
    ///
    /// # Errors
    /// Where the store refuses, and more than once; after that there is nothing to be read any more.
    pub fn read(&mut self) -> Result<&[u8], StoreError> {
        if self.chunks.len() == 0 {
            let mut reader = self.reader.take().ok_or_else(|| stopped(&self.place))?;
            let (chunks, reader) = self.threads.wait(async move { Ok((reader.gather().await?, reader)) })?;
            (self.chunks, self.reader) = (chunks.into_iter(), Some(reader));
        }
        self.chunk = self.chunks.next().unwrap_or_default();
        Ok(&self.chunk)
    }
}

/// Threads that requests run on. Who waits for one may be any thread, a runtime's own included: nothing that it
/// waits for needs that runtime.
#[derive(Debug)]
struct Threads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("bucket").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        wait(&self.handle, "the bucket", work)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime may not be waited for inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn wait<T: Send + 'static>(
    handle: &Handle,
    place: &str,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    handle.spawn(async move {
        // Nobody listens any more where the waiting thread is gone.
        let _ = sender.send(work.await);
    });
    receiver.recv().unwrap_or_else(|_| Err(stopped(place)))
}
