//! Where an answer's outputs are: every form in which links come.
//!
//! `output` holds them; where it is empty `links` does, or `link`; where all three are empty `proxy_links` does.
//! A list may be an array, an array written out as JSON in a text, an object whose keys are the places, one text, or
//! empty in several ways. A link may also be the bytes themselves. `future_links` are not links: nothing need be there,
//! now or ever.
//!
//! `extra_assets` (textures of a 3D model) are outputs like the others and die with them, so their URLs follow at the end
//! of the list: an archive that says "complete" and lacks them would be a lie.

use std::collections::{BTreeMap, HashMap, HashSet};

use data_encoding::BASE64_NOPAD;
use serde_json::{Map, Value};
use url::Url;

use super::record::{cut, without_secrets_in};
use super::{OUTPUTS_MAX, Output, Source};
use crate::media::{Sniff, sniff};

/// Bytes in an answer are taken up to this size; the answer itself is not read further either.
const INLINE_MAX: usize = 4 * 1024 * 1024;
/// URLs are shorter than this; what is longer is something else.
const URL_MAX: usize = 16 * 1024;
/// How much of something unusable is shown.
const UNUSABLE_SHOWN: usize = 100;
/// Text in the alphabet of base64 that shows no known kind is taken for bytes from this length on, not for a path.
const BASE64_SURE: usize = 256;
/// The places in a list given as an object; higher numbers are names.
const PLACES: usize = 1_000_000;

/// The outputs that an object with `output`, `links`, `link`, `proxy_links` and `extra_assets` names; empty where none has a
/// source.
///
/// | at a place | source | proxy |
/// | --- | --- | --- |
/// | both lists have something, and not the same | the first list's | `proxy_links`' |
/// | both lists have the same, or `proxy_links` has nothing | the first list's | none |
/// | the first list has nothing, or there is none | none | `proxy_links`' |
/// | the first list has a place with nothing in it, and so has `proxy_links` | unusable | none |
/// | only `proxy_links` has such a place, and there is a first list | no output | |
///
/// Lists of different lengths do not stand side by side: there a proxy belongs to the output of its file's name, where
/// exactly one has that name, and to the one at its place elsewhere.
#[must_use]
pub fn outputs(fields: &Map<String, Value>) -> Vec<Output> {
    let named = |name: &str| list(fields.get(name));
    let first = ["output", "links", "link"].into_iter().map(named).find(|list| !is_hollow(list));
    let mut proxies = named("proxy_links");
    if let Some(first) = first.as_ref().filter(|first| !proxies.is_empty() && first.len() != proxies.len()) {
        proxies = beside_namesakes(first, proxies);
    }
    let mut outputs: Vec<Output> = match first {
        Some(first) => first
            .into_iter()
            .map(|(index, source)| {
                let proxy = proxies.remove(&index).flatten().filter(|proxy| Some(proxy) != source.as_ref());
                let nothing = source.is_none() && proxy.is_none();
                let source = if nothing { Some(Source::Unusable(String::new())) } else { source };
                Output { index, source, proxy }
            })
            .collect(),
        None => proxies
            .into_iter()
            .filter_map(|(index, proxy)| Some(Output { index, source: None, proxy: Some(proxy?) }))
            .collect(),
    };
    if let Some(last) = outputs.last().map(|output| output.index) {
        let extra = extra_assets(fields, &outputs);
        outputs.extend((last + 1..).zip(extra).map(|(index, url)| Output {
            index,
            source: Some(Source::Url(url)),
            proxy: None,
        }));
    }
    outputs
}

/// The proxies with those of a name that exactly one output has at that output's place. The others stay where they are,
/// but for those at a place that is taken.
fn beside_namesakes(first: &List, proxies: List) -> List {
    let (outputs, namesakes) = (by_name(first), by_name(&proxies));
    let targets: HashMap<usize, usize> = namesakes
        .into_iter()
        .filter_map(|(name, place)| Some((place?, outputs.get(name).copied().flatten()?)))
        .collect();
    let (named, mut paired): (List, List) =
        proxies.into_iter().partition(|(place, _)| targets.contains_key(place));
    paired.extend(named.into_iter().map(|(place, proxy)| (targets[&place], proxy)));
    paired
}

