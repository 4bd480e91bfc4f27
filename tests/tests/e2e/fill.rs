//! Volumes restored into a real cluster: from a snapshot with the data of claims to Pods that run on it, on a node, over
//! the API server, with provisioners that bind late and delete what is released.

use crate::install::image;
use crate::world::{Ran, World, may_start_nodes};
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, TestTree};
use lifeboat_tests::harness::Node;
use lifeboat_tests::harness::image::BUSYBOX;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[path = "fill/bad.rs"]
mod bad;
#[path = "fill/first.rs"]
mod first;
#[path = "fill/kill.rs"]
mod kill;
#[path = "fill/many.rs"]
mod many;
#[path = "fill/provisioner.rs"]
pub(crate) mod provisioner;

const AGENT: &str = concat!("localhost/lifeboat-agent:", env!("CARGO_PKG_VERSION"));

/// A snapshot on a disk, and a program to restore it with.
pub(crate) struct Snapshot {
    world: World,
    repo: PathBuf,
    /// Keys of packs, by domain.
    pub(crate) packs: std::collections::BTreeMap<String, Vec<String>>,
}

impl Snapshot {
    pub(crate) fn of(snapshot: &SnapshotBuilder) -> Self {
        let mut repository = TestRepository::new();
        let committed = repository.commit(snapshot);
        let world = World::file();
        let repo = world.folder().join("made");
        for key in repository.store.keys() {
            let path = repo.join("prod").join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, repository.store.bytes(&key).unwrap()).unwrap();
        }
        let identity = world.folder().join("made.txt");
        std::fs::write(&identity, &repository.identity).unwrap();
        std::fs::set_permissions(&identity, PermissionsExt::from_mode(0o600)).unwrap();
        Self { world, repo, packs: committed.packs }
    }

    /// A file of the repository.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.repo.join("prod").join(key)
    }

    fn words(&self, node: &Node, more: &[&str]) -> Vec<String> {
        let (repo, identity) =
            (format!("file://{}", self.repo.display()), self.world.folder().join("made.txt"));
        let (identity, kubeconfig) =
            (identity.display().to_string(), node.kubeconfig().display().to_string());
        let state = self.world.folder().join("journals").display().to_string();
        let words = [
            "restore",
            "latest",
            "--repo",
            &repo,
            "--identity",
            &identity,
            "--kubeconfig",
            &kubeconfig,
            "--yes",
            "--json",
            "--state",
            &state,
        ];
        words.iter().chain(more).map(|w| (*w).to_owned()).collect()
    }

    /// `lifeboat restore latest … --yes --json`.
    pub(crate) fn restore(&self, node: &Node, more: &[&str]) -> Ran {
        let words = self.words(node, more);
        self.world.lifeboat(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What one that was left running has said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.world.folder().join("lifeboat.log")).unwrap()
    }

    /// The same, left running.
    pub(crate) fn start(&self, node: &Node, more: &[&str]) -> std::process::Child {
        let words = self.words(node, more);
        self.world.spawn("lifeboat", &words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// A node that has the agent's image.
pub(crate) fn node(test: &str) -> Option<Node> {
    if !may_start_nodes(test) {
        return None;
    }
    let node = Node::start().unwrap();
    node.load_image(image()).unwrap();
    Some(node)
}

pub(crate) fn namespace(name: &str) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string().into()
}

/// A claim as it was when it was stored: bound, to a volume that is no more.
pub(crate) fn claim(namespace: &str, name: &str, class: &str) -> Vec<u8> {
    let modes = json!(["ReadWriteOnce"]);
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-of-{name}"),
            "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "old"},
        },
        "spec": {
            "accessModes": modes, "storageClassName": class, "volumeName": "pv-that-is-no-more",
            "resources": {"requests": {"storage": "100Mi"}}, "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound", "accessModes": modes, "capacity": {"storage": "1Gi"}},
    })
    .to_string()
    .into()
}

/// Says on standard output what it found when it started, and goes on.
fn container() -> Value {
    let look = "cd /data && find . -type f | sort | xargs sha256sum; echo seen; exec sleep 100000";
    json!({
        "name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", look],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    })
}

pub(crate) fn deployment(namespace: &str, name: &str, claim: &str) -> Vec<u8> {
    let labels = json!({"app": name});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": "node1"},
                "terminationGracePeriodSeconds": 0, "containers": [container()], "volumes": volumes,
            },
        }},
    })
    .to_string()
    .into()
}

pub(crate) fn stateful_set(namespace: &str, name: &str, class: &str, replicas: u32) -> Vec<u8> {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container()]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                    "resources": {"requests": {"storage": "100Mi"}},
                },
            }],
        },
    })
    .to_string()
    .into()
}

/// Content that does not repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..len).map(next).collect()
}

/// A volume with many files and a few large ones.
pub(crate) fn tree(seed: u64, files: usize, large: usize) -> TestTree {
    let mut tree = TestTree::new().directory("d").symlink("link", "d/f-0");
    for n in 0..files {
        tree = tree.file(format!("d/f-{n}"), noise(seed + n as u64, 1000 + n % 5000));
    }
    for n in 0..large {
        tree = tree.file(format!("large-{n}"), noise(seed ^ 0xff00 ^ n as u64, 8 << 20));
    }
    tree
}

pub(crate) fn get(node: &Node, words: &[&str]) -> Value {
    let text = node.kubectl(&[&["get", "-o", "json"], words].concat()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait(what: &str, within: Duration, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Nothing of a restore is left: no working namespace, no claim or Pod in one, no volume that is marked or kept against
/// its policy.
pub(crate) fn nothing_is_left(node: &Node, policy: &str) {
    // Kubernetes takes 5 s to take an empty namespace away.
    wait("no working namespace", Duration::from_secs(30), || {
        !node.kubectl(&["get", "namespaces", "-o=name"]).unwrap().contains("lifeboat-restore")
    });
    let marked = node.kubectl(&["get", "persistentvolumes", "-o=name", "-l=lifeboat.dev/restore"]).unwrap();
    assert_eq!(marked, "");
    for volume in get(node, &["persistentvolumes"])["items"].as_array().unwrap() {
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], policy, "{volume}");
        assert!(!volume.to_string().contains("lifeboat.dev"), "{volume}");
    }
}

/// What a workload's Pods saw when they started, once all of them did.
pub(crate) fn seen(node: &Node, namespace: &str, app: &str, pods: usize) -> Vec<String> {
    let label = format!("-l=app={app}");
    let logs = |name: &str| node.kubectl(&["-n", namespace, "logs", name]).unwrap_or_default();
    let names = || node.kubectl(&["-n", namespace, "get", "pods", "-o=name", &label]).unwrap_or_default();
    wait(app, Duration::from_secs(90), || {
        let names = names();
        names.lines().count() == pods && names.lines().all(|n| logs(n).ends_with("seen\n"))
    });
    let mut names: Vec<String> = names().lines().map(str::to_owned).collect();
    names.sort();
    names.iter().map(|name| logs(name)).collect()
}
