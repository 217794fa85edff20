//! Repairing an archive: what [`super::verify`] finds is put right, and nothing else is touched.
//!
//! 1. The archive is verified; what is whole stays as it is.
//! 2. If files are bad, all records are read once more for files with the same digest: their twins.
//! 3. Each job is mended: bytes come from a twin, from another archive, or from the job's own sources, in the order that
//!    [`mend`] decides. Nothing takes a bad file's place but proven bytes, and the bad file is put aside into the
//!    quarantine right before they do. Files that no record names are put aside too.
//! 4. What the API says is gone for good is recorded as missing; the record remembers its digest, so that a copy can
//!    still be recognised one day.
//! 5. Each job is verified again, and that alone decides what is reported.
//!
//! The job's own sources are asked in the way of every other run ([`super::fetch`]), except that what is not bad is kept
//! whatever the answer says.

mod copy;
mod outcome;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::ended::Ended;
use super::fetch;
use super::survey::{self, Look, Progress};
use super::verify::{self, VerifyOptions};
use super::{Error, Scope, Session, record};
use crate::job::{Asked, JobRef};
use crate::layout::{self, Key};
use crate::manifest::{FileRecord, Manifest, State};
use crate::mend::{self, Left, Mended, Offers, Outcome, RecordState, Repair, Step};
use crate::retry::{Cause, Class, Failure};
use crate::store::{Found, Record, Staging, Store, StoreError, Version};
use crate::verdict::{Finding, Verdict};
use copy::{Copied, Copies};
use outcome::{outcome, why_incomplete};

/// Jobs that are mended at once; more bring nothing.
const JOBS_AT_ONCE: usize = 32;

/// What a repair may draw on.
pub struct Tools {
    /// Another archive.
    pub from: Option<Store>,
    /// The API and the media hosts. Its archive is the one that is repaired.
    pub session: Option<Arc<Session>>,
    /// The most jobs that are mended at once; each has a few files open.
    pub jobs: usize,
}

/// Repairs an archive; gives what became of each fault to `take`, in no order.
///
/// Ends early, and well, where `stop` is cancelled; a session's own token should be the same one.
///
/// # Errors
/// What ends the run: the archive cannot be listed, another process writes to it, the disk is full or fails.
pub async fn repair(
    store: &Store,
    tools: Tools,
    options: &VerifyOptions,
    stop: &CancellationToken,
    progress: &Arc<Progress>,
    mut take: impl FnMut(Mended),
) -> Result<Repair, Error> {
    let staging = match &tools.session {
        Some(session) => Arc::clone(&session.staging),
        None => Arc::new(store.staging()?),
    };
    let (jobs, faults, copies) = find(store, tools.from, *options, stop, progress).await?;
    let mender = Mender {
        store: store.clone(),
        staging,
        session: tools.session,
        copies: Arc::new(copies),
        stop: stop.clone(),
        refused: AtomicBool::new(false),
    };
    let mut repair = Repair { jobs, ..Repair::default() };
    let jobs = futures::stream::iter(faults).map(|(folder, findings)| mender.mend(folder, findings));
    let mut jobs = jobs.buffer_unordered(tools.jobs.clamp(1, JOBS_AT_ONCE));
    while let Some(of_job) = jobs.next().await {
        for mended in of_job? {
            repair.note(&mended.outcome);
            take(mended);
        }
    }
    Ok(repair)
}

/// Faults by the folder they are in.
type Faults = BTreeMap<String, Vec<Finding>>;

