//! One output: its ladder of sources, walked as [`plan::next`] says, until bytes are proven or nothing is left.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit};
use url::Url;

use super::download::{Draft, Fetched, Stopped};
use super::gate::{Answer, Rank, Turn};
use super::{Error, Session};
use crate::event::{Event, FileEnd, FileRef};
use crate::job::{JobRef, without_secrets};
use crate::lifetime::{self, Birth};
use crate::manifest::{MissingRecord, Reason, Rung};
use crate::net;
use crate::net::lane::Outcome;
use crate::plan::{self, GiveUp, JobClock, Moment, Next, SourceState, Standing};
use crate::reply::{Output, Reply, Source};
use crate::retry::{BACKOFF_FLOOR, Cause, Class, Failure, backoff};

/// What the outputs of one job share.
pub(super) struct JobContext<'a> {
    pub(super) session: &'a Session,
    pub(super) job: &'a JobRef,
    /// The job's place in the list, and when its files came to be: they decide who goes first.
    pub(super) order: u64,
    pub(super) birth: Birth,
    /// The time that the job has left for its transfers, from the first of them on.
    pub(super) left: Duration,
    pub(super) begun: OnceLock<Moment>,
    /// The answer's outputs.
    pub(super) outputs: &'a [Output],
    /// The listing's links: a further source for each output, or the only one where the API has no answer.
    pub(super) listed: Listed,
    pub(super) fresh_until: Option<Moment>,
    /// When the API gave the links; it is not asked again right after it.
    pub(super) answered_at: Moment,
    /// What a second answer has for each output, asked for once when all links of the first one have failed.
    pub(super) refreshed: OnceCell<Result<Vec<Option<Output>>, Failure>>,
    /// The job's place among what is ready; it serves the first of its transfers until that begins.
    pub(super) place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What the account's listing has for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// A link or none beside each output of the API's answer.
    Beside(Vec<Option<Url>>),
    /// All that there is: the outputs themselves are the listing's.
    Alone,
}

impl JobContext<'_> {
    /// When the job's time is over; it does not run while nothing of the job has begun.
    fn deadline(&self) -> Moment {
        self.begun.get().copied().unwrap_or_else(|| self.session.moment()) + self.left
    }

    /// Whether a link of this output is that of another but for its query.
    fn has_namesake(&self, place: usize) -> bool {
        let links = |output: &Output| -> Vec<String> {
            [&output.source, &output.proxy].into_iter().flatten().map(Source::shown).collect()
        };
        let these = links(&self.outputs[place]);
        let mut others = self.outputs.iter().enumerate().filter(|(other, _)| *other != place);
        others.any(|(_, other)| links(other).iter().any(|link| !link.is_empty() && these.contains(link)))
    }

    /// Whether a place with nothing in it may get its link yet: the service fills a list's places one after another. In
    /// an old job's answer without any URL nothing is being filled.
    fn is_being_filled(&self) -> bool {
        let mut sources = self.outputs.iter().flat_map(|output| [&output.source, &output.proxy]).flatten();
        self.fresh_until.is_some() || sources.any(|source| matches!(source, Source::Url(_)))
    }

    /// Waits among what is ready until the host and this run have room; where the host is left alone for a while and
    /// there is another source, only until that is known.
    async fn enter(&self, url: &Url, rung: Rung, has_other: bool) -> Result<Turn, Stopped> {
        // The job came here with a place. What it tries besides waits for none: those who hold them may be waiting for
        // the API, and files with links in hand die meanwhile.
        let came_with = self.place.lock().await.take();
        let place = came_with.or_else(|| self.session.ready.clone().try_acquire_owned().ok());
        let renewable = matches!(rung, Rung::Output | Rung::Proxy);
        let dies_at = self.session.dies_at(url, renewable, &self.job.family, self.birth);
        let host = net::anonymous(url);
        let turn = self.wait(host.authority(), Rank { dies_at, order: self.order }, place, has_other);
        let turn = if self.begun.get().is_some() {
            let deadline = self.session.instant(self.deadline());
            tokio::time::timeout_at(deadline, turn).await.map_err(|_| deadline_over())?
        } else {
            turn.await
        };
        // A source that is left for another one begins nothing.
        if !matches!(turn, Err(Stopped::Away(_))) {
            let _ = self.begun.set(self.session.moment());
        }
        turn
    }

    async fn wait(
        &self,
        host: &str,
        rank: Rank,
        place: Option<OwnedSemaphorePermit>,
        has_other: bool,
    ) -> Result<Turn, Stopped> {
        let gate = &self.session.gate;
        match gate.enter_unless_away(host, rank).await? {
            Answer::Through(turn) => Ok(turn),
            Answer::Away(until) if has_other => {
                *self.place.lock().await = place;
                Err(Stopped::Away(until))
            }
            // Those behind it in the list may have files at hosts that give them.
            Answer::Away(_) => {
                let _waits = place.map(|_| self.session.waiting.begin());
                Ok(gate.enter(host, rank).await?)
            }
        }
    }
}

