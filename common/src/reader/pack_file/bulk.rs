//! Many frames of one pack, fetched here and opened wherever there is a thread to do it; what writes whole trees reads
//! so. Keeps nothing: every frame is asked for once.

use super::{PackFile, damaged};
use crate::reader::error::ReadError;
use bytes::BytesMut;
use lifeboat_format::pack::{FrameEntry, FrameOpener, Reference};
use std::sync::Arc;

/// A pack whose directory was opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BulkPack {
    file: Arc<PackFile>,
}

/// Sealed bytes of consecutive frames of one pack.
#[derive(Debug)]
pub struct SealedFrames {
    file: Arc<PackFile>,
    /// Where its bytes begin in the pack.
    offset: u64,
    bytes: BytesMut,
}

impl BulkPack {
    pub(in crate::reader) fn new(file: Arc<PackFile>) -> Self {
        Self { file }
    }

    /// In the order in which they lie in the pack.
    #[must_use]
    pub fn frames(&self) -> &[FrameEntry] {
        self.file.directory.frames()
    }

    /// Fetches frames `first` to `last`, in one request.
    ///
    /// # Errors
    /// There are no such frames, or the store does not give them.
    pub async fn fetch(&self, first: u32, last: u32) -> Result<SealedFrames, ReadError> {
        let range = self.frames().get(first as usize..=last as usize).filter(|r| !r.is_empty());
        let range = range.ok_or_else(|| self.file.bad("no frame of that number"))?;
        let offset = range.first().map_or(0, |f| f.offset);
        let bytes = self.file.fetch(range).await?;
        // Without a copy, unless the pack is small and kept whole.
        let bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        Ok(SealedFrames { file: Arc::clone(&self.file), offset, bytes })
    }

    /// The chunk that `reference` names, out of its opened frame; refused when its digest does not fit.
    ///
    /// # Errors
    /// It leaves the frame, or has another digest.
    pub fn chunk<'a>(&self, frame: &'a [u8], reference: &Reference) -> Result<&'a [u8], ReadError> {
        self.file.directory.chunk(frame, reference).map_err(|e| self.file.bad(e))
    }
}

impl SealedFrames {
    /// The pack that they are of.
    #[must_use]
    pub fn pack(&self) -> BulkPack {
        BulkPack { file: Arc::clone(&self.file) }
    }

    /// Opens one of the frames; each can be opened once. Takes as long as it takes: not for a thread that must not wait.
    ///
    /// # Errors
    /// It was not fetched, or does not authenticate, or does not decompress.
    pub fn open<'a>(&'a mut self, number: u32, opener: &'a mut FrameOpener) -> Result<&'a [u8], ReadError> {
        let file = &self.file;
        let entry = *file.directory.frame(number).map_err(|e| file.bad(e))?;
        let from = entry.offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let sealed = from.and_then(|from| self.bytes.get_mut(from..)?.get_mut(..entry.sealed_len as usize));
        let sealed = sealed.ok_or_else(|| file.bad("a frame was not fetched"))?;
        opener.open(&file.header, &file.pack_key, &entry, sealed).map_err(|e| file.bad(e))
    }
}

impl PackFile {
    fn bad(&self, why: impl std::fmt::Display) -> ReadError {
        damaged(&self.store.describe(), &self.key, why)
    }
}
