//! The command line: what users type, and what they see.

use std::process::ExitCode;

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    ExitCode::SUCCESS
}
