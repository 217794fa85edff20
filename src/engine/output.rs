//! One output: its ladder of sources, walked as [`plan::next`] says, until bytes are proven or nothing is left.

use sha2::Sha256;
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit};

use super::download::{Draft, Fetched, Stopped};
use super::{Error, Session};
use crate::event::{Event, FileEnd, FileRef};
use crate::job::{JobRef, without_secrets};
use crate::manifest::{MissingRecord, Reason, Rung};
use crate::net::lane::Outcome;
use crate::plan::{self, GiveUp, JobClock, Moment, Next, SourceState, Standing};
use crate::reply::{self, Output, Source};
use crate::retry::{Cause, Failure};

/// What the outputs of one job share.
pub(super) struct JobContext<'a> {
    pub(super) session: &'a Session,
    pub(super) job: &'a JobRef,
    pub(super) deadline: Moment,
    pub(super) fresh_until: Option<Moment>,
    /// When the API gave the links; it is not asked again right after it.
    pub(super) answered_at: Moment,
    /// The links of a second answer, asked for once when all of the first ones have failed.
    pub(super) refreshed: OnceCell<Result<Vec<Output>, Failure>>,
    /// The job's place among those that were asked ahead; given up when its first transfer begins.
    pub(super) ahead: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What became of an output.
pub(super) enum Brought {
    /// Its bytes are proven.
    Proven(Box<Delivery>),
    /// No source served.
    Missing(MissingRecord),
    /// This machine failed.
    Here(Error),
    /// The run is being stopped.
    Cancelled,
}

/// A proven file and how it came.
pub(super) struct Delivery {
    pub(super) output: usize,
    pub(super) fetched: Fetched,
    pub(super) rung: Rung,
    pub(super) source: String,
    pub(super) url_path: String,
    pub(super) attempts: u32,
    pub(super) left: Vec<Reason>,
}

/// One rung with what is known of it.
struct Candidate {
    state: SourceState,
    link: Source,
    last: Option<Failure>,
    /// How many bytes it had brought when it had brought most: only more than that is progress, or a source that
    /// always breaks at the same byte would be tried for ever.
    furthest_bytes: u64,
}

/// Brings one output home.
pub(super) async fn bring(context: &JobContext<'_>, output: &Output) -> Brought {
    let mut ladder = Ladder {
        context,
        draft: Draft::new(context.session, FileRef { job: context.job, output: output.index }),
        output: output.index,
        candidates: candidates(output, false),
        attempts: 0,
        asked_again: false,
    };
    let brought = tokio::select! {
        biased;
        () = context.session.stop.cancelled() => Brought::Cancelled,
        brought = ladder.walk() => brought,
    };
    ladder.draft.set_aside();
    brought
}

struct Ladder<'a> {
    context: &'a JobContext<'a>,
    draft: Draft<'a>,
    output: usize,
    candidates: Vec<Candidate>,
    attempts: u32,
    asked_again: bool,
}

