//! What the archive holds after a fault, a kill or a power cut at any moment.
//!
//! The store under test is the real one; below it lies a [`disk::MemoryDisk`] that fails on cue and loses what was not
//! synced. [`run`] writes jobs the way the engine does, and holds what must be true of an archive whatever happened.

#![expect(clippy::print_stdout, reason = "the figures stand in the test's output")]

mod cuts;
mod disk;
mod faults;
mod order;
mod rules;
mod run;
mod splice;
