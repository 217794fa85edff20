//! Where things live in an archive, relative to its root.
//!
//! A [`Key`] is made only here, and only from a checked [`JobRef`], an output's index, a file extension from our own
//! lists and a digest. No string of a server becomes a part of one, so a key never holds `..`, a slash too many, or
//! a character that some file system dislikes.
//!
//! Folder names hold the id with upper case, dots and reserved names escaped behind `~`, so that file systems that
//! fold case keep two jobs apart: `AbC` lives in `~ab~c`, `clip.2` in `clip~02`.

use std::fmt;

use crate::job::{DEFAULT_FAMILY, Family, JobId, JobRef, Origin};
use crate::manifest::FileRecord;
use crate::sha256::Digest;

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

    /// The file of one output under a name that is free for these bytes: the plain one, else the one with the digest's
    /// first digits, else with digits that follow from them.
    ///
    /// | the visible record | the new one | the name is |
    /// | --- | --- | --- |
    /// | does not name it | | free |
    /// | gives it to the same bytes | drops it | free: what lies there may be damaged, and is put right |
    /// | gives it to the same bytes | keeps it, for another output | taken |
    /// | gives it to other bytes | | taken |
    #[must_use]
    pub fn free(
        job: &JobRef,
        output: usize,
        extension: &str,
        digest: Digest,
        visible: &[FileRecord],
        kept: &[FileRecord],
    ) -> Self {
        let taken = |key: &Self| {
            visible.iter().any(|file| file.path == key.name && file.sha256 != digest)
                || kept.iter().any(|file| file.path == key.name)
        };
        let mut key = Self::output(job, output, extension, None);
        let mut tail = digest;
        while taken(&key) {
            key = Self::output(job, output, extension, Some(&tail));
            tail = Digest::of(tail.to_string().as_bytes());
        }
        key
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
        let number = index.len() <= 9 && index.parse().is_ok_and(|number: usize| number.to_string() == index);
        let hex = |text: &str| {
            text.len() == DIGEST_TAIL && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let good = number && tail.is_none_or(hex) && safe_extension(extension) == extension;
        good.then(|| Self { folder: folder(job), name: name.into() })
    }

    /// Further names for the file of the same output, without end: those that [`Key::free`] tries after this one's
    /// plain form. For a store where somebody else's bytes may have the first one.
    pub fn alternatives(&self, digest: Digest) -> impl Iterator<Item = Self> + use<> {
        let mut parts = self.name.split('.');
        let (stem, extension) = (parts.next().unwrap_or_default(), parts.next_back().unwrap_or_default());
        let (stem, extension, this) = (stem.to_owned(), extension.to_owned(), self.clone());
        let tails = std::iter::successors(Some(digest), |tail| Some(Digest::of(tail.to_string().as_bytes())));
        let named = tails.map(move |tail| format!("{stem}.{}.{extension}", &tail.to_string()[..DIGEST_TAIL]));
        named.filter_map(move |name| (name != this.name).then(|| Self { folder: this.folder.clone(), name }))
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

/// The job whose folder this is, at this origin: [`folder`] read backwards. `None` where no job has such a folder.
#[must_use]
pub fn job_in(name: &str, origin: &Origin) -> Option<JobRef> {
    let (family, id) = match name.rsplit_once('.') {
        Some((family, id)) => (Family::named(&family.replace('.', "/")).ok()?, id),
        None => (Family::named(DEFAULT_FAMILY).ok()?, name),
    };
    let job = JobRef::new(origin.clone(), family, JobId::new(&unescaped(id)?).ok()?);
    (folder(&job) == name).then_some(job)
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

fn unescaped(name: &str) -> Option<String> {
    let mut id = String::with_capacity(name.len());
    let mut letters = name.strip_prefix("~1").unwrap_or(name).chars();
    while let Some(letter) = letters.next() {
        if letter != '~' {
            id.push(letter);
            continue;
        }
        match letters.next()? {
            '0' => id.push('.'),
            upper @ 'a'..='z' => id.push(upper.to_ascii_uppercase()),
            _ => return None,
        }
    }
    Some(id)
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
            assert_eq!(job_in(want, &job(text).origin), Some(job(text)), "{want}");
        }
        let origin = job("147").origin.clone();
        let nobodys =
            ["", "147.bak", "con", "~1147", "~", "a~", "~9", "realtime.", "Realtime.98", "realtime.~098"];
        for name in nobodys {
            assert_eq!(job_in(name, &origin), None, "{name}");
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
        let further: Vec<Key> = Key::output(&job, 0, "gif", None).alternatives(digest).take(9).collect();
        let second = Digest::of(digest.to_string().as_bytes());
        assert_eq!(further[0], Key::output(&job, 0, "gif", Some(&digest)));
        assert_eq!(further[1], Key::output(&job, 0, "gif", Some(&second)));
        assert!(further.iter().all(|key| Key::recorded(&job, key.name()).as_ref() == Some(key)));
        assert_eq!(further[0].alternatives(digest).take(8).collect::<Vec<_>>(), further[1..]);
    }

    #[test]
    fn a_name_is_free_unless_a_record_gives_it_to_other_bytes_or_keeps_it() {
        let job = job("147");
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        let named = |path: &str, sha256| -> FileRecord {
            serde_json::from_value(
                serde_json::json!({"output": 0, "path": path, "bytes": 5, "sha256": sha256,
                "kind": "gif", "source": "https://media.test/a.gif", "rung": "output", "attempts": 1,
                "archived_at": "2026-01-02T03:04:05Z"}),
            )
            .unwrap()
        };
        let tail = Key::output(&job, 0, "gif", Some(&second));
        let next = Key::output(&job, 0, "gif", Some(&Digest::of(second.to_string().as_bytes())));
        let plain = || named("147-0.gif", first);
        let table: [(&str, Digest, Vec<FileRecord>, usize, &str); 7] = [
            ("nothing is named", first, vec![], 0, "147-0.gif"),
            ("another name is taken", first, vec![named("147-1.gif", second)], 1, "147-0.gif"),
            ("the same bytes, dropped", first, vec![plain()], 0, "147-0.gif"),
            (
                "the same bytes, kept for another output",
                second,
                vec![named("147-0.gif", second)],
                1,
                tail.name(),
            ),
            ("other bytes", second, vec![plain()], 0, tail.name()),
            ("both names kept", second, vec![plain(), named(tail.name(), second)], 2, next.name()),
            (
                "digits that two digests share",
                second,
                vec![plain(), named(tail.name(), first)],
                0,
                next.name(),
            ),
        ];
        for (what, digest, visible, kept, want) in table {
            let key = Key::free(&job, 0, "gif", digest, &visible, &visible[..kept]);
            assert_eq!(key.name(), want, "{what}");
            assert_eq!(Key::recorded(&job, want), Some(key), "{what}");
        }
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
            "147-00.gif",
            "147-01.gif",
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
            prop_assert_eq!(job_in(&one, &job(&a).origin), Some(job(&a)));
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
