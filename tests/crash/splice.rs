//! Whatever hosts do between and within attempts, and whatever happens to the process and the power: what is published
//! is one content, whole, as its source had it.
//!
//! The hosts are modelled in plain code; the parts, their checkpoints and every decision about them are the product's.
//! One lie is left out, because nothing in the protocol shows it: a 206 whose headers are right and whose bytes are not.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vfetch::engine::assembly::{Assembly, Trouble, Whole};
use vfetch::engine::hasher::Cores;
use vfetch::plan::{Answer, Resume};
use vfetch::retry::{Cause, Failure};
use vfetch::sha256::Digest;
use vfetch::store::local::LocalStore;
use vfetch::store::staging::Staging;

use crate::disk::{Cut, MemoryDisk};
use crate::run::{ROOT, content, job};

const CASES: u32 = 1_000;
/// Where the schedules come from; another seed gives others.
const SEED: &[u8; 32] = b"what a fair die would have shown";
/// More than a body has, so that most cuts come early and some not at all.
const BODY_MAX: u32 = 6_000;

/// What the validators of a source are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Etags {
    /// A new one for each content.
    Strong,
    /// The same weak one for all of them.
    Weak,
    None,
}

/// What a source makes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    Right,
    Ignored,
    /// It honours `Range` and not `If-Range`.
    Blind,
    /// The same, and it says nothing of the content that it serves.
    BlindAndMute,
    Shifted(i8),
    Unlabelled,
    /// 206 from this offset, whatever was asked for.
    Unasked(u16),
    Refused,
    /// It speaks of another length of the whole.
    OtherTotal(i8),
    /// It stops before the end, and says so.
    StopsEarly(u8),
    /// `Content-Length` is not what the range has.
    OtherLength(i8),
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request to the first source or its mirror.
    Attempt { mirror: bool, ranges: Ranges, framing: Framing, cut_at: Option<u32>, chunk: u16 },
    /// A source gets another content, of this length.
    Change { mirror: bool, length: u16, container: bool },
    /// The part is put aside for a while.
    SetAside,
    /// The process is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// A status that is no content.
    Status,
}

struct Source {
    url: &'static str,
    etags: Etags,
    /// Every content that it ever had; the last one is there now.
    contents: Vec<Vec<u8>>,
}

/// An answer as it comes over the wire.
struct Reply {
    status: u16,
    etag: Option<String>,
    content_range: Option<String>,
    content_length: Option<u64>,
    body: Vec<u8>,
}

impl Source {
    fn now(&self) -> &[u8] {
        self.contents.last().expect("it always has one")
    }

    fn etag(&self) -> Option<String> {
        match self.etags {
            // Both sources number their contents alike, so that equal validators of two sources mean nothing.
            Etags::Strong => Some(format!("\"v{}\"", self.contents.len())),
            Etags::Weak => Some("W/\"v\"".into()),
            Etags::None => None,
        }
    }

    fn answer(&self, asked: &Resume, ranges: Ranges, framing: Framing) -> Reply {
        let now = self.now();
        let whole = || Reply {
            status: 200,
            etag: self.etag(),
            content_range: None,
            content_length: (framing == Framing::Length).then_some(now.len() as u64),
            body: now.to_vec(),
        };
        let (from, same) = match asked {
            Resume::Restart => (0, false),
            Resume::Continue { from, etag, .. } => (*from, Some(etag) == self.etag().as_ref()),
        };
        let rest = |from: u64| {
            let start = usize::try_from(from).unwrap_or(usize::MAX).min(now.len().saturating_sub(1));
            let label = format!("bytes {start}-{}/{}", now.len() - 1, now.len());
            Reply { status: 206, content_range: Some(label), ..whole() }.with_body(&now[start..], framing)
        };
        let shifted = |by: i8| from.saturating_add_signed(by.into());
        let is_range = *asked != Resume::Restart;
        match ranges {
            Ranges::Unasked(at) => rest(at.into()),
            Ranges::Refused if is_range => {
                Reply { status: 416, ..whole() }.with_body(b"no such range", framing)
            }
            Ranges::Ignored | Ranges::Refused => whole(),
            _ if !is_range => whole(),
            Ranges::Right if same && from < now.len() as u64 => rest(from),
            Ranges::Right => whole(),
            Ranges::Blind => rest(from),
            Ranges::BlindAndMute => Reply { etag: None, ..rest(from) },
            Ranges::Shifted(by) => rest(shifted(by)),
            Ranges::Unlabelled => Reply { content_range: None, ..rest(from) },
            Ranges::OtherTotal(by) => {
                let total = (now.len() as u64).saturating_add_signed(by.into());
                let label = format!("bytes {from}-{}/{total}", total.saturating_sub(1));
                Reply { content_range: Some(label), ..rest(from) }
            }
            Ranges::StopsEarly(by) => {
                let reply = rest(from);
                let kept = reply.body.len().saturating_sub(by.into());
                let label = format!("bytes {from}-{}/{}", (from + kept as u64).saturating_sub(1), now.len());
                let body = reply.body[..kept].to_vec();
                Reply { content_range: Some(label), ..reply }.with_body(&body, framing)
            }
            Ranges::OtherLength(by) => {
                let reply = rest(from);
                let length = (reply.body.len() as u64).saturating_add_signed(by.into());
                Reply { content_length: Some(length), ..reply }
            }
        }
    }
}

