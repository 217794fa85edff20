//! An archive for other programs: checksums, records as JSON lines, and a table, each written as it is read.
//!
//! Jobs come in natural order, so that two exports of the same archive are the same text.

use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use crate::engine::survey::{self, Look, Progress};
use crate::job::JobRef;
use crate::layout;
use crate::manifest::{FileRecord, Manifest};
use crate::query::Facts;
use crate::sha256::Digest;
use crate::store::{Store, StoreError};

/// How an archive is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line a file, as `sha256sum -c` reads it.
    Sha256Sums,
    /// One record a line, as JSON.
    JsonLines,
    /// One row a file, with a head; jobs without files have one row too.
    Csv,
}

/// The columns of [`Format::Csv`].
pub const COLUMNS: [&str; 17] = [
    "family",
    "id",
    "state",
    "created_at",
    "output",
    "path",
    "bytes",
    "sha256",
    "kind",
    "source",
    "rung",
    "archived_at",
    "model",
    "seed",
    "prompt",
    "negative_prompt",
    "fetch_url",
];

/// What was written, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Jobs that were written.
    pub jobs: u64,
    /// Records that cannot be used and are not in the export.
    pub unreadable: u64,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The archive could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read could not be written.
    #[error("writing the export: {0}")]
    Write(#[from] io::Error),
}

/// Writes an archive to `out`; the paths of [`Format::Sha256Sums`] begin with `prefix`. Blocks. Ends early, and well,
/// where `stop` is cancelled.
pub fn export(
    store: &Store,
    format: Format,
    prefix: &str,
    stop: &CancellationToken,
    progress: &Progress,
    out: &mut dyn Write,
) -> Result<Exported, ExportError> {
    if format == Format::Csv {
        out.write_all(&row(&COLUMNS))?;
    }
    let write = |look| match look {
        Look::Nothing => None,
        Look::Unreadable(_) => Some(None),
        Look::Job(job, manifest) => Some(Some(job_text(format, prefix, &job, &manifest))),
    };
    let mut exported = Exported::default();
    let mut written = Ok(());
    survey::in_order(store, stop, progress, write, |texts| {
        let (jobs, unreadable): (Vec<_>, Vec<_>) = texts.into_iter().partition(Option::is_some);
        exported.jobs += jobs.len() as u64;
        exported.unreadable += unreadable.len() as u64;
        written = jobs.iter().flatten().try_for_each(|text| out.write_all(text));
        written.is_ok()
    })?;
    written.and_then(|()| out.flush())?;
    Ok(exported)
}

fn job_text(format: Format, prefix: &str, job: &JobRef, manifest: &Manifest) -> Vec<u8> {
    let mut to = Vec::new();
    match format {
        Format::Sha256Sums => {
            to.extend_from_slice(sum_lines(prefix, job, manifest).as_bytes());
        }
        Format::JsonLines => {
            // A record that was read can be written.
            to.extend_from_slice(&serde_json::to_vec(manifest).unwrap_or_default());
            to.push(b'\n');
        }
        Format::Csv => {
            let facts = Facts::of(manifest);
            for file in &manifest.files {
                to.extend_from_slice(&csv_row(job, manifest, &facts, Some(file)));
            }
            if manifest.files.is_empty() {
                to.extend_from_slice(&csv_row(job, manifest, &facts, None));
            }
        }
    }
    to
}

/// A line for each of a job's files as `sha256sum` writes it, so that `sha256sum -c` can check them: the digest, two
/// spaces, and the path below the archive as the user wrote it.
#[must_use]
pub fn sum_lines(archive: &str, job: &JobRef, manifest: &Manifest) -> String {
    let line = |file: &FileRecord| sum_line(&file.sha256, &path_below(archive, job, &file.path));
    manifest.files.iter().map(line).collect()
}

/// The path of a job's file, below the archive as the user wrote it.
#[must_use]
pub fn path_below(archive: &str, job: &JobRef, name: &str) -> String {
    below(archive, &format!("{}/{name}", layout::folder(job)))
}

/// A name with a backslash or a line break in it is escaped, and the line begins with a backslash that says so.
fn sum_line(digest: &Digest, path: &str) -> String {
    if !path.contains(['\\', '\n', '\r']) {
        return format!("{digest}  {path}\n");
    }
    let path = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("\\{digest}  {path}\n")
}

fn below(folder: &str, path: &str) -> String {
    match folder {
        "" | "." | "./" => path.into(),
        folder if folder.ends_with('/') => format!("{folder}{path}"),
        folder => format!("{folder}/{path}"),
    }
}

fn csv_row(job: &JobRef, manifest: &Manifest, facts: &Facts, file: Option<&FileRecord>) -> Vec<u8> {
    let text = |of: &dyn Fn(&FileRecord) -> String| file.map(of).unwrap_or_default();
    let fact = |fact: &Option<String>| fact.clone().unwrap_or_default();
    row(&[
        manifest.job.family.clone(),
        manifest.job.id.clone(),
        manifest.state.word().into(),
        manifest.created_at.clone(),
        text(&|file| file.output.to_string()),
        text(&|file| format!("{}/{}", layout::folder(job), file.path)),
        text(&|file| file.bytes.to_string()),
        text(&|file| file.sha256.to_string()),
        text(&|file| file.kind.clone()),
        text(&|file| file.source.clone()),
        text(&|file| file.rung.word().into()),
        text(&|file| file.archived_at.clone()),
        fact(&facts.model),
        fact(&facts.seed),
        fact(&facts.prompt),
        fact(&facts.negative_prompt),
        manifest.job.fetch_url.clone(),
    ])
}

fn row<S: AsRef<[u8]>>(fields: &[S]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    // Writing to memory cannot fail, and every row has the same number of fields.
    let _ = writer.write_record(fields);
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_as_sha256sum_writes_them() {
        let digest = Digest::of(b"");
        assert_eq!(sum_line(&digest, "out/1/1-0.gif"), format!("{digest}  out/1/1-0.gif\n"));
        assert_eq!(sum_line(&digest, "a\\b\nc\rd"), format!("\\{digest}  a\\\\b\\nc\\rd\n"));
    }

    #[test]
    fn paths_begin_with_the_folder_as_the_user_wrote_it() {
        let table = [
            (".", "1/1-0.gif"),
            ("", "1/1-0.gif"),
            ("./", "1/1-0.gif"),
            ("out", "out/1/1-0.gif"),
            ("/srv/out/", "/srv/out/1/1-0.gif"),
            ("/", "/1/1-0.gif"),
        ];
        for (folder, want) in table {
            assert_eq!(below(folder, "1/1-0.gif"), want);
        }
    }

    #[test]
    fn fields_with_commas_quotes_and_line_breaks_stay_one_field() {
        assert_eq!(row(&["a,b", "c\"d", "e\nf", ""]), b"\"a,b\",\"c\"\"d\",\"e\nf\",\n");
    }
}
