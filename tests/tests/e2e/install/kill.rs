//! As `controller/kill.rs`, with pods: a container's process is killed from the machine, and the kubelet starts it again.

use super::pods::Pods;
use crate::controller::site::alone;
use crate::leaders::{Leaders as _, all_is_well, killed_at_ten_points, stands_still};
use crate::world::may_start_nodes;
use serde_json::json;

#[test]
fn on_a_node_the_leader_may_be_killed_at_ten_points_and_may_stand_still_before_its_commit() {
    let name = "on_a_node_the_leader_may_be_killed_at_ten_points_and_may_stand_still_before_its_commit";
    if !may_start_nodes(name) {
        return;
    }
    let _alone = alone();
    let quick = json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--lease-seconds=5"}]);
    let mut pods = Pods::new("node-kill", &quick, |_| {});
    pods.user_namespace("shop", 15);
    let killer = pods.killer.clone();
    let mut names = killed_at_ten_points(&mut pods, &killer, "shop");
    assert!(pods.restarts() >= 9, "{}", pods.logs());
    for (name, forwarded_first) in [("s-0", true), ("s-1", false)] {
        stands_still(&pods, &killer, (name, "shop"), forwarded_first);
        names.push(name.to_owned());
    }
    pods.backup("s-2", "shop");
    names.push("s-2".to_owned());
    all_is_well(&pods, &names);
    shown(&pods, &names);
}

/// What `kubectl get lb` says of them.
fn shown(pods: &Pods, names: &[String]) {
    let table = pods.kubectl(&["get", "lb"]);
    let mut lines = table.lines();
    let title = lines.next().unwrap();
    for word in ["PHASE", "OBJECTS", "VOLUMES", "SIZE", "AGE"] {
        assert!(title.contains(word), "{table}");
    }
    assert_eq!(
        lines.filter(|l| l.contains(" Completed ") && l.contains(" KiB ")).count(),
        names.len(),
        "{table}"
    );
}
