//! An installation without a node: the kinds and exactly the rights of deploy/, a repository on the S3 server, and
//! controllers as processes that hold a token of the service account. Knows no single test.

use crate::world::{S3Flags, World, program, shared_s3};
use lifeboat_tests::harness::cluster::{Cluster, Options};
use lifeboat_tests::harness::ports;
use lifeboat_tests::harness::process::{Process, Program};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a Backup of a few objects may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The agent's namespace is always `lifeboat` in a cluster of its own, else named by the test.
pub(crate) struct Site {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) world: World,
    pub(crate) namespace: String,
    kubeconfig: PathBuf,
    started: AtomicU32,
}

/// A controller's process.
pub(crate) struct Running {
    pub(crate) process: Process,
    port: u16,
}

/// The cluster of all sites that do not break it.
fn shared() -> Arc<Cluster> {
    static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Arc::new(Cluster::start().unwrap())).clone()
}

/// A cluster that writes down what the agent asks for, in `folder`.
pub(crate) fn audited(folder: &Path) -> Cluster {
    Cluster::start_with(&Options { apiserver_flags: audit_flags(folder), ..Options::default() }).unwrap()
}

/// What makes an API server do so.
pub(crate) fn audit_flags(folder: &Path) -> Vec<String> {
    let policy = folder.join("policy.yaml");
    let rules =
        json!([{"level": "Metadata", "userGroups": ["system:serviceaccounts:lifeboat"]}, {"level": "None"}]);
    let text = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules});
    std::fs::write(&policy, text.to_string()).unwrap();
    let log = folder.join("audit.log");
    [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())]
        .into()
}

/// What the agent asked the cluster of [`audited`] for.
pub(crate) fn audit_log(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("audit.log")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn deploy(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let each = text.split("\n---\n").filter(|t| t.lines().any(|l| !l.is_empty() && !l.starts_with('#')));
    each.map(|t| serde_saphyr::from_str(t).unwrap()).collect()
}

/// What the Deployment sets in the environment, apart from what only a pod knows.
fn settings() -> Vec<(String, String)> {
    let deployment = deploy("deployment.yaml").remove(0);
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let plain = |v: &Value| Some((v["name"].as_str()?.to_owned(), v["value"].as_str()?.to_owned()));
    env.iter().filter_map(plain).collect()
}

/// The namespace of the nodes' daemons in deploy/, and beside an agent's.
const NODES: &str = "lifeboat-nodes";

pub(crate) fn nodes(namespace: &str) -> String {
    format!("{namespace}-nodes")
}

/// Puts an object of deploy/ into another namespace; what has none gets a name of its own.
fn moved(mut object: Value, namespace: &str) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let rename = |value: &mut Value| *value = json!(format!("{}-{namespace}", value.as_str().unwrap()));
    match kind.as_str() {
        _ if object["metadata"]["namespace"] == NODES => {
            object["metadata"]["namespace"] = json!(nodes(namespace))
        }
        "Namespace" if object["metadata"]["name"] == NODES => {
            object["metadata"]["name"] = json!(nodes(namespace))
        }
        "Namespace" => object["metadata"]["name"] = json!(namespace),
        "ClusterRole" => rename(&mut object["metadata"]["name"]),
        "ClusterRoleBinding" => {
            rename(&mut object["metadata"]["name"]);
            rename(&mut object["roleRef"]["name"]);
        }
        _ => object["metadata"]["namespace"] = json!(namespace),
    }
    for subject in object["subjects"].as_array_mut().into_iter().flatten() {
        subject["namespace"] = json!(namespace);
    }
    object
}

/// A namespace of a user with so many ConfigMaps of 2 KB and a Secret.
pub(crate) fn user_namespace(cluster: &Cluster, name: &str, objects: usize) {
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": name}, "stringData": {"password": "hunter2"}}),
    ];
    items.extend((0..objects).map(|i| {
        let noise: Vec<u8> = (0..1000).map(|_| rand::random()).collect();
        let noise = hex::encode(noise);
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{i:05}"), "namespace": name, "labels": {"n": i.to_string()}},
            "data": {"noise": noise, "big": "9007199254740993"},
        })
    }));
    for items in items.chunks(500) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        cluster.kubectl_stdin(&["create", "-f", "-"], list.to_string()).unwrap();
    }
}

