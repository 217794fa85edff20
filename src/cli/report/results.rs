//! Results: one line a file, in the format of `sha256sum`, so that `sha256sum -c` can check them.

use std::fmt::Write as _;

use vfetch::job::JobRef;
use vfetch::layout;
use vfetch::manifest::Manifest;

/// The lines of a job's files: the digest, two spaces, and the path with the destination as the user wrote it.
///
/// As `sha256sum` itself does, a line whose path holds a backslash or a line's end begins with a backslash, and these
/// characters are escaped in it.
pub(super) fn lines(destination: &str, job: &JobRef, manifest: &Manifest) -> String {
    let mut lines = String::new();
    for file in &manifest.files {
        let path = path(destination, job, &file.path);
        let _ = match escaped(&path) {
            Some(escaped) => writeln!(lines, "\\{}  {escaped}", file.sha256),
            None => writeln!(lines, "{}  {path}", file.sha256),
        };
    }
    lines
}

/// The path of a job's file, with the destination as the user wrote it.
pub(super) fn path(destination: &str, job: &JobRef, name: &str) -> String {
    let slash = if destination.ends_with('/') { "" } else { "/" };
    [destination, slash, &layout::folder(job), "/", name].concat()
}

fn escaped(path: &str) -> Option<String> {
    let special = path.contains(['\\', '\n']);
    special.then(|| path.replace('\\', "\\\\").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "a test may panic, writes files, and says what it skips"
    )]
    use super::super::fixtures::{complete, job};
    use super::*;
    use std::process::Command;

    #[test]
    fn a_line_is_the_digest_two_spaces_and_the_path_as_the_user_wrote_it() {
        let job = job("realtime/98");
        let digest = vfetch::sha256::Digest::of(b"GIF89a");
        let table = [
            ("out", format!("{digest}  out/realtime.98/98-0.gif\n")),
            ("./out/", format!("{digest}  ./out/realtime.98/98-0.gif\n")),
            ("/", format!("{digest}  /realtime.98/98-0.gif\n")),
            ("a b", format!("{digest}  a b/realtime.98/98-0.gif\n")),
            ("a\\b", format!("\\{digest}  a\\\\b/realtime.98/98-0.gif\n")),
            ("a\nb", format!("\\{digest}  a\\nb/realtime.98/98-0.gif\n")),
        ];
        for (destination, want) in table {
            assert_eq!(lines(destination, &job, &complete(&job, &[b"GIF89a"])), want);
        }
    }

    #[test]
    fn sha256sum_accepts_the_lines_whatever_the_destination_is_called() {
        if Command::new("sha256sum").arg("--version").output().is_err() {
            println!("skipped: no sha256sum here");
            return;
        }
        let here = tempfile::tempdir().unwrap();
        let job = job("147");
        let manifest = complete(&job, &[b"GIF89a", b"another"]);
        let names = ["out", "./out", "a b", "*star", "a\\b", "a\nb", "\\", "tail\\n", "-dash", "ü影"];
        for name in names {
            let folder = here.path().join(name).join(layout::folder(&job));
            std::fs::create_dir_all(&folder).unwrap();
            for (file, content) in manifest.files.iter().zip([&b"GIF89a"[..], b"another"]) {
                std::fs::write(folder.join(&file.path), content).unwrap();
            }
            std::fs::write(here.path().join("SHA256SUMS"), lines(name, &job, &manifest)).unwrap();
            let mut check = Command::new("sha256sum");
            let checked = check.args(["--strict", "-c", "SHA256SUMS"]).current_dir(&here).output().unwrap();
            assert!(checked.status.success(), "{name:?}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
