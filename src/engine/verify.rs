//! Verifying an archive: every file of every job is set against its record. Nothing is written and nobody is asked.
//!
//! Threads take their work from one [`Board`]. Reading a folder brings files to be hashed; files wait in a heap, the
//! largest first, and folders are read while there is room in it. So a large file begins long before the end, where it
//! would keep one core busy while the others have nothing left, and what is held at once does not depend on how many
//! jobs there are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::survey::Progress;
use crate::job::{DEFAULT_ORIGIN, JobRef, Origin};
use crate::layout::{self, Key, MANIFEST_NAME};
use crate::manifest::{FileRecord, Manifest};
use crate::sha256::{Digest, Sha256};
use crate::store::{Entry, Folders, Record, Store, StoreError, Version};
use crate::verdict::{self, Finding, Seen, Share, Tally, Verdict};

/// Files that wait to be hashed before the next folder is read.
const FILES_AHEAD: usize = 4_096;
/// Folders that one thread reads at a time.
const FOLDERS_AT_ONCE: usize = 16;
/// Findings that wait for whoever takes them.
const FINDINGS_AHEAD: usize = 1_024;

/// How an archive is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VerifyOptions {
    /// Look for presence and size only, and read no file.
    pub quick: bool,
    /// Which part of the archive is verified.
    pub share: Share,
    /// Report whole files too, one by one.
    pub report_whole: bool,
}

/// Verifies an archive; gives what it finds to `take` on this thread, in no order. Blocks.
///
/// Ends early, and well, where `stop` is cancelled.
///
/// # Errors
/// That the archive could not be listed, or is out of reach. What cannot be read further down is a finding.
pub fn verify(
    store: &Store,
    options: &VerifyOptions,
    stop: &CancellationToken,
    progress: &Progress,
    take: impl FnMut(Finding),
) -> Result<Tally, StoreError> {
    verify_these(store, store.folders()?, store.readers(), options, stop, progress, take)
}

/// Verifies these folders on so many threads, as [`verify`] does.
pub(super) fn verify_these(
    store: &Store,
    folders: Folders,
    threads: usize,
    options: &VerifyOptions,
    stop: &CancellationToken,
    progress: &Progress,
    mut take: impl FnMut(Finding),
) -> Result<Tally, StoreError> {
    let board = Board {
        state: Mutex::new(BoardState {
            folders: Some(folders),
            failed: None,
            files: BinaryHeap::new(),
            reading: 0,
        }),
        changed: Condvar::new(),
    };
    let (sender, findings) = sync_channel(FINDINGS_AHEAD);
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let worker = Worker {
                    store,
                    options,
                    stop,
                    progress,
                    board: &board,
                    findings: sender.clone(),
                    tally: Tally::default(),
                };
                scope.spawn(|| worker.run())
            })
            .collect();
        drop(sender);
        findings.iter().for_each(&mut take);
        let mut tally = Tally::default();
        for worker in workers {
            match worker.join() {
                Ok(part) => tally.add(&part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        tally
    });
    match board.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
        Some(error) => Err(error),
        None => Ok(tally),
    }
}

/// A file that waits to be hashed; the largest is the greatest.
struct Waiting {
    bytes: u64,
    sha256: Digest,
    key: Key,
    /// The record that names it.
    version: Version,
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

enum Work {
    Folders(Vec<String>),
    File(Waiting),
}

/// What is left to do.
struct Board {
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
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work; `None` where there is none and none will come.
    fn next(&self, share: &Share) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.files.len() < FILES_AHEAD
                && let Some(names) = state.next_folders(share)
            {
                state.reading += 1;
                return Some(Work::Folders(names));
            }
            if let Some(file) = state.files.pop() {
                return Some(Work::File(file));
            }
            if state.reading == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the work: from here nothing can be told of any file.
    fn fail(&self, error: StoreError) {
        self.lock().failed.get_or_insert(error);
        self.close();
    }

    fn close(&self) {
        let mut state = self.lock();
        state.folders = None;
        state.files.clear();
        self.changed.notify_all();
    }
}

impl BoardState {
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
struct Reading<'a>(&'a Board);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.lock().reading -= 1;
        self.0.changed.notify_all();
    }
}

struct Worker<'a> {
    store: &'a Store,
    options: &'a VerifyOptions,
    stop: &'a CancellationToken,
    progress: &'a Progress,
    board: &'a Board,
    findings: SyncSender<Finding>,
    tally: Tally,
}

