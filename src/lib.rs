//! vfetch.
pub mod event;
pub mod job;
pub mod layout;
pub mod manifest;
pub mod plan;
pub mod retry;
