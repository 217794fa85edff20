//! The first look at a job: whether there is anything to do.

use tokio_util::sync::CancellationToken;

use super::Options;
use super::ended::Ended;
use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{FileRecord, Manifest, State};
use crate::sha256::Sha256;
use crate::store::{Found, Store, StoreError};

/// What a look at the archive says of a job. Blocks for two small reads and a look at each file.
pub(super) enum Glance {
    /// There is nothing to do.
    Over(Ended),
    /// There is; this is what was found, and which of its files are there.
    Open(Found, Vec<bool>),
}

/// Looks whether a job is done already. Where files are hashed, the job is cancelled once `stop` is.
///
/// # Errors
/// Those of the archive.
pub(super) fn glance(
    store: &Store,
    options: &Options,
    job: &JobRef,
    stop: &CancellationToken,
) -> Result<Glance, StoreError> {
    let (found, mut present) = store.look_through(job)?;
    let Found::Record(manifest, _) = &found else { return Ok(Glance::Open(found, present)) };
    if options.check {
        check_digests(store, job, manifest, &mut present, stop)?;
        if stop.is_cancelled() {
            return Ok(Glance::Over(Ended::Cancelled));
        }
    }
    let whole = present.iter().all(|present| *present);
    let settled = options.skip_gone && matches!(manifest.state, State::Gone | State::Failed);
    match (&found, manifest.state) {
        _ if options.force => {}
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
    store: &Store,
    job: &JobRef,
    manifest: &Manifest,
    present: &mut [bool],
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    for (file, present) in manifest.files.iter().zip(present) {
        let key = Key::recorded(job, &file.path).filter(|_| *present);
        *present = match key {
            Some(key) => match is_as_recorded(store, &key, file, stop) {
                // What cannot be read is no better than what is not there.
                Err(error) if !error.is_out_of_reach() => false,
                read => read?,
            },
            None => false,
        };
    }
    Ok(())
}

fn is_as_recorded(
    store: &Store,
    key: &Key,
    file: &FileRecord,
    stop: &CancellationToken,
) -> Result<bool, StoreError> {
    let (mut contents, mut hasher) = (store.contents(key)?, Sha256::default());
    while !stop.is_cancelled() {
        match contents.read()? {
            [] => return Ok((hasher.digest(), hasher.bytes()) == (file.sha256, file.bytes)),
            bytes => hasher.update(bytes),
        }
    }
    Ok(false)
}
