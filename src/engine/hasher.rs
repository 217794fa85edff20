//! The digest of a file as its bytes come: computed where they are received, or on a thread beside while a core is idle.
//!
//! With a transfer for each core, hashing in place is fastest: the bytes are in that core's cache. Where several files come
//! on one thread, their bytes are hashed in turn ([`turns`]). A large file that comes alone is bound by its one thread, so
//! its bytes go over to a second one, which holds a few of them at most. The hasher moves there and back as transfers
//! begin and end ([`Cores`] counts them), and always stands at a byte that it can name.

mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use md5::{Digest as _, Md5};

use crate::sha256::{Digest, Sha256};
use crate::store::staging::Checkpoint;
use turns::{FEW, Stream, Turns};

/// So many bytes of a file pass before the first look at what the cores do, and between two of them: hashing fewer
/// takes no longer than moving the hasher.
const STEP: u64 = 1 << 20;
/// So many chunks wait for the thread beside; the client's chunks have at most some 400 KiB each.
const QUEUE: usize = 8;

/// The cores that transfers and their hashers share.
#[derive(Debug)]
pub struct Cores {
    all: usize,
    busy: AtomicUsize,
    step: u64,
    turns: Turns,
}

impl Cores {
    /// Those of this machine.
    #[must_use]
    pub fn here() -> Arc<Self> {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from), STEP, FEW)
    }

    /// So many. Whether a file gets a second one is looked at each time `step` of its bytes have come; chunks of fewer
    /// than `few` bytes do not wait for those of other files.
    #[must_use]
    pub fn new(all: usize, step: u64, few: usize) -> Arc<Self> {
        Arc::new(Self { all, busy: AtomicUsize::new(0), step, turns: Turns::new(few) })
    }

    /// Counts a core as busy for as long as the guard lives, be there one or not.
    #[must_use]
    pub fn occupy(self: &Arc<Self>) -> Core {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Core(Arc::clone(self))
    }

    fn idle(self: &Arc<Self>) -> Option<Core> {
        let more = |busy| (busy < self.all).then_some(busy + 1);
        let taken = self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Core(Arc::clone(self)))
    }

    fn are_too_few(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > self.all
    }
}

/// A core in use.
#[derive(Debug)]
pub struct Core(Arc<Cores>);

impl Drop for Core {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The hasher of one file.
#[derive(Debug)]
pub(super) struct Hasher {
    cores: Arc<Cores>,
    place: Place,
    looked_at: u64,
    bytes: u64,
    marked: Option<Checkpoint>,
}

#[derive(Debug)]
enum Place {
    Here(Stream),
    Beside(Beside),
}

#[derive(Clone, Debug, Default)]
struct State {
    sha256: Sha256,
    md5: Option<Md5>,
}

/// The thread that hashes, from this side.
#[derive(Debug)]
struct Beside {
    queue: SyncSender<Work>,
    marks: Receiver<Checkpoint>,
    thread: JoinHandle<State>,
    _core: Core,
}

#[derive(Debug)]
enum Work {
    Bytes(Bytes),
    Mark,
}

impl State {
    fn take(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    fn mark(&self) -> Checkpoint {
        Checkpoint { bytes: self.sha256.bytes(), sha256: self.sha256.digest() }
    }
}

impl Hasher {
    /// One that has taken these bytes in already.
    pub(super) fn at(cores: Arc<Cores>, sha256: Sha256) -> Self {
        let bytes = sha256.bytes();
        let place = Place::Here(Stream::at(State { sha256, md5: None }));
        Self { cores, place, looked_at: bytes, bytes, marked: None }
    }

    /// Computes an MD5 besides, of a file of which nothing has come.
    pub(super) fn want_md5(&mut self) {
        if self.bytes == 0
            && let Place::Here(stream) = &self.place
        {
            stream.want_md5();
        }
    }

    /// Takes the next bytes in.
    pub(super) fn take(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        match &mut self.place {
            Place::Here(stream) => self.cores.turns.take(stream, bytes),
            Place::Beside(beside) => {
                // The thread ends before its queue does only by a panic, which goes on in here.
                if beside.queue.send(Work::Bytes(bytes)).is_err() {
                    self.come_back();
                }
            }
        }
        if self.bytes - self.looked_at >= self.cores.step {
            self.looked_at = self.bytes;
            match &self.place {
                Place::Here(_) => self.go_beside(),
                Place::Beside(_) if self.cores.are_too_few() => self.come_back(),
                Place::Beside(_) => {}
            }
        }
    }

    /// Marks the byte after all that it was given. The mark may come later.
    pub(super) fn mark(&mut self) {
        match &self.place {
            Place::Here(stream) => {
                self.cores.turns.catch_up(stream);
                self.marked = Some(stream.state().mark());
            }
            Place::Beside(beside) => {
                if beside.queue.send(Work::Mark).is_err() {
                    self.come_back();
                }
            }
        }
    }

    /// The furthest mark that has come since it was last asked for.
    pub(super) fn marked(&mut self) -> Option<Checkpoint> {
        if let Place::Beside(beside) = &self.place
            && let Some(mark) = beside.marks.try_iter().last()
        {
            self.marked = Some(mark);
        }
        self.marked.take()
    }

