//! One job, from its record to its record: the only way by which a job is written.
//!
//! 1. The record is read ([`super::glance`]). Complete, with every file that it names there in its size: the job is
//!    kept, and nothing is asked. A damaged record counts as none.
//! 2. The API is asked until the job is done, failed, or the wait is over ([`poll`]). A pending job is noted once a run,
//!    and holds nothing while it waits; one that ends unfinished without a record is noted then. What the API does not
//!    know, or gives no links for, is taken from the account's listing, where that has links.
//! 3. [`super::split`] says which outputs the files here serve; the others are fetched, all at once, each as
//!    [`super::output`] says, and what came is summed up with what stays.
//! 4. Files and record are committed ([`crate::store::local`]), and only then the job counts as archived.
//!
//! # What makes the record sound
//! 1. A name that a visible record gives to some bytes is never given to others: other content for the same output gets a
//!    name with its digest, and the old file goes after the record has changed.
//! 2. Files are synced before they are renamed, and their folder before the record that names them.
//! 3. The record is swapped only over the version that was read; who comes second reads again.
//! 4. The state follows from what the record lists.
//! 5. Every record that names a file is synced, and every one that replaces such a record; notes of pending and failed
//!    jobs are not, and never replace one with files. What the archive has is given up only for something proven:
//!    where a file cannot be fetched again, or another answer does not list it, its record and its bytes stay. A
//!    damaged record is never written over: it and every file that it may have named are put aside.
//! 6. A record is kept for an output only where origin, family, id and the source's path are the same.
//! 7. A job is passed over only after a look at each file that it names.
//! 8. A killed run leaves at most whole files without a record, and parts in the staging area.

mod poll;

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit};
use url::Url;

use super::ended::Ended;
use super::glance::{Glance, glance};
use super::haul::{Haul, bring_all};
use super::output::{self, JobContext, Listed};
use super::split::{Split, Sum};
use super::{Error, Session, aside, record};
use crate::event::Event;
use crate::job::Asked;
use crate::layout::Key;
use crate::lifetime::{self, Birth};
use crate::listing;
use crate::manifest::{FileRecord, Manifest, State};
use crate::plan::{self, Came, Moment, Renewal};
use crate::reply::{Done, Source};
use crate::retry::{Cause, Class, Failure, PollSchedule};
use crate::store::{Found, Proven, StoreError, Version};
pub(super) use poll::ask;

/// How often a job is begun anew because another process changed its record.
const CONFLICTS: u32 = 3;

/// A job that is to be worked on.
pub(super) struct OpenJob {
    pub(super) asked: Asked,
    /// Its place in the list.
    pub(super) order: u64,
    /// What its folder holds.
    pub(super) found: Found,
    /// Which files of its record are there.
    pub(super) present: Vec<bool>,
}

/// Works on one job until it is archived, or cannot be in this run.
pub(super) fn fetch(session: &Session, open: OpenJob) -> impl Future<Output = Ended> + Send {
    work(session, open, Purpose::Archive)
}

/// Works on a job of which these files are bad, however whole they look: they count as not there, and are put aside
/// right before something proven takes their place. What is not bad stays as it is, whatever the answer says.
pub(super) async fn mend(session: &Session, asked: &Asked, found: Found, bad: Vec<String>) -> Ended {
    let present = match &found {
        Found::Record(manifest, _) => vec![true; manifest.files.len()],
        Found::Nothing | Found::Damaged { .. } => Vec::new(),
    };
    work(session, OpenJob { asked: asked.clone(), order: 0, found, present }, Purpose::Mend { bad }).await
}

