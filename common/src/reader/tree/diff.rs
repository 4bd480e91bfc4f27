//! What differs between two trees, found by comparing pages: what both name by the same digest is the same, and is not
//! read. So two snapshots of one volume cost what changed between them.

use super::{Tree, TreeEntry};
use crate::reader::error::ReadError;
use crate::reader::map::{self, KeyRange, MapEntry, PageCursor, PageItem};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use lifeboat_format::id::Digest;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Added(TreeEntry),
    Removed(TreeEntry),
    Changed {
        before: TreeEntry,
        after: TreeEntry,
        /// The files' bytes differ. Where one was cut into other chunks than the other, this is assumed.
        content: bool,
    },
}

impl Change {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Added(e) | Self::Removed(e) | Self::Changed { after: e, .. } => &e.path,
        }
    }

    /// What changed about an entry that is in both: some of `kind`, `content`, `size`, `mode`, `owner`, `mtime`, `xattrs`,
    /// `target`, `device`, `holes`, `links`, `marks`.
    #[must_use]
    pub fn what(&self) -> Vec<&'static str> {
        let Self::Changed { before, after, content } = self else { return Vec::new() };
        let (a, b) = (&before.attributes, &after.attributes);
        let differ = [
            ("kind", a.kind != b.kind),
            ("content", *content),
            ("size", a.size != b.size),
            ("mode", a.mode != b.mode),
            ("owner", (a.uid, a.gid) != (b.uid, b.gid)),
            ("mtime", (a.mtime_s, a.mtime_ns) != (b.mtime_s, b.mtime_ns)),
            ("xattrs", a.xattrs != b.xattrs),
            ("target", a.target != b.target),
            ("device", a.rdev != b.rdev),
            ("holes", a.extents != b.extents),
            // Another inode is no change; other names for it are.
            ("links", a.link.is_some() != b.link.is_some()),
            ("marks", a.marks != b.marks),
        ];
        differ.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

impl Tree {
    /// What changed from this tree to `after`, at `path` and below it, in key order. An error is about a page, an entry or
    /// a list that cannot be read; what it may have held is left out, and the rest goes on.
    pub fn diff(&self, after: &Self, path: &[u8]) -> BoxStream<'static, Result<Change, ReadError>> {
        let itself = Self::ranges(path);
        let (before, after) = (self.clone(), after.clone());
        let each = move |range| {
            let sides = [Side::new(&before, &range), Side::new(&after, &range)];
            let start = Diff { sides, blind: VecDeque::new(), over: false };
            stream::unfold(start, |mut diff| async move { diff.next().await.map(|change| (change, diff)) })
        };
        stream::iter(itself).flat_map(each).boxed()
    }

    /// The keys of an entry and of what is below it.
    fn ranges(path: &[u8]) -> Vec<KeyRange> {
        if path.is_empty() {
            return vec![KeyRange::all()];
        }
        let key = lifeboat_format::tree::path_key(path);
        vec![KeyRange::exactly(&key), super::below(path)]
    }
}

struct Side {
    tree: Tree,
    cursor: PageCursor,
}

struct Diff {
    sides: [Side; 2],
    /// Ranges of keys that one side could not read, ascending: nothing is said about them.
    blind: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
    over: bool,
}

/// What to do next.
enum Step {
    End,
    /// Both sides have the same page.
    Same,
    /// Read the pages of these sides.
    Open([bool; 2]),
    Only(usize),
    Both,
}

impl Side {
    fn new(tree: &Tree, range: &KeyRange) -> Self {
        let cursor = PageCursor::new(std::sync::Arc::clone(&tree.chunks), tree.root, range.clone());
        Self { tree: tree.clone(), cursor }
    }
}

impl Diff {
    async fn next(&mut self) -> Option<Result<Change, ReadError>> {
        while !self.over {
            match self.step() {
                Step::End => return None,
                Step::Same => self.sides.iter_mut().for_each(|s| s.cursor.skip()),
                Step::Open(which) => {
                    if let Err(e) = self.open(which).await {
                        return Some(Err(e));
                    }
                }
                Step::Only(side) => {
                    if let Some(entry) = self.sides[side].cursor.take_entry()
                        && !self.is_blind(&entry.key)
                    {
                        let change = if side == 0 { Change::Removed } else { Change::Added };
                        return Some(self.sides[side].tree.decode(entry).map(change));
                    }
                }
                Step::Both => {
                    let [before, after] = &mut self.sides;
                    if let Some((a, b)) = before.cursor.take_entry().zip(after.cursor.take_entry())
                        && let Some(change) = self.compare(a, b).await
                    {
                        return Some(change);
                    }
                }
            }
        }
        None
    }

