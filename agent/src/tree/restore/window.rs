//! A stretch of a tree's entries, as a table of the pieces of content that they need, in the order in which packs hold
//! them: every frame is opened once in a stretch, and feeds all the files that need it. Bounded, whatever entries say.

use super::node::Node;
use lifeboat_format::id::{Digest, Handle};
use lifeboat_format::pack::Reference;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Pieces of the first stretch, so that work begins at once; each next one is twice as large.
const PIECES_FIRST: usize = 512;
const PIECES_MAX: usize = 65_536;
const NODES_MAX: usize = 8192;
/// Files of several pieces, which are open at the same time.
const OPEN_MAX: usize = 64;
/// Names, attributes and paths, bytes.
const WEIGHT_MAX: usize = 8 << 20;

/// One chunk's way from a pack to a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// In the window's packs.
    pack: u32,
    pub(super) frame: u32,
    offset: u32,
    length: u32,
    digest: Digest,
    /// In the window's nodes.
    node: u32,
    /// In the file's content.
    pub(super) at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    packs: Vec<Handle>,
    nodes: Vec<Arc<Node>>,
    pub(super) pieces: Vec<Piece>,
    /// What needs no content, or has all of it.
    pub(super) ready: Vec<Arc<Node>>,
    /// One of those that may be under way.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// A window in the making.
#[derive(Debug)]
pub(super) struct Building {
    window: Window,
    numbers: HashMap<Handle, u32>,
    open: usize,
    weight: usize,
    pieces_max: usize,
}

impl Default for Building {
    fn default() -> Self {
        Self {
            window: Window::default(),
            numbers: HashMap::new(),
            open: 0,
            weight: 0,
            pieces_max: PIECES_FIRST,
        }
    }
}

impl Building {
    /// An entry that can be finished without further content.
    pub(super) fn ready(&mut self, node: Arc<Node>) {
        self.weight += weight(&node);
        self.window.ready.push(node);
    }

