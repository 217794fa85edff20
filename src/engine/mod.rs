//! The engine: polls, plans, downloads, commits, and reports what happens.
//!
//! [`archive::archive`] takes many jobs, [`glance`] looks whether there is anything to do, [`fetch`] works on one job,
//! [`haul`] on its outputs, [`output`] on one of them over all its sources, [`download`] makes one attempt at one source,
//! and [`assembly`] puts the bytes together. A [`Session`] holds what they share.
//!
//! Four limits keep a run within bounds:
//! - *slots*: files transferred at once (`--jobs`);
//! - *lanes*: requests at once to one host (`--max-per-host`), adapted to what the host bears;
//! - *ready*: jobs that are asked for, or whose links are known and no transfer has begun. Among them those that die first
//!   go first ([`gate`]), so there are many of them, and not so many that links grow old in the queue;
//! - *under way* and *waiting*: jobs ([`archive`]).
//!
//! A job that waits for the service, or for a host that asks to be left alone for a while, holds no slot, no lane and no
//! place among the ready.
//!
//! # What was tried for speed
//! Measured on two cores beside the server, as `benches/README.md` tells; a batch of small files costs some 140 us of CPU a
//! file, half of it in the kernel.
//! - *Kept*: hashing and writing where bytes are received; a second core for the hash of a large file that comes alone
//!   ([`hasher`]), 0.56 of the time; commits without a hop to another thread while they are short, 0.8; one sync of the
//!   archive's root for all commits that wait for it; boxes around what few of many waiting jobs need; four files in turn
//!   on one core where files are read back ([`verify`], [`crate::sha256`]), 0.58, and where they come side by side
//!   ([`hasher`]), 0.87 for files of 200 KiB and 2 MiB, 3 MiB more memory; jemalloc in the program, 0.85 to 0.95 for files
//!   that are small, 0.9 for a large one, 6 MiB more memory.
//! - *Not kept*: mimalloc (as fast, twice the memory); fewer arenas in the system's allocator (1 to 3 MiB less, no faster);
//!   other steps for reading files back (32 to 256 KiB are alike); hashing in turn without letting other transfers
//!   go on first where a file ends (0.95 to 0.99); fewer or more chunks on their way to a second core (2 to 32 are alike);
//!   `hyper` without `reqwest` for media, its connections driven by the transfers themselves (36,000 instructions a job less,
//!   0.92 to 1.04 of the time for 4 KiB and 0.95 to 1.02 for 200 KiB); aborting panics and optimizing less (alike); one worker
//!   thread (0.88 of the CPU time for 4 KiB, 1.2 of the wall time) or three (alike); huge pages for the heap (0.97 for 4 KiB);
//!   fewer bytes waiting for company (64 to 256 KiB: 0.97 to 1.03).

pub mod account;
pub mod archive;
mod aside;
pub mod assembly;
pub mod audit;
mod download;
mod ended;
mod error;
mod fetch;
mod gate;
mod glance;
pub mod hasher;
mod haul;
mod output;
pub mod preview;
mod rate;
mod record;
pub mod repair;
pub mod resume;
mod sorted;
mod split;
pub mod survey;
pub mod sync;
pub mod verify;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Reporter};
use crate::job::Family;
use crate::lifetime::{self, Birth, Lesson, Lifetimes};
use crate::net::{Api, Http};
use crate::plan::{DEFAULT_RETRIES, Moment};
use crate::store::{Staging, Store};
pub use error::{Error, Scope};
use gate::Gate;
use url::Url;

/// What a run is allowed, and how patient it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files transferred at once.
    pub transfers: usize,
    /// How long a pending job is waited for; zero asks once.
    pub wait: Duration,
    /// How long a whole job may take from its first question on, whatever progress it makes. Time in which its files are
    /// ready and other files of the run go first does not count: the job can do nothing about it.
    pub timeout: Duration,
    /// How many failures in a row, each of which may pass, are put up with.
    pub retries: u32,
    /// The largest file that is taken, in bytes.
    pub max_file_bytes: u64,
    /// The most bytes per second over all transfers.
    pub limit_rate: Option<u64>,
    /// A transfer that brings fewer bytes per second than this over a minute is too slow; zero is never.
    pub min_speed: u64,
    /// Hash the files of complete jobs before they are passed over.
    pub check: bool,
    /// Fetch complete jobs again.
    pub force: bool,
    /// Do not ask again for jobs that are failed or gone.
    pub skip_gone: bool,
    /// How long files live after their job is done, where the user knows better than what can be learnt.
    pub lifetime: Option<Duration>,
}

/// Files transferred at once, unless the user says otherwise.
pub const DEFAULT_TRANSFERS: usize = 64;
/// How long a pending job is waited for, unless the user says otherwise.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(20 * 60);
/// How long a whole job may take, unless the user says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// The largest file that is taken, unless the user says otherwise.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 16 << 30;
/// The least bytes per second of a transfer, unless the user says otherwise.
pub const DEFAULT_MIN_SPEED: u64 = 1024;

