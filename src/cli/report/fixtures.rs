//! Jobs and records for the tests of this module.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Map;
use vfetch::job::{DEFAULT_ORIGIN, Defaults, JobRef};
use vfetch::layout::Key;
use vfetch::manifest::{FileRecord, Manifest, MissingRecord, Reason, Rung};
use vfetch::retry::{Cause, Failure};
use vfetch::sha256::Digest;

pub(super) fn job(text: &str) -> JobRef {
    Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
}

/// A complete job with these files.
pub(super) fn complete(job: &JobRef, contents: &[&[u8]]) -> Manifest {
    let mut manifest = Manifest::new(job, "2026-01-01T00:00:00Z");
    let file = |(output, content): (usize, &&[u8])| FileRecord {
        output,
        path: Key::output(job, output, "gif", None).name().into(),
        bytes: content.len() as u64,
        sha256: Digest::of(content),
        kind: "gif".into(),
        source: "https://media.example/a.gif".into(),
        rung: Rung::Output,
        etag: None,
        last_modified: None,
        attempts: 1,
        archived_at: "2026-01-01T00:00:00Z".into(),
        left: Vec::new(),
        unknown: Map::new(),
    };
    manifest.files = contents.iter().enumerate().map(file).collect();
    manifest.outputs = Some(contents.len());
    manifest.state = manifest.derived_state();
    manifest
}

/// A job of which one output is here and another one is missing for this cause.
pub(super) fn partial(job: &JobRef, cause: Cause, detail: &str) -> Manifest {
    let mut manifest = complete(job, &[b"GIF89a"]);
    let reason = Reason::of(&Failure::new(cause, detail), Some(Rung::Proxy), None);
    manifest.outputs = Some(2);
    manifest.missing =
        vec![MissingRecord { output: 1, gone: false, reasons: vec![reason], unknown: Map::new() }];
    manifest.state = manifest.derived_state();
    manifest
}
