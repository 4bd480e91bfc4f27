//! The start of a run: the chain as it stands, what is remembered of it, what may be reused, a fresh run key.

use super::error::BackupError;
use super::head::{self, ChainView};
use super::log::{self, Memory};
use super::pack::{Packer, Reusable};
use super::resume::{self, Interrupted, PIECE_BYTES, UploadLog};
use super::reuse;
use super::setup::{Setup, SetupError};
use super::state::{KnownHead, Pending, State, StateFile};
use super::upload::Uploader;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::{RunKey, Secret32};
use lifeboat_format::crypto::{random, seal};
use lifeboat_format::id::{RunId, Sha256};
use lifeboat_format::layout;
use lifeboat_format::manifest::Coverage;
use lifeboat_format::send_log::KnownPack;
use std::collections::HashSet;

/// Packs that are looked for in the store in one run, so that its requests do not grow with the store.
const LOOKS: usize = 64;
/// Looks at a time.
const LOOKS_AT_ONCE: usize = 16;
/// Markers of lost packs that are read.
const LOST_MAX: usize = 100_000;

/// Everything that a run starts from.
pub(super) struct Begun {
    pub(super) view: ChainView,
    pub(super) memory: Memory,
    pub(super) interrupted: Interrupted,
    pub(super) uploader: Uploader,
    pub(super) packer: Packer,
    pub(super) upload_log: UploadLog,
}

pub(super) async fn begin(
    setup: &Setup,
    file: &StateFile,
    state: &mut State,
    now: Timestamp,
) -> Result<Begun, BackupError> {
    let store = &*setup.store;
    let charter = setup.charter.charter();
    let interrupted_first = state.head.is_none() && state.pending.is_some();
    let agent = setup.signing.verify_key();
    let view = head::read(store, charter, &agent, state.head, interrupted_first).await?;
    same_cluster(state, &view)?;
    reconcile(state, &view);

    let memory = log::load(store, state, &view).await?;
    let interrupted = resume::load(store, state.pending.as_ref(), view.newest_modified).await?;
    let gone = gone(store, state, &memory).await?;
    let reusable = reusable(&memory, &interrupted, &view, &gone, now);

    let pending = state.pending.take();
    let run = pending
        .as_ref()
        .filter(|_| !interrupted.packs.is_empty())
        .map_or_else(|| Pending::new(RunId(random::bytes()), &Secret32::random()), Clone::clone);
    state.pending = Some(run);
    state.charter = state.charter.max(charter.n);
    file.save(state)?;

    let epoch = charter.current_epoch().ok_or(BackupError::NoEpoch)?;
    let run_key = RunKey::random();
    let sealed = seal::run_key(&epoch.recipient, &run_key)?;
    let dedup_key = state.dedup_key().ok_or(BackupError::NoKey)?;
    let upload_log = UploadLog::new(sealed.clone(), now, PIECE_BYTES);
    let uploader = Uploader::new(setup.store.clone(), view.store_time);
    let packer = Packer::new(run_key, sealed, dedup_key, charter.chunking, reusable);
    Ok(Begun { view, memory, interrupted, uploader, packer, upload_log })
}

/// A rebuilt cluster has the keys out of a file and no state: then the chain says which cluster it is of.
fn same_cluster(state: &State, view: &ChainView) -> Result<(), SetupError> {
    let read = view.window.iter().find(|m| m.manifest.coverage != Coverage::Paths);
    match (read, state.origin) {
        (Some(last), Some(origin)) if last.manifest.origin != origin => Err(SetupError::OtherCluster),
        _ => Ok(()),
    }
}

/// A run that committed and died before it wrote so: its log's root in the head tells.
fn reconcile(state: &mut State, view: &ChainView) {
    let Some(head) = view.window.first() else { return };
    let known = KnownHead { seq: head.manifest.seq, sha256: head.sha256 };
    // Another run may have committed on top of it.
    let roots = view.window.iter().filter_map(|m| m.manifest.log.as_ref().map(|l| l.root));
    if roots.into_iter().any(|root| state.wrote_log(&root)) {
        state.committed(known);
    }
    state.head = Some(known);
}

fn reusable(
    memory: &Memory,
    interrupted: &Interrupted,
    view: &ChainView,
    gone: &HashSet<Sha256>,
    now: Timestamp,
) -> Reusable {
    let allowed = reuse::reusable(memory.packs.values(), &memory.needed, view, gone, now);
    let known = memory.chunks.iter().filter(|(_, r)| allowed.contains(&r.handle));
    let mut chunks: std::collections::HashMap<_, _> = known.map(|(id, r)| (*id, *r)).collect();
    for c in &interrupted.chunks {
        chunks.entry(c.id).or_insert(c.reference);
    }
    Reusable(chunks)
}

/// Packs that are known to be gone: those marked so, and those that this run looked for in vain.
async fn gone(
    store: &dyn ReadStore,
    state: &mut State,
    memory: &Memory,
) -> Result<HashSet<Sha256>, StoreError> {
    let mut gone = HashSet::new();
    let mut after: Option<String> = None;
    while gone.len() < LOST_MAX {
        let page = store.list(layout::LOST, after.as_deref(), 1000).await?;
        gone.extend(page.entries.iter().filter_map(|e| layout::parse_hash_named(layout::LOST, &e.key)));
        after = page.entries.last().map(|e| e.key.clone());
        if !page.more || after.is_none() {
            break;
        }
    }
    let mut packs: Vec<KnownPack> = memory.packs.values().copied().collect();
    packs.sort_unstable_by_key(|p| p.handle);
    let look = reuse::rotating(&packs, state.looked, LOOKS).copied();
    let looks: Vec<_> = look.map(|p| is_gone(store, p).boxed()).collect();
    let missing: Vec<Option<Sha256>> =
        stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await?;
    state.looked = state.looked.wrapping_add(LOOKS as u64);
    for sha256 in missing.into_iter().flatten() {
        tracing::warn!(pack = %sha256, "a pack that is to be reused is gone from the store; its content is stored again");
        gone.insert(sha256);
    }
    Ok(gone)
}

async fn is_gone(store: &dyn ReadStore, pack: KnownPack) -> Result<Option<Sha256>, StoreError> {
    let there = store.head(&layout::pack(&pack.sha256)).await?;
    Ok(there.is_none_or(|e| e.size != pack.size).then_some(pack.sha256))
}
