//! Asking the API until the job is done, failed, or the wait is over.

use std::time::Duration;

use serde_json::Map;
use url::Url;

use super::{Ended, OneJob};
use crate::engine::{Session, dice, record, unix_seconds};
use crate::event::Event;
use crate::job::JobRef;
use crate::lifetime::Birth;
use crate::plan::Moment;
use crate::reply::{Done, Output, Pending, PendingWhy, Reply, Source};
use crate::retry::{BACKOFF_FLOOR, Cause, Class, Failure, backoff};
use crate::store::Found;

/// A fresh job may be unknown to the API for this long.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// How often a fresh job that the API does not know yet is asked for.
const UNKNOWN_WAIT: Duration = Duration::from_secs(5);

impl OneJob<'_> {
    /// Asks until the job is done.
    pub(super) async fn poll(&mut self) -> Result<Done, Ended> {
        loop {
            if self.place.is_none() {
                self.place = self.session.ready.clone().acquire_owned().await.ok();
            }
            self.began.get_or_insert_with(|| self.session.moment());
            let reply = Box::pin(ask(self.session, &self.asked.job, self.deadline())).await;
            self.answered |= reply.is_ok();
            match reply {
                Ok(Reply::Done(done)) => return Ok(done),
                Ok(Reply::Pending(pending)) => {
                    match self.rescue(pending.why == PendingWhy::NoOutputYet, "it has no link yet") {
                        Some(done) => return Ok(done),
                        None => self.wait_for(&pending).await?,
                    }
                }
                Err(failure) => match self.rescue(is_about_the_job(&failure), &failure.to_string()) {
                    Some(done) => return Ok(done),
                    None => self.endure(failure).await?,
                },
            }
        }
    }

    /// The listing's outputs, where the API has no answer and will not have one.
    fn rescue(&mut self, hopeless: bool, why: &str) -> Option<Done> {
        let links = self.asked.listed.iter().enumerate();
        let output = |(index, link): (usize, &Option<Url>)| {
            let unusable = || Source::Unusable("the listing has no link for it".into());
            let source = link.clone().map_or_else(unusable, Source::Url);
            Output { index, source: Some(source), proxy: None }
        };
        if !hopeless || !self.asked.listed.iter().any(Option::is_some) {
            return None;
        }
        self.rescued = true;
        let text =
            format!("its files are taken from the account's listing, since the API has no answer: {why}");
        self.session.report(&Event::Warning { job: Some(&self.asked.job), text: &text });
        Some(Done { answered_id: None, outputs: links.map(output).collect(), meta: None, rest: Map::new() })
    }

    fn wait_until(&self) -> Moment {
        self.since_began(self.session.options.wait)
    }

    pub(super) fn deadline(&self) -> Moment {
        self.since_began(self.session.options.timeout)
    }

    fn since_began(&self, span: Duration) -> Moment {
        self.began.unwrap_or_else(|| self.session.moment()) + span
    }

    /// The service is still working: notes that, and waits for the next poll.
    async fn wait_for(&mut self, pending: &Pending) -> Result<(), Ended> {
        self.failures = 0;
        self.unknown_until = None;
        let (why, working) = match &pending.why {
            PendingWhy::Processing => ("processing", true),
            PendingWhy::Queued => ("queued", true),
            PendingWhy::Unknown(word) => (word.as_str(), true),
            PendingWhy::NoOutputYet => ("done, but without a link yet", false),
        };
        self.fresh |= working;
        if working {
            self.birth = Birth::At(unix_seconds());
        }
        if working && !std::mem::replace(&mut self.noted, true) {
            self.note_pending().await?;
        }
        let wait = self.polls.next_wait(pending.eta, dice());
        self.pause(why, pending.eta, wait, self.wait_until(), Ended::Pending).await
    }

    /// The API did not answer as it should: waits where that may pass, ends the job where it will not.
    async fn endure(&mut self, failure: Failure) -> Result<(), Ended> {
        if failure.cause == Cause::JobNotFound && self.fresh {
            let now = self.session.moment();
            let until = *self.unknown_until.get_or_insert(now + UNKNOWN_FOR);
            if now < until {
                // What the service has just taken on is pending; what an earlier run saw it may have forgotten.
                let over = if self.asked.submitted { Ended::Pending } else { Ended::Failed(failure) };
                let until = self.wait_until();
                return self.pause("not known to the API yet", None, UNKNOWN_WAIT, until, over).await;
            }
        }
        if failure.class() != Class::Transient {
            return Err(self.end_failed(failure).await);
        }
        self.failures += 1;
        // What the service was seen to work on is paid for and will be done: its trouble is waited out with the job.
        let retries = self.session.options.retries;
        let (is_spent, is_awaited) = (self.failures > retries, self.fresh && retries > 0);
        if is_spent && !is_awaited {
            return Err(Ended::Failed(failure));
        }
        let wait = backoff(self.failures, failure.retry_after, dice());
        let why = failure.to_string();
        let until = if is_awaited { self.wait_until() } else { self.deadline() };
        self.pause(&why, None, wait, until, Ended::Failed(failure)).await
    }

    /// Waits, holding nothing; ends as `over` where the wait is over or too short to ask again in it, and at once where the
    /// job's time would be over.
    async fn pause(
        &mut self,
        why: &str,
        eta: Option<Duration>,
        wait: Duration,
        until: Moment,
        over: Ended,
    ) -> Result<(), Ended> {
        self.place = None;
        let now = self.session.moment();
        let left = until.saturating_sub(now);
        let wait = wait.min(left);
        if left < BACKOFF_FLOOR || now + wait >= self.deadline() {
            return Err(over);
        }
        self.session.report(&Event::JobWaiting { job: &self.asked.job, why, eta, wait });
        let _waits = self.session.waiting.begin();
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn note_pending(&mut self) -> Result<(), Ended> {
        // A record with files says more than that the service works again.
        if self.names_files() {
            return Ok(());
        }
        let note = record::pending(&self.asked.job, &self.found);
        let (noted, version) = Box::pin(self.commit(Vec::new(), note)).await?;
        self.found = Found::Record(Box::new(noted), version);
        Ok(())
    }

    pub(super) async fn end_failed(&mut self, failure: Failure) -> Ended {
        if self.names_files() || !is_about_the_job(&failure) {
            return Ended::Failed(failure);
        }
        let note = record::failed(&self.asked.job, &self.found, &failure);
        match Box::pin(self.commit(Vec::new(), note)).await {
            Ok(_) => Ended::Failed(failure),
            Err(ended) => ended,
        }
    }
}

/// Whether it is the job that failed, and not the way to it.
fn is_about_the_job(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::JobFailed | Cause::JobNotFound | Cause::Rejected)
}

/// Asks for a job once, before its time is over: neither a host that is to be left alone for longer nor an answer that
/// drips may hold it beyond that.
pub(in crate::engine) async fn ask(
    session: &Session,
    job: &JobRef,
    deadline: Moment,
) -> Result<Reply, Failure> {
    let answer = session.api.fetch(job, unix_seconds());
    let answer = tokio::time::timeout_at(session.instant(deadline), answer).await;
    answer.unwrap_or_else(|_| Err(Failure::new(Cause::DeadlineOver, "the API did not answer in time")))
}
