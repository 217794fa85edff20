//! What is left to do in a verification, and how its threads share it.
//!
//! Reading a folder brings files to be hashed; files wait in a heap, the largest first, and folders are read while there
//! is room in it. So a large file begins long before the end, where it would keep one core busy while the others have
//! nothing left, and what is held at once does not depend on how many jobs there are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::layout::Key;
use crate::sha256::Digest;
use crate::store::{Folders, StoreError, Version};
use crate::verdict::Share;

/// Files that wait to be hashed before the next folder is read.
const FILES_AHEAD: usize = 4_096;
/// Folders that one thread reads at a time.
const FOLDERS_AT_ONCE: usize = 16;

/// A file that waits to be hashed; the largest is the greatest.
pub(super) struct Waiting {
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    pub(super) key: Key,
    /// The record that names it.
    pub(super) version: Version,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.bytes, &self.key).cmp(&(other.bytes, &other.key))
    }
}

pub(super) enum Work {
    Folders(Vec<String>),
    File(Waiting),
}

/// What is left to do.
pub(super) struct Board {
    state: Mutex<BoardState>,
    changed: Condvar,
}

struct BoardState {
    /// `None` once all were given out.
    folders: Option<Folders>,
    failed: Option<StoreError>,
    files: BinaryHeap<Waiting>,
    /// How many threads read folders, and may bring files.
    reading: usize,
    /// How many threads have nothing to do.
    idle: usize,
}

impl Board {
    pub(super) fn of(folders: Folders) -> Self {
        let (files, failed) = (BinaryHeap::new(), None);
        let state = BoardState { folders: Some(folders), failed, files, reading: 0, idle: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// What ended the work early.
    pub(super) fn into_failure(self) -> Option<StoreError> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed
    }

    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work; waits where none is there yet. `None` where none will come.
    pub(super) fn wait(&self, share: &Share) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.work(share, 0) {
                return Some(work);
            }
            if state.reading == 0 {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// A piece of work for a thread that has some, if those that have none leave one.
    pub(super) fn more(&self, share: &Share) -> Option<Work> {
        let mut state = self.lock();
        let idle = state.idle;
        state.work(share, idle)
    }

    /// Brings files to be hashed.
    pub(super) fn add(&self, files: Vec<Waiting>) {
        self.lock().files.extend(files);
        self.changed.notify_all();
    }

    /// Ends the work: from here nothing can be told of any file.
    pub(super) fn fail(&self, error: StoreError) {
        self.lock().failed.get_or_insert(error);
        self.close();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.folders = None;
        state.files.clear();
        self.changed.notify_all();
    }
}

impl BoardState {
    fn work(&mut self, share: &Share, kept_files: usize) -> Option<Work> {
        if self.files.len() < FILES_AHEAD
            && let Some(names) = self.next_folders(share)
        {
            self.reading += 1;
            return Some(Work::Folders(names));
        }
        if self.files.len() <= kept_files {
            return None;
        }
        self.files.pop().map(Work::File)
    }

    fn next_folders(&mut self, share: &Share) -> Option<Vec<String>> {
        let folders = self.folders.as_mut()?;
        let mut names = Vec::with_capacity(FOLDERS_AT_ONCE);
        while names.len() < FOLDERS_AT_ONCE {
            match folders.next() {
                Some(Ok(name)) if share.holds(&name) => names.push(name),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.failed.get_or_insert(error);
                    self.folders = None;
                    break;
                }
                None => {
                    self.folders = None;
                    break;
                }
            }
        }
        (!names.is_empty()).then_some(names)
    }
}

/// A thread that reads folders; dropped when it is done, and when it panics too, so that nobody waits for its files.
pub(super) struct Reading<'a>(pub(super) &'a Board);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.lock().reading -= 1;
        self.0.changed.notify_all();
    }
}