fn deadline_over() -> Failure {
    Failure::new(Cause::DeadlineOver, "")
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
///
/// `place` is the output's place in the answer.
pub(super) async fn bring(context: &JobContext<'_>, place: usize) -> Brought {
    let output = &context.outputs[place];
    let file = FileRef { job: context.job, output: output.index };
    let mut ladder = Ladder {
        context,
        draft: Draft::new(context.session, file, !context.has_namesake(place)),
        place,
        output: output.index,
        candidates: context.candidates(place, output),
        attempts: 0,
        // Where the API has no answer there is no second one to ask for.
        asked_again: context.listed == Listed::Alone,
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
    place: usize,
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
                    Err(Stopped::Away(until)) => {
                        self.candidates[place].state.standing =
                            Standing::Waits { until: self.context.session.moment_of(until) }
                    }
                    Err(Stopped::Here(error)) => return Brought::Here(error),
                    Err(Stopped::Cancelled) => return Brought::Cancelled,
                },
                Next::WaitUntil(moment) => {
                    self.draft.set_aside();
                    tokio::time::sleep_until(self.context.session.instant(moment)).await;
                }
                Next::AskAgain => Box::pin(self.ask_again()).await,
                Next::GiveUp(why) => return Brought::Missing(self.missing(why)),
            }
        }
    }

    fn clock(&self) -> JobClock {
        let session = self.context.session;
        JobClock {
            now: session.moment(),
            deadline: self.context.deadline(),
            fresh_until: self.context.fresh_until,
            may_ask_again: !self.asked_again,
            retries: session.options.retries,
        }
    }

    /// Tries one source: waits until it may, then downloads, and notes what that shows of its host.
    async fn attempt(&mut self, place: usize) -> Result<Fetched, Stopped> {
        let candidate = &self.candidates[place];
        let rung = candidate.state.rung;
        let file = FileRef { job: self.context.job, output: self.output };
        let session = self.context.session;
        let url = match &candidate.link {
            Source::Url(url) => url.clone(),
            Source::Unusable(text) if text.is_empty() && self.context.is_being_filled() => {
                return Err(Failure::new(Cause::NotReady, "the answer's place for it is empty").into());
            }
            Source::Unusable(text) => return Err(Failure::new(Cause::BadUrl, text.clone()).into()),
            Source::Inline(bytes) => {
                let bytes = bytes.clone();
                let transfer = Transfer::begin(session, file, rung, "");
                let done = Box::pin(self.draft.store(&bytes)).await;
                transfer.end(&done);
                return done;
            }
        };
        let turn = self.context.enter(&url, rung, self.has_other(&url)).await?;
        let deadline = session.instant(self.context.deadline());
        self.attempts += 1;
        let transfer = Transfer::begin(session, file, rung, &without_secrets(&url));
        let done = match tokio::time::timeout_at(deadline, Box::pin(self.draft.fetch(&url, &turn))).await {
            Ok(done) => done,
            Err(_) => Err(deadline_over().into()),
        };
        let done = done.map_err(|stopped| stopped.without_key(&session.api));
        transfer.end(&done);
        match &done {
            Ok(_) => turn.end(Outcome::Good),
            Err(Stopped::Source { failure, .. }) => turn.fail(failure),
            Err(Stopped::Away(_) | Stopped::Here(_) | Stopped::Cancelled) => turn.end(Outcome::Unknown),
        }
        if let Ok(fetched) = &done {
            session.learn(&url, &self.context.job.family, fetched.lesson);
            if let Birth::Before(_) = self.context.birth {
                session.note_birth(&self.context.job.family, fetched.birth);
            }
        }
        done
    }

    /// Whether another host has it too and was not asked yet.
    fn has_other(&self, url: &Url) -> bool {
        self.candidates.iter().any(|candidate| {
            let elsewhere =
                matches!(&candidate.link, Source::Url(other) if other.authority() != url.authority());
            elsewhere && candidate.state.standing == Standing::Untried
        })
    }

    fn note_failure(&mut self, place: usize, failure: Failure, reached_bytes: u64) {
        let clock = self.clock();
        let candidate = &mut self.candidates[place];
        let progress = reached_bytes > candidate.furthest_bytes;
        candidate.furthest_bytes = candidate.furthest_bytes.max(reached_bytes);
        candidate.state = plan::after_failure(&candidate.state, &failure, progress, &clock, super::dice());
        tracing::debug!(job = %self.context.job, output = self.output, rung = %candidate.state.rung, %failure, standing = ?candidate.state.standing);
        candidate.last = Some(failure);
        if let (Standing::Dead, Source::Url(url)) = (candidate.state.standing, &candidate.link) {
            let now = super::unix_seconds();
            let lesson = lifetime::gone_lesson(url, self.context.birth, now);
            self.context.session.learn(url, &self.context.job.family, lesson);
        }
    }

    /// Asks the job for fresh links, once for all of its outputs, and puts them below the ones that failed. Trouble of the
    /// API is waited out as often as is to be tried again, while the job has time.
    async fn ask_again(&mut self) {
        self.asked_again = true;
        let context = self.context;
        self.draft.set_aside();
        let ask = || async {
            let (session, deadline) = (context.session, context.deadline());
            let mut not_before = (context.answered_at + BACKOFF_FLOOR).min(deadline);
            let mut failures = 0;
            loop {
                tokio::time::sleep_until(session.instant(not_before)).await;
                let failure = match super::fetch::ask(session, context.job, deadline).await {
                    Ok(Reply::Done(done)) => return Ok(renewed(context.outputs, &done.outputs)),
                    Ok(Reply::Pending(_)) => {
                        return Err(Failure::new(Cause::NotReady, "it is no longer done"));
                    }
                    Err(failure) => failure,
                };
                failures += 1;
                not_before = session.moment() + backoff(failures, failure.retry_after, super::dice());
                let may_pass = failure.class() == Class::Transient && failures <= session.options.retries;
                if !may_pass || not_before >= deadline {
                    return Err(failure);
                }
            }
        };
        match context.refreshed.get_or_init(ask).await {
            Ok(outputs) => match &outputs[self.place] {
                Some(output) => {
                    self.candidates.extend(candidates(output, Rung::FreshOutput, Rung::FreshProxy));
                }
                None => self.refuse(Failure::new(Cause::NotReady, "the second answer does not list it")),
            },
            Err(failure) => self.refuse(failure.clone()),
        }
    }

    /// A rung for what the second answer lacks. What the API could or would not say now it may say later, so the output
    /// is not lost for good.
    fn refuse(&mut self, failure: Failure) {
        let standing = match failure.class() {
            Class::Transient | Class::Auth => Standing::Spent,
            Class::Permanent => Standing::Useless,
        };
        self.candidates.push(Candidate {
            state: SourceState { standing, ..SourceState::untried(Rung::FreshOutput) },
            link: Source::Inline(Vec::new()),
            last: Some(failure),
            furthest_bytes: 0,
        });
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

impl JobContext<'_> {
    /// The ladder of an output before anything was tried.
    fn candidates(&self, place: usize, output: &Output) -> Vec<Candidate> {
        match &self.listed {
            Listed::Alone => candidates(output, Rung::Listed, Rung::Proxy),
            Listed::Beside(links) => {
                let mut ladder = candidates(output, Rung::Output, Rung::Proxy);
                ladder.extend(links.get(place).cloned().flatten().map(|link| Candidate {
                    state: SourceState::untried(Rung::Listed),
                    link: Source::Url(link),
                    last: None,
                    furthest_bytes: 0,
                }));
                ladder
            }
        }
    }
}

