//! Looking at every job of an archive, on all cores, in bounded memory.
//!
//! [`survey`] takes folders in batches, hands each batch to a thread that may block, and gives the results back in the
//! order of the folders. A thread that is far ahead waits, so what is held at once does not depend on how many jobs
//! there are. [`in_order`] takes them in the order in which people count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::sorted::sorted;
use crate::census::Census;
use crate::job::JobRef;
use crate::manifest::Manifest;
use crate::store::{Folders, Found, Store, StoreError};

/// Folders that are looked at together.
const BATCH: usize = 64;
/// Batches that may be finished or under way beyond the one that is awaited, for each thread.
const AHEAD: u64 = 4;

/// How far a look through an archive has come; read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Job folders that were looked at.
    pub jobs: AtomicU64,
    /// Files that were judged.
    pub files: AtomicU64,
    /// Bytes that were read.
    pub bytes: AtomicU64,
}

impl Progress {
    /// Jobs, files and bytes so far.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.jobs), load(&self.files), load(&self.bytes))
    }

    /// Counts so many jobs more.
    pub fn add_jobs(&self, jobs: usize) {
        self.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Gives each batch of folders to `look` on one of the store's threads, and what it found to `take` on this one, in
/// the order of the folders. Blocks. Ends early, and well, where `stop` is cancelled or `take` says `false`.
///
/// # Errors
/// The folders' own, and the first of `look`: no further batch is begun then.
pub fn survey<T: Send>(
    store: &Store,
    folders: Folders,
    stop: &CancellationToken,
    look: impl Fn(&[String]) -> Result<T, StoreError> + Sync,
    mut take: impl FnMut(T) -> bool,
) -> Result<(), StoreError> {
    let threads = store.readers();
    let desk = Desk {
        state: Mutex::new(DeskState {
            folders: Some(folders),
            failed: None,
            given: 0,
            taken: 0,
            working: 0,
            done: BTreeMap::new(),
        }),
        changed: Condvar::new(),
        ahead: AHEAD * threads as u64,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, batch)) = desk.give(stop) {
                    let _guard = Working(&desk);
                    match look(&batch) {
                        Ok(found) => drop(desk.lock().done.insert(number, found)),
                        Err(error) => desk.fail(error),
                    }
                }
            });
        }
        while let Some(found) = desk.next() {
            if stop.is_cancelled() || !take(found) {
                desk.close();
                break;
            }
        }
    });
    let state = desk.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failed.map_or(Ok(()), Err)
}

/// What the record in a folder says.
#[derive(Clone, Debug)]
pub enum Look {
    /// There is no record: the folder is not ours, or the job never got that far.
    Nothing,
    /// There is one that cannot be used, for this reason.
    Unreadable(String),
    /// The job and its record.
    Job(JobRef, Box<Manifest>),
}

/// Reads the record in a folder. Blocks for one small read.
///
/// # Errors
/// That the archive is out of reach, which says nothing of this record.
pub fn look(store: &Store, folder: &str) -> Result<Look, StoreError> {
    let record = match store.record_in(folder) {
        Ok(record) => record.sound(),
        Err(error) if error.is_out_of_reach() => return Err(error),
        Err(error) => Err(error.to_string()),
    };
    Ok(match record {
        Ok(None) => Look::Nothing,
        Err(why) => Look::Unreadable(why),
        Ok(Some((manifest, _))) => match manifest.job.to_job() {
            Ok(job) => Look::Job(job, manifest),
            Err(error) => Look::Unreadable(error.to_string()),
        },
    })
}

/// The jobs of which parts are here and no record, in their order: of a run that is under way, or that was killed. Blocks.
///
/// # Errors
/// That the archive is out of reach.
pub fn unrecorded(store: &Store) -> Result<Vec<JobRef>, StoreError> {
    let mut jobs = Vec::new();
    for job in store.part_jobs()? {
        match store.look(&job) {
            Ok(Found::Nothing) => jobs.push(job),
            Err(error) if error.is_out_of_reach() => return Err(error),
            // It has a record, which is looked at with all others.
            Ok(Found::Record(..) | Found::Damaged { .. }) | Err(_) => {}
        }
    }
    jobs.sort_by_cached_key(ToString::to_string);
    Ok(jobs)
}

