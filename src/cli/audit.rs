//! `vfetch audit`: whether every job that anybody knows of is home.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use vfetch::closure::{Closure, Judged, Lack};
use vfetch::engine::{audit, unix_seconds};
use vfetch::event::Summary;
use vfetch::job::{Defaults, Family, Origin};
use vfetch::lifetime::Lifetimes;
use vfetch::listing::AssetType;
use vfetch::net::Api;
use vfetch::plan::DEFAULT_RETRIES;
use vfetch::retry::Failure;
use vfetch::store::Store;
use vfetch::text::Untrusted;
use vfetch::view::audit::sentence;
use vfetch::view::table::{counted, number};

use super::args::AccountArgs;
use super::error::CliError;
use super::look::{self, ArchiveArg, Desk, ShowArgs};
use super::names::Names;
use super::sync::{self, TypeArg};
use super::values;

/// Shown under the command's help.
const EXAMPLES: &str = "\
verify proves the bytes that are there; audit proves that none are lacking. It hears three kinds of witnesses: the \
archive's records with a look at each file, the account's listing where a key is given, and any texts: lists, saved \
answers, logs of submissions or webhooks. What is not home is printed on stdout, soonest to die first, as get -i takes it; \
how many jobs are known, and what the witnesses cannot show, is told on stderr.

Exit code 0: every known job is home and whole, or is known to have no outputs; 1: some are not; 3 or 4: the listing \
could not be read.

Examples:
  vfetch audit out                                   the archive and the account's listing
  vfetch audit out -i submits.log -i hooks.jsonl     and what these logs mention
  vfetch audit out --offline -i ids.txt              without asking anybody
  vfetch audit out -q | vfetch get -i - -o out       bring home what is not
  vfetch audit out --json | tail -n 1                the result for scripts";

/// Prove that every job that anybody knows of is home.
///
/// An id whose family nobody has named is taken for the job of that id, whatever its family; where no such job is in the
/// archive, it is expected in the family in which sync or get would ask for it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    archive: ArchiveArg,
    /// A list, a log, saved answers: any text that mentions jobs; - is standard input. May be given again.
    #[arg(short, long, value_name = "FILE", env = "VFETCH_INPUT")]
    input: Vec<PathBuf>,
    /// Do not read the account's listing.
    #[arg(long, env = "VFETCH_OFFLINE", conflicts_with = "types")]
    offline: bool,
    /// What to read of the listing; may be given again [default: all of it].
    #[arg(long = "type", value_name = "TYPE", env = "VFETCH_TYPE", value_delimiter = ',')]
    types: Vec<TypeArg>,
    /// Jobs that are recorded as gone are no news: they are not printed, and do not count against the archive.
    #[arg(long, env = "VFETCH_SKIP_GONE")]
    skip_gone: bool,
    /// Files die so long after their job is done [default: a day for enterprise families].
    #[arg(long, value_name = "DURATION", env = "VFETCH_DEADLINE", value_parser = values::duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command; its exit code.
pub(crate) async fn run(args: AuditArgs) -> Result<u8, CliError> {
    if args.input.iter().any(|path| path == Path::new("-")) && args.account.key.is_stdin() {
        return Err(CliError::usage("the key and a text cannot both be on standard input"));
    }
    let defaults = args.account.defaults()?;
    let store = args.archive.open()?;
    let texts = args.input.iter().map(|path| Text::open(path)).collect::<Result<Vec<_>, _>>()?;
    let asks = !args.offline && args.account.key.is_given();
    let types = if asks { sync::types(&args.types, &args.account, &defaults)? } else { Vec::new() };
    let api = if asks { Some(args.account.api(&defaults)?) } else { None };
    let show = args.show.clone();
    let handle = Handle::current();
    let work = move |desk: &Desk| {
        let mut hearing =
            Hearing { desk, defaults: &defaults, closure: Closure::default(), witnesses: Vec::new() };
        hearing.archive(&store, &args.archive.archive)?;
        match &api {
            Some(api) => handle.block_on(hearing.listing(api, &types)),
            None => hearing.note_no_listing(args.offline),
        }
        for text in texts {
            hearing.text(text);
        }
        conclude(hearing, &args)
    };
    let (code, caught) = look::watched(&show, "auditing", work).await?;
    Ok(caught.exit_code().unwrap_or(code?))
}

/// What a witness said, in words and for scripts.
struct Witness {
    words: String,
    fields: Value,
    failed: Option<Failed>,
}

/// Why a witness could not be heard to the end.
enum Failed {
    Listing(Failure),
    Reading,
    Elsewhere,
}

/// A text that is to be heard.
struct Text {
    name: String,
    input: Box<dyn BufRead + Send>,
}

