//! Hearing the witnesses of [`crate::closure`]: an archive, an account's listing, any text.

use std::io::{self, BufRead, Read as _};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::account::{Counts, Walk};
use super::survey::{self, Look, Progress};
use crate::closure::{Closure, Stands};
use crate::job::{Defaults, Family, JobId, JobRef, Origin};
use crate::layout;
use crate::lifetime::Birth;
use crate::listing::AssetType;
use crate::mention::Mentions;
use crate::nesting::{self, Nesting};
use crate::net::Api;
use crate::retry::Failure;
use crate::store::{Store, StoreError};

/// A line, or a JSON value over several, that is longer than this is read in pieces.
const ENTRY_MAX: u64 = 4 * 1024 * 1024;

/// What an archive said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// How many jobs it has a record of, or parts.
    pub jobs: u64,
    /// How many of these records cannot be read; their jobs count as lacking.
    pub unreadable: u64,
    /// How many belong to another API than the chosen one.
    pub elsewhere: u64,
}

/// One job of an archive.
struct Recorded {
    job: JobRef,
    stands: Stands,
    outputs: usize,
    birth: Option<Birth>,
    alias: Option<JobId>,
    unreadable: bool,
}

/// Hears an archive: every record, whether the files that it names are there with their sizes, and parts of jobs that have
/// no record. Blocks.
///
/// # Errors
/// That the archive could not be listed, or is out of reach.
pub fn hear_archive(
    store: &Store,
    origin: &Origin,
    closure: &mut Closure,
    stop: &CancellationToken,
    progress: &Progress,
) -> Result<Records, StoreError> {
    let mut records = Records::default();
    let look = |folders: &[String]| {
        progress.add_jobs(folders.len());
        let recorded = folders.iter().filter_map(|folder| recorded(store, folder, origin).transpose());
        recorded.collect::<Result<Vec<_>, _>>()
    };
    survey::survey(store, store.folders()?, stop, look, |batch| {
        for Recorded { job, stands, outputs, birth, alias, unreadable } in batch {
            records.jobs += 1;
            records.unreadable += u64::from(unreadable);
            // A job of another API may have the same id, and is not the one that this API's witnesses speak of.
            if job.origin != *origin {
                records.elsewhere += 1;
                continue;
            }
            closure.record(&job, stands, outputs, birth);
            if let Some(alias) = alias {
                closure.alias(&alias, &job.family);
            }
        }
        true
    })?;
    for job in survey::unrecorded(store)? {
        records.jobs += 1;
        if job.origin == *origin {
            closure.record(&job, Stands::Lacking, 0, None);
        } else {
            records.elsewhere += 1;
        }
    }
    Ok(records)
}

fn recorded(store: &Store, folder: &str, origin: &Origin) -> Result<Option<Recorded>, StoreError> {
    Ok(match survey::look(store, folder)? {
        Look::Nothing => None,
        // Which job it was is all that its folder tells.
        Look::Unreadable(_) => layout::job_in(folder, origin).map(|job| Recorded {
            job,
            stands: Stands::Lacking,
            outputs: 0,
            birth: None,
            alias: None,
            unreadable: true,
        }),
        Look::Job(job, manifest) => {
            let present = match store.present(&job, &manifest) {
                Ok(files) => files.into_iter().all(|present| present),
                Err(error) if error.is_out_of_reach() => return Err(error),
                Err(_) => false,
            };
            Some(Recorded {
                stands: Stands::of(&manifest, present),
                outputs: manifest.outputs.unwrap_or(0),
                birth: Birth::recorded(&manifest),
                alias: manifest.job.answered_id.as_deref().and_then(|id| JobId::new(id).ok()),
                unreadable: false,
                job,
            })
        }
    })
}

/// Hears an account's listing of one type, to its end.
///
/// # Errors
/// What the API refuses, and what did not pass.
pub async fn hear_listing(
    api: &Api,
    (assets, family): (AssetType, &Family),
    retries: u32,
    closure: &mut Closure,
    stop: &CancellationToken,
) -> Result<Counts, Failure> {
    let mut walk = Walk::new(api, assets, retries, stop.clone());
    while let Some(rows) = walk.page().await? {
        for row in rows {
            closure.list(&row.id, family, row.links.len());
        }
    }
    Ok(walk.counts())
}

/// What a text said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many times it names a job.
    pub mentions: u64,
    /// Its lines.
    pub lines: u64,
    /// Lines that name no job; blank ones and comments do not count.
    pub silent: u64,
    /// Fetch URLs of other APIs than the chosen one.
    pub elsewhere: u64,
}

