//! Archives of any number of small jobs, and a bare program to compare a rerun with.
//!
//! `million make N DIR` makes an archive of N complete jobs of one small file each, and prints their ids.
//! `million bare IDS DIR` opens and parses each record and looks at the size of each file that it names, on as many
//! threads as there are processors: what a rerun cannot do without.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bare program to compare with"
)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use vfetch::job::Defaults;
use vfetch::layout;
use vfetch::manifest::Manifest;
use vfetch::sha256::Digest;

/// Where the jobs of the archive say that they live; nobody is asked.
const ORIGIN: &str = "http://127.0.0.1:9";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", count, folder] => make(count.parse().unwrap(), Path::new(folder)),
        ["bare", ids, folder] => bare(Path::new(ids), Path::new(folder)),
        // `cargo bench` without arguments has nothing to measure here.
        _ => {}
    }
}

fn make(count: u64, root: &Path) {
    let defaults = Defaults::new(ORIGIN, None).unwrap();
    let mut ids = BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let job = defaults.parse(&(1_000_000 + number).to_string()).unwrap().job;
        let folder = root.join(layout::folder(&job));
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = format!("job {number}");
        let name = format!("{}-0.bin", job.id.as_str());
        let mut record = Manifest::new(&job, "2026-01-02T03:04:05Z");
        record.outputs = Some(1);
        let file = serde_json::json!({
            "output": 0, "path": name, "bytes": bytes.len(), "sha256": Digest::of(bytes.as_bytes()), "kind": "unknown",
            "source": "http://127.0.0.1:9/clip.bin", "rung": "output", "attempts": 1, "archived_at": "2026-01-02T03:04:05Z",
        });
        record.files.push(serde_json::from_value(file).unwrap());
        std::fs::write(folder.join(&name), bytes).unwrap();
        std::fs::write(folder.join(layout::MANIFEST_NAME), record.to_bytes()).unwrap();
        writeln!(ids, "{}", job.id.as_str()).unwrap();
    }
}

fn bare(ids: &Path, root: &Path) {
    let lines = Mutex::new(BufReader::new(std::fs::File::open(ids).unwrap()).lines());
    let whole = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            threads.spawn(|| {
                loop {
                    let batch: Vec<String> = {
                        let mut lines = lines.lock().unwrap();
                        lines.by_ref().take(128).map(Result::unwrap).collect()
                    };
                    if batch.is_empty() {
                        return;
                    }
                    let good = batch.iter().filter(|id| is_whole(&root.join(id))).count();
                    whole.fetch_add(good as u64, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} jobs are whole", whole.load(Ordering::Relaxed));
}

fn is_whole(folder: &Path) -> bool {
    let Ok(bytes) = std::fs::read(folder.join(layout::MANIFEST_NAME)) else { return false };
    let record: Value = serde_json::from_slice(&bytes).unwrap();
    record["files"].as_array().unwrap().iter().all(|file| {
        let found = std::fs::symlink_metadata(folder.join(file["path"].as_str().unwrap()));
        found.is_ok_and(|found| Some(found.len()) == file["bytes"].as_u64())
    })
}
