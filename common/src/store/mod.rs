//! Object stores behind three small capabilities: look, create once, delete.
//!
//! Owns the traits, the errors and the vocabulary. Knows nothing of snapshots, packs or trust: a key is a
//! path below one cluster's folder, and a body is bytes. Who may hold which capability is in `design.md` §6;
//! only the replicator's `retain` ever holds a [`DeleteStore`].

#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
mod error;
pub mod faulty;
pub mod key;
pub mod local;
pub mod memory;
pub mod options;
pub mod retry;
pub mod s3;
pub mod url;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use std::sync::Arc;

pub use error::{StoreError, StoreErrorKind};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use options::S3Options;
pub use retry::{RetryPolicy, RetryStore};
pub use s3::S3Store;
pub use url::{ClusterFolder, StoreUrl};

pub type Result<T> = std::result::Result<T, StoreError>;

/// The body of an object as it arrives; the sum of its pieces is the whole object or the stream ends in an error.
pub type Body = BoxStream<'static, Result<Bytes>>;

/// What a store says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the cluster's folder, `/`-separated, never with `.` or `..` or an empty component.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The store's own time of the write (S3 `Last-Modified`), whole seconds on S3.
    pub modified: Timestamp,
}

/// One page of a listing, keys ascending bytewise.
#[derive(Debug, Clone)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// More keys follow the last of `entries`.
    pub more: bool,
    /// The store's clock when it answered (S3 `Date`).
    pub store_time: Timestamp,
}

/// A successful create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The store's clock when it answered.
    pub store_time: Timestamp,
}

/// Read access. Cheap to clone behind [`Arc`]; every method may be called concurrently.
#[async_trait]
pub trait ReadStore: Send + Sync + std::fmt::Debug {
    /// The whole object, refused as [`StoreErrorKind::TooLarge`] when longer than `max_bytes` (before more is read).
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes>;

    /// `length` bytes from `offset`; fewer only where the object ends. An offset at or past the end gives an empty body.
    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes>;

    /// The object as a stream, with what the store says of it.
    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)>;

    /// `None` when there is no such object.
    async fn head(&self, key: &str) -> Result<Option<Entry>>;

    /// Keys under `prefix` that sort after `start_after` (bytewise, both relative to this store), at most `limit` (1–1000).
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing>;

    /// A name for messages, such as `s3://bucket/prefix/cluster`; never holds a credential.
    fn describe(&self) -> String;
}

/// Create access: an object is written once, whole, or not at all.
#[async_trait]
pub trait CreateStore: ReadStore {
    /// Creates `key` if it is absent; [`StoreErrorKind::Exists`] when it is there (with whatever bytes).
    /// `sha256` is that of `body`; a store that can check it does (one in a directory: up to 1 MiB). An unclear answer is settled by a
    /// look before this returns [`StoreErrorKind::Unclear`].
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created>;
}

/// One version of an object, where a store keeps several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// None where the store keeps one version and gives it no name.
    pub id: Option<String>,
    /// Bytes; 0 of a delete marker.
    pub size: u64,
    /// As in [`Entry`].
    pub modified: Timestamp,
    /// It hides the versions before it and has no bytes.
    pub delete_marker: bool,
}

/// Delete access.
#[async_trait]
pub trait DeleteStore: ReadStore {
    /// Deleting what is absent succeeds. On a store with versions this only hides: see [`DeleteStore::delete_version`].
    async fn delete(&self, key: &str) -> Result<()>;

    /// Every version of `key`, newest first; none when there is no such object.
    async fn versions(&self, key: &str) -> Result<Vec<Version>> {
        let version = |entry: Entry| Version {
            id: None,
            size: entry.size,
            modified: entry.modified,
            delete_marker: false,
        };
        Ok(self.head(key).await?.map(version).into_iter().collect())
    }

    /// Deletes one version for good, and no other; one that is gone already is a success.
    async fn delete_version(&self, key: &str, id: Option<&str>) -> Result<()> {
        match id {
            None => self.delete(key).await,
            Some(_) => {
                let detail = "this store keeps no versions";
                Err(StoreError::new(
                    StoreErrorKind::Invalid,
                    "delete",
                    format!("{}/{key}", self.describe()),
                    detail,
                ))
            }
        }
    }
}

pub type SharedRead = Arc<dyn ReadStore>;
pub type SharedCreate = Arc<dyn CreateStore>;
pub type SharedDelete = Arc<dyn DeleteStore>;
