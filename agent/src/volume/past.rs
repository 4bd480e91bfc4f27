//! What the last run of a volume left, as far as it may be used: the segments of its log, its pages, and the packs that
//! may be named again. Shared by those who look for records and those who look for chunks.

use crate::backup::BackupError;
use crate::backup::log;
use crate::backup::resume::{self, Interrupted};
use crate::tree::{ChunkIndex, PastChunks};
use jiff::Timestamp;
use lifeboat_common::store::{SharedCreate, StoreError};
use lifeboat_format::crypto::derive::{DomainKeys, Secret32};
use lifeboat_format::id::{Digest, Handle, Sha256};
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::{FileRef, KnownChunk, SegmentRef, content};
use lifeboat_format::volume_log::{self, DirectoryPart, SegmentEntry, VolumeLog};
use std::collections::{HashMap, HashSet};
use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;

/// Segments on their way when all are read.
const AHEAD: usize = 4;

/// A segment that is being read; `None`: it cannot be had, and what it knew is read again.
pub(super) type Reading = JoinHandle<Result<Option<Vec<DirectoryPart>>, StoreError>>;

/// What a past is made of.
pub(crate) struct PastOf<'a> {
    pub(crate) store: &'a SharedCreate,
    pub(crate) keys: &'a DomainKeys,
    /// The log that the last run left.
    pub(crate) log: Option<&'a VolumeLog>,
    /// Packs of earlier snapshots that may be named again.
    pub(crate) allowed: HashSet<Handle>,
    /// What an interrupted run has sent.
    pub(crate) interrupted: Interrupted,
    /// What the pieces of its upload log are sealed under.
    pub(crate) upload_key: Option<Secret32>,
}

pub(crate) struct Past {
    store: SharedCreate,
    runtime: Runtime,
    keys: DomainKeys,
    pub(super) started: Option<Timestamp>,
    /// In the order of the walk.
    pub(super) segments: Vec<SegmentEntry>,
    /// Index files by the digest of their content.
    pub(super) index: HashMap<Digest, FileRef>,
    /// Segments of pages by the digest of their content.
    pub(super) page_segments: HashMap<Digest, SegmentRef>,
    pages: Vec<KnownChunk>,
    /// Every file of the log.
    pub(crate) files: HashSet<Sha256>,
    /// Packs that may be named again.
    usable: HashSet<Handle>,
    resumed: Option<(Interrupted, Secret32)>,
}

impl Past {
    /// Must be called inside the runtime that serves the store.
    pub(crate) async fn load(of: PastOf<'_>) -> Result<Self, BackupError> {
        let PastOf { store, keys, log, allowed, interrupted, upload_key } = of;
        let mut usable = allowed;
        usable.extend(interrupted.packs.keys().chain(&interrupted.checkpointed));
        let mut past = Self {
            store: store.clone(),
            runtime: Runtime::current(),
            keys: keys.clone(),
            started: None,
            segments: Vec::new(),
            index: HashMap::new(),
            page_segments: HashMap::new(),
            pages: Vec::new(),
            files: HashSet::new(),
            usable,
            resumed: upload_key.filter(|_| !interrupted.is_empty()).map(|key| (interrupted, key)),
        };
        let Some(volume) = log else { return Ok(past) };
        past.started = Timestamp::from_second(volume.started).ok().filter(|_| !volume.index.is_empty());
        let index = log::read_index(&**store, volume).await?;
        past.files = log::files_of(volume, &index);
        for (file, segments) in index {
            past.index.insert(file.digest, file);
            past.segments.extend(segments);
        }
        for (segment, chunks) in log::read_segments(&**store, volume.pages.iter().collect()).await? {
            past.page_segments.insert(content(&chunks), segment);
            past.pages.extend(chunks);
        }
        Ok(past)
    }

    pub(super) fn usable(&self, reference: &Reference) -> bool {
        self.usable.contains(&reference.handle)
    }

    /// Begins to read a segment.
    pub(super) fn read(&self, segment: usize) -> Option<Reading> {
        let entry = self.segments.get(segment)?.clone();
        let store = self.store.clone();
        Some(self.runtime.spawn(async move {
            log::read_file(&*store, &entry.sha256, &entry.key, volume_log::open_segment).await
        }))
    }

    /// Waits for a segment. Called by threads that may block.
    pub(super) fn wait(&self, reading: Reading) -> Option<Vec<DirectoryPart>> {
        match self.runtime.block_on(reading) {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a piece of the send log cannot be read; what it knew is read again");
                None
            }
            Err(_) => None,
        }
    }

    fn add(&self, index: &ChunkIndex, reference: &Reference) {
        if self.usable(reference) {
            index.insert(self.keys.chunk_id(&reference.digest), reference);
        }
    }

    fn add_resumed(&self, index: &ChunkIndex) {
        let Some((interrupted, key)) = &self.resumed else { return };
        let add = |chunk: KnownChunk| index.insert(chunk.id, &chunk.reference);
        let read = self.runtime.block_on(resume::chunks(&*self.store, key, interrupted, add));
        if let Err(error) = read {
            tracing::warn!(%error, "the log of the interrupted run cannot be read; what it sent is sent again");
        }
    }
}

impl PastChunks for Past {
    fn pages(&self, index: &ChunkIndex) {
        for page in &self.pages {
            self.add(index, &page.reference);
        }
    }

    fn content(&self, index: &ChunkIndex) {
        self.add_resumed(index);
        let mut ahead = std::collections::VecDeque::new();
        for segment in 0..self.segments.len() + AHEAD {
            ahead.extend(self.read(segment));
            if segment < AHEAD && segment < self.segments.len() {
                continue;
            }
            let Some(parts) = ahead.pop_front().and_then(|reading| self.wait(reading)) else { continue };
            for reference in parts.iter().flat_map(|p| &p.records).flat_map(|r| &r.references) {
                self.add(index, reference);
            }
        }
    }
}
