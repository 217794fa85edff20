//! vfetch.
pub mod census;
pub mod engine;
pub mod event;
pub mod job;
pub mod layout;
pub mod manifest;
pub mod media;
pub mod net;
pub mod plan;
pub mod query;
pub mod reply;
pub mod retry;
pub mod serve;
pub mod store;
pub mod text;
pub mod verdict;
pub mod view;
