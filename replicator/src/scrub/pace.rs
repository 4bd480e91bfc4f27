//! A bound on the bytes per second that several threads read together, and the word to stop. Reads nothing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest nap: a stop is heard within it.
const NAP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Pace {
    /// Bytes per second; none: as fast as it goes.
    rate: Option<u64>,
    /// When what was read so far is paid for.
    paid: Mutex<Instant>,
    stop: AtomicBool,
}

impl Pace {
    #[must_use]
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|r| *r > 0), paid: Mutex::new(Instant::now()), stop: AtomicBool::new(false) }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Pays for `bytes`: waits until they are within the rate, or until it is told to stop.
    pub fn pay(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            // Time in which nothing was read is not saved up.
            *paid = (*paid).max(Instant::now()) + cost;
            *paid
        };
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_rate_and_hear_a_stop() {
        let pace = Pace::new(Some(1 << 20));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..4).for_each(|_| pace.pay(32 << 10)));
            }
        });
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        pace.stop();
        pace.pay(1 << 30);
        assert!(began.elapsed() < Duration::from_secs(20));
        Pace::new(Some(0)).pay(usize::MAX);
    }
}
