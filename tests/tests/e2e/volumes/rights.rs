//! What a daemon's own token can do: its node's status, one Secret, and nothing else.

use super::*;
use lifeboat_agent::cluster::node_work::NodeWork;
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use lifeboat_agent::kinds::VolumeBackup;

const NEVER: &[&[&str]] = &[
    &["get", "secrets/lifeboat-agent", "-n=lifeboat-nodes"],
    &["get", "secrets/lifeboat-agent", "-n=lifeboat"],
    &["get", "secrets/lifeboat-state", "-n=lifeboat"],
    &["list", "secrets", "-n=lifeboat-nodes"],
    &["list", "secrets", "-A"],
    &["watch", "secrets", "-n=lifeboat-nodes"],
    &["update", "secrets/lifeboat-work", "-n=lifeboat-nodes"],
    &["list", "pods", "-n=lifeboat-nodes"],
    &["list", "pods", "-A"],
    &["list", "nodes"],
    &["list", "persistentvolumeclaims", "-A"],
    &["create", "pods", "-n=lifeboat-nodes"],
    &["create", "pods", "--subresource=exec", "-n=apps"],
    &["get", "nodes", "--subresource=proxy"],
    &["create", "serviceaccounts", "--subresource=token", "-n=lifeboat-nodes"],
    &["create", "volumebackups.lifeboat.dev", "-n=lifeboat-nodes"],
    &["update", "volumebackups.lifeboat.dev", "-n=lifeboat-nodes"],
    &["delete", "volumebackups.lifeboat.dev", "-n=lifeboat-nodes"],
    &["list", "backups.lifeboat.dev", "-n=lifeboat"],
    &["list", "volumebackups.lifeboat.dev", "-n=lifeboat"],
    &["create", "events.events.k8s.io", "-n=lifeboat-nodes"],
];

const ALLOWED: &[&[&str]] = &[
    &["list", "volumebackups.lifeboat.dev", "-n=lifeboat-nodes"],
    &["watch", "volumebackups.lifeboat.dev", "-n=lifeboat-nodes"],
    &["patch", "volumebackups.lifeboat.dev", "--subresource=status", "-n=lifeboat-nodes"],
    &["get", "secrets/lifeboat-work", "-n=lifeboat-nodes"],
];

/// The token that its pod has names the node; one that was made by hand does not.
pub(super) fn a_node_s_token(site: &Site, uid: &str) {
    let node = &site.node;
    let by_hand = node.service_account_kubeconfig(NODES, "lifeboat-node").unwrap();
    asked(site, &by_hand);
    let pod = site.nodes(&[
        "get",
        "pods",
        "-l=app.kubernetes.io/component=node",
        "-o=jsonpath={.items[0].metadata.name}",
    ]);
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
    let token = site.nodes(&[&["create", "token", "lifeboat-node"], &bound[..]].concat());
    let of_pod = node.token_kubeconfig(token.trim()).unwrap();

    let here = Ordered::new(site, "large", uid, |_| {}, |_| {});
    let there = Ordered::new(site, "large", uid, |_| {}, |spec| spec["nodeName"] = json!("node2"));
    // As the daemon sends it; kubectl would get the object first, which a daemon may not.
    let patch = |kubeconfig: &Path, volume: &Ordered<'_>| {
        let text = site.nodes(&["get", "volumebackup", &volume.name, "-o=json"]);
        let object: VolumeBackup = serde_json::from_str(&text).unwrap();
        site.runtime.block_on(async {
            let cluster = Cluster::connect(Some(kubeconfig), None, ConnectOptions::default()).await.unwrap();
            NodeWork::new(cluster, NODES, "node1").tell(&object, json!({ "phase": "Completed" })).await
        })
    };
    let refused = |kubeconfig: &Path, volume: &Ordered<'_>| {
        let error = patch(kubeconfig, volume).unwrap_err().to_string();
        assert!(error.contains("this volume is another node's"), "{error}");
        assert!(volume.status().is_null());
    };
    refused(&of_pod, &there);
    refused(&by_hand, &there);
    refused(&by_hand, &here);
    patch(&of_pod, &here).unwrap();
    assert_eq!(here.status()["phase"], "Completed");
}

fn asked(site: &Site, token: &Path) {
    let mut wrong = Vec::new();
    for (list, expected) in [(NEVER, "no"), (ALLOWED, "yes")] {
        for what in list {
            // `can-i` ends with 1 for "no", and says so on standard output.
            let mut command = std::process::Command::new(site.node.kubectl_path());
            command.arg("--kubeconfig").arg(token).args(["auth", "can-i"]).args(*what);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            if said.lines().next().and_then(|l| l.split(' ').next()) != Some(expected) {
                wrong.push(format!("{what:?}: {said}{}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
