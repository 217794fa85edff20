//! JSON lines: one object an event, the summary last. `fixtures/events.schema.json` describes them.
//!
//! Every line has `v`, the version of the format, `type` and `t`, the seconds since the run began. Texts that came from
//! a server are escaped as they are for people, so that a terminal can show the lines. Fields may be added within a
//! version; none is taken away or given another meaning.

use std::time::Duration;

use serde_json::{Map, Value, json};
use vfetch::event::{Event, FileEnd, FileRef, JobEnd, Summary};
use vfetch::job::JobRef;
use vfetch::manifest::{Manifest, Reason};
use vfetch::text::Untrusted;

use super::results;

/// The version of the format.
const VERSION: u32 = 1;

/// An event as a line.
pub(super) fn line(event: &Event<'_>, destination: &str, since: Duration) -> String {
    finish(kind(event), fields(event, destination), since)
}

/// The last line of a run.
pub(super) fn summary(summary: &Summary, exit_code: u8, stopped: Option<&str>, since: Duration) -> String {
    let failures: Vec<Value> = summary
        .failures
        .iter()
        .map(|(words, group)| {
            let first: Vec<String> = group.first.iter().map(|job| clean(job)).collect();
            json!({ "cause": clean(words), "jobs": group.jobs, "first": first, "detail": clean(&group.detail) })
        })
        .collect();
    let fields = json!({
        "jobs": summary.jobs, "archived": summary.archived, "kept": summary.kept, "partial": summary.partial,
        "failed": summary.failed, "gone": summary.gone, "pending": summary.pending, "local": summary.local,
        "cancelled": summary.cancelled, "refused_refs": summary.refused_refs, "files": summary.files,
        "file_bytes": summary.file_bytes, "received_bytes": summary.received_bytes, "failures": failures,
        "stopped": stopped.map(clean), "exit_code": exit_code,
    });
    finish("summary", fields, since)
}

fn finish(kind: &str, fields: Value, since: Duration) -> String {
    let mut line = Map::new();
    line.insert("v".into(), VERSION.into());
    line.insert("type".into(), kind.into());
    line.insert("t".into(), (since.as_millis() as f64 / 1000.0).into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    let mut line = Value::Object(line).to_string();
    line.push('\n');
    line
}

fn kind(event: &Event<'_>) -> &'static str {
    match event {
        Event::RefRefused { .. } => "ref_refused",
        Event::JobStarted { .. } => "job_started",
        Event::JobWaiting { .. } => "job_waiting",
        Event::JobReady { .. } => "job_ready",
        Event::Warning { .. } => "warning",
        Event::FileStarted { .. } => "file_started",
        Event::FileSized { .. } => "file_sized",
        Event::FileReceived { .. } => "file_received",
        Event::FileEnded { .. } => "file_ended",
        Event::JobEnded { .. } => "job_ended",
    }
}

fn fields(event: &Event<'_>, destination: &str) -> Value {
    match event {
        Event::RefRefused { place, why } => json!({ "place": clean(place), "why": clean(why) }),
        Event::JobStarted { job } => json!({ "job": job.to_string() }),
        Event::JobWaiting { job, why, eta, wait } => json!({
            "job": job.to_string(), "why": clean(why), "eta_s": eta.map(|eta| eta.as_secs_f64()),
            "wait_s": wait.as_secs_f64(),
        }),
        Event::JobReady { job, outputs, to_fetch } => {
            json!({ "job": job.to_string(), "outputs": outputs, "to_fetch": to_fetch })
        }
        Event::Warning { job, text } => json!({ "job": job.map(JobRef::to_string), "text": clean(text) }),
        Event::FileStarted { file, rung, source } => {
            of_file(file, json!({ "rung": rung.word(), "source": clean(source) }))
        }
        Event::FileSized { file, total, resumed } => {
            of_file(file, json!({ "total_bytes": total, "resumed_bytes": resumed }))
        }
        Event::FileReceived { file, bytes } => of_file(file, json!({ "bytes": bytes })),
        Event::FileEnded { file, end } => of_file(file, file_end(end)),
        Event::JobEnded { job, end } => job_end(job, end, destination),
    }
}

fn of_file(file: &FileRef<'_>, fields: Value) -> Value {
    let mut all = Map::new();
    all.insert("job".into(), file.job.to_string().into());
    all.insert("output".into(), file.output.into());
    if let Value::Object(fields) = fields {
        all.extend(fields);
    }
    Value::Object(all)
}

fn file_end(end: &FileEnd<'_>) -> Value {
    match end {
        FileEnd::Proven { bytes } => json!({ "end": "proven", "bytes": bytes }),
        FileEnd::Left { failure } => {
            json!({ "end": "left", "cause": failure.cause, "detail": clean(&failure.detail) })
        }
        FileEnd::Cancelled => json!({ "end": "cancelled" }),
    }
}

fn job_end(job: &JobRef, end: &JobEnd<'_>, destination: &str) -> Value {
    let name = job.to_string();
    let end_word = end.word();
    match end {
        JobEnd::Kept(manifest) | JobEnd::Archived(manifest) => {
            json!({ "job": name, "end": end_word, "files": files(job, manifest, destination) })
        }
        JobEnd::Incomplete(manifest) => json!({
            "job": name, "end": end_word, "files": files(job, manifest, destination),
            "missing": missing(manifest), "error": manifest.error.as_ref().map(reason),
        }),
        JobEnd::Failed(failure) => {
            json!({ "job": name, "end": end_word, "cause": failure.cause, "detail": clean(&failure.detail) })
        }
        JobEnd::Local(why) => json!({ "job": name, "end": end_word, "detail": clean(why) }),
        JobEnd::Pending | JobEnd::Cancelled => json!({ "job": name, "end": end_word }),
    }
}

fn files(job: &JobRef, manifest: &Manifest, destination: &str) -> Vec<Value> {
    let file = |file: &vfetch::manifest::FileRecord| {
        json!({
            "output": file.output, "path": results::path(destination, job, &file.path), "bytes": file.bytes,
            "sha256": file.sha256, "kind": file.kind,
        })
    };
    manifest.files.iter().map(file).collect()
}

fn missing(manifest: &Manifest) -> Vec<Value> {
    let missing = |missing: &vfetch::manifest::MissingRecord| {
        let reasons: Vec<Value> = missing.reasons.iter().map(reason).collect();
        json!({ "output": missing.output, "gone": missing.gone, "reasons": reasons })
    };
    manifest.missing.iter().map(missing).collect()
}

fn reason(reason: &Reason) -> Value {
    json!({
        "rung": reason.rung.map(vfetch::manifest::Rung::word), "source": reason.source.as_deref().map(clean),
        "cause": reason.cause, "detail": clean(&reason.detail),
    })
}

fn clean(text: &str) -> String {
    Untrusted(text).to_string()
}
