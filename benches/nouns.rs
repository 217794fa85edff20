//! What the pure parts cost: an answer read, a record written and read, a container walked, a plan made.
//!
//! `cargo bench --bench nouns` runs all of them, `cargo bench --bench nouns walk` those with this word in their name.
//! Each job pays for one of nearly every line; the walkers and the digest are paid for by the byte, and so have a
//! throughput beside their time.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_imports,
    reason = "a bench may panic, reads the fixtures, and its parts share what they use"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;
use serde_json::json;
use url::Url;
use vfetch::job::{Defaults, Family, JobRef};
use vfetch::lifetime::{Birth, Headers, Lesson, Lifetimes, Link};
use vfetch::manifest::{Manifest, Rung};
use vfetch::media;
use vfetch::plan::{self, Answer, Identity, JobClock, Part, SourceState, Standing};
use vfetch::reply::{self, Head};
use vfetch::retry::{Cause, Failure};
use vfetch::sha256::{self, Digest, Sha256};
use vfetch::text::{Redactor, Secret};
use vfetch::{layout, listing};

/// What a socket brings at once, about.
const CHUNK: usize = 64 * 1024;
/// A moment, in seconds since 1970.
const NOW: u64 = 1_767_323_045;

fn main() {
    divan::main();
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)).unwrap()
}

fn job() -> JobRef {
    Defaults::new("https://modelslab.com", None).unwrap().parse("52017").unwrap().job
}

/// A record of so many files, with what the fixture's answer says of its job.
fn record(files: usize) -> Manifest {
    let job = job();
    let mut record = Manifest::new(&job, "2026-01-02T03:04:05Z");
    record.outputs = Some(files);
    for output in 0..files {
        let digest = Digest::of(&output.to_le_bytes());
        let file = json!({
            "output": output, "path": format!("52017-{output}.mp4"), "bytes": 3_145_728, "sha256": digest, "kind": "mp4",
            "source": format!("https://media.example/fox/{output}.mp4"), "rung": "output", "etag": "\"66f1-300000\"",
            "last_modified": "Fri, 02 Jan 2026 03:00:00 GMT", "attempts": 1, "archived_at": "2026-01-02T03:04:05Z",
        });
        record.files.push(serde_json::from_value(file).unwrap());
    }
    let reply::Reply::Done(done) = reply::parse(&head(), &fixture("replies/success.json")).unwrap() else {
        panic!("the fixture is done")
    };
    (record.meta, record.reply) = (done.meta, done.rest);
    record
}

fn head() -> Head<'static> {
    Head { status: 200, now_unix_s: NOW, ..Head::default() }
}

/// From the line of a list to the job, and from the job to its place in the archive.
#[divan::bench]
fn job_and_its_place(bencher: Bencher<'_, '_>) {
    let defaults = Defaults::new("https://modelslab.com", None).unwrap();
    bencher.bench(|| {
        let asked = defaults.parse(black_box("52017")).unwrap();
        layout::Key::output(&asked.job, 0, "mp4", None)
    });
}

mod answer {
    use super::*;

    #[divan::bench(args = ["success", "success-extra-assets", "processing", "failed", "error-rate-limit-text"])]
    fn parse(bencher: Bencher<'_, '_>, name: &str) {
        let body = fixture(&format!("replies/{name}.json"));
        let bencher = bencher.counter(BytesCount::new(body.len()));
        bencher.bench(|| reply::parse(&head(), black_box(&body)));
    }

    /// What every answer goes through first.
    #[divan::bench]
    fn take_the_key_out(bencher: Bencher<'_, '_>) {
        let redactor = Redactor::new(&Secret::new("k7Qm2xW9pLr4Tz8Vb6Nc1Hd5".into()).unwrap());
        let body = fixture("replies/success.json");
        let bencher = bencher.counter(BytesCount::new(body.len()));
        bencher.bench(|| redactor.bytes(black_box(&body)).len());
    }

    /// One full page of the account's listing.
    #[divan::bench]
    fn parse_a_page(bencher: Bencher<'_, '_>) {
        let row = |id: u64| json!({ "id": id, "output": [format!("https://media.example/{id}.mp4")] });
        let rows: Vec<_> = (0..listing::PER_PAGE).map(|number| row(52_017 - number)).collect();
        let page =
            json!({ "status": "success", "data": rows, "pagination": { "total": 4_096, "last_page": 137 } })
                .to_string();
        assert_eq!(listing::parse(&head(), page.as_bytes()).unwrap().rows.len(), rows.len());
        let bencher = bencher.counter(BytesCount::new(page.len()));
        bencher.bench(|| listing::parse(&head(), black_box(page.as_bytes())));
    }
}

mod manifest {
    use super::*;

    #[divan::bench(args = [1, 4, 100])]
    fn write(bencher: Bencher<'_, '_>, files: usize) {
        let record = record(files);
        let bencher = bencher.counter(BytesCount::new(record.to_bytes().len()));
        bencher.bench(|| black_box(&record).to_bytes());
    }

    #[divan::bench(args = [1, 4, 100])]
    fn read(bencher: Bencher<'_, '_>, files: usize) {
        let bytes = record(files).to_bytes();
        let bencher = bencher.counter(BytesCount::new(bytes.len()));
        bencher.bench(|| Manifest::read(black_box(&bytes)).unwrap());
    }
}

mod by_the_byte {
    use super::*;

    /// The names of the sample files.
    fn samples() -> Vec<String> {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/media");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != "make.sh");
        names.sort();
        names
    }

