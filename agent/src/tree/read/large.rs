//! Files that are cut: read in windows, cut by content, their chunks handed to workers.

use super::super::chunks::Sealer;
use super::super::content::Content;
use super::super::context::Context;
use super::super::entry::{Awaiting, LargeFile};
use super::super::shared::Ended;
use super::super::windows::{Holder, Window};
use super::{Opened, Outcome, Reader};
use crossbeam_channel::{Receiver, TrySendError};
use lifeboat_format::{chunker, limits};
use rustix::fd::AsFd as _;
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;

/// A chunk for a worker.
pub struct ChunkJob {
    window: Arc<Window>,
    range: Range<usize>,
    awaiting: Awaiting,
}

/// A worker thread.
pub fn work(context: &Context<'_>, jobs: &Receiver<ChunkJob>) -> Result<(), Ended> {
    let mut sealer = Sealer::new(&context.chunks, &context.going);
    while let Some(job) = context.going.receive(jobs)? {
        sealer.alone(&job.window[job.range], job.awaiting)?;
    }
    Ok(())
}

impl Reader<'_, '_> {
    /// Content that is read whole: cut and stored by this thread.
    pub(super) fn medium(&mut self, file: Opened<'_>) -> Result<Outcome, Ended> {
        let data = file.data();
        let mut content = Content::new(file.fd.as_fd(), &data);
        let mut bytes = std::mem::take(&mut self.medium);
        bytes.clear();
        if bytes.capacity() == 0 {
            bytes.reserve_exact(1 << 20);
        }
        let read = content.append(&mut bytes);
        let (got, short) = (content.read, content.is_short());
        self.count(got);
        let outcome = match read.map(|()| file.verdict(&mut self.xattrs, got, short)) {
            Err(error) => Outcome::Failed(error),
            Ok(None) => Outcome::Changed,
            Ok(Some(kept)) => {
                let chunks = LargeFile::new(file.job.batch.clone(), file.n);
                for chunk in pieces(&bytes, self.context.chunks.keys.sizes) {
                    self.sealer.chunk(chunk, chunks.announce())?;
                }
                chunks.keep(|e| kept.set(e));
                Outcome::Kept
            }
        };
        self.medium = bytes;
        Ok(outcome)
    }

    /// Content of any length.
    pub(super) fn large(&mut self, file: Opened<'_>) -> Result<Outcome, Ended> {
        let data = file.data();
        let mut content = Content::new(file.fd.as_fd(), &data);
        let chunks = LargeFile::new(file.job.batch.clone(), file.n);
        let context = self.context;
        let holder = context.windows.holder(&context.going)?;
        if let Err(error) = self.windows(&mut content, &chunks, &holder)? {
            return Ok(Outcome::Failed(error));
        }
        Ok(match file.verdict(&mut self.xattrs, content.read, content.is_short()) {
            None => Outcome::Changed,
            Some(kept) => {
                chunks.keep(|e| kept.set(e));
                Outcome::Kept
            }
        })
    }

    fn windows(
        &mut self,
        content: &mut Content<'_>,
        chunks: &Arc<LargeFile>,
        holder: &Holder<'_>,
    ) -> Result<Result<(), Errno>, Ended> {
        let context = self.context;
        let mut window = holder.take(&context.going)?;
        let mut held = 0;
        loop {
            let filled = match content.fill(&mut window.bytes_mut()[held..], &context.going)? {
                Ok(n) => n,
                Err(error) => return Ok(Err(error)),
            };
            self.count(filled as u64);
            held += filled;
            let (cuts, rest) = cut(&window[..held], context.chunks.keys.sizes, content.is_done());
            if content.is_done() {
                self.hand_out(window, &cuts, chunks)?;
                return Ok(Ok(()));
            }
            let mut next = holder.take(&context.going)?;
            next.bytes_mut()[..held - rest].copy_from_slice(&window[rest..held]);
            self.hand_out(window, &cuts, chunks)?;
            (window, held) = (next, held - rest);
        }
    }

    /// To workers; where they have enough, this thread does it itself.
    fn hand_out(
        &mut self,
        window: Window,
        cuts: &[Range<usize>],
        chunks: &Arc<LargeFile>,
    ) -> Result<(), Ended> {
        let window = Arc::new(window);
        for range in cuts {
            let job = ChunkJob { window: window.clone(), range: range.clone(), awaiting: chunks.announce() };
            match self.workers.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                    self.sealer.alone(&job.window[job.range], job.awaiting)?;
                }
            }
        }
        Ok(())
    }
}

/// The chunks of a whole content.
fn pieces(bytes: &[u8], sizes: chunker::ChunkSizes) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.len() < limits::FRAME_TARGET;
    let (one, many) = if whole { (Some(bytes), &[][..]) } else { (None, bytes) };
    one.into_iter().filter(|b| !b.is_empty()).chain(chunker::cut(many, sizes))
}

/// Cuts what is sure: up to the last cut that does not depend on what follows, or to the end of the content. Returns
/// the ranges, and where they end.
fn cut(bytes: &[u8], sizes: chunker::ChunkSizes, last: bool) -> (Vec<Range<usize>>, usize) {
    let mut cuts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + chunker::first(&bytes[at..], sizes);
        let sure = last || end < bytes.len() || end - at >= sizes.max as usize;
        if !sure {
            break;
        }
        cuts.push(at..end);
        at = end;
    }
    (cuts, at)
}
