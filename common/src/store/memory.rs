//! A store in memory, for tests: damages what it holds on request and counts what is asked of it.
//!
//! Knows no files and no network; clones share their objects.

use super::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind,
    key,
};
use crate::clock::Clock;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How large the pieces of a streamed body are; small, so that tests see several.
const PIECE: usize = 64 << 10;

/// How often each operation was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    pub get: u64,
    pub get_range: u64,
    pub get_stream: u64,
    pub head: u64,
    pub list: u64,
    pub create: u64,
    pub delete: u64,
}

impl Requests {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.get + self.get_range + self.get_stream + self.head + self.list + self.create + self.delete
    }

    /// What was asked for since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            get: self.get - earlier.get,
            get_range: self.get_range - earlier.get_range,
            get_stream: self.get_stream - earlier.get_stream,
            head: self.head - earlier.head,
            list: self.list - earlier.list,
            create: self.create - earlier.create,
            delete: self.delete - earlier.delete,
        }
    }
}

/// A store in memory. Clones share their objects and their counts.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Bytes, Timestamp)>,
    requests: Requests,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("objects", &self.objects.len())
            .field("requests", &self.requests)
            .finish()
    }
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All keys, ascending.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// The bytes of an object, without counting as a request.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.state().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Changes the bytes of an object behind everyone's back, keeping its time; false when there is none.
    pub fn corrupt(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.state().objects.get_mut(key) {
            Some((bytes, _)) => {
                let mut changed = bytes.to_vec();
                change(&mut changed);
                *bytes = changed.into();
                true
            }
            None => false,
        }
    }

    /// Takes an object away behind everyone's back; false when there is none.
    pub fn remove(&self, key: &str) -> bool {
        self.state().objects.remove(key).is_some()
    }

    /// Puts an object there behind everyone's back, whatever was there, with the time of the clock.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let now = self.clock.now();
        self.state().objects.insert(key.to_owned(), (bytes.into(), now));
    }

    /// Changes the time of an object; false when there is none.
    pub fn set_modified(&self, key: &str, modified: Timestamp) -> bool {
        self.state().objects.get_mut(key).map(|object| object.1 = modified).is_some()
    }

    /// How often each operation was asked for so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.state().requests
    }

    fn find(
        &self,
        operation: &'static str,
        key: &str,
        count: fn(&mut Requests),
    ) -> Result<Option<(Bytes, Timestamp)>> {
        key::check(operation, &self.describe(), key)?;
        let mut state = self.state();
        count(&mut state.requests);
        Ok(state.objects.get(key).cloned())
    }

    fn must_find(&self, key: &str, count: fn(&mut Requests)) -> Result<(Bytes, Timestamp)> {
        let found = self.find("get", key, count)?;
        found.ok_or_else(|| self.error(StoreErrorKind::NotFound, "get", key, "there is no such object"))
    }

    fn error(
        &self,
        kind: StoreErrorKind,
        operation: &'static str,
        key: &str,
        detail: impl Into<String>,
    ) -> StoreError {
        StoreError::new(kind, operation, format!("{}/{key}", self.describe()), detail)
    }
}

#[async_trait]
impl ReadStore for MemoryStore {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        let (bytes, _) = self.must_find(key, |requests| requests.get += 1)?;
        if bytes.len() as u64 > max_bytes {
            let detail = format!("it has {} bytes, more than the {max_bytes} allowed", bytes.len());
            return Err(self.error(StoreErrorKind::TooLarge, "get", key, detail));
        }
        Ok(bytes)
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        let (bytes, _) = self.must_find(key, |requests| requests.get_range += 1)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(place(offset)..place(offset.saturating_add(length))))
    }

    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        let (bytes, modified) = self.must_find(key, |requests| requests.get_stream += 1)?;
        let entry = Entry { key: key.to_owned(), size: bytes.len() as u64, modified };
        let pieces: Vec<_> = (0..bytes.len())
            .step_by(PIECE)
            .map(|at| Ok(bytes.slice(at..bytes.len().min(at + PIECE))))
            .collect();
        Ok((entry, stream::iter(pieces).boxed()))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        let found = self.find("head", key, |requests| requests.head += 1)?;
        Ok(found.map(|(bytes, modified)| Entry { key: key.to_owned(), size: bytes.len() as u64, modified }))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        key::check_listing(&self.describe(), prefix, start_after, limit)?;
        let store_time = self.clock.now();
        let mut state = self.state();
        state.requests.list += 1;
        let start = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = state
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let page = found.by_ref().take(limit);
        let entries = page
            .map(|(key, (bytes, modified))| Entry {
                key: key.clone(),
                size: bytes.len() as u64,
                modified: *modified,
            })
            .collect();
        let more = found.next().is_some();
        Ok(Listing { entries, more, store_time })
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}

#[async_trait]
impl CreateStore for MemoryStore {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        key::check("create", &self.describe(), key)?;
        self.state().requests.create += 1;
        if ring::digest::digest(&ring::digest::SHA256, &body).as_ref() != sha256 {
            let detail = "the bytes do not have the SHA-256 that was given with them";
            return Err(self.error(StoreErrorKind::Checksum, "create", key, detail));
        }
        let store_time = self.clock.now();
        let mut state = self.state();
        if state.objects.contains_key(key) {
            return Err(self.error(StoreErrorKind::Exists, "create", key, "something of that name is there"));
        }
        state.objects.insert(key.to_owned(), (body, store_time));
        Ok(Created { store_time })
    }
}

#[async_trait]
impl DeleteStore for MemoryStore {
    async fn delete(&self, key: &str) -> Result<()> {
        key::check("delete", &self.describe(), key)?;
        let mut state = self.state();
        state.requests.delete += 1;
        state.objects.remove(key);
        Ok(())
    }
}