async fn work(session: &Session, open: OpenJob, mut purpose: Purpose) -> Ended {
    let OpenJob { asked, order, mut found, mut present } = open;
    session.report(&Event::JobStarted { job: &asked.job });
    if let Found::Record(manifest, _) = &found {
        for (url, lesson) in lifetime::recorded_losses(manifest) {
            session.learn(&url, &asked.job.family, Some(lesson));
        }
    }
    let mut conflicts = 0;
    loop {
        if let Found::Damaged { why, .. } = &found {
            session.report(&Event::Warning { job: Some(&asked.job), text: why });
        }
        let mut job = OneJob::new(session, &asked, order, (found, present), purpose.clone());
        match job.run().await {
            Err(Ended::Local(Error { source: StoreError::Conflict { .. }, .. })) if conflicts < CONFLICTS => {
                conflicts += 1;
            }
            Ok(ended) | Err(ended) => return ended,
        }
        let before = job.found;
        (found, present) = match glance(&session.store, &session.options, &asked.job, &session.stop) {
            Ok(Glance::Open(found, present)) => (found, present),
            Ok(Glance::Over(ended)) => return ended,
            Err(error) => return error.into(),
        };
        // What another process has healed meanwhile is bad no longer.
        if let Purpose::Mend { bad } = &mut purpose {
            bad.retain(|name| file_named(&before, name) == file_named(&found, name));
        }
    }
}

fn file_named<'a>(found: &'a Found, name: &str) -> Option<&'a FileRecord> {
    match found {
        Found::Record(manifest, _) => manifest.files.iter().find(|file| file.path == name),
        Found::Nothing | Found::Damaged { .. } => None,
    }
}

/// What a job is worked on for.
#[derive(Clone)]
enum Purpose {
    /// To bring home what it lacks.
    Archive,
    /// To put right what is bad of it, and nothing else.
    Mend {
        /// The names in its folder that are to be put aside before anything is committed.
        bad: Vec<String>,
    },
}

impl Purpose {
    fn is_to_mend(&self) -> bool {
        matches!(self, Self::Mend { .. })
    }
}

/// One job on its way.
#[expect(clippy::struct_excessive_bools, reason = "what has happened to a job so far, each by itself")]
struct OneJob<'a> {
    session: &'a Session,
    asked: &'a Asked,
    order: u64,
    found: Found,
    present: Vec<bool>,
    purpose: Purpose,
    /// When the job was first asked for: its times run from then on, and not while others go first.
    began: Option<Moment>,
    /// Whether the job was seen pending, by this run or an earlier one: then its files may come late.
    fresh: bool,
    noted: bool,
    /// Whether the API has said that there is such a job.
    answered: bool,
    /// Whether a record was written, or the disk refused it; what it refused is not tried again.
    committed: bool,
    polls: PollSchedule,
    failures: u32,
    unknown_until: Option<Moment>,
    /// A place among what is ready, for the first file; held while the answer may be that there is one.
    place: Option<OwnedSemaphorePermit>,
    birth: Birth,
    /// Whether the outputs are the listing's, because the API has no answer.
    rescued: bool,
}

impl<'a> OneJob<'a> {
    fn new(
        session: &'a Session,
        asked: &'a Asked,
        order: u64,
        (found, mut present): (Found, Vec<bool>),
        purpose: Purpose,
    ) -> Self {
        let seen_pending = matches!(&found, Found::Record(manifest, _) if manifest.pending_seen_at.is_some() && manifest.done_seen_at.is_none());
        let recorded = match &found {
            Found::Record(manifest, _) => Birth::recorded(manifest),
            Found::Nothing | Found::Damaged { .. } => None,
        };
        if let (Purpose::Mend { bad }, Found::Record(manifest, _)) = (&purpose, &found) {
            for (file, present) in manifest.files.iter().zip(&mut present) {
                *present &= !bad.contains(&file.path);
            }
        }
        Self {
            session,
            asked,
            order,
            found,
            present,
            purpose,
            began: None,
            birth: recorded.unwrap_or(Birth::Before(session.list_began.load(Ordering::Relaxed))),
            rescued: false,
            fresh: asked.submitted || seen_pending,
            noted: false,
            answered: false,
            committed: false,
            polls: PollSchedule::default(),
            failures: 0,
            unknown_until: None,
            place: None,
        }
    }

    /// Works on it. A job that the API knows and that a later run is to finish has a record then even where nothing
    /// came of it, so that the archive alone tells what is not home.
    async fn run(&mut self) -> Result<Ended, Ended> {
        let ended = self.advance().await;
        let (Ok(end) | Err(end)) = &ended;
        let over = match end {
            Ended::Kept(_) | Ended::Archived(_) => true,
            Ended::Failed(failure) => failure.class() == Class::Permanent,
            Ended::Pending | Ended::Incomplete(_) | Ended::Local(_) | Ended::Cancelled => false,
        };
        let is_blank = matches!(self.found, Found::Nothing) && !self.names_files();
        if self.answered && !over && !self.committed && is_blank {
            let note = record::base(&self.asked.job, &self.found);
            // Where the disk refuses, or another process was faster, the list that named the job still does.
            let _ = Box::pin(self.commit(Vec::new(), note)).await;
        }
        ended
    }

