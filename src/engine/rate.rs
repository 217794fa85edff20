//! The limit on bytes per second over all transfers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Unused time is kept for a burst of at most this long.
const BURST: Duration = Duration::from_millis(250);

/// Hands out moments at which bytes may have been received.
#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_second: Option<f64>,
    next: Mutex<Option<Instant>>,
}

impl Limit {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.map(|rate| rate.max(1) as f64), next: Mutex::new(None) }
    }

    /// Waits until so many bytes are within the limit; returns at once where there is none. Says how long it took.
    pub(super) async fn pass(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let now = super::now();
        let until = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let from = next.map_or(now, |next| next.max(now.checked_sub(BURST).unwrap_or(now)));
            let until = from + Duration::from_secs_f64(bytes as f64 / rate);
            *next = Some(until);
            until
        };
        if until > now {
            tokio::time::sleep_until(until).await;
        }
        super::now().saturating_duration_since(now)
    }
}
