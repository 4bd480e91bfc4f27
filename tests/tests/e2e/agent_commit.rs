//! Commit and reuse as the agent does them: races, pauses, freshness, resumption, and what a second run costs.

use crate::inprocess::{Inprocess, Outcome, later, namespace};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::clock::{Clock, ManualClock};
use lifeboat_common::store::faulty::FaultyStore;
use lifeboat_common::store::{
    Body, CreateStore, Created, Entry, Listing, MemoryStore, ReadStore, Result, SharedCreate,
};
use lifeboat_format::layout;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A store that holds every create of a manifest until it is let through.
#[derive(Debug)]
struct Held {
    inner: MemoryStore,
    reached: Semaphore,
    gate: Semaphore,
}

impl Held {
    fn new(inner: MemoryStore) -> Arc<Self> {
        Arc::new(Self { inner, reached: Semaphore::new(0), gate: Semaphore::new(0) })
    }
}

#[async_trait]
impl ReadStore for Held {
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
impl CreateStore for Held {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        if key.starts_with(layout::MANIFESTS) {
            self.reached.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
        }
        self.inner.create(key, body, sha256).await
    }
}

/// Copies an agent's state, as a second controller with the same Secret would have it.
fn copy_state(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("prod.cbor"), to.path().join("prod.cbor")).unwrap();
    to
}

