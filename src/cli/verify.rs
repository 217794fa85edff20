//! `vfetch verify`: proves an archive's bytes against its records.

use serde_json::json;
use vfetch::engine::survey::{self, Progress};
use vfetch::engine::verify::{self, VerifyOptions};
use vfetch::store::{Leftover, LeftoverKind, Store, StoreError};
use vfetch::text::{Untrusted, quoted};
use vfetch::verdict::{Finding, Share, Tally, Verdict};
use vfetch::view::table::{bytes, counted, number};

use super::error::CliError;
use super::look::{self, ArchiveArg, Desk, Out, ShowArgs};

/// Files are not what their records say.
const CORRUPT: u8 = 6;

/// Shown under the command's help.
const EXAMPLES: &str = "\
Each line is a sign and a path below the archive:
  = ok (with --all)   * damaged   - missing   + extra, named by no record   ! unreadable
Exit code 0: all is whole; 6: something is not.

Examples:
  vfetch verify out                 hash every file, on all cores
  vfetch verify out --quick         presence and size only
  vfetch verify out --subset 3/7    one seventh: another one each day of the week
  vfetch verify out --sample 5%     a twentieth of the jobs, drawn anew each time
  vfetch verify out && echo whole   for scripts";

/// Prove that every file is what its record says.
///
/// Reads every record and every file of an archive, without a network and without changing anything. It says nothing
/// of jobs that never came home: vfetch audit does.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// Look at presence and size only; damage that keeps a file's length is not seen.
    #[arg(long, env = "VFETCH_QUICK")]
    quick: bool,
    /// Verify one of so many parts: the same jobs each time, all jobs over all parts.
    #[arg(long, value_name = "N/T", env = "VFETCH_SUBSET", value_parser = subset, conflicts_with = "sample")]
    subset: Option<Share>,
    /// Verify this share of the jobs, drawn anew each time.
    #[arg(long, value_name = "PERCENT", env = "VFETCH_SAMPLE", value_parser = sample)]
    sample: Option<f64>,
    /// List whole files too.
    #[arg(short, long, env = "VFETCH_ALL")]
    all: bool,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: VerifyArgs) -> Result<u8, CliError> {
    let store = args.archive.open()?;
    let share = match (args.subset, args.sample) {
        (Some(subset), _) => subset,
        (None, Some(share)) => Share::Sample { share, seed: fastrand::u64(..) },
        (None, None) => Share::All,
    };
    let options = VerifyOptions { quick: args.quick, share, report_whole: args.all };
    let (show_args, archive) = (args.show.clone(), args.archive.archive);
    let work = move |desk: &Desk| {
        let mut out = desk.out();
        let found = verify::verify(&store, &options, &desk.stop, &desk.progress, |finding| {
            show(&mut out, show_args.json, &finding);
        });
        let leftovers = store.leftovers();
        let tally = found?;
        let words = if is_empty(share, &tally) { none_in_part(&store, desk)? } else { None };
        let words = words.unwrap_or_else(|| summary(&tally));
        desk.done();
        let leftovers = if_permitted(leftovers, |error| {
            if !show_args.quiet {
                desk.say(format_args!("{error}; what is left over there was not looked at"));
            }
        })?;
        conclude(desk, &mut out, &show_args, &archive, (&tally, &words), &leftovers);
        Ok::<_, CliError>((out.end()?, tally))
    };
    let (done, caught) = look::watched(&args.show, "verifying", work).await?;
    let (closed, tally) = done?;
    let verdict = if tally.faults() > 0 { CORRUPT } else { 0 };
    Ok(caught.exit_code().or(closed).unwrap_or(verdict))
}

/// Shows one finding.
pub(crate) fn show(out: &mut Out<'_>, json: bool, finding: &Finding) {
    let (sign, place) = (finding.verdict.sign(), finding.place());
    let why = match &finding.verdict {
        Verdict::Damaged(_) | Verdict::Unreadable(_) => finding.verdict.to_string(),
        Verdict::Whole | Verdict::Missing | Verdict::Extra => String::new(),
    };
    if json {
        let line = json!({"event": "file", "verdict": finding.verdict.word(), "path": place, "why": why});
        out.line(format_args!("{line}"));
    } else if why.is_empty() {
        out.line(format_args!("{sign} {}", Untrusted(&place)));
    } else {
        out.line(format_args!("{sign} {}: {}", Untrusted(&place), Untrusted(&why)));
    }
}

/// What is left over; nothing where only the archive's owner may see that. Files and records are for everybody to verify,
/// and what is left over is no part of them.
fn if_permitted(
    leftovers: Result<Vec<Leftover>, StoreError>,
    refused: impl FnOnce(&StoreError),
) -> Result<Vec<Leftover>, StoreError> {
    match leftovers {
        Err(error) if error.is_denied() => {
            refused(&error);
            Ok(Vec::new())
        }
        leftovers => leftovers,
    }
}