impl Text {
    #[expect(clippy::disallowed_methods, reason = "a text of the user's, not of an archive")]
    fn open(path: &Path) -> Result<Self, CliError> {
        /// Read in steps of this size.
        const STEP: usize = 256 * 1024;
        if path == Path::new("-") {
            return Ok(Self { name: "standard input".into(), input: Box::new(BufReader::new(io::stdin())) });
        }
        let failed = |error| CliError::usage(format!("opening {}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(CliError::usage(format!("{} is a folder, not a text", path.display())));
        }
        Ok(Self { name: path.display().to_string(), input: Box::new(BufReader::with_capacity(STEP, file)) })
    }
}

struct Hearing<'a> {
    desk: &'a Desk,
    defaults: &'a Defaults,
    closure: Closure,
    witnesses: Vec<Witness>,
}

impl Hearing<'_> {
    fn archive(&mut self, store: &Store, name: &str) -> Result<(), CliError> {
        let (origin, desk) = (&self.defaults.origin, self.desk);
        let records = audit::hear_archive(store, origin, &mut self.closure, &desk.stop, &desk.progress)?;
        let mut words = format!("{}: {}", Untrusted(name), counted(records.jobs, "record"));
        if records.unreadable > 0 {
            words.extend([", ", &number(records.unreadable), " of them cannot be read (see vfetch verify)"]);
        }
        if records.elsewhere > 0 {
            words.extend([
                ", ",
                &number(records.elsewhere),
                " of them of another API than ",
                origin.as_str(),
            ]);
        }
        let fields = json!({"witness": "archive", "name": name, "jobs": records.jobs,
            "unreadable": records.unreadable, "elsewhere": records.elsewhere});
        self.witnesses.push(Witness { words, fields, failed: None });
        Ok(())
    }

    async fn listing(&mut self, api: &Api, types: &[(AssetType, Family)]) {
        for (assets, family) in types {
            let heard = audit::hear_listing(
                api,
                (*assets, family),
                DEFAULT_RETRIES,
                &mut self.closure,
                &self.desk.stop,
            );
            let (words, fields, failed) = match heard.await {
                Ok(counts) => {
                    let mut words =
                        format!("the listing of type {}: {}", assets.word(), counted(counts.jobs, "job"));
                    if counts.unreadable > 0 {
                        let rows = counted(counts.unreadable, "row");
                        words.extend([", and ", &rows, " that ", verb_of(counts.unreadable), " none"]);
                    }
                    let fields = json!({"witness": "listing", "name": assets.word(), "jobs": counts.jobs,
                        "unreadable": counts.unreadable});
                    (words, fields, None)
                }
                Err(failure) => {
                    let why = failure.to_string();
                    let words = format!(
                        "the listing of type {} could not be read: {}",
                        assets.word(),
                        Untrusted(&why)
                    );
                    let fields = json!({"witness": "listing", "name": assets.word(), "failed": why});
                    (words, fields, Some(Failed::Listing(failure)))
                }
            };
            self.witnesses.push(Witness { words, fields, failed });
        }
        self.witnesses.push(Witness {
            words: "a listing has no dates and no families, and shows only what the service has not removed"
                .into(),
            fields: json!({"witness": "listing", "cannot_show": ["dates", "families", "what was removed"]}),
            failed: None,
        });
    }

    fn note_no_listing(&mut self, offline: bool) {
        let why = if offline { "--offline" } else { "no key was given" };
        let words =
            format!("the account's listing was not read ({why}): jobs that only it knows are not counted");
        let fields = json!({"witness": "listing", "not_heard": why});
        self.witnesses.push(Witness { words, fields, failed: None });
    }

    fn text(&mut self, text: Text) {
        let Text { name, input } = text;
        let shown = Untrusted(&name).to_string();
        let witness = match audit::hear_text(input, self.defaults, &mut self.closure, &self.desk.stop) {
            Ok(heard) => {
                let mut words = format!(
                    "{shown}: {} of jobs in {}",
                    counted(heard.mentions, "mention"),
                    counted(heard.lines, "line")
                );
                if heard.silent > 0 {
                    words.extend([", ", &number(heard.silent), " of which ", verb_of(heard.silent), " none"]);
                }
                if heard.elsewhere > 0 {
                    words.extend([", and ", &counted(heard.elsewhere, "fetch URL"), " of other APIs"]);
                }
                let fields = json!({"witness": "text", "name": name, "mentions": heard.mentions, "lines": heard.lines,
                    "silent": heard.silent, "elsewhere": heard.elsewhere});
                Witness { words, fields, failed: (heard.elsewhere > 0).then_some(Failed::Elsewhere) }
            }
            Err(error) => Witness {
                words: format!("{shown} could not be read to its end: {error}"),
                fields: json!({"witness": "text", "name": name, "failed": error.to_string()}),
                failed: Some(Failed::Reading),
            },
        };
        self.witnesses.push(witness);
    }
}

