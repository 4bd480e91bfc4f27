//! Trees of files in test repositories. All trees of paths share chunks, so that equal pages are one; each volume has
//! packs of its own, as every domain has.

use super::{Run, Sink, infallible};
use lifeboat_format::body::{DomainEntry, DomainKind};
use lifeboat_format::crypto::derive::{DomainKeys, Secret32};
use lifeboat_format::id::Digest;
use lifeboat_format::pack::{Reference, SealedPack};
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use lifeboat_format::tree::{Attributes, NodeKind, encode_attributes, path_key};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

/// Entries by key: attributes, content, and what stands in place of the attributes' encoding where a test lies.
#[derive(Debug, Clone, Default)]
pub struct TestTree {
    entries: BTreeMap<Vec<u8>, (Attributes, Vec<u8>)>,
    raw: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Files are cut into chunks of this size; 0: of 1 MiB.
    pub chunk: usize,
}

impl TestTree {
    /// A tree of which there is only the root.
    #[must_use]
    pub fn new() -> Self {
        Self::default().entry("", Attributes { mode: 0o755, ..Attributes::default() }, "")
    }

    /// Adds any entry. Of a sparse file, `content` is what its extents hold.
    #[must_use]
    pub fn entry(
        mut self,
        path: impl AsRef<[u8]>,
        attributes: Attributes,
        content: impl Into<Vec<u8>>,
    ) -> Self {
        self.entries.insert(path_key(path.as_ref()), (attributes, content.into()));
        self
    }

    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let size = content.len() as u64;
        let attributes = Attributes { kind: NodeKind::File, mode: 0o644, size, ..Attributes::default() };
        self.entry(path, attributes, content)
    }

    #[must_use]
    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(path, Attributes { mode: 0o755, ..Attributes::default() }, "")
    }

    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Self {
        let (kind, target) = (NodeKind::Symlink, Some(target.into()));
        self.entry(path, Attributes { kind, mode: 0o777, target, ..Attributes::default() }, "")
    }

    /// An entry as no writer makes it: any key, any attributes.
    #[must_use]
    pub fn raw(mut self, key: impl Into<Vec<u8>>, inline: impl Into<Vec<u8>>) -> Self {
        self.raw.insert(key.into(), inline.into());
        self
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.raw.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is there is not put again.
struct Dedup<'a> {
    sink: Sink<'a>,
    known: HashMap<Digest, Reference>,
}

impl PageSink for Dedup<'_> {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        let digest = Digest::of(chunk);
        if let Some(known) = self.known.get(&digest) {
            return Ok(*known);
        }
        let reference = infallible(self.sink.put(chunk));
        self.known.insert(digest, reference);
        Ok(reference)
    }
}

/// The packs of one domain, by its name.
type Packs = (String, Vec<SealedPack>);

/// Stores trees: their domains, and their packs.
pub(super) fn store(
    run: &Run,
    dedup: &Secret32,
    trees: &BTreeMap<(DomainKind, String, String), TestTree>,
) -> (Vec<DomainEntry>, Vec<Packs>) {
    let fresh =
        || Dedup { sink: Sink { run, open: run.builder(), sealed: Vec::new() }, known: HashMap::new() };
    let mut shared = fresh();
    // The same cuts in all of them, as in the snapshots of one volume.
    let keys = DomainKeys::new(dedup, "path/test");
    let (mut domains, mut packs) = (Vec::new(), Vec::new());
    for ((kind, namespace, name), tree) in trees {
        let mut own = (*kind == DomainKind::Volume).then(fresh);
        let root = store_one(&keys, tree, own.as_mut().unwrap_or(&mut shared));
        let domain = DomainEntry {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
            alias: None,
            roots: root.into_iter().collect(),
            entries: tree.len() as u64,
            bytes: tree.entries.values().map(|(_, content)| content.len() as u64).sum(),
        };
        packs.extend(own.map(|own| (domain.domain(), own.finish())));
        domains.push(domain);
    }
    packs.push(("trees".to_owned(), shared.finish()));
    (domains, packs)
}

impl Dedup<'_> {
    fn finish(self) -> Vec<SealedPack> {
        let Sink { open, mut sealed, .. } = self.sink;
        sealed.push(open.finish());
        sealed
    }
}

fn store_one(keys: &DomainKeys, tree: &TestTree, sink: &mut Dedup<'_>) -> Option<Reference> {
    let mut all: BTreeMap<&[u8], (Vec<u8>, &[u8])> = BTreeMap::new();
    for (key, (attributes, content)) in &tree.entries {
        let mut inline = Vec::new();
        encode_attributes(attributes, &mut inline).expect("attributes that can be");
        all.insert(key, (inline, content));
    }
    for (key, inline) in &tree.raw {
        all.insert(key, (inline.clone(), &[]));
    }
    let chunk = if tree.chunk == 0 { super::CHUNK } else { tree.chunk };
    let mut map = MapBuilder::new();
    for (key, (inline, content)) in all {
        let references: Vec<Reference> = content.chunks(chunk).map(|c| infallible(sink.put(c))).collect();
        infallible(map.push(keys, key, &inline, &references, sink));
    }
    infallible(map.finish(keys, sink))
}
