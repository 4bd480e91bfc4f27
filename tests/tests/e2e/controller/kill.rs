//! The leader dies at any request to the store, or stands still before its commit: another goes on, and each Backup has
//! exactly one good snapshot. Controllers as processes; `install/kill.rs` does the same with pods.

use super::faults::under_way;
use super::site::{Running, Site};
use crate::killer::Killer;
use crate::leaders::{Leaders, all_is_well, killed_at_ten_points, leader, stands_still};
use crate::world::{Ran, shared_s3};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Two processes.
struct Pool {
    site: Site,
    pool: Vec<Running>,
}

impl Pool {
    fn new(namespace: &str, killer: &Killer) -> Self {
        let site = Site::new(namespace);
        site.through(killer.endpoint());
        let pool = vec![site.controller(), site.controller()];
        Self { site, pool }
    }
}

impl Leaders for Pool {
    fn leads(&self) -> Option<u32> {
        let leads = |r: &&Running| r.get("/metrics").is_ok_and(|m| m.contains("\nlifeboat_leader 1\n"));
        self.pool.iter().find(leads).map(Running::pid)
    }

    fn died(&mut self, pid: u32) {
        self.pool.retain(|r| r.pid() != pid);
        self.pool.push(self.site.controller());
    }

    fn backup(&self, name: &str, namespace: &str) {
        self.site.backup(name, &json!({"includedNamespaces": [namespace]}));
    }

    fn completed(&self, name: &str) -> Value {
        self.site.completed(name)
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.site.kubectl(args)
    }

    fn snapshots(&self) -> Vec<u64> {
        self.site.snapshots().into_keys().collect()
    }

    fn pull(&self) -> Ran {
        self.site.world.pull()
    }

    fn logs(&self) -> String {
        self.site.logs()
    }
}

#[test]
fn a_leader_may_be_killed_at_ten_points_of_a_run() {
    let killer = Killer::before(shared_s3().address().into());
    let mut pool = Pool::new("lifeboat-kill", &killer);
    pool.site.user_namespace("killed", 15);
    let names = killed_at_ten_points(&mut pool, &killer, "killed");
    all_is_well(&pool, &names);
    let world = &pool.site.world;
    world.on_vault(&["verify"]).expect(0);
    let last = world.on_vault(&["ls", "latest", "objects/killed/configmap"]);
    let last = if last.code == 0 { last } else { world.on_vault(&["find", "latest", "--name", "new-*"]) };
    assert_eq!(last.stdout.matches("new-").count(), 10, "{}", last.said());
}

#[test]
fn a_leader_that_stands_still_before_its_commit_makes_no_second_snapshot() {
    let killer = Killer::before(shared_s3().address().into());
    let pool = Pool::new("lifeboat-stop", &killer);
    pool.site.user_namespace("stopped", 15);
    let mut names = Vec::new();
    for (name, forwarded_first) in [("s-0", true), ("s-1", false)] {
        stands_still(&pool, &killer, (name, "stopped"), forwarded_first);
        names.push(name.to_owned());
    }
    // And the ordinary next one.
    pool.backup("s-2", "stopped");
    pool.completed("s-2");
    names.push("s-2".to_owned());
    all_is_well(&pool, &names);
}

#[test]
fn a_leader_that_is_asked_to_end_hands_over_at_once() {
    let killer = Killer::before(shared_s3().address().into());
    let mut pool = Pool::new("lifeboat-term", &killer);
    pool.site.user_namespace("handed", 5);
    let first = leader(&pool);
    under_way(&pool.site, &killer, "x", "handed");
    let sum = || pool.pool.iter().filter_map(|r| r.metric("lifeboat_leader")).sum::<f64>();
    assert!((sum() - 1.0).abs() < 0.1, "two controllers, one leader");
    let started = Instant::now();
    let index = pool.pool.iter().position(|r| r.pid() == first).unwrap();
    pool.pool[index].signal(Signal::TERM);
    while pool.pool[index].process.check().is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not end\n{}", pool.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    pool.pool.remove(index);
    leader(&pool);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    killer.stall(false);
    let status = pool.completed("x");
    assert_eq!(status["attempts"], 2, "{status:#}");
    all_is_well(&pool, &["x".to_owned()]);
}
