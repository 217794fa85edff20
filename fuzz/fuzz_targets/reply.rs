//! No answer makes the parser panic; what is done has sources, all of them from the fields that hold sources; and no job
//! failed because a host did.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use url::Url;
use vfetch::reply::{Done, Head, Reply, Source, parse};
use vfetch::retry::{Cause, Class};

const STATUSES: &[u16] = &[100, 204, 301, 400, 401, 402, 403, 404, 410, 429, 500, 503, 524, 999];

fuzz_target!(|body: &[u8]| {
    match parse(&head(200), body) {
        Ok(Reply::Done(done)) => assert_sound(body, &done),
        Ok(Reply::Pending(_)) => {}
        Err(failure) => assert!(failure.retry_after.is_none() || failure.class() == Class::Transient),
    }
    let status = STATUSES[body.len() % STATUSES.len()];
    let other = parse(&head(status), body);
    assert!(status < 300 || other.is_err());
    if (500..600).contains(&status) {
        assert_eq!(other.expect_err("a 5xx is no answer").cause, Cause::ServerError);
    }
});

fn head(status: u16) -> Head<'static> {
    Head { status, now_unix_s: 1_900_000_000, ..Head::default() }
}

fn assert_sound(body: &[u8], done: &Done) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    // What is only almost JSON was read all the same, and has no strict reading to be compared with.
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
    let mut named = BTreeSet::new();
    for field in ["output", "links", "link", "proxy_links", "extra_assets"] {
        gather(&answer[field], &mut named);
    }
    assert!(!done.outputs.is_empty());
    let mut places = BTreeSet::new();
    for output in &done.outputs {
        assert!(places.insert(output.index));
        assert!(output.source.is_some() || output.proxy.is_some());
        assert!(output.source != output.proxy);
        for source in [&output.source, &output.proxy].into_iter().flatten() {
            if let Source::Url(url) = source {
                assert!(named.contains(url.as_str()), "{url} is from no field that holds links");
                assert!(!source.shown().contains(['?', '#']));
            }
        }
    }
}

fn gather(value: &Value, urls: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => urls.extend(Url::parse(text.trim()).map(String::from)),
        Value::Array(items) => items.iter().for_each(|item| gather(item, urls)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, urls)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
