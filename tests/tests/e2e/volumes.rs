//! Pods' volumes on a real node: what the daemon reads, may, and is refused. In this file the test takes the controller's
//! place and gives orders itself; what a whole backup makes of them is in `volumes/`.

use crate::install::{Prepared, image};
use crate::world::may_start_nodes;
use lifeboat_agent::volume::order::OrderKeys;
use lifeboat_agent::volume::{Order, WorkResult};
use lifeboat_common::clock::SystemClock;
use lifeboat_common::config::{self, RepositoryConfig};
use lifeboat_common::store::SharedCreate;
use lifeboat_format::charter::{Charter, trusted_chain};
use lifeboat_format::crypto::derive::{DomainKeys, Secret32};
use lifeboat_format::id::{RunId, ScopeAlias};
use lifeboat_format::layout;
use lifeboat_tests::harness::Node;
use lifeboat_tests::harness::s3::{self, S3Server};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "volumes/common.rs"]
mod common;
#[path = "volumes/daemon.rs"]
mod daemon;
#[path = "volumes/hooks.rs"]
mod hooks;
#[path = "volumes/kills.rs"]
mod kills;
#[path = "volumes/rights.rs"]
mod rights;
#[path = "volumes/show.rs"]
mod show;
#[path = "volumes/whole.rs"]
mod whole;

const NODES: &str = "lifeboat-nodes";

/// A node with an installation, and whatever gives orders.
pub(crate) struct Site {
    pub(crate) prepared: Prepared,
    pub(crate) server: S3Server,
    pub(crate) node: Node,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    pub(crate) fn start() -> Self {
        let node = Node::start().unwrap();
        node.load_image(image()).unwrap();
        let server = node.s3(&s3::Options::default()).unwrap();
        server.create_bucket("backups").unwrap();
        let prepared = Prepared::new(&server, "backups", "prod");
        let installed = prepared.install(node.kubeconfig(), &["--timeout", "120"]).expect(0);
        assert!(!installed.stderr.contains("nodes are ready"), "{}", installed.said());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Self { prepared, server, node, runtime }
    }

    /// `kubectl -n lifeboat-nodes …`.
    pub(crate) fn nodes(&self, words: &[&str]) -> String {
        self.node.kubectl(&[&["-n", NODES], words].concat()).unwrap()
    }

    /// A claim on a local volume, and a pod that mounts it. Where the volume's content is, and the pod's uid.
    pub(crate) fn claim(&self, namespace: &str, name: &str) -> (PathBuf, String) {
        let path = self.node.local_volume(&format!("pv-{name}"), "1Gi").unwrap();
        self.node.apply(&mounted(namespace, name)).unwrap();
        let pod = format!("pod/{name}");
        let wait = ["-n", namespace, "wait", "--for=condition=Ready", &pod, "--timeout=90s"];
        self.node.kubectl(&wait).unwrap();
        let uid = self.node.kubectl(&["-n", namespace, "get", &pod, "-o=jsonpath={.metadata.uid}"]).unwrap();
        (path, uid)
    }

    fn store(&self) -> (SharedCreate, Charter) {
        let folder = &self.prepared.folder;
        let mut config: RepositoryConfig = config::load(&folder.join("repository.toml")).unwrap();
        config.s3.credentials_file = Some(self.prepared.credentials.clone());
        let text = std::fs::read(folder.join("charter.json")).unwrap();
        let chain = trusted_chain(&[text], &config.owner, &config.cluster).unwrap();
        let open = config.repo.open(Some(config.cluster.as_str()), &config.s3, Arc::new(SystemClock));
        let store = self.runtime.block_on(open).unwrap();
        (store, chain.last().unwrap().charter().clone())
    }

    /// Sealed bytes in the bucket.
    pub(crate) fn stored(&self) -> u64 {
        crate::tree::bytes(&self.server.data_folder().join("backups"))
    }
}

fn mounted(namespace: &str, name: &str) -> String {
    format!(
        r#"
{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: local, volumeName: pv-{name}, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "exec sleep 3600"]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {name}}}}}]
"#
    )
}

