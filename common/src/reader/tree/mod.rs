//! Trees of files in a snapshot: one entry by its path, one directory, or all that is below one, each by reading only
//! the pages on the way; and the content of files.
//!
//! What is damaged is named with its path and pack and passed over. Names and attributes come from whoever wrote the
//! snapshot: they are checked to be such, and whether one may be followed on a disk is the caller's to judge.

mod content;
mod diff;
mod needs;

pub use content::{Piece, Placement};
pub use diff::Change;
pub use needs::Needs;

use super::chunks::ChunkReader;
use super::error::ReadError;
use super::map::{self, KeyRange, MapEntry};
use super::shown::shown;
use super::snapshot::{Domain, OpenSnapshot, Owners};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use lifeboat_format::pack::Reference;
use lifeboat_format::tree::{self, Attributes, NodeKind};
use std::sync::Arc;

/// The tree of one volume or path. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(super) chunks: Arc<ChunkReader>,
    pub(super) root: Option<Reference>,
    pub(super) folder: Arc<str>,
    pub(super) owners: Owners,
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Components joined by `/`; empty for the tree's root. Each is a name: not empty, `.` or `..`, without `/` and NUL.
    pub path: Vec<u8>,
    pub attributes: Attributes,
    /// Of its content; with `indirect` of lists of these ([`Tree::references`]).
    pub references: Vec<Reference>,
    pub indirect: bool,
}

impl OpenSnapshot {
    /// The tree of a domain that holds files.
    ///
    /// # Errors
    /// The snapshot says that the domain has several maps, which no tree has.
    pub fn tree(&self, domain: &Domain) -> Result<Tree, ReadError> {
        let folder: Arc<str> = domain.folder().into();
        let owners = Arc::clone(self.owners());
        match domain.roots.as_slice() {
            [] => Ok(Tree { chunks: Arc::clone(self.chunks()), root: None, folder, owners }),
            [root] => Ok(Tree { chunks: Arc::clone(self.chunks()), root: Some(*root), folder, owners }),
            more => {
                let why = format!("a tree has {} maps", more.len());
                Err(ReadError::Snapshot { seq: self.seq(), why }.at(folder.to_string()))
            }
        }
    }

    /// Domains that hold files, in the order of the snapshot.
    pub fn volumes(&self) -> impl Iterator<Item = &Domain> {
        self.domains().iter().filter(|d| !d.has_objects())
    }
}

impl Tree {
    /// A tree in its place that has nothing, to compare with.
    #[must_use]
    pub fn empty(&self) -> Self {
        Self { root: None, ..self.clone() }
    }

    /// Of the snapshot.
    #[must_use]
    pub fn chunks(&self) -> &Arc<ChunkReader> {
        &self.chunks
    }

    /// `volumes/<namespace>/<claim>` or `volumes/_paths/<volume>`.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// A path of the tree as it is shown and given to commands.
    #[must_use]
    pub fn shown(&self, path: &[u8]) -> String {
        if path.is_empty() { self.folder.to_string() } else { format!("{}/{}", self.folder, shown(path)) }
    }

    /// The entry at `path` (components joined by `/`; the root's is empty).
    ///
    /// # Errors
    /// A page on the way is missing or damaged, or what it says cannot be.
    pub async fn entry(&self, path: &[u8]) -> Result<Option<TreeEntry>, ReadError> {
        let Some(root) = self.root else { return Ok(None) };
        let found = map::get(&self.chunks, root, &tree::path_key(path)).await;
        found.map_err(|e| e.at(self.shown(path)))?.map(|entry| self.decode(entry)).transpose()
    }

    /// The entries of the directory at `path`, by name; nothing where there is no such directory.
    pub fn directory(&self, path: &[u8]) -> BoxStream<'static, Result<TreeEntry, ReadError>> {
        self.walk(KeyRange::prefix(&tree::directory_prefix(path)))
    }

    /// Everything below `path`, itself left out: its entries by name, then what is below each directory of them, again
    /// in this order.
    pub fn below(&self, path: &[u8]) -> BoxStream<'static, Result<TreeEntry, ReadError>> {
        self.walk(below(path))
    }

    /// The whole tree, its root first.
    pub fn all(&self) -> BoxStream<'static, Result<TreeEntry, ReadError>> {
        self.walk(KeyRange::all())
    }

    /// Entries in the order of keys. An error is about one entry, or about a page; the walk goes on unless the pages
    /// contradict each other.
    pub fn walk(&self, range: KeyRange) -> BoxStream<'static, Result<TreeEntry, ReadError>> {
        let Some(root) = self.root else { return stream::empty().boxed() };
        let this = self.clone();
        let entries = map::walk(Arc::clone(&self.chunks), root, range);
        entries.map(move |e| e.map_err(|e| e.at(&*this.folder)).and_then(|e| this.decode(e))).boxed()
    }

    /// The chunks of a file, in order, out of their lists where they are many.
    ///
    /// # Errors
    /// A list is missing or damaged, or the chunks are not as long as the attributes say.
    pub async fn references(&self, entry: &TreeEntry) -> Result<Vec<Reference>, ReadError> {
        let map = MapEntry {
            key: Vec::new(),
            inline: bytes::Bytes::new(),
            references: entry.references.clone(),
            indirect: entry.indirect,
        };
        let all = map::references(&self.chunks, &map).await.map_err(|e| e.at(self.shown(&entry.path)))?;
        if total(&all) == entry.attributes.content_len() {
            return Ok(all);
        }
        Err(self.wrong(&entry.path, "its chunks are not as long as its size says"))
    }

    pub(super) fn decode(&self, entry: MapEntry) -> Result<TreeEntry, ReadError> {
        let path = tree::path_of(&entry.key).map_err(|e| self.wrong(&entry.key, e))?;
        let attributes = Attributes::parse(&entry.inline).map_err(|e| self.wrong(&path, e))?;
        let file = attributes.kind == NodeKind::File;
        if !file && !entry.references.is_empty() {
            return Err(self.wrong(&path, "it is no file and has content"));
        }
        if file && !entry.indirect && total(&entry.references) != attributes.content_len() {
            return Err(self.wrong(&path, "its chunks are not as long as its size says"));
        }
        Ok(TreeEntry { path, attributes, references: entry.references, indirect: entry.indirect })
    }

    fn wrong(&self, path: &[u8], why: impl std::fmt::Display) -> ReadError {
        ReadError::Snapshot { seq: self.chunks.seq(), why: why.to_string() }.at(self.shown(path))
    }
}

/// Keys of what is below `path`.
pub(super) fn below(path: &[u8]) -> KeyRange {
    // The root's own key is empty, and every other begins with something.
    if path.is_empty() { KeyRange::from(vec![0]) } else { KeyRange::prefix(&tree::subtree_prefix(path)) }
}

fn total(references: &[Reference]) -> u64 {
    references.iter().map(|r| u64::from(r.length)).sum()
}

impl TreeEntry {
    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The directory that it is in; nothing for the root.
    #[must_use]
    pub fn parent(&self) -> Option<&[u8]> {
        if self.path.is_empty() {
            return None;
        }
        Some(self.path.iter().rposition(|b| *b == b'/').map_or(&[], |at| &self.path[..at]))
    }

    /// Its key in the map.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        tree::path_key(&self.path)
    }
}

#[cfg(test)]
mod tests;
