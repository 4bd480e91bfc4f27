//! The commands of the README, as an administrator types them, on `file://` and on `s3://`: a cluster is backed up,
//! pulled, looked at, and restored into another one.

use crate::world::{World, files, kubeconfig};
use lifeboat_tests::harness::cluster::Cluster;
use std::path::Path;

const APPLICATION: &str = include_str!("../../demo/application.yaml");
const CUSTOM: &str = include_str!("../../demo/custom-resources.yaml");

fn load(cluster: &Cluster) {
    cluster.kubectl_stdin(&["apply", "--server-side", "-f", "-"], APPLICATION).unwrap();
    cluster
        .kubectl(&["wait", "--for=condition=Established", "crd/ferries.sea.example.org", "--timeout=60s"])
        .unwrap();
    cluster.kubectl_stdin(&["apply", "-f", "-"], CUSTOM).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
}

pub(crate) fn compare(cluster: &Cluster, dump: &Path, before: Option<&Path>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/compare.py");
    let python = |args: &[&str]| {
        let out = std::process::Command::new("python3").arg(&script).args(args).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{text}");
    };
    let kubectl = cluster.kubectl_path().to_str().unwrap();
    python(&["dump", kubectl, cluster.kubeconfig().to_str().unwrap(), dump.to_str().unwrap()]);
    if let Some(before) = before {
        python(&["compare", before.to_str().unwrap(), dump.to_str().unwrap()]);
    }
}

/// Everything from a cluster's life to its second one.
fn whole_story(world: &World) {
    let old = Cluster::start().unwrap();
    load(&old);
    let before = world.folder().join("before.json");
    compare(&old, &before, None);
    let first = world.backup(old.kubeconfig(), &["--json"]).expect(0).json();
    assert_eq!(first["result"], "Completed");
    assert_eq!(first["coverage"], "full");
    world.backup(old.kubeconfig(), &["--namespace", "shop", "--selector", "app=web"]).expect(0);
    world.pull().expect(0);
    drop(old);

    for look in [World::on_primary, World::on_vault] {
        let list = look(world, &["snapshots", "--json"]).expect(0).json();
        assert_eq!(list["schema"], "lifeboat/snapshots/1");
        assert_eq!(list["snapshots"].as_array().unwrap().len(), 2);
        look(world, &["verify"]).expect(0);
        let ls = look(world, &["ls", "latest", "objects/shop"]).expect(0);
        assert!(ls.stdout.contains("deployment.apps"), "{}", ls.stdout);
        let cat = look(world, &["cat", "latest", "objects/ledger/secret/database.yaml"]).expect(0);
        assert!(cat.stdout.contains("kind: Secret"), "{}", cat.stdout);
        let found = look(world, &["find", "latest", "--name", "settings*"]).expect(0);
        assert!(found.stdout.contains("objects/shop/configmap/settings.yaml"), "{}", found.stdout);
    }
    let big = world.on_vault(&["cat", "latest", "objects/shop/ferry.sea.example.org/silja.yaml"]).expect(0);
    assert!(big.stdout.contains("9007199254740993"), "{}", big.stdout);

    let out = world.folder().join("out");
    let to = ["extract", "latest", "--to", out.to_str().unwrap()];
    world.on_vault(&to).expect(0);
    let extracted = files(&out);
    assert!(extracted.len() >= 38, "{}", extracted.len());
    let again = world.on_vault(&to);
    assert_ne!(again.code, 0, "extract never replaces a file");

    let new = Cluster::start().unwrap();
    let target = ["restore", "latest", "--kubeconfig", new.kubeconfig().to_str().unwrap()];
    let dry = world.on_vault(&[&target[..], &["--dry-run"]].concat());
    assert!(dry.code == 0 || dry.code == 3, "{}", dry.said());
    assert!(new.kubectl(&["get", "namespace", "shop"]).is_err(), "a dry run creates nothing");
    let restored = world.on_vault(&[&target[..], &["--yes", "--json"]].concat());
    assert!(restored.code == 0, "{}", restored.said());
    std::thread::sleep(std::time::Duration::from_secs(2));
    compare(&new, &world.folder().join("after.json"), Some(&before));
    // A second restore finds everything there, and changes nothing.
    let versions = |c: &Cluster| {
        c.kubectl(&[
            "get",
            "configmaps,secrets,services",
            "-A",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ])
        .unwrap()
    };
    let was = versions(&new);
    world.on_vault(&[&target[..], &["--yes"]].concat()).expect(0);
    assert_eq!(versions(&new), was);
    new.kubectl(&["create", "namespace", "afterwards"]).unwrap();
    new.kubectl(&["delete", "namespace", "afterwards", "--timeout=60s"]).unwrap();
}

#[test]
fn the_whole_story_on_a_directory() {
    whole_story(&World::file());
}

#[test]
fn the_whole_story_on_s3() {
    whole_story(&World::s3("story"));
}

#[test]
fn what_is_wrong_is_said_with_the_next_step() {
    crate::inprocess::namespace("wrong", 3);
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", "wrong"]).expect(0);
    world.pull().expect(0);
    let vault = world.vault_url();
    let other = world.folder().join("other.txt");
    world.lifeboat(&["keygen", "--unprotected", "--out", other.to_str().unwrap()]).expect(0);
    let admin = world.admin();
    let owner = admin.join("repository.toml");
    let stranger =
        ["--repo", &vault, "--identity", other.to_str().unwrap(), "--owner", owner.to_str().unwrap()];
    let ran =
        world.lifeboat(&[&["cat", "latest", "objects/wrong/configmap/c0000.yaml"][..], &stranger].concat());
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("identit"), "{}", ran.stderr);

    let ran = world.lifeboat(&["verify", "--repo", &vault]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("--owner"), "{}", ran.stderr);

    let ran = world.on_vault(&["ls", "99"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("99"), "{}", ran.stderr);

    let ran = world.lifeboat(&["snapshots", "--repo", "file:///nowhere/at/all"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("/nowhere/at/all"), "{}", ran.stderr);

    let config = world.admin().join("agent.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("colour = 3\n{text}")).unwrap();
    let ran = world.backup(kubeconfig(), &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.said().contains("colour") && ran.said().contains("line 1"), "{}", ran.said());
}
