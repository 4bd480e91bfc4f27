//! A store that misbehaves, for tests: fails, loses answers, cuts bodies, lies in listings, or dies at a
//! given operation.
//!
//! What happens depends on a seed and on the number of the operation alone. Knows no store in particular.

mod dice;

use super::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind,
    Version,
};
use async_trait::async_trait;
use bytes::Bytes;
use dice::Dice;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What can be made to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// All three ways of reading.
    Get,
    Head,
    List,
    Create,
    Delete,
}

/// How probable each fault is, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Unavailable, and nothing was done.
    pub before: f64,
    /// Unavailable, although it was done.
    pub lost: f64,
    /// Throttled, asking to wait for `pause`.
    pub throttle: f64,
    pub deny: f64,
    /// Takes `pause` longer.
    pub slow: f64,
    pub pause: Duration,
    /// A body breaks off as Unavailable.
    pub cut: f64,
    /// A body lacks its end, and nobody says so.
    pub truncate: f64,
    /// Leaves one entry out of a listing.
    pub omit: f64,
    /// Has one entry twice in a listing.
    pub duplicate: f64,
}

/// A misbehaving store around another.
#[derive(Debug)]
pub struct FaultyStore<S: ?Sized> {
    seed: u64,
    faults: [Faults; 5],
    crash_after: Option<u64>,
    done: AtomicU64,
    inner: Arc<S>,
}

impl<S: ?Sized> FaultyStore<S> {
    /// A well-behaved store, to be spoiled by the calls below.
    pub fn new(inner: Arc<S>, seed: u64) -> Self {
        Self { seed, faults: [Faults::default(); 5], crash_after: None, done: AtomicU64::new(0), inner }
    }

    /// Spoils one operation.
    #[must_use]
    pub fn with(mut self, operation: Operation, faults: Faults) -> Self {
        self.faults[operation as usize] = faults;
        self
    }

    /// Spoils every operation.
    #[must_use]
    pub fn everywhere(mut self, faults: Faults) -> Self {
        self.faults = [faults; 5];
        self
    }

    /// Lets `operations` through; each one after them fails for good, with nothing done.
    #[must_use]
    pub fn crash_after(mut self, operations: u64) -> Self {
        self.crash_after = Some(operations);
        self
    }

    /// How many operations were asked for so far.
    pub fn operations(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Decides what comes before the operation itself; gives the dice for what comes after.
    async fn begin(&self, operation: Operation, name: &'static str, key: &str) -> Result<(Faults, Dice)> {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        let faults = self.faults[operation as usize];
        let mut dice = Dice::new(self.seed, number);
        let fail = |kind, detail: &str| Err(StoreError::new(kind, name, key, detail));
        if self.crash_after.is_some_and(|last| number >= last) {
            return fail(StoreErrorKind::Denied, "made to crash");
        }
        if dice.says(faults.slow) {
            tokio::time::sleep(faults.pause).await;
        }
        if dice.says(faults.deny) {
            return fail(StoreErrorKind::Denied, "made to be denied");
        }
        if dice.says(faults.throttle) {
            let error = StoreError::new(StoreErrorKind::Throttled, name, key, "made to be throttled");
            return Err(StoreError { retry_after: Some(faults.pause), ..error });
        }
        if dice.says(faults.before) {
            return fail(StoreErrorKind::Unavailable, "made to fail before");
        }
        Ok((faults, dice))
    }

    /// Loses the answer of an operation that was done.
    fn end<T>(&self, done: T, faults: &Faults, dice: &mut Dice, name: &'static str, key: &str) -> Result<T> {
        if dice.says(faults.lost) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, name, key, "made to lose its answer"));
        }
        Ok(done)
    }

    fn spoil(&self, body: Bytes, faults: &Faults, dice: &mut Dice, key: &str) -> Result<Bytes> {
        if dice.says(faults.cut) {
            return Err(cut(key));
        }
        if dice.says(faults.truncate) {
            return Ok(body.slice(..dice.below(body.len())));
        }
        self.end(body, faults, dice, "get", key)
    }
}

fn cut(key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "get", key, "made to break off")
}

#[async_trait]
impl<S: ReadStore + ?Sized> ReadStore for FaultyStore<S> {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        let (faults, mut dice) = self.begin(Operation::Get, "get", key).await?;
        let body = self.inner.get(key, max_bytes).await?;
        self.spoil(body, &faults, &mut dice, key)
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        let (faults, mut dice) = self.begin(Operation::Get, "get", key).await?;
        let body = self.inner.get_range(key, offset, length).await?;
        self.spoil(body, &faults, &mut dice, key)
    }

    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        let (faults, mut dice) = self.begin(Operation::Get, "get", key).await?;
        let (entry, body) = self.inner.get_stream(key).await?;
        let (breaks, lacks) = (dice.says(faults.cut), dice.says(faults.truncate));
        if !breaks && !lacks {
            return self.end((entry, body), &faults, &mut dice, "get", key);
        }
        let whole: Vec<Bytes> = body.try_collect().await?;
        let whole = Bytes::from(whole.concat());
        let mut pieces = vec![Ok(whole.slice(..dice.below(whole.len())))];
        if breaks {
            pieces.push(Err(cut(key)));
        }
        Ok((entry, stream::iter(pieces).boxed()))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        let (faults, mut dice) = self.begin(Operation::Head, "head", key).await?;
        let found = self.inner.head(key).await?;
        self.end(found, &faults, &mut dice, "head", key)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Listing> {
        let (faults, mut dice) = self.begin(Operation::List, "list", prefix).await?;
        let mut page = self.inner.list(prefix, start_after, limit).await?;
        if !page.entries.is_empty() && dice.says(faults.omit) {
            page.entries.remove(dice.below(page.entries.len()));
        }
        if !page.entries.is_empty() && dice.says(faults.duplicate) {
            let at = dice.below(page.entries.len());
            page.entries.insert(at, page.entries[at].clone());
        }
        self.end(page, &faults, &mut dice, "list", prefix)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[async_trait]
impl<S: CreateStore + ?Sized> CreateStore for FaultyStore<S> {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        let (faults, mut dice) = self.begin(Operation::Create, "create", key).await?;
        let created = self.inner.create(key, body, sha256).await?;
        self.end(created, &faults, &mut dice, "create", key)
    }
}

#[async_trait]
impl<S: DeleteStore + ?Sized> DeleteStore for FaultyStore<S> {
    async fn delete(&self, key: &str) -> Result<()> {
        let (faults, mut dice) = self.begin(Operation::Delete, "delete", key).await?;
        self.inner.delete(key).await?;
        self.end((), &faults, &mut dice, "delete", key)
    }

    async fn versions(&self, key: &str) -> Result<Vec<Version>> {
        let (faults, mut dice) = self.begin(Operation::List, "list", key).await?;
        let versions = self.inner.versions(key).await?;
        self.end(versions, &faults, &mut dice, "list", key)
    }

    async fn delete_version(&self, key: &str, id: Option<&str>) -> Result<()> {
        let (faults, mut dice) = self.begin(Operation::Delete, "delete", key).await?;
        self.inner.delete_version(key, id).await?;
        self.end((), &faults, &mut dice, "delete", key)
    }
}

#[cfg(test)]
mod tests;
