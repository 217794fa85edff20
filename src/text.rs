//! Texts that need care: what a server said, and what nobody may see.
//!
//! Whatever came from outside is shown through [`Untrusted`], so that no message moves the cursor, renames the window
//! or turns the line around. The account's key is a [`Secret`], which no format string can print; where it comes back
//! all the same, in an answer that repeats the request, a [`Redactor`] takes it out before anything else reads it, and
//! once more before anything is written.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};

/// What stands where the key stood.
pub const KEY_MARK: &str = "[key]";
/// An [`Untrusted`] text shows at most this many characters.
pub const SHOWN_MAX: usize = 500;
/// A longer text is a file that was named by mistake, not a key.
const SECRET_MAX: usize = 1_024;
/// Shorter keys stand in texts by chance; looking for them would spoil digests, names and the answers themselves.
const LOOKED_FOR_FROM: usize = 8;
/// JSON within JSON within JSON doubles its backslashes twice.
const BACKSLASHES_MAX: usize = 4;

/// A text from outside. Its `Display` escapes whatever could act on a terminal or deceive the eye, and cuts the text
/// after [`SHOWN_MAX`] characters, or after as many as a precision allows (`{:.80}`).
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = f.precision().unwrap_or(SHOWN_MAX);
        for letter in self.0.chars() {
            let escape = Escape(letter).to_string();
            let width = if is_unsafe(letter) { escape.len() } else { 1 };
            if width > left {
                return f.write_char('…');
            }
            left -= width;
            if is_unsafe(letter) { f.write_str(&escape) } else { f.write_char(letter) }?;
        }
        Ok(())
    }
}

/// A character as its escape.
struct Escape(char);

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            other => write!(f, "\\u{{{:x}}}", u32::from(other)),
        }
    }
}

/// Whether a character acts on a terminal, turns or breaks the line, or cannot be seen.
#[must_use]
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // The separators of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Characters without a width.
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A word as a POSIX shell takes it, for commands that are shown to be pasted.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A text that nobody may see. It has no `Debug`, no `Display`, and is not serialised.
#[derive(Clone)]
pub struct Secret(String);

/// Why a text is no [`Secret`], to be read behind the words for what it was meant to be: `the key is empty`. Never says
/// what the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing is there, or only white space.
    #[error("is empty")]
    Empty,
    /// A control character, or one that cannot be seen.
    #[error("holds a control character or an invisible one (character {0}); is it more than one line?")]
    Unsafe(usize),
    /// It is far too long.
    #[error("is longer than any key ({SECRET_MAX} bytes)")]
    TooLong,
}

impl Secret {
    /// Takes the text without the white space around it.
    pub fn new(text: String) -> Result<Self, SecretError> {
        let trimmed = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
        if trimmed.is_empty() {
            return Err(SecretError::Empty);
        }
        if trimmed.len() > SECRET_MAX {
            return Err(SecretError::TooLong);
        }
        if let Some(place) = trimmed.chars().position(is_unsafe) {
            return Err(SecretError::Unsafe(place + 1));
        }
        Ok(Self(if trimmed.len() == text.len() { text } else { trimmed.to_owned() }))
    }

