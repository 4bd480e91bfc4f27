//! What a volume adds to the snapshot that is made with it: its domain, its log, the packs it needs, and the words of
//! the report. Also of a volume that nobody mounts, whose last tree is named again.

use super::result::WorkResult;
use crate::backup::commit::VolumeLeft;
use crate::backup::log;
use crate::backup::upload::Uploader;
use crate::backup::volumes::Claim;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::body::{DomainEntry, DomainKind};
use lifeboat_format::id::{Digest, Handle, ScopeAlias};
use lifeboat_format::send_log::{FileRef, content};
use lifeboat_format::volume_log::{
    LAST_PACKS_MAX, LastTree, VolumeLog, handle_pieces, open_handles, seal_handles,
};
use std::collections::{HashMap, HashSet};

/// A domain of the body. `alias`: its namespace's.
pub(crate) fn domain(claim: &Claim, alias: ScopeAlias, tree: Option<&LastTree>) -> DomainEntry {
    DomainEntry {
        kind: DomainKind::Volume,
        namespace: claim.namespace.clone(),
        name: claim.name.clone(),
        alias: Some(alias),
        roots: tree.map(|t| t.root).into_iter().collect(),
        entries: tree.map_or(0, |t| t.entries),
        bytes: tree.map_or(0, |t| t.bytes),
    }
}

/// The log that a checked result leaves, with its tree, so that it can be named again when nobody mounts the volume.
/// `claim`: alias of the claim's uid. Sends the packs' handles where they are many.
pub(crate) async fn left(
    uploader: &Uploader,
    result: &WorkResult,
    old: Option<&VolumeLog>,
    claim: ScopeAlias,
) -> Result<VolumeLeft, StoreError> {
    let mut log = VolumeLog { tree: None, ..result.log.clone() };
    if let Some(root) = result.root {
        let mut handles: Vec<Handle> = result.packs.iter().map(|p| p.handle).collect();
        handles.extend(&result.reused);
        handles.sort_unstable();
        let known = old.and_then(|o| o.tree.as_ref()).map_or(&[][..], |t| &t.handle_files);
        let (handles, handle_files) = save_handles(uploader, known, handles).await?;
        let (entries, bytes) = (result.totals.entries, result.totals.bytes);
        log.tree =
            Some(LastTree { root, entries, bytes, read: result.started, claim, handles, handle_files });
    }
    // A worker's word on its files is not needed: the index names them.
    let store = uploader.store();
    let files = log::files_of(&log, &log::read_index(store, &log).await?);
    let replaced = match old {
        Some(old) => log::files_of(old, &log::read_index(store, old).await?),
        None => HashSet::new(),
    };
    Ok(VolumeLeft { log, files, replaced })
}

async fn save_handles(
    uploader: &Uploader,
    known: &[FileRef],
    handles: Vec<Handle>,
) -> Result<(Vec<Handle>, Vec<FileRef>), StoreError> {
    if handles.len() <= LAST_PACKS_MAX {
        return Ok((handles, Vec::new()));
    }
    let known: HashMap<Digest, &FileRef> = known.iter().map(|f| (f.digest, f)).collect();
    let (mut files, mut uploads) = (Vec::new(), Vec::new());
    for piece in handle_pieces(&handles) {
        let digest = content(piece);
        if let Some(known) = known.get(&digest) {
            files.push((*known).clone());
            continue;
        }
        let (sha256, key, bytes) = log::sealed(|key| seal_handles(key, piece));
        files.push(FileRef { sha256, key, digest });
        uploads.push((sha256, bytes));
    }
    log::send(uploader, uploads).await?;
    Ok((Vec::new(), files))
}

/// Every pack that a last tree needs; `None` where that cannot be known any more.
pub(crate) async fn handles(
    store: &dyn ReadStore,
    tree: &LastTree,
) -> Result<Option<HashSet<Handle>>, StoreError> {
    let mut all: HashSet<Handle> = tree.handles.iter().copied().collect();
    for file in &tree.handle_files {
        match log::read_file(store, &file.sha256, &file.key, open_handles).await? {
            Some(piece) => all.extend(piece),
            None => return Ok(None),
        }
    }
    Ok(Some(all).filter(|all| all.contains(&tree.root.handle)))
}
