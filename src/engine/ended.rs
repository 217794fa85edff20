//! How a job ended, and how that is told.

use super::{Error, Session};
use crate::event::{Event, JobEnd, is_settled};
use crate::job::JobRef;
use crate::manifest::Manifest;
use crate::retry::{Class, Failure};
use crate::store::StoreError;

/// How a job ended.
#[derive(Debug)]
pub(super) enum Ended {
    Kept(Box<Manifest>),
    Archived(Box<Manifest>),
    Incomplete(Box<Manifest>),
    Pending,
    Failed(Failure),
    Local(Error),
    Cancelled,
}

impl Ended {
    /// Whether a later run would find nothing to add, as far as this one can tell.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Kept(_) | Self::Archived(_) => true,
            Self::Incomplete(manifest) => manifest.missing.iter().all(is_settled),
            Self::Failed(failure) => failure.class() == Class::Permanent,
            Self::Pending | Self::Local(_) | Self::Cancelled => false,
        }
    }

    pub(super) fn report(&self, session: &Session, job: &JobRef) {
        let text;
        let end = match self {
            Self::Kept(manifest) => JobEnd::Kept(manifest),
            Self::Archived(manifest) => JobEnd::Archived(manifest),
            Self::Incomplete(manifest) => JobEnd::Incomplete(manifest),
            Self::Pending => JobEnd::Pending,
            Self::Failed(failure) => JobEnd::Failed(failure),
            Self::Local(error) => {
                text = error.to_string();
                JobEnd::Local(&text)
            }
            Self::Cancelled => JobEnd::Cancelled,
        };
        session.report(&Event::JobEnded { job, end });
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Local(error.into())
    }
}
