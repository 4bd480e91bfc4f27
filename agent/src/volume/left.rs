//! What a walk leaves to the next one: the rest of the volume's log, sent, and what a root says of it.

use super::past::Past;
use super::records::Written;
use crate::backup::upload::Uploader;
use crate::backup::{log, reuse};
use crate::tree::StoredTree;
use lifeboat_common::store::StoreError;
use lifeboat_format::crypto::derive::DomainKeys;
use lifeboat_format::id::{Handle, ScopeAlias, Sha256};
use lifeboat_format::send_log::{FileRef, KnownChunk, content};
use lifeboat_format::volume_log::{SPARSE_MAX, VolumeLog, index_pieces, seal_index};
use std::collections::{HashMap, HashSet};

/// The log of a volume, and all its files.
pub(crate) struct Left {
    pub(crate) log: VolumeLog,
    pub(crate) files: HashSet<Sha256>,
}

/// Which walk it was.
pub(crate) struct Of<'a> {
    pub(crate) past: &'a Past,
    pub(crate) keys: &'a DomainKeys,
    pub(crate) domain: ScopeAlias,
    /// Seconds since 1970.
    pub(crate) started: i64,
    pub(crate) uploader: &'a Uploader,
}

/// Sends the rest of the log; the root that names it is written with the commit. `sizes`: of a pack, sealed and plain.
pub(crate) async fn send(
    of: &Of<'_>,
    tree: &StoredTree,
    mut written: Written,
    sizes: impl Fn(&Handle) -> Option<(u64, u64)>,
) -> Result<Left, StoreError> {
    let mut pages: Vec<KnownChunk> = Vec::with_capacity(tree.pages.len());
    for page in &tree.pages {
        written.needs(std::slice::from_ref(page));
        pages.push(KnownChunk { id: of.keys.chunk_id(&page.digest), reference: *page });
    }
    pages.sort_unstable_by_key(|c| c.id);
    pages.dedup_by_key(|c| c.id);
    let pages = log::save_chunks(of.uploader, &of.past.page_segments, pages).await?;
    let mut unsent = written.unsent;
    let mut index = Vec::new();
    for piece in index_pieces(&written.segments) {
        let digest = content(piece);
        if let Some(known) = of.past.index.get(&digest) {
            index.push(known.clone());
            continue;
        }
        let (sha256, key, bytes) = log::sealed(|key| seal_index(key, piece));
        index.push(FileRef { sha256, key, digest });
        unsent.push((sha256, bytes));
    }
    log::send(of.uploader, unsent).await?;
    let mut files: HashSet<_> = written.segments.iter().map(|s| s.sha256).collect();
    files.extend(index.iter().map(|f| f.sha256));
    files.extend(pages.iter().map(|s| s.sha256));
    let sparse = sparse(&written.live, sizes);
    let log = VolumeLog { domain: of.domain, started: of.started, index, pages, sparse, tree: None };
    Ok(Left { log, files })
}

/// The packs that the next run may store anew, worst first.
fn sparse(live: &HashMap<Handle, u64>, sizes: impl Fn(&Handle) -> Option<(u64, u64)>) -> Vec<(Handle, u64)> {
    let mut found: Vec<(u64, Handle, u64)> = live
        .iter()
        .filter_map(|(h, live)| Some((h, sizes(h)?, *live)))
        .filter(|(_, (size, plain), live)| reuse::is_sparse(*size, *plain, *live))
        .map(|(h, (_, plain), live)| (reuse::percent(plain, live), *h, live))
        .collect();
    found.sort_unstable();
    found.truncate(SPARSE_MAX);
    found.into_iter().map(|(_, handle, live)| (handle, live)).collect()
}
