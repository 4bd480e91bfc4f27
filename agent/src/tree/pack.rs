//! Frames into packs, packs to the sink. Two packs are open: one for content, one for the map's pages, so that who
//! reads the tree alone fetches few packs.

use super::shared::{Ended, Going};
use super::{PackSink, TreeKeys, TreeProgress};
use crate::backup::{NewPack, buffers};
use crossbeam_channel::{Receiver, Sender};
use lifeboat_format::crypto::random;
use lifeboat_format::id::{ChunkId, Digest, Handle};
use lifeboat_format::pack::{ClosedPack, FrameKind, PackBuilder, Reference};
use lifeboat_format::send_log::KnownChunk;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Chunks in one pack, so that what is said of those of very small files stays bounded (80 bytes each).
const CHUNKS_MAX: usize = 1 << 15;

/// Which of the open packs.
#[derive(Debug, Clone, Copy)]
pub enum Lane {
    Content = 0,
    Pages = 1,
}

/// One chunk of a frame.
#[derive(Debug, Clone, Copy)]
pub struct FrameChunk {
    pub id: ChunkId,
    pub digest: Digest,
    /// In the frame's plaintext.
    pub offset: u32,
    pub length: u32,
}

impl FrameChunk {
    pub fn reference(&self, handle: Handle, frame: u32) -> Reference {
        let Self { digest, offset, length, .. } = *self;
        Reference { handle, frame, offset, length, digest }
    }
}

/// A complete pack on its way to be named.
pub struct Closed {
    pack: ClosedPack,
    chunks: Vec<KnownChunk>,
}

/// The open packs.
pub struct Packer<'a> {
    keys: &'a TreeKeys,
    lanes: [Mutex<Open>; 2],
    closed: Sender<Option<Closed>>,
}

#[derive(Default)]
struct Open {
    builder: Option<PackBuilder>,
    chunks: Vec<KnownChunk>,
}

impl<'a> Packer<'a> {
    pub fn new(keys: &'a TreeKeys, closed: Sender<Option<Closed>>) -> Self {
        Self { keys, lanes: [Mutex::default(), Mutex::default()], closed }
    }

    /// Seals a frame into a lane's pack. A full pack goes on its way while the lane is held: who is faster than the
    /// sink waits here, and packs do not pile up.
    pub fn push(
        &self,
        lane: Lane,
        kind: FrameKind,
        bytes: &[u8],
        chunks: &[FrameChunk],
        going: &Going<'_>,
    ) -> Result<(Handle, u32), Ended> {
        let plain_len = chunks.iter().map(|c| c.length as usize).sum();
        let mut open = self.lane(lane);
        if open.builder.as_ref().is_some_and(|b| !b.has_room(bytes.len())) {
            self.close(&mut open, going)?;
        }
        let builder = open.builder.get_or_insert_with(|| self.builder(lane));
        let handle = builder.handle();
        let frame = builder.push_frame(kind, bytes, plain_len);
        let fills = builder.fills_a_step(bytes.len());
        let known = chunks.iter().map(|c| KnownChunk { id: c.id, reference: c.reference(handle, frame) });
        open.chunks.extend(known);
        if fills || open.chunks.len() >= CHUNKS_MAX {
            self.close(&mut open, going)?;
        }
        Ok((handle, frame))
    }

    /// Closes what is open, and tells `senders` threads that no more comes.
    pub fn finish(&self, senders: usize, going: &Going<'_>) -> Result<(), Ended> {
        for lane in [Lane::Content, Lane::Pages] {
            self.close(&mut self.lane(lane), going)?;
        }
        (0..senders).try_for_each(|_| going.send(&self.closed, None))
    }

    fn builder(&self, lane: Lane) -> PackBuilder {
        let sealed = self.keys.sealed_run_key.clone();
        let mut builder = PackBuilder::new(Handle(random::bytes()), &self.keys.run, sealed);
        if matches!(lane, Lane::Content) {
            builder.build_in(buffers::take());
        }
        builder
    }

    fn close(&self, open: &mut Open, going: &Going<'_>) -> Result<(), Ended> {
        let Some(builder) = open.builder.take() else { return Ok(()) };
        let chunks = std::mem::take(&mut open.chunks);
        going.send(&self.closed, Some(Closed { pack: builder.close(), chunks }))
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, Open> {
        self.lanes[lane as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sender thread: names packs and hands them over.
pub fn send(
    closed: &Receiver<Option<Closed>>,
    keys: &TreeKeys,
    sink: &dyn PackSink,
    progress: &TreeProgress,
    going: &Going<'_>,
) {
    while let Ok(Some(Some(Closed { pack, chunks }))) = going.receive(closed) {
        let sealed = pack.name();
        progress.packed_bytes.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
        if sink.take(NewPack { sealed, domain: keys.alias, chunks }).is_err() {
            going.end(Ended::Closed);
        }
    }
}