/// The files' names with the place of each; `None` for one that several places have.
fn by_name(list: &List) -> HashMap<&str, Option<usize>> {
    let mut places = HashMap::new();
    for (place, source) in list {
        let Some(Source::Url(url)) = source else { continue };
        let name = url.path().rsplit('/').next().unwrap_or_default();
        if !name.is_empty() {
            places.entry(name).and_modify(|place| *place = None).or_insert(Some(*place));
        }
    }
    places
}

/// The URLs of `extra_assets` that are not outputs anyway.
fn extra_assets(fields: &Map<String, Value>, outputs: &[Output]) -> Vec<Url> {
    let url = |source: &Source| match source {
        Source::Url(url) => Some(url.clone()),
        Source::Inline(_) | Source::Unusable(_) => None,
    };
    let sources = outputs.iter().flat_map(|output| [&output.source, &output.proxy]).flatten();
    let mut known: HashSet<Url> = sources.filter_map(url).collect();
    let extra = list(fields.get("extra_assets")).into_values().flatten();
    extra.filter_map(|source| url(&source)).filter(|url| known.insert(url.clone())).collect()
}

/// Whether there is nothing in `extra_assets` but URLs, so that all of it is told by the outputs.
pub(super) fn are_urls(extra_assets: &Value) -> bool {
    list(Some(extra_assets)).into_values().all(|source| matches!(source, Some(Source::Url(_))))
}

/// Sources by their places; `None` where a place has nothing that could be one.
type List = BTreeMap<usize, Option<Source>>;

fn is_hollow(list: &List) -> bool {
    list.values().all(Option::is_none)
}

/// A list's sources, up to one more than any job has.
fn list(value: Option<&Value>) -> List {
    match value {
        Some(Value::String(text)) => match written_out(text) {
            Some(items) => list(Some(&items)),
            None => BTreeMap::from([(0, value.and_then(source))]),
        },
        Some(Value::Array(items)) => items.iter().map(source).enumerate().take(OUTPUTS_MAX + 1).collect(),
        Some(Value::Object(fields)) => {
            let places: Option<Vec<usize>> = fields.keys().map(|key| place(key)).collect();
            let places = places.unwrap_or_else(|| (0..fields.len()).collect());
            places.into_iter().zip(fields.values().map(source)).take(OUTPUTS_MAX + 1).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => BTreeMap::new(),
    }
}

/// A list that is JSON in a text.
fn written_out(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

fn place(key: &str) -> Option<usize> {
    key.parse().ok().filter(|place: &usize| *place < PLACES && place.to_string() == key)
}

fn source(value: &Value) -> Option<Source> {
    let text = value.as_str()?.trim();
    if text.is_empty() {
        return None;
    }
    let unusable = || Source::Unusable(cut(&without_secrets_in(&cut(text, URL_MAX)), UNUSABLE_SHOWN));
    let source = match inline(text) {
        Inline::Bytes(bytes) => Some(Source::Inline(bytes)),
        Inline::Broken => None,
        Inline::No if text.len() > URL_MAX => None,
        Inline::No => web_url(text).map(Source::Url),
    };
    Some(source.unwrap_or_else(unusable))
}

fn web_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

enum Inline {
    Bytes(Vec<u8>),
    Broken,
    No,
}

/// Bytes in place of a link: a data URI, or bare base64.
fn inline(text: &str) -> Inline {
    let is_data = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if is_data {
        let coded = text.split_once(',').filter(|(head, _)| head.to_ascii_lowercase().ends_with(";base64"));
        return coded.and_then(|(_, coded)| decode(coded)).map_or(Inline::Broken, Inline::Bytes);
    }
    match decode(text) {
        Some(bytes) if text.len() >= BASE64_SURE || matches!(sniff(&bytes), Sniff::Kind(_)) => {
            Inline::Bytes(bytes)
        }
        _ => Inline::No,
    }
}

/// Base64 of either alphabet, with or without padding, broken into lines or not; empty and too large ones are none.
fn decode(text: &str) -> Option<Vec<u8>> {
    let plain: Vec<u8> = text
        .trim_end()
        .trim_end_matches('=')
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            _ => byte,
        })
        .collect();
    BASE64_NOPAD.decode(&plain).ok().filter(|bytes| (1..=INLINE_MAX).contains(&bytes.len()))
}
