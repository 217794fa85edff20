//! `vfetch resume`: finishes what an archive began.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfetch::engine::Session;
use vfetch::engine::resume::{self, Which};

use super::args::{AccountArgs, OutputArgs, TransferArgs};
use super::error::CliError;
use super::look::ArchiveArg;
use super::names::Names;
use super::{failed, get, report, signals};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch resume                     the archive in this folder
  vfetch resume ./out               another one
  vfetch resume ./out --wait 0      bring home what is ready, and wait for nothing
  vfetch resume ./out --gone        ask for the jobs too whose files no longer existed";

/// Finish every job of an archive that is pending, partial or failed.
///
/// Which jobs these are, and where they live, stands in the archive: no list and no command line is needed. Complete jobs
/// whose files are missing are completed too, and so are jobs of which a run that was killed left parts and no record. Each
/// record names the API that its job belongs to; a job of another API than the chosen one is told and passed over, since
/// the key is not meant for it. Jobs that are gone are passed over, unless --gone says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// Ask for jobs that are recorded as gone too.
    #[arg(long, env = "VFETCH_GONE")]
    gone: bool,
    /// Write the references of jobs that did not end complete to this file; get -i takes it. A run without such jobs
    /// leaves no file, and takes an old one away.
    #[arg(long, value_name = "FILE", env = "VFETCH_FAILED")]
    failed: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    show: OutputArgs,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: ResumeArgs) -> Result<u8, CliError> {
    let defaults = args.account.defaults()?;
    let archive = Path::new(&args.archive.archive);
    failed::check(args.failed.as_deref(), archive, [])?;
    let store = args.transfer.open_existing(&args.archive.archive)?;
    let (api, http) = args.account.clients(&defaults, &args.transfer)?;
    let names = Names::beside(&defaults);
    let settings = args.show.settings(archive, api.redactor().clone(), args.failed.clone(), names);
    let console = report::start(settings)?;
    let session = Arc::new(Session::new(api, http, store, args.transfer.options(), console.clone())?);
    let caught = signals::watch(session.stop_token())?;
    let which = Which { origin: defaults.origin.clone(), gone: args.gone };
    let stop = resume::resume(&session, &which).await;
    let retry_command = get::retry_command(archive, &args.account, &defaults);
    let how =
        report::Finish { stop: stop.as_ref(), signal: caught.number(), retry_command: Some(&retry_command) };
    let summary = console.finish(&how);
    Ok(caught.exit_code().unwrap_or_else(|| summary.exit_code()))
}
