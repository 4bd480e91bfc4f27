//! What arrives from a source: how much, how soon, and how often it broke off. Counted by the fetcher, read by whoever
//! decides how many transfers there are. Decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    strains: AtomicU64,
    /// Microseconds, the shortest; 0 before the first answer.
    first_byte: AtomicU64,
}

impl Meter {
    pub fn arrived(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A request was answered after `took`.
    pub fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let shorter = |known| (known == 0 || took < known).then_some(took);
        // An answer that another one overtook is as good.
        let _ = self.first_byte.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shorter);
    }

    /// A transfer broke off, or was asked to come later.
    pub fn strained(&self) {
        self.strains.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn strains(&self) -> u64 {
        self.strains.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn first_byte(&self) -> Duration {
        Duration::from_micros(self.first_byte.load(Ordering::Relaxed))
    }
}
