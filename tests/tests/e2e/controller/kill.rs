//! The leader dies at any request to the store, or stands still before its commit: another goes on, and each Backup has
//! exactly one good snapshot.

use super::faults::under_way;
use super::site::{Running, SOON, Site};
use crate::killer::{Killer, Moment};
use crate::world::shared_s3;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The one of these that leads.
fn leader(pool: &[Running]) -> usize {
    let deadline = Instant::now() + SOON;
    loop {
        let leads = |r: &Running| r.get("/metrics").is_ok_and(|m| m.contains("\nlifeboat_leader 1\n"));
        if let Some(found) = pool.iter().position(leads) {
            return found;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Each Backup so far has a snapshot of its own, and the replicator finds nothing wrong.
fn all_is_well(site: &Site, names: &[String]) {
    let mut by_snapshot = BTreeMap::new();
    for name in names {
        let status = site.completed(name);
        let seq = status["snapshot"]["seq"].as_u64().unwrap();
        assert_eq!(status["missed"], 0, "{name}: {status:#}");
        assert!(by_snapshot.insert(seq, name).is_none(), "{name} has the snapshot of another");
    }
    let snapshots: Vec<u64> = site.snapshots().into_keys().collect();
    assert_eq!(snapshots, by_snapshot.into_keys().collect::<Vec<_>>(), "one snapshot each, and no other");
    let phases = site.kubectl(&["get", "lb", "-o", "jsonpath={.items[*].status.phase}"]);
    assert!(phases.split(' ').all(|p| p == "Completed"), "{phases}");
    site.world.pull().expect(0);
}

#[test]
fn a_leader_may_be_killed_at_ten_points_of_a_run() {
    let site = Site::new("lifeboat-kill");
    site.user_namespace("killed", 15);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let mut pool = vec![site.controller(), site.controller()];
    let mut names = Vec::new();
    // How many requests a run makes.
    killer.arm(usize::MAX, Moment::Before);
    names.push("k-0".to_owned());
    site.backup("k-0", &json!({"includedNamespaces": ["killed"]}));
    site.completed("k-0");
    let requests = killer.seen();
    assert!(requests >= 8, "{requests}");
    let mut fired = 0;
    for point in 0..10 {
        let moment = if point % 2 == 0 { Moment::Before } else { Moment::After };
        let victim = leader(&pool);
        // From the first request to beyond the last one, which is the commit.
        killer.arm(1 + point * requests / 10, moment);
        killer.victim(pool[victim].pid());
        // Something new each time, so that there is something to send.
        site.kubectl(&["create", "configmap", &format!("new-{point}"), "--from-literal=a=b", "-n", "killed"]);
        let name = format!("k-{}", point + 1);
        site.backup(&name, &json!({"includedNamespaces": ["killed"]}));
        let status = site.completed(&name);
        names.push(name);
        if killer.fired() {
            fired += 1;
            assert!(status["attempts"].as_i64().unwrap() >= 1, "{status:#}");
            pool.remove(victim);
            pool.push(site.controller());
        }
        killer.disarm();
    }
    assert!(fired >= 9, "{fired} of 10 were killed");
    all_is_well(&site, &names);
    site.world.on_vault(&["verify"]).expect(0);
    let last = site.world.on_vault(&["ls", "latest", "objects/killed/configmap"]);
    let last =
        if last.code == 0 { last } else { site.world.on_vault(&["find", "latest", "--name", "new-*"]) };
    assert_eq!(last.stdout.matches("new-").count(), 10, "{}", last.said());
}

/// The leader stands still before its commit, another one finishes the Backup, and the first goes on.
fn stands_still(site: &Site, killer: &Killer, name: &str, forwarded_first: bool) {
    let pool = [site.controller(), site.controller()];
    let first = leader(&pool);
    killer.stop_at_commit(pool[first].pid());
    site.backup(name, &json!({"includedNamespaces": ["stopped"]}));
    let deadline = Instant::now() + SOON;
    while !killer.fired() {
        assert!(Instant::now() < deadline, "nothing was committed\n{}", site.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = site.completed(name);
    let holder = status["holder"].as_str().unwrap_or_default().to_owned();
    // Its commit arrives at last, before it wakes or after.
    if forwarded_first {
        killer.release();
        std::thread::sleep(Duration::from_millis(300));
        pool[first].signal(Signal::CONT);
    } else {
        pool[first].signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(500));
        killer.release();
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = site.completed(name);
    assert_eq!(after["snapshot"], status["snapshot"], "{holder}: {after:#}");
    killer.disarm();
}

#[test]
fn a_leader_that_stands_still_before_its_commit_makes_no_second_snapshot() {
    let site = Site::new("lifeboat-stop");
    site.user_namespace("stopped", 15);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let mut names = Vec::new();
    for (name, forwarded_first) in [("s-0", true), ("s-1", false)] {
        stands_still(&site, &killer, name, forwarded_first);
        names.push(name.to_owned());
    }
    // And the ordinary next one.
    let _controller = site.controller();
    site.backup("s-2", &json!({"includedNamespaces": ["stopped"]}));
    site.completed("s-2");
    names.push("s-2".to_owned());
    all_is_well(&site, &names);
}

#[test]
fn a_leader_that_is_asked_to_end_hands_over_at_once() {
    let site = Site::new("lifeboat-term");
    site.user_namespace("handed", 5);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let mut pool = vec![site.controller(), site.controller()];
    let first = leader(&pool);
    under_way(&site, &killer, "x", "handed");
    let sum = || pool.iter().filter_map(|r| r.metric("lifeboat_leader")).sum::<f64>();
    assert!((sum() - 1.0).abs() < 0.1, "two controllers, one leader");
    let started = Instant::now();
    pool[first].signal(Signal::TERM);
    while pool[first].process.check().is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not end\n{}", site.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    pool.remove(first);
    leader(&pool);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    killer.stall(false);
    let status = site.completed("x");
    assert_eq!(status["attempts"], 2, "{status:#}");
    all_is_well(&site, &["x".to_owned()]);
}
