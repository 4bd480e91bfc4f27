//! A store in a directory: one file per object, created by a rename that never replaces.
//!
//! Owns the calls of the traits and the hand-over to blocking threads. Never follows a symbolic link
//! below its directory, so whatever lies there cannot lead out of it. Knows nothing of S3.

mod direct;
mod fault;
mod list;
mod path;
mod read;
mod write;

use super::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind,
    key,
};
use crate::clock::Clock;
use async_trait::async_trait;
use bytes::Bytes;
use fault::At;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Where unfinished objects lie, below the store's own folder.
const UNFINISHED: &str = ".tmp";

/// A store in a directory. Clones share their state.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Given by the operator, and must exist: an unmounted disk is an error, not an empty store.
    base: PathBuf,
    /// Below `base`; made by the first create. Empty for `base` itself.
    folder: String,
    clock: Arc<dyn Clock>,
    /// Folders whose entry in their parent was synced by this process.
    durable: Mutex<HashSet<String>>,
}

impl LocalStore {
    /// A store in `base` itself. `base` must exist once it is used.
    pub fn new(base: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self::with_folder(base.into(), String::new(), clock)
    }

    /// A store in a folder below `base`, which reads as empty until something is created in it.
    pub fn below(base: impl Into<PathBuf>, folder: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let base = base.into();
        key::check("open", &format!("file://{}", base.display()), folder)?;
        Ok(Self::with_folder(base, folder.to_owned(), clock))
    }

    fn with_folder(base: PathBuf, folder: String, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { base, folder, clock, durable: Mutex::default() }) }
    }

    /// Names of the folders directly in this store, ascending; hidden ones left out.
    pub async fn folders(&self) -> Result<Vec<String>> {
        self.blocking("list", "", list::folders).await
    }

    /// Runs `work` on a thread that may block, after the key was checked.
    async fn blocking<T, F>(&self, operation: &'static str, key: &str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, &At) -> Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let at = At::new(operation, inner.target(key));
        let lost = at.clone();
        tokio::task::spawn_blocking(move || work(&inner, &at)).await.unwrap_or_else(|_| {
            Err(lost.because(StoreErrorKind::Unavailable, "the thread that did the work is gone"))
        })
    }

    fn check(&self, operation: &'static str, key: &str) -> Result<()> {
        key::check(operation, &self.describe(), key)?;
        let why = if key.split('/').next() == Some(UNFINISHED) {
            "keys below .tmp/ are for unfinished objects"
        } else if key.split('/').any(|part| part.len() > 255) {
            "a file name has at most 255 bytes"
        } else {
            return Ok(());
        };
        Err(StoreError::new(StoreErrorKind::Invalid, operation, self.inner.target(key), why))
    }
}

impl Inner {
    fn describe(&self) -> String {
        let base = self.base.display();
        if self.folder.is_empty() {
            format!("file://{base}")
        } else {
            format!("file://{base}/{}", self.folder)
        }
    }

    fn target(&self, key: &str) -> String {
        if key.is_empty() { self.describe() } else { format!("{}/{key}", self.describe()) }
    }
}

#[async_trait]
impl ReadStore for LocalStore {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        self.check("get", key)?;
        let name = key.to_owned();
        self.blocking("get", key, move |inner, at| read::whole(inner, at, &name, max_bytes)).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.check("get", key)?;
        let name = key.to_owned();
        self.blocking("get", key, move |inner, at| read::range(inner, at, &name, offset, length)).await
    }

    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        self.check("get", key)?;
        let name = key.to_owned();
        let (entry, file) = self
            .blocking("get", key, move |inner, at| {
                let (entry, file) = read::open(inner, at, &name)?;
                Ok((entry, file))
            })
            .await?;
        let at = At::new("get", self.inner.target(key));
        let size = entry.size;
        Ok((entry, read::stream(at, file, size)))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.check("head", key)?;
        let name = key.to_owned();
        self.blocking("head", key, move |inner, at| read::head(inner, at, &name)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        key::check_listing(&self.describe(), prefix, start_after, limit)?;
        let (under, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.blocking("list", prefix, move |inner, at| {
            let store_time = inner.clock.now();
            let (entries, more) = list::page(inner, at, &under, after.as_deref(), limit)?;
            Ok(Listing { entries, more, store_time })
        })
        .await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[async_trait]
impl CreateStore for LocalStore {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        self.check("create", key)?;
        let name = key.to_owned();
        self.blocking("create", key, move |inner, at| {
            let store_time = inner.clock.now();
            write::create(inner, at, &name, &body, &sha256, store_time)?;
            Ok(Created { store_time })
        })
        .await
    }
}

#[async_trait]
impl DeleteStore for LocalStore {
    async fn delete(&self, key: &str) -> Result<()> {
        self.check("delete", key)?;
        let name = key.to_owned();
        self.blocking("delete", key, move |inner, at| write::delete(inner, at, &name)).await
    }
}

#[cfg(test)]
mod tests;
