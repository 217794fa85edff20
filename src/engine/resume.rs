//! Finishing what an archive began, without the command line that began it: every record says which job it belongs to,
//! and how far that job has come.
//!
//! | the record | its files | the job is |
//! | --- | --- | --- |
//! | complete | all are there | done |
//! | complete | one is missing, or has another size | worked on |
//! | pending, partial, failed | | worked on |
//! | gone | | passed over, and how many is told; worked on where that is asked for |
//! | of an API that is not the chosen one | | told, and passed over: the key is not for that API |
//! | cannot be read | | told, and passed over |
//! | there is none, but parts of the job's files that a killed run left | | worked on |
//! | there is none | | no job |
//!
//! A failed job is asked again, since only the service can say that it is lost for good. A gone one is not: each of its
//! sources has said twice that there is no such file, and an archive may hold thousands of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use super::archive::{BadRef, Stop, archive};
use super::survey::{self, Look};
use super::{Error, Session};
use crate::event::Event;
use crate::job::{Asked, JobRef, Origin};
use crate::layout::{self, MANIFEST_NAME};
use crate::manifest::{Manifest, State};
use crate::store::{Store, StoreError};

/// Batches of jobs that wait for the archive to take them.
const READ_AHEAD: usize = 16;

/// Which of an archive's jobs are worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The API whose jobs they are.
    pub origin: Origin,
    /// Whether jobs that are gone are asked again too.
    pub gone: bool,
}

/// Works on every job of the session's archive that is not done; returns what ended the run early, if anything did.
pub async fn resume(session: &Arc<Session>, which: &Which) -> Option<Stop> {
    let (store, which, token) = (session.store.clone(), which.clone(), session.stop.clone());
    let (sender, jobs) = sync_channel(READ_AHEAD);
    let gone = Arc::new(AtomicU64::new(0));
    let passed_over = Arc::clone(&gone);
    let looking = tokio::task::spawn_blocking(move || {
        let left = survey::unrecorded(&store)?.into_iter().map(|job| {
            let place = layout::folder(&job);
            which.ask(job, place)
        });
        if sender.send(left.collect()).is_err() {
            return Ok(());
        }
        let look = |folders: &[String]| {
            folders
                .iter()
                .filter_map(|folder| ask(&store, folder, &which, &passed_over).transpose())
                .collect()
        };
        let folders = store.folders()?;
        survey::survey(&store, folders, &token, look, |batch: Vec<Ref>| sender.send(batch).is_ok())
    });
    let stop = archive(session, batches(jobs)).await;
    let looked: Result<(), StoreError> = match looking.await {
        Ok(looked) => looked,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let gone = gone.load(Ordering::Relaxed);
    if gone > 0 {
        let text = format!("passed over as gone for good: {gone}; --gone asks for them too");
        session.report(&Event::Warning { job: None, text: &text });
    }
    stop.or(looked.err().map(|error| Stop::Local(Error::from(error))))
}

type Ref = Result<Asked, BadRef>;

fn batches(jobs: Receiver<Vec<Ref>>) -> impl Iterator<Item = Ref> + Send + 'static {
    jobs.into_iter().flatten()
}

impl Which {
    /// The job, where the key is meant for its API.
    fn ask(&self, job: JobRef, place: String) -> Ref {
        if job.origin == self.origin {
            return Ok(Asked::new(job));
        }
        let why = format!(
            "belongs to {}, but the key is only for {}; use --base-url {} if the key is meant for it",
            job.origin, self.origin, job.origin
        );
        Err(BadRef { place, why })
    }
}

fn ask(
    store: &Store,
    folder: &str,
    which: &Which,
    passed_over: &AtomicU64,
) -> Result<Option<Ref>, StoreError> {
    let place = format!("{folder}/{MANIFEST_NAME}");
    let told = |why| Some(Err(BadRef { place: place.clone(), why }));
    let (job, manifest) = match survey::look(store, folder)? {
        Look::Nothing => return Ok(None),
        Look::Unreadable(why) => return Ok(told(why)),
        Look::Job(job, manifest) => (job, manifest),
    };
    Ok(match is_open(store, &job, &manifest, which.gone) {
        Ok(false) => {
            let is_gone = manifest.state == State::Gone && job.origin == which.origin;
            passed_over.fetch_add(u64::from(is_gone), Ordering::Relaxed);
            None
        }
        Err(error) if error.is_out_of_reach() => return Err(error),
        Err(error) => told(error.to_string()),
        Ok(true) => Some(which.ask(job, place)),
    })
}

fn is_open(store: &Store, job: &JobRef, manifest: &Manifest, gone: bool) -> Result<bool, StoreError> {
    Ok(match manifest.state {
        State::Complete => !store.present(job, manifest)?.into_iter().all(|present| present),
        State::Pending | State::Partial | State::Failed => true,
        State::Gone => gone,
    })
}
