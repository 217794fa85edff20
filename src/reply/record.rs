//! What of an answer goes into a record: everything that is not a link, cut to size, and no secret.
//!
//! Signed links are keys to somebody's storage, and parameters repeat the links of a request's inputs. So every URL in a
//! text that is kept loses its user, its query and its fragment, and a field that holds a key is left out.

use serde_json::{Map, Value};

use super::links;

/// Longer texts are cut: a prompt is shorter, an image as base64 is not.
const TEXT_MAX: usize = 16 * 1024;
/// Fields that are links, are told by the type, or stand elsewhere in the record.
const NOT_KEPT: &[&str] = &["status", "id", "output", "links", "link", "proxy_links", "future_links"];
/// Fields that hold the account's key where a server repeats it.
const KEYS: &[&str] = &["key", "api_key", "apikey"];

/// The request's parameters, and the remaining fields.
pub(super) fn split(mut fields: Map<String, Value>) -> (Option<Map<String, Value>>, Map<String, Value>) {
    for name in NOT_KEPT {
        fields.shift_remove(*name);
    }
    if fields.get("extra_assets").is_some_and(links::are_urls) {
        fields.shift_remove("extra_assets");
    }
    let meta = match fields.shift_remove("meta") {
        Some(Value::Object(meta)) => Some(kept_fields(meta)),
        Some(Value::Array(meta)) if meta.is_empty() => None,
        None | Some(Value::Null) => None,
        Some(other) => {
            fields.insert("meta".into(), other);
            None
        }
    };
    (meta, kept_fields(fields))
}

fn kept_fields(fields: Map<String, Value>) -> Map<String, Value> {
    let own = fields.into_iter().filter(|(name, _)| !KEYS.iter().any(|key| key.eq_ignore_ascii_case(name)));
    own.map(|(name, value)| (kept_text(&name), kept(value))).collect()
}

fn kept(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(kept_text(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(kept).collect()),
        Value::Object(fields) => Value::Object(kept_fields(fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn kept_text(text: &str) -> String {
    cut(&without_secrets_in(&cut(text, TEXT_MAX)), TEXT_MAX)
}

/// The text, with every URL in it without user, query and fragment.
pub(super) fn without_secrets_in(text: &str) -> String {
    let ends = |letter: char| letter.is_whitespace() || letter.is_control() || "\"<>`".contains(letter);
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("://") {
        let (scheme, after) = rest.split_at(place + "://".len());
        let (url, later) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = url.split_at(url.find(['/', '\\']).unwrap_or(url.len()));
        bare.push_str(scheme);
        bare.push_str(authority.rsplit('@').next().unwrap_or_default());
        bare.push_str(path);
        rest = later;
    }
    bare.push_str(rest);
    bare
}

/// The text up to so many characters; a cut one ends in `…`.
pub(super) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
