//! What every store must do, as one suite: run against each kind of store, alone and wrapped.
//!
//! Each run works below a fresh folder, so that a bucket may be used again. Fails by panicking.

mod listing;
mod objects;

use super::{CreateStore, Created, DeleteStore, Result};
use bytes::Bytes;
use std::sync::Arc;

/// The store under test and the folder of this run.
struct Trial {
    store: Arc<dyn CreateStore>,
    delete: Option<Arc<dyn DeleteStore>>,
    folder: String,
}

/// Runs the whole suite. Without `delete`, deleting is left out.
pub async fn run(store: Arc<dyn CreateStore>, delete: Option<Arc<dyn DeleteStore>>) {
    let folder = format!("conformance-{:016x}", rand::random::<u64>());
    let trial = Trial { store, delete, folder };
    objects::created_once(&trial).await;
    objects::created_by_one(&trial).await;
    objects::wrong_checksum(&trial).await;
    objects::invalid_keys(&trial).await;
    objects::absent(&trial).await;
    objects::bounded(&trial).await;
    objects::ranges(&trial).await;
    objects::streamed(&trial).await;
    objects::sizes(&trial).await;
    objects::unusual_keys(&trial).await;
    objects::times(&trial).await;
    objects::deleted(&trial).await;
    objects::versions(&trial).await;
    listing::ordered(&trial).await;
    listing::paged(&trial).await;
    listing::start_after(&trial).await;
    listing::prefixes(&trial).await;
    listing::complete(&trial).await;
    listing::empty(&trial).await;
    listing::refused(&trial).await;
}

/// SHA-256, as [`CreateStore::create`] wants it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Trial {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    async fn try_put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<Created> {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.store.create(&self.key(name), bytes, digest).await
    }

    async fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Created {
        self.try_put(name, bytes).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    async fn get(&self, name: &str) -> Bytes {
        self.store.get(&self.key(name), 64 << 20).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// One page, keys relative to the folder of this run.
    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let after = after.map(|after| self.key(after));
        let page = self.store.list(&self.key(prefix), after.as_deref(), limit).await;
        let page = page.unwrap_or_else(|error| panic!("list {prefix}: {error}"));
        let own = format!("{}/", self.folder);
        let keys =
            page.entries.iter().map(|entry| entry.key.strip_prefix(&own).expect("keys lie under the prefix"));
        (keys.map(str::to_owned).collect(), page.more)
    }
}
