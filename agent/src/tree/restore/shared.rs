//! What the threads of one restore share: where it goes, what it counts, and how it is stopped.

use super::attributes::Identity;
use super::beneath::{Target, WALK};
use super::error::RestoreError;
use super::node::{Open, Place};
use super::partial::Names;
use super::report::Tally;
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Directories that are kept open.
const OPEN_MAX: usize = 256;
/// How often those who wait look whether all was stopped.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Arc<Target>,
    pub(super) who: Identity,
    pub(super) names: Names,
    pub(super) tally: Tally,
    pub(super) stop: Stop,
    pub(super) gate: Gate,
    open: Mutex<HashMap<u32, Open>>,
    /// Files with several names whose first name did not come to be.
    pub(super) lost: Mutex<Vec<u64>>,
    /// Further names that could not be linked: directory and name.
    pub(super) copies: Mutex<Vec<(u32, Vec<u8>)>>,
}

impl Shared {
    pub(super) fn new(target: Arc<Target>, tally: Tally, cancel: Arc<AtomicBool>) -> Self {
        Self {
            target,
            who: Identity::current(),
            names: Names::new(),
            tally,
            stop: Stop { cancel, stopped: AtomicBool::new(false), why: Mutex::default() },
            gate: Gate::default(),
            open: Mutex::default(),
            lost: Mutex::default(),
            copies: Mutex::default(),
        }
    }

    /// Opens a directory for entries by name; the last ones stay open.
    pub(super) fn open(&self, place: &Place) -> Result<Open, Errno> {
        let known = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = known().get(&place.number) {
            return Ok(Arc::clone(open));
        }
        let fd = Arc::new(self.target.directory(&place.path, WALK)?);
        let mut known = known();
        if known.len() >= OPEN_MAX {
            known.clear();
        }
        known.insert(place.number, Arc::clone(&fd));
        Ok(fd)
    }
}

/// Ends everything, for one reason.
#[derive(Debug)]
pub(super) struct Stop {
    cancel: Arc<AtomicBool>,
    stopped: AtomicBool,
    why: Mutex<Option<RestoreError>>,
}

impl Stop {
    /// The first reason counts.
    pub(super) fn set(&self, why: RestoreError) {
        let mut reason = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert(why);
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.cancel.load(Ordering::Relaxed)
    }

    pub(super) fn reason(&self) -> Option<RestoreError> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).take();
        why.or_else(|| self.cancel.load(Ordering::Relaxed).then_some(RestoreError::Interrupted))
    }
}

/// Counts entries that are under way.
#[derive(Debug, Default)]
pub(super) struct Gate {
    under_way: Mutex<u64>,
    none_left: Condvar,
}

impl Gate {
    pub(super) fn begin(&self, count: u64) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) += count;
    }

    pub(super) fn done(&self) {
        let mut left = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.none_left.notify_all();
        }
    }

    /// Waits until nothing is under way, or all was stopped.
    pub(super) fn wait(&self, stop: &Stop) {
        let mut left = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while *left > 0 && !stop.is_set() {
            left = self.none_left.wait_timeout(left, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
