//! `vfetch list`: the jobs of an archive, by what people know them by.

use std::io::IsTerminal as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use vfetch::engine::survey::{self, Look};
use vfetch::job::Family;
use vfetch::manifest::{State, seconds_of};
use vfetch::query::{Facts, Query};
use vfetch::text::quoted;
use vfetch::view::table::{Row, Table, counted};

use super::error::CliError;
use super::look::{self, ArchiveArg, Desk, ShowArgs};
use super::names::Names;

/// A terminal whose width cannot be told.
const USUAL_WIDTH: usize = 100;

/// Shown under the command's help.
const EXAMPLES: &str = "\
On a terminal a table that fits it; elsewhere whole fields between tabs, without a head: job, state, files, size, \
date, model, seed, prompt. Jobs come in natural order.

Examples:
  vfetch list out                                all jobs
  vfetch list out --prompt 'red fox'             both words stand in the prompt
  vfetch list out --model sdxl --seed 42         by what made it
  vfetch list out --state pending,partial        what is not home yet
  vfetch list out --since 7d --family realtime   of the last week, one family
  vfetch list out --state failed | cut -f1 | vfetch get -i - -o out";

/// List the jobs of an archive by prompt, model, seed, family, state and date.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// These words all stand in the prompt, in any order and letter case.
    #[arg(short = 'p', long, value_name = "WORDS", env = "VFETCH_PROMPT")]
    prompt: Vec<String>,
    /// This stands in the model's name.
    #[arg(short, long, value_name = "MODEL", env = "VFETCH_MODEL")]
    model: Option<String>,
    /// Made from this seed.
    #[arg(short, long, value_name = "SEED", env = "VFETCH_SEED")]
    seed: Option<String>,
    /// Of these families: realtime, v7/images, …
    #[arg(short, long, value_name = "NAME", value_delimiter = ',', value_parser = family)]
    family: Vec<String>,
    /// In these states.
    #[arg(long, value_name = "STATE", env = "VFETCH_STATE", value_delimiter = ',', value_enum)]
    state: Vec<StateArg>,
    /// First recorded then or later: 2026-01-31, 2026-01-31T12:00:00Z, or so long ago (7d, 12h).
    #[arg(long, value_name = "WHEN", env = "VFETCH_SINCE", value_parser = moment)]
    since: Option<u64>,
    /// First recorded before then.
    #[arg(long, value_name = "WHEN", env = "VFETCH_UNTIL", value_parser = moment)]
    until: Option<u64>,
    #[command(flatten)]
    show: ShowArgs,
}

/// A state, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StateArg {
    /// The service was still working when it was last asked.
    Pending,
    /// Every output is here.
    Complete,
    /// Some outputs are here.
    Partial,
    /// The job failed, or none of its outputs could be fetched.
    Failed,
    /// No source has the outputs any more.
    Gone,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Complete => Self::Complete,
            StateArg::Partial => Self::Partial,
            StateArg::Failed => Self::Failed,
            StateArg::Gone => Self::Gone,
        }
    }
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: ListArgs) -> Result<u8, CliError> {
    let store = args.archive.open()?;
    let query = args.query();
    let archive = args.archive.archive;
    let (json, names) = (args.show.json, Names::here());
    let width = (!json).then(terminal_width).flatten();
    let work = move |desk: &Desk| {
        let mut out = desk.out();
        let mut table = None;
        let mut unreadable = 0;
        let make = |look| match look {
            Look::Nothing => None,
            Look::Unreadable(_) => Some(None),
            Look::Job(job, manifest) => {
                let facts = Facts::of(&manifest);
                let row = |facts| Row { job: names.reference(&job), ..Row::of(&job, &manifest, facts) };
                query.takes(&manifest, &facts).then(|| Some(row(facts)))
            }
        };
        survey::in_order(&store, &desk.stop, &desk.progress, make, |rows| {
            unreadable += rows.iter().filter(|row| row.is_none()).count() as u64;
            let rows: Vec<Row> = rows.into_iter().flatten().collect();
            match width {
                _ if rows.is_empty() => {}
                _ if json => out.lines(rows.iter().filter_map(|row| serde_json::to_string(row).ok())),
                None => out.lines(rows.iter().map(Row::tabbed)),
                Some(width) => {
                    let is_first = table.is_none();
                    let table = table.get_or_insert_with(|| Table::new(width, &rows));
                    let head = is_first.then(|| table.head());
                    out.lines(head.into_iter().chain(rows.iter().map(|row| table.row(row))));
                }
            }
            !out.is_closed()
        })?;
        if unreadable > 0 {
            desk.say(format_args!(
                "left out: {} that cannot be used; vfetch verify {} says why",
                counted(unreadable, "record"),
                quoted(&archive)
            ));
        }
        out.end()
    };
    let (closed, caught) = look::watched(&args.show.without_bar(), "reading", work).await?;
    Ok(caught.exit_code().or(closed?).unwrap_or(0))
}

impl ListArgs {
    fn query(&self) -> Query {
        let words = self.prompt.iter().flat_map(|words| words.split_whitespace());
        Query {
            words: words.map(str::to_owned).collect(),
            model: self.model.clone(),
            seed: self.seed.clone(),
            families: self.family.clone(),
            states: self.state.iter().copied().map(State::from).collect(),
            since: self.since,
            until: self.until,
        }
    }
}

/// The width of the terminal that results go to; `None` where they go elsewhere.
fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { USUAL_WIDTH } else { columns })
}

fn family(text: &str) -> Result<String, String> {
    Family::named(text).map(|family| family.name().to_owned()).map_err(|error| error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "so long ago is told from now")]
fn moment(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(ago) = humantime::parse_duration(text) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(now.saturating_sub(ago).as_secs());
    }
    let date = if text.len() == "2026-01-31".len() { format!("{text}T00:00:00Z") } else { text.into() };
    seconds_of(&date).ok_or_else(|| {
        "write a date (2026-01-31), a moment in UTC (2026-01-31T12:00:00Z), or how long ago (7d, 12h)".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_or_so_long_ago() {
        assert_eq!(moment("1970-01-02"), Ok(86_400));
        assert_eq!(moment("1970-01-02T00:00:01Z"), Ok(86_401));
        assert!(
            moment("1h")
                .is_ok_and(|hour| moment("2h").is_ok_and(|two| (3_599..=3_601).contains(&(hour - two))))
        );
        assert!(["", "soon", "1970-13-01", "02.01.1970", "7"].iter().all(|bad| moment(bad).is_err()));
    }
}
