//! A walker that gets a file in chunks of any size says what it says of the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vfetch::media::{SNIFF_BYTES, Walker, judge};

fuzz_target!(|file: (Vec<u8>, u8, u8)| {
    let (bytes, short, long) = file;
    let whole = judge(&bytes);
    assert_eq!(whole.bytes, bytes.len() as u64);
    let sizes = [usize::from(short).max(1), usize::from(long).max(1), SNIFF_BYTES];
    for sizes in [&sizes[..1], &sizes[..2], &sizes[1..]] {
        let mut walker = Walker::new();
        let (mut rest, mut sizes) = (bytes.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(*sizes.next().expect("a cycle has no end")));
            walker.feed(chunk);
            rest = later;
        }
        assert_eq!(walker.finish(), whole);
    }
});