/// Reads every record in the natural order of the folders; gives each of them to `make` on one of the store's threads, and
/// what it made of them to `take` on this one, in that order and some at a time; jobs that have parts and no record come
/// last, as pending. Blocks; ends as [`survey`] does.
///
/// # Errors
/// That the archive could not be listed, or is out of reach.
pub fn in_order<T: Send>(
    store: &Store,
    stop: &CancellationToken,
    progress: &Progress,
    make: impl Fn(Look) -> Option<T> + Sync,
    mut take: impl FnMut(Vec<T>) -> bool,
) -> Result<(), StoreError> {
    let mut goes_on = true;
    let read = |folders: &[String]| {
        let mut batch = Vec::new();
        for folder in folders {
            batch.extend(make(look(store, folder)?));
        }
        progress.add_jobs(folders.len());
        Ok(batch)
    };
    survey(store, sorted(store)?, stop, read, |batch| {
        goes_on = take(batch);
        goes_on
    })?;
    if goes_on && !stop.is_cancelled() {
        let as_pending = |job| {
            let manifest = unwritten(&job);
            Look::Job(job, Box::new(manifest))
        };
        take(unrecorded(store)?.into_iter().map(as_pending).filter_map(make).collect());
    }
    Ok(())
}

/// What stands for the record of a job that has parts and no record yet. Nobody has noted when the job was seen.
fn unwritten(job: &JobRef) -> Manifest {
    Manifest::new(job, "")
}

/// Counts what an archive holds: a job that has parts and no record counts as pending. Blocks.
///
/// # Errors
/// That the archive could not be listed, or is out of reach.
pub fn count(store: &Store, stop: &CancellationToken, progress: &Progress) -> Result<Census, StoreError> {
    let now = super::unix_seconds();
    let count = |folders: &[String]| {
        let mut part = Census::default();
        for folder in folders {
            match look(store, folder)? {
                Look::Nothing => {}
                Look::Unreadable(why) => part.note_unreadable(folder, why),
                Look::Job(job, manifest) => part.note(&job, &manifest, now),
            }
        }
        progress.add_jobs(folders.len());
        Ok(part)
    };
    let mut whole = Census { counted_at: now, ..Census::default() };
    survey(store, store.folders()?, stop, count, |part| {
        whole.add(part);
        true
    })?;
    for job in unrecorded(store)? {
        whole.note(&job, &unwritten(&job), now);
    }
    Ok(whole)
}

/// Where batches are handed out and come back.
struct Desk<T> {
    state: Mutex<DeskState<T>>,
    changed: Condvar,
    ahead: u64,
}

struct DeskState<T> {
    /// `None` once all were given out, or no more are wanted.
    folders: Option<Folders>,
    failed: Option<StoreError>,
    given: u64,
    taken: u64,
    working: usize,
    done: BTreeMap<u64, T>,
}

impl<T> Desk<T> {
    fn lock(&self) -> MutexGuard<'_, DeskState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, DeskState<T>>) -> MutexGuard<'a, DeskState<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch and its number; waits where the threads are too far ahead of the taker.
    fn give(&self, stop: &CancellationToken) -> Option<(u64, Vec<String>)> {
        let mut state = self.lock();
        while state.folders.is_some() && state.given >= state.taken + self.ahead {
            state = self.wait(state);
        }
        if stop.is_cancelled() {
            state.folders = None;
        }
        let batch = state.next_batch();
        if batch.is_empty() {
            self.changed.notify_all();
            return None;
        }
        let number = state.given;
        state.given += 1;
        state.working += 1;
        Some((number, batch))
    }

