//! What goes wrong with one volume stays with it, is named, and leaves nothing behind.

use super::provisioner::Provisioner;
use super::*;

#[test]
fn a_tampered_chunk_stops_its_volume_and_no_other() {
    let Some(node) = node("a_tampered_chunk_stops_its_volume_and_no_other") else { return };
    let provisioner = Provisioner::start(&node);
    let mut snapshot = SnapshotBuilder::default().object(None, "namespace", "shop", namespace("shop"));
    for name in ["good", "bad"] {
        snapshot = snapshot
            .object(Some("shop"), "persistentvolumeclaim", name, claim("shop", name, "late"))
            .object(Some("shop"), "deployment.apps", name, deployment("shop", name, name))
            .volume("shop", name, tree(3 + name.len() as u64, 50, 1));
    }
    let snapshot = Snapshot::of(&snapshot);
    let pack = snapshot.path(&snapshot.packs["volume/shop/bad"][0]);
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let report = snapshot.restore(&node, &[]).expect(1).json();
    let failed = report["failed"]["items"].to_string();
    assert!(
        report["failed"]["count"] == 1 && failed.contains("shop/bad") && failed.contains("large-0"),
        "{failed}"
    );
    assert!(
        node.kubectl(&["-n", "shop", "get", "persistentvolumeclaim", "bad"]).is_err(),
        "never half-filled"
    );
    assert!(seen(&node, "shop", "good", 1)[0].contains("./large-0"));
    nothing_is_left(&node, "Delete");
    wait("the failed volume is reclaimed", Duration::from_secs(60), || provisioner.folders() == 1);
}

#[test]
fn an_image_that_nobody_has_is_said_and_leaves_nothing() {
    let Some(node) = node("an_image_that_nobody_has_is_said_and_leaves_nothing") else { return };
    let provisioner = Provisioner::start(&node);
    let snapshot = SnapshotBuilder::default()
        .object(None, "namespace", "shop", namespace("shop"))
        .object(Some("shop"), "persistentvolumeclaim", "data", claim("shop", "data", "late"))
        .volume("shop", "data", TestTree::new().file("f", "f"));
    let snapshot = Snapshot::of(&snapshot);
    let report = snapshot.restore(&node, &["--fill-image", "localhost/nothing:1"]).expect(1).json();
    let failed = report["failed"]["items"].to_string();
    assert!(failed.contains("localhost/nothing:1") && failed.contains("--fill-image"), "{failed}");
    nothing_is_left(&node, "Delete");
    // With busybox there is no such program in it.
    let report = snapshot.restore(&node, &["--fill-image", BUSYBOX]).expect(1).json();
    assert!(report["failed"]["items"].to_string().contains("--fill-image"), "{report}");
    nothing_is_left(&node, "Delete");
    snapshot.restore(&node, &["--fill-image", AGENT]).expect(0);
    wait("one volume is there", Duration::from_secs(60), || provisioner.folders() == 1);
}
