//! One contract for every kind of archive: a folder, `file://`, an object store in memory, and S3, Azure and Google over
//! HTTP.
//!
//! [`contract`] holds what all of them promise; each promise is tested on each of them. [`faults`] is about S3 alone: a
//! server that loses answers, is overloaded or lies, through the proxy of [`proxy`]; [`gone`] is about one that goes away
//! for good; [`writers`] lets many writers loose
//! on one job; [`program`] runs the program itself against a bucket of S3, [`vendors`] against one of Azure and of Google. [`places`] makes the archives.
//!
//! The servers are programs that this project did not write, started here, once for all tests of the process (see
//! [`servers`]): for S3 it is moto's (`pip install 'moto[server]'`, with `moto_server` in the path), for Azure it is
//! Azurite (`npm install -g azurite`, with `azurite-blob` in the path). `VFETCH_TEST_S3` and `VFETCH_TEST_AZURE` name
//! ones that are running already (`http://127.0.0.1:5000`). Without either the tests that need one say so and pass, unless
//! `VFETCH_TEST_REQUIRE_S3` or `VFETCH_TEST_REQUIRE_AZURE` is set. For Google there is none to be had: its client speaks
//! to moto through a translator of headers, [`google`].

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may panic, looks for itself, and says when it cannot"
)]

mod contract;
mod faults;
mod gone;
mod google;
mod places;
mod program;
mod proxy;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod vendors;
mod writers;
