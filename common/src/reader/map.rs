//! Sorted maps, read page by page: whole, by a range of keys, or one entry. Every page is checked against the one
//! that names it: its first key, its level, and that keys ascend from page to page. What is damaged is said and
//! passed over, so that the rest can still be read; what contradicts itself ends the reading.

mod cursor;

pub(super) use cursor::{PageCursor, PageItem};

use super::chunks::ChunkReader;
use super::error::ReadError;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_format::limits;
use lifeboat_format::pack::Reference;
use lifeboat_format::sorted_map::{Entry, Page, parse_references};
use std::sync::Arc;

/// Leaf pages fetched ahead of the reader.
const PAGES_AHEAD: usize = 4;
/// Chunks of one value fetched at a time.
const CHUNKS_AHEAD: usize = 4;

/// Keys from `from` on, below `until`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    from: Vec<u8>,
    until: Option<Vec<u8>>,
}

impl KeyRange {
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut until = prefix.to_vec();
        while until.last() == Some(&0xff) {
            until.pop();
        }
        if let Some(last) = until.last_mut() {
            *last += 1;
        }
        Self { from: prefix.to_vec(), until: (!until.is_empty()).then_some(until) }
    }

    /// One key.
    #[must_use]
    pub fn exactly(key: &[u8]) -> Self {
        Self { from: key.to_vec(), until: Some([key, &[0]].concat()) }
    }

    /// `key` and what follows.
    #[must_use]
    pub fn from(key: Vec<u8>) -> Self {
        Self { from: key, until: None }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && self.until.as_deref().is_none_or(|until| key < until)
    }
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapEntry {
    pub key: Vec<u8>,
    pub inline: Bytes,
    pub references: Vec<Reference>,
    pub indirect: bool,
}

/// A page that is still to be read.
struct Todo {
    reference: Reference,
    /// What the page above says; nothing for the root.
    expected: Option<(u8, Vec<u8>)>,
}

struct Walk {
    chunks: Arc<ChunkReader>,
    range: KeyRange,
    todo: Vec<Todo>,
    /// Of the last page, so that pages above leaves ascend too.
    last: Option<Vec<u8>>,
}

/// Entries of the map under `root` with keys in `range`, in key order. An error says which page cannot be read; the
/// walk goes on after it, unless the map contradicts itself.
pub fn walk(
    chunks: Arc<ChunkReader>,
    root: Reference,
    range: KeyRange,
) -> BoxStream<'static, Result<MapEntry, ReadError>> {
    let start = Walk {
        chunks: Arc::clone(&chunks),
        range: range.clone(),
        todo: vec![Todo { reference: root, expected: None }],
        last: None,
    };
    let leaves = stream::unfold(Some(start), |walk| async move {
        let mut walk = walk?;
        match walk.next_leaf().await {
            Ok(Some(leaf)) => Some((Ok(leaf), Some(walk))),
            Ok(None) => None,
            Err(e) => {
                let goes_on = !is_contradiction(&e);
                Some((Err(e), goes_on.then_some(walk)))
            }
        }
    });
    let fetched = leaves.map(move |leaf| {
        let chunks = Arc::clone(&chunks);
        async move { read_leaf(&chunks, leaf?).await }
    });
    // The walker runs ahead of the reader, and several leaves are fetched at a time, in order.
    let entries = fetched.buffered(PAGES_AHEAD).scan((None::<Vec<u8>>, false), move |(last, ended), leaf| {
        let out = if *ended { None } else { Some(leaf.and_then(|leaf| leaf.in_range(&range, last))) };
        *ended = matches!(&out, Some(Err(e)) if is_contradiction(e));
        futures::future::ready(out)
    });
    entries
        .flat_map(|page| match page {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok)).left_stream(),
            Err(e) => stream::iter([Err(e)]).right_stream(),
        })
        .boxed()
}

/// The entry with exactly this key.
pub async fn get(
    chunks: &Arc<ChunkReader>,
    root: Reference,
    key: &[u8],
) -> Result<Option<MapEntry>, ReadError> {
    walk(Arc::clone(chunks), root, KeyRange::exactly(key)).try_next().await
}

/// The first entry in `range`.
pub async fn first(
    chunks: &Arc<ChunkReader>,
    root: Reference,
    range: KeyRange,
) -> Result<Option<MapEntry>, ReadError> {
    walk(Arc::clone(chunks), root, range).try_next().await
}

/// An entry's value, at most [`limits::OBJECT_MAX`] bytes.
pub async fn value(chunks: &ChunkReader, entry: &MapEntry) -> Result<Bytes, ReadError> {
    let seq = chunks.seq();
    if entry.references.is_empty() {
        return Ok(entry.inline.clone());
    }
    let references = references(chunks, entry).await?;
    let total: u64 = references.iter().map(|r| u64::from(r.length)).sum();
    if total > limits::OBJECT_MAX {
        return Err(ReadError::Snapshot {
            seq,
            why: format!("a value has {total} bytes, more than any can have"),
        });
    }
    if let [one] = references.as_slice() {
        return chunks.chunk(one).await;
    }
    let pieces = stream::iter(references).map(|r| async move { chunks.chunk(&r).await });
    let mut pieces = pieces.buffered(CHUNKS_AHEAD);
    let mut out = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        out.extend_from_slice(&piece);
    }
    Ok(out.into())
}

