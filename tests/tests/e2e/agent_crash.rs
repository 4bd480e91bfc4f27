//! An agent that dies at any storage operation: the snapshot is there whole or not at all, and the next run goes on.

use crate::inprocess::{Inprocess, namespace};
use lifeboat_common::store::faulty::{Faults, FaultyStore, Operation};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_operation_leaves_all_or_nothing() {
    namespace("crash", 30);
    let probe = Inprocess::new(&["crash"]);
    let counting = Arc::new(FaultyStore::new(Arc::new(probe.memory.clone()), 1));
    probe.run(counting.clone()).await.unwrap();
    let expected = probe.restore_all().await.pop().unwrap();
    // 30 ConfigMaps, the Secret, the default ServiceAccount, the Namespace.
    assert_eq!(expected.len(), 33, "{:?}", expected.keys());
    let operations = counting.operations();
    assert!(operations >= 8, "{operations}");
    // One run that dies at its nth operation, as first, as second and as third of a repository.
    for earlier in [0, 1, 2] {
        for n in 0..operations + 8 {
            let world = Inprocess::new(&["crash"]);
            for _ in 0..earlier {
                world.run(world.plain()).await.unwrap();
            }
            let faulty = FaultyStore::new(Arc::new(world.memory.clone()), n).crash_after(n);
            let died = world.run(Arc::new(faulty)).await;
            let whole = world.restore_all().await;
            let committed = earlier + usize::from(died.is_ok());
            assert!(whole.len() == committed || whole.len() == committed + 1, "after {n}: {}", whole.len());
            world.run(world.plain()).await.unwrap_or_else(|e| panic!("the run after a crash at {n}: {e}"));
            let whole = world.restore_all().await;
            assert!(whole.len() > earlier, "after {n}");
            assert!(whole.iter().all(|s| *s == expected), "after {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_settled() {
    namespace("lost-answers", 20);
    for seed in 0..30 {
        let world = Inprocess::new(&["lost-answers"]);
        // The wrapper that every remote store has, around one that loses a fifth of its answers.
        let lost = Faults { lost: 0.2, before: 0.1, ..Faults::default() };
        let faulty = FaultyStore::new(Arc::new(world.memory.clone()), seed)
            .with(Operation::Create, lost)
            .with(Operation::Get, Faults { before: 0.1, ..Faults::default() });
        let quick = lifeboat_common::store::RetryPolicy {
            first_pause: std::time::Duration::from_millis(1),
            ..lifeboat_common::store::RetryPolicy::default()
        };
        let store = Arc::new(lifeboat_common::store::RetryStore::new(Arc::new(faulty), quick));
        for _ in 0..3 {
            world.run(store.clone()).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        let whole = world.restore_all().await;
        assert_eq!(whole.len(), 3, "seed {seed}");
        assert!(whole.iter().all(|s| *s == whole[0]), "seed {seed}");
    }
}
