//! `vfetch get`: waits for jobs and brings their files home.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args as _, FromArgMatches as _};
use serde_json::json;
use vfetch::engine::archive::{self, BadRef};
use vfetch::engine::preview::{self, Foreseen};
use vfetch::engine::{Options, Session};
use vfetch::job::{Asked, DEFAULT_FAMILY, DEFAULT_ORIGIN, Defaults, without_secrets};
use vfetch::manifest::State;
use vfetch::text::{Redactor, Untrusted, quoted};
use vfetch::view::table::{counted, number};

use super::args::{AccountArgs, OutputArgs, TransferArgs};
use super::error::CliError;
use super::look::{self, Desk};
use super::names::{self, Names};
use super::refs::{Ref, RefArgs};
use super::{failed, report, signals};

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch get 147 -o ./out                       one job: wait for it, fetch it, prove it
  vfetch get realtime/98 submit.json -o ./out   another family; a saved answer
  vfetch get -i ids.txt -o ./out                a list of any length; rerun it at will
  jq -r .id log.jsonl | vfetch get -i - -o out  ids from another program
  vfetch get -i ids.txt -o out --dry-run        what is not home yet; no key is needed
  vfetch get -i ids.txt -o out > SHA256SUMS     and later: sha256sum -c SHA256SUMS
  vfetch get -i ids.txt -o s3://bucket/clips    a bucket; AWS_ACCESS_KEY_ID and the like";

/// Wait for jobs and bring their files home.
///
/// Each job is asked for until it is done; each output is fetched from its link, else from its proxy link, else from
/// fresh links; every file is hashed on the way, proven whole, and recorded in the job's manifest.json. Jobs that are
/// here already are passed over, so the same command can be run again at will.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that may be given by itself")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    refs: RefArgs,
    /// The archive: a folder, made where it is not there, or the address of a bucket and a prefix in it.
    #[arg(short, long, value_name = "ARCHIVE", env = "VFETCH_OUTPUT")]
    output: PathBuf,
    /// Hash the files of complete jobs too, instead of looking at their sizes.
    #[arg(long, env = "VFETCH_CHECK")]
    check: bool,
    /// Fetch complete jobs again; what differs is kept under another name until the record names it.
    #[arg(long, env = "VFETCH_FORCE", conflicts_with = "skip_gone")]
    force: bool,
    /// Do not ask again for jobs that are recorded as failed or gone.
    #[arg(long, env = "VFETCH_SKIP_GONE")]
    skip_gone: bool,
    /// Print what would be asked for, one reference a line; ask nobody and change nothing.
    #[arg(short = 'n', long, env = "VFETCH_DRY_RUN")]
    dry_run: bool,
    /// Write the references of jobs that did not end complete to this file; get -i takes it. A run without such jobs
    /// leaves no file, and takes an old one away. It may be the file
    /// that -i names: a run that is stopped, or that passes over lines which name no job, leaves that as it was.
    #[arg(long, value_name = "FILE", env = "VFETCH_FAILED", conflicts_with = "dry_run")]
    failed: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    show: OutputArgs,
    #[arg(skip)]
    results: report::Results,
    /// Whether the API is gone with the run, so that nothing can be tried again.
    #[arg(skip)]
    only_once: bool,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: GetArgs) -> Result<u8, CliError> {
    if args.refs.is_empty() {
        return Err(CliError::usage("no job was named")
            .hint("name one (vfetch get 147 -o out) or a list (-i ids.txt)"));
    }
    if args.refs.reads_stdin() && args.account.key.is_stdin() {
        return Err(CliError::usage("the key and the list cannot both be on standard input"));
    }
    let defaults = args.account.defaults()?;
    failed::check(args.failed.as_deref(), &args.output, args.refs.files())?;
    let refs = args.refs.open(&defaults)?;
    if args.dry_run {
        return preview(args, Names::beside(&defaults), refs).await;
    }
    let (api, http) = args.account.clients(&defaults, &args.transfer)?;
    let store = args.transfer.open_store(&args.output)?;
    let console = report::start(args.settings(api.redactor().clone(), Names::beside(&defaults)))?;
    let session = Arc::new(Session::new(api, http, store, args.options(), console.clone())?);
    let caught = signals::watch(session.stop_token())?;
    let stop = archive::archive(&session, refs).await;
    let retry_command = (!args.only_once).then(|| retry_command(&args.output, &args.account, &defaults));
    let how = report::Finish {
        stop: stop.as_ref(),
        signal: caught.number(),
        retry_command: retry_command.as_deref(),
    };
    let summary = console.finish(&how);
    Ok(caught.exit_code().unwrap_or_else(|| summary.exit_code()))
}

