//! Looking at every job of an archive, on all cores, in bounded memory.
//!
//! [`survey`] takes folders in batches, hands each batch to a thread that may block, and gives the results back in the
//! order of the folders. A thread that is far ahead waits, so what is held at once does not depend on how many jobs
//! there are. [`sorted`] gives the folders in natural order (`9` before `10`) without ever holding all of their names.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::census::Census;
use crate::job::JobRef;
use crate::manifest::Manifest;
use crate::store::{Folders, Record, Store, StoreError};

/// Folders that are looked at together.
const BATCH: usize = 64;
/// Batches that may be finished or under way beyond the one that is awaited, for each thread.
const AHEAD: u64 = 4;
/// [`sorted`] holds this many names at once.
const SORTED_AT_ONCE: usize = 1 << 18;

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
        let load = |count: &AtomicU64| count.load(Memory::Relaxed);
        (load(&self.jobs), load(&self.files), load(&self.bytes))
    }

    /// Counts so many jobs more.
    pub fn add_jobs(&self, jobs: usize) {
        self.jobs.fetch_add(jobs as u64, Memory::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Memory::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Memory::Relaxed);
    }
}

/// Gives each batch of folders to `look` on one of the store's threads, and what it found to `take` on this one, in
/// the order of the folders. Blocks. Ends early, and well, where `stop` is cancelled or `take` says `false`.
///
/// # Errors
/// The folders' own.
pub fn survey<T: Send>(
    store: &Store,
    folders: Folders,
    stop: &CancellationToken,
    look: impl Fn(&[String]) -> T + Sync,
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
                    let found = look(&batch);
                    desk.lock().done.insert(number, found);
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
#[must_use]
pub fn look(store: &Store, folder: &str) -> Look {
    let record = store.record_in(folder).map_err(|error| error.to_string()).and_then(Record::sound);
    match record {
        Ok(None) => Look::Nothing,
        Err(why) => Look::Unreadable(why),
        Ok(Some((manifest, _))) => match manifest.job.to_job() {
            Ok(job) => Look::Job(job, manifest),
            Err(error) => Look::Unreadable(error.to_string()),
        },
    }
}

/// Counts what an archive holds. Blocks.
///
/// # Errors
/// That the archive could not be listed.
pub fn count(store: &Store, stop: &CancellationToken, progress: &Progress) -> Result<Census, StoreError> {
    let now = super::unix_seconds();
    let count = |folders: &[String]| {
        let mut part = Census::default();
        for folder in folders {
            match look(store, folder) {
                Look::Nothing => {}
                Look::Unreadable(why) => part.note_unreadable(folder, why),
                Look::Job(job, manifest) => part.note(&job, &manifest, now),
            }
        }
        progress.add_jobs(folders.len());
        part
    };
    let mut whole = Census::default();
    survey(store, store.folders()?, stop, count, |part| {
        whole.add(part);
        true
    })?;
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
}

impl<T> DeskState<T> {
    fn next_batch(&mut self) -> Vec<String> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            match self.folders.as_mut().and_then(Iterator::next) {
                Some(Ok(name)) => batch.push(name),
                Some(Err(error)) => {
                    self.failed = Some(error);
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

/// The folders of an archive in natural order. The names are passed over once for each quarter of a million of them,
/// and no more than these are held. Blocks.
pub fn sorted(store: &Store) -> Result<Folders, StoreError> {
    sorted_by(store.clone(), SORTED_AT_ONCE)
}

fn sorted_by(store: Store, at_once: usize) -> Result<Folders, StoreError> {
    let first = smallest(store.folders()?, None, at_once)?;
    let mut slice =
        Slice { store, at_once, more: first.len() == at_once, last: None, names: first.into_iter() };
    Ok(Box::new(std::iter::from_fn(move || slice.next())))
}

struct Slice {
    store: Store,
    at_once: usize,
    more: bool,
    last: Option<String>,
    names: std::vec::IntoIter<String>,
}

impl Slice {
    fn next(&mut self) -> Option<Result<String, StoreError>> {
        if self.names.len() == 0 && std::mem::take(&mut self.more) {
            let names =
                self.store.folders().and_then(|all| smallest(all, self.last.as_deref(), self.at_once));
            match names {
                Ok(names) => {
                    self.more = names.len() == self.at_once;
                    self.names = names.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let name = self.names.next()?;
        if self.names.len() == 0 {
            self.last = Some(name.clone());
        }
        Some(Ok(name))
    }
}

/// The first so many names behind this one, in order.
fn smallest(all: Folders, behind: Option<&str>, count: usize) -> Result<Vec<String>, StoreError> {
    let mut heap: BinaryHeap<Natural> = BinaryHeap::new();
    for name in all {
        let name = Natural(name?);
        if behind.is_some_and(|behind| natural(&name.0, behind) != Ordering::Greater) {
            continue;
        }
        if heap.len() < count {
            heap.push(name);
        } else if let Some(mut greatest) = heap.peek_mut()
            && name < *greatest
        {
            *greatest = name;
        }
    }
    Ok(heap.into_sorted_vec().into_iter().map(|name| name.0).collect())
}

#[derive(PartialEq, Eq)]
struct Natural(String);

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(&self.0, &other.0)
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares names as people count: runs of digits by their number, everything else by its bytes. Total: names that
/// count alike (`7` and `07`) are told apart by their bytes.
fn natural(one: &str, two: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let ordering = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (number(&mut a), number(&mut b));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            x.cmp(y)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.len().cmp(&b.len()).then_with(|| one.cmp(two))
}

/// Takes the digits off the front; gives them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a test may panic, and makes folders"
    )]
    use super::*;
    use proptest::prelude::*;

    fn archive(names: &[String]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let store = Store::create(dir.path(), false).unwrap();
        (dir, store)
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let order =
            ["", "7", "07", "9", "10", "10a", "a", "a9", "a9b", "a10", "realtime.2", "realtime.10", "~a"];
        for (i, one) in order.iter().enumerate() {
            for (j, two) in order.iter().enumerate() {
                let want = i.cmp(&j);
                if [*one, *two] == ["7", "07"] || [*one, *two] == ["07", "7"] {
                    assert_ne!(natural(one, two), Ordering::Equal);
                } else {
                    assert_eq!(natural(one, two), want, "{one} {two}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-z~.]{0,6}", b in "[0-9a-z~.]{0,6}", c in "[0-9a-z~.]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b) != Ordering::Greater && natural(&b, &c) != Ordering::Greater {
                prop_assert_ne!(natural(&a, &c), Ordering::Greater);
            }
        }
    }

    #[test]
    fn all_names_come_in_order_though_only_few_are_held() {
        let names: Vec<String> = (0..200).rev().map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        for at_once in [1, 7, 100, 199, 200, 201] {
            let sorted: Vec<String> =
                sorted_by(store.clone(), at_once).unwrap().map(Result::unwrap).collect();
            assert_eq!(sorted.len(), 200, "{at_once}");
            assert!(sorted.iter().enumerate().all(|(i, name)| *name == i.to_string()), "{at_once}");
        }
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
            batch.to_vec()
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
            |_| (),
            |()| {
                taken += 1;
                taken < 3
            },
        )
        .unwrap();
        assert_eq!(taken, 3);
        let stop = CancellationToken::new();
        stop.cancel();
        survey(&store, store.folders().unwrap(), &stop, |_| (), |()| panic!("nothing is taken")).unwrap();
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_ends_the_survey_and_hangs_nobody() {
        let names: Vec<String> = (0..2_000).map(|id| id.to_string()).collect();
        let (_dir, store) = archive(&names);
        let look = |batch: &[String]| assert!(!batch.contains(&"64".into()), "a look that fails");
        let _ = survey(&store, sorted(&store).unwrap(), &CancellationToken::new(), look, |()| true);
    }

    #[test]
    fn what_cannot_be_listed_ends_the_survey_with_its_reason() {
        let (_dir, store) = archive(&["1".into()]);
        let broken = || StoreError::NoArchive { place: "x".into(), why: "gone meanwhile" };
        let folders =
            (0..100).map(|id| Ok(id.to_string())).chain(std::iter::once_with(move || Err(broken())));
        let mut seen = 0;
        let ended = survey(&store, Box::new(folders), &CancellationToken::new(), <[String]>::len, |count| {
            seen += count;
            true
        });
        assert!(matches!(ended, Err(StoreError::NoArchive { .. })), "{ended:?}");
        assert_eq!(seen, 100);
    }
}
