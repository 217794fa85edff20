//! One file's way into a bucket: read back from the staging area, hashed once more, sent, confirmed.
//!
//! A small file is one request that creates its object or finds it taken. A large one goes in pieces, and its last
//! request would write over whatever has the name; so the name is taken first, with an empty object that is created
//! under the same condition, and the pieces then replace this commit's own object and no other.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, PutMultipartOptions, PutPayload};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::super::disk::{Disk, RealDisk};
use super::super::{Proven, StoreError, ctx};
use super::bucket::{Bucket, Created, Head, SHARE, SHARES, Spot, attributes, failed};
use super::trouble::{Kind, Trouble};
use crate::sha256::{Digest, Sha256};

const MIB: u64 = 1 << 20;
/// Files up to this size are one request.
pub(super) const WHOLE_MAX: u64 = 16 * MIB;
/// The pieces of larger files. Stores want at least 5 MiB, and all but the last of one size.
const PIECE: u64 = 8 * MIB;
/// Stores take no more pieces than this for one file.
const PIECES_MAX: u64 = 10_000;
/// Pieces of one file that are sent at once.
const PIECES_AT_ONCE: usize = 4;

/// A proven file in the staging area, opened to be sent.
pub(super) struct Part {
    file: Arc<OwnedFd>,
    place: String,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

impl Part {
    pub(super) fn open(proven: &Proven) -> Result<Self, StoreError> {
        let (file, place) = proven.open()?;
        Ok(Self { file: Arc::new(file), place, bytes: proven.bytes, digest: proven.digest })
    }

