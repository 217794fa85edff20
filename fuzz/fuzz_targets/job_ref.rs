//! Whatever names a job names one whose URL stays with its origin, whose paths are safe, and which can be named again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use url::Url;
use vfetch::job::{DEFAULT_ORIGIN, Defaults, Origin};
use vfetch::layout::{Key, folder, may_be_folder};

fuzz_target!(|text: &str| {
    let defaults = Defaults::new(DEFAULT_ORIGIN, None).expect("the default origin is one");
    let _ = Defaults::new(text, None);
    let Ok(asked) = defaults.parse(text) else { return };
    let job = asked.job;
    let url = Url::parse(&job.fetch_url()).expect("a fetch URL is a URL");
    assert_eq!(Origin::of(&url).as_ref(), Ok(&defaults.origin));
    assert_eq!(url.as_str(), job.fetch_url());
    assert!(url.path().starts_with("/api/v"));
    assert_eq!(defaults.parse(&job.to_string()).expect("a job's own name names it").job, job);
    let folder = folder(&job);
    assert!(may_be_folder(&folder) && folder.len() <= 255);
    let key = Key::output(&job, 0, text, None);
    assert!(key.name().len() <= 255 && !key.name().contains(['/', '\\']) && !key.name().starts_with('.'));
    assert_eq!(Key::recorded(&job, key.name()), Some(key));
    let _ = Key::recorded(&job, text);
});
