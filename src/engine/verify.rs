//! Verifying an archive: every file of every job is set against its record. Nothing is written and nobody is asked.
//!
//! Threads take their work from one [`Board`]. Each hashes several files at a time, a step of each in turn.

mod board;

use std::sync::mpsc::{SyncSender, sync_channel};

use tokio_util::sync::CancellationToken;

use super::survey::Progress;
use crate::job::{DEFAULT_ORIGIN, JobRef, Origin};
use crate::layout::{self, Key, MANIFEST_NAME};
use crate::manifest::{FileRecord, Manifest};
use crate::sha256::{self, Sha256};
use crate::store::{Contents, Entry, Folders, Record, Store, StoreError, Version};
use crate::verdict::{self, Finding, Seen, Share, Tally, Verdict};
use board::{Board, Reading, Waiting, Work};

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
    let board = Board::of(folders);
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
    match board.into_failure() {
        Some(error) => Err(error),
        None => Ok(tally),
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

/// A file that is being hashed.
struct Hashing<'a> {
    file: Waiting,
    contents: Contents<'a>,
    hasher: Sha256,
}

impl<'a> Worker<'a> {
    fn run(mut self) -> Tally {
        let mut files = Vec::with_capacity(self.store.streams());
        loop {
            let work = match files.len() {
                0 => self.board.wait(&self.options.share),
                some if some < self.store.streams() => self.board.more(&self.options.share),
                _ => None,
            };
            if self.stop.is_cancelled() {
                self.board.close();
                files.clear();
            }
            match work {
                Some(Work::Folders(names)) => self.read_folders(&names),
                Some(Work::File(file)) => files.extend(self.open(file)),
                None if files.is_empty() => return self.tally,
                None => self.step(&mut files),
            }
        }
    }

    fn read_folders(&mut self, names: &[String]) {
        let _reading = Reading(self.board);
        for name in names {
            if self.stop.is_cancelled() {
                break;
            }
            self.read_folder(name);
            self.progress.add_jobs(1);
        }
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
            self.board.add(waiting);
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

    fn open(&mut self, file: Waiting) -> Option<Hashing<'a>> {
        match self.store.contents(&file.key) {
            Ok(contents) => Some(Hashing { file, contents, hasher: Sha256::default() }),
            Err(error) => {
                self.unread(&file, error);
                None
            }
        }
    }

    /// Hashes the next bytes of each file; those that end here are judged.
    fn step(&mut self, files: &mut Vec<Hashing<'a>>) {
        let mut streams = Vec::with_capacity(files.len());
        let mut ended = Vec::new();
        for (place, Hashing { contents, hasher, .. }) in files.iter_mut().enumerate() {
            match contents.read() {
                Ok([]) => ended.push((place, Ok(()))),
                Ok(bytes) => streams.push((hasher, bytes)),
                Err(error) => ended.push((place, Err(error))),
            }
        }
        sha256::update_all(&mut streams);
        self.progress.add_bytes(streams.iter().map(|(_, bytes)| bytes.len()).sum());
        for (place, read) in ended.into_iter().rev() {
            let Hashing { file, hasher, .. } = files.swap_remove(place);
            match read {
                Ok(()) => {
                    let seen = (hasher.digest(), hasher.bytes());
                    self.judge_file(&file, verdict::by_digest((file.sha256, file.bytes), seen));
                }
                Err(error) => self.unread(&file, error),
            }
        }
    }

    fn unread(&mut self, file: &Waiting, error: StoreError) {
        if error.is_out_of_reach() {
            self.board.fail(error);
        } else {
            self.judge_file(file, Verdict::Unreadable(error.to_string()));
        }
    }

    fn judge_file(&mut self, file: &Waiting, verdict: Verdict) {
        let judged = self.judged(file.key.folder(), file.key.name(), verdict, file.bytes, file.version);
        if let Err(error) = judged {
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
