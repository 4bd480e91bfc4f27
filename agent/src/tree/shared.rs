//! What all threads of a run see: whether it goes on, and channels that notice when it does not.

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often whoever waits looks whether the run goes on.
pub const LOOK: Duration = Duration::from_millis(50);

/// Why a run ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Canceled = 1,
    Closed = 2,
    Broken = 3,
}

/// Whether the run goes on.
pub struct Going<'a> {
    cancel: &'a AtomicBool,
    ended: AtomicU8,
}

impl<'a> Going<'a> {
    pub fn new(cancel: &'a AtomicBool) -> Self {
        Self { cancel, ended: AtomicU8::new(0) }
    }

    /// Ends the run; the first reason counts.
    pub fn end(&self, why: Ended) {
        let _ = self.ended.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    pub fn ended(&self) -> Option<Ended> {
        if self.cancel.load(Ordering::Relaxed) {
            self.end(Ended::Canceled);
        }
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Ended::Canceled),
            2 => Some(Ended::Closed),
            _ => Some(Ended::Broken),
        }
    }

    pub fn check(&self) -> Result<(), Ended> {
        self.ended().map_or(Ok(()), Err)
    }

    /// Sends, unless the run ends while there is no room.
    pub fn send<T>(&self, to: &Sender<T>, mut what: T) -> Result<(), Ended> {
        loop {
            self.check()?;
            match to.send_timeout(what, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => what = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(self.broken()),
            }
        }
    }

    /// Receives; None where nobody sends any more.
    pub fn receive<T>(&self, from: &Receiver<T>) -> Result<Option<T>, Ended> {
        loop {
            self.check()?;
            match from.recv_timeout(LOOK) {
                Ok(what) => return Ok(Some(what)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn broken(&self) -> Ended {
        self.end(Ended::Broken);
        self.ended().unwrap_or(Ended::Broken)
    }

    /// Ends the run when the thread that holds it panics: nobody waits for it then.
    pub fn guard(&self) -> Guard<'_, 'a> {
        Guard(self)
    }
}

/// See [`Going::guard`].
pub struct Guard<'g, 'a>(&'g Going<'a>);

impl Drop for Guard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Ended::Broken);
        }
    }
}

/// A budget of bytes. One taking may exceed it when nothing else is taken, so that nothing waits for ever.
pub struct Budget {
    max: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { max, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Takes `bytes`, when they are there.
    pub fn take(&self, bytes: usize, going: &Going<'_>) -> Result<(), Ended> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken > 0 && *taken + bytes > self.max {
            going.check()?;
            taken = self.freed.wait_timeout(taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += bytes;
        Ok(())
    }

    pub fn give(&self, bytes: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(bytes);
        self.freed.notify_all();
    }
}
