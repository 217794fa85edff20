//! The first look at a job: whether there is anything to do.

use super::Session;
use super::ended::Ended;
use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{Manifest, State};
use crate::store::{Found, StoreError};

/// What a look at the archive says of a job. Blocks for two small reads and a look at each file.
pub(super) enum Glance {
    /// There is nothing to do.
    Over(Ended),
    /// There is; this is what was found, and which of its files are there.
    Open(Found, Vec<bool>),
}

/// Looks whether a job is done already.
pub(super) fn glance(session: &Session, job: &JobRef) -> Glance {
    look(session, job).unwrap_or_else(|error| Glance::Over(error.into()))
}

fn look(session: &Session, job: &JobRef) -> Result<Glance, StoreError> {
    let store = &session.store;
    let found = store.look(job)?;
    let Found::Record(manifest, _) = &found else { return Ok(Glance::Open(found, Vec::new())) };
    let mut present = store.present(job, manifest)?;
    if session.options.check {
        check_digests(session, job, manifest, &mut present)?;
    }
    let whole = present.iter().all(|present| *present);
    let settled = session.options.skip_gone && matches!(manifest.state, State::Gone | State::Failed);
    match (&found, manifest.state) {
        _ if session.options.force => {}
        (Found::Record(manifest, _), State::Complete) if whole => {
            return Ok(Glance::Over(Ended::Kept(manifest.clone())));
        }
        (Found::Record(manifest, _), _) if settled => {
            return Ok(Glance::Over(Ended::Incomplete(manifest.clone())));
        }
        _ => {}
    }
    Ok(Glance::Open(found, present))
}

fn check_digests(
    session: &Session,
    job: &JobRef,
    manifest: &Manifest,
    present: &mut [bool],
) -> Result<(), StoreError> {
    for (file, present) in manifest.files.iter().zip(present) {
        let key = Key::recorded(job, &file.path).filter(|_| *present);
        *present = match key {
            Some(key) => session.store.hash(&key)? == (file.sha256, file.bytes),
            None => false,
        };
    }
    Ok(())
}
