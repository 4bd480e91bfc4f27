//! The content of a file as a stream, each piece with its place in the file, holes passed over.

use super::{Tree, TreeEntry};
use crate::reader::error::ReadError;
use crate::reader::map;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use lifeboat_format::pack::Reference;
use lifeboat_format::tree::Attributes;
use std::collections::VecDeque;

/// Chunks fetched ahead of who reads a file.
const CHUNKS_AHEAD: usize = 4;

/// Bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// In the file.
    pub offset: u64,
    pub data: Bytes,
}

/// Where in a file the bytes of its chunks go, one after another: around the holes of a sparse file.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Data extents; nothing where all of the file is data.
    extents: Option<Vec<(u64, u64)>>,
    /// The extent that is being filled.
    at: usize,
    /// Of it, or of the whole file, bytes that are placed.
    begun: u64,
}

impl Placement {
    #[must_use]
    pub fn new(attributes: &Attributes) -> Self {
        Self { extents: attributes.extents.clone(), at: 0, begun: 0 }
    }

    /// Places the next bytes of the content, at most `len`: offset in the file, and how many go there. None are placed
    /// behind the last extent.
    pub fn place(&mut self, len: u64) -> Option<(u64, u64)> {
        let Some(extents) = &self.extents else {
            let offset = self.begun;
            self.begun = offset.checked_add(len)?;
            return Some((offset, len)).filter(|_| len > 0);
        };
        let (offset, length) = *extents.get(self.at)?;
        let placed = len.min(length - self.begun);
        let at = offset + self.begun;
        self.begun += placed;
        if self.begun == length {
            (self.at, self.begun) = (self.at + 1, 0);
        }
        Some((at, placed)).filter(|_| placed > 0)
    }

    fn pieces(&mut self, mut data: Bytes) -> Vec<Piece> {
        let mut out = Vec::new();
        while !data.is_empty() {
            let Some((offset, len)) = self.place(data.len() as u64) else { break };
            let len = usize::try_from(len).unwrap_or(data.len()).min(data.len());
            out.push(Piece { offset, data: data.split_to(len) });
        }
        out
    }

    /// Passes over the place of bytes that could not be read.
    fn skip(&mut self, mut len: u64) {
        while len > 0 {
            let Some((_, placed)) = self.place(len) else { return };
            len -= placed;
        }
    }
}

/// Lists of references that are still to be read, and those that were.
struct Todo {
    tree: Tree,
    references: VecDeque<Reference>,
    lists: VecDeque<Reference>,
    left: u64,
    path: Vec<u8>,
    over: bool,
}

impl Todo {
    /// The next chunk's reference. An error ends the stream: what follows a missing list has no known place.
    async fn next(&mut self) -> Option<Result<Reference, ReadError>> {
        while !self.over {
            if let Some(reference) = self.references.pop_front() {
                let length = u64::from(reference.length);
                if length > self.left {
                    self.over = true;
                    return Some(Err(self
                        .tree
                        .wrong(&self.path, "its chunks are longer than its size says")));
                }
                self.left -= length;
                return Some(Ok(reference));
            }
            let Some(list) = self.lists.pop_front() else { break };
            match map::reference_list(&self.tree.chunks, &list).await {
                Ok(read) => self.references = read.into(),
                Err(e) => {
                    self.over = true;
                    return Some(Err(e.at(self.tree.shown(&self.path))));
                }
            }
        }
        if !self.over && self.left > 0 {
            self.over = true;
            return Some(Err(self.tree.wrong(&self.path, "its chunks are shorter than its size says")));
        }
        None
    }
}

impl Tree {
    /// The content of a file, in order, holes left out; memory does not grow with the file. A chunk that is missing or
    /// damaged is an error that names its pack, and the stream goes on behind it.
    pub fn content(&self, entry: &TreeEntry) -> BoxStream<'static, Result<Piece, ReadError>> {
        let direct = if entry.indirect { &[][..] } else { &entry.references };
        let lists = if entry.indirect { &entry.references[..] } else { &[] };
        let todo = Todo {
            tree: self.clone(),
            references: direct.iter().copied().collect(),
            lists: lists.iter().copied().collect(),
            left: entry.attributes.content_len(),
            path: entry.path.clone(),
            over: false,
        };
        let references = stream::unfold(todo, |mut todo| async move { todo.next().await.map(|r| (r, todo)) });
        let tree = self.clone();
        let path = entry.path.clone();
        let chunks = references.map(move |reference| {
            let (tree, path) = (tree.clone(), path.clone());
            async move {
                let reference = reference?;
                let chunk = tree.chunks.chunk(&reference).await;
                Ok((reference.length, chunk.map_err(|e| e.at(tree.shown(&path)))))
            }
        });
        let mut placement = Placement::new(&entry.attributes);
        let pieces = chunks.buffered(CHUNKS_AHEAD).flat_map(move |chunk| {
            stream::iter(match chunk {
                Ok((_, Ok(data))) => placement.pieces(data).into_iter().map(Ok).collect(),
                Ok((length, Err(e))) => {
                    placement.skip(u64::from(length));
                    vec![Err(e)]
                }
                Err(e) => vec![Err(e)],
            })
        });
        pieces.boxed()
    }
}