/// A run that stands before its commit while `meanwhile` happens.
async fn paused(world: &Arc<Inprocess>, state: &Path, meanwhile: impl AsyncFnOnce()) -> Outcome {
    let held = Held::new(world.memory.clone());
    let (in_task, store, state) = (world.clone(), held.clone(), state.to_path_buf());
    let clock = world.clock.clone();
    let run = tokio::spawn(async move { in_task.run_with(store, &state, clock).await });
    held.reached.acquire().await.unwrap().forget();
    meanwhile().await;
    held.gate.add_permits(100);
    run.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_race_for_one_slot_without_fork_or_loss() {
    namespace("race", 20);
    let world = Arc::new(Inprocess::new(&["race"]));
    world.run(world.plain()).await.unwrap();
    let second = copy_state(world.state());
    let paused = paused(&world, second.path(), async || {
        let won = world.run(world.plain()).await.unwrap();
        assert_eq!(won.manifest.seq, 2);
    });
    let late = paused.await.unwrap();
    assert_eq!(late.manifest.seq, 3, "the slot that was lost is not taken twice");
    let whole = world.restore_all().await;
    assert_eq!(whole.len(), 3);
    assert!(whole.iter().all(|s| *s == whole[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_older_than_a_day_beside_a_newer_manifest_are_sealed_anew() {
    namespace("stale", 20);
    let world = Arc::new(Inprocess::new(&["stale"]));
    world.run(world.plain()).await.unwrap();
    let second = copy_state(world.state());
    // Another generation of the object, so that the paused run has packs of its own.
    lifeboat_tests::harness::shared_cluster()
        .unwrap()
        .kubectl(&["-n", "stale", "create", "configmap", "new", "--from-literal=a=b"])
        .unwrap();
    let packs = |w: &Inprocess| w.memory.keys().iter().filter(|k| k.starts_with("packs/")).count();
    let mut before = 0;
    let paused = paused(&world, second.path(), async || {
        later(&world.clock, 25 * 3600);
        world.run(world.plain()).await.unwrap();
        before = packs(&world);
    });
    let late = paused.await.unwrap();
    assert_eq!(late.manifest.seq, 3);
    assert!(packs(&world) > before, "its own packs were too old to be named");
    assert_eq!(world.restore_all().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_cluster_stores_next_to_nothing_and_costs_the_same_in_a_large_store() {
    namespace("same", 400);
    let world = Inprocess::new(&["same"]);
    let first = world.run(world.plain()).await.unwrap();
    let mut beside = Vec::new();
    for i in 0..12 {
        later(&world.clock, 86_400);
        let before = world.memory.requests();
        let again = world.run(world.plain()).await.unwrap();
        let requests = world.memory.requests().since(&before);
        beside.push(requests.total() - requests.create);
        let share = again.sent_bytes * 100 / first.sent_bytes;
        // Secrets, the body and the manifest are sealed by every run; the objects themselves are not.
        assert!(
            again.sent_bytes < 16_000,
            "run {i}: {} of {} bytes, {share} %",
            again.sent_bytes,
            first.sent_bytes
        );
    }
    let settled = &beside[3..];
    assert!(settled.iter().all(|n| *n == settled[0]), "requests beside uploads grow: {beside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subsets_do_not_cost_the_next_full_run_its_memory() {
    for name in ["part-a", "part-b"] {
        namespace(name, 200);
    }
    let mut world = Inprocess::new(&["part-a", "part-b"]);
    let first = world.run(world.plain()).await.unwrap();
    for _ in 0..4 {
        world.select(&["part-a"]);
        later(&world.clock, 3600);
        world.run(world.plain()).await.unwrap();
    }
    world.select(&["part-a", "part-b"]);
    let again = world.run(world.plain()).await.unwrap();
    assert!(again.sent_bytes < first.sent_bytes / 10, "{} of {}", again.sent_bytes, first.sent_bytes);
    assert_eq!(world.restore_all().await.len(), 6);
}

/// A clock by which a minute passes whenever somebody looks: every arrived pack is logged at once.
#[derive(Debug)]
struct Hasty(Arc<ManualClock>);

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        later(&self.0, 61);
        self.0.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_goes_on_from_what_it_sent() {
    namespace("resume", 300);
    let world = Inprocess::new(&["resume"]);
    let hasty: Arc<dyn Clock> = Arc::new(Hasty(world.clock.clone()));
    let packs = || world.memory.keys().iter().filter(|k| k.starts_with("packs/")).count();
    let mut most = 0;
    // The longest run that dies before it writes its pack list. What one attempt leaves costs the next one less than what
    // this one got further.
    for n in 3.. {
        assert!(n < 200, "attempts that die later and later get nowhere");
        let store: SharedCreate =
            Arc::new(FaultyStore::new(Arc::new(world.memory.clone()), 1).crash_after(n));
        let died = world.run_with(store, world.state(), hasty.clone()).await;
        most = most.max(packs());
        if died.is_ok() || world.memory.keys().iter().any(|k| k.starts_with("lists/")) {
            break;
        }
    }
    let resumed = world.run_with(world.plain(), world.state(), hasty).await.unwrap();
    assert!(
        resumed.manifest.packs.len() >= 2,
        "packs of the interrupted attempts stand in lists of their own"
    );
    let whole = world.restore_all().await;
    assert_eq!(whole.last().unwrap().len(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_or_rolled_back_primary_stops_the_agent() {
    namespace("emptied", 5);
    let world = Inprocess::new(&["emptied"]);
    for _ in 0..2 {
        world.run(world.plain()).await.unwrap();
    }
    world.memory.remove(&layout::manifest(2));
    let error = world.run(world.plain()).await.unwrap_err();
    assert!(error.to_string().contains("went back from snapshot 2"), "{error}");
    world.memory.remove(&layout::manifest(1));
    let fresh = tempfile::tempdir().unwrap();
    let error = world.run_with(world.plain(), fresh.path(), world.clock.clone()).await.unwrap_err();
    assert!(error.to_string().contains("pack lists but no manifest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_takes_slots_and_changes_nothing_else() {
    namespace("junk", 5);
    let world = Inprocess::new(&["junk"]);
    world.run(world.plain()).await.unwrap();
    world.memory.put(&layout::manifest(2), "junk");
    world.memory.put(&layout::manifest(9), "junk far above");
    let next = world.run(world.plain()).await.unwrap();
    assert_eq!(next.manifest.seq, 3, "the lowest free slot");
    let lost_state = tempfile::tempdir().unwrap();
    let again = world.run_with(world.plain(), lost_state.path(), world.clock.clone()).await.unwrap();
    assert_eq!((again.manifest.seq, again.manifest.prev), (4, Some(next.sha256)));
}