    /// The text itself, for where it has to go.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Puts [`KEY_MARK`] in place of a secret, wherever it stands: as it is or in base64 (standard and for URLs, alone or
/// within something longer), each of them plain, percent-encoded or escaped as in JSON, in whole or in part.
///
/// The default one looks for nothing, and neither does one for a secret of fewer than 8 bytes.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Patterns>>);

struct Patterns {
    patterns: Vec<Vec<char>>,
    /// Whether a match can begin with this byte.
    begins: [bool; 256],
}

impl Redactor {
    /// Looks for this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        if secret.0.len() < LOOKED_FOR_FROM {
            return Self::default();
        }
        // A request's body in base64 holds the secret as JSON spells it.
        let in_json = serde_json::Value::from(secret.0.as_str()).to_string();
        let in_json = in_json.trim_matches('"');
        let texts = std::iter::once(secret.0.clone()).chain(base64_forms(secret.0.as_bytes()));
        let texts = texts
            .chain((in_json != secret.0).then(|| base64_forms(in_json.as_bytes())).into_iter().flatten());
        let patterns: Vec<Vec<char>> = texts.map(|text| text.chars().collect()).collect();
        let mut begins = [false; 256];
        for first in patterns.iter().filter_map(|pattern| pattern.first()) {
            begins[usize::from(first.encode_utf8(&mut [0; 4]).as_bytes()[0])] = true;
        }
        // Any character may come percent-encoded or behind a backslash.
        begins[usize::from(b'%')] = true;
        begins[usize::from(b'\\')] = true;
        Self(Some(Arc::new(Patterns { patterns, begins })))
    }

    /// The text without the secret.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // A match begins and ends where characters do, so nothing is lost.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The bytes without the secret.
    #[must_use]
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.scan(bytes, true).0
    }

    /// A writer that passes on what it is given without the secret.
    pub fn writer<W: io::Write>(&self, inner: W) -> RedactingWriter<W> {
        RedactingWriter { inner, redactor: self.clone(), held: Vec::new() }
    }

    /// The bytes without the secret, and how many of them are decided: the rest may be the secret's beginning, unless
    /// the text `ends` here.
    fn scan<'a>(&self, bytes: &'a [u8], ends: bool) -> (Cow<'a, [u8]>, usize) {
        let Some(patterns) = &self.0 else { return (Cow::Borrowed(bytes), bytes.len()) };
        let mut clean: Vec<u8> = Vec::new();
        let (mut copied, mut at) = (0, 0);
        let mut readings = Readings::default();
        while at < bytes.len() {
            if !patterns.begins[usize::from(bytes[at])] {
                at += 1;
                continue;
            }
            match patterns.longest(&bytes[at..], ends, &mut readings) {
                Found::Nothing => at += 1,
                Found::Perhaps => break,
                Found::Secret(length) => {
                    clean.extend_from_slice(&bytes[copied..at]);
                    clean.extend_from_slice(KEY_MARK.as_bytes());
                    at += length;
                    copied = at;
                }
            }
        }
        if copied == 0 {
            return (Cow::Borrowed(&bytes[..at]), at);
        }
        clean.extend_from_slice(&bytes[copied..at]);
        (Cow::Owned(clean), at)
    }
}

enum Found {
    Nothing,
    /// The bytes end before that can be told.
    Perhaps,
    /// The first so many bytes.
    Secret(usize),
}

/// Where the readings of the bytes so far end, and where those of one more character do; kept over a whole scan.
#[derive(Default)]
struct Readings {
    ends: Vec<usize>,
    next: Vec<usize>,
}

impl Patterns {
    fn longest(&self, bytes: &[u8], ends: bool, readings: &mut Readings) -> Found {
        let mut longest = 0;
        for pattern in &self.patterns {
            let reached = match_pattern(pattern, bytes, readings);
            if reached.cut_short && !ends {
                return Found::Perhaps;
            }
            longest = longest.max(reached.length);
        }
        if longest == 0 { Found::Nothing } else { Found::Secret(longest) }
    }
}

#[derive(Default)]
struct Reached {
    /// The bytes of the longest match; 0 for none.
    length: usize,
    /// Whether more bytes could make a match, or a longer one.
    cut_short: bool,
}

/// Follows every way to read the bytes as the pattern: a character can be spelt in several ways, and a backslash in
/// the pattern makes them ambiguous.
fn match_pattern(pattern: &[char], bytes: &[u8], readings: &mut Readings) -> Reached {
    let mut reached = Reached::default();
    let Readings { ends, next } = readings;
    ends.clear();
    ends.push(0);
    for letter in pattern {
        next.clear();
        for end in ends.iter() {
            spellings(*letter, &bytes[*end..], |spelt| match spelt {
                Spelt::Not => {}
                Spelt::Cut => reached.cut_short = true,
                Spelt::Whole(length) => next.push(end + length),
            });
        }
        if next.is_empty() {
            return reached;
        }
        next.sort_unstable();
        next.dedup();
        std::mem::swap(ends, next);
    }
    reached.length = ends.last().copied().unwrap_or_default();
    reached
}

enum Spelt {
    Not,
    /// The bytes end within a spelling of the character.
    Cut,
    /// The first so many bytes spell the character.
    Whole(usize),
}

/// Tells every spelling of a character with which the bytes may begin. It allocates nothing: a hostile answer may be
/// made of nothing but beginnings.
fn spellings(letter: char, bytes: &[u8], mut tell: impl FnMut(Spelt)) {
    let mut buffer = [0; 4];
    let plain = letter.encode_utf8(&mut buffer).as_bytes();
    tell(compare(plain.iter().copied(), bytes));
    match bytes.first() {
        Some(b'+') if letter == ' ' => tell(Spelt::Whole(1)),
        Some(b'%') => {
            let percent = plain.iter().flat_map(|byte| [b'%', hex(byte >> 4), hex(byte & 15)]);
            tell(compare(percent, bytes));
        }
        Some(b'\\') => escapes(letter, bytes, tell),
        _ => {}
    }
}

