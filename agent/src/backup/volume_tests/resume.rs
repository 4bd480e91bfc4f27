//! Workers that die, and controllers that do.

use super::site::{Site, Worker};
use super::{DAY, THREE, fill, there};
use crate::backup::volumes::Choice;
use crate::backup_path::tests::trap::Trap;
use crate::backup_path::tests::world::noise;
use lifeboat_format::manifest::RunResult;

/// 60 MiB that do not compress: four packs.
fn large(site: &Site) {
    for i in 0..60 {
        site.world.write(&format!("a/data/{i:02}"), &noise(1 << 20, i));
    }
}

#[tokio::test]
async fn a_worker_that_died_is_gone_on_from_by_the_next_run() {
    let undisturbed = Site::new(&["a/data"]).await;
    large(&undisturbed);
    undisturbed.run().await.unwrap();
    let site = Site::new(&["a/data"]).await;
    large(&site);
    site.set("a/data", Choice::Read, Worker::Dies(3));
    let done = site.run().await.unwrap();
    assert_eq!((done.manifest.counts.volumes, done.manifest.result), (0, RunResult::PartiallyFailed));
    let sent = site.world.bytes("packs/");
    assert!(sent > 30 << 20, "{sent}");
    site.set("a/data", Choice::Read, Worker::Reads);
    site.world.later(DAY / 2);
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::Completed);
    assert!(
        site.world.bytes("packs/") < undisturbed.world.bytes("packs/") * 102 / 100,
        "{} of {}",
        site.world.bytes("packs/"),
        undisturbed.world.bytes("packs/")
    );
    assert_eq!(site.world.snapshots().await[1], there(&site, &["a/data"]));
    // Whatever it went on from, the one after stores nothing.
    site.world.later(DAY);
    assert!(site.run().await.unwrap().sent_bytes < 60_000);
}

#[tokio::test]
async fn a_volume_that_takes_days_is_read_over_several_runs() {
    let site = Site::new(&["a/data", "b/other"]).await;
    large(&site);
    site.set("a/data", Choice::Read, Worker::Dies(3));
    let first = site.run().await.unwrap();
    assert_eq!(first.manifest.result, RunResult::PartiallyFailed);
    assert!(!first.manifest.carry.is_empty(), "what was sent is named");
    // More than a day later, and again: the snapshots in between name what was sent.
    site.world.later(25 * 3600);
    site.set("a/data", Choice::Read, Worker::Fails);
    site.run().await.unwrap();
    site.world.later(25 * 3600);
    site.set("a/data", Choice::Read, Worker::Dies(5));
    site.run().await.unwrap();
    site.world.later(25 * 3600);
    site.set("a/data", Choice::Read, Worker::Reads);
    let sent = site.world.bytes("packs/");
    assert!(sent < 63 << 20, "nothing was sent twice: {sent}");
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::Completed, "{:?}", done.report);
    assert!(done.sent_bytes < 40 << 20, "{}", done.sent_bytes);
    assert_eq!(site.world.snapshots().await.last().unwrap(), &there(&site, &["a/data", "b/other"]));
    site.world.later(DAY);
    assert!(site.run().await.unwrap().sent_bytes < 100_000);
}

#[tokio::test]
async fn what_a_dead_worker_sent_is_kept_for_two_weeks() {
    let site = Site::new(&["a/data"]).await;
    large(&site);
    site.set("a/data", Choice::Read, Worker::Dies(3));
    site.run().await.unwrap();
    site.set("a/data", Choice::Read, Worker::Fails);
    // The last three snapshots before it no longer name it.
    for _ in 0..7 {
        site.world.later(4 * DAY);
        site.run().await.unwrap();
    }
    site.set("a/data", Choice::Read, Worker::Reads);
    let done = site.run().await.unwrap();
    assert!(done.sent_bytes > 60 << 20, "sealed anew: {}", done.sent_bytes);
    assert_eq!(site.world.snapshots().await.last().unwrap(), &there(&site, &["a/data"]));
}

#[tokio::test]
async fn a_controller_killed_before_its_commit_reads_no_volume_again() {
    for (prefix, after) in [("lists/", 0), ("manifests/", 0)] {
        let site = Site::new(&THREE).await;
        fill(&site);
        let trap = Trap::hanging(&site.world.memory, prefix, after);
        tokio::select! {
            done = site.run_of("=one backup", true, trap.clone()) => panic!("{:?}", done.map(|d| d.manifest.seq)),
            () = trap.caught.notified() => {}
        }
        assert_eq!(site.world.count("manifests/"), 0);
        assert_eq!(*site.local.reads.lock().unwrap(), 3);
        site.world.later(600);
        let before = site.world.bytes("packs/");
        let done = site.run_of("=one backup", true, site.world.plain()).await.unwrap();
        assert_eq!((done.manifest.counts.volumes, done.manifest.result), (3, RunResult::Completed));
        assert_eq!(*site.local.reads.lock().unwrap(), 3, "their results stand");
        assert!(site.world.bytes("packs/") - before < 40_000);
        assert_eq!(site.world.snapshots().await, [there(&site, &THREE)]);
        assert!(site.local.finished.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_controller_killed_while_volumes_are_read_goes_on() {
    let site = Site::new(&["a/data"]).await;
    large(&site);
    let trap = Trap::hanging(&site.world.memory, "packs/", 3);
    *site.local.store.lock().unwrap() = trap.clone();
    tokio::select! {
        done = site.run_of("=one", true, site.world.plain()) => panic!("{:?}", done.map(|d| d.manifest.seq)),
        () = trap.caught.notified() => {}
    }
    *site.local.store.lock().unwrap() = site.world.plain();
    let done = site.run_of("=one", true, site.world.plain()).await.unwrap();
    assert_eq!(done.manifest.counts.volumes, 1);
    assert_eq!(site.world.snapshots().await, [there(&site, &["a/data"])]);
}

#[tokio::test]
async fn a_run_that_lost_what_it_built_on_keeps_results_that_stand() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.run().await.unwrap();
    site.world.later(DAY);
    site.world.write("a/data/new", &noise(2 << 20, 5));
    let trap = Trap::hanging(&site.world.memory, "manifests/", 0);
    let others = async {
        trap.caught.notified().await;
        // Another agent of the same key commits four times: what was reused is named by nobody near any more.
        site.world.aside("elsewhere");
        for _ in 0..4 {
            crate::backup_path::tests::carry::objects_run(&site.world, 10).await;
        }
        site.world.aside("state");
        for _ in 0..500 {
            trap.release.notify_one();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let run = site.run_of("late", true, trap.clone());
    let done = tokio::select! {
        done = run => done.unwrap(),
        () = async { others.await; std::future::pending().await } => unreachable!("it waits for ever"),
    };
    assert_eq!(done.manifest.result, RunResult::Completed, "{:?}", done.report);
    assert_eq!(site.world.snapshots().await.last().unwrap(), &there(&site, &THREE));
}
