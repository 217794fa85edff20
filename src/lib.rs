//! vfetch.
pub mod retry;
