//! `vfetch demo`: the whole of `get` against a look-alike of the API on this machine, in some fifteen seconds.
//!
//! 1. The look-alike starts on loopback.
//! 2. `get` runs as if it had been typed, with the environment left out, so that no setting and no key of the user's
//!    gets into it, and without its lines of digests, which would crowd out the rest.
//! 3. What it left on disk is shown and compared with what each scenario says.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use vfetch::job::Defaults;
use vfetch::layout::MANIFEST_NAME;
use vfetch::manifest::Manifest;
use vfetch::serve::scenario::{SCENARIOS, Scenario};
use vfetch::serve::{LookAlike, Seen, Settings};
use vfetch::store::{Found, Store, StoreError};
use vfetch::text::{Untrusted, quoted};

use super::error::CliError;
use super::get::{self, GetArgs};
use super::say;

/// Shown under the command's help.
const EXAMPLES: &str = "\
Examples:
  vfetch demo               into a new folder among the temporary ones, which is kept for a look
  vfetch demo -o ./demo     into this folder";

/// See the whole of vfetch at work, without an account and without the network.
///
/// A look-alike of the API and of its media hosts runs on this machine, with jobs that take every turn that real ones
/// do. The same get as on the command line brings them home; then the demo shows what is on the disk, one of the
/// records, and what each job showed. It takes some fifteen seconds, most of them a wait that get owes a file before it
/// calls it gone. Exit code 0: each job ended as it should.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Where the jobs go: a folder that is new or empty [default: a new one among the temporary folders]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Files come at this pace, so that there is something to see.
const PACE: u64 = 64 * 1024;
/// The record that is shown: it has a rung that was left.
const SHOWN_RECORD: &str = "202";
/// Exit codes from here on name the signal that ended `get`.
const SIGNALLED: u8 = 128;
/// The key of no account; the look-alike takes any.
const KEY: &str = "a-key-of-no-account";

/// Runs the command; its exit code.
pub(crate) async fn run(args: DemoArgs) -> Result<u8, CliError> {
    let (folder, temporary) = match args.output {
        Some(folder) => (own_folder(folder)?, false),
        None => (temporary_folder()?, true),
    };
    let settings = Settings { bytes_per_second: Some(PACE), ..Settings::default() };
    let look_alike = LookAlike::start_with((Ipv4Addr::LOCALHOST, 0).into(), settings)
        .await
        .map_err(|error| CliError::local(format!("listening on loopback: {error}")))?;
    let base_url = look_alike.base_url();
    say(&introduction(&base_url, &folder));
    let code = get::run(GetArgs::of(&words(&base_url, &folder))?.without_results().only_once()).await?;
    if code >= SIGNALLED {
        say(&format!("What came until then is in {}\n", shown(&folder)));
        return Ok(code);
    }
    let archive = Archive::open(&folder, &base_url)?;
    let endings = archive.endings()?;
    say(&archive.tree()?);
    say(&archive.record(SHOWN_RECORD)?);
    say(&what_each_showed(&endings));
    let (words, good) = conclusion(&endings, &look_alike.seen(), &folder, temporary);
    say(&words);
    Ok(u8::from(!good))
}

/// A folder that nothing else is in: the look-alike has another address each time, and so are its jobs others.
fn own_folder(folder: PathBuf) -> Result<PathBuf, CliError> {
    let is_used = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if is_used {
        let error = CliError::usage(format!("{} is not empty", folder.display()));
        return Err(error.hint("the demo wants a folder of its own, a new one or an empty one"));
    }
    Ok(folder)
}

fn temporary_folder() -> Result<PathBuf, CliError> {
    let folder = std::env::temp_dir().join(format!("vfetch-demo-{:08x}", fastrand::u32(..)));
    // Nobody else's folder, and nobody else's to write in.
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| CliError::local(format!("making {}: {error}", folder.display())))?;
    Ok(folder)
}

/// The arguments of `get`.
fn words(base_url: &str, folder: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = SCENARIOS.iter().map(|job| job.reference().into()).collect();
    words.extend(["--base-url", base_url, "--key-command"].map(Into::into));
    words.extend([format!("echo {KEY}").into(), "-o".into(), folder.into()]);
    words
}

