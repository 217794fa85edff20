//! What the outputs of one job bring, fetched side by side.

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::Error;
use super::output::{self, Brought, Delivery, JobContext};
use crate::manifest::MissingRecord;

/// Outputs of one job that are worked on at once; further ones follow as these end.
const OUTPUTS_AT_ONCE: usize = 64;

/// What the outputs of a job brought.
#[derive(Default)]
pub(super) struct Haul {
    pub(super) came: Vec<Delivery>,
    pub(super) missing: Vec<MissingRecord>,
    pub(super) here: Option<Error>,
    pub(super) cancelled: bool,
}

impl Haul {
    fn add(&mut self, brought: Brought) {
        match brought {
            Brought::Proven(delivery) => self.came.push(*delivery),
            Brought::Missing(missing) => self.missing.push(missing),
            Brought::Here(error) => self.here = Some(error),
            Brought::Cancelled => self.cancelled = true,
        }
    }
}

/// Fetches these outputs, a bounded number at a time; a failing disk stops the others.
pub(super) async fn bring_all(context: &JobContext<'_>, to_fetch: &[usize]) -> Haul {
    let mut haul = Haul::default();
    let mut left = to_fetch.iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < OUTPUTS_AT_ONCE
            && haul.here.is_none()
            && let Some(place) = left.next()
        {
            // Boxed, since the set has room for one more than it holds.
            under_way.push(Box::pin(output::bring(context, *place)));
        }
        match under_way.next().await {
            Some(brought) => haul.add(brought),
            None => return haul,
        }
    }
}