    /// Reads a piece and hashes it with those before it.
    async fn read(&self, offset: u64, bytes: u64, mut hasher: Sha256) -> Result<(Bytes, Sha256), StoreError> {
        let file = Arc::clone(&self.file);
        blocking(&self.place, move || {
            let mut piece = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
            let mut filled = 0;
            while filled < piece.len() {
                match RealDisk.read_at(&file, offset + filled as u64, &mut piece[filled..]) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            hasher.update(&piece);
            Ok((Bytes::from(piece), hasher))
        })
        .await
    }

    /// What was read must be what was proven: a disk may have lost bytes since.
    fn check(&self, hasher: &Sha256) -> Result<(), StoreError> {
        if hasher.digest() == self.digest {
            return Ok(());
        }
        let changed =
            io::Error::new(io::ErrorKind::InvalidData, "the bytes are no longer those that were proven");
        Err(ctx("reading back", &self.place)(changed))
    }
}

/// Sends a file under a name that nobody has, or says who has it.
pub(super) async fn upload(
    bucket: &Arc<Bucket>,
    spot: &Spot,
    part: &Part,
    mark: &str,
) -> Result<Created, StoreError> {
    if part.bytes <= WHOLE_MAX {
        let _room = room(bucket, part.bytes).await;
        let (body, hasher) = part.read(0, part.bytes, Sha256::default()).await?;
        part.check(&hasher)?;
        return bucket.create(spot, body, mark).await;
    }
    let reserved = bucket.create(spot, Bytes::new(), mark).await?;
    if reserved != Created::Here {
        return Ok(reserved);
    }
    let sent = send_in_pieces(bucket, spot, part, mark).await;
    // Whatever the last answer said: only what a look shows is there.
    let there = bucket.head(spot).await;
    let ours = |head: &Head| head.mark.as_deref() == Some(mark);
    match (sent, there) {
        (_, Ok(Some(there))) if ours(&there) && there.bytes == part.bytes => Ok(Created::Here),
        (Err(Unsent { error, given_up }), there) => {
            // What was given up can no longer come, so an empty object stays empty, and nobody names it.
            if given_up
                && there.is_ok_and(|there| there.is_some_and(|there| ours(&there) && there.bytes == 0))
            {
                bucket.remove(spot).await;
            }
            Err(error)
        }
        (Ok(()), Ok(there)) => {
            let seen = there.map_or("nothing".into(), |there| format!("an object of {} bytes", there.bytes));
            let why =
                format!("the upload was acknowledged, but {seen} is there instead of {} bytes", part.bytes);
            let trouble = Trouble::new(Kind::Unreachable, why);
            Err(StoreError::Remote { doing: "confirming", place: spot.place.clone(), trouble })
        }
        (Ok(()), Err(error)) => Err(error),
    }
}

/// Why a file did not get there, and whether it is certain that it will not get there later.
struct Unsent {
    error: StoreError,
    given_up: bool,
}

/// Sends a file in pieces; gives the upload up where that fails.
async fn send_in_pieces(bucket: &Arc<Bucket>, spot: &Spot, part: &Part, mark: &str) -> Result<(), Unsent> {
    let options =
        PutMultipartOptions { attributes: attributes(spot, mark), ..PutMultipartOptions::default() };
    let mut upload = match bucket.objects.put_multipart_opts(&spot.path, options).await {
        Ok(upload) => upload,
        Err(refusal) => {
            return Err(Unsent { error: failed("beginning to write", spot)(&refusal), given_up: true });
        }
    };
    let sent = match send_all(bucket, spot, part, &mut *upload).await {
        Ok(()) => upload.complete().await.map(drop).map_err(|refusal| failed("completing", spot)(&refusal)),
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => Ok(()),
        // Where the answer to the last request was lost there is nothing to give up any more, and this says so.
        Err(error) => Err(Unsent { error, given_up: upload.abort().await.is_ok() }),
    }
}

async fn send_all(
    bucket: &Arc<Bucket>,
    spot: &Spot,
    part: &Part,
    upload: &mut dyn MultipartUpload,
) -> Result<(), StoreError> {
    let fail = failed("writing", spot);
    let piece = piece_bytes(part.bytes);
    let (mut offset, mut hasher) = (0, Sha256::default());
    // Tasks of their own: they go on, and give their room back, while this one waits for room.
    let mut under_way: JoinSet<object_store::Result<()>> = JoinSet::new();
    while offset < part.bytes {
        while under_way.len() >= PIECES_AT_ONCE {
            ended(under_way.join_next().await).map_err(|refusal| fail(&refusal))?;
        }
        let bytes = piece.min(part.bytes - offset);
        let room = room(bucket, bytes).await;
        let (body, hashed_on) = part.read(offset, bytes, hasher).await?;
        hasher = hashed_on;
        let sent = upload.put_part(PutPayload::from_bytes(body));
        under_way.spawn(async move {
            let sent = sent.await;
            drop(room);
            sent
        });
        offset += bytes;
    }
    part.check(&hasher)?;
    while !under_way.is_empty() {
        ended(under_way.join_next().await).map_err(|refusal| fail(&refusal))?;
    }
    Ok(())
}

fn ended(
    joined: Option<Result<object_store::Result<()>, tokio::task::JoinError>>,
) -> object_store::Result<()> {
    match joined {
        Some(Ok(sent)) => sent,
        Some(Err(error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// The size of a file's pieces: [`PIECE`], or more where there would be too many.
fn piece_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(PIECES_MAX).next_multiple_of(MIB).max(PIECE)
}

/// Waits until so many bytes may be in memory.
async fn room(bucket: &Bucket, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let shares = u32::try_from(bytes.div_ceil(SHARE)).unwrap_or(SHARES).clamp(1, SHARES);
    Arc::clone(&bucket.room).acquire_many_owned(shares).await.ok()
}

async fn blocking<T: Send + 'static>(
    place: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|read| read);
    done.map_err(ctx("reading back", place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_large_enough_for_stores_and_never_too_many() {
        let table =
            [(WHOLE_MAX + 1, PIECE), (80_000 * MIB, PIECE), (80_001 * MIB, 9 * MIB), (1 << 40, 105 * MIB)];
        for (bytes, want) in table {
            assert_eq!(piece_bytes(bytes), want, "{bytes}");
            assert!(bytes.div_ceil(piece_bytes(bytes)) <= PIECES_MAX);
        }
    }
}