impl Reply {
    fn with_body(self, body: &[u8], framing: Framing) -> Self {
        let content_length = (framing == Framing::Length).then_some(body.len() as u64);
        Self { content_length, body: body.to_vec(), ..self }
    }

    /// How much of the body comes, and whether the protocol says that this is its end.
    fn arrives(&self, framing: Framing, cut_at: Option<u32>) -> (&[u8], End) {
        let announced = self.content_length.map_or(self.body.len() as u64, |length| length);
        let cut = cut_at.map(|cut| cut as usize).filter(|cut| *cut < self.body.len());
        let body = &self.body[..cut.unwrap_or(self.body.len()).min(usize::try_from(announced).unwrap_or(0))];
        let short = cut.is_some() || (body.len() as u64) < announced;
        match framing {
            Framing::Length | Framing::Chunked if short => (body, End::Broken),
            Framing::Length | Framing::Chunked => (body, End::Told),
            Framing::UntilClose => (body, End::Untold),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Told,
    Untold,
    Broken,
}

#[derive(Debug, Default)]
struct Tally {
    published: u64,
    attempts: u64,
    resumed: u64,
    refused_ranges: u64,
    taken_up: u64,
}

/// One process with its archive.
struct Process {
    assembly: Assembly<MemoryDisk>,
}

impl Process {
    /// On a machine with so many cores: with one, the hasher moves to a thread of its own after 500 bytes. Chunks of
    /// fewer than `few` bytes are hashed at once.
    fn begin(disk: &MemoryDisk, cores: usize, few: usize) -> Self {
        let store = LocalStore::create(disk.clone(), Path::new(ROOT), true).expect("nothing fails");
        let staging: Arc<Staging<MemoryDisk>> = Arc::new(store.staging().expect("nobody has it"));
        Self { assembly: Assembly::new(staging, job("147"), 0, 1 << 20, Cores::new(cores, 500, few)) }
    }

    /// One attempt, as `engine::download` makes it.
    fn attempt(
        &mut self,
        source: &Source,
        step: (Ranges, Framing, Option<u32>, u16),
        tally: &mut Tally,
    ) -> Result<Whole<MemoryDisk>, Failure> {
        let (ranges, framing, cut_at, chunk) = step;
        let assembly = &mut self.assembly;
        tally.attempts += 1;
        if let Some(open) =
            assembly.left_over(source.url).and_then(|left| left.read().expect("nothing fails"))
        {
            tally.taken_up += 1;
            assembly.adopt(open);
        }
        let asked = assembly.resume(source.url);
        let reply = source.answer(&asked, ranges, framing);
        let answer = Answer {
            status: reply.status,
            etag: reply.etag.as_deref(),
            content_range: reply.content_range.as_deref(),
            content_length: reply.content_length,
        };
        let (body, end) = reply.arrives(framing, cut_at);
        let taken = assembly.place(&asked, &answer, source.url).and_then(|()| {
            tally.resumed += u64::from(assembly.bytes() > 0);
            body.chunks(usize::from(chunk.max(1))).try_for_each(|chunk| {
                assembly.take(Bytes::copy_from_slice(chunk))?;
                if chunk.len() % 3 > 0 {
                    assembly.checkpoint();
                }
                Ok(())
            })
        });
        let broken = || Failure::new(Cause::Broken, "the connection was closed");
        let taken = taken.and_then(|()| if end == End::Broken { Err(broken().into()) } else { Ok(()) });
        match taken {
            Ok(()) => assembly.finish(end == End::Told),
            Err(Trouble::Source(failure)) => {
                tally.refused_ranges += u64::from(failure.cause == Cause::WrongRange);
                assembly.settle(failure.cause);
                Err(failure)
            }
            Err(Trouble::Here(error)) => panic!("nothing fails here: {error}"),
        }
    }
}

/// Bytes whose end nothing tells, or an MP4 that knows its own.
fn some_content(number: usize, length: u16, container: bool) -> Vec<u8> {
    let payload = content(number as u64 + 1_000, usize::from(length) + 1);
    let mut bytes = if container {
        let mut mp4 =
            [&20_u32.to_be_bytes()[..], b"ftypisom\0\0\x02\0isom", &8_u32.to_be_bytes()[..], b"moov"]
                .concat();
        let mdat = u32::try_from(payload.len() + 8).expect("small");
        mp4.extend_from_slice(&mdat.to_be_bytes());
        mp4.extend_from_slice(b"mdat");
        mp4
    } else {
        b"\x00\x01vfx\xfe".to_vec()
    };
    bytes.extend_from_slice(&payload);
    bytes
}

fn play(etags: (Etags, Etags), steps: &[Step], seed: u64, tally: &mut Tally) -> Result<(), TestCaseError> {
    let disk = MemoryDisk::with_folder(ROOT.trim_start_matches('/'));
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut sources = [
        Source { url: "https://first.test/a", etags: etags.0, contents: vec![some_content(0, 4_000, true)] },
        Source { url: "https://mirror.test/a", etags: etags.1, contents: vec![some_content(1, 4_000, true)] },
    ];
    let cores = usize::from(seed.is_multiple_of(2));
    // Every chunk waits to be hashed, or none does.
    let few = if (seed / 2).is_multiple_of(2) { 1 } else { usize::MAX };
    let mut process = Process::begin(&disk, cores, few);
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Attempt { mirror, ranges, framing, cut_at, chunk } => {
                let source = &sources[usize::from(mirror)];
                let whole = process.attempt(source, (ranges, framing, cut_at, chunk), tally);
                let Ok(Whole { partial, digest, bytes, .. }) = whole else { continue };
                let proven = partial.prove(digest, bytes).expect("nothing fails");
                let published = disk.bytes_at("/out/.vfetch/staging/147-0.part").expect("it is there");
                prop_assert!(
                    published == source.now(),
                    "step {number}: what was published is no content of {}",
                    source.url
                );
                prop_assert_eq!((Digest::of(&published), published.len() as u64), (digest, bytes));
                tally.published += 1;
                drop(proven);
            }
            Step::Change { mirror, length, container } => {
                sources[usize::from(mirror)].contents.push(some_content(number + 2, length, container));
            }
            Step::SetAside => process.assembly.set_aside(),
            Step::Status => process.assembly.settle(Cause::Absent),
            Step::Kill | Step::PowerCut => {
                if matches!(step, Step::Kill) {
                    disk.kill();
                } else {
                    disk.cut(Cut::Tears, &mut dice);
                }
                process = Process::begin(&disk, cores, few);
            }
        }
    }
    Ok(())
}