/// JSON's spellings, with the doubled backslashes of JSON within JSON.
fn escapes(letter: char, bytes: &[u8], mut tell: impl FnMut(Spelt)) {
    let run = bytes.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    for backslashes in 1..=run {
        let escape = std::iter::repeat_n(b'\\', backslashes);
        let mut units = [0; 2];
        let units = letter.encode_utf16(&mut units).iter();
        let digits =
            |unit: &u16| unit.to_be_bytes().into_iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]);
        let spelling = units.flat_map(|unit| escape.clone().chain([b'u']).chain(digits(unit)));
        tell(compare(spelling, bytes));
        if matches!(letter, '"' | '/' | '\'' | '\\') {
            tell(compare(escape.chain([letter as u8]), bytes));
        }
    }
}

fn hex(digit: u8) -> u8 {
    b"0123456789abcdef"[usize::from(digit)]
}

/// Compares a spelling with the bytes; upper-case hexadecimal digits are as good as lower-case ones.
fn compare(spelling: impl Iterator<Item = u8>, bytes: &[u8]) -> Spelt {
    let mut length = 0;
    let mut escaped = false;
    for want in spelling {
        let Some(byte) = bytes.get(length) else { return Spelt::Cut };
        escaped |= length == 0 && matches!(want, b'%' | b'\\');
        let same =
            *byte == want || (escaped && want.is_ascii_hexdigit() && byte.to_ascii_lowercase() == want);
        if !same {
            return Spelt::Not;
        }
        length += 1;
    }
    Spelt::Whole(length)
}

