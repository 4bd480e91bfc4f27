//! The store's credential is changed as an administrator changes it: the old user is gone while a Backup runs, the new
//! one is put into the Secret, and the kubelet brings it to the pods.

use super::pods::Pods;
use super::*;
use crate::controller::site::alone;
use crate::leaders::{Leaders as _, SOON, leader};
use crate::world::may_start_nodes;
use serde_json::json;
use std::time::{Duration, Instant};

const BUCKET: &str = "rotated";

/// What an agent may do (docs/operations.md), for both of its users.
fn policy() -> String {
    let users = ["agent-old", "agent-new"];
    let (bucket, all) = (format!("arn:aws:s3:::{BUCKET}"), format!("arn:aws:s3:::{BUCKET}/*"));
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": users}, "Action": ["s3:ListBucket"], "Resource": [bucket]},
        {"Effect": "Allow", "Principal": {"AWS": users}, "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [all]},
    ]})
    .to_string()
}

/// The Secret's part that holds the credential.
fn put_credential(node: &Node, user: &str) {
    let path = shared_s3().credentials_file(user).unwrap();
    let patch = json!({"stringData": {"credentials": std::fs::read_to_string(path).unwrap()}}).to_string();
    node.kubectl(&["-n", "lifeboat", "patch", "secret", "lifeboat-agent", "--type=merge", "-p", &patch])
        .unwrap();
}

#[test]
fn on_a_node_rotated_store_credentials_are_taken_up_without_a_restart() {
    if !may_start_nodes("on_a_node_rotated_store_credentials_are_taken_up_without_a_restart") {
        return;
    }
    let _alone = alone();
    let server = shared_s3();
    server.create_bucket(BUCKET).unwrap();
    for user in ["agent-old", "agent-new"] {
        server.create_user(user, &hex::encode(rand::random::<[u8; 16]>())).unwrap();
    }
    server.put_bucket_policy(BUCKET, &policy()).unwrap();
    let quick = json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--lease-seconds=5"}]);
    let pods = Pods::on(Node::start().unwrap(), (BUCKET, "node-rotated"), &quick, |node| {
        put_credential(node, "agent-old")
    });
    pods.user_namespace("shop", 10);
    leader(&pods);
    pods.backup("before", "shop");
    pods.completed("before");

    pods.killer.stall(true);
    pods.backup("amid", "shop");
    let waits = |what: &str, is: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + SOON;
        while !is(&pods.kubectl(&[
            "get",
            "lb",
            "amid",
            "-o",
            "jsonpath={.status.phase} {.status.conditions}",
        ])) {
            assert!(Instant::now() < deadline, "{what}\n{}", pods.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    waits("it does not begin", &|status| status.starts_with("InProgress"));
    server.delete_user("agent-old").unwrap();
    pods.killer.stall(false);
    waits("the refusal is not said", &|status| status.contains("StoreUnavailable"));
    let before = pods.pods();
    let changed = Instant::now();
    put_credential(&pods.node, "agent-new");
    // The kubelet brings the Secret to the pods, and the Backup tries again ever more slowly.
    pods.kubectl(&["wait", "--for=condition=Finished", "lb/amid", "--timeout=400s"]);
    pods.completed("amid");
    println!("completed {:.0?} after the Secret was changed", changed.elapsed());
    pods.backup("after", "shop");
    pods.completed("after");
    assert_eq!(pods.restarts(), 0, "{}", pods.logs());
    assert_eq!(pods.pods(), before, "the same pods");
    assert_eq!(pods.snapshots(), [1, 2, 3]);
    let events = pods.kubectl(&["get", "events"]);
    assert!(events.contains("StoreUnavailable"), "{events}");
    let said = format!("{events}{}{}", pods.logs(), pods.kubectl(&["get", "lb", "-o", "yaml"]));
    for user in ["agent-old", "agent-new"] {
        assert!(!said.contains(&server.secret(user).unwrap()), "the secret of {user} is shown");
    }
    pods.pull().expect(0);
}