impl Worker<'_> {
    fn run(mut self) -> Tally {
        while let Some(work) = self.board.next(&self.options.share) {
            if self.stop.is_cancelled() {
                self.board.close();
            }
            match work {
                Work::Folders(names) => {
                    let _reading = Reading(self.board);
                    for name in names {
                        if self.stop.is_cancelled() {
                            break;
                        }
                        self.read_folder(&name);
                        self.progress.add_jobs(1);
                    }
                }
                Work::File(file) => self.hash(&file),
            }
        }
        self.tally
    }

    fn read_folder(&mut self, folder: &str) {
        let judged = self.store.record_in(folder).and_then(|record| self.judge_folder(folder, record));
        match judged {
            Ok(()) => {}
            Err(error) if error.is_out_of_reach() => self.board.fail(error),
            Err(error) => self.find(folder, MANIFEST_NAME, Verdict::Unreadable(error.to_string())),
        }
    }

    fn judge_folder(&mut self, folder: &str, record: Record) -> Result<(), StoreError> {
        match record.sound() {
            Ok(Some((manifest, version))) => self.judge_job(folder, &manifest, version),
            Ok(None) => self.judge_strays(folder),
            Err(why) => {
                self.tally.jobs += 1;
                self.find(folder, MANIFEST_NAME, Verdict::Unreadable(why));
                Ok(())
            }
        }
    }

    fn judge_job(&mut self, folder: &str, manifest: &Manifest, version: Version) -> Result<(), StoreError> {
        self.tally.jobs += 1;
        let Ok(job) = manifest.job.to_job() else { return Ok(()) };
        let mut names = self.store.names(folder)?;
        names.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        let mut waiting = Vec::new();
        for file in &manifest.files {
            let verdict = verdict::by_size(file, seen(&names, file));
            match (Key::recorded(&job, &file.path), verdict) {
                (Some(key), Verdict::Whole) if !self.options.quick => {
                    waiting.push(Waiting { bytes: file.bytes, sha256: file.sha256, key, version });
                }
                (_, verdict) => self.judged(folder, &file.path, verdict, file.bytes, version)?,
            }
        }
        for name in verdict::unrecorded(&manifest.files, names.iter().map(|(name, _)| name.as_str())) {
            self.confirm(folder, name, Verdict::Extra, Some(version))?;
        }
        if !waiting.is_empty() {
            self.board.lock().files.extend(waiting);
            self.board.changed.notify_all();
        }
        Ok(())
    }

    /// A folder without a record: one of a job, if it holds what only a job's folder holds.
    fn judge_strays(&mut self, folder: &str) -> Result<(), StoreError> {
        let job = any_job_in(folder);
        if job.is_none() {
            return Ok(());
        }
        let names = self.store.names(folder)?;
        let strays: Vec<&str> =
            verdict::strays(job.as_ref(), names.iter().map(|(name, _)| name.as_str())).collect();
        if !strays.is_empty() {
            self.confirm(folder, MANIFEST_NAME, Verdict::Missing, None)?;
        }
        for name in strays {
            self.confirm(folder, name, Verdict::Extra, None)?;
        }
        Ok(())
    }

    fn hash(&mut self, file: &Waiting) {
        let mut hasher = Sha256::default();
        let read = self.store.read(&file.key, &mut |bytes| {
            if self.stop.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            hasher.update(bytes);
            self.progress.add_bytes(bytes.len());
            Ok(())
        });
        let verdict = match read {
            _ if self.stop.is_cancelled() => return,
            Ok(bytes) => verdict::by_digest((file.sha256, file.bytes), (hasher.digest(), bytes)),
            Err(error) if error.is_out_of_reach() => return self.board.fail(error),
            Err(error) => Verdict::Unreadable(error.to_string()),
        };
        if let Err(error) = self.judged(file.key.folder(), file.key.name(), verdict, file.bytes, file.version)
        {
            self.board.fail(error);
        }
    }

    fn judged(
        &mut self,
        folder: &str,
        name: &str,
        verdict: Verdict,
        bytes: u64,
        version: Version,
    ) -> Result<(), StoreError> {
        self.progress.add_file();
        if verdict == Verdict::Whole {
            self.tally.whole_bytes += bytes;
            self.find(folder, name, verdict);
            return Ok(());
        }
        self.confirm(folder, name, verdict, Some(version))
    }

    /// Reports a fault, unless another process is writing to the job: then what was seen may have been a commit half
    /// way. So it is looked at once more when no commit is under way.
    ///
    /// # Errors
    /// That the archive is out of reach, and nothing can be told of the fault.
    fn confirm(
        &mut self,
        folder: &str,
        name: &str,
        verdict: Verdict,
        judged_by: Option<Version>,
    ) -> Result<(), StoreError> {
        self.store.settle(folder);
        let now = match self.store.record_in(folder) {
            Ok(Record::Sound(_, version)) => Some(version),
            Err(error) if error.is_out_of_reach() => return Err(error),
            _ => None,
        };
        let is_there = || match self.store.names(folder) {
            Ok(names) => Ok(name != MANIFEST_NAME && names.iter().any(|(there, _)| there == name)),
            Err(error) if error.is_out_of_reach() => Err(error),
            Err(_) => Ok(false),
        };
        let still = match &verdict {
            _ if now != judged_by => false,
            Verdict::Missing => !is_there()?,
            Verdict::Extra => is_there()?,
            // What a record names is never written again, so its bytes are not those of a commit half way.
            Verdict::Whole | Verdict::Damaged(_) | Verdict::Unreadable(_) => true,
        };
        if still {
            self.find(folder, name, verdict);
        } else {
            self.tally.changed += 1;
        }
        Ok(())
    }

    fn find(&mut self, folder: &str, name: &str, verdict: Verdict) {
        self.tally.note(&verdict);
        if verdict != Verdict::Whole || self.options.report_whole {
            // Nobody listens any more only where the taker has panicked.
            let _ = self.findings.send(Finding { folder: folder.into(), name: name.into(), verdict });
        }
    }
}

fn seen(sorted: &[(String, Entry)], file: &FileRecord) -> Seen {
    match sorted.binary_search_by(|(name, _)| name.cmp(&file.path)).map(|at| sorted[at].1) {
        Err(_) => Seen::Nothing,
        Ok(Entry::File(bytes)) => Seen::File(bytes),
        Ok(Entry::Folder | Entry::Other) => Seen::Other,
    }
}

/// The job that has this folder, wherever its API may be: names of files do not depend on that.
fn any_job_in(folder: &str) -> Option<JobRef> {
    let origin = url::Url::parse(DEFAULT_ORIGIN).ok()?;
    layout::job_in(folder, &Origin::of(&origin).ok()?)
}