/// A century. Clocks cannot count what is much longer, and nobody waits for it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Default for Options {
    fn default() -> Self {
        Self {
            transfers: DEFAULT_TRANSFERS,
            wait: DEFAULT_WAIT,
            timeout: DEFAULT_TIMEOUT,
            retries: DEFAULT_RETRIES,
            max_file_bytes: DEFAULT_MAX_FILE_BYTES,
            limit_rate: None,
            min_speed: DEFAULT_MIN_SPEED,
            check: false,
            force: false,
            skip_gone: false,
            lifetime: None,
        }
    }
}

/// The handles of one run.
pub struct Session {
    api: Api,
    http: Http,
    store: Store,
    staging: Arc<Staging>,
    options: Options,
    reporter: Arc<dyn Reporter>,
    stop: CancellationToken,
    began: Instant,
    gate: Arc<Gate>,
    ready: Arc<Semaphore>,
    rate: rate::Limit,
    cores: Arc<hasher::Cores>,
    lifetimes: Mutex<Lifetimes>,
    /// When the list was begun, in seconds since 1970: jobs that are first seen to be done in one run are equal in age as
    /// far as anybody knows, and so keep the order of the list.
    list_began: AtomicU64,
    waiting: Waiting,
    unsettled: AtomicU64,
}

/// Jobs that are asked for, or whose links are known and no transfer has begun. More of them would find better ones to
/// begin with, and let their links grow older; what is found among so many is nearly all there is to find.
const READY_MAX: usize = 1_536;

impl Session {
    /// Puts the parts of a run together and locks the archive's staging area. Waits longer than [`LONGEST_WAIT`] are
    /// cut to it.
    ///
    /// # Errors
    /// As [`Store::staging`].
    pub fn new(
        api: Api,
        http: Http,
        store: Store,
        mut options: Options,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, crate::store::StoreError> {
        options.wait = options.wait.min(LONGEST_WAIT);
        options.timeout = options.timeout.min(LONGEST_WAIT);
        Ok(Self {
            staging: Arc::new(store.staging()?),
            gate: Gate::new(options.transfers, http.lanes()),
            ready: Arc::new(Semaphore::new(READY_MAX)),
            lifetimes: Mutex::new(Lifetimes::new(options.lifetime)),
            list_began: AtomicU64::new(unix_seconds()),
            waiting: Waiting::default(),
            unsettled: AtomicU64::new(0),
            api,
            http,
            store,
            rate: rate::Limit::new(options.limit_rate),
            cores: hasher::Cores::here(),
            options,
            reporter,
            stop: CancellationToken::new(),
            began: now(),
        })
    }

    /// Cancelling it ends the run: nothing new begins, what is under way is kept for the next run.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn report(&self, event: &Event<'_>) {
        self.reporter.event(event);
    }

    /// This moment of the run.
    fn moment(&self) -> Moment {
        now().saturating_duration_since(self.began)
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.began + moment
    }

    fn moment_of(&self, instant: Instant) -> Moment {
        instant.saturating_duration_since(self.began)
    }

    /// How many jobs have ended so that a later run may bring more of them home.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// When the file behind a link dies, in seconds since 1970; the largest number where it is not known to.
    fn dies_at(&self, url: &Url, renewable: bool, family: &Family, birth: Birth) -> u64 {
        let link = lifetime::Link { url, given_at: unix_seconds(), renewable };
        self.lifetimes().dies_at(&link, family, birth).unwrap_or(u64::MAX)
    }

    fn note_birth(&self, family: &Family, birth: Option<Birth>) {
        if let Some(Birth::At(born)) = birth {
            self.lifetimes().note_birth(family, born);
        }
    }

    fn learn(&self, url: &Url, family: &Family, lesson: Option<Lesson>) {
        if let Some(lesson) = lesson {
            self.lifetimes().learn(lifetime::host(url), family, lesson);
        }
    }

    fn lifetimes(&self) -> MutexGuard<'_, Lifetimes> {
        // A lesson is taken in as a whole or not at all.
        self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Jobs that wait for the service, or for a host that is away, and hold nothing meanwhile.
#[derive(Debug, Default)]
struct Waiting {
    jobs: AtomicUsize,
    more: Notify,
}

impl Waiting {
    fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Counts one job for as long as the guard lives.
    fn begin(&self) -> OneWaits<'_> {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.more.notify_one();
        OneWaits(self)
    }
}

struct OneWaits<'a>(&'a Waiting);

impl Drop for OneWaits<'_> {
    fn drop(&mut self) {
        self.0.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the run's clock")]
fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for records.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// The wall clock as records have it: RFC 3339, UTC, whole seconds.
fn timestamp() -> String {
    humantime::format_rfc3339_seconds(wall_clock()).to_string()
}

/// The wall clock as headers compare with it: seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    wall_clock().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A random number in `[0, 1)`.
fn dice() -> f64 {
    fastrand::f64()
}
