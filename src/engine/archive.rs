//! Many jobs: taken lazily from a list of any length, bounded, stopped by a signal or by what ends the run.
//!
//! References come from a thread of their own, since reading them may block. They are looked at in batches on blocking
//! threads, and those that are done already end there: a rerun over a finished list costs one small read a job and no
//! task. Only the others become tasks, and never more at once than may be ready or in transfer.
//!
//! A job that is named again while it is under way is passed over: it would be asked twice, and two tasks would write
//! the same files. One that is named again later is looked at again, and found done.
//!
//! A job on which the service is still working waits, perhaps for as long as `--wait` allows, and holds nothing but its
//! memory meanwhile. Such jobs do not count as under way, so that those behind them in the list are asked and brought
//! home in the time; else a few thousand pending jobs at its beginning would let the rest of the list die. Their own
//! bound is [`WAITING`]: where so many wait at once, the list is read on when one of them has ended.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::ended::Ended;
use super::fetch::{self, OpenJob};
use super::glance::{Glance, glance};
use super::{Error, Scope, Session};
use crate::event::Event;
use crate::job::{Asked, JobRef};
use crate::manifest::{Manifest, seconds_of};
use crate::retry::{Cause, Class, Failure};
use crate::store::Found;

/// Jobs that wait for the service at once. No account has so many in its queue; the number keeps memory flat.
const WAITING: usize = 4_096;
/// References that are read ahead.
const READ_AHEAD: usize = 1_024;
/// A job that the API does not know is asked for again by each sync for so long, in seconds: as long as its files would
/// live.
const MAY_BECOME_KNOWN_S: u64 = 24 * 60 * 60;
/// References that are looked at together.
const BATCH: usize = 128;
/// This many jobs in a row that the account may not have end the run.
const REFUSALS: u32 = 3;

/// A line, an argument or a record that names no job to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRef {
    /// Where it stood.
    pub place: String,
    /// Why it names no job.
    pub why: String,
}

/// What ended a run before its list did.
#[derive(Debug)]
pub enum Stop {
    /// The API refuses the account.
    Account(Failure),
    /// The account's listing of jobs cannot be read on.
    Listing(Failure),
    /// This machine failed.
    Local(Error),
}

impl Stop {
    /// What a listing that cannot be read means for the run.
    #[must_use]
    pub fn of_listing(failure: Failure) -> Self {
        match failure.class() {
            Class::Auth => Self::Account(failure),
            Class::Permanent | Class::Transient => Self::Listing(failure),
        }
    }
}

/// Works on every job of the list; returns what ended the run early, if anything did.
///
/// Cancelling the session's token makes it return soon, with what is under way kept for the next run.
pub async fn archive<I>(session: &Arc<Session>, refs: I) -> Option<Stop>
where
    I: Iterator<Item = Result<Asked, BadRef>> + Send + 'static,
{
    archive_in(session, refs, Order::AsListed).await
}

/// Which of two jobs goes first whose files die at the same moment, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that stands first in the list.
    AsListed,
    /// The one that stands last: for lists that begin with the newest job.
    NewestFirst,
}

impl Order {
    fn of(self, count: u64) -> u64 {
        match self {
            Self::AsListed => count,
            Self::NewestFirst => u64::MAX - count,
        }
    }
}

/// As [`archive`], for a list in this order.
pub async fn archive_in<I>(session: &Arc<Session>, refs: I, order: Order) -> Option<Stop>
where
    I: Iterator<Item = Result<Asked, BadRef>> + Send + 'static,
{
    // A task, so that it runs on the threads that work: a thread of its own would be woken for each job that ends.
    let mut all = JoinSet::new();
    all.spawn(work(Arc::clone(session), read_ahead(refs), order));
    all.join_next().await.and_then(of_task)
}

async fn work(session: Arc<Session>, mut refs: Refs, order: Order) -> Option<Stop> {
    session.list_began.store(super::unix_seconds(), Ordering::Relaxed);
    let under_way = UnderWay::default();
    // One batch waits, so that no thread is without one while the next is gathered.
    let looks = session.store.readers() + 1;
    let mut run = Run::of(&session, super::READY_MAX + session.options.transfers + looks * BATCH);
    let mut came = 0_u64;
    let mut batches = JoinSet::new();
    let mut more = true;
    while more || !batches.is_empty() || !run.jobs.is_empty() {
        let room = batches.len() < looks && run.has_room(batches.len() * BATCH);
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = session.stop.cancelled(), if more => {
                more = false;
                refs.close();
            }
            Some(ended) = run.jobs.join_next() => run.note(of_task(ended)),
            Some(looked) = batches.join_next() => run.begin(of_task(looked)),
            count = refs.recv_many(&mut batch, BATCH), if more && room => {
                more = count > 0;
                let (session, under_way, first) = (Arc::clone(&session), under_way.clone(), came);
                came += count as u64;
                batches.spawn_blocking(move || {
                    look_at(&session, &under_way, batch, |place| order.of(first + place))
                });
            }
            () = session.waiting.more.notified(), if more && !room => {}
        }
    }
    run.stopped
}

/// References, as they are read.
pub(super) type Refs = mpsc::Receiver<Result<Asked, BadRef>>;

/// A job that is not done yet, and the right to work on it.
type ToDo = (OpenJob, Begun);

/// The jobs that are being looked at or worked on.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<HashSet<JobRef>>>);

impl UnderWay {
    fn jobs(&self) -> MutexGuard<'_, HashSet<JobRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job's turn, or `None` while somebody has it.
    fn begin(&self, job: &JobRef) -> Option<Begun> {
        self.jobs().insert(job.clone()).then(|| Begun { under_way: self.clone(), job: job.clone() })
    }
}

