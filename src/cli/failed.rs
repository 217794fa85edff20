//! Where the list of `--failed` may be: a run without failures takes it away, and any other replaces it.

use std::path::{Component, Path, PathBuf};

use super::args;
use super::error::CliError;
use super::report;

/// Refuses a list that would take the place of what the run reads, or lie among what it archives. What is no regular
/// file, a pipe or a terminal, is written to and takes nobody's place.
///
/// # Errors
/// A usage error, before anything was written.
pub(crate) fn check<'a>(
    failed: Option<&Path>,
    archive: &Path,
    read: impl IntoIterator<Item = &'a Path>,
) -> Result<(), CliError> {
    let Some(failed) = failed.filter(|path| std::fs::metadata(path).map_or(true, |there| there.is_file()))
    else {
        return Ok(());
    };
    let refused = |why: &str| {
        let hint = "name a file of its own, beside the archive";
        Err(CliError::usage(format!("--failed {}: {why}", failed.display())).hint(hint))
    };
    if failed == Path::new("-") {
        return refused("standard output has the results");
    }
    let list = real(failed);
    let written = [&list, &real(&report::draft_path(failed))];
    if read.into_iter().any(|path| written.contains(&&real(path))) {
        return refused("this file is read in this run, and would be replaced or removed at its end");
    }
    let archive = &args::folder_of(archive);
    let is_address = archive.to_str().is_some_and(|place| place.contains("://"));
    // A link is replaced itself, wherever it leads.
    let link = failed.parent().map(real).zip(failed.file_name()).map(|(folder, name)| folder.join(name));
    let is_below = |path: &PathBuf| path.starts_with(real(archive));
    if !is_address && (is_below(&list) || link.as_ref().is_some_and(is_below)) {
        return refused("the archive holds nothing but what was archived");
    }
    Ok(())
}

/// Whether this list is one of those that the run reads.
pub(crate) fn is_read<'a>(failed: Option<&Path>, read: impl IntoIterator<Item = &'a Path>) -> bool {
    failed.is_some_and(|failed| read.into_iter().any(|path| real(path) == real(failed)))
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut real = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        real = std::fs::canonicalize(&real).unwrap_or(real);
    }
    real
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and makes files")]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_list_takes_no_place_of_what_is_read_or_archived() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let read = ["ids.txt", "draft.part"].map(at);
        for path in &read {
            std::fs::write(path, "1\n").unwrap();
        }
        std::fs::create_dir(at("out")).unwrap();
        symlink(at("ids.txt"), at("link.txt")).unwrap();
        symlink(at("out"), at("other")).unwrap();
        symlink(at("failed.txt"), at("out/link.txt")).unwrap();
        let table = [
            ("failed.txt", "out", true),
            ("outer.txt", "out", true),
            ("ids.txt", "out", false),
            ("draft", "out", false),
            ("link.txt", "out", false),
            ("out/../ids.txt", "out", false),
            ("out/failed.txt", "out", false),
            ("out/link.txt", "out", false),
            ("other/failed.txt", "out", false),
            ("out/1/failed.txt", "other", false),
            ("new/failed.txt", "new", false),
            ("new/../failed.txt", "new", true),
            ("out/failed.txt", "s3://bucket/out", true),
        ];
        for (failed, archive, fine) in table {
            let archive = if archive.contains("://") { archive.into() } else { at(archive) };
            let checked = check(Some(&at(failed)), &archive, read.iter().map(PathBuf::as_path));
            assert_eq!(checked.is_ok(), fine, "{failed} with {}", archive.display());
        }
        assert!(check(None, &at("out"), []).is_ok());
        assert!(check(Some(Path::new("/dev/null")), Path::new("/dev"), [Path::new("/dev/null")]).is_ok());
    }
}
