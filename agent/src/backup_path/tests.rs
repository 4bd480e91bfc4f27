//! Runs of this process on a store in memory, with a clock that stands: what is stored, reused, carried and resumed.

pub(crate) mod carry;
mod checkpoints;
mod merge;
mod property;
mod resume;
mod reuse;
pub(crate) mod trap;
pub(crate) mod world;

use std::collections::BTreeMap;
use world::{World, noise};

#[tokio::test]
async fn an_unchanged_tree_is_stored_for_nothing() {
    let world = World::new();
    world.write("a/one", b"1");
    world.write("a/b/two", &noise(300_000, 1));
    world.write("empty", b"");
    let first = world.run("v").await.unwrap();
    assert_eq!(first.manifest.result, lifeboat_format::manifest::RunResult::Completed);
    assert_eq!((first.totals.files, first.totals.bytes, first.totals.read_bytes), (3, 300_001, 300_001));
    let packs = world.count("packs/");
    world.later(3600);
    let second = world.run("v").await.unwrap();
    assert_eq!((second.totals.read_bytes, second.totals.new_bytes), (0, 0));
    assert_eq!(world.count("packs/"), packs + 1, "the body alone");
    assert!(second.sent_bytes < 12_000, "{}", second.sent_bytes);
    assert_eq!(second.manifest.prev, Some(first.sha256));
    let all = world.snapshots().await;
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0]["v/a/one"], b"1");
    assert_eq!(all[0]["v/a/b/two"], noise(300_000, 1));
}

#[tokio::test]
async fn a_changed_file_is_stored_and_the_older_snapshot_stays() {
    let world = World::new();
    world.write("a", b"old");
    world.write("b", b"same");
    world.run("v").await.unwrap();
    world.later(60);
    world.write("a", b"new and longer");
    std::fs::remove_file(world.tree().join("b")).unwrap();
    world.write("c/b", b"same");
    world.run("v").await.unwrap();
    let all = world.snapshots().await;
    let expected = |files: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(p, c)| (format!("v/{p}"), c.as_bytes().to_vec())).collect()
    };
    assert_eq!(all[0], expected(&[("a", "old"), ("b", "same")]));
    assert_eq!(all[1], expected(&[("a", "new and longer"), ("c/b", "same")]));
}

#[tokio::test]
async fn moved_data_is_stored_once() {
    let world = World::new();
    world.write("a", &noise(3 << 20, 1));
    world.run("v").await.unwrap();
    world.later(60);
    std::fs::rename(world.tree().join("a"), world.tree().join("z")).unwrap();
    world.write("copy", &noise(3 << 20, 1));
    let second = world.run("v").await.unwrap();
    assert_eq!(second.totals.read_bytes, 6 << 20);
    assert!(second.sent_bytes < 20_000, "{}", second.sent_bytes);
    assert_eq!(world.snapshots().await[1]["v/copy"], noise(3 << 20, 1));
}

#[tokio::test]
async fn another_host_is_refused() {
    let world = World::new();
    world.write("a", b"1");
    world.run("v").await.unwrap();
    let mut request = world.request("v");
    request.origin = lifeboat_format::id::Sha256::of(b"another");
    let refused = world.run_with(world.plain(), request).await.unwrap_err();
    assert!(refused.to_string().contains("another host"), "{refused}");
    world.forget_state();
    let mut request = world.request("v");
    request.origin = lifeboat_format::id::Sha256::of(b"another");
    assert!(world.run_with(world.plain(), request).await.is_err(), "the chain knows it, too");
}

#[tokio::test]
async fn what_cannot_be_walked_makes_no_snapshot() {
    let world = World::new();
    std::fs::remove_dir(world.tree()).unwrap();
    assert!(world.run("v").await.is_err());
    assert_eq!(world.count("manifests/"), 0);
}
