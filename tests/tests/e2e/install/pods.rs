//! An installation on a node whose store is behind a relay, and what a test does with its pods: which one leads, where
//! its process is on this machine, its figures. Knows no single test.

use super::*;
use crate::controller::site::user_namespace;
use crate::killer::Killer;
use crate::leaders::Leaders;
use crate::world::{S3Flags, use_s3};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct Pods {
    pub(super) node: Node,
    pub(super) prepared: Prepared,
    pub(super) killer: Arc<Killer>,
}

/// A pod of the controller that nobody has asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Pods {
    /// Installs, with these changes (a JSON patch, RFC 6902) of the Deployment, and waits for the pods. `before` runs
    /// when the namespace is there.
    pub(super) fn new(cluster: &str, changes: &Value, before: impl Fn(&Node)) -> Self {
        Self::on(Node::start().unwrap(), ("shared", cluster), changes, before)
    }

    pub(super) fn on(
        node: Node,
        (bucket, cluster): (&str, &str),
        changes: &Value,
        before: impl Fn(&Node),
    ) -> Self {
        node.load_image(image()).unwrap();
        let killer = Arc::new(Killer::at(node.host_address(), shared_s3().address().into()));
        let prepared = Prepared::new(shared_s3(), bucket, cluster);
        let secret = prepared.folder.join("agent-secret.yaml");
        let text = std::fs::read_to_string(&secret).unwrap();
        let relayed = text.replace(&shared_s3().endpoint(), &killer.endpoint());
        assert_ne!(relayed, text);
        std::fs::write(&secret, relayed).unwrap();
        let direct =
            S3Flags { endpoint: prepared.endpoint.clone(), credentials: prepared.credentials.clone() };
        use_s3(&prepared.folder, &["replicator.toml"], &direct);
        std::fs::create_dir_all(prepared.world.folder().join("other-vault")).unwrap();
        prepared.install(node.kubeconfig(), &["--no-wait"]).expect(0);
        before(&node);
        let pods = Self { node, prepared, killer };
        let deployment = "deployment/lifeboat-controller";
        pods.kubectl(&["patch", deployment, "--type=json", "--patch", &changes.to_string()]);
        pods.kubectl(&["rollout", "status", deployment, "--timeout=180s"]);
        pods
    }

    pub(super) fn try_kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.node.kubectl(&[&["-n", "lifeboat"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[args, &["-o", "json"]].concat())).unwrap()
    }

    pub(super) fn pods(&self) -> Vec<Pod> {
        let list = self.json(&["get", "pods", "-l", "app.kubernetes.io/component=controller"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let there =
            list["items"].as_array().unwrap().iter().filter(|p| {
                p["metadata"]["deletionTimestamp"].is_null() && p["status"]["phase"] == "Running"
            });
        there.map(|p| Pod { name: text(&p["metadata"]["name"]), uid: text(&p["metadata"]["uid"]) }).collect()
    }

    /// A number out of a pod's `/metrics`; none while it does not answer.
    pub(super) fn metric(&self, pod: &Pod, series: &str) -> Option<f64> {
        let path = format!("/api/v1/namespaces/lifeboat/pods/{}:8080/proxy/metrics", pod.name);
        let text = self.try_kubectl(&["get", "--raw", &path]).ok()?;
        text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    pub(super) fn leading(&self) -> Option<Pod> {
        self.pods().into_iter().find(|pod| self.metric(pod, "lifeboat_leader") == Some(1.0))
    }

    pub(super) fn create(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "lifeboat"}, "spec": spec,
        });
        self.node.kubectl_stdin(&["create", "-f", "-"], object.to_string()).unwrap();
    }

    pub(super) fn backups(&self) -> Vec<Value> {
        self.json(&["get", "lb"])["items"].as_array().unwrap().clone()
    }

    pub(super) fn restarts(&self) -> u64 {
        let list = self.json(&["get", "pods", "-l", "app.kubernetes.io/component=controller"]);
        let of = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
        list["items"].as_array().unwrap().iter().map(of).sum()
    }

    pub(super) fn user_namespace(&self, name: &str, objects: usize) {
        user_namespace(&self.node, name, objects);
    }
}

/// The process of a pod's container, as this machine numbers it.
pub(super) fn process_of(pod: &Pod) -> Option<u32> {
    let own = format!("HOSTNAME={}", pod.name);
    let is_its = |pid: &u32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let agent = std::fs::read_link(folder.join("exe"));
        let environment = || std::fs::read(folder.join("environ")).unwrap_or_default();
        agent.is_ok_and(|exe| exe.ends_with("usr/bin/lifeboat-agent"))
            && environment().split(|b| *b == 0).any(|variable| variable == own.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_its)
}

impl Leaders for Pods {
    fn leads(&self) -> Option<u32> {
        process_of(&self.leading()?)
    }

    /// The kubelet starts it again.
    fn died(&mut self, pid: u32) {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} was killed");
    }

    fn backup(&self, name: &str, namespace: &str) {
        self.create("Backup", name, &json!({"includedNamespaces": [namespace]}));
    }

    fn completed(&self, name: &str) -> Value {
        let backup = format!("backup/{name}");
        let waited = self.try_kubectl(&["wait", "--for=condition=Completed", &backup, "--timeout=180s"]);
        let status = self.json(&["get", "lb", name])["status"].clone();
        waited.unwrap_or_else(|error| panic!("{error:#}\n{status:#}\n{}", self.logs()));
        assert_eq!(status["phase"], "Completed", "{status:#}");
        status
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn snapshots(&self) -> Vec<u64> {
        let list = self.prepared.snapshots();
        let mut all: Vec<u64> = list.as_array().unwrap().iter().map(|s| s["seq"].as_u64().unwrap()).collect();
        all.sort_unstable();
        all
    }

    fn pull(&self) -> Ran {
        let config = self.prepared.folder.join("replicator.toml").display().to_string();
        self.prepared.world.run("lifeboat-replicator", &["pull", "--once", "--config", &config])
    }

    fn logs(&self) -> String {
        let logs = ["logs", "-l", "app.kubernetes.io/component=controller", "--tail=15", "--prefix"];
        let pods = self.try_kubectl(&["get", "pods"]).unwrap_or_default();
        format!("{pods}\n{}", self.try_kubectl(&logs).unwrap_or_else(|error| format!("{error:#}")))
    }
}
