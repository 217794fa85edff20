//! The digests that a host names for what it sends, and whether the bytes are those.
//!
//! Some hosts say beside a file which digest it has. Where that is a digest of the whole, and the bytes have another
//! one, they were spoilt on the host or on their way, whatever their length and their container look like.
//!
//! | header | with the whole (200) | with the rest (206) |
//! | --- | --- | --- |
//! | `Repr-Digest`, `sha-256` (RFC 9530) | of the whole | of the whole |
//! | `Content-Digest`, `sha-256` (RFC 9530) | of the whole | of this body: passed over |
//! | `Content-MD5` (RFC 1864) | of the whole | of this body: passed over |
//! | `x-amz-checksum-sha256` (S3) | of the whole | perhaps of a part: passed over |
//! | any of them, with another algorithm or unreadable | passed over | passed over |
//!
//! A digest of digests, which S3 names for objects that were sent in parts (`…-3`), is unreadable in this sense.

use data_encoding::BASE64;

use crate::sha256::Digest;

/// The digests of one file that its host names; the default names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    sha256: Vec<(&'static str, Digest)>,
    md5: Option<[u8; 16]>,
}

impl Named {
    /// Reads the headers of an answer with this status, as the table says; `header` gives a header's values, those of
    /// several lines joined by commas.
    #[must_use]
    pub fn read(status: u16, header: impl Fn(&'static str) -> Option<String>) -> Self {
        let dictionary = |name| header(name).and_then(|value| sha_256(&value)).map(|digest| (name, digest));
        let repr = dictionary("Repr-Digest");
        if status != 200 {
            return Self { sha256: repr.into_iter().collect(), md5: None };
        }
        let bare = |name| Some((name, Digest::from_bytes(decode(&header(name)?)?)));
        let sha256 = [repr, dictionary("Content-Digest"), bare("x-amz-checksum-sha256")];
        let md5 = header("Content-MD5").and_then(|value| decode(&value));
        Self { sha256: sha256.into_iter().flatten().collect(), md5 }
    }

    /// Adds what a later answer for the same file names.
    pub fn add(&mut self, later: Self) {
        self.sha256.extend(later.sha256);
        self.md5 = later.md5.or(self.md5);
    }

    /// Whether an MD5 is named, and so has to be computed.
    #[must_use]
    pub fn wants_md5(&self) -> bool {
        self.md5.is_some()
    }

    /// The first header that names another digest than the bytes have; an MD5 that was not computed belies nothing.
    #[must_use]
    pub fn belied_by(&self, sha256: &Digest, md5: Option<[u8; 16]>) -> Option<&'static str> {
        let other = self.sha256.iter().find(|(_, named)| named != sha256).map(|(header, _)| *header);
        let md5_differs = self.md5.zip(md5).is_some_and(|(named, seen)| named != seen);
        other.or(md5_differs.then_some("Content-MD5"))
    }
}

/// The `sha-256` member of a structured dictionary (RFC 8941): `sha-512=:…:, sha-256=:…:;note=1`. As everywhere in
/// such dictionaries the last member of a name holds.
fn sha_256(dictionary: &str) -> Option<Digest> {
    let mut from_the_last = dictionary.rsplit(',').filter_map(|member| member.trim().split_once('='));
    let (_, value) = from_the_last.find(|(name, _)| *name == "sha-256")?;
    let (coded, parameters) = value.strip_prefix(':')?.split_once(':')?;
    let parameters_only = parameters.is_empty() || parameters.starts_with(';');
    decode(coded).filter(|_| parameters_only).map(Digest::from_bytes)
}

fn decode<const BYTES: usize>(coded: &str) -> Option<[u8; BYTES]> {
    BASE64.decode(coded.trim().as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of nothing.
    const SHA256: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const MD5: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";

    fn read(status: u16, name: &str, value: &str) -> Named {
        Named::read(status, |asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn headers_speak_of_the_whole_row_by_row() {
        let (empty, other) = (Digest::of(b""), Digest::of(b"other"));
        let dictionary = format!("sha-256=:{SHA256}:");
        let table = [
            ("Repr-Digest", dictionary.as_str(), true, true),
            ("Content-Digest", &dictionary, true, false),
            ("x-amz-checksum-sha256", SHA256, true, false),
            ("Repr-Digest", "sha-512=:AAAA:", false, false),
            ("x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-3", false, false),
            ("Content-MD5", "nothing", false, false),
            ("etag", SHA256, false, false),
        ];
        for (name, value, with_the_whole, with_the_rest) in table {
            for (status, counts) in [(200, with_the_whole), (206, with_the_rest)] {
                let named = read(status, name, value);
                assert_eq!(named.belied_by(&empty, None), None, "{name}: {value}");
                assert_eq!(named.belied_by(&other, None), counts.then_some(name), "{status} {name}: {value}");
            }
        }
        for (status, counts) in [(200, true), (206, false)] {
            let named = read(status, "Content-MD5", MD5);
            assert_eq!(named.wants_md5(), counts);
            assert_eq!(named.belied_by(&empty, Some([0; 16])), counts.then_some("Content-MD5"));
            assert_eq!(named.belied_by(&empty, None), None);
        }
        let Some(md5) = decode(MD5) else { panic!("an MD5") };
        assert_eq!(read(200, "Content-MD5", MD5).belied_by(&other, Some(md5)), None);
    }

    #[test]
    fn the_member_of_a_dictionary_is_found_wherever_it_stands() {
        let coded = format!(":{SHA256}:");
        let table = [
            (format!("sha-256={coded}"), true),
            (format!("sha-512=:AAAA:, sha-256={coded}"), true),
            (format!("  sha-256={coded};a=1 ,unixsum=:AA==:"), true),
            (format!("sha-256=:AAAA:, sha-256={coded}"), true),
            (format!("sha-256={coded}, sha-256=:AAAA:"), false),
            (format!("SHA-256={coded}"), false),
            (format!("sha-256 ={coded}"), false),
            (format!("sha-256={coded}x"), false),
            (format!("sha-256={SHA256}"), false),
            (format!("sha-256=:{SHA256}"), false),
            ("sha-256".into(), false),
            ("sha-256=:47DEQpj8HBSa:".into(), false),
            (String::new(), false),
        ];
        for (text, found) in table {
            assert_eq!(sha_256(&text), found.then(|| Digest::of(b"")), "{text}");
        }
    }

    #[test]
    fn what_a_later_answer_names_holds_beside_the_earlier() {
        let mut named = read(200, "Content-MD5", MD5);
        named.add(read(206, "Repr-Digest", &format!("sha-256=:{SHA256}:")));
        assert!(named.wants_md5());
        assert_eq!(named.belied_by(&Digest::of(b"other"), None), Some("Repr-Digest"));
        assert_eq!(named.belied_by(&Digest::of(b""), Some([0; 16])), Some("Content-MD5"));
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd_to_be_read(text in "(sha-256|=|:|,|;|[A-Za-z0-9+/=]{0,44}|.){0,12}") {
            let named = Named::read(200, |_| Some(text.clone()));
            prop_assert_eq!(named.belied_by(&Digest::of(b""), None).is_some(), !named.sha256.is_empty());
        }
    }
}
