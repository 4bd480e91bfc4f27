//! The bytes of an open file: all of it, or the extents that hold data, one after another.

use super::entry::Stat;
use super::shared::{Ended, Going};
use lifeboat_format::tree::EXTENTS_MAX;
use rustix::buffer::spare_capacity;
use rustix::fd::BorrowedFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

/// Extents held while they are gathered; over it the smallest holes go.
const GATHERED_MAX: usize = 8 * EXTENTS_MAX;

/// Data extents: offset and length, ascending and apart.
pub type Extents = Vec<(u64, u64)>;

/// Where the data of a file is, when it has holes. None: it has none, or the file system does not say.
pub fn extents(fd: BorrowedFd<'_>, stat: &Stat, going: &Going<'_>) -> Result<Option<Extents>, Ended> {
    if stat.blocks.saturating_mul(512) >= stat.size {
        return Ok(None);
    }
    let mut found = Extents::new();
    let mut at = 0;
    while at < stat.size {
        going.check()?;
        let start = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data after here.
            Err(Errno::NXIO) => break,
            Err(_) => return Ok(None),
        };
        if start < at || start >= stat.size {
            break;
        }
        let Ok(end) = seek(fd, SeekFrom::Hole(start)) else { return Ok(None) };
        let end = end.clamp(start, stat.size);
        if end == start {
            // The file changed between the two; what is left is taken as data.
            found.push((start, stat.size - start));
            break;
        }
        found.push((start, end - start));
        at = end;
        if found.len() >= GATHERED_MAX {
            drop_smallest_holes(&mut found, EXTENTS_MAX);
        }
    }
    drop_smallest_holes(&mut found, EXTENTS_MAX);
    let whole = found.len() == 1 && found[0] == (0, stat.size);
    Ok(Some(found).filter(|_| !whole))
}

/// Joins extents over the smallest holes until at most `max` are left.
fn drop_smallest_holes(extents: &mut Extents, max: usize) {
    if extents.len() <= max {
        return;
    }
    let mut holes: Vec<(u64, usize)> =
        extents.windows(2).enumerate().map(|(i, w)| (w[1].0 - (w[0].0 + w[0].1), i + 1)).collect();
    let drop = extents.len() - max;
    holes.select_nth_unstable(drop - 1);
    let mut joined = vec![false; extents.len()];
    for (_, second) in &holes[..drop] {
        joined[*second] = true;
    }
    let mut out = Extents::with_capacity(max);
    for (i, extent) in extents.iter().enumerate() {
        match out.last_mut() {
            Some(last) if joined[i] => last.1 = extent.0 + extent.1 - last.0,
            _ => out.push(*extent),
        }
    }
    *extents = out;
}

/// Reads extents in order. Ends where the file does, if that is earlier.
pub struct Content<'f> {
    fd: BorrowedFd<'f>,
    extents: &'f [(u64, u64)],
    /// In the first of them.
    at: u64,
    /// Bytes read.
    pub read: u64,
    short: bool,
}

impl<'f> Content<'f> {
    pub fn new(fd: BorrowedFd<'f>, extents: &'f [(u64, u64)]) -> Self {
        Self { fd, extents, at: 0, read: 0, short: false }
    }

    /// Whether all of it was read, or the file ended before.
    pub fn is_done(&self) -> bool {
        self.short || self.extents.is_empty()
    }

    /// Whether the file ended before its extents did.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Fills `window`, as far as there is something; how many bytes.
    pub fn fill(&mut self, window: &mut [u8], going: &Going<'_>) -> Result<Result<usize, Errno>, Ended> {
        let mut filled = 0;
        while filled < window.len() && !self.is_done() {
            going.check()?;
            let (offset, length) = self.extents[0];
            let left = usize::try_from(length - self.at).unwrap_or(usize::MAX);
            // At most so much in one call, so that a slow disk does not delay the end of the run for long.
            let end = (filled + left.min(1 << 20)).min(window.len());
            match pread(self.fd, &mut window[filled..end], offset + self.at) {
                Ok(0) => self.short = true,
                Ok(n) => {
                    filled += n;
                    self.advance(n as u64);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Ok(Err(e)),
            }
        }
        Ok(Ok(filled))
    }

    /// Appends at most what fits into the capacity of `to`, and reads no byte more than there is.
    pub fn append(&mut self, to: &mut Vec<u8>) -> Result<(), Errno> {
        while !self.is_done() && to.len() < to.capacity() {
            let (offset, length) = self.extents[0];
            let before = to.len();
            match pread(self.fd, spare_capacity(to), offset + self.at) {
                Ok(0) => self.short = true,
                Ok(n) => {
                    let wanted = (length - self.at).min(n as u64);
                    to.truncate(before + usize::try_from(wanted).unwrap_or(n));
                    self.advance(wanted);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn advance(&mut self, n: u64) {
        self.read += n;
        self.at += n;
        if self.at == self.extents[0].1 {
            self.extents = &self.extents[1..];
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_holes_are_dropped() {
        let mut extents = vec![(0, 10), (11, 9), (100, 1), (103, 7), (200, 1)];
        drop_smallest_holes(&mut extents, 3);
        assert_eq!(extents, [(0, 20), (100, 10), (200, 1)]);
        let mut many: Extents = (0..100_000).map(|i| (i * 4096, 1 + i % 4000)).collect();
        let data: u64 = many.iter().map(|e| e.1).sum();
        let end = many.last().map(|e| e.0 + e.1);
        drop_smallest_holes(&mut many, EXTENTS_MAX);
        assert_eq!(many.len(), EXTENTS_MAX);
        assert_eq!(many.last().map(|e| e.0 + e.1), end);
        assert!(many.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0));
        assert!(many.iter().map(|e| e.1).sum::<u64>() > data);
    }
}
