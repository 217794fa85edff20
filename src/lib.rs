//! vfetch brings home what AI video jobs produce, before it expires, and can prove it.
//!
//! A job of ModelsLab's queue API gets an id; some time later its fetch call answers with links that are deleted after
//! a day. vfetch asks until the job is done, follows each output over all its sources, streams the bytes to disk with
//! their SHA-256, proves that each file is whole, and commits a record that says all of it. The program `vfetch` is a
//! thin shell over this library and uses nothing that is not public here.
//!
//! # The house
//!
//! *Nouns at the root, verbs in folders.* A module beside this file says what something is or what follows from it: no
//! network, no disk, no clock, no dice. A folder touches the world. Imports run downward only:
//!
//! | floor | modules |
//! | --- | --- |
//! | 0 | the nouns: [`job`], [`media`], [`retry`], [`sha256`], [`text`]; then [`manifest`], [`layout`], [`reply`]; then [`plan`], [`event`] and what commands decide with |
//! | 1 | [`net`]: the two HTTP clients; [`store`]: archives on disks and in buckets |
//! | 2 | [`engine`]: poll, plan, download, commit; verify, repair, look through |
//! | 3 | [`serve`]: the look-alike of the API; [`view`]: exports and tables |
//! | 4 | this file |
//! | 5 | the program: `main.rs` and `cli/` |
//!
//! # The path of a job
//!
//! 1. A text becomes a [`job::JobRef`], or says why not ([`job::Defaults::parse`]).
//! 2. [`engine::archive`] takes references lazily and looks at each job's record. Complete, with every file there: passed
//!    over. The manifests are the only truth: nothing else decides what is done.
//! 3. [`net::Api::fetch`] asks; [`reply::parse`] turns status, headers and bytes into one enum; a pending job waits as
//!    [`retry::PollSchedule`] says.
//! 4. [`plan::next`] decides what each output does: which source, wait, ask again, give up.
//! 5. Bytes come together in [`engine::assembly`], are judged by [`media`], and only a proof makes a file that can be
//!    committed ([`store::Proven`]).
//! 6. [`store::Store::commit`] makes files and record visible in an order that no kill and no power cut can break.
//!
//! What happens on the way is an [`event::Event`]; who watches is an [`event::Reporter`].
//!
//! # To use it
//!
//! ```no_run
//! use std::sync::Arc;
//! use vfetch::engine::{Options, Session, archive};
//! use vfetch::event::{Event, Reporter};
//! use vfetch::job::{DEFAULT_ORIGIN, Defaults};
//! use vfetch::net::{Api, ApiKey, ClientOptions, Http};
//! use vfetch::store::{Open, Store};
//!
//! struct Quiet;
//!
//! impl Reporter for Quiet {
//!     fn event(&self, _: &Event<'_>) {}
//! }
//!
//! # async fn run(key: ApiKey) -> Result<(), Box<dyn std::error::Error>> {
//! let defaults = Defaults::new(DEFAULT_ORIGIN, None)?;
//! let options = ClientOptions::new(defaults.origin.clone());
//! let (api, http) = (Api::new(key, &options)?, Http::new(&options)?);
//! let store = Store::open("out", Open::Create, true)?;
//! let session = Arc::new(Session::new(api, http, store, Options::default(), Arc::new(Quiet))?);
//! let jobs = vec![Ok(defaults.parse("147")?)];
//! archive::archive(&session, jobs.into_iter()).await;
//! # Ok(())
//! # }
//! ```

pub mod census;
pub mod closure;
pub mod coding;
pub mod digests;
pub mod engine;
pub mod event;
pub mod job;
pub mod layout;
pub mod lifetime;
pub mod listing;
pub mod manifest;
pub mod media;
pub mod mend;
pub mod mention;
pub mod nesting;
pub mod net;
pub mod plan;
pub mod query;
pub mod reply;
pub mod retry;
pub mod serve;
pub mod sha256;
pub mod store;
pub mod text;
pub mod verdict;
pub mod view;
