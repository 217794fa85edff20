//! vfetch.
fn main() {}
