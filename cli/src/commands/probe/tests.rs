//! Tests of `probe`: on a directory, and on stores that deny or do not keep what they should.

use super::target::Probed;
use super::*;
use crate::commands::init::tests as init;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::clock::ManualClock;
use lifeboat_common::store::{
    Body, CreateStore, Created, DeleteStore, Entry, Listing, MemoryStore, ReadStore, StoreError,
    StoreErrorKind,
};
use lifeboat_common::telemetry::Color;
use std::sync::Arc;

#[tokio::test]
async fn a_directory_creates_once_and_protects_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init::init(&init::args(dir.path())).await.unwrap();
    let args = ProbeArgs { config: Some(dir.path().join("out")), json: true, ..Default::default() };
    let mut out = Vec::new();
    let exit = run(&args, &mut Context::new(&mut out, Color::Never)).await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (exit, report["sound"].as_bool(), report["strict"].as_bool()),
        (Exit::Done, Some(true), Some(false))
    );
    let verdict = |right: &str| {
        let rows = report["checks"].as_array().unwrap();
        rows.iter().find(|r| r["right"] == right).map(|r| r["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("create the same key twice").as_deref(), Some("enforced"));
    assert_eq!(verdict("Date and Last-Modified are one clock").as_deref(), Some("ok"));
    assert_eq!(verdict("delete").as_deref(), Some("promised"));
    let strict = ProbeArgs { strict: true, ..args };
    assert_eq!(run(&strict, &mut Context::new(&mut Vec::new(), Color::Never)).await.unwrap(), Exit::Partial);
    // Nothing but canaries came.
    let top: Vec<_> =
        std::fs::read_dir(dir.path().join("repo/prod")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(top.iter().all(|n| ["charter", "epochs", "packs", ".tmp"].iter().any(|k| n == k)), "{top:?}");
}

/// A store in memory with rights, and with what a bad one gets wrong.
#[derive(Debug, Clone)]
struct Fake {
    memory: MemoryStore,
    create: &'static [&'static str],
    delete: bool,
    conditional: bool,
    late_s: i64,
}

impl Fake {
    fn deny<T>(operation: &'static str) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Denied, operation, "fake", "403"))
    }
}

#[async_trait]
impl ReadStore for Fake {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes, StoreError> {
        self.memory.get(key, max_bytes).await
    }
    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.memory.get_range(key, offset, length).await
    }
    async fn get_stream(&self, key: &str) -> Result<(Entry, Body), StoreError> {
        self.memory.get_stream(key).await
    }
    async fn head(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.memory.head(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, StoreError> {
        if prefix.is_empty() {
            Self::deny("list")
        } else {
            self.memory.list(prefix, start_after, limit).await
        }
    }
    fn describe(&self) -> String {
        "fake:".to_owned()
    }
}

#[async_trait]
impl CreateStore for Fake {
    async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created, StoreError> {
        if !self.create.iter().any(|prefix| key.starts_with(prefix)) {
            return Self::deny("create");
        }
        if !self.conditional {
            self.memory.put(key, body.clone());
            self.memory.remove(key);
        }
        let created = self.memory.create(key, body, sha256).await?;
        Ok(Created { store_time: created.store_time - jiff::SignedDuration::from_secs(self.late_s) })
    }
}

#[async_trait]
impl DeleteStore for Fake {
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        if self.delete { self.memory.delete(key).await } else { Self::deny("delete") }
    }
}

#[async_trait]
impl Probed for Fake {
    fn read(&self) -> &dyn ReadStore {
        self
    }
    fn create(&self) -> &dyn CreateStore {
        self
    }
    fn delete(&self) -> &dyn DeleteStore {
        self
    }
    fn outside(&self) -> &dyn ReadStore {
        self
    }
    async fn overwrite(&self, _: &str, _: Bytes, _: [u8; 32]) -> Option<Result<(), StoreError>> {
        Some(if self.conditional { Self::deny("overwrite") } else { Ok(()) })
    }
    async fn versioned(&self) -> Option<Result<bool, StoreError>> {
        Some(Ok(true))
    }
    async fn list_versions(&self) -> Option<Result<(), StoreError>> {
        Some(Ok(()))
    }
    fn has_rights(&self) -> bool {
        true
    }
}

const AGENT: Rights = Rights { create: &["packs/", "lists/", "manifests/", "agent/"], delete: false };
const READER: Rights = Rights { create: &[], delete: false };

/// The rights of a [`Fake`].
struct Rights {
    create: &'static [&'static str],
    delete: bool,
}

fn memory() -> MemoryStore {
    let memory = MemoryStore::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
    for key in [
        "charter/1-a.json",
        "epochs/1-a.age",
        "manifests/0000000000000001.json",
        "lists/a",
        "agent/a",
        "lost/a",
    ] {
        memory.put(key, key.as_bytes().to_vec());
    }
    memory
}

fn fake(memory: &MemoryStore, rights: &Rights) -> Fake {
    Fake {
        memory: memory.clone(),
        create: rights.create,
        delete: rights.delete,
        conditional: true,
        late_s: 0,
    }
}

async fn probe(targets: Vec<(Role, Fake)>) -> Vec<Row> {
    let mut tries = Tries::new(Timestamp::UNIX_EPOCH);
    for (role, target) in targets {
        tries.add(role, Box::new(target));
    }
    tries.run().await.unwrap()
}

fn with(rows: &[Row], verdict: Verdict) -> Vec<String> {
    rows.iter().filter(|r| r.verdict == verdict).map(|r| format!("{} {}", r.credential, r.right)).collect()
}

/// Keys and bytes of everything but canaries.
fn real(memory: &MemoryStore) -> Vec<(String, Bytes)> {
    let keys = memory.keys().into_iter().filter(|k| !k.starts_with("packs/"));
    keys.map(|k| (k.clone(), memory.bytes(&k).unwrap())).collect()
}

#[tokio::test]
async fn good_rights_are_enforced_and_nothing_real_changes() {
    let memory = memory();
    let before = real(&memory);
    let rows =
        probe(vec![(Role::Agent, fake(&memory, &AGENT)), (Role::Replicator, fake(&memory, &READER))]).await;
    for bad in [Verdict::Promised, Verdict::Missing, Verdict::Broken] {
        assert_eq!(with(&rows, bad), Vec::<String>::new(), "{rows:#?}");
    }
    assert_eq!(
        with(&rows, Verdict::Unknown),
        ["agent create under forgotten/", "replicator create under forgotten/"]
    );
    let enforced = with(&rows, Verdict::Enforced);
    for right in [
        "store create the same key twice",
        "agent delete",
        "agent overwrite",
        "agent create under charter/",
        "replicator create under packs/",
    ] {
        assert!(enforced.iter().any(|e| e == right), "{right}: {enforced:?}");
    }
    assert_eq!(real(&memory), before);
}

#[tokio::test]
async fn too_much_and_too_little_are_named() {
    let memory = memory();
    let before = real(&memory);
    let greedy = Rights { create: &[""], delete: true };
    let rows =
        probe(vec![(Role::Agent, fake(&memory, &greedy)), (Role::Retain, fake(&memory, &READER))]).await;
    let promised = with(&rows, Verdict::Promised);
    for right in [
        "agent create under charter/",
        "agent create under epochs/",
        "agent create under lost/",
        "agent delete",
    ] {
        assert!(promised.iter().any(|p| p == right), "{right}: {promised:?}");
    }
    assert_eq!(with(&rows, Verdict::Missing), ["retain delete"]);
    assert_eq!(real(&memory), before);
}

#[tokio::test]
async fn a_store_without_conditional_create_or_with_two_clocks_is_broken() {
    let memory = memory();
    let before = real(&memory);
    let sloppy = Fake { conditional: false, late_s: 60, ..fake(&memory, &AGENT) };
    let rows = probe(vec![(Role::Agent, sloppy)]).await;
    assert_eq!(
        with(&rows, Verdict::Broken),
        ["store create the same key twice", "store Date and Last-Modified are one clock"]
    );
    // Where the condition does not hold, nothing real is tried.
    assert!(with(&rows, Verdict::Unknown).iter().any(|r| r == "agent create under manifests/"));
    assert_eq!(real(&memory), before);
}