fn conclude(
    desk: &Desk,
    out: &mut Out<'_>,
    show: &ShowArgs,
    archive: &str,
    (tally, words): (&Tally, &str),
    leftovers: &[Leftover],
) {
    let stopped = desk.stop.is_cancelled();
    if show.json {
        for Leftover { kind, place, bytes } in leftovers {
            let line = json!({"event": "leftover", "kind": word(*kind), "path": place, "bytes": bytes});
            out.line(format_args!("{line}"));
        }
        out.line(format_args!("{}", summary_json(tally, stopped)));
        return;
    }
    if show.quiet {
        return;
    }
    desk.say(format_args!("{}{words}", if stopped { "stopped: " } else { "" }));
    for kind in [LeftoverKind::Staged, LeftoverKind::Quarantined] {
        let of_kind = || leftovers.iter().filter(|leftover| leftover.kind == kind);
        let size = bytes(of_kind().map(|leftover| leftover.bytes).sum());
        match of_kind().count() as u64 {
            0 => {}
            count => desk.say(format_args!("{}", leftover_words(kind, count, &size))),
        }
    }
    if tally.faults() > 0 {
        desk.say(format_args!("  vfetch repair {} puts right what it can", quoted(archive)));
    }
}

/// Whether only a part was looked at, and nothing is in it.
fn is_empty(share: Share, tally: &Tally) -> bool {
    share != Share::All && tally.jobs == 0 && tally.faults() == 0
}

/// What is to be said where no job fell into the part that was looked at; nothing where the archive has no jobs.
fn none_in_part(store: &Store, desk: &Desk) -> Result<Option<String>, StoreError> {
    let census = survey::count(store, &desk.stop, &Progress::default())?;
    Ok(match census.all.jobs + census.unreadable {
        0 => None,
        1 => Some("the archive's only job did not fall into this part, so nothing was checked".into()),
        jobs => Some(format!(
            "none of the archive's {} jobs fell into this part, so nothing was checked",
            number(jobs)
        )),
    })
}

fn leftover_words(kind: LeftoverKind, count: u64, size: &str) -> String {
    let files = counted(count, "file");
    match (kind, count) {
        (LeftoverKind::Staged, 1) => format!(
            "{files} left in .vfetch/staging ({size}): part of a download that was cut short; the next run takes it up"
        ),
        (LeftoverKind::Staged, _) => format!(
            "{files} left in .vfetch/staging ({size}): parts of downloads that were cut short; the next run takes them up"
        ),
        (LeftoverKind::Quarantined, count) => {
            let them = if count == 1 { "it" } else { "them" };
            format!("{files} put aside in .vfetch/quarantine ({size}); nothing uses {them}")
        }
    }
}

fn word(kind: LeftoverKind) -> &'static str {
    match kind {
        LeftoverKind::Staged => "staged",
        LeftoverKind::Quarantined => "quarantined",
    }
}

fn summary(tally: &Tally) -> String {
    let (jobs, files) = (counted(tally.jobs, "job"), counted(tally.whole, "file"));
    let mut text = format!("{jobs}: {files} ok ({})", bytes(tally.whole_bytes));
    let counts = [
        (tally.damaged, "damaged"),
        (tally.missing, "missing"),
        (tally.extra, "extra"),
        (tally.unreadable, "unreadable"),
        (tally.changed, "changed while being verified, and passed over"),
    ];
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        text.extend([", ", &number(count), " ", word]);
    }
    text
}

fn summary_json(tally: &Tally, stopped: bool) -> serde_json::Value {
    json!({
        "event": "summary", "jobs": tally.jobs, "ok": tally.whole, "ok_bytes": tally.whole_bytes,
        "damaged": tally.damaged, "missing": tally.missing, "extra": tally.extra, "unreadable": tally.unreadable,
        "changed": tally.changed, "stopped": stopped,
    })
}

pub(super) fn subset(text: &str) -> Result<Share, String> {
    let parsed =
        text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match parsed {
        Some((part, parts)) if part >= 1 && part <= parts => Ok(Share::Part { part, parts }),
        _ => Err("write a part and the number of parts, for example 3/7".into()),
    }
}

fn sample(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("write a share above 0% and up to 100%, for example 5%".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_one_or_many() {
        let said = |kind, count| leftover_words(kind, count, "9 B");
        assert_eq!(
            said(LeftoverKind::Quarantined, 1),
            "1 file put aside in .vfetch/quarantine (9 B); nothing uses it"
        );
        assert!(said(LeftoverKind::Quarantined, 2).ends_with("nothing uses them"));
        assert!(said(LeftoverKind::Staged, 1).ends_with("the next run takes it up"));
        assert!(said(LeftoverKind::Staged, 2).ends_with("the next run takes them up"));
    }

    #[test]
    fn parts_and_shares_are_read_and_nonsense_is_refused() {
        assert_eq!(subset("3/7"), Ok(Share::Part { part: 3, parts: 7 }));
        assert_eq!(sample("5%"), Ok(0.05));
        assert_eq!(sample("100 %"), Ok(1.0));
        assert!(["0/7", "8/7", "3", "a/b", "-1/7", "3/7/1", "0/0"].iter().all(|bad| subset(bad).is_err()));
        assert!(["0%", "101%", "5", "x%", "%", "nan%", "-1%"].iter().all(|bad| sample(bad).is_err()));
    }
}
