//! A whole backup: what pods mount is in the snapshot, in the vault too, and comes out as it was.

use super::*;
use lifeboat_tests::trees::{nasty, rsync_differences};

#[test]
fn a_backup_holds_what_pods_mount_and_the_vault_gives_it_back() {
    if !may_start_nodes("a_backup_holds_what_pods_mount_and_the_vault_gives_it_back") {
        return;
    }
    let site = Site::start();
    let (data, _) = site.claim("apps", "data");
    nasty(&data, 1).unwrap();
    without_trusted(&data);
    let _removed = crate::tree::Removed(data.clone());
    let (shared, _) = site.claim("apps", "shared");
    random_files(&shared, 20, 100 << 10);
    second_pod(&site, "shared");
    let (private, _) = site.claim("apps", "private");
    std::fs::write(private.join("secret"), "not for a backup").unwrap();
    label_out(&site, "private");

    let first = backup(&site, "first");
    assert_eq!((&first["phase"], &first["volumes"]), (&json!("Completed"), &json!(2)), "{first:#}");
    assert!(site.nodes(&["get", "volumebackups", "-o=name"]).is_empty(), "what was made for the run is gone");
    assert_eq!(site.nodes(&["get", "secret", "lifeboat-work", "-o=jsonpath={.data}"]), "", "and its keys");
    comes_out(&site, "data", &data);
    comes_out(&site, "shared", &shared);
    absent(&site, "private");

    // Nothing changed, and nothing mounts one of them: its last tree stays.
    site.node.kubectl(&["-n", "apps", "delete", "pod", "data", "--wait=true"]).unwrap();
    let before = site.stored();
    let second = backup(&site, "second");
    assert_eq!((&second["phase"], &second["volumes"]), (&json!("Completed"), &json!(2)), "{second:#}");
    let added = site.stored() - before;
    assert!(added < 1 << 20, "the second backup stored {added} bytes");
    comes_out(&site, "data", &data);
    let vault = from_the_vault(&site, &data);
    let (copy, ran) = extract(&site, "volumes/apps/shared", &["--repo", &vault]);
    ran.expect(0);
    lost_and_restored(site, &vault, &copy.path().join("x/volumes/apps/shared"));
}

/// The cluster and the primary are gone; a new cluster gets workloads and volumes from the vault.
fn lost_and_restored(site: Site, vault: &str, shared: &Path) {
    let Site { prepared, server, node, .. } = site;
    drop((server, node));
    let node = Node::start().unwrap();
    node.load_image(image()).unwrap();
    let volumes = ["one", "two"].map(|name| node.local_volume(name, "1Gi").unwrap());
    let (identity, kubeconfig) = (prepared.folder.join("identity.txt"), node.kubeconfig().to_path_buf());
    let words = [
        "restore",
        "latest",
        "--repo",
        vault,
        "--yes",
        "--namespace",
        "apps",
        "--identity",
        identity.to_str().unwrap(),
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];
    let ran = prepared.world.lifeboat(&words);
    assert!(matches!(ran.code, 0 | 3), "{}", ran.said());
    let wait = ["-n", "apps", "wait", "--for=condition=Ready", "pod/shared", "pod/second", "--timeout=60s"];
    node.kubectl(&wait).unwrap_or_else(|e| panic!("{e:#}\n{}", ran.said()));
    let bound = ["-n", "apps", "get", "pvc", "shared", "-o=jsonpath={.status.phase} {.spec.volumeName}"];
    let bound = node.kubectl(&bound).unwrap();
    let (phase, name) = bound.split_once(' ').unwrap();
    assert_eq!(phase, "Bound");
    let at = &volumes[usize::from(name == "two")];
    assert_eq!(rsync_differences(shared, at).unwrap(), "", "{}", ran.said());
    crate::fill::wait("no working namespace", Duration::from_secs(30), || {
        !node.kubectl(&["get", "namespaces", "-o=name"]).unwrap().contains("lifeboat-restore")
    });
}

/// Attributes named trusted.* are shown to CAP_SYS_ADMIN only, which the daemon does not have (docs/nodes.md).
fn without_trusted(tree: &Path) {
    let strip = r#"getfattr -R -h -P -d -m '^trusted[.]' --absolute-names "$0" | awk '
        /^# file: / { file = substr($0, 9) }
        /^trusted/ { sub(/=.*/, ""); print file; print $0 }' | while read -r file && read -r name; do
            setfattr -h -x "$name" "$file"
        done"#;
    let done = std::process::Command::new("sh").args(["-c", strip]).arg(tree).status().unwrap();
    assert!(done.success());
}