/// Verifies, and looks where the bytes of bad files may be; gives the number of jobs too.
async fn find(
    store: &Store,
    from: Option<Store>,
    options: VerifyOptions,
    stop: &CancellationToken,
    progress: &Arc<Progress>,
) -> Result<(u64, Faults, Copies), StoreError> {
    let (store, stop, progress) = (store.clone(), stop.clone(), Arc::clone(progress));
    blocking(move || {
        let options = VerifyOptions { report_whole: false, ..options };
        let mut faults = Faults::new();
        let tally = verify::verify(&store, &options, &stop, &progress, |finding| {
            faults.entry(finding.folder.clone()).or_default().push(finding);
        })?;
        if stop.is_cancelled() {
            faults.clear();
        }
        let copies = Copies::look_for(&store, from, &mut faults, &options.share, &stop)?;
        Ok((tally.jobs, faults, copies))
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    // Nobody aborts these, so whatever is not done has panicked.
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

struct Mender {
    store: Store,
    staging: Arc<Staging>,
    session: Option<Arc<Session>>,
    copies: Arc<Copies>,
    stop: CancellationToken,
    /// Set once the account was refused: nobody is asked any more.
    refused: AtomicBool,
}

/// A job's folder on its way.
struct Case {
    folder: String,
    findings: Vec<Finding>,
    /// What the record named before.
    before: Vec<FileRecord>,
    /// From where the bytes of each output have come.
    from: HashMap<usize, String>,
    /// From where the record has come.
    record_from: Option<String>,
    trouble: Option<Left>,
}

impl Case {
    /// The names of those files of the record that are bad.
    fn bad(&self) -> Vec<String> {
        let bad = |finding: &&Finding| self.before.iter().any(|file| file.path == finding.name);
        self.findings.iter().filter(bad).map(|finding| finding.name.clone()).collect()
    }

    fn verdict(&self, name: &str) -> Option<&Verdict> {
        self.findings.iter().find(|finding| finding.name == name).map(|finding| &finding.verdict)
    }

    /// Notes what failed: here if it concerns this job alone, else as an error.
    fn note(&mut self, error: StoreError) -> Result<(), Error> {
        let error = Error::from(error);
        match error.scope {
            Scope::Job => {
                self.trouble = Some(Left::Local(error.to_string()));
                Ok(())
            }
            Scope::Run => Err(error),
        }
    }
}

impl Mender {
    async fn mend(&self, folder: String, findings: Vec<Finding>) -> Result<Vec<Mended>, Error> {
        if self.stop.is_cancelled() {
            return Ok(Vec::new());
        }
        let mut case = Case {
            folder,
            findings,
            before: Vec::new(),
            from: HashMap::new(),
            record_from: None,
            trouble: None,
        };
        let found = self.record_in(&case.folder).await;
        let state = match &found {
            Ok(Record::Sound(..)) => RecordState::Sound,
            Ok(Record::Newer { .. }) => {
                case.trouble = Some(Left::NoSource("only the vfetch that wrote it can repair it".into()));
                RecordState::Newer
            }
            Ok(Record::Nothing | Record::Damaged { .. } | Record::Misplaced { .. }) => RecordState::Lost,
            Err(error) if error.is_out_of_reach() => return found.map(|_| Vec::new()).map_err(Error::from),
            Err(error) => {
                case.trouble = Some(Left::Local(error.to_string()));
                RecordState::Newer
            }
        };
        let mended = match (state, found) {
            (RecordState::Sound, Ok(Record::Sound(manifest, version))) => {
                self.mend_files(&mut case, *manifest, version).await
            }
            (RecordState::Lost, _) => self.mend_record(&mut case).await,
            (RecordState::Sound | RecordState::Newer, _) => Ok(()),
        };
        match mended {
            Ok(()) => {}
            Err(error) if error.scope == Scope::Job => case.trouble = Some(Left::Local(error.to_string())),
            Err(error) => return Err(error),
        }
        self.conclude(case).await
    }

    async fn record_in(&self, folder: &str) -> Result<Record, StoreError> {
        let (store, folder) = (self.store.clone(), folder.to_owned());
        blocking(move || store.record_in(&folder)).await
    }

    async fn put_aside(&self, folder: &str, names: Vec<String>) -> Result<(), StoreError> {
        let (store, staging, folder) = (self.store.clone(), Arc::clone(&self.staging), folder.to_owned());
        blocking(move || names.iter().try_for_each(|name| store.put_aside(&staging, &folder, name).map(drop)))
            .await
    }

    /// The record is sound: its bad files are replaced, and what it does not name is put aside.
    async fn mend_files(&self, case: &mut Case, manifest: Manifest, version: Version) -> Result<(), Error> {
        let Ok(job) = manifest.job.to_job() else { return Ok(()) };
        case.before.clone_from(&manifest.files);
        let bad = case.bad();
        let extra = case
            .findings
            .iter()
            .filter(|finding| mend::file(&finding.verdict, Offers::default()) == Step::PutAside);
        let extra: Vec<String> = extra.map(|finding| finding.name.clone()).collect();
        if !extra.is_empty() {
            self.fence(&job, &manifest, version).await?;
            self.put_aside(&case.folder, extra).await?;
        }
        let copied = self.copy(case, &job, &manifest, &bad).await?;
        let left: Vec<String> =
            bad.into_iter().filter(|name| !copied.iter().any(|copied| copied.file.path == *name)).collect();
        if !copied.is_empty() {
            self.commit_copies(case, &job, copied).await?;
        }
        if left.is_empty() {
            return Ok(());
        }
        match self.may_ask(&job) {
            Ok(session) => self.ask_for(case, session, &job, left).await,
            Err(why) => {
                case.trouble = Some(why);
                Ok(())
            }
        }
    }

    /// Makes sure that no other machine is about to name what is put aside next: one whose commit is under way finds
    /// another record than it began with, and begins anew. On this machine the lock does that.
    async fn fence(&self, job: &JobRef, manifest: &Manifest, version: Version) -> Result<(), StoreError> {
        if !self.store.has_other_writers() {
            return Ok(());
        }
        let found = Found::Record(Box::new(manifest.clone()), version);
        let mut same = record::base(job, &found);
        // A record that is equal to the last byte would keep nobody out.
        while same.updated_at == manifest.updated_at {
            tokio::time::sleep(Duration::from_secs(1)).await;
            same = record::base(job, &found);
        }
        self.store.commit(&self.staging, job, Vec::new(), same, Some(version)).await.map(drop)
    }

    /// Copies what twins and the other archive have of these files, and of files that were lost before.
    async fn copy(
        &self,
        case: &Case,
        job: &JobRef,
        manifest: &Manifest,
        bad: &[String],
    ) -> Result<Vec<Copied>, StoreError> {
        let of_bad = manifest.files.iter().filter(|file| bad.contains(&file.path));
        let wanted: Vec<(FileRecord, Verdict)> = of_bad
            .filter_map(|file| Some((file.clone(), case.verdict(&file.path)?.clone())))
            .chain(manifest.lost.iter().map(|lost| (lost.clone(), Verdict::Missing)))
            .collect();
        let (store, staging, copies) =
            (self.store.clone(), Arc::clone(&self.staging), Arc::clone(&self.copies));
        let (job, stop) = (job.clone(), self.stop.clone());
        blocking(move || {
            let mut brought: Vec<Copied> = Vec::new();
            for (file, verdict) in wanted {
                if stop.is_cancelled() {
                    break;
                }
                // Of several contents that an output lost, the first that is found will do.
                if brought.iter().any(|copied| copied.file.output == file.output) {
                    continue;
                }
                brought.extend(copies.bring(&store, &staging, &job, &file, &verdict)?);
            }
            Ok(brought)
        })
        .await
    }

    /// Gives the copies their places.
    async fn commit_copies(&self, case: &mut Case, job: &JobRef, copied: Vec<Copied>) -> Result<(), Error> {
        let names = copied.iter().map(|copied| copied.file.path.clone()).collect();
        let (mut files, mut back) = (Vec::new(), Vec::new());
        for Copied { proven, key, file, from } in copied {
            case.from.insert(file.output, from);
            files.push((proven, key));
            back.push(file);
        }
        self.put_aside(&case.folder, names).await?;
        let found = self.look(job).await?;
        let manifest = record::restored(job, &found, back);
        self.store.commit(&self.staging, job, files, manifest, found.version()).await?;
        Ok(())
    }

    async fn look(&self, job: &JobRef) -> Result<Found, StoreError> {
        let (store, job) = (self.store.clone(), job.clone());
        blocking(move || store.look(&job)).await
    }

    /// Whether the API may be asked for this job; why not, where it may not.
    fn may_ask(&self, job: &JobRef) -> Result<&Arc<Session>, Left> {
        let no_source = |why: String| Err(Left::NoSource(why));
        let Some(session) = &self.session else {
            return no_source("no copy is here, and the API was not asked".into());
        };
        let ours = session.api.origin();
        if job.origin != *ours {
            return no_source(format!(
                "no copy is here; the job belongs to {}, and the key to {ours}",
                job.origin
            ));
        }
        if self.refused.load(Ordering::Relaxed) {
            return Err(Left::Refused("the account was refused before".into()));
        }
        Ok(session)
    }

    /// Fetches what is bad from the job's own sources.
    async fn ask_for(
        &self,
        case: &mut Case,
        session: &Arc<Session>,
        job: &JobRef,
        bad: Vec<String>,
    ) -> Result<(), Error> {
        let asked = Asked::new(job.clone());
        let found = if case.before.is_empty() { Found::Nothing } else { self.look(job).await? };
        let ended = fetch::mend(session, &asked, found, bad.clone()).await;
        ended.report(session, job);
        match ended {
            Ended::Kept(_) | Ended::Archived(_) => {}
            Ended::Incomplete(manifest) => case.trouble = Some(why_incomplete(&manifest)),
            Ended::Pending => {
                case.trouble = Some(Left::Later("the service is working on the job again".into()));
            }
            Ended::Cancelled => case.trouble = Some(Left::Later("the run was stopped".into())),
            Ended::Local(error) => case.note(error.source)?,
            Ended::Failed(failure) => self.note_failure(case, job, &bad, &failure).await?,
        }
        Ok(())
    }

    /// The API did not give the job: what it says is gone for good is recorded so, everything else is left.
    async fn note_failure(
        &self,
        case: &mut Case,
        job: &JobRef,
        bad: &[String],
        failure: &Failure,
    ) -> Result<(), Error> {
        let why = failure.to_string();
        // A refused request says nothing of the job: a gateway in between may have refused it.
        let about_the_job = matches!(failure.cause, Cause::JobFailed | Cause::JobNotFound);
        case.trouble = Some(match failure.class() {
            Class::Auth => {
                self.refused.store(true, Ordering::Relaxed);
                Left::Refused(why)
            }
            Class::Transient => Left::Later(why),
            Class::Permanent => Left::NoSource(why),
        });
        if about_the_job && !case.before.is_empty() {
            let found = self.look(job).await?;
            let manifest = record::written_off(job, &found, bad, failure);
            self.put_aside(&case.folder, bad.to_vec()).await?;
            self.store.commit(&self.staging, job, Vec::new(), manifest, found.version()).await?;
        }
        Ok(())
    }

    /// The record is damaged, belongs elsewhere or is not there: the job is made anew from the other archive or from its
    /// own sources, and everything that lies in its folder is put aside first unless it is proven right.
    async fn mend_record(&self, case: &mut Case) -> Result<(), Error> {
        let (copies, folder) = (Arc::clone(&self.copies), case.folder.clone());
        let other = blocking(move || copies.other_record(&folder)).await?;
        let own =
            self.session.as_ref().and_then(|session| layout::job_in(&case.folder, session.api.origin()));
        let mut offers = Offers { twin: false, other: other.is_some(), ask: own.is_some() };
        loop {
            match (mend::record(RecordState::Lost, offers), &other, &own) {
                (Step::CopyOther, Some((job, manifest)), _) => {
                    if self.take_over(case, job, manifest).await? {
                        return Ok(());
                    }
                    offers.other = false;
                }
                (Step::Ask, _, Some(job)) => {
                    return match self.may_ask(job) {
                        Ok(session) => {
                            let all = self.names(&case.folder).await?;
                            case.record_from = Some("its own sources".into());
                            self.ask_for(case, session, job, all).await
                        }
                        Err(why) => {
                            case.trouble = Some(why);
                            Ok(())
                        }
                    };
                }
                _ => {
                    let why = "no other archive has the record, and the API was not asked";
                    case.trouble.get_or_insert_with(|| Left::NoSource(why.into()));
                    return Ok(());
                }
            }
        }
    }

    async fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let (store, folder) = (self.store.clone(), folder.to_owned());
        let names = blocking(move || store.names(&folder)).await?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Takes a job over from the other archive: its record, and those of its files that are not here already. `false`
    /// where not all of them could be had, or where the record lacks some itself or knows of fewer: what lies here may be
    /// just those.
    async fn take_over(&self, case: &mut Case, job: &JobRef, manifest: &Manifest) -> Result<bool, Error> {
        if manifest.derived_state() != State::Complete {
            return Ok(false);
        }
        let names = self.names(&case.folder).await?;
        let is_known = |name: &String| manifest.files.iter().any(|file| file.path == *name);
        if names.iter().any(|name| Key::recorded(job, name).is_some() && !is_known(name)) {
            return Ok(false);
        }
        let (store, staging, sources) =
            (self.store.clone(), Arc::clone(&self.staging), Arc::clone(&self.copies));
        let (wanted, of_job) = (manifest.files.clone(), job.clone());
        let brought = blocking(move || {
            let (mut here, mut brought) = (Vec::new(), Vec::new());
            for file in wanted {
                let Some(key) = Key::recorded(&of_job, &file.path) else { return Ok(None) };
                let is_here = match store.hash(&key) {
                    Ok(seen) => seen == (file.sha256, file.bytes),
                    Err(error) if error.is_out_of_reach() => return Err(error),
                    Err(_) => false,
                };
                if is_here {
                    here.push(file.path);
                } else if let Some(copy) = sources.bring_other(&staging, &of_job, &file)? {
                    brought.push(copy);
                } else {
                    return Ok(None);
                }
            }
            Ok::<_, StoreError>(Some((here, brought)))
        });
        let Some((here, copied)) = brought.await? else { return Ok(false) };
        let aside = names.into_iter().filter(|name| !here.contains(name)).collect();
        self.put_aside(&case.folder, aside).await?;
        let files = copied.into_iter().map(|copied| (copied.proven, copied.key)).collect();
        self.store.commit(&self.staging, job, files, manifest.clone(), None).await?;
        case.record_from = Some("the other archive".into());
        Ok(true)
    }

    /// Verifies the job again, and says what became of each fault.
    async fn conclude(&self, case: Case) -> Result<Vec<Mended>, Error> {
        let (store, folder) = (self.store.clone(), case.folder.clone());
        let looked = blocking(move || {
            let mut after = Vec::new();
            let one: crate::store::Folders = Box::new(std::iter::once(Ok(folder.clone())));
            let (options, stop, progress) =
                (VerifyOptions::default(), CancellationToken::new(), Progress::default());
            verify::verify_these(&store, one, 1, &options, &stop, &progress, |finding| after.push(finding))?;
            Ok::<_, StoreError>((after, survey::look(&store, &folder)?))
        });
        let (after, look) = looked.await?;
        let manifest = match look {
            Look::Job(_, manifest) => Some(manifest),
            Look::Nothing | Look::Unreadable(_) => None,
        };
        let of_findings = case.findings.iter().map(|finding| Mended {
            place: finding.place(),
            outcome: outcome(&case, finding, &after, manifest.as_deref()),
        });
        let found_again = manifest.iter().flat_map(|manifest| &manifest.files).filter(|file| {
            let found = case.findings.iter().any(|finding| finding.name == file.path);
            case.from.contains_key(&file.output) && !found
        });
        let found_again = found_again.map(|file| Mended {
            place: format!("{}/{}", case.folder, file.path),
            outcome: Outcome::Healed { from: case.from[&file.output].clone() },
        });
        Ok(of_findings.chain(found_again).collect())
    }
}
