//! What an archive holds, for people and for programs.

use std::fmt::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::table::{bytes, counted, number};
use crate::census::{AtRisk, Census, Count};
use crate::text::{Untrusted, quoted};

/// How many jobs are named for one reason.
const NAMED: usize = 5;

/// A census as text. `archive` is the archive as the user wrote it, for the commands that help.
#[must_use]
pub fn text(census: &Census, archive: &str) -> String {
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = write_text(&mut text, census, archive);
    text
}

fn write_text(to: &mut String, census: &Census, archive: &str) -> fmt::Result {
    let Count { jobs, files, bytes: total } = census.all;
    let (jobs, files) = (counted(jobs, "job"), counted(files, "file"));
    writeln!(to, "{}: {jobs}, {files}, {}", Untrusted(archive), bytes(total))?;
    section(to, "STATE", census.states.iter().map(|(state, count)| (state.word().into(), *count)))?;
    section(to, "FAMILY", by_size(census.families.iter()))?;
    section(to, "HOST", by_size(census.hosts.iter()))?;
    section(to, "FIRST RECORDED", census.ages.iter().map(|(age, count)| (age.words().into(), *count)))?;
    // As a shell takes it: what helps is a command.
    let archive = &quoted(archive);
    write_at_risk(to, census, archive)?;
    write_failures(to, census)?;
    write_unreadable(to, census, archive)
}

/// Names with the greatest count of jobs first.
fn by_size<'a>(
    counts: impl Iterator<Item = (&'a String, &'a Count)>,
) -> impl Iterator<Item = (String, Count)> {
    let mut counts: Vec<_> = counts.map(|(name, count)| (Untrusted(name).to_string(), *count)).collect();
    counts.sort_by(|(one, a), (two, b)| b.jobs.cmp(&a.jobs).then_with(|| one.cmp(two)));
    counts.into_iter()
}

fn section(to: &mut String, head: &str, rows: impl Iterator<Item = (String, Count)>) -> fmt::Result {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).chain([head.len()]).max().unwrap_or(0);
    writeln!(to, "\n{head:<width$}  {:>11}  {:>11}  {:>10}", "JOBS", "FILES", "SIZE")?;
    for (name, count) in rows {
        let (jobs, files) = (number(count.jobs), number(count.files));
        writeln!(to, "{name:<width$}  {jobs:>11}  {files:>11}  {:>10}", bytes(count.bytes))?;
    }
    Ok(())
}

fn write_at_risk(to: &mut String, census: &Census, archive: &str) -> fmt::Result {
    if census.at_risk == 0 {
        return writeln!(to, "\nNothing is at risk.");
    }
    writeln!(to, "\nAt risk: {}", jobs_are(census.at_risk, "has files", "have files", "that are not here"))?;
    let width = census.first_to_die.iter().map(|at_risk| at_risk.job.len()).max().unwrap_or(0);
    for at_risk in &census.first_to_die {
        let end = end_words(at_risk, census.counted_at);
        writeln!(to, "  {:<width$}  {:<8}  {end}", at_risk.job, at_risk.state)?;
    }
    let more = census.at_risk - census.first_to_die.len() as u64;
    if more > 0 {
        writeln!(to, "  and {} more: vfetch list {archive} --state pending,partial,failed", number(more))?;
    }
    writeln!(to, "  vfetch resume {archive} fetches what is still there")
}

fn jobs_are(jobs: u64, one: &str, many: &str, what: &str) -> String {
    if jobs == 1 { format!("1 job {one} {what}") } else { format!("{} jobs {many} {what}", number(jobs)) }
}

/// When a job's files are deleted, seen from `now`.
fn end_words(at_risk: &AtRisk, now: u64) -> String {
    let Some(until) = at_risk.until() else { return "no end is known".into() };
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(until));
    let date = moment.map(|moment| humantime::format_rfc3339_seconds(moment).to_string()).unwrap_or_default();
    if until <= now {
        format!("expected to be deleted {date}, {} ago: try at once", span(now - until))
    } else {
        format!("expected to be deleted {date}, in {}", span(until - now))
    }
}

