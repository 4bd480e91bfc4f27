//! What tests of whole backups share: Pods that mount claims, Backups and their ends, processes to kill. Knows no single
//! test.

use super::*;

/// Stops while there is `/tmp/frozen`.
const WRITE: &str =
    "n=0; while :; do if [ ! -e /tmp/frozen ]; then n=$((n+1)); echo $n >> /data/log; fi; usleep 20000; done";
/// Leaves its mark when the writer stands still.
const FREEZE: &str = "touch /tmp/frozen; sleep PAUSE; echo still >> /data/log";
const THAW: &str = "rm -f /tmp/frozen; echo thawed >> /tmp/calls";

pub(super) const PRE: &str = "pre.hook.backup.velero.io/command";
pub(super) const POST: &str = "post.hook.backup.velero.io/command";

/// Hooks that stop the writer, for so many seconds before they are done.
pub(super) fn freezing(seconds: &str) -> Value {
    let shell = |line: &str| json!(["sh", "-c", line]).to_string();
    json!({ PRE: shell(&FREEZE.replace("PAUSE", seconds)), POST: shell(THAW) })
}

/// A claim on a new local volume, and a Pod with these annotations that writes into it without end.
pub(super) fn writer(site: &Site, namespace: &str, name: &str, annotations: &Value) -> PathBuf {
    let volume = format!("pv-{namespace}-{name}");
    let path = site.node.local_volume(&volume, "1Gi").unwrap();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "volumeName": volume,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "docker.io/local/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", WRITE], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
        },
    });
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    for object in [space, claim, pod] {
        site.node.apply(&object.to_string()).unwrap();
    }
    let pod = format!("pod/{name}");
    site.node.kubectl(&["-n", namespace, "wait", "--for=condition=Ready", &pod, "--timeout=90s"]).unwrap();
    path
}

/// Runs a line of shell in a Pod; whether it ended well.
pub(super) fn shell(node: &Node, namespace: &str, pod: &str, line: &str) -> bool {
    node.kubectl(&["-n", namespace, "exec", pod, "--", "sh", "-c", line]).is_ok()
}

pub(super) fn is_frozen(site: &Site, namespace: &str, pod: &str) -> bool {
    shell(&site.node, namespace, pod, "test -e /tmp/frozen")
}

/// Waits until the Pod writes again.
#[track_caller]
pub(super) fn thawed(site: &Site, namespace: &str, pod: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_frozen(site, namespace, pod) {
        assert!(Instant::now() < deadline, "{namespace}/{pod} is still frozen\n{}", logs(site));
        std::thread::sleep(Duration::from_millis(500));
    }
}

pub(super) fn logs(site: &Site) -> String {
    let logs = ["-n", "lifeboat", "logs", "-l=app.kubernetes.io/component=controller", "--tail=40"];
    let controllers = site.node.kubectl(&logs).unwrap_or_default();
    let daemon = site.node.kubectl(&["-n", NODES, "logs", "daemonset/lifeboat-node", "--tail=30"]);
    format!("{controllers}\n{}", daemon.unwrap_or_default())
}

/// Makes a Backup of these namespaces.
pub(super) fn begin(site: &Site, name: &str, namespaces: &[&str]) {
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Backup",
        "metadata": {"name": name, "namespace": "lifeboat"}, "spec": {"includedNamespaces": namespaces},
    });
    site.node.kubectl_stdin(&["create", "-f", "-"], document.to_string()).unwrap();
}

pub(super) fn status(site: &Site, name: &str) -> Value {
    let text = site.node.kubectl(&["-n", "lifeboat", "get", "backup", name, "-o=json"]).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["status"].clone()
}

/// Waits for the end of a Backup: its status.
#[track_caller]
pub(super) fn ended(site: &Site, name: &str, phase: &str) -> Value {
    let object = format!("backup/{name}");
    let wait = ["-n", "lifeboat", "wait", "--for=condition=Finished", &object, "--timeout=240s"];
    let _judged_below = site.node.kubectl(&wait);
    let status = status(site, name);
    assert_eq!(status["phase"], phase, "{status:#}\n{}", logs(site));
    status
}

/// The words that lead a command to the primary.
pub(super) fn primary(site: &Site) -> Vec<String> {
    let folder = &site.prepared.folder;
    let words = [
        "--owner".to_owned(),
        folder.join("repository.toml").display().to_string(),
        "--credentials-file".to_owned(),
        site.prepared.credentials.display().to_string(),
        "--identity".to_owned(),
        folder.join("identity.txt").display().to_string(),
    ];
    words.to_vec()
}

pub(super) fn lifeboat(site: &Site, words: &[&str]) -> crate::world::Ran {
    let place = primary(site);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    site.prepared.world.lifeboat(&[words, &place].concat())
}

/// The report of the last snapshot.
pub(super) fn report(site: &Site) -> Value {
    lifeboat(site, &["report", "latest", "--json"]).expect(0).json()
}

/// How a volume stood when it was read, by a report.
pub(super) fn consistency(report: &Value, claim: &str) -> Value {
    let volumes = report["volumes"].as_array().cloned().unwrap_or_default();
    let found = volumes.into_iter().find(|v| v["claim"] == claim);
    found.map(|v| v["consistency"].clone()).unwrap_or_default()
}

/// SIGKILL for every process of the agent with this word (`controller`, `node`, `fill`); how many there were.
pub(super) fn kill(node: &Node, word: &str) -> usize {
    let kill = format!(
        r#"for p in /proc/[0-9]*; do
            if [ "$(readlink "$p/exe")" = /usr/bin/lifeboat-agent ] && tr '\0' '\n' < "$p/cmdline" | sed -n 2p | grep -qx {word} \
                && ! tr '\0' '\n' < "$p/cmdline" | grep -qx -e --hold; then
                kill -9 "${{p#/proc/}}" && echo killed
            fi
        done; exit 0"#
    );
    node.run(&["sh", "-c", &kill]).unwrap().lines().count()
}

/// What one file of the last snapshot holds.
pub(super) fn file_of(site: &Site, path: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("x");
    lifeboat(site, &["extract", "latest", path, "--to", to.to_str().unwrap()]).expect(0);
    std::fs::read_to_string(to.join(path)).unwrap()
}
