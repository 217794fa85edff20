//! What a run over a list would do, told without asking anybody and without changing anything.

use tokio_util::sync::CancellationToken;

use super::archive::BadRef;
use super::glance::{Glance, glance};
use super::survey::Progress;
use super::{Error, Options};
use crate::job::Asked;
use crate::manifest::State;
use crate::store::{Found, Store, StoreError};

/// References that one thread looks at before the next ones are read.
const EACH: usize = 64;

/// What a run would do about one reference.
#[derive(Debug)]
pub enum Foreseen {
    /// Nothing: it is home, or recorded as one that is not to be asked for again.
    Passed(Asked),
    /// Ask for it; this is what its record says now, if it has one that can be read.
    Asked(Asked, Option<State>),
    /// Fail, for this reason.
    Failed(Asked, Error),
    /// Refuse it: it names no job.
    Refused(BadRef),
}

/// Tells what [`super::archive::archive`] would do about each reference, in their order. Blocks.
///
/// Without an archive every job is one to ask for. Ends early, and well, where `stop` is cancelled.
///
/// # Errors
/// That the archive is out of reach.
pub fn preview(
    store: Option<&Store>,
    options: &Options,
    refs: impl Iterator<Item = Result<Asked, BadRef>>,
    stop: &CancellationToken,
    progress: &Progress,
    mut tell: impl FnMut(Foreseen),
) -> Result<(), StoreError> {
    let threads = store.map_or(1, Store::readers);
    let mut refs = refs.fuse();
    while !stop.is_cancelled() {
        let batch: Vec<_> = refs.by_ref().take(threads * EACH).collect();
        if batch.is_empty() {
            break;
        }
        progress.add_jobs(batch.len());
        for part in foresee_all(store, options, batch) {
            part?.into_iter().for_each(&mut tell);
        }
    }
    Ok(())
}

type Part = Result<Vec<Foreseen>, StoreError>;

/// Looks at each reference, on as many threads as are worth it.
fn foresee_all(store: Option<&Store>, options: &Options, mut batch: Vec<Result<Asked, BadRef>>) -> Vec<Part> {
    let mut parts = Vec::new();
    while batch.len() > EACH {
        parts.push(batch.split_off(batch.len() - EACH));
    }
    parts.push(batch);
    let foresee = |part: Vec<_>| part.into_iter().map(|one| foresee(store, options, one)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            parts.into_iter().rev().map(|part| scope.spawn(move || foresee(part))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Part>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

fn foresee(
    store: Option<&Store>,
    options: &Options,
    reference: Result<Asked, BadRef>,
) -> Result<Foreseen, StoreError> {
    let asked = match reference {
        Ok(asked) => asked,
        Err(refused) => return Ok(Foreseen::Refused(refused)),
    };
    let Some(store) = store else { return Ok(Foreseen::Asked(asked, None)) };
    Ok(match glance(store, options, &asked.job) {
        Ok(Glance::Open(Found::Record(manifest, _), _)) => Foreseen::Asked(asked, Some(manifest.state)),
        Ok(Glance::Open(Found::Nothing | Found::Damaged { .. }, _)) => Foreseen::Asked(asked, None),
        Ok(Glance::Over(_)) => Foreseen::Passed(asked),
        Err(error) if error.is_out_of_reach() => return Err(error),
        Err(error) => Foreseen::Failed(asked, error.into()),
    })
}
