//! The send log: reads what the last three snapshots left, writes what this one leaves. A log that cannot be read
//! costs storing more, and is never an error; only the store failing is.

use super::head::ChainView;
use super::state::{LogKey, State};
use super::upload::Uploader;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::FormatError;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{ChunkId, Digest, Handle, ScopeAlias, Sha256};
use lifeboat_format::manifest::LogRef;
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::{self, FileRef, KnownChunk, KnownPack, LogRoot, SegmentRef, content};
use lifeboat_format::volume_log::{self, SegmentEntry, VolumeLog};
use lifeboat_format::{layout, limits};
use std::collections::{HashMap, HashSet};

/// Files fetched or sent at a time.
const CONCURRENCY: usize = 8;

/// How much of the memory a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Of the last three snapshots, with the chunks of all objects.
    Objects,
    /// Of the last one, without any chunks: a volume's are read when they are needed.
    Volume,
}

/// What the agent remembers.
#[derive(Debug, Default)]
pub struct Memory {
    pub packs: HashMap<Handle, KnownPack>,
    pub chunks: HashMap<ChunkId, Reference>,
    /// The head's own chunks of objects: what a snapshot needs now.
    pub needed: Vec<KnownChunk>,
    /// The newest log that could be read, less its known packs: what this run does not cover is carried from it.
    pub last: LogRoot,
    /// Every file that it names.
    pub files: Vec<Sha256>,
    /// Segments and files by the digest of their content, to be named again.
    segments: HashMap<Digest, SegmentRef>,
    pack_files: HashMap<Digest, FileRef>,
}

impl Memory {
    /// The domains that are volumes; all others are of objects.
    #[must_use]
    pub fn volumes(&self) -> HashSet<ScopeAlias> {
        self.last.volumes.iter().map(|v| v.domain).collect()
    }

    #[must_use]
    pub fn volume(&self, domain: &ScopeAlias) -> Option<&VolumeLog> {
        self.last.volumes.iter().find(|v| v.domain == *domain)
    }
}

/// Reads the logs of the window's snapshots, newest first.
pub async fn load(
    store: &dyn ReadStore,
    state: &State,
    view: &ChainView,
    depth: Depth,
) -> Result<Memory, StoreError> {
    let mut memory = Memory::default();
    let mut seen: HashSet<Sha256> = HashSet::new();
    let mut first = true;
    for (i, manifest) in view.window.iter().enumerate() {
        let Some(log) = manifest.manifest.log.as_ref().filter(|l| seen.insert(l.root)) else { continue };
        let key = state.log_keys.iter().find(|k| k.root == log.root).and_then(LogKey::key);
        let Some(root) = read_root(store, key, log).await? else { continue };
        let files: Vec<&FileRef> = root.pack_files.iter().filter(|f| seen.insert(f.sha256)).collect();
        for (file, packs) in
            read_all(store, files, |f: &FileRef| (f.sha256, &f.key), send_log::open_packs).await?
        {
            memory.pack_files.insert(file.digest, file);
            memory.know(&packs);
        }
        memory.know(&root.packs);
        if depth == Depth::Objects {
            memory.take_objects(store, &root, &mut seen, i == 0).await?;
        }
        if std::mem::take(&mut first) {
            memory.files = log.segments.clone();
            memory.last = LogRoot { packs: Vec::new(), ..root };
            if depth == Depth::Volume {
                break;
            }
        }
    }
    Ok(memory)
}

impl Memory {
    fn know(&mut self, packs: &[KnownPack]) {
        for p in packs {
            self.packs.entry(p.handle).or_insert(*p);
        }
    }

    async fn take_objects(
        &mut self,
        store: &dyn ReadStore,
        root: &LogRoot,
        seen: &mut HashSet<Sha256>,
        head: bool,
    ) -> Result<(), StoreError> {
        let new: Vec<&SegmentRef> = root.segments.iter().filter(|s| seen.insert(s.sha256)).collect();
        for (segment, chunks) in read_segments(store, new).await? {
            self.segments.insert(content(&chunks), segment);
            for c in &chunks {
                self.chunks.entry(c.id).or_insert(c.reference);
            }
            if head {
                self.needed.extend(chunks);
            }
        }
        Ok(())
    }
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
    Ok(opened(send_log::open_root(&key, &bytes)))
}

fn opened<T>(result: Result<T, FormatError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "what the send log knew is stored again")).ok()
}

/// Opens a file of the log under its own key; `None` when it cannot be had.
pub async fn read_file<T>(
    store: &dyn ReadStore,
    sha256: &Sha256,
    key: &[u8],
    open: impl Fn(&Secret32, &[u8]) -> Result<T, FormatError>,
) -> Result<Option<T>, StoreError> {
    let Ok(key) = <[u8; 32]>::try_from(key) else { return Ok(None) };
    let Some(bytes) = fetch(store, sha256).await? else { return Ok(None) };
    Ok(opened(open(&Secret32::new(key), &bytes)))
}

