//! Contents of known bytes, of any length, of which no two places look alike.
//!
//! The payload is a keystream: a table of random words, and in each [`STAMP_STEP`] bytes the seed and the offset. So
//! a block that was shifted, repeated, left out or taken from another file cannot go unnoticed, and a difference can
//! be explained ([`Content::explain`]). The bytes are made where they are needed, and a file of 2 GiB costs no memory.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, OnceLock};

use sha2::{Digest as _, Sha256};

const TABLE_BYTES: usize = 1 << 16;
/// Each so many bytes of the payload begin with the seed and the offset, 8 bytes each.
const STAMP_STEP: usize = 1 << 10;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = (0..TABLE_BYTES as u64 / 8).flat_map(|word| mix(word).to_le_bytes());
    words.collect()
});

/// The finishing step of splitmix64: neighbours in, strangers out.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Some bytes: a head and a tail that are kept, and a payload between them that is made when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    head: Arc<[u8]>,
    payload: Payload,
    payload_bytes: u64,
    tail: Arc<[u8]>,
    sha256: Arc<OnceLock<String>>,
}

#[derive(Clone, Copy, Debug)]
enum Payload {
    Keystream(u64),
    Repeated(u8),
}

impl Content {
    /// Exactly these bytes.
    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::wrapped(bytes.as_ref(), Payload::Repeated(0), 0, b"")
    }

    /// A whole MP4 (`ftyp`, `moov`, `mdat`) of this many bytes in all.
    pub(crate) fn mp4(seed: u64, bytes: u64) -> Self {
        let moov = [&box_head(16, *b"moov")[..], &box_head(8, *b"mvhd")].concat();
        let ftyp = [&box_head(24, *b"ftyp")[..], b"isom\0\0\x02\0isommp42"].concat();
        let front = [ftyp, moov].concat();
        // The long form of the size, so that the head has the same length for all sizes.
        let mdat_bytes = bytes.checked_sub(front.len() as u64).expect("room for the boxes");
        let mdat = [&box_head(1, *b"mdat")[..], &mdat_bytes.to_be_bytes()].concat();
        let head = [front, mdat].concat();
        let payload = bytes.checked_sub(head.len() as u64).expect("room for the boxes");
        Self::wrapped(&head, Payload::Keystream(seed), payload, b"")
    }

    /// An MP4 that does not end.
    pub(crate) fn endless_mp4(seed: u64) -> Self {
        Self::mp4(seed, u64::MAX / 2)
    }

    /// A whole GIF with about this many bytes; its image data is a keystream in sub-blocks.
    pub(crate) fn gif(seed: u64, bytes: usize) -> Self {
        let mut gif = b"GIF89a\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x10\0\x10\0\0\x02".to_vec();
        let mut payload = vec![0; bytes.max(1)];
        Self::wrapped(b"", Payload::Keystream(seed), u64::MAX, b"").fill(0, &mut payload);
        for block in payload.chunks(255) {
            gif.push(u8::try_from(block.len()).expect("a chunk of 255 at most"));
            gif.extend_from_slice(block);
        }
        gif.extend_from_slice(b"\0\x3b");
        Self::of(gif)
    }

    /// This many bytes of a kind that nobody knows, and whose end nothing tells.
    pub(crate) fn unknown(seed: u64, bytes: u64) -> Self {
        let head = b"\x00\x01vfx\xfe";
        Self::wrapped(
            head,
            Payload::Keystream(seed),
            bytes.checked_sub(head.len() as u64).expect("some bytes"),
            b"",
        )
    }

    /// A page that a host shows in place of the file.
    pub(crate) fn html() -> Self {
        Self::of("<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not here.</body></html>\n")
    }

    /// Text that repeats one letter, around which something stands.
    pub(crate) fn padded(head: &str, letter: u8, bytes: u64, tail: &str) -> Self {
        Self::wrapped(head.as_bytes(), Payload::Repeated(letter), bytes, tail.as_bytes())
    }

    fn wrapped(head: &[u8], payload: Payload, payload_bytes: u64, tail: &[u8]) -> Self {
        Self { head: head.into(), payload, payload_bytes, tail: tail.into(), sha256: Arc::default() }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        (self.head.len() as u64).saturating_add(self.payload_bytes).saturating_add(self.tail.len() as u64)
    }

    /// Fills the buffer with the bytes from `offset` on; says how many there were.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let count = self.fill_some(offset + done as u64, &mut buffer[done..]);
            if count == 0 {
                break;
            }
            done += count;
        }
        done
    }

    fn fill_some(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let head = self.head.len() as u64;
        if offset < head {
            return copy(&self.head[clamp(offset)..], buffer);
        }
        let offset = offset - head;
        if offset < self.payload_bytes {
            let most = clamp(self.payload_bytes - offset).min(buffer.len());
            return self.fill_payload(offset, &mut buffer[..most]);
        }
        let offset = clamp(offset - self.payload_bytes).min(self.tail.len());
        copy(&self.tail[offset..], buffer)
    }

    fn fill_payload(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let seed = match self.payload {
            Payload::Repeated(byte) => {
                buffer.fill(byte);
                return buffer.len();
            }
            Payload::Keystream(seed) => seed,
        };
        let within = clamp(offset % STAMP_STEP as u64);
        let block = offset - within as u64;
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&mix(seed).to_le_bytes());
        stamp[8..].copy_from_slice(&(block ^ mix(seed ^ 1)).to_le_bytes());
        if within < stamp.len() {
            return copy(&stamp[within..], buffer);
        }
        let place = clamp((offset ^ (mix(seed) & !(STAMP_STEP as u64 - 1))) % TABLE_BYTES as u64);
        let most = buffer.len().min(STAMP_STEP - within);
        copy(&TABLE[place..place + most], buffer)
    }

    /// All of the bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len()).expect("a content that fits in memory")];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Their digest, as manifests write it.
    pub(crate) fn sha256(&self) -> String {
        self.sha256.get_or_init(|| self.hash()).clone()
    }

    fn hash(&self) -> String {
        let (mut hasher, mut buffer, mut offset) = (Sha256::new(), vec![0; TABLE_BYTES], 0);
        loop {
            let count = self.fill(offset, &mut buffer);
            if count == 0 {
                return data_encoding::HEXLOWER.encode(&hasher.finalize());
            }
            hasher.update(&buffer[..count]);
            offset += count as u64;
        }
    }

    /// Where these bytes depart from the content, and where else in it the departing block stands.
    pub(crate) fn explain(&self, got: &[u8]) -> String {
        const BLOCK: usize = 32;
        let want = self.bytes();
        let same = want.iter().zip(got).take_while(|(want, got)| want == got).count();
        let mut text = format!("{} bytes in place of {}, the same up to byte {same}", got.len(), want.len());
        let block = &got[same.min(got.len())..got.len().min(same + BLOCK)];
        if block.len() == BLOCK
            && let Some(place) = want.windows(BLOCK).position(|window| window == block)
        {
            let _ = write!(text, ", where those from byte {place} follow");
        }
        text
    }
}

fn box_head(bytes: u32, name: [u8; 4]) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&bytes.to_be_bytes());
    head[4..].copy_from_slice(&name);
    head
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}
