//! Two controllers, whatever they run as: the leader dies at any request to the store, or stands still before its
//! commit; another one goes on, and each Backup has exactly one good snapshot.

use crate::killer::{Killer, Moment};
use crate::world::Ran;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Controllers of one installation, of which one leads.
pub(crate) trait Leaders {
    /// The process that leads now, if one does.
    fn leads(&self) -> Option<u32>;
    /// This process was killed: sees to it that another one takes its place.
    fn died(&mut self, pid: u32);
    /// Creates a Backup of this namespace.
    fn backup(&self, name: &str, namespace: &str);
    /// The status once it has ended, which must be as Completed.
    fn completed(&self, name: &str) -> Value;
    fn kubectl(&self, args: &[&str]) -> String;
    /// The numbers of all snapshots in the primary.
    fn snapshots(&self) -> Vec<u64>;
    /// The replicator's judgment: it must end with 0.
    fn pull(&self) -> Ran;
    /// What to show when something is wrong.
    fn logs(&self) -> String;
}

/// The one that leads, once one does.
pub(crate) fn leader(them: &impl Leaders) -> u32 {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(pid) = them.leads() {
            return pid;
        }
        assert!(Instant::now() < deadline, "nobody leads\n{}", them.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Each Backup so far has a snapshot of its own, and the replicator finds nothing wrong.
pub(crate) fn all_is_well(them: &impl Leaders, names: &[String]) {
    let mut by_snapshot = BTreeMap::new();
    for name in names {
        let status = them.completed(name);
        let seq = status["snapshot"]["seq"].as_u64().unwrap();
        assert_eq!(status["missed"], 0, "{name}: {status:#}");
        assert!(by_snapshot.insert(seq, name).is_none(), "{name} has the snapshot of another");
    }
    let expected: Vec<u64> = by_snapshot.into_keys().collect();
    assert_eq!(them.snapshots(), expected, "one snapshot each, and no other");
    let phases = them.kubectl(&["get", "lb", "-o", "jsonpath={.items[*].status.phase}"]);
    assert!(phases.split(' ').all(|p| p == "Completed"), "{phases}");
    them.pull().expect(0);
}

/// Kills the leader at ten points of a run, from its first request to its commit; the names of all Backups.
pub(crate) fn killed_at_ten_points(them: &mut impl Leaders, killer: &Killer, namespace: &str) -> Vec<String> {
    // How many requests a run makes.
    killer.arm(usize::MAX, Moment::Before);
    let mut names = vec!["k-0".to_owned()];
    them.backup("k-0", namespace);
    them.completed("k-0");
    let requests = killer.seen();
    assert!(requests >= 8, "{requests}");
    let mut fired = 0;
    for point in 0..10 {
        let moment = if point % 2 == 0 { Moment::Before } else { Moment::After };
        let victim = leader(them);
        // From the first request to beyond the last one, which is the commit.
        killer.arm(1 + point * requests / 10, moment);
        killer.victim(victim);
        // Something new each time, so that there is something to send.
        let new = format!("new-{point}");
        them.kubectl(&["create", "configmap", &new, "--from-literal=a=b", "-n", namespace]);
        let name = format!("k-{}", point + 1);
        them.backup(&name, namespace);
        let status = them.completed(&name);
        names.push(name);
        if killer.fired() {
            fired += 1;
            assert!(status["attempts"].as_i64().unwrap() >= 1, "{status:#}");
            them.died(victim);
        }
        killer.disarm();
    }
    assert!(fired >= 9, "{fired} of 10 were killed");
    names
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The leader stands still before its commit, another one finishes the Backup, and the first goes on.
pub(crate) fn stands_still(
    them: &impl Leaders,
    killer: &Killer,
    (name, namespace): (&str, &str),
    forwarded_first: bool,
) {
    let first = leader(them);
    killer.stop_at_commit(first);
    them.backup(name, namespace);
    let deadline = Instant::now() + SOON;
    while !killer.fired() {
        assert!(Instant::now() < deadline, "nothing was committed\n{}", them.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = them.completed(name);
    let holder = status["holder"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status["attempts"], 2, "another one took it over: {status:#}");
    // Its commit arrives at last, before it wakes or after.
    if forwarded_first {
        killer.release();
        std::thread::sleep(Duration::from_millis(300));
        signal(first, Signal::CONT);
    } else {
        signal(first, Signal::CONT);
        std::thread::sleep(Duration::from_millis(500));
        killer.release();
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = them.completed(name);
    assert_eq!(after["snapshot"], status["snapshot"], "{holder}: {after:#}");
    killer.disarm();
}
