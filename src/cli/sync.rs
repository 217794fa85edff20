//! `vfetch sync`: brings an archive up to date with the account's listing.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vfetch::engine::archive::Stop;
use vfetch::engine::sync::{self, Account, Selection};
use vfetch::engine::{Options, Session};
use vfetch::event::{Event, Reporter as _};
use vfetch::job::{Asked, DEFAULT_FAMILY, Defaults, Family, JobError, JobRef, without_secrets};
use vfetch::listing::AssetType;
use vfetch::manifest::State;
use vfetch::store::{Found, Store};

use super::args::{AccountArgs, OutputArgs, TransferArgs};
use super::error::CliError;
use super::names::Names;
use super::{failed, get, look, report, signals, values};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch sync -o ./out                            all that the account lists and ./out lacks
  vfetch sync -o ./out --type video --type image  these types only
  vfetch sync -o ./out --watch 5m                 again and again, until Ctrl-C or SIGTERM
  vfetch sync -o ./out --dry-run                  the ids of what would be fetched, and nothing else
  vfetch sync -o ./out -n --json | vfetch get -i - -o ./out
                                                  the same rows with type, family and links; get asks for their jobs,
                                                  and takes nothing from the links

The listing names ids and links, but no dates and no families. Ids of videos are fetched in the family enterprise/video,
of images in enterprise/images, of voices in enterprise/voice, of 3D models in enterprise/3d, or all in that of --family.
A job that is in the archive under another family is found there; one that its family does not know is still fetched
from the links of the listing.";

/// Bring home all that the account lists and the archive lacks.
///
/// The listing is read from its newest job on, to where the last sync that ended well has begun; the first one reads all
/// of it, and so does --full. What was listed before and has failed, or was removed from the archive, is looked at again
/// only with --full; `vfetch resume` finishes what an archive began.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SyncArgs {
    /// The archive: a folder, made where it is not there, or the address of a bucket and a prefix in it.
    #[arg(short, long, value_name = "ARCHIVE", env = "VFETCH_OUTPUT")]
    output: PathBuf,
    /// What to list; may be given again [default: all of them].
    #[arg(long = "type", value_name = "TYPE", env = "VFETCH_TYPE", value_delimiter = ',')]
    types: Vec<TypeArg>,
    /// Do it again each time so much time has passed, until a signal comes.
    #[arg(long, value_name = "INTERVAL", env = "VFETCH_WATCH", value_parser = interval, conflicts_with = "dry_run")]
    watch: Option<Duration>,
    /// Read the listing to its end.
    #[arg(long, env = "VFETCH_FULL")]
    full: bool,
    /// Print what would be fetched, one reference a line, and change nothing.
    #[arg(short = 'n', long, env = "VFETCH_DRY_RUN")]
    dry_run: bool,
    /// Do not ask again for jobs that are recorded as failed or gone.
    #[arg(long, env = "VFETCH_SKIP_GONE")]
    skip_gone: bool,
    /// Write the references of jobs that did not end complete to this file; get -i takes it. A run without such jobs
    /// leaves no file, and takes an old one away. With --watch each job stands
    /// there once, if it was not complete when it was last looked at.
    #[arg(long, value_name = "FILE", env = "VFETCH_FAILED", conflicts_with = "dry_run")]
    failed: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    show: OutputArgs,
}

/// What the account lists apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypeArg {
    /// Videos and animations.
    Video,
    /// Images.
    Image,
    /// Voices, music and other sound.
    Voice,
    /// Models in three dimensions.
    #[value(name = "3d")]
    ThreeD,
}

impl TypeArg {
    fn asset_type(self) -> AssetType {
        match self {
            Self::Video => AssetType::Video,
            Self::Image => AssetType::Image,
            Self::Voice => AssetType::Voice,
            Self::ThreeD => AssetType::ThreeD,
        }
    }
}

/// A listing is asked for no more often than this, however short the interval.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Rounds of many watchers do not come in step: the interval varies by a tenth.
const JITTER: f64 = 0.1;

fn interval(text: &str) -> Result<Duration, String> {
    let interval = values::duration(text)?;
    if interval < LEAST_INTERVAL { Err("the shortest interval is 1s".into()) } else { Ok(interval) }
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: SyncArgs) -> Result<u8, CliError> {
    let defaults = args.account.defaults()?;
    let selection = args.selection(&defaults)?;
    failed::check(args.failed.as_deref(), &args.output, [])?;
    let (api, http) = args.account.clients(&defaults, &args.transfer)?;
    if args.dry_run {
        return preview(&args, Names::beside(&defaults), &api, &selection).await;
    }
    let store = args.transfer.open_store(&args.output)?;
    let names = Names::beside(&defaults);
    let settings = args.show.settings(&args.output, api.redactor().clone(), args.failed.clone(), names);
    let looks = if args.watch.is_some() { report::Looks::Rounds } else { report::Looks::Once };
    let console = report::start(report::Settings { looks, ..settings })?;
    let session = Arc::new(Session::new(api, http, store, args.options(), console.clone())?);
    let caught = signals::watch(session.stop_token())?;
    let stop = rounds(&args, &session, &selection, &console).await;
    let retry_command = get::retry_command(&args.output, &args.account, &defaults);
    let how =
        report::Finish { stop: stop.as_ref(), signal: caught.number(), retry_command: Some(&retry_command) };
    let summary = console.finish(&how);
    Ok(caught.exit_code().unwrap_or_else(|| summary.exit_code()))
}