    /// What the next batch brought; `None` where there is none.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            let taken = state.taken;
            if let Some(found) = state.done.remove(&taken) {
                state.taken += 1;
                self.changed.notify_all();
                return Some(found);
            }
            if state.working == 0 && state.folders.is_none() {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn close(&self) {
        self.lock().folders = None;
        self.changed.notify_all();
    }

    /// Ends the survey: this batch will never come, and no further one is given out.
    fn fail(&self, error: StoreError) {
        self.lock().failed.get_or_insert(error);
        self.close();
    }
}

impl<T> DeskState<T> {
    fn next_batch(&mut self) -> Vec<String> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            match self.folders.as_mut().and_then(Iterator::next) {
                Some(Ok(name)) => batch.push(name),
                Some(Err(error)) => {
                    self.failed.get_or_insert(error);
                    self.folders = None;
                }
                None => {
                    self.folders = None;
                    break;
                }
            }
        }
        batch
    }
}

/// A batch under way; dropped when it is done, and when its thread panics too, so that nobody waits for it.
struct Working<'a, T>(&'a Desk<T>);

impl<T> Drop for Working<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.working -= 1;
        if std::thread::panicking() {
            // Its batch will never come.
            state.folders = None;
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a test may panic, and makes folders"
    )]
    use super::*;

    fn archive(names: &[String]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let store = Store::create(dir.path(), false).unwrap();
        (dir, store)
    }

    #[test]
    fn results_come_in_the_order_of_the_folders_however_long_each_takes() {
        let names: Vec<String> = (0..2_000).map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        let mut seen = Vec::new();
        let look = |batch: &[String]| {
            // Early batches take longest.
            let first: u64 = batch[0].parse().unwrap();
            std::thread::sleep(std::time::Duration::from_micros(2_000 - first));
            Ok(batch.to_vec())
        };
        survey(&store, sorted(&store).unwrap(), &CancellationToken::new(), look, |batch| {
            seen.extend(batch);
            true
        })
        .unwrap();
        assert_eq!(seen, names);
    }

    #[test]
    fn a_survey_ends_early_when_its_taker_has_enough_or_the_run_is_stopped() {
        let names: Vec<String> = (0..2_000).map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        let mut taken = 0;
        survey(
            &store,
            store.folders().unwrap(),
            &CancellationToken::new(),
            |_| Ok(()),
            |()| {
                taken += 1;
                taken < 3
            },
        )
        .unwrap();
        assert_eq!(taken, 3);
        let stop = CancellationToken::new();
        stop.cancel();
        survey(&store, store.folders().unwrap(), &stop, |_| Ok(()), |()| panic!("nothing is taken")).unwrap();
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_ends_the_survey_and_hangs_nobody() {
        let names: Vec<String> = (0..2_000).map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        let look = |batch: &[String]| {
            assert!(!batch.contains(&"64".into()), "a look that fails");
            Ok(())
        };
        let _ = survey(&store, sorted(&store).unwrap(), &CancellationToken::new(), look, |()| true);
    }

    #[test]
    fn what_cannot_be_listed_ends_the_survey_with_its_reason() {
        let (_dir, store) = archive(&["1".into()]);
        let broken = || StoreError::NoArchive { place: "x".into(), why: "gone meanwhile" };
        let folders =
            (0..100).map(|id| Ok(id.to_string())).chain(std::iter::once_with(move || Err(broken())));
        let mut seen = 0;
        let look = |batch: &[String]| Ok(batch.len());
        let ended = survey(&store, Box::new(folders), &CancellationToken::new(), look, |count| {
            seen += count;
            true
        });
        assert!(matches!(ended, Err(StoreError::NoArchive { .. })), "{ended:?}");
        assert_eq!(seen, 100);
    }

    #[test]
    fn a_look_that_fails_ends_the_survey_with_its_reason_and_what_came_before_is_taken() {
        let names: Vec<String> = (0..2_000).map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        let look = |batch: &[String]| {
            if batch.contains(&"640".into()) {
                return Err(StoreError::NoArchive { place: "x".into(), why: "gone meanwhile" });
            }
            Ok(batch.to_vec())
        };
        let mut seen = Vec::new();
        let ended = survey(&store, sorted(&store).unwrap(), &CancellationToken::new(), look, |batch| {
            seen.extend(batch);
            true
        });
        assert!(matches!(ended, Err(StoreError::NoArchive { .. })), "{ended:?}");
        assert_eq!(seen, names[..640]);
    }
}
