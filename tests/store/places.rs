//! Archives of every kind, and what a test does to them besides what the store offers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use object_store::list::PaginatedListStore;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vfetch::engine::survey::Progress;
use vfetch::engine::verify::{VerifyOptions, verify};
use vfetch::job::{DEFAULT_ORIGIN, Defaults, JobRef};
use vfetch::layout::Key;
use vfetch::manifest::{FileRecord, Manifest};
use vfetch::sha256::Digest;
use vfetch::store::remote::RemoteStore;
use vfetch::store::{Found, Open, Proven, Staging, Store, StoreError, Version};
use vfetch::verdict::Verdict;

use super::google::{Translator, google_client};
use super::servers::{azure_client, azure_server, new_bucket, new_container, s3_client, s3_server};

/// Below which the archive lies in a bucket: two segments, so that none of them is taken for granted.
const PREFIX: &str = "clips/2026";

/// Where an archive's bytes are, for a test that looks or tampers.
enum Bytes {
    Folder(PathBuf),
    Objects(Arc<dyn ObjectStore>),
}

/// An archive, with what a test needs to use it from outside of any runtime.
pub(crate) struct Place {
    pub(crate) store: Store,
    bytes: Bytes,
    runtime: tokio::runtime::Runtime,
    staging: OnceLock<Arc<Staging>>,
    folder: TempDir,
}