    /// An entry whose pieces follow; its number in this window.
    pub(super) fn node(&mut self, node: &Arc<Node>, several: bool) -> u32 {
        self.open += usize::from(several);
        self.weight += weight(node);
        self.window.nodes.push(Arc::clone(node));
        u32::try_from(self.window.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn piece(&mut self, node: u32, at: u64, r: &Reference) {
        let packs = &mut self.window.packs;
        let pack = *self.numbers.entry(r.handle).or_insert_with(|| {
            packs.push(r.handle);
            u32::try_from(packs.len() - 1).unwrap_or(u32::MAX)
        });
        let Reference { frame, offset, length, digest, .. } = *r;
        self.window.pieces.push(Piece { pack, frame, offset, length, digest, node, at });
    }

    pub(super) fn is_full(&self) -> bool {
        self.window.pieces.len() >= self.pieces_max
            || self.window.nodes.len() + self.window.ready.len() >= NODES_MAX
            || self.open >= OPEN_MAX
            || self.weight >= WEIGHT_MAX
    }

    /// The window, sorted; the next one begins empty. `None` where there is nothing in it.
    pub(super) fn take(&mut self) -> Option<Window> {
        let pieces_max = (self.pieces_max * 2).min(PIECES_MAX);
        let full = std::mem::replace(self, Self { pieces_max, ..Self::default() });
        let mut window = full.window;
        window.pieces.sort_unstable_by_key(|p| (p.pack, p.frame, p.offset, p.length));
        (!window.pieces.is_empty() || !window.ready.is_empty()).then_some(window)
    }
}

fn weight(node: &Node) -> usize {
    let a = &node.attributes;
    let xattrs: usize = a.xattrs.iter().map(|(n, v)| n.len() + v.len() + 48).sum();
    let rest = a.target.as_ref().map_or(0, Vec::len) + a.extents.as_ref().map_or(0, |e| e.len() * 16);
    // Of the place only its path counts, as if no two had one in common.
    node.name.len() + node.place.path.len() / 8 + xattrs + rest + 320
}

impl Window {
    pub(super) fn node(&self, piece: &Piece) -> Option<&Arc<Node>> {
        self.nodes.get(piece.node as usize)
    }

    pub(super) fn reference(&self, piece: &Piece) -> Reference {
        let Piece { frame, offset, length, digest, .. } = *piece;
        Reference { handle: self.handle(piece), frame, offset, length, digest }
    }

    fn handle(&self, piece: &Piece) -> Handle {
        self.packs.get(piece.pack as usize).copied().unwrap_or(Handle([0; 16]))
    }

    /// Packs in the order in which the tree needs them first, each with its pieces.
    pub(super) fn runs(&self) -> Vec<(Handle, Range<usize>)> {
        let mut out: Vec<(Handle, Range<usize>)> = Vec::with_capacity(self.packs.len());
        let mut last = None;
        for (i, piece) in self.pieces.iter().enumerate() {
            match out.last_mut() {
                Some((_, range)) if last == Some(piece.pack) => range.end = i + 1,
                _ => out.push((self.handle(piece), i..i + 1)),
            }
            last = Some(piece.pack);
        }
        out
    }
}

/// Frames of one pack that are fetched together, and the pieces in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Sealed, bytes.
    pub(super) bytes: u64,
    pub(super) pieces: Range<usize>,
}

/// Fetched with one request, bytes: enough for a distant store, little enough for all threads to have some.
const UNIT_BYTES: u64 = 1 << 20;
/// Unwanted bytes between two wanted frames that are fetched rather than asked around.
const GAP_MAX: u64 = 64 << 10;
/// Pieces of one unit: the same chunk may be in many files.
const UNIT_PIECES: usize = 512;

/// Cuts the pieces of one pack (`range` of a window) into units. `place` gives offset and end of a frame in the pack;
/// pieces in frames that are not there are given back as ranges.
pub(super) fn units(
    pieces: &[Piece],
    range: Range<usize>,
    place: impl Fn(u32) -> Option<(u64, u64)>,
) -> (Vec<Unit>, Vec<Range<usize>>) {
    let (mut out, mut lost): (Vec<Unit>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    let mut end_of_last = 0;
    for i in range {
        let Some(piece) = pieces.get(i) else { break };
        let Some((from, to)) = place(piece.frame) else {
            lost.push(i..i + 1);
            continue;
        };
        if let Some(unit) = out.last_mut() {
            let fits = unit.pieces.end == i && unit.pieces.len() < UNIT_PIECES;
            let grown = unit.bytes + to.saturating_sub(end_of_last);
            let near = from.saturating_sub(end_of_last) <= GAP_MAX;
            if fits && (unit.last == piece.frame || (near && grown <= UNIT_BYTES)) {
                unit.bytes = if unit.last == piece.frame { unit.bytes } else { grown };
                (unit.last, unit.pieces.end, end_of_last) = (piece.frame, i + 1, to);
                continue;
            }
        }
        out.push(Unit { first: piece.frame, last: piece.frame, bytes: to - from, pieces: i..i + 1 });
        end_of_last = to;
    }
    (out, lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::restore::node::Place;
    use lifeboat_format::tree::Attributes;

    fn reference(pack: u8, frame: u32, offset: u32) -> Reference {
        Reference { handle: Handle([pack; 16]), frame, offset, length: 1, digest: Digest([0; 32]) }
    }

    fn node() -> Arc<Node> {
        let place = Place { number: 0, path: vec![], inherits: false };
        Arc::new(Node::new(Arc::new(place), b"f", Attributes::default(), None))
    }

    #[test]
    fn pieces_lie_as_in_packs_and_packs_as_they_are_needed() {
        let mut building = Building::default();
        assert!(building.take().is_none());
        let n = building.node(&node(), true);
        for r in [reference(9, 1, 0), reference(2, 5, 0), reference(9, 0, 7), reference(9, 0, 3)] {
            building.piece(n, 0, &r);
        }
        let window = building.take().unwrap();
        assert_eq!(window.runs(), [(Handle([9; 16]), 0..3), (Handle([2; 16]), 3..4)]);
        let order: Vec<_> = window.pieces.iter().map(|p| (p.frame, p.offset)).collect();
        assert_eq!(order, [(0, 3), (0, 7), (1, 0), (5, 0)]);
        assert_eq!(window.reference(&window.pieces[3]), reference(2, 5, 0));
    }

    #[test]
    fn windows_grow_and_are_bounded() {
        let mut building = Building::default();
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let n = building.node(&node(), false);
            while !building.is_full() {
                building.piece(n, 0, &reference(1, 0, 0));
            }
            sizes.push(building.take().unwrap().pieces.len());
        }
        assert_eq!((sizes[0], sizes[1], sizes[11]), (512, 1024, PIECES_MAX));
        for _ in 0..OPEN_MAX {
            building.node(&node(), true);
        }
        assert!(building.is_full(), "each may hold a file open");
    }

    #[test]
    fn neighbors_are_fetched_together() {
        let mut building = Building::default();
        let n = building.node(&node(), true);
        for frame in [0, 0, 1, 2, 9, 50, 51] {
            building.piece(n, 0, &reference(1, frame, 0));
        }
        let window = building.take().unwrap();
        // Frames of 100,000 bytes; the last two are far larger.
        let place = |f: u32| match f {
            0..50 => Some((u64::from(f) * 100_000, u64::from(f + 1) * 100_000)),
            50 => Some((5_000_000, 7_000_000)),
            _ => None,
        };
        let (units, lost) = units(&window.pieces, 0..7, place);
        let shape: Vec<_> = units.iter().map(|u| (u.first, u.last, u.bytes, u.pieces.clone())).collect();
        assert_eq!(shape, [(0, 2, 300_000, 0..4), (9, 9, 100_000, 4..5), (50, 50, 2_000_000, 5..6)]);
        assert_eq!((lost.len(), lost.first()), (1, Some(&(6..7))));
    }
}
