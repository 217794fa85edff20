//! One contract for every kind of archive: a folder, `file://`, an object store in memory, and S3 over HTTP.
//!
//! [`contract`] holds what all of them promise; each promise is tested on each of them. [`faults`] is about S3 alone: a
//! server that loses answers, is overloaded or lies, through the proxy of [`proxy`]; [`gone`] is about one that goes away
//! for good; [`writers`] lets many writers loose
//! on one job; [`program`] runs the program itself against a bucket. [`places`] makes the archives.
//!
//! The S3 server is moto's, a program that this project did not write: `pip install 'moto[server]'`, with `moto_server`
//! in the path. It is started here, once for all tests of the process; `VFETCH_TEST_S3` names one that is running
//! already (`http://127.0.0.1:5000`). Without either the tests that need it say so and pass, unless
//! `VFETCH_TEST_REQUIRE_S3` is set.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may panic, looks for itself, and says when it cannot"
)]

mod contract;
mod faults;
mod gone;
mod places;
mod program;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
mod writers;
