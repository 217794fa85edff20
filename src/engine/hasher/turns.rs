//! Files that are hashed in turn: the next bytes of each wait until those of enough others are here.
//!
//! A core that takes the bytes of four files in turn needs two thirds of the time that it takes for one file after another
//! ([`crate::sha256`]). So bytes wait for company: for those that came on the same thread, which are in the same core's
//! cache. They do not wait long: once a few hundred KiB of a file wait, at its end, and when a checkpoint is due, they are
//! hashed with whatever company there is.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::State;
use crate::sha256::{STREAMS, Sha256, update_all};

/// So many bytes of a file wait at most; more would leave the cache before they are hashed.
const WAITING: usize = 512 * 1024;
/// So many chunks of a file wait at most, since each may hold more memory than it has bytes.
const CHUNKS: usize = 64;

/// Fewer bytes at once than these are hashed sooner than they find company.
pub(super) const FEW: usize = 32 * 1024;

/// A file's hash, and what it is still to take in.
#[derive(Debug, Default)]
pub(super) struct Stream(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// What waits, in its order.
    waiting: Vec<Bytes>,
    bytes: usize,
}

impl Stream {
    pub(super) fn at(state: State) -> Self {
        Self(Arc::new(Mutex::new(Inner { state, ..Inner::default() })))
    }

    /// Whether anything waits.
    pub(super) fn is_waiting(&self) -> bool {
        !lock(&self.0).waiting.is_empty()
    }

    /// Computes an MD5 besides, from here on.
    pub(super) fn want_md5(&self) {
        lock(&self.0).state.md5 = Some(Md5::new());
    }

    /// What it has come to, without what waits.
    pub(super) fn state(&self) -> State {
        lock(&self.0).state.clone()
    }
}

/// Who waits for whom.
#[derive(Debug)]
pub(super) struct Turns {
    few: usize,
    /// The streams in which something waits, each with the thread that the first of it came on.
    waiting: Mutex<Vec<(ThreadId, Weak<Mutex<Inner>>)>>,
}

impl Turns {
    /// Fewer bytes at once than these wait for nobody.
    pub(super) fn new(few: usize) -> Self {
        Self { few, waiting: Mutex::default() }
    }

    /// Takes a stream's next bytes in, at once or when those of others are here.
    pub(super) fn take(&self, stream: &Stream, bytes: Bytes) {
        let mut inner = lock(&stream.0);
        if inner.waiting.is_empty() && bytes.len() < self.few {
            inner.state.take(&bytes);
            return;
        }
        inner.bytes += bytes.len();
        inner.waiting.push(bytes);
        let chunks = inner.waiting.len();
        let (is_first, is_full) = (chunks == 1, inner.bytes >= WAITING || chunks >= CHUNKS);
        drop(inner);
        if is_first || is_full {
            hash_in_turn(self.with_company(stream, is_full));
        }
    }

    /// Brings a stream to the end of all that it was given, and others with it.
    pub(super) fn catch_up(&self, stream: &Stream) {
        if stream.is_waiting() {
            hash_in_turn(self.with_company(stream, true));
        }
    }

    /// The stream and others that wait on this thread, if they are enough or it cannot wait; else it waits with them.
    fn with_company(&self, stream: &Stream, now: bool) -> Vec<Arc<Mutex<Inner>>> {
        let here = thread::current().id();
        let mut waiting = lock(&self.waiting);
        waiting.retain(|(_, other)| !is(other, &stream.0));
        let mut company = vec![Arc::clone(&stream.0)];
        let others = waiting.iter().filter(|(thread, _)| *thread == here);
        company.extend(others.filter_map(|(_, other)| other.upgrade()).take(STREAMS - 1));
        if company.len() < STREAMS && !now {
            waiting.push((here, Arc::downgrade(&stream.0)));
            return Vec::new();
        }
        let goes = |other: &Weak<_>| company.iter().any(|one| is(other, one));
        waiting.retain(|(_, other)| other.strong_count() > 0 && !goes(other));
        company
    }
}

fn is<T>(one: &Weak<T>, other: &Arc<T>) -> bool {
    std::ptr::eq(one.as_ptr(), Arc::as_ptr(other))
}

/// What a stream is to take in, as far as it has come.
struct Feed<'a> {
    state: &'a mut State,
    waiting: std::slice::Iter<'a, Bytes>,
    bytes: &'a [u8],
}

