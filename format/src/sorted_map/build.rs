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

/// Where pages and reference lists go: stored as chunks of the map's domain.
pub trait PageSink {
    type Error;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Self::Error>;
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

    /// Adds an entry. `inline` is at most [`limits::INLINE_MAX`] bytes, `key` at most [`limits::KEY_MAX`].
    ///
    /// # Panics
    /// When `key` does not sort after the last one.
    pub fn push<S: PageSink>(
        &mut self,
        keys: &DomainKeys,
        key: &[u8],
        inline: &[u8],
        references: &[Reference],
        sink: &mut S,
    ) -> Result<(), S::Error> {
        assert!(self.accepts(key), "keys of a sorted map ascend");
        self.last_key = Some(key.to_vec());
        self.entries += 1;
        let indirect = references.len() > limits::VALUE_CHUNKS_MAX;
        let references =
            if indirect { vec![sink.put(&encode_references(references))?] } else { references.to_vec() };
        let entry = Entry { key, inline, references, indirect };
        self.add(0, keys, key, sink, |out, packs| encode_leaf_entry(out, packs, &entry))
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
        if self.levels[level].body.len() >= limits::PAGE_MAX - limits::INLINE_MAX - limits::KEY_MAX {
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