/// Hears a text: a list, a log, saved answers; JSON may span lines. Blocks.
///
/// # Errors
/// Those of reading it.
pub fn hear_text(
    mut input: impl BufRead,
    defaults: &Defaults,
    closure: &mut Closure,
    stop: &CancellationToken,
) -> io::Result<Heard> {
    let mut heard = Heard::default();
    while !stop.is_cancelled()
        && let Some(line) = read_line(&mut input)?
    {
        let mut entry = vec![line];
        let mut nesting = Nesting::default();
        nesting.read(&entry[0]);
        let mut bytes = entry[0].len() as u64;
        while nesting.is_open() && bytes < ENTRY_MAX {
            let Some(line) = read_line(&mut input)? else { break };
            nesting.read(&line);
            bytes += line.len() as u64;
            entry.push(line);
        }
        heard.lines += entry.len() as u64;
        // What is no JSON, for all its brackets, is one line after another.
        let joined = entry.join("\n");
        if entry.len() == 1 || ends_in_json(&joined) {
            heard.note(&joined, defaults, closure);
        } else {
            for line in &entry {
                heard.note(line, defaults, closure);
            }
        }
    }
    Ok(heard)
}

impl Heard {
    fn note(&mut self, text: &str, defaults: &Defaults, closure: &mut Closure) {
        let found = Mentions::of(text, defaults);
        let says_nothing = text.trim().is_empty() || text.trim_start().starts_with('#');
        self.silent += u64::from(found.is_empty() && !says_nothing);
        self.mentions += found.jobs.len() as u64;
        self.elsewhere += found.elsewhere.len() as u64;
        for mention in &found.jobs {
            closure.mention(mention);
        }
    }
}

/// Whether JSON begins in the text's first line, which may have something before it, and goes on to the text's end.
fn ends_in_json(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.match_indices(['{', '[']).any(|(begin, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Value>();
        matches!(values.next(), Some(Ok(_))) && nesting::is_over(&text[begin + values.byte_offset()..])
    })
}

/// The next line, or the next piece of one that is too long; what is no UTF-8 in it names no job.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = input.take(ENTRY_MAX).read_until(b'\n', &mut bytes)?;
    Ok((read > 0).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::DEFAULT_ORIGIN;
    use crate::lifetime::Lifetimes;

    fn hear(text: &[u8]) -> (Heard, Vec<String>) {
        let defaults = Defaults::new(DEFAULT_ORIGIN, None).unwrap();
        let mut closure = Closure::default();
        let heard =
            hear_text(io::Cursor::new(text), &defaults, &mut closure, &CancellationToken::new()).unwrap();
        let judged = closure.judge(&Lifetimes::default(), 0);
        let jobs = judged.lacking(&defaults.origin).map(|lack| lack.job.to_string()).collect();
        (heard, jobs)
    }

    #[test]
    fn a_text_is_heard_line_by_line_and_json_as_a_whole() {
        let text = b"\xef\xbb\xbf1\r\n# a comment\n\nnothing here\n{\n  \"user\": {\"id\": 77},\n  \"id\": 2,\n  \"status\": \"queued\"\n}\n[3,\n \"realtime/4\"]\nGET https://other.test/api/v6/video/fetch/5\n6";
        let (heard, jobs) = hear(text);
        assert_eq!(jobs, ["1", "2", "3", "6", "realtime/4"]);
        assert_eq!(heard, Heard { mentions: 5, lines: 13, silent: 1, elsewhere: 1 });
        assert_eq!(hear(b"").0, Heard::default());
    }

    #[test]
    fn brackets_around_lines_that_are_no_json_hide_none_of_them() {
        let table: [(&str, &[&str]); 5] = [
            ("[batch {\n147\n148\n}]\n149\n", &["147", "148", "149"]),
            ("[batch {\"status\": \"queued\", \"id\": 1}\n147\n]", &["1", "147"]),
            ("{\n147\n148\n}", &["147", "148"]),
            // A log's line may have something before its JSON, and a list something behind it.
            ("[12:00] {\n\"user\": {\"id\": 77},\n\"id\": 2,\n\"status\": \"queued\"\n}", &["2"]),
            ("[3,\n4] # both", &["3", "4"]),
        ];
        for (text, want) in table {
            assert_eq!(hear(text.as_bytes()).1, want, "{text}");
        }
    }

    #[test]
    fn json_that_never_ends_hides_no_line_behind_it() {
        let (heard, jobs) = hear(b"{ begin\nid=7\n8\nnot \xff utf-8 id=9\n");
        assert_eq!((heard.lines, jobs), (4, vec!["7".into(), "8".into(), "9".into()]));
        let brace = b"[12:00] {\"open\nid=1\n";
        assert_eq!(hear(brace).1, ["1"], "a log line may begin with a bracket");
    }
}