impl<'a> Feed<'a> {
    fn of(inner: &'a mut Inner) -> Self {
        let Inner { state, waiting, .. } = inner;
        Self { state, waiting: waiting.iter(), bytes: &[] }
    }

    /// Goes on to the next bytes; false at the end.
    fn has_more(&mut self) -> bool {
        while self.bytes.is_empty() {
            let Some(bytes) = self.waiting.next() else { return false };
            self.bytes = bytes;
            if let Some(md5) = &mut self.state.md5 {
                md5.update(bytes);
            }
        }
        true
    }

    fn next(&mut self, count: usize) -> (&mut Sha256, &'a [u8]) {
        let (next, later) = self.bytes.split_at(count);
        self.bytes = later;
        (&mut self.state.sha256, next)
    }
}

/// Brings all of these to the end of what they were given.
fn hash_in_turn(mut streams: Vec<Arc<Mutex<Inner>>>) {
    // One order for all threads: two never wait for each other.
    streams.sort_unstable_by_key(Arc::as_ptr);
    let mut inners: Vec<MutexGuard<'_, Inner>> = streams.iter().map(|stream| lock(stream)).collect();
    let mut feeds: Vec<Feed<'_>> = inners.iter_mut().map(|inner| Feed::of(inner)).collect();
    loop {
        feeds.retain_mut(Feed::has_more);
        let Some(count) = feeds.iter().map(|feed| feed.bytes.len()).min() else { break };
        let mut turns: Vec<(&mut Sha256, &[u8])> = feeds.iter_mut().map(|feed| feed.next(count)).collect();
        update_all(&mut turns);
    }
    for inner in &mut inners {
        inner.waiting.clear();
        inner.bytes = 0;
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // A hash that was left in the middle of something must never become a digest.
    of.lock().expect("no thread has panicked while it hashed")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use proptest::prelude::*;

    use super::*;
    use crate::sha256::Digest;

    fn bytes(count: usize, seed: usize) -> Bytes {
        (0..count).map(|place| (place * 31 + seed * 7 + place / 256).to_le_bytes()[0]).collect()
    }

    fn digest(stream: &Stream) -> Digest {
        stream.state().sha256.digest()
    }

    #[test]
    fn bytes_wait_for_those_of_three_other_files() {
        let (turns, streams) = (Turns::new(FEW), [(); STREAMS].map(|()| Stream::default()));
        let waiting = || streams.iter().filter(|stream| stream.is_waiting()).count();
        for (place, stream) in streams.iter().enumerate() {
            assert_eq!(waiting(), place);
            turns.take(stream, bytes(FEW + place, place));
        }
        assert_eq!(waiting(), 0);
        for (place, stream) in streams.iter().enumerate() {
            assert_eq!(digest(stream), Digest::of(&bytes(FEW + place, place)));
        }
        assert!(lock(&turns.waiting).is_empty());
    }

    #[test]
    fn few_bytes_are_hashed_at_once_unless_others_of_their_file_wait() {
        let (turns, stream) = (Turns::new(FEW), Stream::default());
        turns.take(&stream, bytes(FEW - 1, 0));
        assert!(!stream.is_waiting());
        turns.take(&stream, bytes(FEW, 1));
        turns.take(&stream, bytes(1, 2));
        assert_eq!(lock(&stream.0).waiting.len(), 2);
        turns.catch_up(&stream);
        let all = [bytes(FEW - 1, 0), bytes(FEW, 1), bytes(1, 2)];
        assert_eq!(digest(&stream), Digest::of(&all.concat()));
    }

    #[test]
    fn no_more_bytes_of_a_file_wait_than_few() {
        let (turns, [full, other]) = (Turns::new(FEW), [(); 2].map(|()| Stream::default()));
        turns.take(&other, bytes(FEW, 0));
        turns.take(&full, bytes(WAITING - 1, 1));
        assert!(full.is_waiting());
        turns.take(&full, bytes(1, 2));
        assert!(!full.is_waiting());
        assert!(!other.is_waiting(), "it was company");
        assert_eq!(digest(&full), Digest::of(&[bytes(WAITING - 1, 1), bytes(1, 2)].concat()));
        assert_eq!(lock(&full.0).bytes, 0);
    }

    #[test]
    fn no_more_chunks_of_a_file_wait_than_few_however_short_they_are() {
        let (turns, stream) = (Turns::new(1), Stream::default());
        for chunk in 1..CHUNKS {
            turns.take(&stream, bytes(1, chunk));
        }
        assert!(stream.is_waiting());
        turns.take(&stream, bytes(1, CHUNKS));
        assert!(!stream.is_waiting());
        let all: Vec<Bytes> = (1..=CHUNKS).map(|chunk| bytes(1, chunk)).collect();
        assert_eq!(digest(&stream), Digest::of(&all.concat()));
    }

    #[test]
    fn who_came_on_another_thread_or_is_gone_is_no_company() {
        let (turns, [here, there]) = (Turns::new(FEW), [(); 2].map(|()| Stream::default()));
        thread::scope(|scope| {
            scope.spawn(|| turns.take(&there, bytes(FEW, 1)));
        });
        turns.take(&Stream::default(), bytes(FEW, 2));
        turns.take(&here, bytes(FEW, 3));
        turns.catch_up(&here);
        assert!(!here.is_waiting());
        assert!(there.is_waiting());
        assert_eq!(lock(&turns.waiting).len(), 1, "nothing is left of those that are gone");
        turns.catch_up(&there);
        assert_eq!(digest(&there), Digest::of(&bytes(FEW, 1)));
    }

    #[test]
    fn files_that_wander_between_threads_keep_their_digests() {
        const THREADS: usize = 4;
        const CHUNKS: usize = 60;
        let turns = Turns::new(FEW);
        let (queues, works): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
        let (done, ended) = channel();
        for file in 0..16 {
            queues[file % THREADS].send(Some((file, 0, Stream::default()))).expect("it listens");
        }
        thread::scope(|scope| {
            for (place, work) in works.into_iter().enumerate() {
                let (queues, done, turns) = (queues.clone(), done.clone(), &turns);
                scope.spawn(move || {
                    while let Ok(Some((file, chunk, stream))) = work.recv() {
                        if chunk == CHUNKS {
                            turns.catch_up(&stream);
                            done.send((file, digest(&stream))).expect("it listens");
                            continue;
                        }
                        turns.take(&stream, bytes(9_973 * (chunk % 7) + file, chunk));
                        if chunk % 13 == file % 13 {
                            turns.catch_up(&stream);
                        }
                        let next = (place + usize::from(chunk % 3 == 0)) % THREADS;
                        queues[next].send(Some((file, chunk + 1, stream))).expect("it listens");
                    }
                });
            }
            let digests: Vec<_> = ended.iter().take(16).collect();
            for (file, digest) in digests {
                let all: Vec<Bytes> =
                    (0..CHUNKS).map(|chunk| bytes(9_973 * (chunk % 7) + file, chunk)).collect();
                assert_eq!(digest, Digest::of(&all.concat()));
            }
            for queue in &queues {
                queue.send(None).expect("it listens");
            }
        });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize),
        CatchUp,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
        let step = prop_oneof![
            6 => (0..2 * FEW).prop_map(Step::Take),
            1 => (WAITING - 2_000..WAITING + 2_000).prop_map(Step::Take),
            2 => Just(Step::CatchUp),
        ];
        prop::collection::vec((0_usize..6, step), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn digests_are_those_of_each_file_alone(steps in steps()) {
            let (turns, streams) = (Turns::new(FEW), [(); 6].map(|()| Stream::default()));
            let mut plain: [Vec<u8>; 6] = Default::default();
            for (place, (file, step)) in steps.into_iter().enumerate() {
                let (stream, plain) = (&streams[file], &mut plain[file]);
                match step {
                    Step::Take(count) => {
                        let bytes = bytes(count, place);
                        plain.extend_from_slice(&bytes);
                        turns.take(stream, bytes);
                    }
                    Step::CatchUp => {
                        turns.catch_up(stream);
                        prop_assert_eq!(stream.state().sha256.bytes(), plain.len() as u64);
                        prop_assert_eq!(digest(stream), Digest::of(plain));
                    }
                }
            }
            for (stream, plain) in streams.iter().zip(&plain) {
                turns.catch_up(stream);
                prop_assert_eq!(digest(stream), Digest::of(plain));
            }
        }
    }
}