fn ranges() -> impl Strategy<Value = Ranges> {
    prop_oneof![
        8 => Just(Ranges::Right),
        1 => Just(Ranges::Ignored),
        4 => Just(Ranges::Blind),
        1 => Just(Ranges::BlindAndMute),
        1 => (-100_i8..=100).prop_map(Ranges::Shifted),
        1 => Just(Ranges::Unlabelled),
        1 => any::<u16>().prop_map(Ranges::Unasked),
        1 => Just(Ranges::Refused),
        1 => (-100_i8..=100).prop_map(Ranges::OtherTotal),
        1 => any::<u8>().prop_map(Ranges::StopsEarly),
        1 => (-100_i8..=100).prop_map(Ranges::OtherLength),
    ]
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![6 => Just(Framing::Length), 2 => Just(Framing::Chunked), 1 => Just(Framing::UntilClose)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cut_at = prop_oneof![3 => (0..BODY_MAX).prop_map(Some), 1 => Just(None)];
    let attempt = (prop::bool::weighted(0.2), ranges(), framing(), cut_at, 1..1_500_u16).prop_map(
        |(mirror, ranges, framing, cut_at, chunk)| Step::Attempt { mirror, ranges, framing, cut_at, chunk },
    );
    // Most contents are as long as the ones before them, so that a length gives nothing away.
    let length = prop_oneof![3 => Just(4_000), 1 => 100..6_000_u16];
    let change = (prop::bool::weighted(0.2), length, prop::bool::weighted(0.9))
        .prop_map(|(mirror, length, container)| Step::Change { mirror, length, container });
    let step = prop_oneof![
        12 => attempt,
        4 => change,
        1 => Just(Step::SetAside),
        2 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Status),
    ];
    prop::collection::vec(step, 4..30)
}

