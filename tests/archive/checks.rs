//! `vfetch get --check`.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, content};

/// More than any machine hashes before the patience of a signal is over, in bytes; it takes no room on the disk.
const LARGE: u64 = 64 << 30;

/// Whether a process has this file open.
fn has_open(pid: u32, file: &Path) -> bool {
    let Ok(handles) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok()).any(|open| open == file)
}

#[test]
fn a_signal_ends_a_check_amid_a_large_file_with_a_summary() {
    let bed = Bed::new();
    let mut record = bed.complete("1", &[&content(1, 500)]);
    record.files[0].bytes = LARGE;
    bed.write(&record);
    let file = bed.file("1/1-0.gif").canonicalize().unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_len(LARGE).unwrap();
    let mut command = bed.command(&["get", "1", "--check", "-o", "out"]);
    command.env("MODELSLAB_API_KEY", "sk-0123456789abcdef");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has_open(child.id(), &file) {
        assert!(Instant::now() < deadline, "the file is not read");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.starts_with("1 job: 1 stopped; 0 files"), "{said}");
    assert!(said.contains("vfetch: stopped by SIGINT; "), "{said}");
}
