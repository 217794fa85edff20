//! Where things live in an archive, relative to its root.
//!
//! A [`Key`] is made only here, and only from a checked [`JobRef`], an output's index, a file extension from our own
//! lists and a digest. No string of a server becomes a part of one, so a key never holds `..`, a slash too many, or
//! a character that some file system dislikes.
//!
//! Folder names hold the id with upper case, dots and reserved names escaped behind `~`, so that file systems that
//! fold case keep two jobs apart: `AbC` lives in `~ab~c`, `clip.2` in `clip~02`.

use std::fmt;

use crate::job::{DEFAULT_FAMILY, JobRef};
use crate::manifest::Digest;

/// The record of a job, in its folder.
pub const MANIFEST_NAME: &str = "manifest.json";
/// What vfetch keeps for itself, at the archive's root; no job's folder begins with a dot.
pub const PRIVATE_FOLDER: &str = ".vfetch";
/// How many hexadecimal digits of its digest tell a second content of the same output apart.
const DIGEST_TAIL: usize = 8;
/// Names that some systems take for devices, whatever their extension.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul"];
/// The longest extension among the known ones, with room to spare.
const EXTENSION_MAX: usize = 8;

/// A path below an archive's root: a job's folder and a file in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    folder: String,
    name: String,
}

impl Key {
    /// The job's record.
    #[must_use]
    pub fn manifest(job: &JobRef) -> Self {
        Self { folder: folder(job), name: MANIFEST_NAME.into() }
    }

    /// The file of one output: `147-0.gif`, or `147-0.1f2e3d4c.gif` for content that is not its first.
    #[must_use]
    pub fn output(job: &JobRef, output: usize, extension: &str, other_content: Option<&Digest>) -> Self {
        let id = escaped(job.id.as_str());
        let extension = safe_extension(extension);
        let name = match other_content {
            None => format!("{id}-{output}.{extension}"),
            Some(digest) => format!("{id}-{output}.{}.{extension}", &digest.to_string()[..DIGEST_TAIL]),
        };
        Self { folder: folder(job), name }
    }

    /// The file that a record names, or `None` where the name is not one that [`Key::output`] makes for this job.
    #[must_use]
    pub fn recorded(job: &JobRef, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(&escaped(job.id.as_str()))?.strip_prefix('-')?;
        let parts: Vec<&str> = rest.split('.').collect();
        let (index, tail, extension) = match parts.as_slice() {
            [index, extension] => (*index, None, *extension),
            [index, tail, extension] => (*index, Some(*tail), *extension),
            _ => return None,
        };
        let number = !index.is_empty() && index.len() <= 9 && index.bytes().all(|byte| byte.is_ascii_digit());
        let hex = |text: &str| {
            text.len() == DIGEST_TAIL && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let good = number && tail.is_none_or(hex) && safe_extension(extension) == extension;
        good.then(|| Self { folder: folder(job), name: name.into() })
    }

    /// Further names for the file of the same output, each with eight other digits of its digest: for a store where
    /// somebody else's bytes may have the first one.
    pub fn alternatives(&self, digest: &Digest) -> impl Iterator<Item = Self> + use<> {
        let mut parts = self.name.split('.');
        let (stem, extension) = (parts.next().unwrap_or_default(), parts.next_back().unwrap_or_default());
        let digits = digest.to_string();
        let tails = digits.as_bytes().chunks(DIGEST_TAIL);
        let names = tails.map(|tail| format!("{stem}.{}.{extension}", String::from_utf8_lossy(tail)));
        let others: Vec<String> = names.filter(|name| *name != self.name).collect();
        let folder = self.folder.clone();
        others.into_iter().map(move |name| Self { folder: folder.clone(), name })
    }

    /// The job's folder below the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The file's name in that folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder, self.name)
    }
}

/// The folder of a job: the id for the default family, else `<family>.<id>` with the family's slashes as dots.
#[must_use]
pub fn folder(job: &JobRef) -> String {
    let id = escaped(job.id.as_str());
    if job.family.name() == DEFAULT_FAMILY {
        id
    } else {
        format!("{}.{id}", job.family.name().replace('/', "."))
    }
}

/// Whether a name at the archive's root can be a job's folder; others are left alone.
#[must_use]
pub fn may_be_folder(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.~".contains(&byte);
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'~')
        && name.bytes().all(plain)
}

