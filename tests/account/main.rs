//! An archive beside its account: what is listed comes home, what was begun is finished, and what is lacking is known.
//! The real program against servers on loopback; what holds after every run is checked by `support::verify`.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and looks for itself")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod listing;
mod preview;
mod queue;
mod resume;
mod sync;
