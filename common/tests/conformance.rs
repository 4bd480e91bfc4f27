//! The conformance suite on the stores that need no server.

use lifeboat_common::clock::SystemClock;
use lifeboat_common::store::conformance;
use lifeboat_common::store::faulty::{Faults, FaultyStore, Operation};
use lifeboat_common::store::local::LocalStore;
use lifeboat_common::store::memory::MemoryStore;
use lifeboat_common::store::retry::{RetryPolicy, RetryStore};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn memory_conforms() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    conformance::run(store.clone(), Some(store)).await;
}

#[tokio::test]
async fn local_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::new(scratch.path(), Arc::new(SystemClock)));
    conformance::run(store.clone(), Some(store)).await;
    let below = Arc::new(LocalStore::below(scratch.path(), "prod", Arc::new(SystemClock)).unwrap());
    conformance::run(below.clone(), Some(below)).await;
}

#[tokio::test]
async fn memory_behind_faults_and_retries_conforms() {
    let transient = Faults {
        before: 0.2,
        throttle: 0.1,
        slow: 0.1,
        pause: Duration::from_millis(1),
        ..Faults::default()
    };
    let brisk = Duration::from_millis(1);
    let policy =
        RetryPolicy { attempts: 40, first_pause: brisk, longest_pause: brisk, ..RetryPolicy::default() };
    for seed in 0..10 {
        let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let faulty = FaultyStore::new(memory, seed)
            .everywhere(transient)
            .with(Operation::Get, Faults { lost: 0.1, ..transient })
            .with(Operation::Create, Faults { lost: 0.2, ..transient });
        let store = Arc::new(RetryStore::new(Arc::new(faulty), policy));
        conformance::run(store.clone(), Some(store)).await;
    }
}