/// Held by tests that load the machine or measure what it does under load: they would only time each other out.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Site {
    /// On the shared cluster.
    pub(crate) fn new(namespace: &str) -> Self {
        Self::on(shared(), namespace)
    }

    /// On this cluster.
    pub(crate) fn on(cluster: Arc<Cluster>, namespace: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let world = World::s3(&format!("ctl-{namespace}-{number}"));
        let crds = world.run("lifeboat-agent", &["crds"]).expect(0).stdout;
        // Two tests may do so at the same time.
        cluster.kubectl_stdin(&["apply", "--server-side", "--force-conflicts", "-f", "-"], crds).unwrap();
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/backups.lifeboat.dev",
            "crd/backupschedules.lifeboat.dev",
        ];
        cluster.kubectl(&wait).unwrap();
        let files = [
            "namespace.yaml",
            "nodes/namespace.yaml",
            "nodes/work.yaml",
            "clusterrole.yaml",
            "rbac.yaml",
            "state.yaml",
        ];
        let objects = files.into_iter().flat_map(deploy).map(|object| moved(object, namespace));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
        cluster.apply(&list.to_string()).unwrap();
        let kubeconfig = cluster.service_account_kubeconfig(namespace, "lifeboat-agent").unwrap();
        Self { cluster, world, namespace: namespace.to_owned(), kubeconfig, started: AtomicU32::new(0) }
    }

    /// The service account's own kubeconfig.
    pub(crate) fn agent_kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn admin_kubeconfig(&self) -> &str {
        self.cluster.kubeconfig().to_str().unwrap()
    }

    /// Lets the controllers reach the S3 server through a relay.
    pub(crate) fn through(&self, endpoint: String) {
        let credentials = shared_s3().credentials_file(lifeboat_tests::harness::s3::ROOT).unwrap();
        self.world.use_s3(&S3Flags { endpoint, credentials });
    }

    /// Starts a controller and waits until it answers.
    pub(crate) fn controller(&self) -> Running {
        let mut running = self.launch();
        let port = running.port;
        running.process.wait_until("alive", SOON, || get(port, "/healthz").map(drop)).unwrap();
        running
    }

    /// Starts a controller.
    pub(crate) fn launch(&self) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let port = ports::free_port().unwrap();
        let config = self.world.admin().join("agent.toml");
        // An optimized one, where memory is measured.
        let built =
            std::env::var_os("LIFEBOAT_AGENT").map_or_else(|| program("lifeboat-agent"), PathBuf::from);
        let program = Program::new(&format!("controller-{number}"), built)
            .args(["controller", "--namespace", &self.namespace, "--listen", &format!("127.0.0.1:{port}")])
            .arg("--config")
            .arg(config)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--log-format", "json"])
            .args(["--lease-seconds", "5"])
            .env("HOSTNAME", format!("controller-{number}"))
            .env("AWS_REGION", "us-east-1");
        let program = settings().into_iter().fold(program, |p, (name, value)| p.env(&name, value));
        Running { process: program.start(self.world.folder()).unwrap(), port }
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|e| panic!("{e:#}"))
    }

    pub(crate) fn try_kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(&[&["--namespace", &self.namespace], args].concat())
    }

    /// Creates a Backup.
    pub(crate) fn backup(&self, name: &str, spec: &Value) {
        self.create("Backup", name, spec).unwrap();
    }

    pub(crate) fn create(&self, kind: &str, name: &str, spec: &Value) -> anyhow::Result<String> {
        let object = json!({
            "apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        self.cluster.kubectl_stdin(&["create", "-f", "-"], object.to_string())
    }

    pub(crate) fn get(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "lb", name, "-o", "json"])).unwrap()
    }

    /// The status once it has ended, whichever way.
    pub(crate) fn ended(&self, name: &str) -> Value {
        let timeout = format!("--timeout={}s", SOON.as_secs());
        if let Err(error) =
            self.try_kubectl(&["wait", "--for=condition=Finished", &format!("lb/{name}"), &timeout])
        {
            panic!("{error:#}\n{:#}\n{}", self.get(name)["status"], self.logs());
        }
        self.get(name)["status"].clone()
    }

    /// The status, which must be Completed.
    pub(crate) fn completed(&self, name: &str) -> Value {
        let status = self.ended(name);
        assert_eq!(status["phase"], "Completed", "{status:#}\n{}", self.logs());
        status
    }

    /// The status when it has ended, or after this time.
    pub(crate) fn ended_or_running(&self, name: &str, within: Duration) -> Value {
        let timeout = format!("--timeout={}s", within.as_secs());
        let waited = self.try_kubectl(&["wait", "--for=condition=Finished", &format!("lb/{name}"), &timeout]);
        drop(waited);
        self.get(name)["status"].clone()
    }

    /// Waits until a Backup is as `is` says.
    pub(crate) fn until(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let found = self.get(name);
            if is(&found["status"]) {
                return found["status"].clone();
            }
            assert!(Instant::now() < deadline, "{:#}\n{}", found["status"], self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The end of the controllers' logs.
    pub(crate) fn logs(&self) -> String {
        let mut out = String::new();
        for number in 0..self.started.load(Ordering::Relaxed) {
            let path = self.world.folder().join(format!("log/controller-{number}.log"));
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            out += &format!("controller-{number}:\n{}\n", lines[lines.len().saturating_sub(12)..].join("\n"));
        }
        out
    }

    /// See [`user_namespace`].
    pub(crate) fn user_namespace(&self, name: &str, objects: usize) {
        user_namespace(&self.cluster, name, objects);
    }

    /// Every snapshot: number and whole entry of the list.
    pub(crate) fn snapshots(&self) -> BTreeMap<u64, Value> {
        let list = self.world.on_primary(&["snapshots", "--json"]).expect(0).json();
        let all = list["snapshots"].as_array().unwrap().clone();
        all.into_iter().map(|s| (s["seq"].as_u64().unwrap(), s)).collect()
    }

    pub(crate) fn events(&self) -> String {
        self.kubectl(&["get", "events", "-o", "custom-columns=KIND:.involvedObject.kind,NAME:.involvedObject.name,TYPE:.type,REASON:.reason,MESSAGE:.message"])
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.process.pid()).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        get(self.port, path)
    }

    /// A number out of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").unwrap();
        text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The sum of a metric's series that have this label.
    pub(crate) fn sum(&self, metric: &str, label: &str) -> f64 {
        let text = self.get("/metrics").unwrap();
        let of = |line: &str| {
            line.strip_prefix(metric)?.split_once(label)?.1.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        text.lines().filter_map(of).sum()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.process.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Resident memory, MiB: now and at most.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let of = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

/// GETs; an error unless it is 200.
fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{head}\n{body}");
    Ok(body.to_owned())
}
