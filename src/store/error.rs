//! Why an archive could not be used: what was being done, to what, and what was said to it.

use std::io;

use super::disk::Disk;
use super::remote::Trouble;

/// Why the archive could not be used. Each names the place.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{doing} {place}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk, the quota or the limit on file sizes has no room for it.
    #[error("{doing} {place}: {source}{}", shortage(*needed, *free))]
    Full {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: String,
        /// How many bytes more it wanted at least, where that is known.
        needed: Option<u64>,
        /// How many the disk still has; `None` where it is not the disk that refuses.
        free: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The record that was to be committed is none that could be read again.
    #[error("{place} cannot be recorded: {why}")]
    Unfit {
        /// The record.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no archive at this place.
    #[error("there is no archive at {place}: {why}; name the folder that was given to `vfetch get -o`")]
    NoArchive {
        /// The place.
        place: String,
        /// What is there instead.
        why: &'static str,
    },
    /// The object store refused, or could not be reached.
    #[error("{doing} {place}: {trouble}")]
    Remote {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: String,
        /// What the store said, and what can be done.
        trouble: Trouble,
    },
    /// The place cannot be used as it was named, or not from here.
    #[error("{place} cannot be used as an archive: {why}")]
    BadPlace {
        /// The place.
        place: String,
        /// Why not, and what would do.
        why: String,
    },
    /// Another process is writing here.
    #[error("{place} is locked: another vfetch{} is writing to this archive", holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Busy {
        /// The lock.
        place: String,
        /// Its holder's process number, where it can be read.
        holder: Option<u32>,
    },
    /// The record changed since it was read.
    #[error("{place}: another process has changed the record meanwhile")]
    Conflict {
        /// The job's folder.
        place: String,
    },
    /// The folder belongs to another job.
    #[error("{place} belongs to {holds}, not to {asked}; use another output folder for one of them")]
    Foreign {
        /// The record.
        place: String,
        /// The job that was asked for.
        asked: String,
        /// The job that it holds.
        holds: String,
    },
    /// A newer vfetch wrote the record.
    #[error("{place} was written by a newer vfetch (version {version} of the format) and is left alone")]
    Newer {
        /// The record.
        place: String,
        /// Its version.
        version: u64,
    },
}

impl StoreError {
    /// Whether the disk's permissions forbid it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether it says nothing of the one file or record that was asked for: the archive is out of reach for all of them.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Remote { trouble, .. } => trouble.kind.is_of_the_bucket(),
            Self::Io { source, .. } => is_of_the_system(source),
            Self::Full { .. }
            | Self::BadPlace { .. }
            | Self::Unfit { .. }
            | Self::NoArchive { .. }
            | Self::Busy { .. }
            | Self::Conflict { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. } => false,
        }
    }
}

pub(super) fn ctx(doing: &'static str, place: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { doing, place: place.to_owned(), source }
}

/// A refusal of the disk, with how much was missing where it is full.
pub(super) fn no_room<D: Disk>(
    disk: &D,
    folder: &D::Folder,
    doing: &'static str,
    place: &str,
    needed: Option<u64>,
    source: io::Error,
) -> StoreError {
    let free = match source.kind() {
        io::ErrorKind::StorageFull => disk.free_bytes(folder).ok(),
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => None,
        _ => return ctx(doing, place)(source),
    };
    StoreError::Full { doing, place: place.into(), needed, free, source }
}

/// Whether the system says nothing of the file that was asked for: a share or a drive that is no longer there, or no room
/// for one more open file.
fn is_of_the_system(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let no_room = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    let no_share = matches!(
        error.kind(),
        io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    );
    no_room || no_share
}

fn shortage(needed: Option<u64>, free: Option<u64>) -> String {
    let needed = needed.map(|bytes| format!("{} more needed", amount(bytes)));
    let free = free.map(|bytes| format!("{} free", amount(bytes)));
    let known: Vec<String> = [needed, free].into_iter().flatten().collect();
    if known.is_empty() { String::new() } else { format!("; {}", known.join(", ")) }
}

fn amount(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < MIB { format!("{bytes} bytes") } else { format!("{:.1} MiB", bytes as f64 / MIB as f64) }
}

pub(super) fn at(place: &str, name: &str) -> String {
    let slash = if place.ends_with('/') { "" } else { "/" };
    [place, slash, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_file_met_is_told_apart_from_an_archive_that_is_out_of_reach() {
        use crate::store::remote::Kind;
        use rustix::io::Errno;
        let io = |errno: Errno| StoreError::Io { doing: "opening", place: "x".into(), source: errno.into() };
        let of = |kind| StoreError::Remote {
            doing: "reading",
            place: "s3://x".into(),
            trouble: Trouble::new(kind, "x"),
        };
        let table = [
            (io(Errno::IO), false),
            (io(Errno::ACCESS), false),
            (io(Errno::NOENT), false),
            (io(Errno::MFILE), true),
            (io(Errno::NFILE), true),
            (io(Errno::NOTCONN), true),
            (io(Errno::TIMEDOUT), true),
            (io(Errno::HOSTUNREACH), true),
            (of(Kind::Refused), false),
            (of(Kind::Denied), true),
            (of(Kind::NoBucket), true),
            (of(Kind::NoCredentials), true),
            (of(Kind::Unfit), true),
            (of(Kind::Unreachable), true),
            (StoreError::Busy { place: "x".into(), holder: None }, false),
        ];
        for (error, want) in table {
            assert_eq!(error.is_out_of_reach(), want, "{error}");
        }
    }
}