/// One round, or as many as come before a signal.
async fn rounds(
    args: &SyncArgs,
    session: &Arc<Session>,
    selection: &Selection,
    console: &report::Console,
) -> Option<Stop> {
    let token = session.stop_token();
    loop {
        let stop = sync::sync(session, selection).await.stop;
        let Some(interval) = args.watch.filter(|_| !token.is_cancelled()) else { return stop };
        let wait = interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        match stop {
            None => {}
            // What may pass by the next round does not end the watch.
            Some(Stop::Listing(failure)) => {
                let text = format!(
                    "the account's listing cannot be read: {failure}; tried again in {} s",
                    wait.as_secs()
                );
                console.event(&Event::Warning { job: None, text: &text });
            }
            Some(stop @ (Stop::Account(_) | Stop::Local(_))) => return Some(stop),
        }
        tokio::select! {
            () = token.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Prints what would be fetched.
async fn preview(
    args: &SyncArgs,
    names: Names,
    api: &vfetch::net::Api,
    selection: &Selection,
) -> Result<u8, CliError> {
    let store = args.transfer.open_if_there(&args.output)?;
    let stop = CancellationToken::new();
    let caught = signals::watch(stop.clone())?;
    let (mut out, mut failed) = (io::stdout().lock(), None);
    let account =
        Account { store: store.as_ref(), api, retries: args.transfer.retries, stop: &stop, report: &|_| {} };
    let mut settled = 0;
    let tell = |assets, asked: &Asked| {
        if args.skip_gone && store.as_ref().is_some_and(|store| is_settled(store, &asked.job)) {
            settled += 1;
            return;
        }
        let line = if args.show.json { row(assets, asked) } else { names.reference(&asked.job) };
        if let Err(error) = writeln!(out, "{}", api.redactor().text(&line)) {
            stop.cancel();
            failed.get_or_insert(error);
        }
    };
    let synced = account.preview(selection, tell).await;
    let closed = look::ended(failed.map_or(Ok(()), Err))?;
    match synced.stop {
        _ if closed.is_some() => {}
        Some(Stop::Account(failure) | Stop::Listing(failure)) => return Err(CliError::of_listing(&failure)),
        Some(Stop::Local(error)) => return Err(error.into()),
        None if args.show.quiet => {}
        None => {
            let told = get::Told { asked: synced.given - settled, passed: synced.whole + settled, failed: 0 };
            let stopped = if stop.is_cancelled() { "stopped: " } else { "" };
            // Where nobody reads stderr there is nobody to tell.
            let _ = writeln!(io::stderr(), "{stopped}{told}");
        }
    }
    Ok(caught.exit_code().or(closed).unwrap_or(0))
}

/// Whether the archive says that there is nothing to ask for any more. What it does not say is found out by the run.
fn is_settled(store: &Store, job: &JobRef) -> bool {
    matches!(store.look(job), Ok(Found::Record(record, _)) if matches!(record.state, State::Gone | State::Failed))
}

/// A listed job as a JSON line that `get -i` takes.
fn row(assets: AssetType, asked: &Asked) -> String {
    let links: Vec<Option<String>> =
        asked.listed.iter().map(|link| link.as_ref().map(without_secrets)).collect();
    json!({
        "id": asked.job.id.as_str(), "fetch_result": asked.job.fetch_url(), "type": assets.word(),
        "family": asked.job.family.name(), "output": links,
    })
    .to_string()
}

impl SyncArgs {
    fn selection(&self, defaults: &Defaults) -> Result<Selection, CliError> {
        let types = types(&self.types, &self.account, defaults)?;
        Ok(Selection { origin: defaults.origin.clone(), types, full: self.full })
    }

    fn options(&self) -> Options {
        Options { skip_gone: self.skip_gone, ..self.transfer.options() }
    }
}

/// The types to list, each with the family of its ids.
pub(crate) fn types(
    named: &[TypeArg],
    account: &AccountArgs,
    defaults: &Defaults,
) -> Result<Vec<(AssetType, Family)>, CliError> {
    let chosen = account.family.is_some() || defaults.family.name() != DEFAULT_FAMILY;
    let family = chosen.then_some(&defaults.family);
    let mut types: Vec<AssetType> = named.iter().map(|name| name.asset_type()).collect();
    if types.is_empty() {
        types.extend(AssetType::ALL);
    }
    types.sort_unstable();
    types.dedup();
    let with_family = |assets: AssetType| Ok((assets, assets.family(family)?));
    types
        .into_iter()
        .map(with_family)
        .collect::<Result<_, JobError>>()
        .map_err(|error| CliError::usage(error.to_string()))
}
