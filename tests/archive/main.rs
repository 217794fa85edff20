//! What is done with an archive once it is there: verify, repair, status, list and export, through the real program.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at files for itself"
)]
#![expect(clippy::print_stdout, reason = "a test that cannot run here says why")]

mod bed;
mod checks;
mod exports;
mod lists;
mod old;
mod planted;
mod repairs;
#[path = "../support/mod.rs"]
mod support;
mod verifies;
