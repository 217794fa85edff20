//! What is almost JSON, made JSON.
//!
//! The service repeats what a request said, and not everything that it repeats survives: a prompt cut within an emoji
//! leaves half a pair of escapes, one in Latin-1 leaves bytes that are no UTF-8, and Python writes `NaN`. A strict reader
//! then reads nothing at all, at every poll, while the clip is done and its links stand in the same answer.
//!
//! One pass from left to right, without a stack, and only for bytes that the strict reader refused. What it replaces is a
//! character or a number that was lost before; it closes nothing, so an answer that was cut off stays cut off.

use std::borrow::Cow;

/// Numbers that JSON has not, as Python and JavaScript write them.
const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
/// `\u` and four digits.
const ESCAPE: usize = 6;
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The text with what is odd in it replaced; `None` where there is nothing of the kind.
pub(super) fn repaired(text: &[u8]) -> Option<Vec<u8>> {
    let unicode = String::from_utf8_lossy(text);
    let changed = matches!(unicode, Cow::Owned(_));
    let mut pass = Pass { rest: unicode.as_bytes(), written: Vec::with_capacity(unicode.len()), changed };
    let mut within_text = false;
    while let Some(&byte) = pass.rest.first() {
        match byte {
            b'"' => {
                within_text = !within_text;
                pass.keep(1);
            }
            b'\\' if within_text => pass.escape(),
            0..0x20 if within_text => pass.replace(1, format!("\\u{byte:04x}").as_bytes()),
            b'N' | b'I' | b'-' if !within_text => pass.number(),
            _ => pass.keep(1),
        }
    }
    pass.changed.then_some(pass.written)
}

struct Pass<'a> {
    rest: &'a [u8],
    written: Vec<u8>,
    changed: bool,
}

impl Pass<'_> {
    fn keep(&mut self, bytes: usize) {
        let (kept, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.written.extend_from_slice(kept);
        self.rest = rest;
    }

    fn replace(&mut self, bytes: usize, by: &[u8]) {
        self.written.extend_from_slice(by);
        self.rest = &self.rest[bytes..];
        self.changed = true;
    }

    /// An escape within a text: half a pair of surrogates is no character.
    fn escape(&mut self) {
        match (unit(self.rest), self.rest.get(ESCAPE..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => self.keep(2 * ESCAPE),
            (Some(0xd800..=0xdfff), _) => self.replace(ESCAPE, REPLACEMENT),
            // The byte behind it is no end of the text and begins no other escape; what else it is does not matter.
            _ if matches!(self.rest.get(1), Some(b'"' | b'\\')) => self.keep(2),
            _ => self.keep(1),
        }
    }

    /// What may be a number that JSON has not; within a word it is none.
    fn number(&mut self) {
        let alone = |byte: Option<&u8>| byte.is_none_or(|byte| b",:[]{} \t\r\n".contains(byte));
        let found = NO_NUMBERS
            .iter()
            .find(|word| self.rest.starts_with(word) && alone(self.rest.get(word.len())))
            .filter(|_| alone(self.written.last()));
        match found {
            Some(word) => self.replace(word.len(), b"null"),
            None => self.keep(1),
        }
    }
}

/// The UTF-16 unit of an escape with which the bytes begin.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..ESCAPE)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn what_was_lost_is_replaced_and_everything_else_stays() {
        let table: [(&[u8], Value); 14] = [
            (b"[NaN, \"a, NaN, b\"]", json!([null, "a, NaN, b"])),
            (br#"["a\ud83e"]"#, json!(["a\u{fffd}"])),
            (br#"["\udd8ab"]"#, json!(["\u{fffd}b"])),
            (br#"["\udd8a\ud83e"]"#, json!(["\u{fffd}\u{fffd}"])),
            (br#"["\ud83e\ud83e\udd8a"]"#, json!(["\u{fffd}\u{1f98a}"])),
            (br#"["\ud83ex", "\\ud83e", "\"NaN"]"#, json!(["\u{fffd}x", "\\ud83e", "\"NaN"])),
            (br#"["\ud83e\n", "\ud83e\u0041"]"#, json!(["\u{fffd}\n", "\u{fffd}A"])),
            (b"[\"caf\xe9\"]", json!(["caf\u{fffd}"])),
            (b"[\"a\nb\0\x1f\"]", json!(["a\nb\0\u{1f}"])),
            (b"[\"a\\\nb\"]", json!(["a\\u000ab"])),
            (b"[NaN,Infinity , -Infinity]", json!([null, null, null])),
            (b"{\"a\":NaN}", json!({ "a": null })),
            (b"[NaN, \"NaN, -Infinity\"]", json!([null, "NaN, -Infinity"])),
            (b"\n\t[\"\t\"]", json!(["\t"])),
        ];
        for (text, want) in table {
            let shown = String::from_utf8_lossy(text).into_owned();
            assert!(serde_json::from_slice::<Value>(text).is_err(), "{shown}");
            let repaired = repaired(text).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&repaired).unwrap(), want, "{shown}");
        }
        for hopeless in [
            b"".as_slice(),
            b"NaNa",
            b"[-NaN]",
            b"[xNaN]",
            b"[\\ud83e]",
            b"[1Infinity]",
            b"[\"\\ud8",
            b"[\"\\",
            b"[\"\\x\"]",
            b"[\"\\u+12f\"]",
            b"{\"a\":",
            b"-",
        ] {
            assert_eq!(repaired(hopeless), None, "{}", String::from_utf8_lossy(hopeless));
        }
    }

    proptest! {
        #[test]
        fn a_repaired_text_has_nothing_left_to_repair(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(once) = repaired(&text) {
                prop_assert!(once.len() <= ESCAPE * text.len());
                prop_assert_eq!(repaired(&once), None);
            }
        }

        #[test]
        fn what_looks_like_json_is_repaired_once_or_not_at_all(
            parts in prop::collection::vec(prop::sample::select(vec![
                "\"", "\\", "\\u", "d83e", "\\ud83e", "\\udd8a", "NaN", "-", "Infinity", ",", "[", "]", "{", "}", ":",
                "\n", "\u{1}", "é", "1", " ",
            ]), 0..40),
        ) {
            let text = parts.concat();
            if let Some(once) = repaired(text.as_bytes()) {
                prop_assert_eq!(repaired(&once), None, "{}", text);
            }
        }

        #[test]
        fn a_cut_answer_stays_one(end in 0..60_usize) {
            let text = b"{\"prompt\": \"caf\xe9 \\ud83e\n\", \"n\": [NaN, -Infinity], \"x\": \"y\"}";
            let text = &text[..end.min(text.len() - 1)];
            if let Some(repaired) = repaired(text) {
                prop_assert!(serde_json::from_slice::<Value>(&repaired).is_err());
            }
        }
    }
}
