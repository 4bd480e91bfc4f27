//! A provisioner as storage has one: makes a volume for each claim of its classes when the scheduler has chosen a node
//! (or at once), and deletes what is released, as the reclaim policy says. Ends with its owner.

use super::*;
use lifeboat_tests::harness::node::NAME;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const DRIVER: &str = "dir.test.example";

/// Makes volumes of the classes `late` (bound when first used) and `now`, both deleted when released.
pub(crate) struct Provisioner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) folder: tempfile::TempDir,
}

struct Loop {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
}

impl Provisioner {
    pub(crate) fn start(node: &Node) -> Self {
        for (class, binding) in [("late", "WaitForFirstConsumer"), ("now", "Immediate")] {
            let class = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
                "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": binding,
            });
            node.apply(&class.to_string()).unwrap();
        }
        let folder = tempfile::tempdir_in(node.folder()).unwrap();
        let work = Loop {
            kubectl: node.kubectl_path().to_owned(),
            kubeconfig: node.kubeconfig().to_owned(),
            folder: folder.path().to_owned(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work.once();
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        Self { stop, thread: Some(thread), folder }
    }

    /// Where a volume is on the machine.
    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        self.folder.path().join(volume)
    }

    /// Volumes that have a folder.
    pub(crate) fn folders(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

impl Drop for Provisioner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

impl Loop {
    fn kubectl(&self, words: &[&str], input: Option<String>) -> Option<Value> {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(words).arg("-o=json");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        child.stdin.take()?.write_all(input.unwrap_or_default().as_bytes()).ok()?;
        serde_json::from_slice(&child.wait_with_output().ok()?.stdout).ok()
    }

    fn once(&self) {
        let Some(volumes) = self.kubectl(&["get", "persistentvolumes"], None) else { return };
        let volumes = volumes["items"].as_array().cloned().unwrap_or_default();
        for volume in &volumes {
            let ours = volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == DRIVER;
            let over = volume["status"]["phase"] == "Released";
            if ours && over && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" {
                let name = volume["metadata"]["name"].as_str().unwrap();
                let _gone = std::fs::remove_dir_all(self.folder.join(name));
                self.kubectl(&["delete", "--wait=false", "persistentvolume", name], None);
            }
        }
        let Some(claims) = self.kubectl(&["get", "persistentvolumeclaims", "-A"], None) else { return };
        for claim in claims["items"].as_array().into_iter().flatten() {
            let annotations = &claim["metadata"]["annotations"];
            let asked = annotations["volume.kubernetes.io/storage-provisioner"] == DRIVER;
            let late = claim["spec"]["storageClassName"] == "late";
            let chosen = annotations["volume.kubernetes.io/selected-node"] == NAME;
            let waiting = claim["status"]["phase"] == "Pending" && claim["spec"]["volumeName"].is_null();
            if asked && waiting && (chosen || !late) && claim["metadata"]["deletionTimestamp"].is_null() {
                self.provision(claim);
            }
        }
    }

    fn provision(&self, claim: &Value) {
        let name = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
        let path = self.folder.join(&name);
        std::fs::create_dir_all(&path).unwrap();
        self.kubectl(&["create", "-f", "-"], Some(volume(&name, &path, claim).to_string()));
    }
}

fn volume(name: &str, path: &Path, claim: &Value) -> Value {
    let here = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}]}]);
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim["metadata"]["name"],
        "namespace": claim["metadata"]["namespace"], "uid": claim["metadata"]["uid"],
    });
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"]["storageClassName"],
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": here}},
            "claimRef": reference,
        },
    })
}