fn escaped(id: &str) -> String {
    let mut name = String::with_capacity(id.len() + 4);
    if RESERVED.contains(&id) || is_numbered_device(id) {
        name.push_str("~1");
    }
    for letter in id.chars() {
        match letter {
            'A'..='Z' => name.extend(['~', letter.to_ascii_lowercase()]),
            '.' => name.push_str("~0"),
            _ => name.push(letter),
        }
    }
    name
}

/// `com1` to `com9` and `lpt1` to `lpt9`.
fn is_numbered_device(id: &str) -> bool {
    let digit = id.strip_prefix("com").or_else(|| id.strip_prefix("lpt"));
    digit.is_some_and(|digit| {
        digit.len() == 1 && digit != "0" && digit.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn safe_extension(extension: &str) -> &str {
    let good = !extension.is_empty()
        && extension.len() <= EXTENSION_MAX
        && extension.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if good { extension } else { "bin" }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};
    use proptest::prelude::*;

    fn job(text: &str) -> JobRef {
        Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse(text).unwrap().job
    }

    #[test]
    fn folders_carry_the_family_and_the_escaped_id() {
        let table = [
            ("147", "147"),
            ("realtime/98", "realtime.98"),
            ("enterprise/flux/5", "enterprise.flux.5"),
            ("AbC", "~ab~c"),
            ("realtime.98", "realtime~098"),
            ("con", "~1con"),
            ("nul", "~1nul"),
            ("lpt9", "~1lpt9"),
            ("com0", "com0"),
            ("com10", "com10"),
            ("a-b_c", "a-b_c"),
        ];
        for (text, want) in table {
            assert_eq!(folder(&job(text)), want);
            assert!(may_be_folder(want), "{want}");
        }
        assert!(["", ".vfetch", "-x", "A", "a b", "a/b", "é"].iter().all(|name| !may_be_folder(name)));
    }

    #[test]
    fn files_are_named_after_the_job_the_index_and_the_kind() {
        let digest = Digest::of(b"other");
        let job = job("147");
        assert_eq!(Key::output(&job, 0, "gif", None).to_string(), "147/147-0.gif");
        let other = Key::output(&job, 12, "mp4", Some(&digest));
        assert_eq!(other.to_string(), format!("147/147-12.{}.mp4", &digest.to_string()[..8]));
        assert_eq!(Key::output(&job, 0, "../x", None).name(), "147-0.bin");
        assert_eq!(Key::manifest(&job).to_string(), "147/manifest.json");
        assert_eq!((other.folder(), Key::recorded(&job, other.name())), ("147", Some(other.clone())));
    }

    #[test]
    fn an_output_has_further_names_that_are_all_its_own() {
        let (job, digest) = (job("147"), Digest::of(b"other"));
        let digits = digest.to_string();
        let plain: Vec<Key> = Key::output(&job, 0, "gif", None).alternatives(&digest).collect();
        assert_eq!(plain.len(), digits.len() / DIGEST_TAIL);
        assert_eq!(plain[0], Key::output(&job, 0, "gif", Some(&digest)));
        assert_eq!(plain[7].name(), format!("147-0.{}.gif", &digits[56..]));
        assert!(plain.iter().all(|key| Key::recorded(&job, key.name()).as_ref() == Some(key)));
        assert_eq!(plain[0].alternatives(&digest).collect::<Vec<_>>(), plain[1..]);
    }

    #[test]
    fn a_record_cannot_name_what_is_not_a_file_of_its_job() {
        let job = job("147");
        let hostile = [
            "manifest.json",
            "../147-0.gif",
            "147-0.gif/x",
            "148-0.gif",
            "147-.gif",
            "147-0.",
            "147-0",
            "147-x.gif",
            "147-0.GIF",
            "147-0.12345678.gif.x",
            "147-0.1234567.gif",
            "147-0.1234567G.gif",
            "147-0.tar/x",
            "",
            "147-1234567890.gif",
        ];
        for name in hostile {
            assert_eq!(Key::recorded(&job, name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn two_jobs_never_share_a_folder_even_where_case_is_folded(a in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}", b in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}") {
            let (one, two) = (folder(&job(&a)), folder(&job(&b)));
            prop_assert_eq!(a == b, one.to_lowercase() == two.to_lowercase());
            prop_assert!(may_be_folder(&one) && one.len() <= 200);
        }

        #[test]
        fn every_key_that_is_made_is_recognised_again(id in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}", output in 0..1_000_usize, extension in ".{0,9}") {
            let job = job(&id);
            for digest in [None, Some(&Digest::of(id.as_bytes()))] {
                let key = Key::output(&job, output, &extension, digest);
                prop_assert_eq!(Key::recorded(&job, key.name()), Some(key));
            }
        }
    }
}
