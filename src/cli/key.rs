//! Where the key comes from: the environment, a file, standard input, or a command. Never an argument, which every
//! user of the machine could read.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vfetch::net::ApiKey;
use vfetch::text::Redactor;

use super::error::CliError;

/// The variable that holds the key.
pub(crate) const KEY_VARIABLE: &str = "MODELSLAB_API_KEY";
/// A key has some 50 characters; what is longer than this is another file.
const KEY_MAX: u64 = 4_096;

/// Where the account's key is.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// Read the key from the first line of this file that is not blank; - is standard input.
    #[arg(long, value_name = "FILE", env = "VFETCH_KEY_FILE", conflicts_with = "key_command")]
    key_file: Option<PathBuf>,
    /// Take the key from what this command prints (run by sh).
    #[arg(long, value_name = "COMMAND", env = "VFETCH_KEY_COMMAND")]
    key_command: Option<String>,
}

impl KeyArgs {
    /// Whether the key is on standard input, where then nothing else can be.
    pub(crate) fn is_stdin(&self) -> bool {
        self.key_file.as_deref() == Some(Path::new("-"))
    }

    /// Whether a key was given anywhere.
    pub(crate) fn is_given(&self) -> bool {
        self.key_file.is_some() || self.key_command.is_some() || in_environment()
    }

    /// What a command line has to say of where the key is; nothing where it is in the environment, or came from
    /// standard input.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        let file = self.key_file.as_ref().filter(|_| !self.is_stdin());
        let file = file.map(|file| ("--key-file", file.display().to_string()));
        let command = self.key_command.clone().map(|command| ("--key-command", command));
        file.into_iter().chain(command).collect()
    }

    /// Reads the key.
    pub(crate) fn read(&self) -> Result<ApiKey, CliError> {
        let (text, place) = match (&self.key_file, &self.key_command) {
            (Some(file), _) => (read_file(file)?, format!("the key in {}", file.display())),
            (None, Some(command)) => (run_command(command)?, "the key that --key-command printed".into()),
            (None, None) => (from_environment()?, format!("the key in {KEY_VARIABLE}")),
        };
        let key = ApiKey::new(text).map_err(|error| CliError::usage(format!("{place} {error}")))?;
        if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::usage(format!("{place} holds spaces or characters that no key has")));
        }
        Ok(key)
    }
}

/// Takes the key in the environment out of what is said before a command has read its key: whoever has it there may
/// have put it among the arguments too.
pub(crate) fn redactor() -> Redactor {
    let key = from_environment().ok().and_then(|text| ApiKey::new(text).ok());
    key.map_or_else(Redactor::default, |key| Redactor::new(&key))
}

fn in_environment() -> bool {
    variable().is_some()
}

fn from_environment() -> Result<String, CliError> {
    let Some(key) = variable() else {
        return Err(CliError::usage("no API key")
            .hint(format!("set {KEY_VARIABLE}, or use --key-file FILE or --key-command COMMAND")));
    };
    key.into_string()
        .map_err(|_| CliError::usage(format!("the key in {KEY_VARIABLE} holds characters that no key has")))
}

/// What the variable holds. An empty one is as good as none: it is how a shell or a service file takes a key away.
#[expect(
    clippy::disallowed_methods,
    reason = "the key must not be an argument, so no option reads this variable"
)]
fn variable() -> Option<OsString> {
    std::env::var_os(KEY_VARIABLE).filter(|key| !key.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "a file of the user's, not of an archive")]
fn read_file(path: &Path) -> Result<String, CliError> {
    let failed = |error| CliError::usage(format!("reading the key from {}: {error}", path.display()));
    if path == Path::new("-") {
        return first_line(io::stdin().lock()).map_err(failed);
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    first_line(BufReader::new(file)).map_err(failed)
}

/// The first line that is not blank. Nothing behind it is waited for: a pipe may stay open for as long as who writes to
/// it lives, and a terminal does.
fn first_line(input: impl BufRead) -> io::Result<String> {
    let (mut input, mut line) = (input.take(KEY_MAX), String::new());
    while line.trim().is_empty() {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            break;
        }
    }
    Ok(line.trim().into())
}

fn run_command(command: &str) -> Result<String, CliError> {
    let failed = |why: String| CliError::usage(format!("--key-command {why}"));
    let ran =
        Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = ran.map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.status)));
    }
    first_line(output.stdout.as_slice()).map_err(|_| failed("printed no text".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Input that nobody may wait for.
    struct Never;

    impl Read for Never {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("read on"))
        }
    }

    #[test]
    fn the_first_line_that_is_not_blank_is_read_and_nothing_behind_it() {
        let first = |text: &'static str| first_line(BufReader::new(text.as_bytes().chain(Never))).ok();
        let table = [
            ("key\n", Some("key")),
            ("\n \r\n\t key \r\nanother\n", Some("key")),
            ("key", None),
            ("\n", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(first(text).as_deref(), want, "{text:?}");
        }
        assert_eq!(first_line(&b"key"[..]).ok().as_deref(), Some("key"), "a line may end with the text");
        assert_eq!(first_line(&b" \n"[..]).ok().as_deref(), Some(""));
        let long = "k".repeat(10_000);
        assert_eq!(first_line(long.as_bytes()).map(|line| line.len() as u64).ok(), Some(KEY_MAX));
    }
}
