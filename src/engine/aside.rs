//! Moving what is in the way into the archive's quarantine, where nothing is ever removed.

use std::sync::Arc;

use super::Session;
use crate::job::JobRef;
use crate::layout::{self, Key};
use crate::store::StoreError;

/// Moves what has these names in a job's folder into the quarantine.
pub(super) async fn put(session: &Session, job: &JobRef, names: Vec<String>) -> Result<(), StoreError> {
    // Nearly always so, and no reason to go to another thread.
    if names.is_empty() {
        return Ok(());
    }
    let (store, staging, folder) = (session.store.clone(), Arc::clone(&session.staging), layout::folder(job));
    let moved = tokio::task::spawn_blocking(move || {
        names.iter().try_for_each(|name| store.put_aside(&staging, &folder, name).map(drop))
    });
    moved.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Moves every file of the job's own naming into the quarantine, and the record last: whoever is killed half way finds it
/// damaged again.
pub(super) async fn put_all(session: &Session, job: &JobRef) -> Result<(), StoreError> {
    let (store, folder) = (session.store.clone(), layout::folder(job));
    let names = tokio::task::spawn_blocking(move || store.names(&folder)).await;
    let names = names.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    let files = names.into_iter().map(|(name, _)| name).filter(|name| Key::recorded(job, name).is_some());
    put(session, job, files.chain([layout::MANIFEST_NAME.to_owned()]).collect()).await
}
