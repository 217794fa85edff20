//! The command line: what users type, and what they see.
//!
//! Each command is a module with its arguments and one `run`; what several commands share is in [`args`], [`key`],
//! [`refs`] and [`report`]. Everything here uses the library as any other program would.

mod args;
mod audit;
mod demo;
mod error;
mod export;
mod failed;
mod get;
mod key;
mod list;
mod look;
mod mock;
mod names;
mod refs;
mod repair;
mod report;
mod resume;
mod signals;
mod status;
mod sync;
mod values;
mod verify;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, TypedValueParser as _};
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use error::CliError;

/// Shown under the general help.
const AFTER_HELP: &str = "\
Exit codes:
  0  all done                    4  try again: a wait or a budget was over
  1  incomplete, for good        5  this machine failed: disk, permission, limit
  2  usage                       6  verify found damage
  3  the account was refused     7  another vfetch is writing here: archive or list
  128+n  ended by signal n       Several at once: 3, then 5, then 1, then 4.

The key is read from MODELSLAB_API_KEY, --key-file or --key-command, never from an argument.
Options can be set in the environment too: --max-per-host as VFETCH_MAX_PER_HOST, --base-url as
MODELSLAB_BASE_URL; all but list --family and demo -o.";

/// Brings home what AI video jobs produce, before it expires, and can prove it.
#[derive(Parser)]
#[command(name = "vfetch", version, about, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// What each does is said by its arguments, at length: a comment here would take the place of that.
#[derive(Subcommand)]
enum Command {
    Get(Box<get::GetArgs>),
    Sync(Box<sync::SyncArgs>),
    Resume(Box<resume::ResumeArgs>),
    Status(status::StatusArgs),
    List(list::ListArgs),
    Verify(verify::VerifyArgs),
    Audit(Box<audit::AuditArgs>),
    Repair(Box<repair::RepairArgs>),
    Export(export::ExportArgs),
    Demo(demo::DemoArgs),
    Mock(mock::MockArgs),
}

impl Command {
    async fn run(self) -> Result<u8, CliError> {
        match self {
            Self::Get(args) => get::run(*args).await,
            Self::Sync(args) => sync::run(*args).await,
            Self::Resume(args) => resume::run(*args).await,
            Self::Status(args) => status::run(args).await,
            Self::List(args) => list::run(args).await,
            Self::Verify(args) => verify::run(args).await,
            Self::Audit(args) => audit::run(*args).await,
            Self::Repair(args) => repair::run(*args).await,
            Self::Export(args) => export::run(args).await,
            Self::Demo(args) => demo::run(args).await,
            Self::Mock(args) => mock::run(args).await,
        }
    }
}

/// Options can be set in the environment; help says so once, and not at each of them.
fn parse() -> Result<Command, clap::Error> {
    let with_env = |command: clap::Command| command.mut_args(|arg| flag(arg).hide_env(true));
    let matches = without_overruled(Cli::command().mut_subcommands(with_env)).try_get_matches()?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// Switches that keep a run from doing something: what is typed beside one of them is no word against it.
const HOLD_BACK: [&str; 2] = ["dry_run", "offline"];

/// The same command line without what is set in the environment and conflicts with what was typed: who types means it.
fn without_overruled(command: clap::Command) -> clap::Command {
    let alone = |arg: clap::Arg| arg.env(None::<&'static str>).required(false);
    let typed = command.clone().mut_subcommands(|command| command.mut_args(alone)).try_get_matches();
    // What is wrong by itself is told with all that is set.
    let Ok(typed) = typed else { return command };
    let Some((name, typed)) = typed.subcommand() else { return command };
    let Some(chosen) = command.find_subcommand(name) else { return command };
    let is_typed =
        |arg: &clap::Arg| typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excludes = |one: &clap::Arg, other: &clap::Arg| {
        chosen.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    let is_overruled = |arg: &&clap::Arg| {
        let mut others = chosen.get_arguments().filter(|other| is_typed(other));
        let may_go = !is_typed(arg) && !HOLD_BACK.contains(&arg.get_id().as_str());
        may_go && others.any(|other| excludes(arg, other) || excludes(other, arg))
    };
    let overruled: Vec<clap::Id> =
        chosen.get_arguments().filter(is_overruled).map(|arg| arg.get_id().clone()).collect();
    let without = |arg: clap::Arg| {
        if overruled.contains(arg.get_id()) { arg.env(None::<&'static str>) } else { arg }
    };
    let name = name.to_owned();
    command.mut_subcommand(name, |command| command.mut_args(without))
}

/// A flag is switched in the environment by any of the usual words (`1`, `yes`, `on`, …; `0`, `no`, `off`, …). One that is
/// switched off there counts as absent, so that it is in no other option's way.
#[expect(clippy::disallowed_methods, reason = "what the command line is about to parse")]
fn flag(arg: clap::Arg) -> clap::Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let is_on = |word: OsString| BoolishValueParser::new().parse_ref(&Cli::command(), None, &word);
    let is_off =
        arg.get_env().and_then(std::env::var_os).is_some_and(|word| matches!(is_on(word), Ok(false)));
    let arg = if is_off { arg.env(None::<&'static str>) } else { arg };
    arg.value_parser(BoolishValueParser::new())
}

/// Writes to standard output; where nobody reads it there is nobody to tell.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(error) => return explain(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::local(format!("starting threads: {error}")).report(&key::redactor()),
    };
    let code = match runtime.block_on(command.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => error.report(&key::redactor()),
    };
    // Reads of a terminal and syncs of a slow disk are not waited for: what counts is committed by now.
    runtime.shutdown_background();
    code
}

/// Says what is wrong with the arguments, or what they asked to be told.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Where the text cannot be written there is nobody to read about it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    match key::redactor().text(&text) {
        Cow::Borrowed(_) => drop(error.print()),
        Cow::Owned(clean) => drop(io::stderr().write_all(clean.as_bytes())),
    }
    ExitCode::from(error::USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    #[test]
    fn every_option_but_two_can_be_set_in_the_environment() {
        // What is set for other commands must not narrow a list, nor put a demonstration into somebody's archive.
        let exempt = ["list --family", "demo --output"];
        let options = |command: &'static clap::Command| {
            command
                .get_opts()
                .filter(|option| option.get_env().is_none())
                .filter_map(|option| option.get_long())
        };
        let commands: &'static clap::Command = Box::leak(Box::new(Cli::command()));
        let without: Vec<_> = commands
            .get_subcommands()
            .flat_map(|command| options(command).map(move |name| format!("{} --{name}", command.get_name())))
            .filter(|option| !exempt.contains(&option.as_str()))
            .collect();
        assert_eq!(without, [""; 0]);
    }

    #[test]
    fn options_of_which_one_would_drop_the_other_are_refused_together() {
        let table = [
            "export --format csv --json",
            "get 1 -o out --force --skip-gone",
            "get 1 -o out --dry-run --failed list",
            "get 1 -o out --quiet --verbose",
            "sync -o out --dry-run --failed list",
            "sync -o out --dry-run --watch 5m",
            "audit --offline --type video",
            "verify --subset 1/7 --sample 5%",
            "get 1 -o out --key-file key --key-command pass",
        ];
        for words in table {
            let parsed = Cli::command().try_get_matches_from(["vfetch"].into_iter().chain(words.split(' ')));
            assert_eq!(parsed.err().map(|error| error.kind()), Some(ErrorKind::ArgumentConflict), "{words}");
        }
        assert!(Cli::command().try_get_matches_from(["vfetch", "export", "--json"]).is_ok());
    }
}
