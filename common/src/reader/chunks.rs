//! Chunks by reference, for any number of concurrent readers of one snapshot, within a bound of memory.

use super::cache::Cache;
use super::error::{ReadError, damaged, of_store};
use super::grant::{GrantedPack, PackKeys};
use super::keyring::Keyring;
use super::pack_file::{BulkPack, PackFile, PackSource};
use super::packs::PackIndex;
use crate::store::SharedRead;
use bytes::Bytes;
use lifeboat_format::id::Handle;
use lifeboat_format::layout;
use lifeboat_format::pack::{HEADER_MAX, Header, Reference};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Opened frames that are kept, bytes.
const FRAMES_CAPACITY: usize = 48 << 20;
/// Open packs that are kept: directories, and small packs whole, bytes.
const PACKS_CAPACITY: usize = 16 << 20;
/// Broken packs that are remembered.
const BROKEN_CAPACITY: usize = 65_536;
/// Packs that can be opened at a time; a power of two.
const OPENINGS: usize = 16;

/// Reads the chunks of one snapshot.
#[derive(Debug)]
pub struct ChunkReader {
    seq: u64,
    source: PackSource,
    index: PackIndex,
    packs: Cache<Handle, Arc<PackFile>>,
    frames: Cache<(Handle, u32), Bytes>,
    /// So that one pack is opened once by readers who want it at the same time.
    openings: [Mutex<()>; OPENINGS],
    /// Packs found missing or damaged, so that each is asked for once.
    broken: Cache<Handle, Broken>,
}

/// Why a pack cannot be opened; an error that can be given out again.
#[derive(Debug, Clone)]
struct Broken {
    key: String,
    /// Nothing where it is missing.
    why: Option<String>,
}

impl ChunkReader {
    pub(super) fn new(
        seq: u64,
        store: SharedRead,
        keyring: Arc<Keyring>,
        epoch: Option<u64>,
        index: PackIndex,
    ) -> Self {
        Self::of(seq, PackSource { store, keys: PackKeys::Ring(keyring), epoch }, index)
    }

    /// Reads with the keys of a few packs, and knows no other pack.
    pub(super) fn granted(seq: u64, store: SharedRead, packs: &[GrantedPack]) -> Self {
        let index = PackIndex::of(packs.iter().map(|p| (p.handle, p.pack)));
        let keys = PackKeys::granted(packs);
        Self::of(seq, PackSource { store, keys, epoch: None }, index)
    }

    fn of(seq: u64, source: PackSource, index: PackIndex) -> Self {
        Self {
            seq,
            source,
            index,
            packs: Cache::new(PACKS_CAPACITY),
            frames: Cache::new(FRAMES_CAPACITY),
            openings: Default::default(),
            broken: Cache::new(BROKEN_CAPACITY),
        }
    }

    /// The snapshot's packs.
    #[must_use]
    pub fn packs(&self) -> &PackIndex {
        &self.index
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// The chunk that `reference` names: authentic, and of its digest.
    pub async fn chunk(&self, reference: &Reference) -> Result<Bytes, ReadError> {
        let at = (reference.handle, reference.frame);
        if let Some(frame) = self.frames.get(&at) {
            let pack = self.pack(&reference.handle).await?;
            return self.cut(&pack, &frame, reference);
        }
        let pack = self.pack(&reference.handle).await?;
        let opened = pack.frames(reference.frame, || self.frames.get(&at)).await?;
        let frame = opened.first().map(|(_, frame)| frame.clone()).unwrap_or_default();
        for (number, frame) in opened {
            let weight = frame.len() + 128;
            self.frames.put((reference.handle, number), frame, weight);
        }
        self.cut(&pack, &frame, reference)
    }

    /// The pack of that handle, for reading many of its frames.
    ///
    /// # Errors
    /// The snapshot does not name it, or it is missing, damaged, or sealed for another key.
    pub async fn bulk(&self, handle: &Handle) -> Result<BulkPack, ReadError> {
        self.pack(handle).await.map(BulkPack::new)
    }

    /// The pack of that handle with the key that opens it and no other, by reading its header.
    ///
    /// # Errors
    /// The snapshot does not name it, or it is missing, damaged, or sealed for another key.
    pub async fn pack_key(&self, handle: &Handle) -> Result<GrantedPack, ReadError> {
        let pack = self.index.get(handle).ok_or(ReadError::UnnamedPack { seq: self.seq, handle: *handle })?;
        let (store, key) = (&self.source.store, layout::pack(&pack.sha256));
        let name = store.describe();
        let start = store.get_range(&key, 0, HEADER_MAX as u64).await;
        let start = start.map_err(|e| of_store(&name, &key, e))?;
        let header = Header::parse(&start).map_err(|e| damaged(&name, &key, e))?;
        if header.handle != *handle {
            return Err(damaged(&name, &key, "it is another pack than the snapshot's list says"));
        }
        let opened = self.source.keys.of(&key, &header, self.source.epoch).await?;
        Ok(GrantedPack { handle: *handle, pack, key: opened })
    }

    fn cut(&self, pack: &PackFile, frame: &Bytes, reference: &Reference) -> Result<Bytes, ReadError> {
        let chunk = pack.directory.chunk(frame, reference);
        let chunk = chunk.map_err(|e| damaged(&self.source.store.describe(), &pack.key, e))?;
        Ok(if chunk.is_empty() { Bytes::new() } else { frame.slice_ref(chunk) })
    }

    async fn pack(&self, handle: &Handle) -> Result<Arc<PackFile>, ReadError> {
        if let Some(open) = self.packs.get(handle) {
            return Ok(open);
        }
        let pack = self.index.get(handle).ok_or(ReadError::UnnamedPack { seq: self.seq, handle: *handle })?;
        let _opening = self.openings[usize::from(handle.0[0]) % OPENINGS].lock().await;
        if let Some(open) = self.packs.get(handle) {
            return Ok(open);
        }
        if let Some(broken) = self.broken.get(handle) {
            return Err(broken.error(self.source.store.describe()));
        }
        let open = PackFile::open(&self.source, pack, handle).await;
        if let Err(e) = &open {
            Broken::of(e).into_iter().for_each(|broken| self.broken.put(*handle, broken, 1));
        }
        let open = Arc::new(open?);
        self.packs.put(*handle, Arc::clone(&open), open.weight());
        Ok(open)
    }
}

impl Broken {
    /// What is true of the repository, rather than of the moment or the key.
    fn of(error: &ReadError) -> Option<Self> {
        match error {
            ReadError::Missing { key, .. } => Some(Self { key: key.clone(), why: None }),
            ReadError::Damaged { key, why, .. } => Some(Self { key: key.clone(), why: Some(why.clone()) }),
            _ => None,
        }
    }

    fn error(self, store: String) -> ReadError {
        match self.why {
            None => ReadError::Missing { store, key: self.key },
            Some(why) => ReadError::Damaged { store, key: self.key, why },
        }
    }
}