impl Place {
    fn new(store: Store, bytes: Bytes, folder: TempDir) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { store, bytes, runtime, staging: OnceLock::new(), folder }
    }

    pub(crate) fn folder() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("out");
        let store = Store::open(path.to_str().unwrap(), Open::Create, true).unwrap();
        Self::new(store, Bytes::Folder(path), folder)
    }

    pub(crate) fn file_url() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("out");
        let store = Store::open(&format!("file://{}", path.display()), Open::Create, true).unwrap();
        Self::new(store, Bytes::Folder(path), folder)
    }

    pub(crate) fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    /// An archive in an object store that a test holds in its own hands.
    pub(crate) fn over(objects: Arc<dyn ObjectStore>) -> Self {
        let folder = TempDir::new().unwrap();
        let remote =
            RemoteStore::over(Arc::clone(&objects), None, PREFIX, "memory://bucket/clips/2026").unwrap();
        remote.stage_in(folder.path().join("staging"));
        Self::new(Store::remote(remote), Bytes::Objects(objects), folder)
    }

    /// The same objects through a client that cannot be relied on; the staging area was opened in better times.
    pub(crate) fn over_in_trouble(objects: Arc<dyn ObjectStore>, client: Arc<dyn ObjectStore>) -> Self {
        let (well, mut troubled) = (Self::over(objects), Self::over(client));
        troubled.staging = OnceLock::from(Arc::clone(well.staging()));
        troubled.folder = well.folder;
        troubled
    }

    /// A new bucket on the S3 server; `None` where there is no server, said on standard output.
    pub(crate) fn s3() -> Option<Self> {
        let server = s3_server()?;
        Some(Self::s3_at(server, &new_bucket(server)))
    }

    /// A bucket on an S3 server at this address, which may be a proxy's.
    pub(crate) fn s3_at(server: SocketAddr, bucket: &str) -> Self {
        Self::with_pages(s3_client(server, bucket), &format!("s3://{bucket}"))
    }

    /// A new container on the Azure server; `None` where there is no server, said on standard output.
    pub(crate) fn azure() -> Option<Self> {
        let server = azure_server()?;
        Some(Self::azure_at(server, &new_container(server)))
    }

    /// A container on an Azure server at this address, which may be a proxy's.
    pub(crate) fn azure_at(server: SocketAddr, container: &str) -> Self {
        Self::with_pages(azure_client(server, container), &format!("az://{container}"))
    }

    /// A new bucket behind Google's dialect; `None` where there is no S3 server, said on standard output.
    pub(crate) fn google() -> Option<Self> {
        let translator = Translator::new()?;
        Some(Self::google_at(translator.address, &translator.bucket))
    }

    /// A bucket behind Google's dialect at this address, which may be a proxy's.
    pub(crate) fn google_at(server: SocketAddr, bucket: &str) -> Self {
        Self::with_pages(google_client(server, bucket), &format!("gs://{bucket}"))
    }

    fn with_pages(client: impl ObjectStore + PaginatedListStore, bucket: &str) -> Self {
        let (folder, client) = (TempDir::new().unwrap(), Arc::new(client));
        let place = format!("{bucket}/{PREFIX}");
        let remote =
            RemoteStore::over(Arc::clone(&client) as _, Some(Arc::clone(&client) as _), PREFIX, &place)
                .unwrap();
        remote.stage_in(folder.path().join("staging"));
        Self::new(Store::remote(remote), Bytes::Objects(client), folder)
    }

    /// The staging area, opened once.
    pub(crate) fn staging(&self) -> &Arc<Staging> {
        self.staging.get_or_init(|| Arc::new(self.store.staging().unwrap()))
    }

    /// A file that was downloaded and proven.
    pub(crate) fn proven(&self, job: &JobRef, output: usize, bytes: &[u8]) -> Proven {
        self.runtime.block_on(self.prove(job, output, bytes))
    }

    async fn prove(&self, job: &JobRef, output: usize, bytes: &[u8]) -> Proven {
        let mut partial = self.staging().begin(job, output).unwrap();
        partial.append(bytes).unwrap();
        self.store.prove(partial, Digest::of(bytes), bytes.len() as u64).await.unwrap()
    }

    /// Commits files under the names that the record gives them.
    pub(crate) fn commit(
        &self,
        job: &JobRef,
        files: &[(usize, &[u8])],
        manifest: Manifest,
        replaces: Option<Version>,
    ) -> Result<(Manifest, Version), StoreError> {
        self.runtime.block_on(self.commit_async(job, files, manifest, replaces))
    }

    pub(crate) async fn commit_async(
        &self,
        job: &JobRef,
        files: &[(usize, &[u8])],
        manifest: Manifest,
        replaces: Option<Version>,
    ) -> Result<(Manifest, Version), StoreError> {
        let mut keyed = Vec::new();
        for (output, bytes) in files {
            let digest = Digest::of(bytes);
            let record =
                manifest.files.iter().find(|file| file.output == *output && file.sha256 == digest).unwrap();
            let key = Key::recorded(job, &record.path).unwrap();
            keyed.push((self.prove(job, *output, bytes).await, key));
        }
        self.store.commit(self.staging(), job, keyed, manifest, replaces).await
    }

    /// Commits the first record of a job with these files.
    pub(crate) fn commit_first(&self, job: &JobRef, files: &[(usize, &[u8])]) -> (Manifest, Version) {
        self.commit(job, files, record(job, files), None).unwrap()
    }

    /// The record that is visible now.
    pub(crate) fn seen(&self, job: &JobRef) -> (Manifest, Version) {
        match self.store.look(job).unwrap() {
            Found::Record(manifest, version) => (*manifest, version),
            other => panic!("{other:?}"),
        }
    }

    /// Asserts the rule of all rules: each file that the visible record names is there, byte for byte.
    pub(crate) fn holds_what_it_says(&self, job: &JobRef) {
        let (manifest, _) = self.seen(job);
        for file in &manifest.files {
            let key = Key::recorded(job, &file.path).unwrap();
            assert_eq!(self.store.hash(&key).unwrap(), (file.sha256, file.bytes), "{key}");
        }
    }

    /// The names in a job's folder, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.store.names(folder).unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// Writes bytes behind the store's back, or removes what is there.
    pub(crate) fn tamper(&self, below: &str, bytes: Option<&[u8]>) {
        match (&self.bytes, bytes) {
            (Bytes::Folder(root), Some(bytes)) => {
                std::fs::create_dir_all(root.join(below).parent().unwrap()).unwrap();
                std::fs::write(root.join(below), bytes).unwrap();
            }
            (Bytes::Folder(root), None) => std::fs::remove_file(root.join(below)).unwrap(),
            (Bytes::Objects(objects), bytes) => {
                let path = ObjectPath::parse(format!("{PREFIX}/{below}")).unwrap();
                self.runtime.block_on(async {
                    match bytes {
                        Some(bytes) => drop(objects.put(&path, bytes.to_vec().into()).await.unwrap()),
                        None => objects.delete(&path).await.unwrap(),
                    }
                });
            }
        }
    }

    /// What verifying finds, sorted.
    pub(crate) fn verify(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        self.verify_into(&mut |finding| found.push(finding))?;
        found.sort();
        Ok(found)
    }

    /// Gives what verifying finds to `take`, in no order; what was found before an error too.
    pub(crate) fn verify_into(&self, take: &mut dyn FnMut(String)) -> Result<(), StoreError> {
        let (options, stop, progress) =
            (VerifyOptions::default(), CancellationToken::new(), Progress::default());
        verify(&self.store, &options, &stop, &progress, |finding| {
            let word = match finding.verdict {
                Verdict::Whole => "whole",
                Verdict::Damaged(_) => "damaged",
                Verdict::Missing => "missing",
                Verdict::Extra => "extra",
                Verdict::Unreadable(_) => "unreadable",
            };
            take(format!("{} {word}", finding.place()));
        })?;
        Ok(())
    }

    /// How many files wait in the staging area.
    pub(crate) fn staged(&self) -> usize {
        let leftovers = self.store.leftovers().unwrap();
        leftovers.iter().filter(|leftover| leftover.kind == vfetch::store::LeftoverKind::Staged).count()
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    pub(crate) fn own_folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// A job by its id.
pub(crate) fn job(text: &str) -> JobRef {
    Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
}

/// A record that names these files, each under its plain name.
pub(crate) fn record(job: &JobRef, files: &[(usize, &[u8])]) -> Manifest {
    let mut manifest = Manifest::new(job, "2026-01-02T03:04:05Z");
    manifest.outputs = Some(files.len());
    manifest.files = files.iter().map(|(output, bytes)| file(job, *output, bytes, false)).collect();
    manifest.state = manifest.derived_state();
    manifest
}

/// A file's record, under its plain name or under the one that its digest gives it.
pub(crate) fn file(job: &JobRef, output: usize, bytes: &[u8], by_digest: bool) -> FileRecord {
    let digest = Digest::of(bytes);
    let key = Key::output(job, output, "gif", by_digest.then_some(&digest));
    let record = json!({"output": output, "path": key.name(), "bytes": bytes.len(), "sha256": digest, "kind": "gif",
        "source": "https://media.test/a.gif", "rung": "output", "attempts": 1, "archived_at": "2026-01-02T03:04:05Z"});
    serde_json::from_value(record).unwrap()
}