    /// Whether it has something left to take in that could go faster with the bytes of other files.
    pub(super) fn waits_for_company(&self) -> bool {
        matches!(&self.place, Place::Here(stream) if stream.is_waiting())
    }

    /// The digests of all that it was given.
    pub(super) fn finish(self) -> (Digest, Option<[u8; 16]>) {
        let (State { sha256, md5 }, _) = self.place.into_state(&self.cores);
        (sha256.digest(), md5.map(|md5| md5.finalize().into()))
    }

    fn go_beside(&mut self) {
        let Place::Here(stream) = &self.place else { return };
        let Some(core) = self.cores.idle() else { return };
        let ((queue, work), (marks_in, marks)) = (sync_channel(QUEUE), channel());
        self.cores.turns.catch_up(stream);
        let mut state = stream.state();
        let hash = move || {
            for work in work {
                match work {
                    Work::Bytes(bytes) => state.take(&bytes),
                    // Nobody waits for the marks of a file that was given up.
                    Work::Mark => drop(marks_in.send(state.mark())),
                }
            }
            state
        };
        // Where no thread can be had the file goes on as it is.
        if let Ok(thread) = std::thread::Builder::new().name("hasher".into()).spawn(hash) {
            self.place = Place::Beside(Beside { queue, marks, thread, _core: core });
        }
    }

    /// Takes in all that it was given, and goes on here.
    pub(super) fn come_back(&mut self) {
        let (state, mark) = std::mem::take(&mut self.place).into_state(&self.cores);
        self.marked = mark.or_else(|| self.marked.take());
        self.place = Place::Here(Stream::at(state));
    }
}

impl Place {
    /// What it has come to, after all that it was given, and the furthest mark that nobody has asked for.
    fn into_state(self, cores: &Cores) -> (State, Option<Checkpoint>) {
        match self {
            Self::Here(stream) => {
                cores.turns.catch_up(&stream);
                (stream.state(), None)
            }
            Self::Beside(Beside { queue, thread, marks, .. }) => {
                drop(queue);
                let state = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (state, marks.try_iter().last())
            }
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Here(Stream::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that come in steps, no two of the same length.
    fn steps() -> Vec<Bytes> {
        (1..40_usize)
            .map(|step| (0..step * 7_001).map(|place| (place * step).to_le_bytes()[1]).collect())
            .collect()
    }

    fn digest_of(steps: &[Bytes]) -> Digest {
        Digest::of(&steps.concat())
    }

    #[test]
    fn the_digest_is_the_same_wherever_it_is_computed_and_however_often_it_moves() {
        let steps = steps();
        let cores = Cores::new(2, 0, FEW);
        let _transfer = cores.occupy();
        let mut hasher = Hasher::at(Arc::clone(&cores), Sha256::default());
        hasher.want_md5();
        let mut moves = 0;
        let mut crowd = None;
        for (place, step) in steps.iter().enumerate() {
            let was_beside = matches!(hasher.place, Place::Beside(_));
            hasher.take(step.clone());
            moves += usize::from(was_beside != matches!(hasher.place, Place::Beside(_)));
            crowd = (place % 16 > 7).then(|| cores.occupy());
        }
        drop(crowd);
        assert!(moves >= 3, "it moved {moves} times");
        let md5: [u8; 16] = Md5::digest(steps.concat()).into();
        assert_eq!(hasher.finish(), (digest_of(&steps), Some(md5)));
        assert_eq!(cores.busy.load(Ordering::Relaxed), 1, "only the transfer is left");
    }

    #[test]
    fn a_mark_names_a_byte_and_the_digest_of_all_before_it() {
        for cores in [Cores::new(0, 0, FEW), Cores::new(64, 0, FEW)] {
            let steps = steps();
            let mut hasher = Hasher::at(cores, Sha256::default());
            let mut seen = Vec::new();
            for step in &steps {
                hasher.take(step.clone());
                hasher.mark();
                seen.extend(hasher.marked());
            }
            hasher.come_back();
            hasher.mark();
            seen.extend(hasher.marked());
            let mut before = 0;
            let ends: Vec<u64> = steps
                .iter()
                .map(|step| {
                    before += step.len() as u64;
                    before
                })
                .collect();
            for mark in &seen {
                let count = 1 + ends
                    .iter()
                    .position(|end| *end == mark.bytes)
                    .expect("a mark stands at the end of a step");
                assert_eq!(mark.sha256, digest_of(&steps[..count]));
            }
            assert_eq!(seen.last().map(|mark| mark.bytes), ends.last().copied());
        }
    }

    #[test]
    fn a_small_file_and_a_busy_machine_need_no_second_thread() {
        let megabytes = Bytes::from(vec![7; 3 << 20]);
        let is_beside = |cores: Arc<Cores>| {
            let mut hasher = Hasher::at(cores, Sha256::default());
            hasher.take(megabytes.clone());
            matches!(hasher.place, Place::Beside(_))
        };
        assert!(is_beside(Cores::new(1, 3 << 20, FEW)));
        assert!(!is_beside(Cores::new(1, 4 << 20, FEW)), "the file may be over soon");
        assert!(!is_beside(Cores::new(0, 0, FEW)), "no core is idle");
    }
}
