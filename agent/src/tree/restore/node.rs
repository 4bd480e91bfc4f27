//! One entry on its way to disk: what it is to be, how much of it is still missing, and how far it has come. Pieces of
//! its content may come from several threads, in any order. Knows no store.

use super::partial::PartialFile;
use lifeboat_format::tree::Attributes;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory that entries go into.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) number: u32,
    /// Below the target, components joined by `/`.
    pub(super) path: Vec<u8>,
    /// It was there before: what is made in it may get a group or an access control list from it.
    pub(super) inherits: bool,
}

/// How far an entry has come.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Open(Arc<PartialFile>),
    /// Complete, or given up.
    Over,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Arc<Place>,
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
    /// The file that it is a name of, if it is the first of several.
    pub(super) first_of: Option<u64>,
    /// Pieces that are missing, and one more while not all are known.
    left: AtomicU64,
    state: Mutex<State>,
}

impl Node {
    /// An entry of which nothing is known to be missing but what is still to be added.
    pub(super) fn new(place: Arc<Place>, name: &[u8], attributes: Attributes, first_of: Option<u64>) -> Self {
        let (left, state) = (AtomicU64::new(1), Mutex::new(State::Waiting));
        Self { place, name: name.to_vec(), attributes, first_of, left, state }
    }

    /// For messages, and below the target.
    pub(super) fn path(&self) -> Vec<u8> {
        join(&self.place.path, &self.name)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state(), State::Over)
    }

    /// One more piece will come.
    pub(super) fn expect_piece(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece is in place, or all are known; whether that was the last.
    pub(super) fn is_last(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Where in the file the content from `at` on, `length` bytes, goes: (offset in the file, part of the piece).
    pub(super) fn spans(&self, at: u64, length: usize) -> Spans<'_> {
        match &self.attributes.extents {
            Some(extents) => Spans { extents, start: 0, at, done: 0, length },
            None => Spans { extents: &[], start: 0, at, done: 0, length },
        }
    }

    /// Whether the file's size is to be set, because its end may be a hole.
    pub(super) fn is_sparse(&self) -> bool {
        self.attributes.extents.is_some()
    }
}

/// See [`Node::spans`].
#[derive(Debug)]
pub(super) struct Spans<'a> {
    /// What is left of them; empty where the file is all data.
    extents: &'a [(u64, u64)],
    /// Of the first extent, in the content.
    start: u64,
    at: u64,
    done: usize,
    length: usize,
}

impl Iterator for Spans<'_> {
    type Item = (u64, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.length.checked_sub(self.done).filter(|left| *left > 0)?;
        loop {
            let Some((offset, length)) = self.extents.first().copied() else {
                let part = self.done..self.length;
                self.done = self.length;
                return Some((self.at, part));
            };
            let end = self.start + length;
            if self.at >= end && self.extents.len() > 1 {
                (self.start, self.extents) = (end, &self.extents[1..]);
                continue;
            }
            let room = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(left);
            let item = (offset + (self.at - self.start), self.done..self.done + room);
            (self.at, self.done) = (self.at + room as u64, self.done + room);
            return (room > 0).then_some(item);
        }
    }
}

/// Two parts of a path, either of which may be empty.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1 + name.len());
    out.extend_from_slice(path);
    if !path.is_empty() && !name.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(name);
    out
}

/// A directory that is open for entries by name.
pub(super) type Open = Arc<OwnedFd>;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(extents: Option<Vec<(u64, u64)>>) -> Node {
        let place = Place { number: 0, path: b"a".to_vec(), inherits: false };
        Node::new(Arc::new(place), b"f", Attributes { extents, ..Attributes::default() }, None)
    }

    fn spans(node: &Node, at: u64, length: usize) -> Vec<(u64, Range<usize>)> {
        node.spans(at, length).collect()
    }

    #[test]
    fn content_goes_around_the_holes() {
        assert_eq!(spans(&node(None), 5, 7), [(5, 0..7)]);
        assert_eq!(spans(&node(None), 5, 0), []);
        let sparse = node(Some(vec![(10, 5), (100, 1), (1000, 10)]));
        assert_eq!(spans(&sparse, 0, 16), [(10, 0..5), (100, 5..6), (1000, 6..16)]);
        assert_eq!(spans(&sparse, 3, 4), [(13, 0..2), (100, 2..3), (1000, 3..4)]);
        assert_eq!(spans(&sparse, 6, 2), [(1000, 0..2)]);
        assert_eq!(spans(&sparse, 15, 9), [(1009, 0..1)], "more than there is room for is left out");
        assert_eq!(spans(&sparse, 16, 9), []);
    }

    #[test]
    fn the_last_piece_is_known() {
        let node = node(None);
        node.expect_piece();
        node.expect_piece();
        assert!(!node.is_last() && !node.is_last());
        assert!(node.is_last(), "all were known");
        assert_eq!(node.path(), b"a/f");
        assert_eq!((join(b"", b"x"), join(b"x", b"")), (b"x".to_vec(), b"x".to_vec()));
    }
}
