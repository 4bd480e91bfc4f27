//! What a person sees who restores volumes: a workload with its data, each attribute of it; a set of replicas; what was
//! there stays; a part of a volume beside the live one.

use super::provisioner::Provisioner;
use super::*;
use lifeboat_format::tree::{Attributes, NodeKind};
use std::os::unix::fs::MetadataExt as _;

/// Attributes that only root with its rights can set.
fn special() -> TestTree {
    let file = |uid, gid, mode| Attributes {
        kind: NodeKind::File,
        uid,
        gid,
        mode,
        size: 3,
        ..Attributes::default()
    };
    let root =
        Attributes { uid: 1234, gid: 567, mode: 0o2770, mtime_s: 1_500_000_000, ..Attributes::default() };
    let xattrs = vec![(b"user.color".to_vec(), b"blue".to_vec())];
    TestTree::new()
        .entry("", root, "")
        .entry("owned", Attributes { xattrs, mtime_s: 1_400_000_000, ..file(1000, 2000, 0o640) }, "abc")
        .entry("setuid", file(0, 33, 0o6755), "abc")
        .entry(
            "null",
            Attributes {
                kind: NodeKind::CharDevice,
                mode: 0o666,
                rdev: Some((1, 3)),
                ..Attributes::default()
            },
            "",
        )
        .entry("fifo", Attributes { kind: NodeKind::Fifo, mode: 0o600, ..Attributes::default() }, "")
        .file("content", noise(7, 5 << 20))
}

#[test]
fn a_workload_comes_back_with_its_volume_whole() {
    let Some(node) = node("a_workload_comes_back_with_its_volume_whole") else { return };
    let provisioner = Provisioner::start(&node);
    let snapshot = SnapshotBuilder::default()
        .object(None, "namespace", "shop", namespace("shop"))
        .object(Some("shop"), "persistentvolumeclaim", "data", claim("shop", "data", "late"))
        .object(Some("shop"), "deployment.apps", "web", deployment("shop", "web", "data"))
        .volume("shop", "data", special());
    let snapshot = Snapshot::of(&snapshot);
    let started = Instant::now();
    let report = snapshot.restore(&node, &[]).expect(0).json();
    println!("restored in {:.1} s", started.elapsed().as_secs_f32());
    assert_eq!((&report["failed"]["count"], &report["dropped"]["count"]), (&json!(0), &json!(0)), "{report}");
    let logs = seen(&node, "shop", "web", 1);
    assert!(logs[0].contains("./content") && logs[0].contains("./owned"), "{logs:?}");

    let bound = get(&node, &["-n", "shop", "persistentvolumeclaim", "data"]);
    assert_eq!(bound["status"]["phase"], "Bound");
    assert_eq!(bound["spec"]["resources"]["requests"]["storage"], "1Gi", "as large as the volume was");
    let path = provisioner.path(bound["spec"]["volumeName"].as_str().unwrap());
    let of = |name: &str| std::fs::symlink_metadata(path.join(name)).unwrap();
    assert_eq!((of("").uid(), of("").gid(), of("").mode() & 0o7777), (1234, 567, 0o2770));
    assert_eq!((of("owned").uid(), of("owned").gid(), of("owned").mode() & 0o7777), (1000, 2000, 0o640));
    assert_eq!(of("owned").mtime(), 1_400_000_000);
    assert_eq!((of("setuid").gid(), of("setuid").mode() & 0o7777), (33, 0o6755));
    assert_eq!(rustix::fs::major(of("null").rdev()), 1);
    let mut color = [0; 16];
    let read = rustix::fs::getxattr(path.join("owned"), "user.color", &mut color).unwrap();
    assert_eq!(&color[..read], b"blue");
    assert_eq!(std::fs::read(path.join("content")).unwrap(), noise(7, 5 << 20));
    nothing_is_left(&node, "Delete");
    assert_eq!(provisioner.folders(), 1);

    // Once more: everything is there, and is left alone.
    std::fs::write(path.join("mine"), "mine").unwrap();
    let again = snapshot.restore(&node, &[]).json();
    assert_eq!((&again["created"], &again["failed"]["count"]), (&json!(0), &json!(0)), "{again}");
    assert!(path.join("mine").exists());
    let took = a_part_of_it_beside_the_live_one(&node, &provisioner, &snapshot, &path);
    println!("one file beside the live volume in {:.1} s", took.as_secs_f32());
    nothing_is_left(&node, "Delete");

    // Its policy is as it was: what is released is deleted.
    node.kubectl(&["delete", "namespace", "shop"]).unwrap();
    wait("volumes are reclaimed", Duration::from_secs(60), || provisioner.folders() == 0);
}

