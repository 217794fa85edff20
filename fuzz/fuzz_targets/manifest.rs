//! A record is refused, or written again just as it was understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vfetch::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::read(bytes) else { return };
    assert_eq!(manifest.contradiction(), None);
    assert_eq!(manifest.state, manifest.derived_state());
    assert_eq!(Manifest::read(&manifest.to_bytes()).as_ref(), Ok(&manifest));
});
