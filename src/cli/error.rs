//! What ends a command before it could do its work.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use vfetch::engine::Error;
use vfetch::net::NetError;
use vfetch::retry::{Class, Failure};
use vfetch::store::StoreError;
use vfetch::text::Redactor;

/// What was asked for cannot be done, now or later.
pub(crate) const INCOMPLETE: u8 = 1;
/// The account was refused.
pub(crate) const AUTH: u8 = 3;
/// It may well be done later.
pub(crate) const AGAIN: u8 = 4;
/// The arguments make no sense.
pub(crate) const USAGE: u8 = 2;
/// This machine failed: the disk, a permission, a limit.
pub(crate) const LOCAL: u8 = 5;
/// Another process is writing to the archive, or the list of what failed.
pub(crate) const BUSY: u8 = 7;

/// An error with its exit code, and the way out where there is one.
#[derive(Debug)]
pub(crate) struct CliError {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl CliError {
    /// The user asked for something that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into(), hint: None }
    }

    /// Another process has what this one needs.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { code: BUSY, message: message.into(), hint: None }
    }

    /// This machine failed.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self { code: LOCAL, message: message.into(), hint: None }
    }

    /// The account's listing cannot be read.
    pub(crate) fn of_listing(failure: &Failure) -> Self {
        let code = match failure.class() {
            Class::Auth => AUTH,
            Class::Permanent => INCOMPLETE,
            Class::Transient => AGAIN,
        };
        Self { code, message: format!("the account's listing cannot be read: {failure}"), hint: None }
    }

    /// The same error with the way out, on a line of its own.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the error to stderr, without the key; its exit code.
    pub(crate) fn report(&self, redactor: &Redactor) -> ExitCode {
        // Where nobody can be told, the exit code still tells.
        let _ = writeln!(std::io::stderr(), "{}", redactor.text(&self.to_string()));
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vfetch: {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Busy { .. } => BUSY,
            StoreError::Io { .. }
            | StoreError::Remote { .. }
            | StoreError::Full { .. }
            | StoreError::Unfit { .. }
            | StoreError::Conflict { .. }
            | StoreError::Foreign { .. }
            | StoreError::Newer { .. } => LOCAL,
            StoreError::BadPlace { .. } | StoreError::NoArchive { .. } => USAGE,
        };
        Self { code, message: error.to_string(), hint: None }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        error.source.into()
    }
}

impl From<NetError> for CliError {
    fn from(error: NetError) -> Self {
        Self::usage(error.to_string())
    }
}
