//! What a media file is, and whether it is whole, told from its bytes alone.
//!
//! Hosts lie about types, and a transfer that ends early can look like one that ended well. So the kind comes from a
//! file's first bytes ([`sniff`]), and a [`Walker`] follows the container's own structure while the bytes pass by:
//! what a GIF, MP4, PNG, JPEG, WebM, WebP, WAV or GLB says about its end is compared with where the bytes ended. The
//! walker takes chunks of any size, keeps no copies and skips over the payload, so it costs next to nothing. It proves
//! that nothing is cut off; that every frame decodes it does not.
//!
//! Bytes after a container's end are not counted against it: cameras and encoders put things there.

mod walk;

use serde::{Deserialize, Serialize};

pub use walk::{Completeness, Verdict, Walker, judge};

/// A kind is told from at most this many bytes.
pub const SNIFF_BYTES: usize = 512;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// GIF 87a or 89a.
    Gif,
    /// MPEG-4 and its relatives in the ISO container.
    Mp4,
    /// QuickTime.
    Mov,
    /// WebM.
    WebM,
    /// Matroska.
    Mkv,
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
    /// AVIF or HEIF, in the ISO container.
    Avif,
    /// WAVE.
    Wav,
    /// AVI.
    Avi,
    /// MPEG audio.
    Mp3,
    /// Ogg.
    Ogg,
    /// FLAC.
    Flac,
    /// Audio in the ISO container.
    M4a,
    /// Binary glTF.
    Glb,
    /// None of these.
    Unknown,
}

/// Each kind with its name and its extension.
const KINDS: &[(MediaKind, &str, &str)] = &[
    (MediaKind::Gif, "gif", "gif"),
    (MediaKind::Mp4, "mp4", "mp4"),
    (MediaKind::Mov, "mov", "mov"),
    (MediaKind::WebM, "webm", "webm"),
    (MediaKind::Mkv, "mkv", "mkv"),
    (MediaKind::Png, "png", "png"),
    (MediaKind::Jpeg, "jpeg", "jpg"),
    (MediaKind::WebP, "webp", "webp"),
    (MediaKind::Avif, "avif", "avif"),
    (MediaKind::Wav, "wav", "wav"),
    (MediaKind::Avi, "avi", "avi"),
    (MediaKind::Mp3, "mp3", "mp3"),
    (MediaKind::Ogg, "ogg", "ogg"),
    (MediaKind::Flac, "flac", "flac"),
    (MediaKind::M4a, "m4a", "m4a"),
    (MediaKind::Glb, "glb", "glb"),
];

/// Extensions of formats that are no text. A file of no known kind may keep these and the others from its URL.
const BINARY_EXTENSIONS: &[&str] = &[
    "gif", "mp4", "m4v", "mov", "webm", "mkv", "avi", "png", "jpg", "jpeg", "webp", "avif", "heic", "bmp",
    "tiff", "tif", "exr", "wav", "mp3", "ogg", "opus", "flac", "m4a", "aac", "glb", "usdz", "zip",
];
/// Extensions of formats that are text, or may be.
const OTHER_EXTENSIONS: &[&str] = &["gltf", "obj", "mtl", "fbx", "stl", "ply", "txt", "srt", "vtt", "base64"];

impl MediaKind {
    /// The kind's name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("unknown", |(_, name, _)| name)
    }

    /// The extension of its files; `None` for [`MediaKind::Unknown`].
    #[must_use]
    pub fn extension(self) -> Option<&'static str> {
        KINDS.iter().find(|(kind, ..)| *kind == self).map(|(.., extension)| *extension)
    }
}

/// What a file's first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Media of this kind.
    Kind(MediaKind),
    /// Nothing known: formats are born, so this is no fault.
    Unknown,
    /// Nothing known either, but words for people: no base64, and no byte that no text has.
    Text,
    /// A document such as hosts send in place of a file.
    NotMedia(NotMedia),
}

/// A document in place of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMedia {
    /// A web page.
    Html,
    /// A JSON document.
    Json,
    /// An XML document, SVG included.
    Xml,
    /// Plain text.
    Text,
}

