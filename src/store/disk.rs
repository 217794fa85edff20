//! The file-system calls that durability rests on, and the real ones.
//!
//! This is the seam for tests: below it a double can count, fail on cue, or lose what was never synced, and everything
//! above it is the code that runs for users. All names are relative to an open folder and are opened without
//! following links, so that a link planted in an archive leads nowhere.

use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

/// Permissions of new files, before the user's umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
/// Permissions of new folders, before the user's umask.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
/// Permissions of new folders that are not for everybody, before the user's umask.
const PRIVATE_MODE: Mode = Mode::from_raw_mode(0o770);

/// What lies behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file of this many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A link, a device or something else that an archive does not hold.
    Other,
}

/// The file-system calls that durability rests on. Each does one system call's worth of work and retries nothing.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open folder.
    type Folder: Debug + Send + Sync + 'static;
    /// An open file.
    type File: Debug + Send + Sync + 'static;

    /// Opens a folder by a path of the user's, following links.
    fn open_root(&self, path: &Path) -> io::Result<Self::Folder>;
    /// Opens a folder in a folder; a link is an error.
    fn open_folder(&self, at: &Self::Folder, name: &str) -> io::Result<Self::Folder>;
    /// Makes a folder; one that exists is an error of that kind.
    fn make_folder(&self, at: &Self::Folder, name: &str) -> io::Result<()>;
    /// Makes a folder into which only its owner, and whoever shares his archives with him, may look.
    fn make_private_folder(&self, at: &Self::Folder, name: &str) -> io::Result<()> {
        self.make_folder(at, name)
    }
    /// Creates a file that must not exist, for reading and writing.
    fn create_new(&self, at: &Self::Folder, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing; a link is an error.
    fn open(&self, at: &Self::Folder, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading; a link is an error.
    fn open_to_read(&self, at: &Self::Folder, name: &str) -> io::Result<Self::File>;
    /// The file's length in bytes.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Writes some of the bytes at this offset; says how many.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Reads some bytes from this offset; 0 is the end.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Cuts the file to this length.
    fn truncate(&self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Makes the file's bytes and length survive a power cut. After an error they are lost: never call it again.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;
    /// Makes the folder's names survive a power cut; does nothing where the file system cannot be told to.
    fn sync_folder(&self, folder: &Self::Folder) -> io::Result<()>;
    /// Makes everything on the folder's file system survive a power cut, whoever wrote it.
    fn sync_all(&self, folder: &Self::Folder) -> io::Result<()>;
    /// How many bytes the folder's file system still takes from this user.
    fn free_bytes(&self, folder: &Self::Folder) -> io::Result<u64>;
    /// Moves a file, replacing what has the new name. All of it survives a power cut or nothing, as on every file
    /// system that keeps a journal.
    fn rename(&self, from: &Self::Folder, name: &str, to: &Self::Folder, new_name: &str) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, at: &Self::Folder, name: &str) -> io::Result<()>;
    /// What lies behind a name, without following a link; `None` where there is nothing.
    fn entry(&self, at: &Self::Folder, name: &str) -> io::Result<Option<Entry>>;
    /// The names in a folder, in no order.
    fn names(&self, at: &Self::Folder) -> io::Result<Box<dyn Iterator<Item = io::Result<String>> + Send>>;
    /// Locks a folder against other processes, waiting for them; closing it unlocks it. Does nothing where the file
    /// system has no such locks.
    fn lock_folder(&self, folder: &Self::Folder) -> io::Result<()>;
    /// Locks a file against other processes, or says `false` at once where one has it; closing it unlocks it.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;
}

/// Writes all of the bytes at the file's begin; an interrupted or short write goes on, every other error is final.
pub(super) fn write_all<D: Disk>(disk: &D, file: &D::File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match disk.write_at(file, written as u64, &bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    fn file(at: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE_MODE)?)
    }
}

impl Disk for RealDisk {
    type Folder = OwnedFd;
    type File = OwnedFd;

    fn open_root(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn open_folder(&self, at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        Self::file(at, name, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn make_folder(&self, at: &OwnedFd, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(at, name, FOLDER_MODE)?)
    }

    fn make_private_folder(&self, at: &OwnedFd, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(at, name, PRIVATE_MODE)?)
    }

    fn create_new(&self, at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        Self::file(at, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        Self::file(at, name, OFlags::RDWR)
    }

    fn open_to_read(&self, at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        // A pipe planted under the name must not block the reader for ever.
        Self::file(at, name, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    fn len(&self, file: &OwnedFd) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0))
    }

    fn write_at(&self, file: &OwnedFd, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::pwrite(file, bytes, offset)?)
    }

    fn read_at(&self, file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::pread(file, buffer, offset)?)
    }

    fn truncate(&self, file: &OwnedFd, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(file, bytes)?)
    }

    fn sync_file(&self, file: &OwnedFd) -> io::Result<()> {
        Ok(rustix::fs::fsync(file)?)
    }

    fn sync_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        match rustix::fs::fsync(folder) {
            // Some network file systems know no sync of folders and say so; others fail in other words.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::BADF) => Ok(()),
            synced => Ok(synced?),
        }
    }

    fn sync_all(&self, folder: &OwnedFd) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(folder)?;
        #[cfg(not(target_os = "linux"))]
        {
            let _ = folder;
            rustix::fs::sync();
        }
        Ok(())
    }

    fn free_bytes(&self, folder: &OwnedFd) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn rename(&self, from: &OwnedFd, name: &str, to: &OwnedFd, new_name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(from, name, to, new_name)?)
    }

    fn unlink(&self, at: &OwnedFd, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(at, name, AtFlags::empty())?)
    }

    fn entry(&self, at: &OwnedFd, name: &str) -> io::Result<Option<Entry>> {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Entry::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Directory => Entry::Folder,
            _ => Entry::Other,
        }))
    }

    fn names(&self, at: &OwnedFd) -> io::Result<Box<dyn Iterator<Item = io::Result<String>> + Send>> {
        let names = Dir::read_from(at)?.filter_map(|entry| match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name != "." && name != "..").then_some(Ok(name))
            }
            Err(error) => Some(Err(error.into())),
        });
        Ok(Box::new(names))
    }

    fn lock_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::flock(folder, FlockOperation::LockExclusive) {
            // NFS locks files only; the lock of the staging area, which is one, must do there.
            Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            locked => Ok(locked?),
        }
    }

    fn try_lock(&self, file: &OwnedFd) -> io::Result<bool> {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
