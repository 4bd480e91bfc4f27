//! The schedule under a moved clock, in the pods of a real node: the programs are as they are, and a library between
//! them and the C library moves their wall clock (libfaketime), not their monotonic one.

use super::pods::{Pod, Pods, process_of};
use super::*;
use crate::controller::site::alone;
use crate::leaders::{Leaders as _, leader, signal};
use crate::world::may_start_nodes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Debian's package `libfaketime`, for programs with threads.
fn library() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = found.map(|e| e.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.is_file());
    found.next().expect("the package libfaketime is needed: `make node-packages`")
}

/// Mounts the library, and an empty folder for the file that says how far the clock is off.
fn changes() -> Value {
    let add = |path: &str, value: Value| json!({"op": "add", "path": format!("/spec/template/spec/{path}"), "value": value});
    let set = |name: &str, value: &str| add("containers/0/env/-", json!({"name": name, "value": value}));
    json!([
        add("volumes/-", json!({"name": "library", "configMap": {"name": "library"}})),
        add("volumes/-", json!({"name": "clock", "emptyDir": {}})),
        add("containers/0/volumeMounts/-", json!({"name": "library", "mountPath": "/library"})),
        add("containers/0/volumeMounts/-", json!({"name": "clock", "mountPath": "/clock"})),
        set("LD_PRELOAD", "/library/libfaketimeMT.so.1"),
        set("FAKETIME_TIMESTAMP_FILE", "/clock/offset"),
        set("FAKETIME_NO_CACHE", "1"),
        set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        set("FAKETIME_DISABLE_SHM", "1"),
        set("NO_FAKE_STAT", "1"),
    ])
}

fn put_library(node: &Node) {
    let file = format!("--from-file={}", library().display());
    node.kubectl(&["create", "configmap", "library", "-n", "lifeboat", &file]).unwrap();
}

/// Sets the clock of every pod; it is off by so much from now on.
fn set(pods: &Pods, off: SignedDuration) {
    for Pod { uid, .. } in pods.pods() {
        let folder = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/clock");
        let seconds = off.as_secs();
        let script = format!(
            "echo '{seconds:+}' > {folder}/new && chmod 644 {folder}/new && mv {folder}/new {folder}/offset"
        );
        pods.node.run(&["sh", "-c", &script]).unwrap();
    }
}

/// The schedule's Backups.
fn made(pods: &Pods) -> Vec<Value> {
    let label = |b: &Value| b["metadata"]["labels"]["lifeboat.dev/schedule"] == "soon";
    pods.backups().into_iter().filter(label).collect()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

#[test]
fn on_a_node_a_schedule_follows_a_moved_clock_once() {
    if !may_start_nodes("on_a_node_a_schedule_follows_a_moved_clock_once") {
        return;
    }
    let _alone = alone();
    let pods = Pods::new("node-clock", &changes(), put_library);
    pods.user_namespace("shop", 10);
    leader(&pods);
    // The full minute that is about 12 minutes ahead: an S3 server refuses clocks that are a quarter of an hour off.
    let due = Timestamp::from_second((SystemClock.now().as_second() / 60 + 12) * 60).unwrap();
    let at = due.to_zoned(jiff::tz::TimeZone::UTC);
    let spec = json!({"schedule": format!("{} {} * * *", at.minute(), at.hour()), "template": {"includedNamespaces": ["shop"]}});
    pods.create("BackupSchedule", "soon", &spec);
    let quiet = || std::thread::sleep(Duration::from_secs(12));
    quiet();
    assert_eq!(time(&schedule(&pods)["nextRun"]), due, "{:#}", schedule(&pods));
    assert!(made(&pods).is_empty(), "it is not due");

    let now_is = |then: Timestamp| set(&pods, then.duration_since(SystemClock.now()));
    now_is(due - SignedDuration::from_secs(20));
    let moved = Instant::now();
    let deadline = moved + Duration::from_secs(60);
    while made(&pods).is_empty() {
        assert!(Instant::now() < deadline, "it was not made\n{:#}\n{}", schedule(&pods), pods.logs());
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(moved.elapsed() > Duration::from_secs(15), "not before its time: {:?}", moved.elapsed());
    let backup = made(&pods).remove(0);
    assert_eq!(time(&backup["metadata"]["annotations"]["lifeboat.dev/scheduled-at"]), due, "{backup:#}");
    let status = pods.completed(backup["metadata"]["name"].as_str().unwrap());
    let late = time(&status["started"]).duration_since(due);
    assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_secs(15), "{late}: {status:#}");
    let tomorrow = due + SignedDuration::from_hours(24);
    println!("made {late:#} after its time by the moved clock, {:.0?} after it was moved", moved.elapsed());

    // Back, and over the time again; and the same for a leader that has not seen any of it.
    let once = |what: &str| {
        quiet();
        assert_eq!(made(&pods).len(), 1, "{what}\n{}", pods.logs());
        assert_eq!(time(&schedule(&pods)["nextRun"]), tomorrow, "{what}: {:#}", schedule(&pods));
    };
    now_is(due - SignedDuration::from_mins(5));
    once("set back");
    now_is(due + SignedDuration::from_secs(1));
    once("and forward");
    now_is(due - SignedDuration::from_mins(5));
    let first = leader(&pods);
    signal(first, rustix::process::Signal::KILL);
    while pods.leading().and_then(|pod| process_of(&pod)).is_none_or(|pid| pid == first) {
        std::thread::sleep(Duration::from_millis(300));
    }
    once("set back, under another leader");
    now_is(due + SignedDuration::from_secs(1));
    once("and forward again");
    assert_eq!(pods.snapshots(), [1]);
}

fn schedule(pods: &Pods) -> Value {
    let json = pods.kubectl(&["get", "lbs", "soon", "-o", "json"]);
    serde_json::from_str::<Value>(&json).unwrap()["status"].clone()
}
