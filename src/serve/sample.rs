//! The media that the look-alike serves: small real files, made by `fixtures/media/make.sh` and built into the program.

use std::sync::LazyLock;

use crate::sha256::Digest;

/// One file.
#[derive(Debug)]
pub struct Sample {
    /// Its name, with the extension of its kind.
    pub name: &'static str,
    /// What a well-behaved host says that it is.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Sample {
    const fn new(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, content_type, bytes }
    }

    /// The digest of its content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes)
    }

    /// Its extension.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// A strong validator in the form that object stores use: quoted hexadecimal digits of a digest.
    pub(super) fn etag(&self) -> &'static str {
        /// Taken once each: a sample is served many times.
        static ETAGS: LazyLock<Vec<(&'static str, String)>> =
            LazyLock::new(|| ALL.iter().map(|sample| (sample.name, quoted(&sample.digest()))).collect());
        let own = ETAGS.iter().find(|(name, _)| *name == self.name);
        own.map_or("", |(_, etag)| etag)
    }
}

fn quoted(digest: &Digest) -> String {
    /// As many as an MD5 has.
    const DIGITS: usize = 32;
    format!("\"{}\"", &digest.to_string()[..DIGITS])
}

/// An animation.
pub static GIF: Sample =
    Sample::new("clip.gif", "image/gif", include_bytes!("../../fixtures/media/clip.gif"));
/// A film with sound.
pub static MP4: Sample =
    Sample::new("clip.mp4", "video/mp4", include_bytes!("../../fixtures/media/clip.mp4"));
/// A film.
pub static WEBM: Sample =
    Sample::new("clip.webm", "video/webm", include_bytes!("../../fixtures/media/clip.webm"));
/// A lossless picture.
pub static PNG: Sample =
    Sample::new("still.png", "image/png", include_bytes!("../../fixtures/media/still.png"));
/// A photograph.
pub static JPEG: Sample =
    Sample::new("still.jpg", "image/jpeg", include_bytes!("../../fixtures/media/still.jpg"));
/// A picture.
pub static WEBP: Sample =
    Sample::new("still.webp", "image/webp", include_bytes!("../../fixtures/media/still.webp"));
/// A sound.
pub static WAV: Sample =
    Sample::new("tone.wav", "audio/wav", include_bytes!("../../fixtures/media/tone.wav"));

/// All of them.
pub static ALL: [&Sample; 7] = [&GIF, &MP4, &WEBM, &PNG, &JPEG, &WEBP, &WAV];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Completeness, MediaKind, Sniff, Walker, judge};

    #[test]
    fn every_sample_is_whole_and_of_the_kind_that_its_name_says() {
        let kinds = [
            MediaKind::Gif,
            MediaKind::Mp4,
            MediaKind::WebM,
            MediaKind::Png,
            MediaKind::Jpeg,
            MediaKind::WebP,
            MediaKind::Wav,
        ];
        for (sample, kind) in ALL.into_iter().zip(kinds) {
            let verdict = judge(sample.bytes);
            assert_eq!(verdict.sniff, Sniff::Kind(kind), "{}", sample.name);
            assert_eq!(verdict.completeness, Completeness::Whole, "{}", sample.name);
            assert_eq!(kind.extension(), Some(sample.extension()));
        }
    }

    #[test]
    fn no_sample_that_is_cut_anywhere_is_called_whole() {
        for sample in ALL {
            let mut walker = Walker::new();
            for (cut, byte) in sample.bytes.iter().enumerate() {
                let verdict = walker.clone().finish();
                assert_ne!(verdict.completeness, Completeness::Whole, "{} cut to {cut} bytes", sample.name);
                walker.feed(std::slice::from_ref(byte));
            }
            assert_eq!(walker.finish().completeness, Completeness::Whole, "{}", sample.name);
        }
    }
}
