//! What happens to volumes while they are read: their daemon is evicted, their controller goes, their Pod moves, their
//! Backup is deleted, they disappear. Each time the Backup ends as it should, and leaves nothing behind.

use crate::volumes::Site;
use crate::world::may_start_nodes;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Some seconds to read, in files that do not compress.
const FILES: usize = 40;
const BYTES: usize = 4 << 20;

#[test]
fn volumes_under_way_outlive_daemons_controllers_and_pods() {
    if !may_start_nodes("volumes_under_way_outlive_daemons_controllers_and_pods") {
        return;
    }
    let site = Site::start();
    let (data, _) = site.claim("apps", "data");
    fill(&data, 1);
    daemon_and_controller_go(&site, &data);
    fill(&data, 2);
    the_backup_is_deleted(&site);
    fill(&data, 3);
    the_pod_moves(&site, &data);
    fill(&data, 4);
    the_claim_disappears(&site);
}

/// Both go in the middle; others go on, and little is sent twice.
fn daemon_and_controller_go(site: &Site, data: &Path) {
    let before = site.stored();
    begin(site, "gone");
    held(site, |pid| {
        let leader = leader(site);
        site.node.kubectl(&["-n", "lifeboat", "delete", "pod", &leader, "--grace-period=1"]).unwrap();
        site.nodes(&["delete", "pod", "-l=app.kubernetes.io/component=node", "--grace-period=1"]);
        assert!(site.node.run(&["kill", "-0", pid]).is_err(), "the daemon is gone");
    });
    let status = ended(site, "gone");
    assert_eq!(status["phase"], "Completed", "{status:#}\n{}", logs(site));
    assert!(status["attempts"].as_i64() >= Some(2), "another controller went on: {status:#}");
    let (plain, sealed) = ((FILES * BYTES) as u64, site.stored() - before);
    assert!(sealed < plain + plain / 10, "{sealed} bytes stored of {plain}");
    comes_out(site, data);
    nothing_is_left(site);
}

/// The node stops, nothing is left, and the next one is complete.
fn the_backup_is_deleted(site: &Site) {
    begin(site, "deleted");
    held(site, |_| {
        site.node.kubectl(&["-n", "lifeboat", "delete", "backup", "deleted", "--wait=false"]).unwrap();
    });
    nothing_is_left(site);
    begin(site, "after");
    let status = ended(site, "after");
    assert_eq!(status["phase"], "Completed", "{status:#}\n{}", logs(site));
}

/// Its Pod is deleted while the volume is read, and another one mounts the claim: it is read there.
fn the_pod_moves(site: &Site, data: &Path) {
    begin(site, "moved");
    held(site, |_| {
        site.node.kubectl(&["-n", "apps", "delete", "pod", "data", "--wait=false"]).unwrap();
        second_pod(site);
    });
    let status = ended(site, "moved");
    assert_eq!(status["phase"], "Completed", "{status:#}\n{}", logs(site));
    comes_out(site, data);
    nothing_is_left(site);
}

/// Claim and Pod are deleted while the volume is read: at worst it is missed and named, and the next run is complete.
fn the_claim_disappears(site: &Site) {
    begin(site, "disappears");
    held(site, |_| {
        site.node.kubectl(&["-n", "apps", "delete", "pod", "second", "--wait=false"]).unwrap();
        site.node.kubectl(&["-n", "apps", "delete", "pvc", "data", "--wait=false"]).unwrap();
    });
    let status = ended(site, "disappears");
    match status["phase"].as_str() {
        // What was mounted was read to its end.
        Some("Completed") => {}
        Some("PartiallyFailed") => {
            let named = status["messages"].as_array().unwrap().iter();
            let of_claim = named.filter(|m| m.as_str().unwrap().contains("apps/data")).count();
            assert!(of_claim > 0, "{status:#}");
        }
        _ => panic!("{status:#}\n{}", logs(site)),
    }
    nothing_is_left(site);
    begin(site, "without");
    let status = ended(site, "without");
    assert_eq!(status["phase"], "Completed", "{status:#}\n{}", logs(site));
}

fn fill(folder: &Path, seed: u64) {
    use rand::{RngCore as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut content = vec![0; BYTES];
    for i in 0..FILES {
        random.fill_bytes(&mut content);
        std::fs::write(folder.join(format!("file-{i}")), &content).unwrap();
    }
}

fn begin(site: &Site, name: &str) {
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Backup",
        "metadata": { "name": name, "namespace": "lifeboat" },
    });
    site.node.kubectl_stdin(&["create", "-f", "-"], document.to_string()).unwrap();
}