/// The chunks of an entry's value, out of lists of their own where they are many.
pub async fn references(chunks: &ChunkReader, entry: &MapEntry) -> Result<Vec<Reference>, ReadError> {
    if !entry.indirect {
        return Ok(entry.references.clone());
    }
    let mut all = Vec::new();
    for list in &entry.references {
        all.append(&mut reference_list(chunks, list).await?);
    }
    Ok(all)
}

/// The references in one list of an indirect entry.
pub async fn reference_list(chunks: &ChunkReader, list: &Reference) -> Result<Vec<Reference>, ReadError> {
    let bytes = chunks.chunk(list).await?;
    parse_references(&bytes).map_err(|e| contradiction(chunks, e))
}

/// What ends a walk: the pages do not fit together, so nothing says where to go on.
pub(super) fn is_contradiction(error: &ReadError) -> bool {
    matches!(error, ReadError::Snapshot { .. })
}

fn contradiction(chunks: &ChunkReader, why: impl std::fmt::Display) -> ReadError {
    ReadError::Snapshot { seq: chunks.seq(), why: why.to_string() }
}

struct Leaf {
    seq: u64,
    entries: Vec<MapEntry>,
}

impl Walk {
    /// Goes down to the next leaf.
    async fn next_leaf(&mut self) -> Result<Option<Todo>, ReadError> {
        while let Some(next) = self.todo.pop() {
            if let Some((level, first)) = &next.expected {
                if self.last.as_ref().is_some_and(|last| last >= first) && *level == 0 {
                    return Err(self.wrong("the keys of a map do not ascend from page to page"));
                }
                if *level == 0 {
                    self.last = Some(first.clone());
                    return Ok(Some(next));
                }
            }
            let bytes = self.chunks.chunk(&next.reference).await?;
            let page = Page::parse(&bytes).map_err(|e| contradiction(&self.chunks, e))?;
            check_first(&self.chunks, &page, next.expected.as_ref())?;
            match page {
                Page::Leaf(_) if next.expected.is_some() => return Err(self.wrong("a map skips a level")),
                Page::Leaf(_) => return Ok(Some(next)),
                Page::Inner { level, children } => {
                    if next.expected.as_ref().is_some_and(|(expected, _)| *expected != level) {
                        return Err(self.wrong("the levels of a map do not count down"));
                    }
                    self.push(level - 1, &children);
                }
            }
        }
        Ok(None)
    }

    /// Puts the children that may hold keys of the range on the stack, the first on top.
    fn push(&mut self, level: u8, children: &[(&[u8], Reference)]) {
        let ends = children.iter().skip(1).map(|(first, _)| Some(*first)).chain([None]);
        let wanted = children.iter().zip(ends).filter(|((first, _), end)| {
            let before = self.range.until.as_deref().is_none_or(|until| *first < until);
            let after = end.is_none_or(|end| end > self.range.from.as_slice());
            before && after
        });
        let mut wanted: Vec<Todo> = wanted
            .map(|((first, reference), _)| Todo {
                reference: *reference,
                expected: Some((level, first.to_vec())),
            })
            .collect();
        wanted.reverse();
        self.todo.append(&mut wanted);
    }

    fn wrong(&self, why: &str) -> ReadError {
        contradiction(&self.chunks, why)
    }
}

fn check_first(
    chunks: &ChunkReader,
    page: &Page<'_>,
    expected: Option<&(u8, Vec<u8>)>,
) -> Result<(), ReadError> {
    match expected {
        Some((_, first)) if page.first_key() != Some(first) => {
            Err(contradiction(chunks, "a page of a map begins with another key than the page above says"))
        }
        _ => Ok(()),
    }
}

async fn read_leaf(chunks: &ChunkReader, leaf: Todo) -> Result<Leaf, ReadError> {
    let bytes = chunks.chunk(&leaf.reference).await?;
    let page = Page::parse(&bytes).map_err(|e| contradiction(chunks, e))?;
    check_first(chunks, &page, leaf.expected.as_ref())?;
    let Page::Leaf(entries) = page else {
        return Err(contradiction(chunks, "a map has more levels than it says"));
    };
    Ok(Leaf { seq: chunks.seq(), entries: leaf_entries(&bytes, entries) })
}

/// The entries of a page, on their own but for what they share with its bytes.
fn leaf_entries(bytes: &Bytes, entries: Vec<Entry<'_>>) -> Vec<MapEntry> {
    let owned = entries.into_iter().map(|e| MapEntry {
        key: e.key.to_vec(),
        inline: if e.inline.is_empty() { Bytes::new() } else { bytes.slice_ref(e.inline) },
        references: e.references,
        indirect: e.indirect,
    });
    owned.collect()
}

impl Leaf {
    fn in_range(self, range: &KeyRange, last: &mut Option<Vec<u8>>) -> Result<Vec<MapEntry>, ReadError> {
        let (Some(first), Some(end)) = (self.entries.first(), self.entries.last()) else {
            return Ok(Vec::new());
        };
        if last.as_ref().is_some_and(|last| *last >= first.key) {
            let why = "the keys of a map do not ascend from page to page".to_owned();
            return Err(ReadError::Snapshot { seq: self.seq, why });
        }
        *last = Some(end.key.clone());
        Ok(self.entries.into_iter().filter(|e| range.contains(&e.key)).collect())
    }
}
