//! `vfetch repair`: puts right what verify finds.

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vfetch::engine::Session;
use vfetch::engine::repair::{self, Tools};
use vfetch::engine::verify::VerifyOptions;
use vfetch::event::{Event, Reporter};
use vfetch::mend::{Mended, Outcome, Repair};
use vfetch::store::{Open, Store};
use vfetch::text::Untrusted;
use vfetch::verdict::Share;
use vfetch::view::table::{counted, number};

use super::args::{AccountArgs, TransferArgs};
use super::error::CliError;
use super::look::{ArchiveArg, Desk, Out, ShowArgs};
use super::{signals, verify};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Where the right bytes are looked for, in this order: another file of the archive with the same digest; the archive \
that --from names; the job's own sources. The first two need no key. A bad file is moved to .vfetch/quarantine right \
before proven bytes take its place, and is never deleted; so are files that no record names.

Exit code 0: all is right now; 1: something is gone or has no source; 4: try again later.

Examples:
  vfetch repair out                     from what is here and from the jobs' own sources
  vfetch repair out --from /mnt/backup  from another archive too
  vfetch repair out --offline --from b  without asking the API
  vfetch repair out --subset 3/7        one seventh of the jobs, the same as verify --subset 3/7";

/// Put right what verify finds, and nothing else.
///
/// Verifies the archive first. What is whole is not touched; what cannot be healed because every source says that it is
/// gone is recorded as missing, and its digest is remembered.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// Another archive that may have the right bytes.
    #[arg(long, value_name = "ARCHIVE", env = "VFETCH_FROM")]
    from: Option<String>,
    /// Ask nobody: use what is here and in the archive that --from names.
    #[arg(long, env = "VFETCH_OFFLINE")]
    offline: bool,
    /// Look at presence and size only; damage that keeps a file's length is not seen.
    #[arg(long, env = "VFETCH_QUICK")]
    quick: bool,
    /// Repair one of so many parts: the same jobs each time, all jobs over all parts.
    #[arg(long, value_name = "N/T", env = "VFETCH_SUBSET", value_parser = verify::subset)]
    subset: Option<Share>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: RepairArgs) -> Result<u8, CliError> {
    let store = args.transfer.open_existing(&args.archive.archive)?;
    let from = args.from.as_ref().map(|from| Store::open(from, Open::Existing, true)).transpose()?;
    let session = args.session(&store)?;
    let stop = session.as_ref().map_or_else(CancellationToken::new, |session| session.stop_token());
    let caught = signals::watch(stop.clone())?;
    let without_api = session.is_none();
    let options =
        VerifyOptions { quick: args.quick, share: args.subset.unwrap_or_default(), report_whole: false };
    let desk = Desk::new(&args.show, "repairing", stop);
    let mut out = desk.out();
    let json = args.show.json;
    let tools = Tools { from, session, jobs: args.transfer.options().transfers };
    let repair = repair::repair(&store, tools, &options, &desk.stop, &desk.progress, |mended| {
        show(&mut out, json, &mended);
    });
    let repair = repair.await?;
    conclude(&desk, &mut out, &args, &repair, without_api);
    let closed = out.end()?;
    Ok(caught.exit_code().or(closed).unwrap_or_else(|| repair.exit_code()))
}

impl RepairArgs {
    /// What asks the API; `None` where nobody is to be asked, or where there is no key to ask with.
    fn session(&self, store: &Store) -> Result<Option<Arc<Session>>, CliError> {
        if self.offline || !self.account.key.is_given() {
            return Ok(None);
        }
        let defaults = self.account.defaults()?;
        let (api, http) = self.account.clients(&defaults, &self.transfer)?;
        let session = Session::new(api, http, store.clone(), self.transfer.options(), Arc::new(Silent))?;
        Ok(Some(Arc::new(session)))
    }
}

/// What became of each fault is shown, not what the jobs do meanwhile.
struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

fn show(out: &mut Out<'_>, json: bool, mended: &Mended) {
    let (word, more) = match &mended.outcome {
        Outcome::Healed { from } => ("healed", format!("from {from}")),
        Outcome::PutAside => ("put aside", "into .vfetch/quarantine".into()),
        Outcome::Gone { why } => ("gone", why.clone()),
        Outcome::Left { why } => ("left", why.words().into()),
    };
    let place = &mended.place;
    if json {
        let line = json!({"event": "file", "outcome": word.replace(' ', "_"), "path": place, "why": more});
        out.line(format_args!("{line}"));
    } else {
        out.line(format_args!("{word} {}: {}", Untrusted(place), Untrusted(&more)));
    }
}

fn conclude(desk: &Desk, out: &mut Out<'_>, args: &RepairArgs, repair: &Repair, without_api: bool) {
    desk.done();
    let stopped = desk.stop.is_cancelled();
    let left = repair.no_source + repair.later + repair.refused + repair.local;
    if args.show.json {
        let line = json!({"event": "summary", "healed": repair.healed, "put_aside": repair.put_aside,
            "gone": repair.gone, "left": left, "stopped": stopped});
        out.line(format_args!("{line}"));
        return;
    }
    if args.show.quiet {
        return;
    }
    let mut text = format!("{} looked at: {} healed", counted(repair.jobs, "job"), number(repair.healed));
    let as_before = if left == 1 { "left as it is" } else { "left as they are" };
    for (count, word) in [(repair.put_aside, "put aside"), (repair.gone, "gone"), (left, as_before)] {
        if count > 0 {
            text.extend([", ", &number(count), " ", word]);
        }
    }
    desk.say(format_args!("{}{text}", if stopped { "stopped: " } else { "" }));
    if repair.no_source > 0 && without_api && !args.offline {
        desk.say(format_args!(
            "  no API key was given, so the jobs' own sources were not asked: set MODELSLAB_API_KEY"
        ));
    }
}
