//! The body of a request, handed over in pieces so that it can be seen whether the server still takes them.
//!
//! In one piece, a body counts as sent once it is handed over, and a server that stops reading is noticed only
//! by the limit on the whole attempt, which has to allow for slow links.

use super::Timeouts;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

const PIECE: usize = 128 << 10;

/// A body that says how much of it is left, elsewhere.
pub(super) struct Outgoing {
    rest: Bytes,
    progress: Progress,
}

/// How much of a body was not yet asked for.
#[derive(Clone)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Outgoing {
    pub(super) fn new(bytes: Bytes) -> (Self, Progress) {
        let progress = Progress(Arc::new(AtomicU64::new(bytes.len() as u64)));
        (Self { rest: bytes, progress: progress.clone() }, progress)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.progress.0.store(self.rest.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Progress {
    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends when no piece was taken for too long, or no answer followed the last one.
    pub(super) async fn stalled(self, timeouts: Timeouts) {
        let mut before = self.left();
        while before > 0 {
            tokio::time::sleep(timeouts.idle).await;
            let now = self.left();
            if now == before {
                return;
            }
            before = now;
        }
        tokio::time::sleep(timeouts.answer).await;
    }
}
