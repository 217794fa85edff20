//! `vfetch status`: what an archive holds, what is at risk, what failed.

use vfetch::engine::survey;
use vfetch::view::status;

use super::error::CliError;
use super::look::{self, ArchiveArg, Desk, ShowArgs};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch status                                       the archive in this folder
  vfetch status out                                   another one
  vfetch status out --json | jq .at_risk.jobs         for scripts
  vfetch status out --json | jq '.states.complete'    ";

/// Tell what an archive holds, what is at risk and until when, and what failed.
///
/// Reads every record and nothing else: vfetch verify looks at the files too.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: StatusArgs) -> Result<u8, CliError> {
    let store = args.archive.open()?;
    let (json, archive) = (args.show.json, args.archive.archive);
    let work = move |desk: &Desk| {
        let census = survey::count(&store, &desk.stop, &desk.progress)?;
        if desk.stop.is_cancelled() {
            return Ok(None);
        }
        desk.done();
        let mut out = desk.out();
        if json {
            out.line(format_args!("{}", status::json(&census)));
        } else {
            out.line(format_args!("{}", status::text(&census, &archive).trim_end()));
        }
        out.end()
    };
    let (closed, caught) = look::watched(&args.show, "counting", work).await?;
    Ok(caught.exit_code().or(closed?).unwrap_or(0))
}
