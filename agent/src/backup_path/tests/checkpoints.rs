//! Checkpoints: what they name, who sees them, and what they keep.

use super::carry::objects_run;
use super::trap::Trap;
use super::world::{World, noise};
use crate::backup_path::{Checkpoints, PathRequest};
use lifeboat_common::reader::Repository;
use lifeboat_format::manifest::{Coverage, Manifest};
use std::collections::BTreeSet;
use std::time::Duration;

fn fill(world: &World, files: u64) {
    for i in 0..files {
        world.write(&format!("{i:02}"), &noise(1 << 20, i));
    }
}

/// A checkpoint after every pack.
fn often(world: &World) -> PathRequest {
    let checkpoints = Checkpoints { bytes: 1, look: Duration::from_millis(1), ..Checkpoints::default() };
    PathRequest { checkpoints, ..world.request("v") }
}

fn manifests(world: &World) -> Vec<Manifest> {
    (1..)
        .map_while(|seq| {
            world.memory.bytes(&lifeboat_format::layout::manifest(seq)).map(|_| world.manifest(seq))
        })
        .collect()
}

/// Every (list, index) that a manifest names.
fn named(m: &Manifest) -> BTreeSet<(String, usize)> {
    let packs = m.packs.iter().map(|p| (p.list, &p.bitmap));
    let carry = m.carry.iter().map(|c| (c.list, &c.bitmap));
    packs.chain(carry).flat_map(|(list, b)| b.iter().map(move |i| (list.to_hex(), i))).collect()
}

#[tokio::test]
async fn a_checkpoint_names_all_that_its_head_does_and_is_no_snapshot() {
    let world = World::new();
    objects_run(&world, 300).await;
    world.write("old", &noise(1 << 20, 99));
    world.run("v").await.unwrap();
    fill(&world, 40);
    world.later(60);
    let done = world.run_with(world.plain(), often(&world)).await.unwrap();
    assert!(done.checkpoints >= 1);
    let all = manifests(&world);
    for pair in all.windows(2) {
        assert_eq!(pair[1].prev, Some(lifeboat_format::id::Sha256::of(&pair[0].payload())));
        if pair[1].coverage == Coverage::Checkpoint {
            assert!(pair[1].packs.is_empty() && pair[1].body.is_none());
            assert!(named(&pair[0]).is_subset(&named(&pair[1])), "everything of the head");
            assert_eq!(pair[1].run, done.manifest.run);
        }
    }
    let repository =
        Repository::open(world.plain(), &"prod".parse().unwrap(), &world.owner_key()).await.unwrap();
    let list = repository.snapshots().await.unwrap();
    assert_eq!(list.snapshots.len(), 3);
    assert_eq!(list.checkpoints.len() as u64, done.checkpoints);
    assert!(list.anomalies.is_empty());
    assert_eq!(world.snapshots().await[2].len(), 41);
    // What the checkpoints were carried for is known afterwards: objects, and the volume itself.
    world.later(60);
    assert!(objects_run(&world, 300).await < 20_000);
    assert!(world.run("v").await.unwrap().sent_bytes < 20_000);
}

#[tokio::test]
async fn a_run_killed_after_a_checkpoint_goes_on_days_later() {
    let world = World::new();
    fill(&world, 40);
    let trap = Trap::hanging(&world.memory, "packs/", 2);
    tokio::select! {
        done = world.run_with(trap.clone(), often(&world)) => panic!("{done:?}"),
        // A checkpoint that names a pack: on a busy machine the first may be made before any has arrived.
        () = async {
            while !manifests(&world).iter().any(|m| !named(m).is_empty()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    let sent = world.bytes("packs/");
    assert!(sent > 12 << 20, "{sent}");
    // Long after the packs are fresh no more, the chain still names them.
    for _ in 0..3 {
        world.later(2 * 24 * 3600);
        objects_run(&world, 10).await;
    }
    world.later(60);
    let done = world.run("v").await.unwrap();
    // A pack that arrived after the last checkpoint is sent again; what a checkpoint names is not.
    assert!(done.sent_bytes < 32 << 20, "{} after {sent}", done.sent_bytes);
    assert_eq!(world.snapshots().await.last().unwrap().len(), 40);
}

#[tokio::test]
async fn two_manifests_of_others_are_answered_with_a_checkpoint() {
    let world = World::new();
    fill(&world, 40);
    let checkpoints =
        Checkpoints { poll_seconds: 0, look: Duration::from_millis(1), ..Checkpoints::default() };
    let request = PathRequest { checkpoints, ..world.request("v") };
    let trap = Trap::hanging(&world.memory, "packs/", 2);
    let others = async {
        while world.count("packs/") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Another agent with the same key: its own state.
        world.aside("elsewhere");
        objects_run(&world, 10).await;
        objects_run(&world, 10).await;
        world.aside("state");
        while world.count("manifests/") < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = world.run_with(trap.clone(), request) => panic!("{done:?}"),
        () = others => {}
    }
    let all = manifests(&world);
    assert_eq!(all[2].coverage, Coverage::Checkpoint);
    assert!(named(&all[1]).is_subset(&named(&all[2])));
    assert!(named(&all[2]).len() >= named(&all[1]).len() + 2, "and the packs so far");
}
