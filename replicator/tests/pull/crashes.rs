//! The source goes away after each number of requests in turn: what is committed is whole, and the next pull goes on.

use crate::fixture::*;
use lifeboat_common::store::faulty::FaultyStore;
use std::sync::Arc;

#[tokio::test]
async fn a_source_that_dies_after_any_request_loses_nothing() {
    let mut primary = Primary::with("prod", 2);
    primary.checkpoint();
    primary.snapshot(2);
    let mut tried = 0;
    for operations in 0.. {
        let vaulted = Vaulted::new(&primary);
        let faulty = FaultyStore::new(Arc::new(primary.store.clone()), 1).crash_after(operations);
        let source = primary.source_through(Arc::new(faulty));
        let first = vaulted.replicator.pull(&source).await;
        vaulted.held(&primary);
        if first.error.is_none() {
            break;
        }
        tried += 1;
        let before = primary.store.requests();
        let second = vaulted.clean_pull(&primary).await;
        assert_eq!(vaulted.held(&primary), [1, 2, 4], "after {operations} requests");
        check_receipts(vaulted.dir.path(), &primary, &[1, 2, 4]);
        assert_eq!(first.packs + second.packs, 8, "no pack is fetched twice");
        assert!(primary.store.requests().since(&before).total() < 30);
    }
    assert!(tried > 15, "only {tried} requests");
}

#[test]
fn a_pull_that_is_dropped_at_any_time_loses_nothing() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let primary = Primary::with("prod", 3);
    for microseconds in (0..20_000).step_by(700) {
        let vaulted = Vaulted::new(&primary);
        let limit = std::time::Duration::from_micros(microseconds);
        let source = primary.source();
        // As in a service that is stopped: the runtime ends with the pull, after the disk work under way.
        let stopped = runtime();
        let _ =
            stopped.block_on(async { tokio::time::timeout(limit, vaulted.replicator.pull(&source)).await });
        drop(stopped);
        runtime().block_on(vaulted.clean_pull(&primary));
        assert_eq!(vaulted.held(&primary), [1, 2, 3]);
        check_receipts(vaulted.dir.path(), &primary, &[1, 2, 3]);
    }
}
