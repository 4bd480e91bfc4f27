//! Runs over a cluster with volumes, in this process on a store in memory: one snapshot of objects and volumes, what is
//! reused, kept, missed, resumed and refused.

mod hostile;
mod resume;
mod site;

use super::volumes::Choice;
use crate::backup_path::tests::world::{Files, noise, on_disk};
use crate::select::RunResult as Result_;
use lifeboat_format::manifest::{Coverage, RunResult};
use site::{Site, Worker};

const THREE: [&str; 3] = ["a/data", "a/logs", "b/data2"];
const DAY: i64 = 24 * 3600;

fn fill(site: &Site) {
    for (i, name) in THREE.iter().enumerate() {
        let seed = i as u64 * 100;
        site.world.write(&format!("{name}/one"), format!("of {name}").as_bytes());
        site.world.write(&format!("{name}/deep/er/two"), &noise(300_000, seed));
        site.world.write(&format!("{name}/big"), &noise(3 << 20, seed + 1));
    }
}

/// The files of these volumes on disk, as snapshots give them.
fn there(site: &Site, names: &[&str]) -> Files {
    let mut out = Files::new();
    for name in names {
        let claim = name.split_once('/').unwrap().1;
        out.extend(on_disk(&site.local.folder.join(name), claim));
    }
    out
}

fn kept(days: i64) -> Choice {
    let message = "nothing mounts it, and nothing ever did".to_owned();
    let otherwise = Box::new(Choice::Missed { reason: "NeverMounted".to_owned(), message });
    Choice::Kept { overdue_seconds: days * DAY, otherwise }
}

#[tokio::test]
async fn one_run_makes_one_snapshot_of_objects_and_volumes() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let first = site.run().await.unwrap();
    let m = &first.manifest;
    assert_eq!((m.seq, m.coverage, m.result), (1, Coverage::Full, RunResult::Completed));
    assert_eq!((m.counts.volumes, m.counts.objects, m.counts.missed), (3, 7, 0));
    let report = first.report.unwrap();
    assert_eq!(report.volumes.len(), 3);
    assert_eq!((report.volumes[0].claim.as_str(), report.volumes[0].files), ("data", 3));
    assert!(m.counts.stored_bytes > 9 << 20 && first.sent_bytes > 9 << 20);
    assert_eq!(site.world.snapshots().await, [there(&site, &THREE)]);

    site.world.later(DAY);
    let before = site.world.bytes("packs/");
    let second = site.run().await.unwrap();
    assert!(site.world.bytes("packs/") - before < 20_000, "the body and no more");
    assert!(second.sent_bytes < 40_000, "{}", second.sent_bytes);
    assert_eq!(second.manifest.counts.volumes, 3);
    assert!(second.manifest.carry.is_empty(), "{:?}", second.manifest.carry);
    assert_eq!(site.world.snapshots().await.len(), 2);
    assert_eq!(site.world.snapshots().await[1], there(&site, &THREE));
}

#[tokio::test]
async fn weeks_of_changes_stay_small_and_whole() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.run().await.unwrap();
    for day in 0..20 {
        site.world.later(DAY);
        site.world.write("a/data/deep/er/two", &noise(300_000, 1000 + day));
        let done = site.run().await.unwrap();
        assert!(done.sent_bytes < 500_000, "day {day}: {}", done.sent_bytes);
        let all = site.world.snapshots().await;
        assert_eq!(all.last().unwrap(), &there(&site, &THREE), "day {day}");
    }
}

