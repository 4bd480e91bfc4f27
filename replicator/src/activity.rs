//! What the program is doing just now, for the watchdog, the status line and the progress bar. Owns no decision.

use crate::status::{duration, size};
use lifeboat_common::progress::{Figures, Mode, Progress, Unit};
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

/// A transfer under way.
#[derive(Debug, Clone)]
pub struct Transferring {
    pub source: String,
    pub task: String,
    pub figures: Figures,
}

impl Transferring {
    fn text(&self) -> String {
        let Figures { done, total, rate, eta_s } = self.figures;
        let of = total.map(|t| format!(" of {}", size(t))).unwrap_or_default();
        let left = eta_s.and_then(|s| i64::try_from(s).ok()).map(|s| format!(", {} left", duration(s)));
        format!(" ({}{of}, {}/s{})", size(done), size(rate), left.unwrap_or_default())
    }
}

#[derive(Debug)]
pub struct Activity {
    mode: Mode,
    /// Raised by whatever is real progress: a piece that arrived, a part of a pull that was done.
    ticks: AtomicU64,
    sources: Mutex<BTreeMap<String, Doing>>,
    /// What each source transfers.
    transfers: Mutex<BTreeMap<String, (String, Progress)>>,
}

impl Activity {
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, ticks: AtomicU64::new(0), sources: Mutex::default(), transfers: Mutex::default() }
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
        let transfers = self.transfers();
        let line = |(name, doing): (&String, &Doing)| {
            let figures = transfers.iter().find(|t| t.source == *name).map(Transferring::text);
            format!("{name}: {}{}", doing.text, figures.unwrap_or_default())
        };
        sources.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The progress of what `source` transfers, `bytes` in all; shown until it is finished.
    #[must_use]
    pub fn progress(&self, source: &str, task: String, bytes: u64) -> Progress {
        let progress = Progress::new(self.mode, task.clone(), Unit::Bytes, Some(bytes));
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.insert(source.to_owned(), (task, progress.clone()));
        progress
    }

    /// Transfers under way.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transferring> {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.retain(|_, (_, progress)| progress.figures().is_some());
        let one = |(source, (task, progress)): (&String, &(String, Progress))| {
            let (source, task) = (source.clone(), task.clone());
            progress.figures().map(|figures| Transferring { source, task, figures })
        };
        transfers.iter().filter_map(one).collect()
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
        let progress = activity.progress("test", "Pulling test 3".to_owned(), 4 << 20);
        progress.add(1 << 20);
        assert!(activity.line().contains("test: pulling 3 (1.0 MiB of 4.0 MiB, "), "{}", activity.line());
        progress.finish();
        assert!(activity.line().ends_with("test: pulling 3"), "{}", activity.line());
    }
}
