//! The reader against repositories made by `testing`: what is listed, opened, refused, and found damaged.

mod damage;
mod hostile;
mod listing;
mod opening;
mod verifying;

use super::*;
use crate::testing::{SnapshotBuilder, TestRepository};
use futures::StreamExt as _;
use std::collections::BTreeMap;

/// Two namespaces, cluster objects, a Secret, a value of several chunks, and a map of several levels.
pub(super) fn sample() -> SnapshotBuilder {
    let mut snapshot = SnapshotBuilder::default()
        .object(None, "namespace", "web", r#"{"kind":"Namespace"}"#)
        .object(Some("web"), "deployment.apps", "front", r#"{"kind":"Deployment"}"#)
        .object(Some("web"), "secret", "password", r#"{"kind":"Secret"}"#)
        .object(Some("data"), "configmap", "large", large());
    for i in 0..3000 {
        let json = format!(r#"{{"kind":"ConfigMap","n":{i},"pad":"{}"}}"#, "x".repeat(i % 300));
        snapshot = snapshot.object(Some("web"), "configmap", &format!("c{i:05}"), json);
    }
    snapshot
}

pub(super) fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// One small object.
pub(super) fn small(text: &str) -> SnapshotBuilder {
    SnapshotBuilder::default().object(Some("web"), "configmap", "one", text)
}

pub(super) async fn open(repository: &TestRepository, spec: &str) -> Result<OpenSnapshot, ReadError> {
    let opened = repository.open().await;
    let list = opened.snapshots().await?;
    let snapshot = list.resolve(spec).expect("the snapshot of the test");
    opened.open_snapshot(snapshot, repository.keyring(&opened)).await
}

/// Every object by path, and every failure.
pub(super) async fn read_all(open: &OpenSnapshot) -> (BTreeMap<String, Vec<u8>>, Vec<ReadError>) {
    let (mut objects, mut errors) = (BTreeMap::new(), Vec::new());
    let mut stream = open.objects(&ObjectFilter::default());
    while let Some(next) = stream.next().await {
        match next {
            Ok(stored) => {
                objects.insert(stored.name.path(), stored.json.to_vec());
            }
            Err(e) => errors.push(e),
        }
    }
    (objects, errors)
}

/// Flips a bit in a pack's directory, so that nothing in it can be found.
pub(super) fn flip(repository: &TestRepository, pack: &str) {
    let flipped = repository.store.corrupt(pack, |bytes| {
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
    });
    assert!(flipped, "{pack} is there");
}
