//! vfetch.
