//! A store in a bucket of an S3 server. The only part that knows S3.
//!
//! Owns the calls of the traits; each of them is one attempt, for the SDK's own retries are off: they run
//! out of tokens in an outage, and our loop (`retry`) knows what may be repeated. Knows nothing of what
//! the objects mean.

mod answer;
mod body;
mod connect;
mod credentials;
mod judge;
mod list;
mod outgoing;
mod probe;
mod read;
mod versions;
mod write;

use super::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind,
    Version, key,
};
use answer::Answer;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for what. A slow link is told from a dead one by `slowest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, beside the time that the body of the request may take.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Bytes per second below which a transfer counts as dead.
    pub slowest: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            slowest: 32 << 10,
        }
    }
}

impl Timeouts {
    /// How long `bytes` may take at the slowest.
    fn transfer(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / u64::from(self.slowest.max(1)))
    }
}

/// A store in a bucket, below a prefix. Clones share their connections.
#[derive(Debug, Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    bucket: String,
    /// Empty, or ending in a slash.
    prefix: String,
    timeouts: Timeouts,
    /// Where the credential came from, for messages.
    credential: String,
    /// Where requests go, for messages.
    endpoint: String,
}

impl Inner {
    fn describe(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }

    fn target(&self, key: &str) -> String {
        if key.is_empty() { self.describe() } else { format!("{}/{key}", self.describe()) }
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn check(&self, operation: &'static str, key: &str) -> Result<()> {
        key::check(operation, &self.describe(), key)?;
        if self.prefix.len() + key.len() > key::MAX_KEY_BYTES {
            return Err(self.error(
                StoreErrorKind::Invalid,
                operation,
                key,
                "the prefix and the key have over 1024 bytes",
            ));
        }
        Ok(())
    }

    fn error(
        &self,
        kind: StoreErrorKind,
        operation: &'static str,
        key: &str,
        detail: impl Into<String>,
    ) -> StoreError {
        StoreError::new(kind, operation, self.target(key), detail)
    }

    /// Makes a failed answer an error that says what to do next.
    fn fail(&self, operation: &'static str, key: &str, answer: Answer) -> StoreError {
        let next = answer.next(operation, &self.endpoint, &self.credential);
        let detail = format!("{}{next}", answer.detail);
        StoreError { retry_after: answer.retry_after, ..self.error(answer.kind, operation, key, detail) }
    }
}

#[async_trait]
impl ReadStore for S3Store {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        self.inner.check("get", key)?;
        self.inner.get(key, max_bytes).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.inner.check("get", key)?;
        self.inner.get_range(key, offset, length).await
    }

    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        self.inner.check("get", key)?;
        self.inner.get_stream(key).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.check("head", key)?;
        Ok(self.inner.head("head", key).await?.map(|(entry, _)| entry))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        key::check_listing(&self.inner.describe(), prefix, start_after, limit)?;
        self.inner.list(prefix, start_after, limit).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[async_trait]
impl CreateStore for S3Store {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        self.inner.check("create", key)?;
        self.inner.create(key, body, sha256).await
    }
}

#[async_trait]
impl DeleteStore for S3Store {
    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.check("delete", key)?;
        self.inner.delete(key).await
    }

    async fn versions(&self, key: &str) -> Result<Vec<Version>> {
        self.inner.check("list", key)?;
        self.inner.versions(key).await
    }

    async fn delete_version(&self, key: &str, id: Option<&str>) -> Result<()> {
        self.inner.check("delete", key)?;
        self.inner.delete_version(key, id).await
    }
}

impl S3Store {
    /// Names of the folders directly in this store, ascending; hidden ones left out.
    pub async fn folders(&self) -> Result<Vec<String>> {
        self.inner.folders().await
    }
}

#[cfg(test)]
mod tests;
