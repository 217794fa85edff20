//! What ends a job or the whole run on this side of the network.

use crate::store::StoreError;

/// How much an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This job; others may fare better.
    Job,
    /// The run: every other job would meet the same.
    Run,
}

/// What went wrong here, and how much it ends.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Error {
    /// How much it ends.
    pub scope: Scope,
    /// What the archive said.
    pub source: StoreError,
}

impl Scope {
    /// How much this error ends.
    pub(super) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Io { source, .. } | StoreError::Full { source, .. } => io_scope(source),
            StoreError::Remote { trouble, .. } if trouble.kind.is_of_the_bucket() => Self::Run,
            StoreError::BadPlace { .. } | StoreError::Busy { .. } | StoreError::NoArchive { .. } => Self::Run,
            // What one object met says nothing of the others; a bucket that cannot be used ends them all.
            StoreError::Remote { .. }
            | StoreError::Conflict { .. }
            | StoreError::Foreign { .. }
            | StoreError::Newer { .. }
            | StoreError::Unfit { .. } => Self::Job,
        }
    }
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        Self { scope: Scope::of(&source), source }
    }
}

/// A planted link, a file in place of a folder, a file larger than the limit, a folder that is another user's or another
/// disk's spoils one job; a full or failing disk spoils them all. Where nothing may be written at all, the staging area
/// could not be opened.
fn io_scope(error: &std::io::Error) -> Scope {
    use std::io::ErrorKind;
    let planted = rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP);
    match error.kind() {
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::PermissionDenied
        | ErrorKind::CrossesDevices
        | ErrorKind::FileTooLarge => Scope::Job,
        _ if planted => Scope::Job,
        _ => Scope::Run,
    }
}