    async fn advance(&mut self) -> Result<Ended, Ended> {
        // In boxes of their own, as everything is that many jobs wait for and few have begun: a job that waits is small.
        let done = tokio::select! {
            biased;
            () = self.session.stop.cancelled() => return Ok(Ended::Cancelled),
            done = Box::pin(self.poll()) => done?,
        };
        self.warn_of_another_id(&done);
        Box::pin(self.bring_home(done)).await
    }

    /// Whether the record names files, or is damaged or lost and may have named some: no note takes its place.
    fn names_files(&self) -> bool {
        match &self.found {
            Found::Record(manifest, _) => !manifest.files.is_empty(),
            Found::Damaged { .. } => true,
            Found::Nothing => matches!(&self.purpose, Purpose::Mend { bad } if !bad.is_empty()),
        }
    }

    fn warn_of_another_id(&self, done: &Done) {
        let job = &self.asked.job;
        if let Some(answered) = done.answered_id.as_deref().filter(|answered| *answered != job.id.as_str()) {
            let text = format!("the answer speaks of id {answered}; kept under the id that was asked for");
            self.session.report(&Event::Warning { job: Some(job), text: &text });
        }
    }

    /// Fetches what is not here yet, and commits.
    async fn bring_home(&mut self, done: Done) -> Result<Ended, Ended> {
        let beside = if self.rescued { Vec::new() } else { beside(&done, &self.asked.listed) };
        let split = self.split(&done, &beside)?;
        let to_fetch = &split.to_fetch;
        let session = self.session;
        let job = &self.asked.job;
        session.report(&Event::JobReady { job, outputs: done.outputs.len(), to_fetch: to_fetch.len() });
        session.note_birth(&job.family, Some(self.birth));
        let answered_at = session.moment();
        let context = JobContext {
            session,
            job,
            order: self.order,
            birth: self.birth,
            left: self.deadline().saturating_sub(answered_at),
            begun: OnceLock::new(),
            outputs: &done.outputs,
            listed: if self.rescued { Listed::Alone } else { Listed::Beside(beside) },
            fresh_until: self.fresh.then(|| answered_at + plan::FRESH_FOR),
            answered_at,
            refreshed: OnceCell::new(),
            place: Mutex::new(self.place.take()),
        };
        let haul = bring_all(&context, to_fetch).await;
        drop(context);
        Box::pin(self.commit_haul(done, split, haul)).await
    }

    fn split(&self, done: &Done, beside: &[Option<Url>]) -> Result<Split, Ended> {
        let listed = |place: usize| beside.get(place).and_then(Option::as_ref);
        let outputs = done.outputs.iter().enumerate();
        let identities: Vec<plan::Identity> =
            outputs.map(|(place, output)| output::identity(output, listed(place))).collect();
        let (force, mends) = (self.session.options.force, self.purpose.is_to_mend());
        let before = match &self.found {
            Found::Record(manifest, _) => Some(manifest.as_ref()),
            Found::Nothing | Found::Damaged { .. } => None,
        };
        Split::of(done, &identities, &self.here(), before, force, mends).ok_or_else(|| {
            let why = "the answer has no longer the outputs that are here";
            Ended::Failed(Failure::new(Cause::Malformed, why))
        })
    }

    /// The record's files that are there.
    fn here(&self) -> Vec<&FileRecord> {
        let files = match &self.found {
            Found::Record(manifest, _) => manifest.files.as_slice(),
            Found::Nothing | Found::Damaged { .. } => &[],
        };
        files.iter().zip(&self.present).filter(|(_, present)| **present).map(|(file, _)| file).collect()
    }