/// Tells what a file is from its first bytes, up to [`SNIFF_BYTES`] of them.
#[must_use]
pub fn sniff(head: &[u8]) -> Sniff {
    magic(head).map_or_else(|| text_or_unknown(head), Sniff::Kind)
}

/// What a head without any kind's magic shows.
fn text_or_unknown(head: &[u8]) -> Sniff {
    match document(head) {
        Some(document) => Sniff::NotMedia(document),
        None if are_words(head) => Sniff::Text,
        None => Sniff::Unknown,
    }
}

fn magic(head: &[u8]) -> Option<MediaKind> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    Some(match () {
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => MediaKind::Gif,
        () if at(0, b"\x89PNG\r\n\x1a\n") => MediaKind::Png,
        () if at(0, b"\xff\xd8\xff") => MediaKind::Jpeg,
        () if at(0, b"\x1a\x45\xdf\xa3") => matroska(head),
        () if at(0, b"RIFF") && at(8, b"WEBP") => MediaKind::WebP,
        () if at(0, b"RIFF") && at(8, b"WAVE") => MediaKind::Wav,
        () if at(0, b"RIFF") && at(8, b"AVI ") => MediaKind::Avi,
        () if at(0, b"glTF") => MediaKind::Glb,
        () if at(0, b"OggS") => MediaKind::Ogg,
        () if at(0, b"fLaC") => MediaKind::Flac,
        () if at(4, b"ftyp") => brand(head.get(8..12).unwrap_or_default()),
        () if at(4, b"moov") || at(4, b"wide") || at(4, b"mdat") && head.len() >= 16 => MediaKind::Mov,
        () if at(0, b"ID3") => MediaKind::Mp3,
        () if is_mpeg_audio(head) && !is_wide_text(head) => MediaKind::Mp3,
        () => return None,
    })
}

/// The major brand of an ISO container.
fn brand(brand: &[u8]) -> MediaKind {
    match brand {
        b"qt  " => MediaKind::Mov,
        b"avif" | b"avis" | b"heic" | b"heix" | b"mif1" | b"msf1" => MediaKind::Avif,
        b"M4A " | b"M4B " => MediaKind::M4a,
        _ => MediaKind::Mp4,
    }
}

/// Both share the container; the document type near the start tells them apart.
fn matroska(head: &[u8]) -> MediaKind {
    let near = &head[..head.len().min(64)];
    if near.windows(4).any(|window| window == b"webm") { MediaKind::WebM } else { MediaKind::Mkv }
}

/// An MPEG audio frame's header: sync, a valid layer, bit rate and sample rate.
fn is_mpeg_audio(head: &[u8]) -> bool {
    let &[0xff, second, third, _, ..] = head else { return false };
    let layer_and_version = second & 0xe0 == 0xe0 && second & 0x06 != 0 && second & 0x18 != 0x08;
    layer_and_version && third >> 4 != 0xf && third >> 4 != 0 && third & 0x0c != 0x0c
}

/// The mark of UTF-16 is a sync word of MPEG audio too; letters with zeros between them are no audio.
fn is_wide_text(head: &[u8]) -> bool {
    /// As many letters as no frame begins with.
    const LETTERS: usize = 4;
    let Some(text) = head.strip_prefix(UTF16_LE_MARK) else { return false };
    let (units, _) = text.as_chunks();
    units.len() >= LETTERS
        && units[..LETTERS].iter().all(|[low, high]| low.is_ascii() && *low != 0 && *high == 0)
}

/// Tags with which pages begin, their own or a template's.
const HTML: &[&str] = &[
    "<!doctype html",
    "<html",
    "<head",
    "<body",
    "<title",
    "<script",
    "<meta",
    "<link",
    "<style",
    "<div",
    "<span",
    "<center",
    "<font",
    "<iframe",
    "<h1",
    "<h2",
    "<h3",
    "<pre",
    "<p>",
    "<p ",
    "<b>",
    "<br",
    "<table",
    "<a ",
];
/// Tags with which other documents begin; S3 and its like answer with the third.
const XML: &[&str] = &["<?xml", "<!doctype", "<error", "<svg", "<rss", "<feed"];

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_LE_MARK: &[u8] = b"\xff\xfe";
const UTF16_BE_MARK: &[u8] = b"\xfe\xff";

