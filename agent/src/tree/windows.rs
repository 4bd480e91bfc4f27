//! Buffers for large files: a fixed number of windows that go from a reader to the workers and back.

use super::shared::{Ended, Going};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::ops::Deref;

/// Windows in all.
const WINDOWS: usize = 6;
/// Readers that may hold one and wait for another. Half of the windows is always with workers, who wait for nobody.
const HOLDERS: usize = WINDOWS / 2;
/// The least size of a window, bytes.
const SIZE_MIN: usize = 6 << 20;

/// The windows of a run, made when they are first needed.
pub struct Windows {
    free: Receiver<Option<Vec<u8>>>,
    back: Sender<Option<Vec<u8>>>,
    holders: (Sender<()>, Receiver<()>),
    size: usize,
}

impl Windows {
    /// For chunks of at most `chunk_max` bytes.
    pub fn new(chunk_max: usize) -> Self {
        let (back, free) = bounded(WINDOWS);
        let holders = bounded(HOLDERS);
        for _ in 0..WINDOWS {
            // The channels have room for all there are.
            let _ = back.try_send(None);
        }
        for _ in 0..HOLDERS {
            let _ = holders.0.try_send(());
        }
        Self { free, back, holders, size: SIZE_MIN.max(chunk_max + chunk_max / 2) }
    }

    /// The right to take windows for one file; waits until it is there.
    pub fn holder(&self, going: &Going<'_>) -> Result<Holder<'_>, Ended> {
        match going.receive(&self.holders.1)? {
            Some(()) => Ok(Holder(self)),
            None => Err(Ended::Broken),
        }
    }
}

/// Gives its right back when it goes.
pub struct Holder<'w>(&'w Windows);

impl Holder<'_> {
    /// Takes a window; waits until one is free.
    pub fn take(&self, going: &Going<'_>) -> Result<Window, Ended> {
        let Some(bytes) = going.receive(&self.0.free)? else { return Err(Ended::Broken) };
        let bytes = bytes.unwrap_or_else(|| vec![0; self.0.size]);
        Ok(Window { bytes, back: self.0.back.clone() })
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        let _ = self.0.holders.0.try_send(());
    }
}

/// Bytes of a file; goes back to the others when nobody looks at it any more.
pub struct Window {
    bytes: Vec<u8>,
    back: Sender<Option<Vec<u8>>>,
}

impl Window {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Deref for Window {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.back.try_send(Some(std::mem::take(&mut self.bytes)));
    }
}
