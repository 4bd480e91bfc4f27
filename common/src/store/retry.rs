//! Trying again: exponential back-off with full jitter, bounded in time, and in attempts while the store is there.
//!
//! Owns what may be repeated. Knows no store in particular; sleeps by tokio's clock, so tests can pause it.

use super::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind,
    Version,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use rand::Rng;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long to go on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one call while the store answers others, or has never answered. A store that was there and answers
    /// nobody is waited for until `total`: an outage costs time, not the run.
    pub attempts: u32,
    /// No attempt starts later than this after the first.
    pub total: Duration,
    /// The longest first pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// The longest pause of our own choice; a store may ask for more.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            total: Duration::from_secs(120),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The pause after failed attempt number `attempt` (from 1).
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let ceiling = self.first_pause.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest_pause);
        let jitter = ceiling.mul_f64(rand::rng().random::<f64>());
        asked.map_or(jitter, |asked| asked.saturating_add(jitter))
    }
}

/// A store whose transient failures are tried again.
#[derive(Debug)]
pub struct RetryStore<S: ?Sized> {
    policy: RetryPolicy,
    answers: Arc<Answers>,
    inner: Arc<S>,
}

/// When the store last answered anybody.
#[derive(Debug)]
struct Answers {
    since: Instant,
    /// Milliseconds after `since`, plus one; 0: never.
    last: AtomicU64,
}

impl Answers {
    fn note(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(millis.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether the store was there before, and has answered nobody since `moment`.
    fn away(&self, moment: Instant) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let moment = moment.saturating_duration_since(self.since).as_millis();
        last > 0 && u128::from(last - 1) < moment
    }
}

impl<S: ?Sized> Clone for RetryStore<S> {
    fn clone(&self) -> Self {
        Self { policy: self.policy, answers: Arc::clone(&self.answers), inner: Arc::clone(&self.inner) }
    }
}

impl<S: ?Sized> RetryStore<S> {
    pub fn new(inner: Arc<S>, policy: RetryPolicy) -> Self {
        let answers = Arc::new(Answers { since: Instant::now(), last: AtomicU64::new(0) });
        Self { policy, answers, inner }
    }

    /// Repeats `call`, which is told the number of its attempt, while it fails in a transient way.
    async fn again<T, F, Fut>(&self, mut call: F) -> Result<T>
    where
        F: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let start = Instant::now();
        let (mut attempt, mut last_failure) = (1, start);
        loop {
            let error = match call(attempt).await {
                Err(error) if error.kind.is_transient() => error,
                settled => {
                    self.answers.note();
                    return settled;
                }
            };
            let pause = self.policy.pause(attempt, error.retry_after);
            let attempts = match error.kind {
                // Damaged on the way once or twice, perhaps; after that it is the caller's mistake.
                StoreErrorKind::Checksum => self.policy.attempts.min(3),
                _ if self.answers.away(last_failure) => u32::MAX,
                _ => self.policy.attempts,
            };
            last_failure = Instant::now();
            if attempt >= attempts || start.elapsed().saturating_add(pause) > self.policy.total {
                return Err(given_up(error, attempt));
            }
            tracing::debug!(%error, attempt, ?pause, "Trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

fn given_up(mut error: StoreError, attempts: u32) -> StoreError {
    if attempts > 1 {
        error.detail = format!("{} (given up after {attempts} attempts)", error.detail);
    }
    error
}

#[async_trait]
impl<S: ReadStore + ?Sized> ReadStore for RetryStore<S> {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        self.again(|_| self.inner.get(key, max_bytes)).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.again(|_| self.inner.get_range(key, offset, length)).await
    }

    /// Repeats until a body begins; what breaks off later is the caller's.
    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        self.again(|_| self.inner.get_stream(key)).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.again(|_| self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        self.again(|_| self.inner.list(prefix, start_after, limit)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[async_trait]
impl<S: CreateStore + ?Sized> CreateStore for RetryStore<S> {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        let body = &body;
        let created = self.again(|attempt| async move {
            match self.inner.create(key, body.clone(), sha256).await {
                // An earlier attempt of ours may have landed.
                Err(error) if error.kind == StoreErrorKind::Exists && attempt > 1 => Ok(Err(error)),
                other => other.map(Ok),
            }
        });
        match created.await? {
            Ok(created) => Ok(created),
            Err(taken) => self.own(key, body, taken).await,
        }
    }
}

impl<S: ReadStore + ?Sized> RetryStore<S> {
    /// Own bytes under a taken key are a success whose answer got lost; others leave it at `taken`.
    async fn own(&self, key: &str, body: &Bytes, taken: StoreError) -> Result<Created> {
        let found = self.again(|_| async {
            let (entry, mut pieces) = self.inner.get_stream(key).await?;
            let mut rest = &body[..];
            if entry.size != body.len() as u64 {
                return Ok((false, entry));
            }
            while let Some(piece) = pieces.try_next().await? {
                match rest.strip_prefix(&piece[..]) {
                    Some(left) => rest = left,
                    None => return Ok((false, entry)),
                }
            }
            Ok((rest.is_empty(), entry))
        });
        match found.await {
            // The time of the write: never later than that of the lost answer.
            Ok((true, entry)) => Ok(Created { store_time: entry.modified }),
            Ok((false, _)) => Err(taken),
            Err(error) => {
                let detail = format!("whether it was written could not be found out: {}", error.detail);
                Err(StoreError { kind: StoreErrorKind::Unclear, detail, ..taken })
            }
        }
    }
}

#[async_trait]
impl<S: DeleteStore + ?Sized> DeleteStore for RetryStore<S> {
    async fn delete(&self, key: &str) -> Result<()> {
        self.again(|_| self.inner.delete(key)).await
    }

    async fn versions(&self, key: &str) -> Result<Vec<Version>> {
        self.again(|_| self.inner.versions(key)).await
    }

    async fn delete_version(&self, key: &str, id: Option<&str>) -> Result<()> {
        self.again(|_| self.inner.delete_version(key, id)).await
    }
}

#[cfg(test)]
mod tests;