/// A length of time in its largest unit, rounded down.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn write_failures(to: &mut String, census: &Census) -> fmt::Result {
    if census.failures.is_empty() {
        return Ok(());
    }
    let jobs = census.failures.values().map(|failed| failed.jobs).sum();
    writeln!(to, "\nNot whole: {}", jobs_are(jobs, "lacks", "lack", "outputs"))?;
    let mut groups: Vec<_> = census.failures.iter().collect();
    groups.sort_by_key(|(_, failed)| std::cmp::Reverse(failed.jobs));
    for (words, failed) in groups {
        let named: Vec<&str> = failed.first.iter().take(NAMED).map(String::as_str).collect();
        let more = failed.jobs - named.len() as u64;
        let more = if more > 0 { format!(" and {} more", number(more)) } else { String::new() };
        writeln!(to, "  {:>7}  {words}: {}{more}", number(failed.jobs), named.join(", "))?;
        if !failed.detail.is_empty() {
            writeln!(to, "           {}", Untrusted(&failed.detail))?;
        }
    }
    Ok(())
}

fn write_unreadable(to: &mut String, census: &Census, archive: &str) -> fmt::Result {
    if census.unreadable == 0 {
        return Ok(());
    }
    writeln!(to, "\nRecords that cannot be used: {} (not counted above)", number(census.unreadable))?;
    for (folder, why) in census.unreadable_first.iter().take(NAMED) {
        writeln!(to, "  {folder}: {}", Untrusted(why))?;
    }
    writeln!(to, "  vfetch verify {archive} lists them all, vfetch repair {archive} puts right what it can")
}

/// A census as one JSON object.
#[must_use]
pub fn json(census: &Census) -> Value {
    let counts = |counts: &mut dyn Iterator<Item = (String, Count)>| -> Value {
        Value::Object(counts.map(|(name, count)| (name, of_count(count))).collect::<Map<_, _>>())
    };
    let at_risk =
        |at_risk: &AtRisk| json!({"job": at_risk.job, "state": at_risk.state, "until": at_risk.until()});
    let failures = census.failures.iter().map(|(words, failed)| {
        json!({"reason": words, "jobs": failed.jobs, "first": failed.first, "detail": failed.detail})
    });
    let unreadable =
        census.unreadable_first.iter().map(|(folder, why)| json!({"folder": folder, "why": why}));
    json!({
        "event": "status",
        "counted_at": census.counted_at,
        "all": of_count(census.all),
        "states": counts(&mut census.states.iter().map(|(state, count)| (state.word().to_owned(), *count))),
        "families": counts(&mut census.families.iter().map(|(name, count)| (name.clone(), *count))),
        "hosts": counts(&mut census.hosts.iter().map(|(name, count)| (name.clone(), *count))),
        "first_recorded": counts(&mut census.ages.iter().map(|(age, count)| (age.words().to_owned(), *count))),
        "at_risk": {"jobs": census.at_risk, "first": census.first_to_die.iter().map(at_risk).collect::<Vec<_>>()},
        "not_whole": failures.collect::<Vec<_>>(),
        "unreadable": {"records": census.unreadable, "first": unreadable.collect::<Vec<_>>()},
    })
}

fn of_count(count: Count) -> Value {
    json!({"jobs": count.jobs, "files": count.files, "bytes": count.bytes})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::State;

    #[test]
    fn ends_are_told_from_now() {
        let at_risk = |dies| AtRisk { dies, job: "147".into(), state: State::Pending };
        let table = [
            (at_risk(1_000_000), 1_000_000 - 7_300, "expected to be deleted 1970-01-12T13:46:40Z, in 2 h"),
            (at_risk(1_000_000), 1_000_000 - 59, "expected to be deleted 1970-01-12T13:46:40Z, in 59 s"),
            (
                at_risk(1_000_000),
                1_000_090,
                "expected to be deleted 1970-01-12T13:46:40Z, 1 min ago: try at once",
            ),
            (
                at_risk(1_000_000),
                1_200_000,
                "expected to be deleted 1970-01-12T13:46:40Z, 2 days ago: try at once",
            ),
            (at_risk(u64::MAX), 5, "no end is known"),
        ];
        for (at_risk, now, want) in table {
            assert_eq!(end_words(&at_risk, now), want);
        }
    }

    #[test]
    fn an_empty_archive_says_so_in_few_words() {
        assert_eq!(text(&Census::default(), "out"), "out: 0 jobs, 0 files, 0 B\n\nNothing is at risk.\n");
        assert_eq!(json(&Census::default())["at_risk"], json!({"jobs": 0, "first": []}));
    }

    #[test]
    fn a_hostile_reason_does_not_act_on_the_terminal() {
        let mut census = Census::default();
        census.note_unreadable("147", "\u{1b}[2Jgone".into());
        let failed = crate::census::Failed { jobs: 9, first: vec!["1".into()], detail: "a\nb\u{7}".into() };
        census.failures.insert("timed out".into(), failed);
        let text = text(&census, "out");
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
        assert!(text.contains("timed out: 1 and 8 more\n"), "{text}");
    }
}
