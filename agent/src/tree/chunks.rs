//! Chunks: each is stored once. Looks them up, gathers small ones into frames, compresses, and tells whoever waits
//! where they came to be.

use super::entry::Awaiting;
use super::index::ChunkIndex;
use super::pack::{FrameChunk, Lane, Packer};
use super::shared::{Ended, Going};
use super::{PastChunks, TreeKeys, TreeProgress};
use lifeboat_format::id::{ChunkId, Digest};
use lifeboat_format::limits;
use lifeboat_format::pack::{Compressor, FrameKind, Reference};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

const SHARDS: usize = 16;

/// What the threads share of the chunks.
pub struct Chunks<'a> {
    pub keys: &'a TreeKeys,
    pub packer: Packer<'a>,
    index: ChunkIndex,
    past: &'a dyn PastChunks,
    pages: Once,
    content: Once,
    /// Chunks that are in a frame not sealed yet, and who waits for them beside the one who put them there.
    pending: Vec<Mutex<Pending>>,
    progress: &'a TreeProgress,
}

type Pending = HashMap<ChunkId, Vec<Awaiting>>;

/// What is to be done with a chunk.
enum Claim {
    /// It is in a pack.
    Known(Reference, Awaiting),
    /// Another thread is about to store it.
    Waiting,
    /// The caller stores it.
    New(Awaiting),
}