/// Prints what would be asked for.
async fn preview(
    args: GetArgs,
    names: Names,
    refs: impl Iterator<Item = Ref> + Send + 'static,
) -> Result<u8, CliError> {
    let (show, options) = (args.show.for_a_look(), args.options());
    let store = args.transfer.open_if_there(&args.output)?;
    let work = move |desk: &Desk| -> Result<u8, CliError> {
        let (mut out, mut told) = (desk.out(), Told::default());
        let mut seen = HashSet::new();
        let looked =
            preview::preview(store.as_ref(), &options, refs, &desk.stop, &desk.progress, |foreseen| {
                match foreseen {
                    Foreseen::Passed(_) => told.passed += 1,
                    // A run asks for each job once.
                    Foreseen::Asked(asked, _) if !seen.insert(asked.job.clone()) => {}
                    Foreseen::Asked(asked, state) => {
                        told.asked += 1;
                        let line =
                            if args.show.json { row(&asked, state) } else { names.reference(&asked.job) };
                        out.line(format_args!("{line}"));
                    }
                    Foreseen::Failed(asked, error) => told.fail(desk, &asked.job, &error),
                    Foreseen::Refused(BadRef { place, why }) => told.fail(desk, &place, &why),
                }
            });
        desk.done();
        if !args.show.quiet && !out.is_closed() {
            desk.say(format_args!("{}{told}", if desk.stop.is_cancelled() { "stopped: " } else { "" }));
        }
        let closed = out.end()?;
        looked?;
        Ok(closed.unwrap_or(u8::from(told.failed > 0)))
    };
    let (code, caught) = look::watched(&show, "looking", work).await?;
    Ok(caught.exit_code().unwrap_or(code?))
}

/// How many references a preview has told of.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) asked: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Told {
    fn fail(&mut self, desk: &Desk, what: &dyn fmt::Display, why: &dyn fmt::Display) {
        self.failed += 1;
        desk.say(format_args!("{what}: {}", Untrusted(&why.to_string())));
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, passed, failed } = *self;
        write!(f, "{} would be asked for, {} passed over", counted(asked, "job"), number(passed))?;
        if failed > 0 { write!(f, ", {} would fail", number(failed)) } else { Ok(()) }
    }
}

/// A job that would be asked for, as a JSON line that `get -i` takes.
fn row(asked: &Asked, state: Option<State>) -> String {
    let links: Vec<Option<String>> =
        asked.listed.iter().map(|link| link.as_ref().map(without_secrets)).collect();
    json!({
        "id": asked.job.id.as_str(), "fetch_result": asked.job.fetch_url(), "family": asked.job.family.name(),
        "state": state.map(State::word), "output": links,
    })
    .to_string()
}

impl GetArgs {
    /// The arguments that these words are, as if they had been typed where no environment sets anything.
    pub(crate) fn of(words: &[OsString]) -> Result<Self, CliError> {
        let command = clap::Command::new("get").no_binary_name(true);
        let command = Self::augment_args(command).mut_args(|arg| arg.env(None::<&'static str>));
        let parsed = command.try_get_matches_from(words);
        parsed
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| CliError::usage(error.to_string()))
    }

    /// The same, without the lines on standard output.
    pub(crate) fn without_results(self) -> Self {
        Self { results: report::Results::None, ..self }
    }

    /// The same, with an API on this machine that is gone when the run is over: no proxy leads there, and nothing is said
    /// of trying again.
    pub(crate) fn only_once(mut self) -> Self {
        self.account.without_proxies = true;
        Self { only_once: true, ..self }
    }

    fn options(&self) -> Options {
        Options { check: self.check, force: self.force, skip_gone: self.skip_gone, ..self.transfer.options() }
    }

    fn settings(&self, redactor: Redactor, names: Names) -> report::Settings {
        let settings = self.show.settings(&self.output, redactor, self.failed.clone(), names);
        let lists = self.refs.input.iter().map(PathBuf::as_path);
        let failed_is_read = failed::is_read(self.failed.as_deref(), lists);
        report::Settings { results: self.results, failed_is_read, ..settings }
    }
}

/// The command that tries jobs again, without their references. Those that the console names stand for themselves only
/// where bare ids belong to the default family.
pub(crate) fn retry_command(output: &Path, account: &AccountArgs, defaults: &Defaults) -> String {
    let mut words = vec![format!("vfetch get -o {}", quoted(&output.display().to_string()))];
    let environment = names::environment();
    // What the environment says is said again, or against it.
    let mut both = [Some(defaults), environment.as_ref()].into_iter().flatten();
    if both.clone().any(|defaults| defaults.origin.as_str() != DEFAULT_ORIGIN) {
        words.push(format!("--base-url {}", defaults.origin));
    }
    if !both.all(names::has_built_in_family) {
        words.push(format!("--family {DEFAULT_FAMILY}"));
    }
    let options = account
        .key
        .options()
        .into_iter()
        .chain(account.ca_cert.iter().map(|file| ("--ca-cert", file.display().to_string())));
    words.extend(options.map(|(option, value)| format!("{option} {}", quoted(&value))));
    if account.allow_private_hosts {
        words.push("--allow-private-hosts".into());
    }
    if account.allow_http {
        words.push("--allow-http".into());
    }
    words.join(" ")
}
