//! vfetch.
pub mod engine;
pub mod event;
pub mod job;
pub mod layout;
pub mod lifetime;
pub mod listing;
pub mod manifest;
pub mod media;
pub mod net;
pub mod plan;
pub mod reply;
pub mod retry;
pub mod store;
pub mod text;
