//! What a run is told from outside while it goes on (stop), and what it tells (progress, that it commits). Knows
//! nothing of who asks.

use super::read::Progress;
use super::volumes::Volumes;
use std::sync::Arc;
use tokio::sync::watch;

/// Asks a run to stop. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }
}

impl Stop {
    /// A run that nobody stops.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Asks for it; what was sent is noted, so that the next run goes on from there.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it was asked for.
    pub async fn stopped(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(|stopped| *stopped).await;
    }
}

/// A run's ties to whoever asked for it.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    pub progress: Progress<'a>,
    /// Everything is stored; the commit begins.
    pub committing: &'a (dyn Fn() + Send + Sync),
    /// Asked right before each try to commit: whether this process may still do so.
    pub may_commit: &'a (dyn Fn() -> bool + Send + Sync),
    pub stop: &'a Stop,
    /// Who reads volumes; none: they are left out, and the report says so.
    pub volumes: Option<&'a dyn Volumes>,
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("stop", &self.stop).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_seen_by_every_clone_early_or_late() {
        let stop = Stop::default();
        let other = stop.clone();
        let waits = tokio::spawn(async move { other.stopped().await });
        tokio::task::yield_now().await;
        stop.stop();
        waits.await.unwrap();
        stop.clone().stopped().await;
        assert!(stop.is_stopped());
    }
}
