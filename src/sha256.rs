//! SHA-256: digests, the hasher of one stream, and several streams at a time on one core.
//!
//! Each round of the function waits for the one before, so a core that hashes one stream is idle for half of its time.
//! [`update_all`] takes the rounds of up to four streams in turn, and one core does nearly twice as much. That needs the
//! SHA instructions of x86-64 processors; on others the streams come one after another, each as fast as `sha2` knows how.

use std::fmt;

use multiversion::{multiversion, target::match_target};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::block_api::compress256;

/// The bytes that one step of the function takes.
const BLOCK: usize = 64;
/// How many streams are taken in turn: as many as fill a core's time.
pub const STREAMS: usize = 4;
/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

type State = [u32; 8];
type Block = [u8; BLOCK];

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::default();
        hasher.update(bytes);
        hasher.digest()
    }

    /// The digest that is these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a sha256 is 64 lower-case hexadecimal digits"))
    }
}

/// The hasher of one stream of bytes.
#[derive(Clone)]
pub struct Sha256 {
    state: State,
    bytes: u64,
    /// What came after the last whole block: `bytes % BLOCK` of them.
    rest: Block,
}

impl Sha256 {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.begin(bytes);
        compress256(&mut self.state, blocks);
    }

    /// How many bytes it has taken in.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all that it has taken in. It may go on afterwards.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut last = [[0; BLOCK]; 2];
        let rest = self.rest_bytes();
        let bits = self.bytes.wrapping_mul(8).to_be_bytes();
        let flat = last.as_flattened_mut();
        flat[..rest].copy_from_slice(&self.rest[..rest]);
        flat[rest] = 0x80;
        // The length stands at the end of a block: of this one where it still fits in, else of the next.
        let blocks = if rest + 1 + bits.len() <= BLOCK { 1 } else { 2 };
        flat[blocks * BLOCK - bits.len()..blocks * BLOCK].copy_from_slice(&bits);
        let mut state = self.state;
        compress256(&mut state, &last[..blocks]);
        let mut digest = [0; 32];
        for (word, bytes) in state.iter().zip(digest.as_chunks_mut::<4>().0) {
            *bytes = word.to_be_bytes();
        }
        Digest(digest)
    }

    /// Takes the bytes in but for the whole blocks among them, which it gives back: the state is to take them next.
    fn begin<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [Block] {
        let rest = self.rest_bytes();
        self.bytes += bytes.len() as u64;
        if let 1.. = rest {
            let more = bytes.len().min(BLOCK - rest);
            self.rest[rest..rest + more].copy_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if rest + more < BLOCK {
                return &[];
            }
            compress256(&mut self.state, &[self.rest]);
        }
        let (blocks, rest) = bytes.as_chunks();
        self.rest[..rest.len()].copy_from_slice(rest);
        blocks
    }

    fn rest_bytes(&self) -> usize {
        usize::from(self.bytes.to_le_bytes()[0]) % BLOCK
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self { state: INITIAL, bytes: 0, rest: [0; BLOCK] }
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({} bytes)", self.bytes)
    }
}

/// Takes the next bytes of several streams in, as [`Sha256::update`] does for each of them. Fastest where about as many
/// bytes of each come.
pub fn update_all(streams: &mut [(&mut Sha256, &[u8])]) {
    for streams in streams.chunks_mut(STREAMS) {
        let mut left: Vec<(&mut State, &[Block])> = Vec::with_capacity(STREAMS);
        for (hasher, bytes) in streams {
            let blocks = hasher.begin(bytes);
            left.push((&mut hasher.state, blocks));
        }
        loop {
            left.retain(|(_, blocks)| !blocks.is_empty());
            let shared = left.iter().map(|(_, blocks)| blocks.len()).min().unwrap_or(0);
            match left.as_mut_slice() {
                [] => break,
                [(state, blocks)] => compress256(state, blocks),
                [one, two] => compress_first(shared, [one, two]),
                [one, two, three] => compress_first(shared, [one, two, three]),
                [one, two, three, four, ..] => compress_first(shared, [one, two, three, four]),
            }
            for (_, blocks) in &mut left {
                *blocks = &blocks[shared..];
            }
        }
    }
}