fn introduction(base_url: &str, folder: &Path) -> String {
    let mut words = vec!["vfetch get".to_owned()];
    words.extend(SCENARIOS.iter().map(Scenario::reference));
    words.extend([format!("--base-url {base_url}"), format!("-o {}", shown(folder))]);
    format!(
        "A look-alike of the API runs on this machine alone, at {base_url}.
It has {} jobs, each with a turn of its own. This takes some fifteen seconds:

  {}

",
        SCENARIOS.len(),
        folded(&words)
    )
}

/// A folder as a shell takes it.
fn shown(folder: &Path) -> String {
    quoted(&folder.display().to_string())
}

/// Words as a command over several lines.
fn folded(words: &[String]) -> String {
    /// What fits on most terminals, the backslash included.
    const COLUMNS: usize = 78;
    let mut text = String::new();
    let mut columns = 0;
    for word in words {
        let separator = match columns {
            0 => "",
            used if used + 1 + word.len() + 2 <= COLUMNS => " ",
            _ => {
                columns = 4;
                " \\\n    "
            }
        };
        let _ = write!(text, "{separator}{word}");
        columns += word.len() + 1;
    }
    text
}

/// What `get` left on the disk.
struct Archive {
    store: Store,
    defaults: Defaults,
}

/// How a job ended, and what is wrong with that.
struct Ending {
    scenario: &'static Scenario,
    record: Option<Manifest>,
    wrong: Option<String>,
}

impl Archive {
    fn open(folder: &Path, base_url: &str) -> Result<Self, CliError> {
        let store = Store::create(folder, true)?;
        let defaults = Defaults::new(base_url, None).map_err(|error| CliError::local(error.to_string()))?;
        Ok(Self { store, defaults })
    }

    fn look(&self, reference: &str) -> Result<Option<Manifest>, CliError> {
        let asked = self.defaults.parse(reference).map_err(|error| CliError::local(error.to_string()))?;
        Ok(match self.store.look(&asked.job)? {
            Found::Record(record, _) => Some(*record),
            Found::Nothing | Found::Damaged { .. } => None,
        })
    }

    fn endings(&self) -> Result<Vec<Ending>, CliError> {
        let ending = |scenario: &'static Scenario| {
            let record = self.look(&scenario.reference())?;
            let wrong = scenario.disagreement(record.as_ref());
            Ok(Ending { scenario, record, wrong })
        };
        SCENARIOS.iter().map(ending).collect()
    }

    /// The folders with what lies in them, one a line.
    fn tree(&self) -> Result<String, CliError> {
        let mut folders = self.store.folders()?.collect::<Result<Vec<String>, StoreError>>()?;
        folders.sort();
        let width = folders.iter().map(String::len).max().unwrap_or(0) + 1;
        let mut text = String::from("\nOn the disk:\n");
        for folder in folders {
            let mut names: Vec<String> =
                self.store.names(&folder)?.into_iter().map(|(name, _)| name).collect();
            names.sort();
            let _ = writeln!(text, "  {:width$}  {}", folder + "/", names.join("  "));
        }
        Ok(text)
    }

    /// One record as it stands on the disk, without what the service repeated of the request.
    fn record(&self, reference: &str) -> Result<String, CliError> {
        let mut shown = match self.look(reference)? {
            Some(record) => serde_json::to_value(record).unwrap_or_default(),
            None => serde_json::Value::Null,
        };
        for repeated in ["meta", "reply"] {
            if let Some(field) = shown.get_mut(repeated) {
                *field = "…".into();
            }
        }
        Ok(format!("\n{reference}/{MANIFEST_NAME}:\n{shown:#}\n"))
    }
}

fn what_each_showed(endings: &[Ending]) -> String {
    let mut text = String::from("\nWhat each job showed:\n");
    for Ending { scenario, record, wrong } in endings {
        let (mark, end) = match wrong {
            None => ("ok   ", record.as_ref().map_or_else(String::new, outcome)),
            Some(wrong) => ("WRONG", wrong.clone()),
        };
        let _ = writeln!(text, "  {mark} {}, {}: {end}", scenario.reference(), scenario.title);
        let _ = writeln!(text, "        {}", scenario.shows);
    }
    text
}

/// How a job ended, and where its files came from.
fn outcome(record: &Manifest) -> String {
    let mut text = record.state.word().to_owned();
    if let Some(first) = record.files.first() {
        let _ = write!(text, " from {}", first.rung);
        let requests: u32 = record.files.iter().map(|file| file.attempts).sum();
        if requests as usize > record.files.len() {
            let _ = write!(text, " in {requests} requests");
        }
    }
    if let Some(reason) = &record.error {
        let _ = write!(text, " ({:.60})", Untrusted(&reason.detail));
    }
    if !record.missing.is_empty() {
        let links: usize = record.missing.iter().map(|missing| missing.reasons.len()).sum();
        let _ = write!(text, " ({links} links were tried)");
    }
    text
}