#[tokio::test]
async fn a_volume_that_fails_is_missed_and_named() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.set("a/logs", Choice::Read, Worker::Fails);
    site.set("b/data2", Choice::Read, Worker::Silent);
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::PartiallyFailed);
    assert_eq!((done.manifest.counts.volumes, done.manifest.counts.missed), (1, 2));
    let report = done.report.unwrap();
    let missed: Vec<_> =
        report.missed.iter().map(|m| (m.namespace.as_str(), m.name.as_str(), m.reason.as_str())).collect();
    assert_eq!(missed, [("a", "logs", "Told"), ("b", "data2", "NotRead")]);
    assert_eq!(site.world.snapshots().await, [there(&site, &["a/data"])]);

    // What is known of a volume outlives a run that missed it.
    for name in THREE {
        site.set(name, Choice::Read, Worker::Reads);
    }
    site.run().await.unwrap();
    site.set("a/logs", Choice::Read, Worker::Fails);
    site.world.later(DAY);
    site.run().await.unwrap();
    site.set("a/logs", Choice::Read, Worker::Reads);
    site.world.later(DAY);
    let last = site.run().await.unwrap();
    assert!(last.sent_bytes < 40_000, "{}", last.sent_bytes);
    assert_eq!(last.manifest.result, RunResult::Completed);
    assert_eq!(site.world.snapshots().await[3], there(&site, &THREE));
}

#[tokio::test]
async fn a_volume_that_nobody_mounts_is_kept() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.run().await.unwrap();
    let expected = there(&site, &THREE);
    site.set("a/data", kept(30), Worker::Silent);
    std::fs::remove_dir_all(site.local.folder.join("a/data")).unwrap();
    for day in [1, 20, 9] {
        site.world.later(day * DAY);
        let done = site.run().await.unwrap();
        assert_eq!(done.manifest.result, RunResult::Completed, "{:?}", done.report);
        let report = done.report.unwrap();
        assert_eq!((report.kept.len(), report.kept[0].claim.as_str()), (1, "data"));
        assert!(done.sent_bytes < 40_000, "{}", done.sent_bytes);
        assert_eq!(site.world.snapshots().await.last().unwrap(), &expected);
    }
    site.world.later(DAY);
    let late = site.run().await.unwrap();
    assert_eq!(late.manifest.result, RunResult::PartiallyFailed, "older than 30 days");
    // A year later it is still there: the age of packs does not count for what cannot be read again.
    site.world.later(365 * DAY);
    site.run().await.unwrap();
    assert_eq!(site.world.snapshots().await.last().unwrap(), &expected);
}

#[tokio::test]
async fn only_the_same_claim_keeps_its_tree() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.set("a/logs", kept(30), Worker::Silent);
    let never = site.run().await.unwrap();
    let report = never.report.unwrap();
    assert_eq!(report.missed[0].reason, "NeverMounted");
    assert_eq!(report.result, Result_::PartiallyFailed);
    site.set("a/data", kept(30), Worker::Silent);
    site.local.claims.lock().unwrap().get_mut(&site::claim("a/data")).unwrap().0 = "another uid".to_owned();
    let other = site.run().await.unwrap();
    assert_eq!(other.manifest.counts.volumes, 1, "another claim of that name");
    assert_eq!(site.world.snapshots().await[1], there(&site, &["b/data2"]));
}

#[tokio::test]
async fn kept_trees_of_many_packs_come_back_whole() {
    let site = Site::new(&["a/data"]).await;
    for i in 0..40 {
        site.world.write("a/data/grows", &noise(1000, i));
        site.world.write(&format!("a/data/{i:02}"), &noise(200_000, 77 + i));
        site.run().await.unwrap();
        site.world.later(3600);
    }
    let expected = there(&site, &["a/data"]);
    site.set("a/data", kept(30), Worker::Silent);
    for _ in 0..3 {
        site.world.later(DAY);
        let done = site.run().await.unwrap();
        assert_eq!(done.manifest.counts.volumes, 1, "{:?}", done.report);
        assert_eq!(site.world.snapshots().await.last().unwrap(), &expected);
    }
}

