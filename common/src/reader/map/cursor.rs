//! A map read page by page as its caller says: what it need not see it passes over unread.

use super::{KeyRange, Leaf, MapEntry, Todo, Walk, check_first, contradiction, leaf_entries};
use crate::reader::chunks::ChunkReader;
use crate::reader::error::ReadError;
use lifeboat_format::id::Digest;
use lifeboat_format::pack::Reference;
use lifeboat_format::sorted_map::Page;
use std::collections::VecDeque;
use std::sync::Arc;

/// What comes next in a map.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::reader) enum PageItem<'a> {
    /// A page that was not read. Of the root only the digest is known.
    Page { level: Option<u8>, first: Option<&'a [u8]>, digest: &'a Digest },
    /// The key of an entry.
    Entry(&'a [u8]),
}

/// A place in a map, within a range of keys.
pub(in crate::reader) struct PageCursor {
    walk: Walk,
    /// Of the page that was opened last, before all pages of the walk.
    entries: VecDeque<MapEntry>,
    last: Option<Vec<u8>>,
}

impl PageCursor {
    pub(in crate::reader) fn new(chunks: Arc<ChunkReader>, root: Option<Reference>, range: KeyRange) -> Self {
        let todo = root.into_iter().map(|reference| Todo { reference, expected: None }).collect();
        Self { walk: Walk { chunks, range, todo, last: None }, entries: VecDeque::new(), last: None }
    }

    /// What comes next; nothing at the end.
    pub(in crate::reader) fn peek(&self) -> Option<PageItem<'_>> {
        if let Some(entry) = self.entries.front() {
            return Some(PageItem::Entry(&entry.key));
        }
        self.walk.todo.last().map(|todo| PageItem::Page {
            level: todo.expected.as_ref().map(|(level, _)| *level),
            first: todo.expected.as_ref().map(|(_, first)| first.as_slice()),
            digest: &todo.reference.digest,
        })
    }

    /// The next page, if that is what comes next.
    pub(in crate::reader) fn page(&self) -> Option<Reference> {
        self.walk.todo.last().filter(|_| self.entries.is_empty()).map(|todo| todo.reference)
    }

    /// The next entry, if that is what comes next.
    pub(in crate::reader) fn take_entry(&mut self) -> Option<MapEntry> {
        self.entries.pop_front()
    }

    /// The keys that the next page can hold, if that is what comes next.
    pub(in crate::reader) fn page_range(&self) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let (next, before) = self.walk.todo.split_last().filter(|_| self.entries.is_empty())?;
        let first = |todo: &Todo| todo.expected.as_ref().map(|(_, first)| first.clone());
        Some((first(next).unwrap_or_default(), before.last().and_then(first)))
    }

    /// Passes over the next page or entry.
    pub(in crate::reader) fn skip(&mut self) {
        if self.entries.pop_front().is_none() {
            self.walk.todo.pop();
        }
    }

    /// Reads the next page, so that what it holds comes next. On an error it is passed over.
    pub(in crate::reader) async fn open(&mut self) -> Result<(), ReadError> {
        let Some(next) = self.walk.todo.pop() else { return Ok(()) };
        let chunks = Arc::clone(&self.walk.chunks);
        let bytes = chunks.chunk(&next.reference).await?;
        let page = Page::parse(&bytes).map_err(|e| contradiction(&chunks, e))?;
        check_first(&chunks, &page, next.expected.as_ref())?;
        let level = next.expected.as_ref().map(|(level, _)| *level);
        match page {
            Page::Leaf(_) if level.is_some_and(|level| level != 0) => {
                Err(self.walk.wrong("a map skips a level"))
            }
            Page::Leaf(entries) => {
                let leaf = Leaf { seq: chunks.seq(), entries: leaf_entries(&bytes, entries) };
                self.entries = leaf.in_range(&self.walk.range, &mut self.last)?.into();
                Ok(())
            }
            Page::Inner { level: found, .. } if level.is_some_and(|level| level != found) => {
                Err(self.walk.wrong("the levels of a map do not count down"))
            }
            Page::Inner { level, children } => {
                self.walk.push(level - 1, &children);
                Ok(())
            }
        }
    }
}
