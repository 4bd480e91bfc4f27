//! What the program is doing just now, for the watchdog, the status line and the progress bar. Owns no decision.

use lifeboat_common::progress::{Mode, Progress, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// What one source is at.
#[derive(Debug, Clone)]
struct Doing {
    text: String,
    /// Nothing is due before.
    idle_until: Option<Instant>,
}

#[derive(Debug)]
pub struct Activity {
    mode: Mode,
    /// Raised by whatever is real progress: a piece that arrived, a part of a pull that was done.
    ticks: AtomicU64,
    sources: Mutex<BTreeMap<String, Doing>>,
}

impl Activity {
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, ticks: AtomicU64::new(0), sources: Mutex::default() }
    }

    /// Something moved.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// A source is at work.
    pub fn busy(&self, source: &str, text: impl Into<String>) {
        self.tick();
        self.set(source, Doing { text: text.into(), idle_until: None });
    }

    /// A source has nothing to do until then.
    pub fn idle(&self, source: &str, text: impl Into<String>, until: Instant) {
        self.tick();
        self.set(source, Doing { text: text.into(), idle_until: Some(until) });
    }

    /// A source that is no longer pulled.
    pub fn gone(&self, source: &str) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    fn set(&self, source: &str, doing: Doing) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned(), doing);
    }

    /// Whether every source is idle by schedule, not over it.
    #[must_use]
    pub fn all_idle(&self, now: Instant) -> bool {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.values().all(|d| d.idle_until.is_some_and(|until| until >= now))
    }

    /// One line over all sources.
    #[must_use]
    pub fn line(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().map(|(name, doing)| format!("{name}: {}", doing.text)).collect::<Vec<_>>().join("; ")
    }

    /// The progress of a task of `bytes`.
    #[must_use]
    pub fn progress(&self, task: String, bytes: u64) -> Progress {
        Progress::new(self.mode, task, Unit::Bytes, Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn idle_ends_with_its_time() {
        let activity = Activity::new(Mode::Quiet);
        let now = Instant::now();
        activity.idle("prod", "idle", now + Duration::from_secs(10));
        assert!(activity.all_idle(now));
        assert!(!activity.all_idle(now + Duration::from_secs(11)), "a schedule that was missed");
        activity.busy("test", "pulling 3");
        assert!(!activity.all_idle(now));
        assert_eq!(activity.line(), "prod: idle; test: pulling 3");
        assert_eq!(activity.ticks(), 2);
    }
}
