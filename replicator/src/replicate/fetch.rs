//! Getting objects from a source: bounded, hashed while they stream to disk, tried again where the way is to blame.
//!
//! Owns the difference between a bad transfer and a bad object: only whole bodies that are wrong twice in the same way
//! are damage. Judges no content.

use super::error::FetchError;
use super::meter::Meter;
use super::verify::{self, Content, Damage, Kind, Named, Verified};
use crate::activity::Activity;
use crate::source::Source;
use crate::vault::{Folder, Staged, VaultError};
use bytes::Bytes;
use futures::StreamExt as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::progress::Progress;
use lifeboat_common::store::{Body, SharedRead, StoreError, StoreErrorKind};
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A wait for the bandwidth limit is cut into such naps, each a sign of life.
const NAP: Duration = Duration::from_secs(1);

/// How long to bear with a source.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts for one body that breaks off.
    pub attempts: u32,
    /// Before the second attempt; doubles.
    pub pause: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_secs(1), stall: Duration::from_secs(90) }
    }
}

/// Reads from one source for one cluster.
#[derive(Debug, Clone)]
pub struct Fetcher {
    pub store: SharedRead,
    pub folder: Folder,
    pub patience: Patience,
    pub activity: Arc<Activity>,
    pub meter: Arc<Meter>,
    /// Whose bandwidth it is, and what time it is there.
    pub source: Arc<Source>,
    pub clock: Arc<dyn Clock>,
}

impl Fetcher {
    /// An object of a known hash, verified.
    pub async fn object<K: Kind>(
        &self,
        named: &Named<K>,
        progress: &Progress,
    ) -> Result<Verified<K>, FetchError> {
        let mut before: Option<Damage> = None;
        for _ in 0..self.patience.attempts.max(2) {
            let content = self.patiently(|| self.content(named, progress)).await;
            let damage = match content {
                Ok(content) => match verify::check(named, content) {
                    Ok(verified) => return Ok(verified),
                    Err(damage) => damage,
                },
                Err(FetchError::Damaged(damage)) => damage,
                Err(error) => return Err(error),
            };
            if before.as_ref() == Some(&damage) {
                return Err(FetchError::Damaged(damage));
            }
            before = Some(damage);
        }
        Err(self.unavailable(&named.key, "it has other bytes in every transfer").into())
    }

    /// A manifest's bytes, whatever they are.
    pub async fn manifest(&self, seq: u64) -> Result<Bytes, FetchError> {
        let key = layout::manifest(seq);
        self.patiently(|| async {
            let (size, body) = self.begin(&key).await?;
            if size > limits::MANIFEST_MAX {
                let expected = format!("at most {} bytes", limits::MANIFEST_MAX);
                let seen = format!("{size} bytes");
                return Err(FetchError::Damaged(Damage { key: key.clone(), expected, seen }));
            }
            self.collect(&key, size, body, &Progress::quiet()).await
        })
        .await
    }

    /// SHA-256 of an object that nobody keeps, of at most [`limits::PACK_MAX`] bytes.
    pub async fn digest(&self, key: &str) -> Result<Sha256, FetchError> {
        self.patiently(|| async {
            let (size, mut body) = self.begin(key).await?;
            if size > limits::PACK_MAX {
                let expected = format!("at most {} bytes", limits::PACK_MAX);
                let seen = format!("{size} bytes");
                return Err(FetchError::Damaged(Damage { key: key.to_owned(), expected, seen }));
            }
            let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
            let mut received = 0;
            while let Some(piece) = self.piece(key, size, received, &mut body).await? {
                hash.update(&piece);
                received += piece.len() as u64;
                self.activity.tick();
            }
            let mut sha256 = Sha256([0; 32]);
            sha256.0.copy_from_slice(hash.finish().as_ref());
            Ok(sha256)
        })
        .await
    }

    async fn content<K: Kind>(&self, named: &Named<K>, progress: &Progress) -> Result<Content, FetchError> {
        let (size, body) = self.begin(&named.key).await?;
        verify::check_size(named, size).map_err(FetchError::Damaged)?;
        if K::STREAMED {
            self.to_disk(&named.key, size, body, progress).await.map(Content::Staged)
        } else {
            self.collect(&named.key, size, body, progress).await.map(Content::Bytes)
        }
    }

