//! A store that stops answering after so many packs, so that a run can be killed at a known place.

use async_trait::async_trait;
use bytes::Bytes;
use lifeboat_common::store::{
    Body, CreateStore, Created, Entry, Listing, MemoryStore, ReadStore, Result, StoreError, StoreErrorKind,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Creates under `prefix` hang for ever after `left` of them.
#[derive(Debug)]
pub(crate) struct Trap {
    inner: MemoryStore,
    prefix: &'static str,
    left: AtomicUsize,
    /// Fail instead of hanging.
    fails: bool,
    pub(crate) caught: Notify,
    /// Lets what hangs go on, one create for each.
    pub(crate) release: Notify,
}

impl Trap {
    pub(crate) fn hanging(inner: &MemoryStore, prefix: &'static str, after: usize) -> Arc<Self> {
        Self::new(inner, prefix, after, false)
    }

    pub(crate) fn failing(inner: &MemoryStore, prefix: &'static str, after: usize) -> Arc<Self> {
        Self::new(inner, prefix, after, true)
    }

    fn new(inner: &MemoryStore, prefix: &'static str, after: usize, fails: bool) -> Arc<Self> {
        let left = AtomicUsize::new(after);
        Arc::new(Self {
            inner: inner.clone(),
            prefix,
            left,
            fails,
            caught: Notify::new(),
            release: Notify::new(),
        })
    }
}

#[async_trait]
impl ReadStore for Trap {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        self.inner.get(key, max_bytes).await
    }
    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.inner.get_range(key, offset, length).await
    }
    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        self.inner.get_stream(key).await
    }
    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        self.inner.list(prefix, start_after, limit).await
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[async_trait]
impl CreateStore for Trap {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        if key.starts_with(self.prefix) {
            let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if taken.is_err() {
                self.caught.notify_one();
                if self.fails {
                    let why = "the store is gone";
                    return Err(StoreError::new(StoreErrorKind::Denied, "create", key.to_owned(), why));
                }
                self.release.notified().await;
            }
        }
        self.inner.create(key, body, sha256).await
    }
}