/// What so many of them do: name a job, or none.
fn verb_of(count: u64) -> &'static str {
    if count == 1 { "names" } else { "name" }
}

/// Judges what was heard, and shows it; the exit code.
fn conclude(hearing: Hearing<'_>, args: &AuditArgs) -> Result<u8, CliError> {
    let Hearing { desk, defaults, closure, witnesses } = hearing;
    if desk.stop.is_cancelled() {
        if !args.show.quiet {
            desk.say(format_args!("stopped: not all witnesses were heard, so nothing is said of the jobs"));
        }
        return Ok(0);
    }
    let judged = closure.judge(&Lifetimes::new(args.deadline), unix_seconds());
    let origin = &defaults.origin;
    let code = exit_code(&judged, &witnesses, args.skip_gone);
    let mut out = desk.out();
    let gone = judged.gone_jobs(origin).filter(|_| !args.skip_gone);
    let json = args.show.json;
    let names = Names::beside(defaults);
    let shown = |lack| if json { line(&lack, names) } else { names.reference(&lack.job) };
    out.lines(judged.lacking(origin).chain(gone).map(shown));
    if json {
        out.line(format_args!("{}", summary(&judged, origin, &witnesses, code)));
    } else if !args.show.quiet {
        for witness in &witnesses {
            desk.say(format_args!("{}", witness.words));
        }
        notes(desk, &judged, origin);
        desk.say(format_args!("{}", conclusion(&judged, &witnesses)));
    } else if code != 0 && judged.at_risk() == 0 && (judged.gone == 0 || args.skip_gone) {
        // Nothing else would say why this is no success.
        desk.say(format_args!("{}", conclusion(&judged, &witnesses)));
    }
    Ok(out.end()?.unwrap_or(code))
}

/// The sentence about the jobs, and what it cannot speak for.
fn conclusion(judged: &Judged, witnesses: &[Witness]) -> String {
    let mut text = sentence(judged);
    for witness in witnesses {
        let but = match &witness.failed {
            None => continue,
            Some(Failed::Listing(_)) => "; but the listing could not be read",
            Some(Failed::Reading) => "; but not all could be read",
            Some(Failed::Elsewhere) => "; but jobs of another API were not looked at",
        };
        if !text.contains(but) {
            text.push_str(but);
        }
    }
    text
}

fn notes(desk: &Desk, judged: &Judged, origin: &Origin) {
    if judged.matched_by_id > 0 {
        desk.say(format_args!(
            "{} named without a family, and taken for the jobs that have it",
            counted(judged.matched_by_id, "id")
        ));
    }
    if judged.more_listed_count > 0 {
        let some: Vec<String> = judged.more_listed(origin).map(|job| job.to_string()).collect();
        desk.say(format_args!(
            "{} with more links in the listing than outputs in the record ({}): vfetch get --force asks again",
            counted(judged.more_listed_count, "job"),
            some.join(" ")
        ));
    }
}

/// Several causes at once: the account first, then this machine, then what is lacking, then what may pass.
fn exit_code(judged: &Judged, witnesses: &[Witness], skip_gone: bool) -> u8 {
    let mut run = Summary::default();
    for witness in witnesses {
        match &witness.failed {
            None => {}
            Some(Failed::Listing(failure)) => run.note_unlisted(failure),
            Some(Failed::Reading) => run.note_local(),
            Some(Failed::Elsewhere) => run.note_for_good(),
        }
    }
    if judged.at_risk() > 0 || (judged.gone > 0 && !skip_gone) {
        run.note_for_good();
    }
    run.exit_code()
}

fn line(lack: &Lack, names: Names) -> String {
    let dies_at = lack.dies_at.map(|at| UNIX_EPOCH + Duration::from_secs(at));
    json!({"event": "job", "job": names.reference(&lack.job), "fetch_result": lack.job.fetch_url(),
        "stands": lack.stands.word(), "known_by": lack.by.names(),
        "dies_at": dies_at.map(|at| humantime::format_rfc3339_seconds(at).to_string())})
    .to_string()
}

fn summary(judged: &Judged, origin: &Origin, witnesses: &[Witness], code: u8) -> Value {
    let heard: Vec<&Value> = witnesses.iter().map(|witness| &witness.fields).collect();
    let more: Vec<String> = judged.more_listed(origin).map(|job| job.to_string()).collect();
    json!({"event": "summary", "known": judged.known, "whole": judged.whole, "without_outputs": judged.fruitless,
        "gone": judged.gone, "not_home": judged.at_risk(), "closed": code == 0,
        "matched_by_id": judged.matched_by_id, "more_listed": judged.more_listed_count, "more_listed_first": more,
        "witnesses": heard, "sentence": conclusion(judged, witnesses), "exit_code": code})
}
