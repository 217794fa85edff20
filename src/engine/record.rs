//! From what a job brought to the record that says so.

use std::collections::{HashMap, HashSet};

use serde_json::Map;

use super::output::Delivery;
use super::timestamp;
use crate::job::JobRef;
use crate::layout::Key;
use crate::manifest::{FileRecord, Manifest, MissingRecord, Reason};
use crate::media;
use crate::reply::Done;
use crate::retry::Failure;
use crate::store::{Found, Proven};

/// What a run has learnt of a job, on its way into a record.
pub(super) struct Draft {
    pub(super) manifest: Manifest,
    pub(super) files: Vec<(Proven, Key)>,
}

/// The record to go on from: the one that was found, or an empty one.
pub(super) fn base(job: &JobRef, found: &Found) -> Manifest {
    let now = timestamp();
    let mut manifest = match found {
        Found::Record(manifest, _) => manifest.as_ref().clone(),
        Found::Nothing | Found::Damaged { .. } => Manifest::new(job, &now),
    };
    manifest.updated_at = now;
    manifest
}

/// The record of a job that the service is still working on.
pub(super) fn pending(job: &JobRef, found: &Found) -> Manifest {
    let mut manifest = base(job, found);
    manifest.pending_seen_at = Some(timestamp());
    // What an earlier run took for the end was none.
    (manifest.outputs, manifest.done_seen_at, manifest.error) = (None, None, None);
    manifest.missing = Vec::new();
    manifest.state = manifest.derived_state();
    manifest
}

/// The record of a job that will never have outputs.
pub(super) fn failed(job: &JobRef, found: &Found, failure: &Failure) -> Manifest {
    let mut manifest = base(job, found);
    manifest.outputs = Some(0);
    manifest.missing = Vec::new();
    manifest.error = Some(Reason::of(failure, None, None));
    manifest.state = manifest.derived_state();
    manifest
}

/// The record of a job that is done and has outputs of these indices: files that were kept, files that came, outputs that are missing.
pub(super) fn done(
    job: &JobRef,
    found: &Found,
    done: Done,
    outputs: &[usize],
    kept: Vec<FileRecord>,
    came: Vec<Delivery>,
    missing: Vec<MissingRecord>,
) -> Draft {
    let mut manifest = base(job, found);
    let visible = std::mem::take(&mut manifest.files);
    manifest.outputs = Some(outputs.len());
    manifest.error = None;
    // An answer that says nothing of these, or the listing in its place, takes nothing back.
    if done.meta.is_some() {
        manifest.meta = done.meta;
    }
    if !done.rest.is_empty() {
        manifest.reply = done.rest;
    }
    if let Some(answered) = done.answered_id {
        manifest.job.answered_id = Some(answered).filter(|answered| answered != job.id.as_str());
    }
    let done_at = timestamp();
    manifest.done_seen_at.get_or_insert_with(|| done_at.clone());
    manifest.files = kept;
    let mut files = Vec::new();
    for delivery in came {
        let key = free_key(job, &delivery, &visible, &manifest.files);
        let mut file = record(&delivery, &key, &done_at);
        let same = |old: &&FileRecord| old.output == file.output && old.sha256 == file.sha256;
        if let Some(old) = visible.iter().find(same) {
            file.unknown.clone_from(&old.unknown);
        }
        manifest.files.push(file);
        files.push((delivery.fetched.proven, key));
    }
    let known_before = std::mem::replace(&mut manifest.missing, missing);
    list_the_rest(&mut manifest, outputs, known_before);
    manifest.remember_lost(visible);
    settle(&mut manifest);
    Draft { manifest, files }
}

/// The record of a job of which these files are bad, and nothing can bring them back.
pub(super) fn written_off(job: &JobRef, found: &Found, bad: &[String], failure: &Failure) -> Manifest {
    let mut manifest = base(job, found);
    let (lost, kept) = manifest.files.into_iter().partition(|file| bad.contains(&file.path));
    let lost: Vec<FileRecord> = lost;
    manifest.files = kept;
    manifest.missing.extend(lost.iter().map(|file| MissingRecord {
        output: file.output,
        gone: true,
        reasons: vec![Reason::of(failure, None, None)],
        unknown: Map::new(),
    }));
    manifest.remember_lost(lost);
    settle(&mut manifest);
    manifest
}

/// The record of a job to which these files have come back.
pub(super) fn restored(job: &JobRef, found: &Found, back: Vec<FileRecord>) -> Manifest {
    let mut manifest = base(job, found);
    manifest.files.retain(|file| !back.iter().any(|back| back.output == file.output));
    manifest.missing.retain(|missing| !back.iter().any(|back| back.output == missing.output));
    manifest.files.extend(back);
    // An output that a later answer no longer listed is one again.
    let listed = manifest.files.len() + manifest.missing.len();
    manifest.outputs = manifest.outputs.map(|outputs| outputs.max(listed));
    manifest.remember_lost([]);
    settle(&mut manifest);
    manifest
}

fn settle(manifest: &mut Manifest) {
    manifest.files.sort_by_key(|file| file.output);
    manifest.missing.sort_by_key(|missing| missing.output);
    manifest.state = manifest.derived_state();
}

/// Lists the outputs that a stop cut short: with what was known of them before, or with nothing.
fn list_the_rest(manifest: &mut Manifest, outputs: &[usize], known_before: Vec<MissingRecord>) {
    let missing = manifest.missing.iter().map(|missing| missing.output);
    let listed: HashSet<usize> = manifest.files.iter().map(|file| file.output).chain(missing).collect();
    let mut known: HashMap<usize, MissingRecord> =
        known_before.into_iter().map(|missing| (missing.output, missing)).collect();
    for &output in outputs.iter().filter(|output| !listed.contains(output)) {
        let unheard = MissingRecord { output, gone: false, reasons: Vec::new(), unknown: Map::new() };
        manifest.missing.push(known.remove(&output).unwrap_or(unheard));
    }
}

/// A name under which the new file disturbs no other; see [`Key::free`].
fn free_key(job: &JobRef, delivery: &Delivery, visible: &[FileRecord], kept: &[FileRecord]) -> Key {
    let known = delivery.fetched.kind.extension();
    let extension = known.unwrap_or_else(|| media::extension_for_unknown(&delivery.url_path));
    Key::free(job, delivery.output, extension, delivery.fetched.proven.digest, visible, kept)
}

fn record(delivery: &Delivery, key: &Key, now: &str) -> FileRecord {
    FileRecord {
        output: delivery.output,
        path: key.name().into(),
        bytes: delivery.fetched.proven.bytes,
        sha256: delivery.fetched.proven.digest,
        kind: delivery.fetched.kind.name().into(),
        source: delivery.source.clone(),
        rung: delivery.rung,
        etag: delivery.fetched.etag.clone(),
        last_modified: delivery.fetched.last_modified.clone(),
        attempts: delivery.attempts,
        archived_at: now.into(),
        left: delivery.left.clone(),
        unknown: Map::new(),
    }
}