/// A volume that the test has read.
struct Ordered<'a> {
    site: &'a Site,
    name: String,
    key: Secret32,
    store: SharedCreate,
}

impl<'a> Ordered<'a> {
    /// Puts an order into the store, and makes the VolumeBackup; `change` may spoil its spec.
    fn new(
        site: &'a Site,
        claim: &str,
        uid: &str,
        options: impl FnOnce(&mut Order),
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let (store, charter) = site.store();
        let recipient = &charter.current_epoch().unwrap().recipient;
        let (key, run) = (Secret32::random(), RunId([7; 16]));
        let keys = OrderKeys {
            domain: DomainKeys::new(&Secret32::new([9; 32]), claim),
            upload: Secret32::new([8; 32]),
            sizes: charter.chunking,
        };
        let alias = ScopeAlias([5; 16]);
        let mut order = Order::new(run, charter.cluster.as_str(), recipient, alias, &keys);
        options(&mut order);
        let (sha256, bytes) = order.seal(&key);
        site.runtime.block_on(store.create(&layout::agent(&sha256), bytes, sha256.0)).unwrap();
        let name = format!("{claim}-{}", hex::encode(&key.expose()[..4]));
        let mut volume = json!({
            "apiVersion": "lifeboat.dev/v1alpha1", "kind": "VolumeBackup",
            "metadata": { "name": name, "namespace": NODES },
            "spec": {
                "backup": "by-hand", "runId": run.to_hex(), "attempt": 1, "namespace": "apps", "claim": claim,
                "pvcUid": "11111111-1111-1111-1111-111111111111", "podUid": uid, "podName": claim,
                "volumeName": format!("pv-{claim}"), "nodeName": "node1",
                "plugin": "kubernetes.io~local-volume", "order": sha256.to_hex(), "workKey": name,
            },
        });
        change(&mut volume["spec"]);
        site.node.kubectl_stdin(&["create", "-f", "-"], volume.to_string()).unwrap();
        Self { site, name, key, store }
    }

    /// Gives the node the key, as the controller does when it is the volume's turn.
    fn begin(&self) {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let patch = json!({ "data": { &self.name: BASE64_STANDARD.encode(self.key.expose()) } }).to_string();
        self.site.nodes(&["patch", "secret", "lifeboat-work", "--patch", &patch]);
    }

    fn status(&self) -> Value {
        let text = self.site.nodes(&["get", "volumebackup", &self.name, "-o=json"]);
        serde_json::from_str::<Value>(&text).unwrap()["status"].clone()
    }

    #[track_caller]
    fn until(&self, what: &str, seconds: u64, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            let logs = || self.site.nodes(&["logs", "daemonset/lifeboat-node", "--tail=20"]);
            assert!(Instant::now() < deadline, "not after {seconds} s: {what}: {status:#}\n{}", logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    #[track_caller]
    fn ended(&self, phase: &str) -> Value {
        let status = self
            .until("its end", 120, |s| ["Completed", "Failed", "Canceled"].iter().any(|p| s["phase"] == *p));
        assert_eq!(status["phase"], phase, "{status:#}");
        status
    }

    fn result(&self, status: &Value) -> WorkResult {
        let name = status["result"].as_str().unwrap().parse().unwrap();
        self.site.runtime.block_on(WorkResult::fetch(&*self.store, &name, &self.key)).unwrap()
    }
}

/// The daemon's process, as the node numbers it.
fn daemon_pid(node: &Node) -> String {
    let find = r#"for p in /proc/[0-9]*; do
        if [ "$(readlink "$p/exe")" = /usr/bin/lifeboat-agent ] && tr '\0' '\n' < "$p/cmdline" | grep -qx node; then
            echo "${p#/proc/}"; exit 0
        fi
    done; exit 1"#;
    node.run(&["sh", "-c", find]).unwrap().trim().to_owned()
}

/// `n` files of random bytes.
fn random_files(folder: &Path, n: usize, bytes: usize) {
    use rand::RngCore as _;
    let mut content = vec![0; bytes];
    for i in 0..n {
        rand::rng().fill_bytes(&mut content);
        std::fs::write(folder.join(format!("file-{i}")), &content).unwrap();
    }
}
