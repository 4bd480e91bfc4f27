//! Whether the controller is alive and ready, and the small HTTP server that says so. Fed by real progress: a loop that
//! is stuck stops its beats. Knows nothing of what the loops do.

mod listen;
mod server;

use crate::cluster::{RequestObserver, Verb};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use server::{Scrape, serve};

/// The API server counts as reachable for so long after an answer; the lease is asked for far more often.
const API_FRESH: Duration = Duration::from_secs(60);

/// The state. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    beats: BTreeMap<u64, Pulse>,
    number: u64,
    config: Option<Result<(), String>>,
    answered: Option<Instant>,
}

#[derive(Debug)]
struct Pulse {
    what: &'static str,
    last: Instant,
    allowed: Duration,
}

/// A loop that is expected to go on. Dropped when it ends, in whichever way.
#[derive(Debug)]
pub struct Beat {
    health: Health,
    number: u64,
}

impl Health {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to watch a loop: `/healthz` is red when it does not beat for `allowed`.
    #[must_use]
    pub fn watch(&self, what: &'static str, allowed: Duration) -> Beat {
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        state.beats.insert(number, Pulse { what, last: Instant::now(), allowed });
        drop(state);
        Beat { health: self.clone(), number }
    }

    /// Whether the configuration could be loaded; the reason must hold no secret.
    pub fn config(&self, loaded: Result<(), String>) {
        self.lock().config = Some(loaded);
    }

    /// Alive, or which loop is stuck.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn alive(&self) -> Result<(), String> {
        self.alive_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> Result<(), String> {
        let state = self.lock();
        for Pulse { what, last, allowed } in state.beats.values() {
            let since = now.saturating_duration_since(*last);
            if since > *allowed {
                let (since, allowed) = (since.as_secs(), allowed.as_secs());
                return Err(format!("{what} made no progress for {since} s, {allowed} are allowed"));
            }
        }
        Ok(())
    }

    /// Ready, which a controller that does not lead is too: the configuration is loaded and the API server answers.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn ready(&self) -> Result<(), String> {
        self.ready_at(Instant::now())
    }

    fn ready_at(&self, now: Instant) -> Result<(), String> {
        let state = self.lock();
        match &state.config {
            None => return Err("the configuration is not loaded yet".to_owned()),
            Some(Err(why)) => return Err(format!("the configuration cannot be used: {why}")),
            Some(Ok(())) => {}
        }
        let Some(last) = state.answered else {
            return Err("the API server has not answered yet".to_owned());
        };
        let since = now.saturating_duration_since(last);
        if since > API_FRESH {
            return Err(format!("the API server has not answered for {} s", since.as_secs()));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestObserver for Health {
    fn answered(&self, _verb: Verb, code: u16) {
        // A proxy in front answers 502 to 504 for a server that is not there.
        if !(502..=504).contains(&code) {
            self.lock().answered = Some(Instant::now());
        }
    }

    fn unanswered(&self, _verb: Verb) {}
}

impl Beat {
    /// Real progress was made.
    pub fn beat(&self) {
        if let Some(pulse) = self.health.lock().beats.get_mut(&self.number) {
            pulse.last = Instant::now();
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.health.lock().beats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_stuck_loop_is_red_and_an_ended_one_is_not() {
        let health = Health::new();
        let start = Instant::now();
        let main = health.watch("the controller", seconds(60));
        let run = health.watch("a backup", seconds(600));
        assert_eq!(health.alive_at(start + seconds(59)), Ok(()));
        let why = health.alive_at(start + seconds(70)).unwrap_err();
        assert!(why.starts_with("the controller made no progress for"), "{why}");
        assert!(why.ends_with("60 are allowed"), "{why}");
        drop(main);
        assert_eq!(health.alive_at(start + seconds(70)), Ok(()));
        let why = health.alive_at(start + seconds(700)).unwrap_err();
        assert!(why.starts_with("a backup made no progress"), "{why}");
        drop(run);
        assert_eq!(health.alive_at(start + seconds(700)), Ok(()));
    }

    #[test]
    fn a_beat_makes_it_green_again() {
        let health = Health::new();
        let beat = health.watch("the controller", Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(10));
        assert!(health.alive().is_err());
        beat.beat();
        assert_eq!(health.alive_at(Instant::now()), Ok(()));
    }

    #[test]
    fn ready_is_configured_and_answered() {
        let health = Health::new();
        assert!(health.ready().unwrap_err().contains("not loaded yet"));
        health.config(Err("no key".to_owned()));
        assert!(health.ready().unwrap_err().contains("no key"));
        health.config(Ok(()));
        assert!(health.ready().unwrap_err().contains("not answered yet"));
        health.answered(Verb::Get, 503);
        health.unanswered(Verb::Get);
        assert!(health.ready().is_err());
        health.answered(Verb::Update, 409);
        assert_eq!(health.ready(), Ok(()));
        let why = health.ready_at(Instant::now() + seconds(61)).unwrap_err();
        assert!(why.starts_with("the API server has not answered for 6"), "{why}");
    }
}