impl Ladder<'_> {
    async fn walk(&mut self) -> Brought {
        loop {
            let states: Vec<SourceState> = self.candidates.iter().map(|candidate| candidate.state).collect();
            match plan::next(&states, &self.clock()) {
                Next::Try(place) => match self.attempt(place).await {
                    Ok(fetched) => return Brought::Proven(Box::new(self.deliver(place, fetched))),
                    Err(Stopped::Source { failure, reached_bytes }) => {
                        self.note_failure(place, failure, reached_bytes);
                    }
                    Err(Stopped::Here(error)) => return Brought::Here(error),
                    Err(Stopped::Cancelled) => return Brought::Cancelled,
                },
                Next::WaitUntil(moment) => {
                    self.draft.set_aside();
                    tokio::time::sleep_until(self.context.session.instant(moment)).await;
                }
                Next::AskAgain => self.ask_again().await,
                Next::GiveUp(why) => return Brought::Missing(self.missing(why)),
            }
        }
    }

    fn clock(&self) -> JobClock {
        let session = self.context.session;
        JobClock {
            now: session.moment(),
            deadline: self.context.deadline,
            fresh_until: self.context.fresh_until,
            may_ask_again: !self.asked_again,
            retries: session.options.retries,
        }
    }

    /// Tries one source: waits for its host's turn and for a slot, then downloads.
    async fn attempt(&mut self, place: usize) -> Result<Fetched, Stopped> {
        let candidate = &self.candidates[place];
        let rung = candidate.state.rung;
        let file = FileRef { job: self.context.job, output: self.output };
        let session = self.context.session;
        let url = match &candidate.link {
            Source::Url(url) => url.clone(),
            Source::Unusable(text) => return Err(Failure::new(Cause::BadUrl, text.clone()).into()),
            Source::Inline(bytes) => {
                let bytes = bytes.clone();
                let transfer = Transfer::begin(session, file, rung, "");
                let done = self.draft.store(&bytes).await;
                transfer.end(&done);
                return done;
            }
        };
        let deadline = session.instant(self.context.deadline);
        let over = || Failure::new(Cause::DeadlineOver, "");
        let turn = tokio::time::timeout_at(deadline, session.http.enter(&url)).await;
        let permit = turn.map_err(|_| over())??;
        let Ok(_slot) = session.slots.acquire().await else { return Err(Stopped::Cancelled) };
        drop(self.context.ahead.lock().await.take());
        self.attempts += 1;
        let transfer = Transfer::begin(session, file, rung, &without_secrets(&url));
        let done = match tokio::time::timeout_at(deadline, self.draft.fetch(&url)).await {
            Ok(done) => done,
            Err(_) => Err(over().into()),
        };
        transfer.end(&done);
        permit.end(match &done {
            Ok(_) => Outcome::Good,
            Err(Stopped::Source { failure, .. }) => Outcome::of(failure),
            Err(Stopped::Here(_) | Stopped::Cancelled) => Outcome::Unknown,
        });
        done
    }

    fn note_failure(&mut self, place: usize, failure: Failure, reached_bytes: u64) {
        let clock = self.clock();
        let candidate = &mut self.candidates[place];
        let progress = reached_bytes > candidate.furthest_bytes;
        candidate.furthest_bytes = candidate.furthest_bytes.max(reached_bytes);
        candidate.state = plan::after_failure(&candidate.state, &failure, progress, &clock, super::dice());
        tracing::debug!(job = %self.context.job, output = self.output, rung = %candidate.state.rung, %failure, standing = ?candidate.state.standing);
        candidate.last = Some(failure);
    }

    /// Asks the job for fresh links, once for all of its outputs, and puts them below the ones that failed.
    async fn ask_again(&mut self) {
        self.asked_again = true;
        let context = self.context;
        let ask = || async {
            let not_before = context.answered_at + crate::retry::BACKOFF_FLOOR;
            tokio::time::sleep_until(context.session.instant(not_before.min(context.deadline))).await;
            match super::fetch::ask(context.session, context.job, context.deadline).await? {
                reply::Reply::Done(done) => Ok(done.outputs),
                reply::Reply::Pending(_) => Err(Failure::new(Cause::JobNotFound, "it is no longer done")),
            }
        };
        match context.refreshed.get_or_init(ask).await {
            Ok(outputs) => {
                let same = outputs.iter().find(|output| output.index == self.output);
                self.candidates.extend(same.into_iter().flat_map(|output| candidates(output, true)));
            }
            Err(failure) => {
                // What the API could not say now it may say later, so the output is not lost for good.
                let standing = if failure.class() == crate::retry::Class::Transient {
                    Standing::Spent
                } else {
                    Standing::Useless
                };
                self.candidates.push(Candidate {
                    state: SourceState { standing, ..SourceState::untried(Rung::FreshOutput) },
                    link: Source::Inline(Vec::new()),
                    last: Some(failure.clone()),
                    furthest_bytes: 0,
                });
            }
        }
    }

    fn deliver(&self, place: usize, fetched: Fetched) -> Delivery {
        let won = &self.candidates[place];
        Delivery {
            output: self.output,
            fetched,
            rung: won.state.rung,
            source: won.link.shown(),
            url_path: if let Source::Url(url) = &won.link { url.path().into() } else { String::new() },
            attempts: self.attempts.max(1),
            left: self.candidates.iter().filter_map(reason).collect(),
        }
    }

    fn missing(&self, why: GiveUp) -> MissingRecord {
        let mut reasons: Vec<Reason> = self.candidates.iter().filter_map(reason).collect();
        if why == GiveUp::Deadline {
            reasons.push(Reason::of(&Failure::new(Cause::DeadlineOver, ""), None, None));
        }
        MissingRecord {
            output: self.output,
            gone: why == GiveUp::Gone,
            reasons,
            unknown: serde_json::Map::new(),
        }
    }
}

fn reason(candidate: &Candidate) -> Option<Reason> {
    let source = Some(candidate.link.shown()).filter(|source| !source.is_empty());
    candidate.last.as_ref().map(|failure| Reason::of(failure, Some(candidate.state.rung), source))
}

fn candidates(output: &Output, fresh: bool) -> Vec<Candidate> {
    let rungs = if fresh { (Rung::FreshOutput, Rung::FreshProxy) } else { (Rung::Output, Rung::Proxy) };
    let sources = [(rungs.0, &output.source), (rungs.1, &output.proxy)];
    let present = sources.into_iter().filter_map(|(rung, source)| Some((rung, source.as_ref()?)));
    let candidate = |(rung, source): (Rung, &Source)| {
        let rung = match source {
            Source::Inline(_) => Rung::Inline,
            Source::Url(_) | Source::Unusable(_) => rung,
        };
        Candidate { state: SourceState::untried(rung), link: source.clone(), last: None, furthest_bytes: 0 }
    };
    present.map(candidate).collect()
}

/// What a later answer is compared with, to find the record that serves it.
pub(super) fn identity(output: &Output) -> plan::Identity {
    use sha2::Digest as _;
    let mut identity = plan::Identity::default();
    for source in [&output.source, &output.proxy].into_iter().flatten() {
        match source {
            Source::Url(url) => identity.paths.push(url.path().into()),
            Source::Unusable(_) => {}
            Source::Inline(bytes) => {
                identity.inline = Some(crate::manifest::Digest::finish(Sha256::new_with_prefix(bytes)));
            }
        }
    }
    identity
}

/// Reports a request's start, and its end exactly once, even where the run drops it half way.
struct Transfer<'a> {
    session: &'a Session,
    file: FileRef<'a>,
    ended: bool,
}

impl<'a> Transfer<'a> {
    fn begin(session: &'a Session, file: FileRef<'a>, rung: Rung, source: &str) -> Self {
        session.report(&Event::FileStarted { file, rung, source });
        Self { session, file, ended: false }
    }

    fn end(mut self, done: &Result<Fetched, Stopped>) {
        let end = match done {
            Ok(fetched) => FileEnd::Proven { bytes: fetched.proven.bytes },
            Err(Stopped::Source { failure, .. }) => FileEnd::Left { failure },
            Err(Stopped::Here(_) | Stopped::Cancelled) => FileEnd::Cancelled,
        };
        self.ended = true;
        self.session.report(&Event::FileEnded { file: self.file, end });
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.session.report(&Event::FileEnded { file: self.file, end: FileEnd::Cancelled });
        }
    }
}
