//! JSON lines: one object an event, the summary last. `fixtures/events.schema.json` describes them.
//!
//! Every line has `v`, the version of the format, `type` and `t`, the seconds since the run began. Texts that came from
//! a server are escaped as they are for people, so that a terminal can show the lines. Fields may be added within a
//! version; none is taken away or given another meaning.

use std::time::Duration;

use serde_json::{Map, Value, json};
use vfetch::event::{Event, FailureGroup, FileEnd, FileRef, JobEnd, Summary};
use vfetch::job::JobRef;
use vfetch::manifest::{Manifest, Reason};
use vfetch::text::Redactor;
use vfetch::view::export;

use super::words;

/// The version of the format.
const VERSION: u32 = 1;

/// What the lines of a run need to know.
pub(super) struct Lines<'a> {
    /// The archive as the user wrote it.
    pub(super) destination: &'a str,
    /// Takes the key out of texts before they are cut.
    pub(super) redactor: &'a Redactor,
}

impl Lines<'_> {
    /// An event as a line.
    pub(super) fn line(&self, event: &Event<'_>, since: Duration) -> String {
        finish(kind(event), self.fields(event), since)
    }

    /// The last line of a run.
    pub(super) fn summary(
        &self,
        summary: &Summary,
        exit_code: u8,
        stopped: Option<&str>,
        since: Duration,
    ) -> String {
        let group = |(words, group): (&String, &FailureGroup)| {
            let first: Vec<String> = group.first.iter().map(|job| self.clean(job)).collect();
            let (cause, detail) = (self.clean(words), self.clean(&group.detail));
            json!({ "cause": cause, "jobs": group.jobs, "first": first, "detail": detail })
        };
        let failures: Vec<Value> = summary.failures.iter().map(group).collect();
        let fields = json!({
            "jobs": summary.jobs, "archived": summary.archived, "kept": summary.kept, "partial": summary.partial,
            "failed": summary.failed, "unreached": summary.unreached, "gone": summary.gone, "pending": summary.pending, "local": summary.local,
            "cancelled": summary.cancelled, "refused_refs": summary.refused_refs, "files": summary.files,
            "file_bytes": summary.file_bytes, "received_bytes": summary.received_bytes, "failures": failures,
            "stopped": stopped.map(|text| self.clean(text)), "exit_code": exit_code,
        });
        finish("summary", fields, since)
    }

    fn fields(&self, event: &Event<'_>) -> Value {
        match event {
            Event::RefRefused { place, why } => json!({ "place": self.clean(place), "why": self.clean(why) }),
            Event::JobStarted { job } => json!({ "job": job.to_string() }),
            Event::JobWaiting { job, why, eta, wait } => json!({
                "job": job.to_string(), "why": self.clean(why), "eta_s": eta.map(|eta| eta.as_secs_f64()),
                "wait_s": wait.as_secs_f64(),
            }),
            Event::JobReady { job, outputs, to_fetch } => {
                json!({ "job": job.to_string(), "outputs": outputs, "to_fetch": to_fetch })
            }
            Event::Warning { job, text } => {
                json!({ "job": job.map(JobRef::to_string), "text": self.clean(text) })
            }
            Event::Listed { assets, jobs, whole } => {
                json!({ "assets": assets, "jobs": jobs, "whole": whole })
            }
            Event::FileStarted { file, rung, source } => {
                of_file(file, json!({ "rung": rung.word(), "source": self.clean(source) }))
            }
            Event::FileSized { file, total, resumed } => {
                of_file(file, json!({ "total_bytes": total, "resumed_bytes": resumed }))
            }
            Event::FileReceived { file, bytes } => of_file(file, json!({ "bytes": bytes })),
            Event::FileEnded { file, end } => of_file(file, self.file_end(end)),
            Event::JobEnded { job, end } => self.job_end(job, end),
        }
    }

    fn file_end(&self, end: &FileEnd<'_>) -> Value {
        match end {
            FileEnd::Proven { bytes } => json!({ "end": "proven", "bytes": bytes }),
            FileEnd::Left { failure } => {
                json!({ "end": "left", "cause": failure.cause, "detail": self.clean(&failure.detail) })
            }
            FileEnd::Cancelled => json!({ "end": "cancelled" }),
        }
    }

    fn job_end(&self, job: &JobRef, end: &JobEnd<'_>) -> Value {
        let name = job.to_string();
        let end_word = end.word();
        match end {
            JobEnd::Kept(manifest) | JobEnd::Archived(manifest) => {
                json!({ "job": name, "end": end_word, "files": self.files(job, manifest) })
            }
            JobEnd::Incomplete(manifest) => json!({
                "job": name, "end": end_word, "files": self.files(job, manifest),
                "missing": self.missing(manifest), "error": manifest.error.as_ref().map(|reason| self.reason(reason)),
            }),
            JobEnd::Failed(failure) => {
                json!({ "job": name, "end": end_word, "cause": failure.cause, "detail": self.clean(&failure.detail) })
            }
            JobEnd::Local(why) => json!({ "job": name, "end": end_word, "detail": self.clean(why) }),
            JobEnd::Pending | JobEnd::Cancelled => json!({ "job": name, "end": end_word }),
        }
    }

    fn files(&self, job: &JobRef, manifest: &Manifest) -> Vec<Value> {
        let file = |file: &vfetch::manifest::FileRecord| {
            json!({
                "output": file.output, "path": export::path_below(self.destination, job, &file.path), "bytes": file.bytes,
                "sha256": file.sha256, "kind": file.kind,
            })
        };
        manifest.files.iter().map(file).collect()
    }

    fn missing(&self, manifest: &Manifest) -> Vec<Value> {
        let missing = |missing: &vfetch::manifest::MissingRecord| {
            let reasons: Vec<Value> = missing.reasons.iter().map(|reason| self.reason(reason)).collect();
            json!({ "output": missing.output, "gone": missing.gone, "reasons": reasons })
        };
        manifest.missing.iter().map(missing).collect()
    }

    fn reason(&self, reason: &Reason) -> Value {
        json!({
            "rung": reason.rung.map(vfetch::manifest::Rung::word), "source": reason.source.as_deref().map(|text| self.clean(text)),
            "cause": reason.cause, "detail": self.clean(&reason.detail),
        })
    }

    fn clean(&self, text: &str) -> String {
        words::clean(self.redactor, text)
    }
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
        Event::Listed { .. } => "listed",
        Event::FileStarted { .. } => "file_started",
        Event::FileSized { .. } => "file_sized",
        Event::FileReceived { .. } => "file_received",
        Event::FileEnded { .. } => "file_ended",
        Event::JobEnded { .. } => "job_ended",
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::fixtures::{complete, job, partial};
    use super::*;
    use vfetch::manifest::{Rung, State};
    use vfetch::retry::{Cause, Failure};

    const SINCE: Duration = Duration::from_millis(1_500);

    fn lines() -> Lines<'static> {
        static NONE: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(Redactor::default);
        Lines { destination: "out", redactor: &NONE }
    }

    fn schema() -> jsonschema::Validator {
        let schema = serde_json::from_str(include_str!("../../../fixtures/events.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    /// The line, which must be one and must be as the schema says.
    fn checked(schema: &jsonschema::Validator, line: &str) -> Value {
        assert_eq!((line.matches('\n').count(), line.ends_with('\n')), (1, true), "{line}");
        let value: Value = serde_json::from_str(line).unwrap();
        if let Err(error) = schema.validate(&value) {
            panic!("{error} in {line}");
        }
        value
    }

    #[test]
    fn every_kind_of_event_is_a_line_as_the_schema_says() {
        let schema = schema();
        let job = job("realtime/98");
        let file = FileRef { job: &job, output: 1 };
        let failure = Failure::new(Cause::ServerError, "status 503\n\u{1b}[31m\u{202e}");
        let (whole, half) = (complete(&job, &[b"GIF89a"]), partial(&job, Cause::Absent, "status 404"));
        let mut failed = Manifest::new(&job, "");
        failed.error = Some(Reason::of(&failure, None, None));
        failed.state = State::Failed;
        let second = Some(Duration::from_secs(1));
        let events = [
            Event::RefRefused { place: "ids.txt:1", why: "no id" },
            Event::JobStarted { job: &job },
            Event::JobWaiting { job: &job, why: "queued", eta: None, wait: Duration::ZERO },
            Event::JobWaiting { job: &job, why: "queued", eta: second, wait: Duration::MAX },
            Event::JobReady { job: &job, outputs: 2, to_fetch: 1 },
            Event::Warning { job: None, text: "odd" },
            Event::Warning { job: Some(&job), text: "odd" },
            Event::FileStarted { file, rung: Rung::FreshProxy, source: "https://media.example/a.gif" },
            Event::FileSized { file, total: None, resumed: 0 },
            Event::FileSized { file, total: Some(u64::MAX), resumed: 7 },
            Event::FileReceived { file, bytes: 1 },
            Event::FileEnded { file, end: FileEnd::Proven { bytes: 6 } },
            Event::FileEnded { file, end: FileEnd::Left { failure: &failure } },
            Event::FileEnded { file, end: FileEnd::Cancelled },
            Event::JobEnded { job: &job, end: JobEnd::Kept(&whole) },
            Event::JobEnded { job: &job, end: JobEnd::Archived(&whole) },
            Event::JobEnded { job: &job, end: JobEnd::Incomplete(&half) },
            Event::JobEnded { job: &job, end: JobEnd::Incomplete(&failed) },
            Event::JobEnded { job: &job, end: JobEnd::Pending },
            Event::JobEnded { job: &job, end: JobEnd::Failed(&failure) },
            Event::JobEnded { job: &job, end: JobEnd::Local("disk full") },
            Event::JobEnded { job: &job, end: JobEnd::Cancelled },
        ];
        for event in &events {
            let value = checked(&schema, &lines().line(event, SINCE));
            assert_eq!((&value["v"], &value["t"]), (&json!(1), &json!(1.5)));
        }
        let value = checked(&schema, &lines().line(&events[14], SINCE));
        assert_eq!(value["files"][0]["path"], "out/realtime.98/98-0.gif");
        let value = checked(&schema, &lines().line(&events[19], SINCE));
        assert_eq!(value["detail"], "status 503\\n\\u{1b}[31m\\u{202e}");
    }

    #[test]
    fn the_summary_is_a_line_as_the_schema_says() {
        let schema = schema();
        let mut all = Summary::default();
        assert_eq!(checked(&schema, &lines().summary(&all, 0, None, SINCE))["exit_code"], 0);
        all.note(&Event::JobEnded { job: &job("147"), end: JobEnd::Local("disk full\u{7}") });
        let value = checked(&schema, &lines().summary(&all, all.exit_code(), Some("stopped\u{7}"), SINCE));
        assert_eq!((&value["exit_code"], &value["stopped"]), (&json!(5), &json!("stopped\\u{7}")));
        let group = json!([{
            "cause": "this machine failed", "jobs": 1, "first": ["147"], "detail": "disk full\\u{7}"
        }]);
        assert_eq!(value["failures"], group);
    }

    #[test]
    fn the_schema_refuses_what_is_no_event() {
        let schema = schema();
        let refused = [
            json!({}),
            json!({ "v": 2, "type": "job_started", "t": 0, "job": "147" }),
            json!({ "v": 1, "type": "job_begun", "t": 0, "job": "147" }),
            json!({ "v": 1, "type": "job_started", "t": 0 }),
            json!({ "v": 1, "type": "job_ended", "t": 0, "job": "147", "end": "archived" }),
        ];
        assert!(refused.iter().all(|value| !schema.is_valid(value)));
    }
}