/// Those of the files that can be had, in order.
async fn read_all<F: Clone + Send, T: Send>(
    store: &dyn ReadStore,
    files: Vec<&F>,
    name: impl Fn(&F) -> (Sha256, &Vec<u8>),
    open: fn(&Secret32, &[u8]) -> Result<T, FormatError>,
) -> Result<Vec<(F, T)>, StoreError> {
    let reads: Vec<_> = files
        .into_iter()
        .map(|f| {
            let (sha256, key) = name(f);
            let (f, key) = (f.clone(), key.clone());
            async move { Ok(read_file(store, &sha256, &key, open).await?.map(|read| (f, read))) }.boxed()
        })
        .collect();
    let read: Vec<Option<(F, T)>> = stream::iter(reads).buffered(CONCURRENCY).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// Known chunks: of objects, or pages of a volume.
pub async fn read_segments(
    store: &dyn ReadStore,
    segments: Vec<&SegmentRef>,
) -> Result<Vec<(SegmentRef, Vec<KnownChunk>)>, StoreError> {
    read_all(store, segments, |s: &SegmentRef| (s.sha256, &s.key), send_log::open_segment).await
}

/// The segments of a volume's log, and the index files that name them; what cannot be had is left out.
pub async fn read_index(
    store: &dyn ReadStore,
    volume: &VolumeLog,
) -> Result<Vec<(FileRef, Vec<SegmentEntry>)>, StoreError> {
    let files = volume.index.iter().collect();
    read_all(store, files, |f: &FileRef| (f.sha256, &f.key), volume_log::open_index).await
}

/// Every file of a volume's log.
#[must_use]
pub fn files_of(volume: &VolumeLog, index: &[(FileRef, Vec<SegmentEntry>)]) -> HashSet<Sha256> {
    let own = volume.index.iter().map(|f| f.sha256).chain(volume.pages.iter().map(|s| s.sha256));
    let own = own.chain(volume.tree.iter().flat_map(|t| &t.handle_files).map(|f| f.sha256));
    own.chain(index.iter().flat_map(|(_, segments)| segments.iter().map(|s| s.sha256))).collect()
}

/// Sends files of the log, several at a time.
pub async fn send(uploader: &Uploader, files: Vec<(Sha256, Bytes)>) -> Result<(), StoreError> {
    let sends: Vec<_> = files
        .into_iter()
        .map(|(sha256, sealed)| {
            async move { uploader.create_named(&layout::agent(&sha256), sealed, sha256).await }.boxed()
        })
        .collect();
    stream::iter(sends).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Seals a file under a key of its own: its name, its key, its bytes.
#[must_use]
pub fn sealed(seal: impl FnOnce(&Secret32) -> Vec<u8>) -> (Sha256, Vec<u8>, Bytes) {
    let key = Secret32::random();
    let bytes = Bytes::from(seal(&key));
    (Sha256::of(&bytes), key.expose().to_vec(), bytes)
}

/// Sends known chunks in segments; those whose content `known` has are named again.
pub async fn save_chunks(
    uploader: &Uploader,
    known: &HashMap<Digest, SegmentRef>,
    mut chunks: Vec<KnownChunk>,
) -> Result<Vec<SegmentRef>, StoreError> {
    chunks.sort_unstable_by_key(|c| c.id);
    let (mut refs, mut uploads) = (Vec::new(), Vec::new());
    for piece in send_log::segments(&chunks) {
        if let Some(known) = known.get(&content(piece)) {
            refs.push(known.clone());
            continue;
        }
        let (sha256, key, bytes) = sealed(|key| send_log::seal_segment(key, piece));
        refs.push(SegmentRef { sha256, key, first: piece[0].id });
        uploads.push((sha256, bytes));
    }
    send(uploader, uploads).await?;
    Ok(refs)
}

/// What the log of a run says.
#[derive(Debug, Default)]
pub struct Content {
    pub packs: Vec<KnownPack>,
    pub objects: Objects,
    pub volumes: Vec<VolumeLog>,
    /// The files of the volumes.
    pub files: Vec<Sha256>,
}

/// The objects' part of a log.
#[derive(Debug)]
pub enum Objects {
    Chunks(Vec<KnownChunk>),
    /// As they were.
    Segments(Vec<SegmentRef>),
}

impl Default for Objects {
    fn default() -> Self {
        Self::Segments(Vec::new())
    }
}

/// Writes the log of a run.
pub async fn save(
    uploader: &Uploader,
    memory: &Memory,
    key: &Secret32,
    content: Content,
) -> Result<LogRef, StoreError> {
    let segments = match content.objects {
        Objects::Chunks(chunks) => save_chunks(uploader, &memory.segments, chunks).await?,
        Objects::Segments(segments) => segments,
    };
    let (packs, pack_files) = save_packs(uploader, memory, content.packs).await?;
    let mut names: Vec<Sha256> = segments.iter().map(|s| s.sha256).collect();
    names.extend(pack_files.iter().map(|f| f.sha256));
    names.extend(content.files);
    names.sort_unstable();
    names.dedup();
    let root = LogRoot { packs, segments, pack_files, volumes: content.volumes };
    let root = Bytes::from(send_log::seal_root(key, &root));
    let sha256 = Sha256::of(&root);
    uploader.create_named(&layout::agent(&sha256), root, sha256).await?;
    Ok(LogRef { root: sha256, segments: names })
}

/// Few packs stand in the root itself; many in files, cut by content.
async fn save_packs(
    uploader: &Uploader,
    memory: &Memory,
    mut packs: Vec<KnownPack>,
) -> Result<(Vec<KnownPack>, Vec<FileRef>), StoreError> {
    packs.sort_unstable_by_key(|p| p.handle);
    if packs.len() <= send_log::ROOT_PACKS_MAX {
        return Ok((packs, Vec::new()));
    }
    let (mut refs, mut uploads) = (Vec::new(), Vec::new());
    for piece in send_log::pack_pieces(&packs) {
        let digest = content(piece);
        if let Some(known) = memory.pack_files.get(&digest) {
            refs.push(known.clone());
            continue;
        }
        let (sha256, key, bytes) = sealed(|key| send_log::seal_packs(key, piece));
        refs.push(FileRef { sha256, key, digest });
        uploads.push((sha256, bytes));
    }
    send(uploader, uploads).await?;
    Ok((Vec::new(), refs))
}