/// The right to work on a job; dropping it ends it.
struct Begun {
    under_way: UnderWay,
    job: JobRef,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.under_way.jobs().remove(&self.job);
    }
}

struct Run {
    session: Arc<Session>,
    jobs: JoinSet<Ended>,
    /// The most jobs that are under way at once, beside those that wait for the service: asked, ready, in transfer, or
    /// about to follow these.
    most: usize,
    refusals: u32,
    stopped: Option<Stop>,
}

impl Run {
    fn of(session: &Arc<Session>, most: usize) -> Self {
        Self { session: Arc::clone(session), jobs: JoinSet::new(), most, refusals: 0, stopped: None }
    }

    /// Whether further jobs may begin beside these and so many that are being looked at.
    fn has_room(&self, looked_at: usize) -> bool {
        let all = self.jobs.len() + looked_at;
        all.saturating_sub(self.session.waiting.jobs()) < self.most && all < self.most + WAITING
    }

    fn begin(&mut self, looked: (Vec<ToDo>, Option<Error>)) {
        let (open, failed) = looked;
        if let Some(error) = failed {
            self.stop(Stop::Local(error));
        }
        for (open, turn) in open {
            if self.session.stop.is_cancelled() {
                return;
            }
            let session = Arc::clone(&self.session);
            self.jobs.spawn(async move {
                let job = open.asked.job.clone();
                let may_become_known = may_become_known(&open);
                let ended = fetch::fetch(&session, open).await;
                ended.report(&session, &job);
                let is_unknown =
                    matches!(&ended, Ended::Failed(failure) if failure.cause == Cause::JobNotFound);
                session.unsettled.fetch_add(u64::from(is_unknown && may_become_known), Ordering::Relaxed);
                drop(turn);
                ended
            });
        }
    }

    fn note(&mut self, ended: Ended) {
        note_unsettled(&self.session, &ended);
        match ended {
            Ended::Failed(failure) if failure.class() == Class::Auth => self.note_refusal(failure),
            Ended::Incomplete(manifest) if let Some(failure) = refusal(&manifest) => {
                self.note_refusal(failure);
            }
            Ended::Local(error) if error.scope == Scope::Run => self.stop(Stop::Local(error)),
            Ended::Cancelled => {}
            Ended::Kept(_)
            | Ended::Archived(_)
            | Ended::Incomplete(_)
            | Ended::Pending
            | Ended::Failed(_)
            | Ended::Local(_) => self.refusals = 0,
        }
    }

    fn note_refusal(&mut self, failure: Failure) {
        self.refusals += 1;
        if failure.cause == Cause::InvalidKey || self.refusals >= REFUSALS {
            self.stop(Stop::Account(failure));
        }
    }

    fn stop(&mut self, why: Stop) {
        self.session.stop.cancel();
        self.stopped.get_or_insert(why);
    }
}

/// The API's refusal of the account, where that kept an output from getting a fresh link.
fn refusal(manifest: &Manifest) -> Option<Failure> {
    let mut reasons = manifest.missing.iter().flat_map(|missing| &missing.reasons);
    let reason = reasons.find(|reason| reason.cause.class() == Class::Auth)?;
    Some(Failure::new(reason.cause, reason.detail.clone()))
}

/// What a task brought. No task is aborted while it is waited for, and a panic must not pass for a job that is done.
fn of_task<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Whether the API may yet come to know the job, or somebody how to ask for it: a job that is listed without a link, and
/// so under a family that is a guess, was first asked for a short while ago.
fn may_become_known(open: &OpenJob) -> bool {
    let first_seen = match &open.found {
        Found::Record(manifest, _) => seconds_of(&manifest.created_at).unwrap_or(0),
        Found::Nothing | Found::Damaged { .. } => return true,
    };
    super::unix_seconds().saturating_sub(first_seen) < MAY_BECOME_KNOWN_S
}

fn note_unsettled(session: &Session, ended: &Ended) {
    if !ended.is_settled() {
        session.unsettled.fetch_add(1, Ordering::Relaxed);
    }
}

fn look_at(
    session: &Session,
    under_way: &UnderWay,
    batch: Vec<Result<Asked, BadRef>>,
    order: impl Fn(u64) -> u64,
) -> (Vec<ToDo>, Option<Error>) {
    let mut open = Vec::new();
    for (place, reference) in (0_u64..).zip(batch) {
        if session.stop.is_cancelled() {
            break;
        }
        let asked = match reference {
            Ok(asked) => asked,
            Err(BadRef { place, why }) => {
                session.report(&Event::RefRefused { place: &place, why: &why });
                continue;
            }
        };
        // Taken before the look, so that what is found is what the one before has left.
        let Some(turn) = under_way.begin(&asked.job) else { continue };
        let glanced = glance(&session.store, &session.options, &asked.job, &session.stop);
        match glanced.unwrap_or_else(|error| Glance::Over(error.into())) {
            Glance::Open(found, present) => {
                open.push((OpenJob { asked, order: order(place), found, present }, turn));
            }
            Glance::Over(ended) => {
                session.report(&Event::JobStarted { job: &asked.job });
                ended.report(session, &asked.job);
                note_unsettled(session, &ended);
                if let Ended::Local(error) = ended
                    && error.scope == Scope::Run
                {
                    return (open, Some(error));
                }
            }
        }
    }
    (open, None)
}

/// Reads references on a thread of their own. The thread is not waited for: it may hang in a read of a terminal.
pub(super) fn read_ahead<I>(refs: I) -> Refs
where
    I: Iterator<Item = Result<Asked, BadRef>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for reference in refs {
            if sender.blocking_send(reference).is_err() {
                return;
            }
        }
    });
    receiver
}