fn etags() -> impl Strategy<Value = Etags> {
    prop_oneof![5 => Just(Etags::Strong), 1 => Just(Etags::Weak), 1 => Just(Etags::None)]
}

#[test]
fn what_waits_to_be_hashed_is_in_the_checkpoint_that_a_slow_transfer_asks_for() {
    let disk = MemoryDisk::with_folder(ROOT.trim_start_matches('/'));
    let etags = Etags::Strong;
    let source = Source { url: "https://first.test/a", etags, contents: vec![some_content(0, 4_000, false)] };
    let Process { mut assembly } = Process::begin(&disk, 0, 1);
    let reply = source.answer(&Resume::Restart, Ranges::Right, Framing::Length);
    let answer =
        Answer { status: 200, etag: reply.etag.as_deref(), content_range: None, content_length: None };
    assembly.place(&Resume::Restart, &answer, source.url).expect("it is the whole");
    assembly.take(Bytes::copy_from_slice(&source.contents[0][..1_000])).expect("nothing fails");
    assert!(assembly.waits_for_company());
    assembly.checkpoint();
    assert!(!assembly.waits_for_company());
    disk.kill();
    drop(assembly);
    let Process { mut assembly } = Process::begin(&disk, 0, 1);
    let left_over = assembly.left_over(source.url).expect("it is there").read().expect("nothing fails");
    assembly.adopt(left_over.expect("it is sound"));
    assert_eq!(assembly.bytes(), 1_000);
}

#[test]
fn a_part_that_is_whole_when_it_is_set_aside_keeps_the_checkpoint_before_its_end() {
    let disk = MemoryDisk::with_folder(ROOT.trim_start_matches('/'));
    let content = some_content(0, 4_000, false);
    let total = Some(content.len() as u64);
    let source =
        Source { url: "https://first.test/a", etags: Etags::Strong, contents: vec![content.clone()] };
    for cores in [0, 1] {
        let Process { mut assembly } = Process::begin(&disk, cores, 1);
        let reply = source.answer(&Resume::Restart, Ranges::Right, Framing::Length);
        let answer =
            Answer { status: 200, etag: reply.etag.as_deref(), content_range: None, content_length: total };
        assembly.place(&Resume::Restart, &answer, source.url).expect("it is the whole");
        let mut take = |from: usize, to: usize, checkpoint: bool| {
            assembly.take(Bytes::copy_from_slice(&content[from..to])).expect("nothing fails");
            if checkpoint {
                assembly.checkpoint();
            }
        };
        take(0, 600, false);
        take(600, 1_000, true);
        take(1_000, content.len(), false);
        assembly.set_aside();
        let left_over = assembly.left_over(source.url).expect("it is there").read().expect("nothing fails");
        assembly.adopt(left_over.expect("it is sound"));
        assert_eq!(assembly.bytes(), 1_000, "{cores} cores");
        assembly.forget();
    }
}

#[test]
fn no_schedule_of_cuts_changes_and_lies_publishes_a_splice() {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, SEED));
    let tally = RefCell::new(Tally::default());
    let schedules = ((etags(), etags()), steps(), any::<u64>());
    let played =
        runner.run(&schedules, |(etags, steps, seed)| play(etags, &steps, seed, &mut tally.borrow_mut()));
    let tally = tally.into_inner();
    let seed = String::from_utf8_lossy(SEED);
    if let Err(failed) = played {
        panic!("seed {seed:?}: {failed}");
    }
    println!("splices: 0 in {CASES} schedules from seed {seed:?}; {tally:?}");
    let met = [tally.published, tally.resumed, tally.refused_ranges, tally.taken_up];
    assert!(met.iter().all(|count| *count >= 100), "the schedules met what they are about: {tally:?}");
}