/// The document that begins here. Tags are looked for in the bytes as they stand: pages come in Latin-1 too, and with
/// stray bytes in them, and no media begins with a tag. Only what looks like JSON has to be text.
fn document(head: &[u8]) -> Option<NotMedia> {
    let decoded = utf16(head);
    let head = decoded.as_deref().map_or(head, str::as_bytes);
    let head = &head[blank_bytes(head)..];
    let begins = |tags: &[&str]| tags.iter().any(|tag| begins_with(head, tag));
    match head.first()? {
        b'<' if begins(HTML) => Some(NotMedia::Html),
        b'<' if begins(&["<!--"]) => {
            let page = head.windows("<html".len()).any(|window| begins_with(window, "<html"));
            Some(if page { NotMedia::Html } else { NotMedia::Xml })
        }
        b'<' if begins(XML) => Some(NotMedia::Xml),
        b'{' | b'[' => text_of(head).filter(|text| looks_like_json(text)).map(|_| NotMedia::Json),
        _ => None,
    }
}

/// Whether the bytes are text, and not that of a file in base64.
fn are_words(head: &[u8]) -> bool {
    /// Nobody's picture is shorter, and single words are: `AccessDenied`.
    const BASE64_LEAST: usize = 64;
    let Some(text) = text_of(head).map(str::trim_ascii).filter(|text| !text.is_empty()) else { return false };
    let coded = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(&byte);
    let is_base64 = text.len() >= BASE64_LEAST && text.bytes().all(coded);
    !is_base64 && !begins_with(text.as_bytes(), "data:")
}

/// Whether the bytes begin with this tag, in whatever case it is written.
fn begins_with(bytes: &[u8], tag: &str) -> bool {
    bytes.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
}