/// What is wrong, and where the files are.
fn conclusion(endings: &[Ending], seen: &Seen, folder: &Path, temporary: bool) -> (String, bool) {
    let wrong: Vec<String> = endings
        .iter()
        .filter(|ending| ending.wrong.is_some())
        .map(|ending| ending.scenario.reference())
        .collect();
    let mut text = format!(
        "
The look-alike had {} calls of its API and {} requests for media, {} of them
for the rest of a file. The key was seen by {}.
",
        seen.api_calls,
        seen.media_requests,
        seen.continued,
        if seen.leaked_keys == 0 { "the API alone" } else { "MEDIA HOSTS TOO" }
    );
    if seen.future_links > 0 {
        let _ = writeln!(text, "It had {} REQUESTS FOR FUTURE LINKS, which do not exist.", seen.future_links);
    }
    let _ = match wrong.as_slice() {
        [] => writeln!(text, "All {} jobs ended as they should.", endings.len()),
        _ => writeln!(text, "These jobs did not end as they should: {}", wrong.join(" ")),
    };
    let folder = shown(folder);
    let _ = writeln!(text, "\nThe files are in {folder}");
    if temporary {
        let _ = writeln!(text, "When you have seen them: rm -r {folder}");
    }
    text.push_str("For trials of your own: vfetch mock\n");
    (text, wrong.is_empty() && seen.leaked_keys == 0 && seen.future_links == 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    /// What every terminal shows on a line.
    const COLUMNS: usize = 80;

    #[test]
    fn the_command_that_is_shown_is_the_one_that_runs_without_its_key() {
        let shown = introduction("http://127.0.0.1:12345", Path::new("/tmp/demo"));
        assert!(shown.lines().all(|line| line.len() <= COLUMNS), "{shown}");
        let (_, command) = shown.split_once("vfetch get").unwrap();
        let shown: Vec<&str> = command.split_whitespace().filter(|word| *word != "\\").collect();
        let mut run = words("http://127.0.0.1:12345", Path::new("/tmp/demo"));
        let key = run.iter().position(|word| word == "--key-command").unwrap();
        run.drain(key..key + 2);
        assert_eq!(run, shown);
    }

    #[test]
    fn get_takes_the_words_whatever_the_environment_says() {
        assert!(GetArgs::of(&words("http://127.0.0.1:1", Path::new("x"))).is_ok());
        assert!(GetArgs::of(&["--no-such-option".into()]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_and_fails_the_demo() {
        let ending = |wrong: Option<&str>| Ending {
            scenario: &SCENARIOS[0],
            record: None,
            wrong: wrong.map(str::to_owned),
        };
        let folder = Path::new("x");
        let told = |endings: &[Ending], seen: &Seen| conclusion(endings, seen, folder, false);
        let (text, good) = told(&[ending(None)], &Seen::default());
        assert!(good && text.contains("All 1 jobs ended as they should"), "{text}");
        let (text, good) = told(&[ending(None), ending(Some("it is gone"))], &Seen::default());
        assert!(!good && text.contains("did not end as they should: 147"), "{text}");
        assert!(
            what_each_showed(&[ending(Some("it is gone"))]).contains("WRONG 147, ready at once: it is gone")
        );
        assert!(!told(&[ending(None)], &Seen { leaked_keys: 1, ..Seen::default() }).1);
        assert!(!told(&[ending(None)], &Seen { future_links: 1, ..Seen::default() }).1);
    }

    #[test]
    fn what_each_job_showed_fits_a_line() {
        let endings: Vec<Ending> =
            SCENARIOS.iter().map(|scenario| Ending { scenario, record: None, wrong: None }).collect();
        for line in what_each_showed(&endings).lines() {
            // The title's line goes on with how the job ended.
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = || own_folder(folder.path().to_owned());
        assert!(own().is_ok());
        std::fs::DirBuilder::new().create(folder.path().join("147")).unwrap();
        assert!(own().unwrap_err().to_string().contains("is not empty"));
        assert!(own_folder(folder.path().join("new")).is_ok());
    }
}