fn second_pod(site: &Site, claim: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "second", "namespace": "apps" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "docker.io/local/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", "exec sleep 3600"],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
        },
    });
    site.node.apply(&pod.to_string()).unwrap();
    site.node
        .kubectl(&["-n", "apps", "wait", "--for=condition=Ready", "pod/second", "--timeout=60s"])
        .unwrap();
}

fn label_out(site: &Site, claim: &str) {
    let claim = format!("pvc/{claim}");
    site.node.kubectl(&["-n", "apps", "label", &claim, "compliantkubernetes.io/nobackup=true"]).unwrap();
}

/// Makes a Backup, and waits for its end.
pub(super) fn backup(site: &Site, name: &str) -> Value {
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Backup",
        "metadata": { "name": name, "namespace": "lifeboat" },
    });
    site.node.kubectl_stdin(&["create", "-f", "-"], document.to_string()).unwrap();
    let object = format!("backup/{name}");
    let wait = ["-n", "lifeboat", "wait", "--for=condition=Finished", &object, "--timeout=240s"];
    let waited = site.node.kubectl(&wait);
    let text = site.node.kubectl(&["-n", "lifeboat", "get", &object, "-o=json"]).unwrap();
    let status = serde_json::from_str::<Value>(&text).unwrap()["status"].clone();
    if waited.is_err() || status["phase"] != "Completed" {
        let logs = ["-n", "lifeboat", "logs", "-l=app.kubernetes.io/component=controller", "--tail=30"];
        let controllers = site.node.kubectl(&logs).unwrap_or_default();
        let daemon = site.nodes(&["logs", "daemonset/lifeboat-node", "--tail=30"]);
        panic!("{status:#}\n{controllers}\n{daemon}");
    }
    status
}

fn extract(site: &Site, path: &str, from: &[&str]) -> (tempfile::TempDir, crate::world::Ran) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("x").display().to_string();
    let identity = site.prepared.folder.join("identity.txt").display().to_string();
    let all = ["extract", "latest", path, "--devices", "--to", &to, "--identity", &identity];
    let ran = site.prepared.world.lifeboat(&[&all[..], from].concat());
    (folder, ran)
}

fn from_primary(site: &Site, path: &str) -> (tempfile::TempDir, crate::world::Ran) {
    let owner = site.prepared.folder.join("repository.toml").display().to_string();
    let credentials = site.prepared.credentials.display().to_string();
    extract(site, path, &["--owner", &owner, "--credentials-file", &credentials])
}

#[track_caller]
fn comes_out(site: &Site, claim: &str, source: &Path) {
    let path = format!("volumes/apps/{claim}");
    let (folder, ran) = from_primary(site, &path);
    ran.expect(0);
    assert_eq!(rsync_differences(source, &folder.path().join("x").join(path)).unwrap(), "", "{claim}");
}

fn absent(site: &Site, claim: &str) {
    let (_, ran) = from_primary(site, &format!("volumes/apps/{claim}"));
    assert_ne!(ran.code, 0, "{}", ran.said());
}

/// Pulls into a vault: where that is.
pub(super) fn pulled(site: &Site) -> String {
    let config = site.prepared.folder.join("replicator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let credentials = format!("credentials_file = \"{}\"", site.prepared.credentials.display());
    let mut lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("credentials_file =")).collect();
    let table = lines.iter().position(|l| *l == "[source.s3]").unwrap();
    lines.insert(table + 1, &credentials);
    std::fs::write(&config, lines.join("\n")).unwrap();
    let vault = site.prepared.world.folder().join("other-vault");
    std::fs::create_dir_all(&vault).unwrap();
    let pull = ["pull", "--once", "--config", config.to_str().unwrap()];
    site.prepared.world.run("lifeboat-replicator", &pull).expect(0);
    format!("file://{}", vault.display())
}

/// The replicator takes the volumes along. Where the vault is.
fn from_the_vault(site: &Site, source: &Path) -> String {
    let vault = pulled(site);
    let (folder, ran) = extract(site, "volumes/apps/data", &["--repo", &vault]);
    ran.expect(0);
    let tree = folder.path().join("x/volumes/apps/data");
    assert_eq!(rsync_differences(source, &tree).unwrap(), "");
    vault
}
