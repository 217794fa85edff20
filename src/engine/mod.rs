//! The engine: polls, plans, downloads, commits, and reports what happens.
//!
//! [`archive::archive`] takes many jobs, [`fetch`] one job, [`output`] one of its outputs over all its sources,
//! [`download`] one attempt at one source, and [`assembly`] puts the bytes together. A [`Session`] holds what they share.
//!
//! Three limits keep a run within bounds, and a job that waits holds none of them:
//! - *slots*: files transferred at once (`--jobs`);
//! - *lanes*: requests at once to one host (`--max-per-host`), adapted to what the host bears;
//! - *ahead*: jobs that were asked and whose files have not begun, so that links do not grow old in a queue.

pub mod archive;
pub mod assembly;
mod download;
mod error;
mod fetch;
mod output;
mod rate;
mod record;
pub mod repair;
mod sorted;
pub mod survey;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Reporter};
use crate::net::{Api, Http};
use crate::plan::{DEFAULT_RETRIES, Moment};
use crate::store::{Staging, Store};
pub use error::{Error, Scope};

/// What a run is allowed, and how patient it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files transferred at once.
    pub transfers: usize,
    /// How long a pending job is waited for; zero asks once.
    pub wait: Duration,
    /// How long a whole job may take, whatever progress it makes.
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
    slots: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
    rate: rate::Limit,
}

impl Session {
    /// Puts the parts of a run together and locks the archive's staging area.
    ///
    /// # Errors
    /// As [`Store::staging`].
    pub fn new(
        api: Api,
        http: Http,
        store: Store,
        options: Options,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, crate::store::StoreError> {
        /// Jobs asked ahead for each slot: enough that no slot waits for an answer of the API.
        const AHEAD: usize = 2;
        /// The least of them, for runs with few slots.
        const AHEAD_LEAST: usize = 8;
        let transfers = options.transfers.max(1);
        Ok(Self {
            staging: Arc::new(store.staging()?),
            api,
            http,
            store,
            rate: rate::Limit::new(options.limit_rate),
            slots: Arc::new(Semaphore::new(transfers)),
            ahead: Arc::new(Semaphore::new((transfers * AHEAD).max(AHEAD_LEAST))),
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
fn unix_seconds() -> u64 {
    wall_clock().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A random number in `[0, 1)`.
fn dice() -> f64 {
    fastrand::f64()
}
