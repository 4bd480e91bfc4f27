//! What is told of volumes while they are read: how far they are, and what hooks did. Decides nothing.

use crate::cluster::events::{About, Recorder, Tone};
use crate::controller::status::VolumesAlive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How far the volumes of a run are.
#[derive(Debug, Default)]
pub struct VolumeCounters {
    all: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
}

impl VolumeCounters {
    pub(super) fn begin(&self, all: usize) {
        self.all.store(all as u64, Relaxed);
        self.done.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
    }

    pub(super) fn ended(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    /// A volume that is read again counts from the start: the sum may go back.
    pub(super) fn read(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// `before`: what had been read at the last look, which was so long ago.
    pub(in crate::controller) fn far(&self, before: &mut u64, since: Duration) -> Option<VolumesAlive> {
        let (all, done, bytes) = (self.all.load(Relaxed), self.done.load(Relaxed), self.bytes.load(Relaxed));
        if all == 0 {
            return None;
        }
        let grown = u128::from(bytes.saturating_sub(std::mem::replace(before, bytes)));
        let rate = (grown * 1000).checked_div(since.as_millis()).unwrap_or(0);
        let bytes_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
        Some(VolumesAlive { all, done, bytes, bytes_per_second })
    }
}

/// To whom it is told.
#[derive(Debug, Clone)]
pub struct Telling {
    pub counters: Arc<VolumeCounters>,
    pub events: Recorder,
    /// The Backup.
    pub about: About,
}

impl Telling {
    pub(super) fn backup(&self) -> &str {
        &self.about.name
    }

    /// The pre hooks of a Pod have run, or failed.
    pub(super) fn froze(&self, namespace: &str, pod: &str, failed: Option<&str>) {
        match failed {
            None => {
                self.event(Tone::Normal, "PodFrozen", &format!("pre hooks of Pod {namespace}/{pod} have run"))
            }
            Some(why) => self.event(Tone::Warning, "HookFailed", why),
        }
    }

    /// The time of the freeze was over before everything was read.
    pub(super) fn thaws_early(&self, namespace: &str, pod: &str) {
        let words = format!(
            "Pod {namespace}/{pod} stood still for as long as it may; what is still being read counts as live"
        );
        self.event(Tone::Warning, "FreezeTooLong", &words);
    }

    /// The post hooks have run, or could not be run.
    pub(super) fn thawed(&self, namespace: &str, pod: &str, ran: bool) {
        if ran {
            self.event(Tone::Normal, "PodThawed", &format!("post hooks of Pod {namespace}/{pod} have run"));
        } else {
            let words = format!(
                "post hooks of Pod {namespace}/{pod} could not be run; they are tried again: see whether it stands still"
            );
            self.event(Tone::Warning, "ThawFailed", &words);
        }
    }

    fn event(&self, tone: Tone, reason: &'static str, words: &str) {
        self.events.tell(&self.about, tone, reason, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_read_since_the_last_look() {
        let (counters, mut before) = (VolumeCounters::default(), 0);
        assert_eq!(counters.far(&mut before, Duration::from_secs(10)), None);
        counters.begin(2);
        counters.read(5000);
        let far = counters.far(&mut before, Duration::from_secs(10)).unwrap();
        assert_eq!((far.all, far.done, far.bytes, far.bytes_per_second), (2, 0, 5000, 500));
        counters.ended();
        counters.read(4000);
        let far = counters.far(&mut before, Duration::ZERO).unwrap();
        assert_eq!((far.done, far.bytes, far.bytes_per_second), (1, 4000, 0));
    }
}
