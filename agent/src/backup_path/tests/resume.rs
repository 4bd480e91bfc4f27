//! Runs that were killed, and those that follow them.

use super::trap::Trap;
use super::world::{World, noise};
use crate::backup::BackupError;
use crate::backup_path::{Cadence, backup_path};
use crate::tree::TreeProgress;
use std::sync::Arc;

/// Files of 40 MiB together that do not compress: three packs.
fn fill(world: &World) {
    for i in 0..40 {
        world.write(&format!("{i:02}"), &noise(1 << 20, i));
    }
}

/// A run that dies when it tries to create one more than `after` objects under `prefix`.
pub(super) async fn killed(world: &World, prefix: &'static str, after: usize) {
    let trap = Trap::hanging(&world.memory, prefix, after);
    let run = world.run_with(trap.clone(), world.request("v"));
    tokio::select! {
        done = run => panic!("{done:?}"),
        () = trap.caught.notified() => {}
    }
    // The log of what has arrived is written a moment later than it arrives; the run is killed after that.
}

#[tokio::test]
async fn what_a_killed_run_sent_is_not_sent_again() {
    let undisturbed = World::new();
    fill(&undisturbed);
    undisturbed.run("v").await.unwrap();

    let world = World::new();
    fill(&world);
    killed(&world, "manifests/", 0).await;
    assert_eq!(world.count("manifests/"), 0);
    let sent = world.bytes("packs/");
    world.later(60);
    let done = world.run("v").await.unwrap();
    assert!(done.sent_bytes < 100_000, "{}", done.sent_bytes);
    assert!(world.bytes("packs/") < sent + 50_000);
    assert!(world.bytes("packs/") < undisturbed.bytes("packs/") * 102 / 100);
    assert_eq!(world.snapshots().await, undisturbed.snapshots().await);
}

#[tokio::test]
async fn a_run_killed_again_and_again_finishes() {
    let world = World::new();
    fill(&world);
    for after in 1..=2 {
        killed(&world, "packs/", after).await;
        world.later(10);
    }
    world.run("v").await.unwrap();
    assert_eq!(world.snapshots().await.len(), 1);
    assert!(world.bytes("packs/") < (40 << 20) * 145 / 100, "{}", world.bytes("packs/"));
}

#[tokio::test]
async fn a_run_that_is_stopped_logs_what_has_arrived() {
    let world = World::new();
    fill(&world);
    let trap = Trap::hanging(&world.memory, "lists/", 0);
    let mut request = world.request("v");
    request.cadence = Cadence { bytes: u64::MAX, seconds: i64::MAX, share: 0, ..Cadence::TREES };
    let (setup, progress) = (world.setup(trap.clone()), Arc::new(TreeProgress::default()));
    // Stops while packs are on their way.
    let memory = world.memory.clone();
    let stop = async move {
        while !memory.keys().iter().any(|k| k.starts_with("packs/")) {
            tokio::task::yield_now().await;
        }
    };
    let stopped = backup_path(&setup, &request, world.clock.clone(), progress, std::pin::pin!(stop)).await;
    assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
    let sent = world.bytes("packs/");
    assert!(sent > 0);
    drop(setup);
    let done = world.run("v").await.unwrap();
    assert!(world.bytes("packs/") < (41 << 20) + (1 << 20), "nothing was sent twice");
    assert!(done.sent_bytes < (41 << 20) + (1 << 20) - sent + 100_000);
}

#[tokio::test]
async fn runs_of_other_volumes_leave_an_interrupted_one_alone() {
    let world = World::new();
    fill(&world);
    killed(&world, "manifests/", 0).await;
    let tree = world.tree();
    std::fs::rename(&tree, tree.with_extension("aside")).unwrap();
    std::fs::create_dir(&tree).unwrap();
    world.write("x", b"1");
    world.run("other").await.unwrap();
    super::carry::objects_run(&world, 10).await;
    std::fs::remove_dir_all(&tree).unwrap();
    std::fs::rename(tree.with_extension("aside"), &tree).unwrap();
    let done = world.run("v").await.unwrap();
    assert!(done.sent_bytes < 100_000, "{}", done.sent_bytes);
}

#[tokio::test]
async fn a_day_later_what_was_sent_is_fresh_no_more() {
    let world = World::new();
    fill(&world);
    killed(&world, "manifests/", 0).await;
    world.later(25 * 3600);
    // Nobody has committed since: the packs are as good as new (rule 3 compares with the newest manifest).
    let trap = Trap::hanging(&world.memory, "manifests/", 0);
    tokio::select! {
        done = world.run_with(trap.clone(), world.request("v")) => panic!("{done:?}"),
        () = trap.caught.notified() => {}
    }
    assert!(world.bytes("packs/") < 42 << 20);
    super::carry::objects_run(&world, 10).await;
    let done = world.run("v").await.unwrap();
    assert!(done.sent_bytes > 40 << 20, "sealed anew: {}", done.sent_bytes);
    assert_eq!(world.snapshots().await[1].len(), 40);
}

#[tokio::test]
async fn a_store_that_fails_ends_the_run_with_its_error() {
    let world = World::new();
    fill(&world);
    let trap = Trap::failing(&world.memory, "packs/", 1);
    let failed = world.run_with(trap, world.request("v")).await.unwrap_err();
    assert!(failed.to_string().contains("the store is gone"), "{failed}");
    world.run("v").await.unwrap();
    assert_eq!(world.snapshots().await.len(), 1);
}

#[tokio::test]
async fn a_run_whose_packs_are_fresh_no_more_seals_them_anew() {
    let world = World::new();
    fill(&world);
    let trap = Trap::hanging(&world.memory, "packs/", 2);
    let others = async {
        trap.caught.notified().await;
        // More than a day passes, and another agent of the same key commits.
        world.later(25 * 3600);
        world.aside("elsewhere");
        super::carry::objects_run(&world, 10).await;
        world.aside("state");
        for _ in 0..200 {
            trap.release.notify_one();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let run = world.run_with(trap.clone(), world.request("v"));
    let done = tokio::select! {
        done = run => done.unwrap(),
        () = async { others.await; std::future::pending().await } => unreachable!("it waits for ever"),
    };
    let all = world.bytes("packs/");
    assert!(all > 50_000_000, "{all}: what was sent before is there, and named by nothing");
    let named: usize = done.manifest.packs.iter().map(|p| p.bitmap.iter().count()).sum();
    assert!(named <= 5, "{named}");
    assert_eq!(world.snapshots().await.last().unwrap().len(), 40);
}
