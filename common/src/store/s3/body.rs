//! The body of an answer, checked while it arrives: its length, that it keeps coming, that it is not too slow.

use super::super::{Body, Result, StoreError, StoreErrorKind};
use super::Timeouts;
use super::judge::chain;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use std::time::Duration;
use tokio::time::Instant;

/// Room made for a body before its bytes arrive; a server's word is not enough for more.
const EARLY_ROOM: u64 = 32 << 20;

struct Arriving {
    stream: ByteStream,
    timeouts: Timeouts,
    target: String,
    expected: u64,
    received: u64,
    waited: Duration,
}

impl Arriving {
    fn error(&self, kind: StoreErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, "get", self.target.clone(), detail)
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.received == self.expected {
            return Ok(None);
        }
        // Only the time spent waiting counts, not what the reader does in between.
        let left = (self.timeouts.idle + self.timeouts.transfer(self.received)).saturating_sub(self.waited);
        let start = Instant::now();
        let next = tokio::time::timeout(self.timeouts.idle.min(left), self.stream.next()).await;
        self.waited += start.elapsed();
        match next {
            Err(_) => {
                let detail =
                    format!("the body stopped or crept after {} of {} bytes", self.received, self.expected);
                Err(self.error(StoreErrorKind::Unavailable, detail))
            }
            Ok(Some(Ok(piece))) => {
                self.received = self.received.saturating_add(piece.len() as u64);
                if self.received > self.expected {
                    let detail = format!("the body is longer than the {} bytes announced", self.expected);
                    return Err(self.error(StoreErrorKind::Protocol, detail));
                }
                Ok(Some(piece))
            }
            Ok(Some(Err(error))) => {
                let detail = format!(
                    "the body broke off after {} of {} bytes: {}",
                    self.received,
                    self.expected,
                    chain(&error)
                );
                Err(self.error(StoreErrorKind::Unavailable, detail))
            }
            Ok(None) => {
                let detail = format!("the body ended after {} of {} bytes", self.received, self.expected);
                Err(self.error(StoreErrorKind::Unavailable, detail))
            }
        }
    }
}

/// Pieces that add up to `expected` bytes, or an error at the end.
pub(super) fn pieces(target: String, timeouts: Timeouts, stream: ByteStream, expected: u64) -> Body {
    let arriving = Arriving { stream, timeouts, target, expected, received: 0, waited: Duration::ZERO };
    Box::pin(stream::try_unfold(arriving, |mut arriving| async move {
        let piece = arriving.piece().await?;
        Ok(piece.map(|piece| (piece, arriving)))
    }))
}

/// The whole of a body.
pub(super) async fn collect(mut body: Body, expected: u64) -> Result<Bytes> {
    let room = usize::try_from(expected.min(EARLY_ROOM)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(room);
    while let Some(piece) = body.try_next().await? {
        if piece.len() as u64 == expected {
            return Ok(piece);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Bytes::from(bytes))
}
