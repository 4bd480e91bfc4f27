//! The send log: reads what the last three snapshots left, writes what this one leaves. A log that cannot be read
//! costs storing more, and is never an error; only the store failing is.

use super::head::ChainView;
use super::state::{LogKey, State};
use super::upload::Uploader;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{ChunkId, Digest, Handle, Sha256};
use lifeboat_format::manifest::LogRef;
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::{self, KnownChunk, KnownPack, LogRoot, SegmentRef};
use lifeboat_format::{layout, limits};
use std::collections::{HashMap, HashSet};

/// Segments fetched or sent at a time.
const CONCURRENCY: usize = 8;

/// What the agent remembers.
#[derive(Debug, Default)]
pub struct Memory {
    pub packs: HashMap<Handle, KnownPack>,
    pub chunks: HashMap<ChunkId, Reference>,
    /// The head's own chunks: what a snapshot needs now.
    pub needed: Vec<KnownChunk>,
    /// Segments by the digest of their content, to be named again.
    segments: HashMap<Digest, SegmentRef>,
}

/// Reads the logs of the window's snapshots, newest first.
pub async fn load(store: &dyn ReadStore, state: &State, view: &ChainView) -> Result<Memory, StoreError> {
    let mut memory = Memory::default();
    let mut seen: HashSet<Sha256> = HashSet::new();
    for (i, manifest) in view.window.iter().enumerate() {
        let Some(log) = &manifest.manifest.log else { continue };
        let key = state.log_keys.iter().find(|k| k.root == log.root).and_then(LogKey::key);
        let Some(root) = read_root(store, key, log).await? else { continue };
        let new: Vec<&SegmentRef> = root.segments.iter().filter(|s| seen.insert(s.sha256)).collect();
        let reads: Vec<_> = new.into_iter().map(|s| read_segment(store, s).boxed()).collect();
        let read = stream::iter(reads).buffered(CONCURRENCY);
        let segments: Vec<Option<(SegmentRef, Vec<KnownChunk>)>> = read.try_collect().await?;
        for p in root.packs {
            memory.packs.entry(p.handle).or_insert(p);
        }
        for (segment, chunks) in segments.into_iter().flatten() {
            memory.segments.insert(content(&chunks), segment);
            for c in &chunks {
                memory.chunks.entry(c.id).or_insert(c.reference);
            }
            if i == 0 {
                memory.needed.extend(chunks);
            }
        }
    }
    Ok(memory)
}

fn content(chunks: &[KnownChunk]) -> Digest {
    Digest::of(&minicbor::to_vec(chunks).expect("writing to memory does not fail"))
}

async fn fetch(store: &dyn ReadStore, sha256: &Sha256) -> Result<Option<Bytes>, StoreError> {
    match store.get(&layout::agent(sha256), limits::LOG_SEGMENT_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind.is_transient() => Err(e),
        Err(error) => {
            tracing::warn!(%error, "a piece of the send log is gone; what it knew is stored again");
            Ok(None)
        }
    }
}

async fn read_root(
    store: &dyn ReadStore,
    key: Option<Secret32>,
    log: &LogRef,
) -> Result<Option<LogRoot>, StoreError> {
    let Some(key) = key else {
        tracing::warn!(root = %log.root, "the key of a send log is not in the state; what it knew is stored again");
        return Ok(None);
    };
    let Some(bytes) = fetch(store, &log.root).await? else { return Ok(None) };
    let opened = send_log::open_root(&key, &bytes);
    Ok(opened.inspect_err(|error| tracing::warn!(%error, "what the send log knew is stored again")).ok())
}

async fn read_segment(
    store: &dyn ReadStore,
    segment: &SegmentRef,
) -> Result<Option<(SegmentRef, Vec<KnownChunk>)>, StoreError> {
    let Ok(key) = <[u8; 32]>::try_from(segment.key.as_slice()) else { return Ok(None) };
    let Some(bytes) = fetch(store, &segment.sha256).await? else { return Ok(None) };
    let opened = send_log::open_segment(&Secret32::new(key), &bytes);
    let opened = opened.inspect_err(|error| tracing::warn!(%error, "what the send log knew is stored again"));
    Ok(opened.ok().map(|chunks| (segment.clone(), chunks)))
}

/// Writes the log of a run: `chunks` in any order, `packs` those they are in.
pub async fn save(
    uploader: &Uploader,
    memory: &Memory,
    key: &Secret32,
    mut chunks: Vec<KnownChunk>,
    packs: Vec<KnownPack>,
) -> Result<LogRef, StoreError> {
    chunks.sort_unstable_by_key(|c| c.id);
    let mut refs = Vec::new();
    let mut uploads = Vec::new();
    for piece in send_log::segments(&chunks) {
        if let Some(known) = memory.segments.get(&content(piece)) {
            refs.push(known.clone());
            continue;
        }
        let segment_key = Secret32::random();
        let sealed = Bytes::from(send_log::seal_segment(&segment_key, piece));
        let sha256 = Sha256::of(&sealed);
        let key = segment_key.expose().to_vec();
        refs.push(SegmentRef { sha256, key, first: piece[0].id });
        uploads.push((sha256, sealed));
    }
    let sends: Vec<_> = uploads
        .into_iter()
        .map(|(sha256, sealed)| {
            async move { uploader.create_named(&layout::agent(&sha256), sealed, sha256).await }.boxed()
        })
        .collect();
    stream::iter(sends).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
    let segments = refs.iter().map(|r| r.sha256).collect();
    let root = Bytes::from(send_log::seal_root(key, &LogRoot { packs, segments: refs }));
    let sha256 = Sha256::of(&root);
    uploader.create_named(&layout::agent(&sha256), root, sha256).await?;
    Ok(LogRef { root: sha256, segments })
}