/// A head in UTF-16, as its mark says, with what is no text in it replaced.
fn utf16(head: &[u8]) -> Option<String> {
    let read = match head.get(..2)? {
        UTF16_LE_MARK => u16::from_le_bytes,
        UTF16_BE_MARK => u16::from_be_bytes,
        _ => return None,
    };
    let (units, _) = head[2..].as_chunks();
    let letters = char::decode_utf16(units.iter().map(|unit| read(*unit)));
    Some(letters.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// How many bytes at the beginning are a mark of UTF-8 or white space.
fn blank_bytes(head: &[u8]) -> usize {
    let marked = if head.starts_with(UTF8_MARK) { UTF8_MARK.len() } else { 0 };
    marked + head[marked..].iter().take_while(|byte| is_blank(**byte)).count()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

/// How many bytes of white space a head begins with, without the mark of UTF-16 that tells how to read them.
fn blank_units(head: &[u8]) -> std::ops::Range<usize> {
    let Some(text) = utf16(head) else { return 0..blank_bytes(head) };
    2..2 + 2 * text.bytes().take_while(|byte| is_blank(*byte)).count()
}

/// The head as text; `None` where it holds what no text holds. A character cut by the head's end is no fault.
fn text_of(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let control =
        |letter: char| letter.is_control() && !matches!(letter, '\t' | '\r' | '\n' | '\u{c}' | '\u{1b}');
    (!text.contains(control)).then_some(text)
}

/// An object, or an array whose first item is JSON too: transcripts begin with a bracket as well, `[00:01]` or `[noise]`.
fn looks_like_json(text: &str) -> bool {
    let inside = |bracket| text.strip_prefix(bracket).map(str::trim_start);
    if let Some(inside) = inside('{') {
        return inside.is_empty() || inside.starts_with(['"', '}']);
    }
    inside('[').is_some_and(|inside| {
        let item = inside.split([',', ']']).next().unwrap_or_default();
        inside.is_empty()
            || inside.starts_with(['{', '[', '"', ']'])
            || serde_json::from_str::<serde_json::Value>(item).is_ok()
    })
}

/// The document that a `Content-Type` announces. All other types are hints that nobody follows: hosts send images as
/// `text/plain`.
#[must_use]
pub fn announced(content_type: &str) -> Option<NotMedia> {
    match essence(content_type).as_str() {
        "text/html" | "application/xhtml+xml" => Some(NotMedia::Html),
        "application/json" | "text/json" | "application/problem+json" => Some(NotMedia::Json),
        "application/xml" | "text/xml" | "application/problem+xml" => Some(NotMedia::Xml),
        _ => None,
    }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What a host and a file's name say that it is: hints, which decide only where the bytes leave a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The document that the type announces.
    announced: Option<NotMedia>,
    /// Whether the file may be JSON and media all the same: glTF is written in it.
    may_be_json: bool,
    /// Whether the name is that of a format that is no text.
    is_named_binary: bool,
    /// Whether the type is one of text.
    is_typed_text: bool,
}

impl Hints {
    /// What a `Content-Type` and a URL's path say.
    #[must_use]
    pub fn of(content_type: Option<&str>, url_path: &str) -> Self {
        let extension = extension(url_path);
        let is = |known: &str| extension.eq_ignore_ascii_case(known);
        Self {
            announced: content_type.and_then(announced),
            may_be_json: is("gltf") || content_type.is_some_and(|text| essence(text) == "model/gltf+json"),
            is_named_binary: BINARY_EXTENSIONS.iter().any(|known| is(known)),
            is_typed_text: content_type.is_some_and(|text| essence(text).starts_with("text/")),
        }
    }
}

/// The document that came in place of media.
///
/// | the first bytes show | name and type say | came |
/// | --- | --- | --- |
/// | JSON | glTF in JSON | media |
/// | a document | anything else | that document |
/// | a known kind of media | anything | media |
/// | nothing known, or words | a document | what the type announces |
/// | words | the name of a format that is no text | plain text |
/// | nothing known, or words | anything else | media of a kind that is not known |
#[must_use]
pub fn in_place_of_media(sniff: Sniff, hints: Hints) -> Option<NotMedia> {
    match sniff {
        Sniff::NotMedia(NotMedia::Json) if hints.may_be_json => None,
        Sniff::NotMedia(document) => Some(document),
        Sniff::Kind(_) => None,
        Sniff::Unknown => hints.announced,
        Sniff::Text => hints.announced.or_else(|| hints.is_named_binary.then_some(NotMedia::Text)),
    }
}

/// Whether a head of which nothing is known is a host's message all the same, in an encoding other than UTF-8. Such are
/// looked for only under the name of a format that is no text.
///
/// | the head | the type | |
/// | --- | --- | --- |
/// | words in UTF-16 behind its mark | any | a message |
/// | the whole of a short file, no UTF-8, no control bytes | `text/*` | a message |
/// | anything else | | none |
#[must_use]
pub fn is_message(head: &[u8], hints: Hints) -> bool {
    if !hints.is_named_binary {
        return false;
    }
    if let Some(text) = utf16(head) {
        return !text.contains(char::REPLACEMENT_CHARACTER) && are_words(text.as_bytes());
    }
    let control = |byte: &u8| byte.is_ascii_control() && !b"\t\r\n\x0c\x1b".contains(byte);
    let is_short = head.len() < SNIFF_BYTES;
    hints.is_typed_text && is_short && text_of(head).is_none() && !head.iter().any(control)
}

/// The extension of a file of no known kind: its URL's, where that is one of the known ones, else `bin`.
#[must_use]
pub fn extension_for_unknown(url_path: &str) -> &'static str {
    let extension = extension(url_path);
    let mut known = BINARY_EXTENSIONS.iter().chain(OTHER_EXTENSIONS);
    known.find(|known| known.eq_ignore_ascii_case(extension)).copied().unwrap_or("bin")
}

fn extension(url_path: &str) -> &str {
    let name = url_path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let table: [(&[u8], MediaKind); 22] = [
            (b"GIF89a\x01\0", MediaKind::Gif),
            (b"GIF87a", MediaKind::Gif),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", MediaKind::Png),
            (b"\xff\xd8\xff\xe0", MediaKind::Jpeg),
            (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88webm", MediaKind::WebM),
            (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", MediaKind::Mkv),
            (b"RIFF\x10\0\0\0WEBPVP8 ", MediaKind::WebP),
            (b"RIFF\x10\0\0\0WAVEfmt ", MediaKind::Wav),
            (b"RIFF\x10\0\0\0AVI LIST", MediaKind::Avi),
            (b"\0\0\0\x18ftypisom", MediaKind::Mp4),
            (b"\0\0\0\x14ftypqt  ", MediaKind::Mov),
            (b"\0\0\0\x1cftypavif", MediaKind::Avif),
            (b"\0\0\0\x1cftypM4A ", MediaKind::M4a),
            (b"\0\0\0\x08moov", MediaKind::Mov),
            // Cameras older than `ftyp`; `wide` leaves room for a large header.
            (b"\0\0\0\x08wide\0\0\x10\0mdat", MediaKind::Mov),
            (b"\0\0\x10\0mdatjpeg data", MediaKind::Mov),
            (b"glTF\x02\0\0\0", MediaKind::Glb),
            (b"OggS\0", MediaKind::Ogg),
            (b"fLaC\0", MediaKind::Flac),
            (b"ID3\x04", MediaKind::Mp3),
            (b"\xff\xfb\x90\x64", MediaKind::Mp3),
            (b"\xff\xf3\x14\xc4", MediaKind::Mp3),
        ];
        for (head, want) in table {
            assert_eq!(sniff(head), Sniff::Kind(want), "{head:?}");
        }
    }

    #[test]
    fn documents_in_place_of_media_are_told_from_formats_that_nobody_knows_yet() {
        let html = Sniff::NotMedia(NotMedia::Html);
        let json = Sniff::NotMedia(NotMedia::Json);
        let xml = Sniff::NotMedia(NotMedia::Xml);
        let table: [(&[u8], Sniff); 44] = [
            (b"<!DOCTYPE html><p>", html),
            (b"\xef\xbb\xbf \r\n<HTML lang=en>", html),
            (b"<!-- x --><html>", html),
            (b"<script>", html),
            (b"<?xml version='1.0'?><Error>", xml),
            (b"<Error><Code>NoSuchKey</Code>", xml),
            (b"<!-- x --><svg>", xml),
            (b"<svg xmlns='x'>", xml),
            (b"{\"error\":\"gone\"}", json),
            (b"{}", json),
            (b" [ {\"a\":1}]", json),
            (b"[1,2]", json),
            (b"[-1]", json),
            (b"{", json),
            (b"{x", Sniff::Text),
            (b"{\"error\0", Sniff::Unknown),
            (b"[\xff\"", Sniff::Unknown),
            (b"[Script Info]", Sniff::Text),
            (b"[00:00.000 --> 00:02.500] a fox barks", Sniff::Text),
            (b"[noise] wind", Sniff::Text),
            (b"[7 foxes]", Sniff::Text),
            (b"[-]", Sniff::Text),
            (b"[ 1.5e3 ,2]", json),
            (b"[7", json),
            (b"[", json),
            (b"[]", json),
            (b"[[1", json),
            (b"[\"a\"", json),
            (b"[false]", json),
            (b"[null,", json),
            (b"[true]", json),
            (b"", Sniff::Unknown),
            (b"plain words", Sniff::Text),
            (b"# OBJ\nv 1 2 3", Sniff::Text),
            (b"\x00\x01\x02\x03", Sniff::Unknown),
            (b"\xff\xff\x90\x64", Sniff::Kind(MediaKind::Mp3)),
            (b"\xff\xe1\x90\x64", Sniff::Unknown),
            (b"\xff\xfb\xf0\x64", Sniff::Unknown),
            (b"\xff\xfb\x0c\x64", Sniff::Unknown),
            // The reserved version, and the reserved sample rate.
            (b"\xff\xeb\x90\x64", Sniff::Unknown),
            (b"\xff\xfb\x9c\x64", Sniff::Unknown),
            // MIDI has the container of WAV and AVI.
            (b"RIFF\x10\0\0\0RMIDdata", Sniff::Unknown),
            (b"the mdat box", Sniff::Text),
            (b"{\"caf\xc3", json),
        ];
        for (head, want) in table {
            assert_eq!(sniff(head), want, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn a_page_is_told_in_any_encoding_and_with_any_bytes_in_it() {
        let html = Sniff::NotMedia(NotMedia::Html);
        let xml = Sniff::NotMedia(NotMedia::Xml);
        let wide = |mark: &[u8], text: &str, bytes: fn(u16) -> [u8; 2]| {
            [mark, &text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()].concat()
        };
        let table: [(Vec<u8>, Sniff); 17] = [
            (b"<!DOCTYPE html><title>Acc\xe8s refus\xe9".to_vec(), html),
            (b"<html><body>gone\0</body>".to_vec(), html),
            (b"<pre>Not Found</pre>".to_vec(), html),
            (b"<H2>403 Forbidden</H2>".to_vec(), html),
            (b"<p class=x>gone".to_vec(), html),
            (b"<!-- caf\xe9 --><HTML>".to_vec(), html),
            (b"<?xml version='1.0' encoding='latin1'?><m>caf\xe9</m>".to_vec(), xml),
            (wide(b"\xff\xfe", "\r\n<!DOCTYPE HTML>\u{e9}", u16::to_le_bytes), html),
            (wide(b"\xfe\xff", "<html>", u16::to_be_bytes), html),
            (wide(b"\xfe\xff", "<?xml version='1.0'?>", u16::to_be_bytes), xml),
            (wide(b"\xff\xfe", " <html>", u16::to_le_bytes), html),
            (wide(b"\xff\xfe", "a fox", u16::to_le_bytes), Sniff::Unknown),
            (b"\xff\xfea\0\0\0\0\0\0\0\0\0".to_vec(), Sniff::Kind(MediaKind::Mp3)),
            (b"\xff\xfe".to_vec(), Sniff::Unknown),
            (b"\xff\xfe<".to_vec(), Sniff::Unknown),
            // A cut of a page's first tag is none yet, and neither is arithmetic.
            (b"<ht".to_vec(), Sniff::Text),
            (b"<3 foxes".to_vec(), Sniff::Text),
        ];
        for (head, want) in table {
            assert_eq!(sniff(&head), want, "{:?}", String::from_utf8_lossy(&head));
        }
    }

    #[test]
    fn a_type_that_announces_a_document_is_believed_where_the_bytes_show_nothing() {
        let (html, json) = (Some(NotMedia::Html), Some(NotMedia::Json));
        let gif = Sniff::Kind(MediaKind::Gif);
        let announces = |announced| Hints { announced, ..Hints::default() };
        let table = [
            (Sniff::NotMedia(NotMedia::Json), None, json),
            (Sniff::NotMedia(NotMedia::Json), html, json),
            (gif, None, None),
            (gif, html, None),
            (Sniff::Unknown, html, html),
            (Sniff::Unknown, None, None),
            (Sniff::Text, html, html),
            (Sniff::Text, None, None),
        ];
        for (sniff, announced, want) in table {
            assert_eq!(in_place_of_media(sniff, announces(announced)), want, "{sniff:?} {announced:?}");
        }
        for (text, want) in [
            ("text/html", html),
            (" Text/HTML ; charset=utf-8", html),
            ("application/json", json),
            ("application/xml;a=b", Some(NotMedia::Xml)),
            ("text/plain", None),
            ("model/gltf+json", None),
            ("video/mp4", None),
            ("", None),
        ] {
            assert_eq!(announced(text), want, "{text:?}");
        }
    }

    #[test]
    fn words_are_told_from_base64_and_from_bytes() {
        let base64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ".repeat(2);
        let lines = base64.as_bytes().chunks(76).collect::<Vec<_>>().join(b"\r\n".as_slice());
        let table: [(&[u8], Sniff); 10] = [
            (b"error code: 1015", Sniff::Text),
            (b"File has expired\n", Sniff::Text),
            (b"AccessDenied", Sniff::Text),
            ("Nicht gefunden: Füchse".as_bytes(), Sniff::Text),
            (base64.as_bytes(), Sniff::Unknown),
            (&lines, Sniff::Unknown),
            (b"data:image/png;base64,iVBORw0KGgo=", Sniff::Unknown),
            (b"\r\n  ", Sniff::Unknown),
            (b"gone\0", Sniff::Unknown),
            (b"gone\xff", Sniff::Unknown),
        ];
        for (head, want) in table {
            assert_eq!(sniff(head), want, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn words_under_a_name_of_binary_media_are_no_media_and_gltf_may_be_json() {
        let came = |sniff, kind: &str, path: &str| in_place_of_media(sniff, Hints::of(Some(kind), path));
        for path in
            ["/a.mp4", "/a/b.GIF", "/a.png", "/a.jpg", "/a.jpeg", "/a.webm", "/a.glb", "/a.wav", "/.mp4"]
        {
            assert_eq!(came(Sniff::Text, "video/mp4", path), Some(NotMedia::Text), "{path}");
            assert_eq!(came(Sniff::Unknown, "video/mp4", path), None, "{path}");
        }
        for path in ["/a.txt", "/a.srt", "/a.vtt", "/a.obj", "/a.mtl", "/a.base64", "/a", "/", "/a.mp4/b"] {
            assert_eq!(came(Sniff::Text, "text/plain", path), None, "{path}");
        }
        let json = Sniff::NotMedia(NotMedia::Json);
        assert_eq!(came(json, "application/json", "/a.gltf"), None);
        assert_eq!(came(json, "Model/glTF+JSON; charset=utf-8", "/a"), None);
        assert_eq!(came(json, "model/gltf-binary", "/a.glb"), Some(NotMedia::Json));
        assert_eq!(came(Sniff::NotMedia(NotMedia::Html), "model/gltf+json", "/a.gltf"), Some(NotMedia::Html));
        assert_eq!(in_place_of_media(Sniff::Text, Hints::of(None, "/a.gif")), Some(NotMedia::Text));
    }

    #[test]
    fn words_in_other_encodings_under_a_name_of_binary_media_are_a_message() {
        let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        let (latin, latin_type) = (b"Acc\xe8s refus\xe9".as_slice(), "text/plain; charset=iso-8859-1");
        let little = wide("Error", u16::to_le_bytes);
        let table: [(&[u8], &str, &str, bool); 14] = [
            (latin, latin_type, "/a.mp4", true),
            (latin, "Text/HTML", "/a.HEIC", true),
            (latin, "video/mp4", "/a.mp4", false),
            (latin, latin_type, "/a.srt", false),
            (latin, latin_type, "/a", false),
            (b"gone\xff\0", latin_type, "/a.mp4", false),
            (&[0xe9; SNIFF_BYTES], latin_type, "/a.mp4", false),
            (&b"AAAAGGZ0eXBpc29t".repeat(9), "text/plain", "/a.mp4", false),
            (&little, "text/plain", "/a.mp4", true),
            (&wide("Error", u16::to_be_bytes), "video/mp4", "/a.m4v", true),
            (&little, "text/plain", "/a.srt", false),
            (&wide("Err\0r", u16::to_be_bytes), "text/plain", "/a.mp4", false),
            (b"\xfe\xff\xd8\0\0A", "text/plain", "/a.mp4", false),
            (b"\xfe\xff", "text/plain", "/a.mp4", false),
        ];
        for (head, kind, path, want) in table {
            assert_eq!(is_message(head, Hints::of(Some(kind), path)), want, "{head:?} {kind} {path}");
        }
        for extension in ["m4v", "heic", "bmp", "tif", "exr", "opus", "aac", "usdz", "zip"] {
            let hints = Hints::of(Some("text/plain"), &format!("/a.{extension}"));
            assert_eq!(in_place_of_media(Sniff::Text, hints), Some(NotMedia::Text), "{extension}");
        }
    }

    #[test]
    fn names_and_extensions_belong_to_their_kind() {
        for (kind, name, extension) in KINDS {
            assert_eq!((kind.extension(), kind.name()), (Some(*extension), *name));
        }
        assert_eq!((MediaKind::Unknown.name(), MediaKind::Unknown.extension()), ("unknown", None));
    }

    #[test]
    fn a_file_of_no_known_kind_keeps_only_a_known_extension() {
        let table = [
            ("/a/b.OBJ", "obj"),
            ("/a/b.txt", "txt"),
            ("/a/b.sh", "bin"),
            ("/a.gif/b", "bin"),
            ("/a/", "bin"),
            ("", "bin"),
            ("/a/.mp4", "mp4"),
            ("/a/b.mp4.desktop", "bin"),
        ];
        for (path, want) in table {
            assert_eq!(extension_for_unknown(path), want, "{path}");
        }
    }
}