    fn step(&self) -> Step {
        use PageItem::{Entry, Page};
        match (self.sides[0].cursor.peek(), self.sides[1].cursor.peek()) {
            (None, None) => Step::End,
            (Some(Page { .. }), None) => Step::Open([true, false]),
            (None, Some(Page { .. })) => Step::Open([false, true]),
            (Some(Entry(_)), None) => Step::Only(0),
            (None, Some(Entry(_))) => Step::Only(1),
            (Some(Entry(a)), Some(Entry(b))) => match a.cmp(b) {
                Ordering::Less => Step::Only(0),
                Ordering::Greater => Step::Only(1),
                Ordering::Equal => Step::Both,
            },
            // A page before whose first key the other side still has an entry.
            (Some(Entry(key)), Some(Page { first: Some(first), .. })) if key < first => Step::Only(0),
            (Some(Page { first: Some(first), .. }), Some(Entry(key))) if key < first => Step::Only(1),
            (Some(Entry(_)), Some(Page { .. })) => Step::Open([false, true]),
            (Some(Page { .. }), Some(Entry(_))) => Step::Open([true, false]),
            (Some(Page { digest: a, .. }), Some(Page { digest: b, .. })) if a == b => Step::Same,
            (Some(Page { level: a, first: x, .. }), Some(Page { level: b, first: y, .. })) => {
                // Of pages on one level, one that begins earlier cannot be the other's; otherwise the higher is opened,
                // until what is left stands on one level. A root's level is not known.
                match (a, b) {
                    (None, _) | (_, None) => Step::Open([a.is_none(), b.is_none()]),
                    (Some(a), Some(b)) if a != b => Step::Open([a > b, b > a]),
                    _ => Step::Open([x <= y, y <= x]),
                }
            }
        }
    }

    async fn open(&mut self, which: [bool; 2]) -> Result<(), ReadError> {
        for (side, wanted) in self.sides.iter_mut().zip(which) {
            if !wanted {
                continue;
            }
            let range = side.cursor.page_range();
            if let Err(e) = side.cursor.open().await {
                self.over = map::is_contradiction(&e);
                self.blind.extend(range);
                return Err(e.at(&*side.tree.folder));
            }
        }
        Ok(())
    }

    /// Whether one side could not be read there. Asked in ascending order.
    fn is_blind(&mut self, key: &[u8]) -> bool {
        while let Some((_, Some(until))) = self.blind.front()
            && until.as_slice() <= key
        {
            self.blind.pop_front();
        }
        self.blind
            .iter()
            .any(|(from, until)| from.as_slice() <= key && until.as_deref().is_none_or(|u| key < u))
    }

    async fn compare(&self, a: MapEntry, b: MapEntry) -> Option<Result<Change, ReadError>> {
        let same = match (a.indirect, b.indirect) {
            (false, false) => Ok(digests(&a).eq(digests(&b))),
            (true, true) if digests(&a).eq(digests(&b)) => Ok(true),
            _ => self.same_lists(&a, &b).await,
        };
        let same = match same {
            Ok(same) => same,
            Err(e) => return Some(Err(e)),
        };
        if same && a.inline == b.inline {
            return None;
        }
        let decoded = self.sides[0].tree.decode(a).and_then(|a| Ok((a, self.sides[1].tree.decode(b)?)));
        let change = decoded.map(|(before, after)| Change::Changed { before, after, content: !same });
        // Attributes may differ in nothing that counts.
        if change.as_ref().is_ok_and(|c| c.what().is_empty()) { None } else { Some(change) }
    }

    /// Lists say where chunks are, and so differ where the content does not.
    async fn same_lists(&self, a: &MapEntry, b: &MapEntry) -> Result<bool, ReadError> {
        let mut all = [Vec::new(), Vec::new()];
        for ((side, entry), out) in self.sides.iter().zip([a, b]).zip(&mut all) {
            let references = map::references(&side.tree.chunks, entry).await;
            let path = || lifeboat_format::tree::path_of(&entry.key).unwrap_or_default();
            let references = references.map_err(|e| e.at(side.tree.shown(&path())))?;
            *out = references.into_iter().map(|r| r.digest).collect::<Vec<Digest>>();
        }
        Ok(all[0] == all[1])
    }
}

fn digests(entry: &MapEntry) -> impl Iterator<Item = Digest> + '_ {
    entry.references.iter().map(|r| r.digest)
}
