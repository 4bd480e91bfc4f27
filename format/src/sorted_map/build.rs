//! Building a map from entries in ascending key order, one open page a level.

use super::page::{Entry, PackTable, encode_inner_entry, encode_leaf_entry, encode_page, encode_references};
use crate::crypto::derive::DomainKeys;
use crate::limits;
use crate::pack::Reference;

/// Below this a page is not cut, bytes.
const PAGE_MIN: usize = 16 << 10;
/// What a cut adds to [`PAGE_MIN`] on average, bytes: together about 64 KiB.
const PAGE_MEAN: u64 = 48 << 10;

/// Below this an inner page is not cut, entries: keys of several KiB would make a tree that hardly narrows, and a key
/// at which pages of one entry are cut would make one that never ends.
const FANOUT_MIN: usize = 8;

/// At this a page whose references are in very many packs is cut, bytes with its table of packs.
const TABLE_FULL: usize = 224 << 10;

/// Where pages and reference lists go: stored as chunks of the map's domain.
pub trait PageSink {
    type Error;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Self::Error>;
}

/// References in a list where a few lists take them all.
const LIST_TARGET: usize = 4096;

/// Stores the lists of a value of more than [`limits::VALUE_CHUNKS_MAX`] chunks: what stands in its entry instead. At
/// most [`limits::VALUE_REFERENCES_MAX`] references.
pub fn put_lists<S: PageSink>(references: &[Reference], sink: &mut S) -> Result<Vec<Reference>, S::Error> {
    let each = references.len().div_ceil(limits::VALUE_CHUNKS_MAX).max(LIST_TARGET);
    references.chunks(each).map(|list| sink.put(&encode_references(list))).collect()
}

/// Builds one map. Keys must strictly ascend; [`MapBuilder::accepts`] says whether one does.
#[derive(Default)]
pub struct MapBuilder {
    levels: Vec<OpenPage>,
    last_key: Option<Vec<u8>>,
    entries: u64,
}

#[derive(Default)]
struct OpenPage {
    first_key: Vec<u8>,
    packs: PackTable,
    count: usize,
    body: Vec<u8>,
}

impl MapBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether `key` sorts after every key so far.
    #[must_use]
    pub fn accepts(&self, key: &[u8]) -> bool {
        self.last_key.as_deref().is_none_or(|last| last < key)
    }

    /// Adds an entry. `inline` is at most [`limits::INLINE_MAX`] bytes, `key` at most [`limits::KEY_MAX`], and there
    /// are at most [`limits::VALUE_REFERENCES_MAX`] references.
    ///
    /// # Panics
    /// When `key` does not sort after the last one, or there are too many references.
    pub fn push<S: PageSink>(
        &mut self,
        keys: &DomainKeys,
        key: &[u8],
        inline: &[u8],
        references: &[Reference],
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let indirect = references.len() > limits::VALUE_CHUNKS_MAX;
        let references = if indirect { put_lists(references, sink)? } else { references.to_vec() };
        self.push_entry(keys, &Entry { key, inline, references, indirect }, sink)
    }

    /// Adds an entry whose lists, if it has any, are stored already ([`put_lists`]).
    ///
    /// # Panics
    /// When its key does not sort after the last one, or it has more references than an entry can.
    pub fn push_entry<S: PageSink>(
        &mut self,
        keys: &DomainKeys,
        entry: &Entry<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        assert!(self.accepts(entry.key), "keys of a sorted map ascend");
        assert!(entry.references.len() <= limits::VALUE_CHUNKS_MAX, "more references go to lists");
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(entry.key);
        self.entries += 1;
        self.add(0, keys, entry.key, sink, |out, packs| encode_leaf_entry(out, packs, entry))
    }

    fn add<S: PageSink>(
        &mut self,
        level: usize,
        keys: &DomainKeys,
        key: &[u8],
        sink: &mut S,
        encode: impl FnOnce(&mut Vec<u8>, &mut PackTable),
    ) -> Result<(), S::Error> {
        if self.levels.len() <= level {
            self.levels.push(OpenPage::default());
        }
        let open = &self.levels[level];
        let full = open.body.len() >= limits::PAGE_MAX - limits::INLINE_MAX - limits::KEY_MAX;
        if full || open.body.len() + open.packs.len() * 16 >= TABLE_FULL {
            self.close(level, keys, sink)?;
        }
        let page = &mut self.levels[level];
        if page.count == 0 {
            page.first_key = key.to_vec();
        }
        let before = page.body.len();
        encode(&mut page.body, &mut page.packs);
        page.count += 1;
        let size = (page.body.len() - before) as u64;
        let cut = keys.cut_hash(key) < (u64::MAX / PAGE_MEAN).saturating_mul(size);
        let large = page.body.len() >= PAGE_MIN && (level == 0 || page.count >= FANOUT_MIN);
        if large && cut { self.close(level, keys, sink) } else { Ok(()) }
    }

    fn close<S: PageSink>(&mut self, level: usize, keys: &DomainKeys, sink: &mut S) -> Result<(), S::Error> {
        let page = std::mem::take(&mut self.levels[level]);
        let reference = sink.put(&page.encode(level))?;
        let first_key = page.first_key;
        self.add(level + 1, keys, &first_key, sink, |out, packs| {
            encode_inner_entry(out, packs, &first_key, &reference)
        })
    }

    /// Closes every page; the root, or nothing for an empty map.
    pub fn finish<S: PageSink>(
        mut self,
        keys: &DomainKeys,
        sink: &mut S,
    ) -> Result<Option<Reference>, S::Error> {
        let mut level = 0;
        while level + 1 < self.levels.len() {
            if self.levels[level].count > 0 {
                self.close(level, keys, sink)?;
            }
            level += 1;
        }
        match self.levels.pop() {
            Some(top) => sink.put(&top.encode(level)).map(Some),
            None => Ok(None),
        }
    }
}

impl OpenPage {
    fn encode(&self, level: usize) -> Vec<u8> {
        let level = u8::try_from(level).expect("a map of 2^64 entries has fewer than 8 levels");
        encode_page(level, &self.packs, self.count, &self.body)
    }
}