fn compress_first<const N: usize>(count: usize, streams: [&mut (&mut State, &[Block]); N]) {
    let blocks = streams.each_ref().map(|(_, blocks)| &blocks[..count]);
    let mut states = streams.each_ref().map(|(state, _)| **state);
    compress(&mut states, blocks);
    for ((state, _), new) in streams.into_iter().zip(states) {
        **state = new;
    }
}

/// Takes blocks into several states, as many into each.
#[multiversion(targets("x86_64+sha+ssse3+sse4.1+avx"))]
fn compress<const N: usize>(states: &mut [State; N], blocks: [&[Block]; N]) {
    match_target! {
        "x86_64+sha+ssse3+sse4.1+avx" => x86_64::compress_in_turn(states, blocks),
        _ => {
            for (state, blocks) in states.iter_mut().zip(blocks) {
                compress256(state, blocks);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    //! Loops, and no closures around the instructions: what calls a closure is compiled without them, and what is then
    //! not inlined is five times slower.

    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi8, _mm_set_epi32,
        _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
        _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::{Block, State};

    /// The constants of the rounds (FIPS 180-4, 4.2.2), those of four rounds in a row.
    #[rustfmt::skip]
    const ROUNDS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5], [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3], [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc], [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7], [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13], [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3], [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5], [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// The words of a state in the order that the instructions want, from the lowest on.
    const FEBA_HGDC: [[usize; 4]; 2] = [[5, 4, 1, 0], [7, 6, 3, 2]];

    type Halves = [__m128i; 2];

    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    pub(super) fn compress_in_turn<const N: usize>(states: &mut [State; N], blocks: [&[Block]; N]) {
        let mut halves = [[_mm_setzero_si128(); 2]; N];
        for (halves, state) in halves.iter_mut().zip(&*states) {
            *halves = split(state);
        }
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let blocks = blocks.map(|blocks| &blocks[..count]);
        for place in 0..count {
            let before = halves;
            let mut words = [[_mm_setzero_si128(); 4]; N];
            for (words, blocks) in words.iter_mut().zip(blocks) {
                *words = load(&blocks[place]);
            }
            for (four, constants) in ROUNDS.iter().enumerate() {
                let constants = words_of(*constants);
                for stream in 0..N {
                    let words = &mut words[stream];
                    if four >= words.len() {
                        words[turn(four, 0)] = schedule(words, four);
                    }
                    let [feba, hgdc] = &mut halves[stream];
                    let lower = _mm_add_epi32(words[turn(four, 0)], constants);
                    *hgdc = _mm_sha256rnds2_epu32(*hgdc, *feba, lower);
                    let upper = _mm_shuffle_epi32::<0x0e>(lower);
                    *feba = _mm_sha256rnds2_epu32(*feba, *hgdc, upper);
                }
            }
            for stream in 0..N {
                for half in 0..2 {
                    halves[stream][half] = _mm_add_epi32(halves[stream][half], before[stream][half]);
                }
            }
        }
        for (state, halves) in states.iter_mut().zip(halves) {
            *state = joined(halves);
        }
    }

    /// The next four words of the message schedule, from the sixteen before them, the oldest of which they replace.
    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    fn schedule(words: &[__m128i; 4], four: usize) -> __m128i {
        let (third, fourth) = (words[turn(four, 2)], words[turn(four, 3)]);
        let first = _mm_sha256msg1_epu32(words[turn(four, 0)], words[turn(four, 1)]);
        _mm_sha256msg2_epu32(_mm_add_epi32(first, _mm_alignr_epi8::<4>(fourth, third)), fourth)
    }

    /// Where the fours that come after this one stand.
    #[inline]
    fn turn(four: usize, after: usize) -> usize {
        (four + after) % 4
    }

    /// The sixteen big-endian words of a block.
    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    fn load(block: &Block) -> [__m128i; 4] {
        let swapped = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        let (halves, _) = block.as_chunks::<8>();
        let mut words = [_mm_setzero_si128(); 4];
        for (quarter, words) in words.iter_mut().enumerate() {
            let (low, high) = (halves[2 * quarter], halves[2 * quarter + 1]);
            let bytes = _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low));
            *words = _mm_shuffle_epi8(bytes, swapped);
        }
        words
    }

    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    fn split(state: &State) -> Halves {
        let [feba, hgdc] = FEBA_HGDC;
        let words = |places: [usize; 4]| words_of(places.map(|place| state[place]));
        [words(feba), words(hgdc)]
    }

    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    fn joined(halves: Halves) -> State {
        let mut state = State::default();
        for (half, places) in halves.into_iter().zip(FEBA_HGDC) {
            let words = [
                _mm_extract_epi32::<0>(half),
                _mm_extract_epi32::<1>(half),
                _mm_extract_epi32::<2>(half),
                _mm_extract_epi32::<3>(half),
            ];
            for (word, place) in words.into_iter().zip(places) {
                state[place] = word.cast_unsigned();
            }
        }
        state
    }

    #[target_feature(enable = "sha,ssse3,sse4.1,avx")]
    #[inline]
    fn words_of(words: [u32; 4]) -> __m128i {
        let [one, two, three, four] = words;
        _mm_set_epi32(four.cast_signed(), three.cast_signed(), two.cast_signed(), one.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn by_sha2(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|place| (place * 31 + (place >> 8)).to_le_bytes()[0]).collect()
    }

    #[test]
    fn published_digests_come_out() {
        // The examples of FIPS 180-4, as NIST publishes them, and the digest of nothing.
        let table = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (text, digest) in table {
            assert_eq!(Digest::of(text.as_bytes()).to_string(), digest);
        }
    }

    #[test]
    fn every_length_up_to_three_blocks_has_its_digest() {
        for count in 0..=3 * BLOCK {
            let bytes = bytes(count);
            assert_eq!(Digest::of(&bytes), by_sha2(&bytes), "{count} bytes");
        }
    }

    #[test]
    fn digests_are_64_lower_case_digits() {
        let digest = Digest::of(b"");
        assert_eq!(format!("{digest:?}"), format!("Digest({digest})"));
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), None);
        assert_eq!(Digest::parse("e3b0"), None);
    }

    #[test]
    fn a_hasher_goes_on_after_it_was_asked() {
        let bytes = bytes(200);
        let mut hasher = Sha256::default();
        for (taken, byte) in bytes.iter().enumerate() {
            assert_eq!(hasher.digest(), by_sha2(&bytes[..taken]));
            hasher.update(&[*byte]);
            assert_eq!(format!("{hasher:?}"), format!("Sha256({} bytes)", taken + 1));
        }
        assert_eq!(hasher.bytes(), 200);
    }

    proptest! {
        /// Up to nine streams, each in steps of its own: some end early, some have a step of nothing.
        #[test]
        fn streams_that_are_taken_together_have_the_digests_of_each_alone(
            lengths in prop::collection::vec(prop::collection::vec(0_usize..400, 0..5), 0..9),
        ) {
            let mut hashers = vec![Sha256::default(); lengths.len()];
            let mut all = vec![Vec::new(); lengths.len()];
            for step in 0..5 {
                let steps = lengths.iter().map(|steps| bytes(steps.get(step).copied().unwrap_or(0))).collect::<Vec<_>>();
                let mut streams: Vec<_> = hashers.iter_mut().zip(steps.iter().map(Vec::as_slice)).collect();
                update_all(&mut streams);
                for (all, step) in all.iter_mut().zip(steps) {
                    all.extend(step);
                }
            }
            let digests = hashers.iter().map(Sha256::digest).collect::<Vec<_>>();
            prop_assert_eq!(digests, all.iter().map(|bytes| by_sha2(bytes)).collect::<Vec<_>>());
        }
    }
}
