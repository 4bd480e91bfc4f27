//! What is repeated, how long, and how a create that went astray is settled.

use super::*;
use crate::clock::SystemClock;
use crate::store::faulty::{Faults, FaultyStore, Operation};
use crate::store::memory::MemoryStore;
use std::collections::VecDeque;
use std::sync::Mutex;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

/// The shape of the default policy, a hundred times faster: tokio's pausing of time is a feature that would build
/// everything twice.
const BRISK: RetryPolicy = RetryPolicy {
    attempts: 8,
    total: Duration::from_millis(1200),
    first_pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(300),
};

fn memory() -> MemoryStore {
    MemoryStore::new(Arc::new(SystemClock))
}

/// Answers `head` with what was written down, then with `None`.
#[derive(Debug)]
struct Script(Mutex<VecDeque<StoreError>>);

#[async_trait]
impl ReadStore for Script {
    async fn get(&self, _: &str, _: u64) -> Result<Bytes> {
        unreachable!()
    }
    async fn get_range(&self, _: &str, _: u64, _: u64) -> Result<Bytes> {
        unreachable!()
    }
    async fn get_stream(&self, _: &str) -> Result<(Entry, Body)> {
        unreachable!()
    }
    async fn head(&self, _: &str) -> Result<Option<Entry>> {
        self.0.lock().unwrap().pop_front().map_or(Ok(None), Err)
    }
    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Listing> {
        unreachable!()
    }
    fn describe(&self) -> String {
        "script:".to_owned()
    }
}

fn scripted(kinds: &[(StoreErrorKind, Option<u64>)]) -> RetryStore<Script> {
    let errors = kinds.iter().map(|(kind, wait)| {
        let retry_after = wait.map(Duration::from_millis);
        StoreError { retry_after, ..StoreError::new(*kind, "head", "k", "as written") }
    });
    RetryStore::new(Arc::new(Script(Mutex::new(errors.collect()))), BRISK)
}

#[tokio::test]
async fn transient_failures_are_repeated_and_others_not() {
    let store = scripted(&[(StoreErrorKind::Unavailable, None), (StoreErrorKind::Throttled, None)]);
    assert!(store.head("k").await.unwrap().is_none());
    for kind in
        [StoreErrorKind::Denied, StoreErrorKind::Full, StoreErrorKind::Protocol, StoreErrorKind::NotFound]
    {
        let store = scripted(&[(kind, None)]);
        assert_eq!(store.head("k").await.unwrap_err().kind, kind);
        assert!(store.head("k").await.is_ok(), "tried once only");
    }
}

#[tokio::test]
async fn attempts_and_time_are_bounded() {
    let store = scripted(&[(StoreErrorKind::Unavailable, None); 100]);
    let error = store.head("k").await.unwrap_err();
    assert!(error.detail.ends_with("(given up after 8 attempts)"), "{error}");
    assert_eq!(store.inner.0.lock().unwrap().len(), 92);
    let impatient = RetryPolicy { total: Duration::ZERO, ..BRISK };
    let store = RetryStore { policy: impatient, ..scripted(&[(StoreErrorKind::Unavailable, None); 3]) };
    assert!(store.head("k").await.is_err());
    assert_eq!(store.inner.0.lock().unwrap().len(), 2, "no time for a second attempt");
}

#[tokio::test]
async fn a_store_that_was_there_is_waited_for() {
    let failures = [(StoreErrorKind::Unavailable, None); 100];
    let store = scripted(&[]);
    store.head("k").await.unwrap();
    store.inner.0.lock().unwrap().extend(scripted(&failures).inner.0.lock().unwrap().drain(..));
    let start = Instant::now();
    let error = store.head("k").await.unwrap_err();
    assert!(start.elapsed() > BRISK.total / 2, "{:?}", start.elapsed());
    assert!(!error.detail.contains("after 8 attempts"), "{error}");
    // While others are answered, it is there: what fails is this object.
    let answers = Arc::clone(&store.answers);
    let others = tokio::spawn(async move {
        loop {
            answers.note();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let error = store.head("k").await.unwrap_err();
    assert!(error.detail.ends_with("(given up after 8 attempts)"), "{error}");
    others.abort();
}

#[test]
fn pauses_grow_and_stay_below_their_bounds() {
    let policy = RetryPolicy::default();
    for attempt in 1..100 {
        let ceiling = Duration::from_millis(250 << (attempt - 1).min(7)).min(Duration::from_secs(30));
        assert!(policy.pause(attempt, None) <= ceiling, "{attempt}");
    }
    assert!((0..100).any(|_| policy.pause(8, None) > Duration::from_secs(15)));
    assert!(policy.pause(1, Some(Duration::from_secs(9))) >= Duration::from_secs(9));
    let _ = policy.pause(1, Some(Duration::MAX));
}

#[tokio::test]
async fn a_store_that_asks_for_time_gets_it() {
    let start = Instant::now();
    let store = scripted(&[(StoreErrorKind::Throttled, Some(40))]);
    store.head("k").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40));
    // But not more than there is.
    let start = Instant::now();
    let store = scripted(&[(StoreErrorKind::Throttled, Some(u64::MAX))]);
    assert_eq!(store.head("k").await.unwrap_err().kind, StoreErrorKind::Throttled);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_create_whose_answer_got_lost_is_a_success() {
    let inner = memory();
    // The first answer is lost; with this seed the second attempt comes through to find the key taken.
    let faulty = FaultyStore::new(Arc::new(inner.clone()), 3)
        .with(Operation::Create, Faults { lost: 1.0, ..Faults::default() });
    let store = RetryStore::new(Arc::new(faulty), BRISK);
    store.create("k", Bytes::from_static(b"own"), sha256(b"own")).await.unwrap();
    assert_eq!(inner.requests().create, 2);
    assert_eq!(inner.bytes("k").unwrap(), "own");
}

#[tokio::test]
async fn a_create_that_somebody_else_won_is_not() {
    let inner = memory();
    inner.put("k", &b"abc"[..]);
    for body in [&b"xyz"[..], b"longer", b""] {
        // A failure first, so that the taken key has to be looked at.
        let script = FailsOnce { inner: inner.clone(), failed: Mutex::new(false) };
        let store = RetryStore::new(Arc::new(script), BRISK);
        let error = store.create("k", Bytes::copy_from_slice(body), sha256(body)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Exists);
    }
    let script = FailsOnce { inner: inner.clone(), failed: Mutex::new(false) };
    let store = RetryStore::new(Arc::new(script), BRISK);
    store.create("k", Bytes::from_static(b"abc"), sha256(b"abc")).await.unwrap();
    // Without a failure first, the same bytes are simply there.
    let error = store.create("k", Bytes::from_static(b"abc"), sha256(b"abc")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Exists);
}

/// A memory store whose first create fails with nothing done.
#[derive(Debug)]
struct FailsOnce {
    inner: MemoryStore,
    failed: Mutex<bool>,
}

#[async_trait]
impl ReadStore for FailsOnce {
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
impl CreateStore for FailsOnce {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        if !std::mem::replace(&mut *self.failed.lock().unwrap(), true) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "create", key, "the first one fails"));
        }
        self.inner.create(key, body, sha256).await
    }
}

#[tokio::test]
async fn wrapping_a_shared_store_works() {
    let shared: Arc<dyn CreateStore> = Arc::new(memory());
    let store: Arc<dyn CreateStore> = Arc::new(RetryStore::new(shared, BRISK));
    store.create("k", Bytes::new(), sha256(b"")).await.unwrap();
    assert!(store.head("k").await.unwrap().is_some());
}