fn candidates(output: &Output, source: Rung, proxy: Rung) -> Vec<Candidate> {
    let sources = [(source, &output.source), (proxy, &output.proxy)];
    // No more room than it needs: it is held by every output that waits for its turn.
    let mut ladder = Vec::with_capacity(sources.iter().filter(|(_, source)| source.is_some()).count());
    for (rung, source) in sources {
        let Some(link) = source.clone() else { continue };
        let rung = match link {
            Source::Inline(_) => Rung::Inline,
            Source::Url(_) | Source::Unusable(_) => rung,
        };
        ladder.push(Candidate { state: SourceState::untried(rung), link, last: None, furthest_bytes: 0 });
    }
    ladder
}

/// What a second answer has for each output of the first.
fn renewed(first: &[Output], second: &[Output]) -> Vec<Option<Output>> {
    let identities = |outputs: &[Output]| -> Vec<plan::Identity> {
        outputs.iter().map(|output| identity(output, None)).collect()
    };
    let (before, now) = (identities(first), identities(second));
    let again = |place| plan::renewed(place, &before, &now).map(|at| second[at].clone());
    (0..first.len()).map(again).collect()
}

/// What a later answer is compared with, to find the record that serves it.
pub(super) fn identity(output: &Output, listed: Option<&Url>) -> plan::Identity {
    let mut identity = plan::Identity::default();
    identity.paths.extend(listed.map(|link| link.path().to_owned()));
    for source in [&output.source, &output.proxy].into_iter().flatten() {
        match source {
            Source::Url(url) => identity.paths.push(url.path().into()),
            Source::Unusable(_) => {}
            Source::Inline(bytes) => {
                identity.inline = Some(crate::sha256::Digest::of(bytes));
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
            Err(Stopped::Away(_) | Stopped::Here(_) | Stopped::Cancelled) => FileEnd::Cancelled,
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
