//! README's examples, run as they stand there, in their order, in one folder, against the look-alike of the API.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads README")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use vfetch::serve::LookAlike;

const README: &str = include_str!("../README.md");

/// The blocks of this language, each with the heading that it stands under.
fn blocks(language: &str) -> Vec<(&'static str, String)> {
    let (mut found, mut heading, mut inside) = (Vec::new(), "", None::<String>);
    for line in README.lines() {
        match (&mut inside, line) {
            (Some(_), "```") => found.extend(inside.take().map(|block| (heading, block))),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, line) if line.strip_prefix("```") == Some(language) => inside = Some(String::new()),
            (None, line) => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    found
}

#[test]
fn every_command_shown_does_what_it_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let look_alike = runtime.block_on(LookAlike::start(anywhere)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_vfetch")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for (heading, block) in blocks("sh") {
        let script = format!("set -euo pipefail\n{block}");
        let run = Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("HOME", folder.path())
            .env("MODELSLAB_API_KEY", "readme-needs-no-key")
            .env("MODELSLAB_BASE_URL", look_alike.base_url())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "under {heading:?}, {}:\n{block}\n{out}\n{err}", run.status);
        ran += 1;
    }
    assert_eq!(ran, README.matches("\n```sh\n").count(), "a block was passed over");
}

#[test]
fn the_two_commands_at_its_top_are_there() {
    let top: Vec<&str> = README.lines().filter_map(|line| line.strip_prefix("    cargo ")).collect();
    assert!(top.iter().any(|line| line.starts_with("run --release -- demo")), "{top:?}");
    assert!(top.iter().any(|line| line.starts_with("test ")), "{top:?}");
}

#[test]
fn its_table_of_exit_codes_is_that_of_the_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_vfetch")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "128+n"] {
        assert!(README.contains(&format!("| {code} | ")), "README lacks exit code {code}");
        assert!(help.contains(&format!("  {code}  ")), "help lacks exit code {code}");
    }
}
