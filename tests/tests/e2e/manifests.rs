//! Real YAML that nobody here wrote: the test data of the Kubernetes module goes through backup and restore into an
//! empty cluster with no difference but the fields that must differ.

use crate::world::World;
use lifeboat_tests::harness::cluster::Cluster;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The module's folder in Go's cache; `make peers` has built from it.
fn module() -> PathBuf {
    let version =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/build.sh")).unwrap();
    let version = version.lines().find_map(|l| l.strip_prefix("KUBERNETES=")).unwrap().to_owned();
    let args = ["mod", "download", "-json", &format!("k8s.io/kubernetes@v{version}")];
    let out = Command::new("go").args(args).current_dir("/").output().expect("Go runs");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("go mod download says where");
    PathBuf::from(json["Dir"].as_str().expect("a folder"))
}

/// Documents of files under `folder` that are meant for the API server.
fn documents(folder: &Path) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    for file in crate::world::files(folder) {
        let yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        if !yaml || text.contains("{{") {
            continue;
        }
        for part in text.split("\n---") {
            if let Ok(value) = serde_saphyr::from_str::<serde_json::Value>(part) {
                let items = value["items"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                out.extend(
                    items.into_iter().filter(|v| v["apiVersion"].is_string() && v["metadata"].is_object()),
                );
            }
        }
    }
    out
}

/// Loads what the server takes into the namespace `module` (or cluster-wide); how many it took.
fn load(cluster: &Cluster, documents: &[serde_json::Value]) -> usize {
    cluster.kubectl(&["create", "namespace", "module"]).unwrap();
    let skip =
        ["Node", "Namespace", "Event", "Lease", "Pod", "Job", "APIService", "PersistentVolume", "Endpoints"];
    let dir = tempfile::tempdir().unwrap();
    for (i, document) in documents.iter().enumerate() {
        let kind = document["kind"].as_str().unwrap_or_default();
        // What would run, what a controller makes again, and what would stop the API server from taking more.
        if skip.contains(&kind)
            || kind.ends_with("WebhookConfiguration")
            || kind.starts_with("ValidatingAdmission")
        {
            continue;
        }
        let mut document = document.clone();
        document["metadata"]["namespace"] = "module".into();
        // A definition's name follows from what it defines; others may be there twice.
        if kind != "CustomResourceDefinition" {
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            document["metadata"]["name"] = format!("{name}-{i}").into();
        }
        // A restore never makes a second default class; the data has three.
        if let Some(annotations) = document["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|k, _| !k.contains("is-default-class"));
        }
        std::fs::write(dir.path().join(format!("{i}.json")), document.to_string()).unwrap();
    }
    // One call: kubectl goes on after each refusal.
    let path = dir.path().to_str().unwrap();
    let kubectl = cluster.kubectl_path();
    let config = cluster.kubeconfig();
    let out = Command::new(kubectl)
        .args(["--kubeconfig", config.to_str().unwrap(), "create", "--validate=false", "-f", path])
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).lines().filter(|l| l.ends_with(" created")).count()
}

#[test]
fn the_kubernetes_modules_own_test_data_survives() {
    let module = module();
    let folders = [
        "test/fixtures",
        "test/e2e/testing-manifests",
        "test/conformance",
        "hack/testdata",
        "cluster/addons",
    ];
    let documents: Vec<_> = folders.iter().flat_map(|f| documents(&module.join(f))).collect();
    assert!(documents.len() > 100, "{} documents", documents.len());
    let world = World::file();
    let old = Cluster::start().unwrap();
    let taken = load(&old, &documents);
    assert!(taken > 60, "the server took {taken} of {}", documents.len());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let before = world.folder().join("before.json");
    crate::forms::compare(&old, &before, None);
    world.backup(old.kubeconfig(), &[]).expect(0);
    world.pull().expect(0);
    drop(old);
    let new = Cluster::start().unwrap();
    let ran =
        world.on_vault(&["restore", "latest", "--kubeconfig", new.kubeconfig().to_str().unwrap(), "--yes"]);
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.said());
    std::thread::sleep(std::time::Duration::from_secs(3));
    crate::forms::compare(&new, &world.folder().join("after.json"), Some(&before));
    new.kubectl(&["create", "namespace", "afterwards"]).unwrap();
    new.kubectl(&["delete", "namespace", "afterwards", "--timeout=60s"]).unwrap();
}