fn a_part_of_it_beside_the_live_one(
    node: &Node,
    provisioner: &Provisioner,
    snapshot: &Snapshot,
    live: &std::path::Path,
) -> Duration {
    let started = Instant::now();
    let part = ["--volume", "shop/data:owned", "--as-claim", "data-old"];
    let report = snapshot.restore(node, &part).expect(0).json();
    let took = started.elapsed();
    assert_eq!(report["created"], 1, "{report}");
    let bound = get(node, &["-n", "shop", "persistentvolumeclaim", "data-old"]);
    let path = provisioner.path(bound["spec"]["volumeName"].as_str().unwrap());
    assert_eq!(std::fs::read(path.join("owned")).unwrap(), b"abc");
    assert!(!path.join("content").exists() && path != live && live.join("mine").exists());
    let refused = snapshot.restore(node, &["--volume", "shop/data:nothing", "--as-claim", "other"]);
    assert!(refused.code == 1 && refused.stderr.contains("no nothing"), "{}", refused.said());
    let taken = snapshot.restore(node, &["--volume", "shop/data", "--as-claim", "data-old"]).json();
    assert_eq!((&taken["created"], &taken["left_different"]["count"]), (&json!(0), &json!(0)), "{taken}");
    assert!(!path.join("content").exists(), "a claim that is there keeps what it has");
    took
}

#[test]
fn replicas_get_each_its_own_volume_and_classes_can_have_other_names() {
    let Some(node) = node("replicas_get_each_its_own_volume_and_classes_can_have_other_names") else {
        return;
    };
    let provisioner = Provisioner::start(&node);
    let mut snapshot = SnapshotBuilder::default().object(None, "namespace", "db", namespace("db")).object(
        Some("db"),
        "statefulset.apps",
        "pg",
        stateful_set("db", "pg", "old-class", 3),
    );
    for n in 0..3 {
        let name = format!("data-pg-{n}");
        snapshot = snapshot
            .object(Some("db"), "persistentvolumeclaim", &name, claim("db", &name, "old-class"))
            .volume(
                "db",
                &name,
                TestTree::new().file("who", format!("replica {n}")).file("more", noise(n, 1 << 20)),
            );
    }
    let snapshot = Snapshot::of(&snapshot);
    let map =
        ["--storage-class-map", "old-class=now", "--namespace-map", "db=db-copy", "--parallel-volumes", "2"];
    let report = snapshot.restore(&node, &map).expect(0).json();
    assert_eq!(report["failed"]["count"], 0, "{report}");
    let logs = seen(&node, "db-copy", "pg", 3);
    for (n, log) in logs.iter().enumerate() {
        let claim = get(&node, &["-n", "db-copy", "persistentvolumeclaim", &format!("data-pg-{n}")]);
        let path = provisioner.path(claim["spec"]["volumeName"].as_str().unwrap());
        assert_eq!(std::fs::read_to_string(path.join("who")).unwrap(), format!("replica {n}"), "{log}");
    }
    assert_eq!(provisioner.folders(), 3);
    nothing_is_left(&node, "Delete");
}