/// Base64 of the secret, alone or at any place within something longer, where its first and last character may be
/// mixed with what stands around it and are left out.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        let alone = encoding.encode(secret);
        let padding = "=".repeat(alone.len().next_multiple_of(4) - alone.len());
        forms.extend([format!("{alone}{padding}"), alone]);
        for before in 0..3 {
            let mixed_first = (before * 8_usize).div_ceil(6);
            let text = encoding.encode(&[&[0, 0][..before], secret].concat());
            let own = text.len() - usize::from(!(before + secret.len()).is_multiple_of(3));
            forms.push(text[mixed_first..own].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Passes on what it is given without the secret, also where the secret comes in pieces. It holds back only bytes with
/// which the secret may begin: never a whole line, and never longer than the secret's longest form. Dropping it writes
/// what it held back.
pub struct RedactingWriter<W: io::Write> {
    inner: W,
    redactor: Redactor,
    held: Vec<u8>,
}

impl<W: io::Write> io::Write for RedactingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            let (clean, decided) = self.redactor.scan(bytes, false);
            self.inner.write_all(&clean)?;
            self.held.extend_from_slice(&bytes[decided..]);
        } else {
            self.held.extend_from_slice(bytes);
            let (clean, decided) = self.redactor.scan(&self.held, false);
            let written = self.inner.write_all(&clean);
            self.held.drain(..decided);
            written?;
        }
        Ok(bytes.len())
    }

    /// Flushes what is decided; the beginning of what may be the secret stays here.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: io::Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        let (clean, _) = self.redactor.scan(&self.held, true);
        // Nobody is left to tell: whoever needs to know ends with a newline and a flush.
        let _ = self.inner.write_all(&clean).and_then(|()| self.inner.flush());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use data_encoding::{BASE64, BASE64URL};
    use proptest::prelude::*;
    use std::io::Write as _;

    const KEY: &str = "sk-ü/7+q\"w\\e r=Z";

    fn redactor(key: &str) -> Redactor {
        Redactor::new(&Secret::new(key.into()).unwrap())
    }

    #[test]
    fn what_acts_on_a_terminal_or_deceives_the_eye_is_escaped() {
        let table = [
            ("plain, ü, 影片, 🎬", "plain, ü, 影片, 🎬"),
            ("", ""),
            ("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}31m \u{7f}\0", "\\u{9b}31m \\u{7f}\\u{0}"),
            ("abc\u{202e}gpj.exe\u{2066}\u{200f}", "abc\\u{202e}gpj.exe\\u{2066}\\u{200f}"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("pay\u{200b}pal\u{feff}\u{ad}\u{e0041}", "pay\\u{200b}pal\\u{feff}\\u{ad}\\u{e0041}"),
        ];
        for (text, want) in table {
            assert_eq!(Untrusted(text).to_string(), want);
        }
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        for (word, want) in
            [("./out", "./out"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), want);
        }
    }

    #[test]
    fn a_long_text_is_cut_without_cutting_an_escape() {
        let shown = |text: String| Untrusted(&text).to_string();
        assert_eq!(shown("ü".repeat(500)), "ü".repeat(500));
        assert_eq!(shown("ü".repeat(501)), format!("{}…", "ü".repeat(500)));
        assert_eq!(format!("{:.2}|{:.3}", Untrusted("abc"), Untrusted("abc")), "ab…|abc");
        let escapes = shown("\u{1b}".repeat(1_000));
        assert_eq!(escapes, format!("{}…", "\\u{1b}".repeat(83)));
    }

    #[test]
    fn a_key_is_trimmed_and_refused_where_it_cannot_be_one() {
        let good = [("abc", "abc"), (" \u{feff}abc\r\n", "abc"), ("a b", "a b"), ("ü", "ü")];
        for (text, want) in good {
            assert_eq!(Secret::new(text.into()).map(|secret| secret.expose().to_owned()), Ok(want.into()));
        }
        let bad = [
            ("", SecretError::Empty),
            (" \r\n\t", SecretError::Empty),
            ("abc\ndef", SecretError::Unsafe(4)),
            ("ab\0", SecretError::Unsafe(3)),
            ("a\u{200b}c", SecretError::Unsafe(2)),
            (&"k".repeat(1_025), SecretError::TooLong),
        ];
        for (text, want) in bad {
            let error = Secret::new(text.into()).map(|_| ()).unwrap_err();
            assert_eq!(error, want);
            assert!(!error.to_string().contains("abc"));
        }
        assert!(Secret::new("k".repeat(1_024)).is_ok());
    }

    #[test]
    fn the_key_is_replaced_in_every_form() {
        let bytes = KEY.as_bytes();
        let within = |before: &str| BASE64.encode(format!("{before}{KEY}~ and more").as_bytes());
        let url: String = url::form_urlencoded::byte_serialize(bytes).collect();
        let json = json_form(KEY);
        let escaped = units_form(KEY).to_uppercase().replace('U', "u");
        let table = [
            KEY.to_owned(),
            BASE64.encode(bytes),
            BASE64_NOPAD.encode(bytes),
            BASE64URL.encode(bytes),
            BASE64URL_NOPAD.encode(bytes),
            BASE64.encode(bytes).replace('/', "\\/").replace('=', "%3D").replace('+', "%2b"),
            url.clone(),
            url.replace('+', "%20").replace("%C3%BC", "%c3%bc"),
            bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat(),
            json.clone(),
            json.replace('/', "\\/").replace('ü', "\\u00fc"),
            escaped.clone(),
            escaped.to_lowercase(),
            json_form(&json),
            json_form(&escaped),
        ];
        for form in table {
            assert_eq!(redactor(KEY).text(&format!("before {form} after")), "before [key] after", "{form}");
        }
        for before in ["", "x", "xy", "xyz", "{\"key\":\""] {
            let clean = redactor(KEY).text(&within(before)).into_owned();
            assert!(clean.contains(KEY_MARK), "{before:?}: {clean}");
        }
        assert_eq!(redactor(KEY).text(&format!("{KEY}{KEY}")), "[key][key]");
    }

    #[test]
    fn other_texts_are_left_alone() {
        let almost = &KEY[..KEY.len() - 1];
        for text in ["", "\\", "%", "\\u", almost, "sk-", "s\u{fc}", "100 %"] {
            assert!(matches!(redactor(KEY).text(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_differs_from_the_key_in_one_letter_is_not_the_key() {
        let percent = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let others = [
            KEY.replace('e', "E"),
            KEY.replace('s', "S"),
            KEY.replace('k', "+"),
            percent.replace("%5a", "%5b"),
            percent.replace("%73", "%7f"),
        ];
        for text in others {
            assert_eq!(redactor(KEY).text(&text), text);
        }
    }

    #[test]
    fn base64_is_replaced_with_all_of_its_padding() {
        for key in ["a key of 17 bytes", "a key of 16 byte", "a key of 18 bytes!"] {
            let text = format!("before {} after", BASE64.encode(key.as_bytes()));
            assert_eq!(redactor(key).text(&text), "before [key] after", "{text}");
        }
    }

    #[test]
    fn a_key_too_short_to_be_told_from_chance_is_not_looked_for() {
        let sum = "4b227777d4dd1fc61c6f884f48641d02b4d121d3fd328cb08b5531fcacdabf8a  out/4/4-0.gif";
        for key in ["4", "out", "dd1fc61"] {
            assert_eq!(redactor(key).text(sum), sum);
        }
        assert_eq!(redactor("dd1fc61c").text("id dd1fc61c"), "id [key]");
        assert_eq!(Redactor::default().text("anything"), "anything");
    }

    #[test]
    fn an_ambiguous_key_is_found_and_costs_no_more_for_it() {
        let key = "\\".repeat(40);
        for text in [key.clone(), "\\".repeat(80), "\\".repeat(200)] {
            assert_eq!(redactor(&key).text(&text).replace(KEY_MARK, "").replace('\\', ""), "");
            assert!(redactor(&key).text(&text).starts_with(KEY_MARK));
        }
        assert_eq!(redactor("%25%25%25").text("%25%25%25, %2525%2525%2525"), "[key], [key]");
    }

    #[test]
    fn the_writer_passes_a_line_on_at_once_and_holds_back_only_what_may_be_the_key() {
        let mut out = Vec::new();
        let mut writer = redactor("sk-123456").writer(&mut out);
        writer.write_all(b"a line\nand sk-1").unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.inner.as_slice(), b"a line\nand ");
        writer.write_all(b"\nsk-").unwrap();
        assert_eq!(writer.inner.as_slice(), b"a line\nand sk-1\n");
        writer.write_all(b"123456 over").unwrap();
        assert_eq!(writer.inner.as_slice(), b"a line\nand sk-1\n[key] over");
        writer.write_all(b" sk-").unwrap();
        drop(writer);
        assert_eq!(out, b"a line\nand sk-1\n[key] over sk-");
        let mut writer = redactor("sk-123456").writer(io::BufWriter::new(Vec::new()));
        writer.write_all(b"a line\n").unwrap();
        assert!(writer.inner.get_ref().is_empty(), "what is inside holds it back");
        writer.flush().unwrap();
        assert_eq!(writer.inner.get_ref().as_slice(), b"a line\n");
    }

    fn json_form(text: &str) -> String {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    }

    fn units_form(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
    }

    fn form(which: usize, key: &str) -> String {
        match which {
            0 => key.to_owned(),
            1 => BASE64.encode(key.as_bytes()),
            2 => BASE64URL_NOPAD.encode(key.as_bytes()),
            3 => url::form_urlencoded::byte_serialize(key.as_bytes()).collect(),
            4 => json_form(key),
            _ => units_form(key),
        }
    }

    proptest! {
        #[test]
        fn nothing_unsafe_and_nothing_long_is_ever_shown(text in any::<String>(), more in 0..600_usize) {
            let shown = Untrusted(&text.repeat(more.max(1) / 20 + 1)).to_string();
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert!(shown.chars().count() <= SHOWN_MAX + 1);
        }

        #[test]
        fn no_cut_lets_the_key_through(
            key in "[!-~éü ]{8,40}", which in 0..6_usize, before in "[ -~]{0,12}\n?", after in "[ -~\n]{0,12}",
            cuts in proptest::collection::vec(0..400_usize, 0..8)
        ) {
            let Ok(secret) = Secret::new(key) else { return Ok(()) };
            prop_assume!(secret.0.len() >= LOOKED_FOR_FROM);
            let redactor = Redactor::new(&secret);
            let text = format!("{before}{}{after}", form(which, &secret.0));
            let whole = redactor.text(&text).into_owned();
            prop_assert!(whole.contains(KEY_MARK));
            prop_assert!(!whole.contains(&form(which, &secret.0)) || KEY_MARK.contains(&secret.0));

            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (text.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut out, mut from) = (Vec::new(), 0);
            let mut writer = redactor.writer(&mut out);
            for cut in cuts.into_iter().chain([text.len()]) {
                writer.write_all(&text.as_bytes()[from..cut]).unwrap();
                writer.flush().unwrap();
                prop_assert!(writer.held.len() <= 9 * secret.0.len() * 4 / 3 + 36);
                from = cut;
            }
            drop(writer);
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
        }

        #[test]
        fn texts_without_the_key_pass_unchanged(text in any::<String>()) {
            let redactor = redactor("0123456789abcdef");
            prop_assume!(!text.contains("0123"));
            prop_assert_eq!(redactor.text(&text).into_owned(), text.clone());
            let mut out = Vec::new();
            redactor.writer(&mut out).write_all(text.as_bytes()).unwrap();
            prop_assert_eq!(out, text.into_bytes());
        }
    }
}
