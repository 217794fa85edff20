//! The real program and the disk under it: what it keeps, what it refuses, and what it says when there is no room.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and looks for itself")]
#![expect(clippy::print_stdout, reason = "a test that cannot run here says why")]

#[path = "../support/mod.rs"]
mod support;

mod keep;
mod planted;
mod room;
mod strace;