impl<'a> Chunks<'a> {
    pub fn new(
        keys: &'a TreeKeys,
        packer: Packer<'a>,
        past: &'a dyn PastChunks,
        progress: &'a TreeProgress,
    ) -> Self {
        let pending = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            keys,
            packer,
            index: ChunkIndex::new(),
            past,
            pages: Once::new(),
            content: Once::new(),
            pending,
            progress,
        }
    }

    fn claim(&self, id: ChunkId, digest: &Digest, awaiting: Awaiting) -> Claim {
        let mut pending = self.pending(&id);
        if let Some(reference) = self.index.get(&id, digest) {
            return Claim::Known(reference, awaiting);
        }
        match pending.entry(id) {
            Entry::Occupied(mut others) => {
                others.get_mut().push(awaiting);
                Claim::Waiting
            }
            Entry::Vacant(place) => {
                place.insert(Vec::new());
                Claim::New(awaiting)
            }
        }
    }

    /// A chunk is in a pack: who waited for it is told.
    fn settle(&self, id: ChunkId, reference: Reference) {
        let waiting = {
            let mut pending = self.pending(&id);
            self.index.insert(id, &reference);
            pending.remove(&id)
        };
        for awaiting in waiting.unwrap_or_default() {
            awaiting.fill(reference);
        }
    }

    fn pending(&self, id: &ChunkId) -> MutexGuard<'_, Pending> {
        self.pending[usize::from(id.0[14]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, bytes: usize) {
        self.progress.new_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One thread's open frame and buffers.
pub struct Sealer<'c, 'a> {
    chunks: &'c Chunks<'a>,
    going: &'c Going<'c>,
    compressor: Compressor,
    packed: Vec<u8>,
    /// Plaintext of the open frame.
    open: Vec<u8>,
    entries: Vec<(FrameChunk, Awaiting)>,
    ready: Vec<FrameChunk>,
}

impl<'c, 'a> Sealer<'c, 'a> {
    pub fn new(chunks: &'c Chunks<'a>, going: &'c Going<'c>) -> Self {
        Self {
            chunks,
            going,
            compressor: Compressor::tuned(),
            packed: Vec::new(),
            open: Vec::new(),
            entries: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Makes room for `len` bytes more and lends the frame: what is appended to it becomes a chunk by
    /// [`Sealer::keep`], or goes by [`Sealer::drop_from`]. `len` is below [`limits::FRAME_TARGET`].
    pub fn frame(&mut self, len: usize) -> Result<&mut Vec<u8>, Ended> {
        if !self.open.is_empty() && self.open.len() + len > limits::FRAME_TARGET {
            self.flush()?;
        }
        if self.open.capacity() == 0 {
            self.open.reserve_exact(2 * limits::FRAME_TARGET);
        }
        Ok(&mut self.open)
    }

    /// Takes back what was appended to the frame.
    pub fn drop_from(&mut self, from: usize) {
        self.open.truncate(from);
    }

    /// Makes a chunk of what was appended to the frame since it had `from` bytes.
    pub fn keep(&mut self, from: usize, awaiting: Awaiting) -> Result<(), Ended> {
        self.chunks.content.call_once(|| self.chunks.past.content(&self.chunks.index));
        let digest = Digest::of(&self.open[from..]);
        let id = self.chunks.keys.domain.chunk_id(&digest);
        match self.chunks.claim(id, &digest, awaiting) {
            Claim::New(awaiting) => {
                let chunk =
                    FrameChunk { id, digest, offset: number(from), length: number(self.open.len() - from) };
                self.chunks.count(self.open.len() - from);
                self.entries.push((chunk, awaiting));
                if self.open.len() >= limits::FRAME_TARGET / 16 * 15 { self.flush() } else { Ok(()) }
            }
            Claim::Waiting => {
                self.open.truncate(from);
                Ok(())
            }
            Claim::Known(reference, awaiting) => {
                self.open.truncate(from);
                awaiting.fill(reference);
                Ok(())
            }
        }
    }

    /// Seals the open frame.
    pub fn flush(&mut self) -> Result<(), Ended> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let kind = self.compressor.compress(&self.open, &mut self.packed);
        let bytes = if kind == FrameKind::Zstd { &self.packed } else { &self.open };
        self.ready.clear();
        self.ready.extend(self.entries.iter().map(|(chunk, _)| *chunk));
        let (handle, frame) = self.chunks.packer.push(Lane::Content, kind, bytes, &self.ready, self.going)?;
        self.open.clear();
        for (chunk, awaiting) in self.entries.drain(..) {
            let reference = chunk.reference(handle, frame);
            awaiting.fill(reference);
            self.chunks.settle(chunk.id, reference);
        }
        Ok(())
    }

    /// Stores a chunk of any size; one below [`limits::FRAME_TARGET`] joins the open frame.
    pub fn chunk(&mut self, bytes: &[u8], awaiting: Awaiting) -> Result<(), Ended> {
        if bytes.len() < limits::FRAME_TARGET {
            let frame = self.frame(bytes.len())?;
            let from = frame.len();
            frame.extend_from_slice(bytes);
            return self.keep(from, awaiting);
        }
        self.alone(bytes, awaiting)
    }

    /// Stores a chunk in a frame of its own.
    pub fn alone(&mut self, bytes: &[u8], awaiting: Awaiting) -> Result<(), Ended> {
        self.chunks.content.call_once(|| self.chunks.past.content(&self.chunks.index));
        let digest = Digest::of(bytes);
        let id = self.chunks.keys.domain.chunk_id(&digest);
        match self.chunks.claim(id, &digest, awaiting) {
            Claim::Known(reference, awaiting) => awaiting.fill(reference),
            Claim::Waiting => {}
            Claim::New(awaiting) => {
                let reference = self.seal_alone(Lane::Content, id, digest, bytes)?;
                awaiting.fill(reference);
                self.chunks.settle(id, reference);
            }
        }
        Ok(())
    }

    /// Stores a page of the map, or a list of references. Only one thread does.
    pub fn page(&mut self, bytes: &[u8]) -> Result<Reference, Ended> {
        self.chunks.pages.call_once(|| self.chunks.past.pages(&self.chunks.index));
        let digest = Digest::of(bytes);
        let id = self.chunks.keys.domain.chunk_id(&digest);
        if let Some(reference) = self.chunks.index.get(&id, &digest) {
            return Ok(reference);
        }
        let reference = self.seal_alone(Lane::Pages, id, digest, bytes)?;
        self.chunks.index.insert(id, &reference);
        Ok(reference)
    }

    fn seal_alone(
        &mut self,
        lane: Lane,
        id: ChunkId,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Reference, Ended> {
        self.chunks.count(bytes.len());
        let kind = self.compressor.compress(bytes, &mut self.packed);
        let chunk = FrameChunk { id, digest, offset: 0, length: number(bytes.len()) };
        let sealed = if kind == FrameKind::Zstd { &self.packed } else { bytes };
        let (handle, frame) = self.chunks.packer.push(lane, kind, sealed, &[chunk], self.going)?;
        Ok(chunk.reference(handle, frame))
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a frame is far below 2^32 bytes")
}