    #[divan::bench(args = samples())]
    fn walk(bencher: Bencher<'_, '_>, name: &str) {
        let bytes = fixture(&format!("media/{name}"));
        assert_eq!(media::judge(&bytes).completeness, media::Completeness::Whole, "{name}");
        let bencher = bencher.counter(BytesCount::new(bytes.len()));
        bencher.bench(|| {
            let mut walker = media::Walker::new();
            black_box(&bytes).chunks(CHUNK).for_each(|chunk| walker.feed(chunk));
            walker.finish()
        });
    }
}

mod digest {
    use super::*;

    /// As many streams at a time, a chunk of each.
    #[divan::bench(args = [1, 2, 4, 8])]
    fn streams(bencher: Bencher<'_, '_>, count: usize) {
        let chunk = vec![7; CHUNK];
        let bencher = bencher.counter(BytesCount::new(count * CHUNK));
        bencher.with_inputs(|| vec![Sha256::default(); count]).bench_values(|mut hashers| {
            let streams = hashers.iter_mut().map(|hasher| (hasher, black_box(chunk.as_slice())));
            sha256::update_all(&mut streams.collect::<Vec<_>>());
            hashers.iter().map(Sha256::digest).collect::<Vec<_>>()
        });
    }
}

mod decide {
    use super::*;

    const SOURCE: &str = "https://media.example/fox/a.mp4";
    const ETAG: &str = "\"66f1-300000\"";

    fn clock() -> JobClock {
        JobClock {
            now: Duration::from_secs(90),
            deadline: Duration::from_secs(21_600),
            fresh_until: Some(Duration::from_secs(60)),
            may_ask_again: true,
            retries: plan::DEFAULT_RETRIES,
        }
    }

    fn part() -> Part {
        Part { source: SOURCE.into(), etag: Some(ETAG.into()), total: Some(3_145_728), bytes: 1_048_576 }
    }

    /// A ladder of four, of which the last is still to be tried.
    #[divan::bench]
    fn next() -> plan::Next {
        let mut sources =
            [Rung::Output, Rung::Proxy, Rung::FreshOutput, Rung::FreshProxy].map(SourceState::untried);
        for source in &mut sources[..3] {
            source.standing = Standing::Dead;
        }
        plan::next(black_box(&sources), black_box(&clock()))
    }

    #[divan::bench]
    fn after_failure(bencher: Bencher<'_, '_>) {
        let failure = Failure::new(Cause::Broken, "the connection was reset");
        let source = SourceState::untried(Rung::Output);
        bencher.bench(|| plan::after_failure(black_box(&source), black_box(&failure), true, &clock(), 0.5));
    }

    #[divan::bench]
    fn resume(bencher: Bencher<'_, '_>) {
        let part = part();
        bencher.bench(|| plan::resume(black_box(Some(&part)), black_box(SOURCE)));
    }

    #[divan::bench]
    fn judge_answer(bencher: Bencher<'_, '_>) {
        let asked = plan::resume(Some(&part()), SOURCE);
        let answer = Answer {
            status: 206,
            etag: Some(ETAG),
            content_range: Some("bytes 1048576-3145727/3145728"),
            content_length: Some(2_097_152),
        };
        assert_eq!(plan::judge_answer(&asked, &answer), plan::Body::Rest { total: 3_145_728 });
        bencher.bench(|| plan::judge_answer(black_box(&asked), black_box(&answer)));
    }

    /// Which of so many records serve which of as many outputs, all of them in another order now.
    #[divan::bench(args = [1, 4, 100])]
    fn keep(bencher: Bencher<'_, '_>, files: usize) {
        let records = record(files).files;
        let path = |output: usize| format!("/fox/{output}.mp4");
        let outputs: Vec<Identity> =
            (0..files).rev().map(|output| Identity { paths: vec![path(output)], inline: None }).collect();
        assert!(plan::keep(&outputs, &records, &[]).iter().all(|plan| *plan != plan::FilePlan::Fetch));
        bencher.bench(|| plan::keep(black_box(&outputs), black_box(&records), &[]));
    }

    /// When a file dies, by which the transfers are sorted, of a signed link at a host of which something was learnt.
    #[divan::bench]
    fn dies_at(bencher: Bencher<'_, '_>) {
        let signed = "https://media.example/fox/a.mp4?X-Amz-Date=20260102T030000Z&X-Amz-Expires=86400&X-Amz-Signature=0f1e";
        let (url, family) = (Url::parse(signed).unwrap(), Family::named("enterprise/video").unwrap());
        let mut lifetimes = Lifetimes::new(None);
        lifetimes.learn("media.example", &family, Lesson::Alive(Duration::from_secs(3_600)));
        lifetimes.note_birth(&family, NOW - 600);
        let link = Link { url: &url, given_at: NOW, renewable: false };
        assert!(lifetimes.dies_at(&link, &family, Birth::Before(NOW)).is_some());
        bencher.bench(|| lifetimes.dies_at(black_box(&link), &family, Birth::Before(NOW)));
    }

    /// What a host's headers teach of how long it keeps files.
    #[divan::bench]
    fn lesson(bencher: Bencher<'_, '_>) {
        let headers = Headers {
            last_modified: Some("Fri, 02 Jan 2026 03:00:00 GMT"),
            cache_control: Some("public, max-age=86400"),
            ..Headers::default()
        };
        bencher.bench(|| black_box(&headers).lesson(NOW));
    }
}