    async fn commit_haul(&mut self, done: Done, split: Split, mut haul: Haul) -> Result<Ended, Ended> {
        let before = match &self.found {
            Found::Record(manifest, _) => Some(manifest.as_ref()),
            Found::Nothing | Found::Damaged { .. } => None,
        };
        let sum = split.sum(&done, before, &self.here(), self.session.options.force, &haul);
        let heard = std::mem::take(&mut haul.missing);
        let Sum { outputs, kept, missing, lacking, not_again, has_others } = sum;
        let came = match () {
            () if !haul.came.is_empty() => Came::Something,
            () if haul.cancelled || haul.here.is_some() => Came::CutShort,
            () => Came::Nothing,
        };
        let draft = record::done(&self.asked.job, &self.found, done, &outputs, kept, haul.came, missing);
        let stays = plan::stays(&Renewal {
            came,
            was_lost: self.names_files() && before.is_none(),
            mends: self.purpose.is_to_mend(),
            is_complete: draft.manifest.derived_state() == State::Complete,
            names_files: !draft.manifest.files.is_empty(),
            may_come: lacking.iter().any(|missing| !crate::event::is_for_good(missing)),
            keeps_files: has_others || !not_again.is_empty(),
        });
        let mut shown = if stays {
            draft.manifest
        } else {
            match (self.commit(draft.files, draft.manifest).await, haul.here) {
                (Ok((committed, _)), here) => {
                    haul.here = here;
                    committed
                }
                // What went wrong first says more.
                (Err(_), Some(here)) => return Err(Ended::Local(here)),
                (Err(ended), None) => return Err(ended),
            }
        };
        // What a run was asked to fetch again and could not is not done, though the archive has it.
        shown.files.retain(|file| !not_again.contains(&file.output));
        shown.missing = lacking;
        Ok(match haul.here {
            Some(error) => Ended::Local(error),
            None if haul.cancelled => Ended::Cancelled,
            None if shown.derived_state() != State::Complete => Ended::Incomplete(Box::new(shown)),
            // This answer lists less than the archive has, and nothing of what the archive lacks.
            None if stays => Ended::Incomplete(Box::new(match &self.found {
                Found::Record(manifest, _) if heard.is_empty() => (**manifest).clone(),
                Found::Record(..) | Found::Nothing | Found::Damaged { .. } => {
                    Manifest { missing: heard, ..shown }
                }
            })),
            None => Ended::Archived(Box::new(shown)),
        })
    }

    /// The names of the record under which something else may lie than what it says: another job's file, or the only
    /// copy of a file whose length it has wrong. Where other machines write, what lies there now may be theirs, and named.
    fn strangers(&self) -> Vec<String> {
        let Found::Record(manifest, _) = &self.found else { return Vec::new() };
        if self.session.store.has_other_writers() {
            return Vec::new();
        }
        let files = manifest.files.iter().zip(&self.present).filter(|(_, present)| !**present);
        files.map(|(file, _)| file.path.clone()).collect()
    }

    /// Commits; the record that is visible then.
    async fn commit(
        &mut self,
        files: Vec<(Proven, Key)>,
        manifest: Manifest,
    ) -> Result<(Manifest, Version), Ended> {
        let (session, job) = (self.session, &self.asked.job);
        if let Purpose::Mend { bad } = &mut self.purpose {
            aside::put(session, job, bad.clone()).await?;
            bad.clear();
        }
        self.committed = true;
        if !files.is_empty() {
            aside::put(session, job, self.strangers()).await?;
        }
        if let Found::Damaged { .. } = &self.found {
            // It may have named any of the files that lie there. No later record would know them, so the next run would
            // take their names.
            aside::put_all(session, job).await?;
            self.found = Found::Nothing;
        }
        let replaces = self.found.version();
        Ok(session.store.commit(&session.staging, job, files, manifest, replaces).await?)
    }
}

/// The listing's links beside the answer's.
fn beside(done: &Done, listed: &[Option<Url>]) -> Vec<Option<Url>> {
    let url = |source: &'_ Option<Source>| match source {
        Some(Source::Url(url)) => Some(url.clone()),
        Some(Source::Inline(_) | Source::Unusable(_)) | None => None,
    };
    let links: Vec<Vec<Url>> = done
        .outputs
        .iter()
        .map(|output| [url(&output.source), url(&output.proxy)].into_iter().flatten().collect())
        .collect();
    let links: Vec<Vec<&Url>> = links.iter().map(|links| links.iter().collect()).collect();
    listing::pair(&links, listed)
}