fn ended(site: &Site, name: &str) -> Value {
    let object = format!("backup/{name}");
    let wait = ["-n", "lifeboat", "wait", "--for=condition=Finished", &object, "--timeout=240s"];
    let waited = site.node.kubectl(&wait);
    let text = site.node.kubectl(&["-n", "lifeboat", "get", &object, "-o=json"]).unwrap();
    let status = serde_json::from_str::<Value>(&text).unwrap()["status"].clone();
    assert!(waited.is_ok(), "{status:#}\n{}", logs(site));
    status
}

fn until(what: &str, seconds: u64, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not after {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Stops the daemon while it reads, does something meanwhile, and lets it go on if it is still there.
fn held(site: &Site, meanwhile: impl FnOnce(&str)) {
    let pid = daemon_pid(site);
    let phases = || site.nodes(&["get", "volumebackups", "-o=jsonpath={.items[*].status.phase}"]);
    until("a volume is read", 120, || phases().contains("InProgress"));
    site.node.run(&["kill", "-STOP", &pid]).unwrap();
    assert!(phases().contains("InProgress"), "it was too fast");
    meanwhile(&pid);
    let _gone = site.node.run(&["kill", "-CONT", &pid]);
}

fn daemon_pid(site: &Site) -> String {
    let find = r#"for p in /proc/[0-9]*; do
        if [ "$(readlink "$p/exe")" = /usr/bin/lifeboat-agent ] && tr '\0' '\n' < "$p/cmdline" | grep -qx node; then
            echo "${p#/proc/}"; exit 0
        fi
    done; exit 1"#;
    site.node.run(&["sh", "-c", find]).unwrap().trim().to_owned()
}

/// The Pod of the controller that holds the lease.
fn leader(site: &Site) -> String {
    let words = ["-n", "lifeboat", "get", "leases", "-o=jsonpath={.items[0].spec.holderIdentity}"];
    let holder = site.node.kubectl(&words).unwrap();
    let pods = ["-n", "lifeboat", "get", "pods", "-o=jsonpath={.items[*].metadata.name}"];
    let pods = site.node.kubectl(&pods).unwrap();
    let pod = pods.split_whitespace().find(|p| holder.starts_with(*p));
    pod.unwrap_or_else(|| panic!("{holder} is none of {pods}")).to_owned()
}

fn second_pod(site: &Site) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "second", "namespace": "apps" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "docker.io/local/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", "exec sleep 3600"],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
        },
    });
    site.node.apply(&pod.to_string()).unwrap();
    let wait = ["-n", "apps", "wait", "--for=condition=Ready", "pod/second", "--timeout=60s"];
    site.node.kubectl(&wait).unwrap();
}

/// Neither VolumeBackups nor keys.
fn nothing_is_left(site: &Site) {
    until("no VolumeBackup is left", 90, || site.nodes(&["get", "volumebackups", "-o=name"]).is_empty());
    until("no key is left", 60, || {
        site.nodes(&["get", "secret", "lifeboat-work", "-o=jsonpath={.data}"]).is_empty()
    });
}

fn comes_out(site: &Site, source: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("x").display().to_string();
    let of = |name: &str| site.prepared.folder.join(name).display().to_string();
    let (identity, owner) = (of("identity.txt"), of("repository.toml"));
    let credentials = site.prepared.credentials.display().to_string();
    let words = ["extract", "latest", "volumes/apps/data", "--to", &to, "--identity", &identity];
    let from = ["--owner", &owner, "--credentials-file", &credentials];
    site.prepared.world.lifeboat(&[&words[..], &from].concat()).expect(0);
    for i in 0..FILES {
        let name = format!("file-{i}");
        let out = std::fs::read(folder.path().join("x/volumes/apps/data").join(&name)).unwrap();
        assert!(out == std::fs::read(source.join(&name)).unwrap(), "{name}");
    }
}

fn logs(site: &Site) -> String {
    let logs = ["-n", "lifeboat", "logs", "-l=app.kubernetes.io/component=controller", "--tail=30"];
    let controllers = site.node.kubectl(&logs).unwrap_or_default();
    let daemon = site.nodes(&["logs", "daemonset/lifeboat-node", "--tail=30"]);
    format!("{controllers}\n{daemon}")
}
