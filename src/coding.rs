//! Whether a body comes coded, as its `Content-Encoding` says.
//!
//! Nothing here asks for a coding or undoes one, so a coded body is none of use. But uploads leave all sorts of things
//! in that header, and stores repeat them for ever: nothing at all, a charset, `aws-chunked`. Such words say nothing
//! about the bytes, and a file that is refused for one of them is refused for good. So only words that are codings count.

/// The registry of codings (RFC 9110, 8.4.1) and the older names of two of them, without `identity`, which is none.
const CODINGS: [&str; 12] = [
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "br",
    "zstd",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
    "aes128gcm",
];

/// The first coding that a `Content-Encoding` names, whose lines are one list; `None` where the bytes are as they are.
#[must_use]
pub fn named<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<&'static str> {
    let between = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'-';
    let mut words = lines.into_iter().flat_map(|line| line.split(between));
    words.find_map(|word| CODINGS.iter().find(|coding| word.eq_ignore_ascii_case(coding.as_bytes())).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_are_codings_say_that_a_body_is_coded() {
        let table: [(&[&str], Option<&str>); 17] = [
            (&[], None),
            (&[""], None),
            (&["identity"], None),
            (&["aws-chunked"], None),
            (&["utf-8"], None),
            (&["none, binary;,"], None),
            (&["gzipped"], None),
            (&["gzip"], Some("gzip")),
            (&[" GZip "], Some("gzip")),
            (&["x-gzip"], Some("x-gzip")),
            (&["deflate"], Some("deflate")),
            (&["br;q=1"], Some("br")),
            (&["zstd"], Some("zstd")),
            (&["aws-chunked, gzip"], Some("gzip")),
            (&["aws-chunked,\tcompress"], Some("compress")),
            (&["identity", "br"], Some("br")),
            (&["", "utf-8"], None),
        ];
        for (lines, want) in table {
            assert_eq!(named(lines.iter().map(|line| line.as_bytes())), want, "{lines:?}");
        }
        assert_eq!(named([b"gzip\xff".as_slice()]), Some("gzip"));
    }
}
