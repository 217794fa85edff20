//! Everything that can go wrong, made to go wrong on loopback, with the real program: one sentence a row.
//!
//! What holds in every row (no wrong byte under a final name, no key anywhere, nothing outside the archive, no panic)
//! is checked after every run by `support::verify`, and is not repeated in the rows.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and looks for itself")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod digests;
mod endless;
mod h2;
mod hostile;
mod names;
mod operator;
mod process;
mod relied_on;
mod resume;
mod shared;
mod signals;
mod transfer;
mod wire;
