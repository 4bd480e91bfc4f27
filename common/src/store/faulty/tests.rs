//! That faults come as asked for, and the same ones for the same seed.

use super::*;
use crate::clock::SystemClock;
use crate::store::memory::MemoryStore;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

fn filled() -> MemoryStore {
    let store = MemoryStore::new(Arc::new(SystemClock));
    for key in ["a", "b", "c"] {
        store.put(key, vec![7; 100]);
    }
    store
}

async fn outcomes(seed: u64) -> Vec<bool> {
    let faults = Faults { before: 0.5, ..Faults::default() };
    let store = FaultyStore::new(Arc::new(filled()), seed).with(Operation::Get, faults);
    let mut outcomes = Vec::new();
    for _ in 0..64 {
        outcomes.push(store.get("a", 100).await.is_ok());
        assert!(store.head("a").await.is_ok());
    }
    outcomes
}

#[tokio::test]
async fn a_seed_decides_everything() {
    let first = outcomes(1).await;
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
    let good = first.iter().filter(|good| **good).count();
    assert!((16..48).contains(&good), "{good} of 64");
}

#[tokio::test]
async fn a_lost_answer_leaves_the_object() {
    let inner = filled();
    let store =
        FaultyStore::new(Arc::new(inner.clone()), 1).everywhere(Faults { lost: 1.0, ..Faults::default() });
    let error = store.create("new", Bytes::new(), sha256(b"")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(inner.bytes("new").is_some());
}

#[tokio::test]
async fn bodies_are_cut_or_truncated() {
    let cut = FaultyStore::new(Arc::new(filled()), 1).everywhere(Faults { cut: 1.0, ..Faults::default() });
    assert_eq!(cut.get("a", 100).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    let (_, body) = cut.get_stream("a").await.unwrap();
    assert!(body.try_collect::<Vec<_>>().await.is_err());
    let short =
        FaultyStore::new(Arc::new(filled()), 1).everywhere(Faults { truncate: 1.0, ..Faults::default() });
    assert!(short.get("a", 100).await.unwrap().len() < 100);
    let (entry, body) = short.get_stream("a").await.unwrap();
    let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
    assert!(pieces.concat().len() < 100 && entry.size == 100);
}

#[tokio::test]
async fn listings_lie() {
    let omits = FaultyStore::new(Arc::new(filled()), 1).everywhere(Faults { omit: 1.0, ..Faults::default() });
    assert_eq!(omits.list("", None, 10).await.unwrap().entries.len(), 2);
    let doubles =
        FaultyStore::new(Arc::new(filled()), 1).everywhere(Faults { duplicate: 1.0, ..Faults::default() });
    assert_eq!(doubles.list("", None, 10).await.unwrap().entries.len(), 4);
}

#[tokio::test]
async fn after_a_crash_nothing_happens() {
    let inner = filled();
    let store = FaultyStore::new(Arc::new(inner.clone()), 1).crash_after(2);
    store.delete("a").await.unwrap();
    store.delete("b").await.unwrap();
    let error = store.delete("c").await.unwrap_err();
    assert!(!error.kind.is_transient());
    assert_eq!((inner.keys(), store.operations()), (vec!["c".to_owned()], 3));
}

#[tokio::test]
async fn slowness_takes_its_time() {
    let slow = Faults { slow: 1.0, pause: Duration::from_millis(20), ..Faults::default() };
    let store = FaultyStore::new(Arc::new(filled()), 1).everywhere(slow);
    let start = tokio::time::Instant::now();
    store.head("a").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));
}