    async fn begin(&self, key: &str) -> Result<(u64, Body), FetchError> {
        let asked = Instant::now();
        match self.store.get_stream(key).await {
            Ok((entry, body)) => {
                self.meter.answered(asked.elapsed());
                Ok((entry.size, body))
            }
            // A source that went away as a whole has every object missing: ask once more before that is said of one.
            Err(error) if error.kind == StoreErrorKind::NotFound => match self.store.head(key).await? {
                None => Err(FetchError::Missing { key: key.to_owned() }),
                Some(_) => Err(self.unavailable(key, "it comes and goes").into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The next piece; `None` at the end of a body that had `size` bytes.
    async fn piece(
        &self,
        key: &str,
        size: u64,
        received: u64,
        body: &mut Body,
    ) -> Result<Option<Bytes>, StoreError> {
        let next = tokio::time::timeout(self.patience.stall, body.next()).await;
        match next {
            Err(_) => {
                Err(self.unavailable(key, &format!("the body stopped after {received} of {size} bytes")))
            }
            Ok(Some(Ok(piece))) if received.saturating_add(piece.len() as u64) > size => {
                let detail = format!("the body is longer than the {size} bytes announced");
                Err(StoreError::new(StoreErrorKind::Protocol, "get", self.target(key), detail))
            }
            Ok(Some(piece)) => {
                let piece = piece?;
                self.meter.arrived(piece.len());
                self.pay(piece.len()).await;
                Ok(Some(piece))
            }
            Ok(None) if received < size => {
                Err(self.unavailable(key, &format!("the body ended after {received} of {size} bytes")))
            }
            Ok(None) => Ok(None),
        }
    }

    /// Waits until `bytes` that were read are within the source's bandwidth.
    async fn pay(&self, bytes: usize) {
        let now = Instant::now();
        let until = now + self.source.limits.bandwidth.pay(bytes, self.clock.now(), now);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.activity.tick();
            tokio::time::sleep(left.min(NAP)).await;
        }
    }

    async fn collect(
        &self,
        key: &str,
        size: u64,
        mut body: Body,
        progress: &Progress,
    ) -> Result<Bytes, FetchError> {
        // A word of the server is no reason to set memory aside.
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(1 << 20)).unwrap_or(0));
        while let Some(piece) = self.piece(key, size, bytes.len() as u64, &mut body).await? {
            bytes.extend_from_slice(&piece);
            self.activity.tick();
            progress.add(piece.len() as u64);
        }
        Ok(bytes.into())
    }

    /// Streams to a file under `.tmp/`: a thread writes and hashes while the next pieces arrive.
    async fn to_disk(
        &self,
        key: &str,
        size: u64,
        mut body: Body,
        progress: &Progress,
    ) -> Result<Staged, FetchError> {
        let room = self.folder.vault().reserve(size)?;
        let (pieces, arriving) = mpsc::channel(2);
        let folder = self.folder.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let _room = room;
            write(&folder, arriving)
        });
        let mut received = 0;
        let mut sent = true;
        while sent {
            let piece = self.piece(key, size, received, &mut body).await?;
            let length = piece.as_ref().map(|p| p.len() as u64);
            sent = pieces.send(piece).await.is_ok();
            let Some(length) = length else { break };
            received += length;
            self.activity.tick();
            progress.add(length);
        }
        drop(pieces);
        match writer.await {
            Ok(Ok(Some(staged))) => Ok(staged),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(None)) | Err(_) => Err(self.unavailable(key, "the thread that wrote it is gone").into()),
        }
    }

    /// Repeats `call` while the way is to blame.
    async fn patiently<T, F, Fut>(&self, mut call: F) -> Result<T, FetchError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, FetchError>>,
    {
        let mut attempt = 1;
        loop {
            match call().await {
                Err(FetchError::Store(error))
                    if error.kind.is_transient() && attempt < self.patience.attempts =>
                {
                    self.activity.tick();
                    self.meter.strained();
                    let pause = self.patience.pause.saturating_mul(1 << (attempt - 1).min(6));
                    let pause = error.retry_after.map_or(pause, |asked| asked.max(pause));
                    tracing::debug!(%error, attempt, ?pause, "Fetching again");
                    tokio::time::sleep(pause.min(Duration::from_secs(120))).await;
                    attempt += 1;
                }
                settled => return settled,
            }
        }
    }

    fn target(&self, key: &str) -> String {
        format!("{}/{key}", self.store.describe())
    }

    fn unavailable(&self, key: &str, detail: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "get", self.target(key), detail)
    }
}

/// Writes what arrives; `None` when the sender gave up before the end.
fn write(folder: &Folder, mut arriving: mpsc::Receiver<Option<Bytes>>) -> Result<Option<Staged>, VaultError> {
    let mut staging = folder.stage()?;
    while let Some(piece) = arriving.blocking_recv() {
        match piece {
            Some(piece) => staging.write(&piece)?,
            None => return staging.finish(None).map(Some),
        }
    }
    Ok(None)
}
