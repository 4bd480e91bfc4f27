//! What a path of volumes names in an opened snapshot, and its folders. Knows no command, and prints nothing.

use crate::paths::VolumePath;
use anyhow::Result;
use futures::stream::BoxStream;
use lifeboat_common::reader::{OpenSnapshot, PATHS, ReadError, Tree, TreeEntry};
use lifeboat_format::tree::NodeKind;
use std::collections::BTreeMap;

/// What a path names.
pub(crate) enum Found {
    /// `volumes/` or a namespace's folder in it.
    Folder(VolumePath),
    Entry(Tree, Box<TreeEntry>),
}

/// Looks what `path` names; nothing where the snapshot has no such thing.
pub(crate) async fn find(open: &OpenSnapshot, path: &VolumePath) -> Result<Option<Found>, ReadError> {
    if path.name.is_none() {
        let any = open.volumes().any(|d| path.covers(d));
        return Ok((any || path.namespace.is_none()).then(|| Found::Folder(path.clone())));
    }
    let Some(domain) = path.domain(open) else { return Ok(None) };
    let tree = open.tree(domain)?;
    Ok(path.entry(&tree).await?.map(|entry| Found::Entry(tree, Box::new(entry))))
}

/// The trees of the volumes that `path` covers, and those that cannot be opened.
pub(crate) fn trees(open: &OpenSnapshot, path: &VolumePath) -> Vec<Result<Tree, ReadError>> {
    open.volumes().filter(|d| path.covers(d)).map(|d| open.tree(d)).collect()
}

/// The folders directly in `volumes/` or in a namespace's folder, with the entries below each.
pub(crate) fn folders(open: &OpenSnapshot, path: &VolumePath) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for domain in open.volumes().filter(|d| path.covers(d)) {
        let namespace = domain.namespace.as_deref().unwrap_or(PATHS);
        let folder = match path.namespace {
            None => format!("volumes/{namespace}/"),
            Some(_) => format!("{}/", domain.folder()),
        };
        *out.entry(folder).or_default() += domain.entries;
    }
    out
}

/// What `ls` lists for an entry: itself, or what is in the directory, or everything below.
pub(crate) fn listed(
    tree: &Tree,
    entry: &TreeEntry,
    recursive: bool,
) -> BoxStream<'static, Result<TreeEntry, ReadError>> {
    use futures::StreamExt as _;
    match (entry.attributes.kind, recursive) {
        (NodeKind::Directory, true) => tree.below(&entry.path),
        (NodeKind::Directory, false) => tree.directory(&entry.path),
        _ => futures::stream::iter([Ok(entry.clone())]).boxed(),
    }
}

#[cfg(test)]
mod tests;
