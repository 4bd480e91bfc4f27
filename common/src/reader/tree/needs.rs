//! Which packs a tree, or a part of it, needs: found by reading its pages and its lists of references, and no content.

use super::{Tree, below};
use crate::reader::error::ReadError;
use crate::reader::grant::{GrantedPack, TreeGrant};
use crate::reader::map::{self, KeyRange, MapEntry, PageCursor};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_format::id::Handle;
use lifeboat_format::tree::path_key;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Headers of packs that are read at a time.
const HEADERS: usize = 16;

/// What a part of a tree comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Entries in the part, without the directories on the way to it.
    pub entries: u64,
    /// Content, bytes.
    pub bytes: u64,
    packs: BTreeSet<Handle>,
}

impl Needs {
    /// How many packs it needs.
    #[must_use]
    pub fn packs(&self) -> usize {
        self.packs.len()
    }
}

impl Tree {
    /// What reading the entry at `path` (empty for the whole tree) and all below it needs, with the directories on the
    /// way. Reads pages and lists of references; holds only handles in memory.
    ///
    /// # Errors
    /// A page or a list is missing or damaged: then nobody knows what is in it.
    pub async fn needs(&self, path: &[u8]) -> Result<Needs, ReadError> {
        let mut needs = Needs::default();
        if path.is_empty() {
            self.visit(KeyRange::all(), &mut needs).await?;
            return Ok(needs);
        }
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(ends) {
            self.visit(KeyRange::exactly(&path_key(&path[..end])), &mut needs).await?;
        }
        (needs.entries, needs.bytes) = (0, 0);
        self.visit(KeyRange::exactly(&path_key(path)), &mut needs).await?;
        self.visit(below(path), &mut needs).await?;
        Ok(needs)
    }

    async fn visit(&self, range: KeyRange, needs: &mut Needs) -> Result<(), ReadError> {
        let mut cursor = PageCursor::new(Arc::clone(self.chunks()), self.root, range);
        loop {
            while let Some(entry) = cursor.take_entry() {
                self.count(entry, needs).await?;
            }
            let Some(page) = cursor.page() else { return Ok(()) };
            needs.packs.insert(page.handle);
            cursor.open().await.map_err(|e| e.at(self.folder()))?;
        }
    }

    async fn count(&self, entry: MapEntry, needs: &mut Needs) -> Result<(), ReadError> {
        needs.packs.extend(entry.references.iter().map(|r| r.handle));
        let lists = if entry.indirect { entry.references.clone() } else { Vec::new() };
        needs.entries += 1;
        match self.decode(entry) {
            Ok(entry) => needs.bytes = needs.bytes.saturating_add(entry.attributes.content_len()),
            // Whoever restores it names it.
            Err(_) => return Ok(()),
        }
        for list in lists {
            let references = map::reference_list(&self.chunks, &list).await;
            needs.packs.extend(references.map_err(|e| e.at(self.folder()))?.iter().map(|r| r.handle));
        }
        Ok(())
    }

    /// Everything that reading needs, keys of packs included; reads the head of each of its packs.
    ///
    /// # Errors
    /// A pack is missing or damaged, or no identity opens it, or it is known to be of something else than this tree:
    /// whoever wrote the snapshot must not have keys of Secrets handed out by naming their packs.
    pub async fn grant(&self, needs: &Needs) -> Result<TreeGrant, ReadError> {
        let mut owners = needs.packs.iter().filter_map(|handle| self.owners.get(handle));
        if let Some(folder) = owners.find(|folder| ***folder != *self.folder) {
            return Err(self.wrong(&[], format!("it names packs of {folder}")));
        }
        let handles: Vec<Handle> = needs.packs.iter().copied().collect();
        let keys = stream::iter(handles).map(|handle| async move { self.chunks.pack_key(&handle).await });
        let packs: Vec<GrantedPack> = keys.buffered(HEADERS).try_collect().await?;
        Ok(TreeGrant { seq: self.chunks.seq(), folder: self.folder().to_owned(), root: self.root, packs })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{SnapshotBuilder, TestRepository, TestTree};

    #[tokio::test]
    async fn packs_of_something_else_are_not_handed_out() {
        let mut made = TestRepository::new();
        let snapshot = SnapshotBuilder::default()
            .object(Some("a"), "secret", "s", "{}")
            .volume("a", "one", TestTree::new().file("f", "1"))
            .volume("a", "two", TestTree::new().file("f", "2"));
        made.commit(&snapshot);
        let repository = made.open().await;
        let list = repository.snapshots().await.unwrap();
        let open = repository.open_snapshot(list.latest().unwrap(), made.keyring(&repository)).await.unwrap();
        let domain = open.volumes().next().unwrap().clone();
        let tree = open.tree(&domain).unwrap();
        let needs = tree.needs(b"").await.unwrap();
        assert_eq!(tree.grant(&needs).await.unwrap().packs.len(), 1);
        for other in open.domains().iter().filter(|d| d.name != "one") {
            let mut more = needs.clone();
            more.packs.insert(other.roots[0].handle);
            let refused = tree.grant(&more).await.unwrap_err().to_string();
            assert!(refused.contains(&other.folder()), "{refused}");
        }
    }
}