#[tokio::test]
async fn more_lists_than_a_manifest_names_are_merged() {
    let site = Site::new(&THREE).await;
    fill(&site);
    *site.local.lists_max.lock().unwrap() = 40;
    for day in 0..40 {
        site.world.later(DAY);
        for (i, name) in THREE.iter().enumerate() {
            // 25 files for each volume, each of a day of its own.
            let seed = 1000 + day * 10 + i as u64;
            site.world.write(&format!("{name}/of-{}", day % 25), &noise(50_000, seed));
        }
        let done = site.run().await.unwrap();
        assert_eq!(done.manifest.result, RunResult::Completed, "day {day}: {:?}", done.report);
        let named = done.manifest.packs.len() + done.manifest.carry.len();
        assert!(named <= 40, "day {day}: {named}");
        assert!(day == 0 || done.sent_bytes < 6 << 20, "day {day}: {}", done.sent_bytes);
    }
    assert_eq!(site.world.snapshots().await.last().unwrap(), &there(&site, &THREE));
}

#[tokio::test]
async fn volumes_beyond_what_a_manifest_names_go_first_the_next_time() {
    let site = Site::new(&THREE).await;
    fill(&site);
    *site.local.lists_max.lock().unwrap() = 12;
    let mut missed = Vec::new();
    for _ in 0..3 {
        site.world.later(DAY);
        let done = site.run().await.unwrap();
        let report = done.report.unwrap();
        let names: Vec<String> = report.missed.iter().map(|m| format!("{} {}", m.name, m.reason)).collect();
        assert!(names.iter().all(|n| n.ends_with(" TooManyVolumes")) && names.len() < 3, "{names:?}");
        missed.push(names);
    }
    let always: Vec<&String> = missed[0].iter().filter(|n| missed.iter().all(|m| m.contains(n))).collect();
    assert!(!missed[0].is_empty() && always.is_empty(), "{missed:?}");
}

#[tokio::test]
async fn what_is_not_asked_for_makes_no_full_backup() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let full = site.run().await.unwrap().manifest;
    assert_eq!(full.coverage, Coverage::Full);
    for by in ["volumesOff", "notOptedIn"] {
        site.set("b/data2", Choice::Excluded { by: by.to_owned() }, Worker::Silent);
        let done = site.run().await.unwrap().manifest;
        assert_eq!((done.coverage, done.result), (Coverage::Partial, RunResult::Completed), "{by}");
        assert!(done.scopes.iter().all(|s| full.scopes.contains(s)), "{by}");
        assert_eq!(done.scopes.len(), full.scopes.len() - 2, "{by}: neither the namespace nor the cluster");
    }
    site.set("b/data2", Choice::Excluded { by: "optedOut".to_owned() }, Worker::Silent);
    assert_eq!(site.run().await.unwrap().manifest.coverage, Coverage::Full, "whoever says so means it");
}

#[tokio::test]
async fn what_is_left_out_is_counted_and_no_failure() {
    let site = Site::new(&THREE).await;
    fill(&site);
    site.set("a/logs", Choice::Excluded { by: "optedOut".to_owned() }, Worker::Silent);
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::Completed);
    let report = done.report.unwrap();
    assert_eq!((report.excluded["optedOut"], report.kinds["volume"].excluded), (1, 1));
    assert_eq!((report.kinds["volume"].stored, done.manifest.counts.volumes), (2, 2));
}

#[tokio::test]
async fn a_run_without_nodes_says_so_and_one_that_cannot_look_is_partial() {
    let site = Site::new(&THREE).await;
    let done = site.run_of("host", false, site.world.plain()).await.unwrap();
    assert_eq!(done.manifest.result, RunResult::Completed);
    assert_eq!(done.report.unwrap().excluded["noNodeReadsVolumes"], 3);
    *site.local.broken.lock().unwrap() = true;
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::PartiallyFailed);
    let report = done.report.unwrap();
    assert_eq!((report.missed[0].kind.as_str(), report.missed[0].reason.as_str()), ("Volume", "Forbidden"));
}
