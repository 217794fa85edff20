//! What a run over a list would do, told without asking anybody and without changing anything.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::archive::{BadRef, read_ahead};
use super::ended::Ended;
use super::glance::{Glance, glance};
use super::survey::Progress;
use super::{Error, Options};
use crate::job::Asked;
use crate::manifest::State;
use crate::store::{Found, Store, StoreError};

/// References that one thread looks at before the next ones are read: at most, and where there are few.
const EACH: usize = 256;
const FEW: usize = 8;

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

/// Tells what [`super::archive::archive`] would do about each reference, in their order. Blocks, on a
/// runtime's thread that may; what has been read is told before the next reference is waited for.
///
/// Without an archive every job is one to ask for. Ends early, and well, where `stop` is cancelled.
///
/// # Errors
/// That the archive is out of reach.
pub fn preview(
    store: Option<&Store>,
    options: &Options,
    refs: impl Iterator<Item = Result<Asked, BadRef>> + Send + 'static,
    stop: &CancellationToken,
    progress: &Progress,
    mut tell: impl FnMut(Foreseen),
) -> Result<(), StoreError> {
    let threads = store.map_or(1, Store::readers);
    let mut refs = read_ahead(refs);
    loop {
        let mut batch = Vec::new();
        let count = Handle::current().block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => 0,
                count = refs.recv_many(&mut batch, threads * EACH) => count,
            }
        });
        if count == 0 {
            return Ok(());
        }
        progress.add_jobs(count);
        let each = count.div_ceil(threads).clamp(FEW, EACH);
        let mut batch = batch.into_iter();
        let part = |_| batch.by_ref().take(each).collect::<Vec<_>>();
        let parts = (0..threads).map(part).take_while(|part| !part.is_empty()).collect();
        for part in foresee_all(store, options, stop, parts) {
            part?.into_iter().for_each(&mut tell);
        }
    }
}

type Foretold = Result<Vec<Foreseen>, StoreError>;

/// Looks at each part on a thread of its own.
fn foresee_all(
    store: Option<&Store>,
    options: &Options,
    stop: &CancellationToken,
    parts: Vec<Vec<Result<Asked, BadRef>>>,
) -> Vec<Foretold> {
    let look = |part: Vec<_>| -> Foretold {
        let part = part.into_iter().take_while(|_| !stop.is_cancelled());
        part.filter_map(|reference| foresee(store, options, stop, reference).transpose()).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || look(part))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Foretold>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

fn foresee(
    store: Option<&Store>,
    options: &Options,
    stop: &CancellationToken,
    reference: Result<Asked, BadRef>,
) -> Result<Option<Foreseen>, StoreError> {
    let asked = match reference {
        Ok(asked) => asked,
        Err(refused) => return Ok(Some(Foreseen::Refused(refused))),
    };
    let Some(store) = store else { return Ok(Some(Foreseen::Asked(asked, None))) };
    Ok(Some(match glance(store, options, &asked.job, stop) {
        Ok(Glance::Open(Found::Record(manifest, _), _)) => Foreseen::Asked(asked, Some(manifest.state)),
        Ok(Glance::Open(Found::Nothing | Found::Damaged { .. }, _)) => Foreseen::Asked(asked, None),
        // It was not looked at to its end.
        Ok(Glance::Over(Ended::Cancelled)) => return Ok(None),
        Ok(Glance::Over(_)) => Foreseen::Passed(asked),
        Err(error) if error.is_out_of_reach() => return Err(error),
        Err(error) => Foreseen::Failed(asked, error.into()),
    }))
}
