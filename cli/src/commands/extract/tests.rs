//! The looking commands as from a shell, on a repository on disk.

use crate::testing::OnDisk;
use lifeboat_common::exit::Exit;
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, stranger_file};
use lifeboat_format::layout;
use std::os::unix::fs::{MetadataExt as _, symlink};

const FRONT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"front"},"count":9007199254740993,"yes":"yes"}"#;

fn sample() -> (TestRepository, OnDisk) {
    let mut r = TestRepository::new();
    r.commit(&snapshot());
    let disk = OnDisk::of(&r);
    (r, disk)
}

fn snapshot() -> SnapshotBuilder {
    SnapshotBuilder::default()
        .object(None, "namespace", "web", r#"{"apiVersion":"v1","kind":"Namespace"}"#)
        .object(Some("web"), "deployment.apps", "front", FRONT)
        .object(Some("web"), "secret", "password", r#"{"apiVersion":"v1","kind":"Secret"}"#)
}

#[tokio::test]
async fn a_snapshot_is_listed_shown_and_extracted() {
    let (_, disk) = sample();
    let (exit, out) = disk.lifeboat(&["snapshots"]).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert!(out.lines().nth(1).unwrap().contains("Completed"), "{out}");
    let (_, out) = disk.lifeboat(&["snapshots", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["schema"], &json["snapshots"][0]["seq"]), (&"lifeboat/snapshots/1".into(), &1.into()));
    for (path, expected) in [
        (None, "objects/\n"),
        (Some("objects"), "objects/_cluster/\nobjects/web/\n"),
        (Some("objects/web/"), "objects/web/deployment.apps/\nobjects/web/secret/\n"),
        (Some("objects/web/secret"), "objects/web/secret/password.yaml\n"),
    ] {
        let args: Vec<&str> = ["ls", "latest"].into_iter().chain(path).collect();
        assert_eq!(disk.lifeboat(&args).await.1, expected, "{path:?}");
    }
    let (_, out) = disk.lifeboat(&["find", "1", "--kind", "Deployment"]).await;
    assert_eq!(out, "objects/web/deployment.apps/front.yaml\n");
    let (_, yaml) = disk.lifeboat(&["cat", "latest", out.trim()]).await;
    assert!(yaml.contains("count: 9007199254740993\n\"yes\": \"yes\"\n"), "{yaml}");
    let (_, json) = disk.lifeboat(&["cat", "latest", out.trim(), "--output", "json"]).await;
    assert_eq!(json.trim_end(), FRONT);
    let to = disk.path("to");
    let (exit, out) = disk.lifeboat(&["extract", "latest", "--to", to.to_str().unwrap()]).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{out}");
    assert_eq!(std::fs::read_to_string(to.join("objects/web/deployment.apps/front.yaml")).unwrap(), yaml);
    assert!(to.join("objects/_cluster/namespace/web.yaml").is_file());
    let secret = to.join("objects/web/secret/password.yaml");
    assert_eq!(std::fs::metadata(secret).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn extract_leaves_alone_what_is_there_and_follows_no_link() {
    let (_, disk) = sample();
    let (to, outside) = (disk.path("to"), disk.path("outside"));
    std::fs::create_dir_all(to.join("objects/web/secret")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(to.join("objects/web/secret/password.yaml"), "mine").unwrap();
    let args = ["extract", "latest", "--to", to.to_str().unwrap()];
    let (exit, out) = disk.lifeboat(&args).await;
    assert_eq!(exit.unwrap(), Exit::Partial);
    assert!(out.contains("2 objects") && out.contains("1 left alone"), "{out}");
    assert_eq!(std::fs::read(to.join("objects/web/secret/password.yaml")).unwrap(), b"mine");
    std::fs::remove_dir_all(&to).unwrap();
    std::fs::create_dir_all(to.join("objects")).unwrap();
    symlink(&outside, to.join("objects/web")).unwrap();
    let (exit, _) = disk.lifeboat(&args).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn damage_is_named_and_the_rest_extracted() {
    let mut r = TestRepository::new();
    let committed = r.commit(&snapshot());
    let pack = &committed.packs["objects/web"][0];
    r.store.remove(pack);
    let disk = OnDisk::of(&r);
    let to = disk.path("to");
    let (exit, out) = disk.lifeboat(&["extract", "1", "--json", "--to", to.to_str().unwrap()]).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let failed = json["failed"][0].as_str().unwrap();
    assert!(failed.contains(pack.as_str()) && failed.contains("objects/web"), "{failed}");
    assert_eq!(json["written"], 2);
    let (exit, out) = disk.lifeboat(&["verify"]).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    assert!(out.contains(&format!("Missing: {pack} (needed by 1)")), "{out}");
    let (exit, _) = disk.lifeboat(&["verify", "--open", "--json"]).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
}

#[tokio::test]
async fn without_an_owner_some_stop_and_some_warn() {
    let (r, disk) = sample();
    let secret = r.identity.lines().find(|l| !l.starts_with('#')).unwrap();
    let nameless = disk.path("nameless.txt");
    lifeboat_common::keys::write_new(&nameless, secret.as_bytes()).unwrap();
    let to = disk.path("to").display().to_string();
    let fingerprint = r.owner_key().fingerprint();
    for args in [
        &["extract", "1", "--to", &to][..],
        &["cat", "1", "objects/web/secret/password.yaml"],
        &["verify"],
        &["restore", "1"],
    ] {
        let error = disk.with_identity(args, &nameless).await.0.unwrap_err().to_string();
        assert!(error.contains(&fingerprint) && error.contains("--owner"), "{args:?}: {error}");
    }
    assert!(!disk.path("to").exists());
    assert_eq!(disk.bare(&["snapshots"]).await.0.unwrap(), Exit::Done);
    assert_eq!(disk.with_identity(&["ls", "latest"], &nameless).await.0.unwrap(), Exit::Done);
    let (_, out) = disk.bare(&["snapshots", "--json"]).await;
    assert!(out.contains("\"verified\": false"), "{out}");
    let owner = r.owner_key().to_string();
    assert_eq!(disk.bare(&["verify", "--owner", &owner]).await.0.unwrap(), Exit::Done);
    let stranger = TestRepository::new().owner_key().to_string();
    let error = disk.bare(&["verify", "--owner", &stranger]).await.0.unwrap_err().to_string();
    assert!(error.contains("signed by the owner"), "{error}");
}

#[tokio::test]
async fn a_stranger_is_told_that_the_key_is_another() {
    let (r, disk) = sample();
    let other = disk.path("other.txt");
    lifeboat_common::keys::write_new(&other, stranger_file().as_bytes()).unwrap();
    let owner = r.owner_key().to_string();
    let to = disk.path("to").display().to_string();
    let error = disk
        .with_identity(&["extract", "1", "--owner", &owner, "--to", &to], &other)
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(error.contains("opens none of the 1 epochs"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let (_, disk) = sample();
    for args in [
        &["cat", "9", "objects/web/secret/password.yaml"][..],
        &["cat", "1", "objects/web/secret/none.yaml"],
        &["cat", "1", "objects/web"],
        &["cat", "1", "../etc/passwd"],
        &["ls", "1", "objects/none"],
        &["extract", "1", "objects/none", "--to", "/nonexistent/x"],
    ] {
        assert!(disk.lifeboat(args).await.0.is_err(), "{args:?}");
    }
}

#[tokio::test]
async fn latest_of_a_namespace_is_the_newest_that_covers_it() {
    let mut r = TestRepository::new();
    r.commit(&snapshot());
    let partial = |namespace, text: &str| SnapshotBuilder {
        coverage: lifeboat_format::manifest::Coverage::Partial,
        ..SnapshotBuilder::default().object(Some(namespace), "configmap", "c", text)
    };
    r.commit(&partial("data", r#"{"v":2}"#));
    r.commit(&partial("web", r#"{"v":3}"#));
    let disk = OnDisk::of(&r);
    let found = disk.lifeboat(&["cat", "latest", "objects/web/configmap/c.yaml"]).await.1;
    assert_eq!(found, "v: 3\n");
    let found = disk.lifeboat(&["cat", "latest", "objects/data/configmap/c.yaml"]).await.1;
    assert_eq!(found, "v: 2\n");
    assert_eq!(disk.lifeboat(&["ls", "latest", "objects/web/secret"]).await.1, "");
    r.store.put(&layout::manifest(4), "junk");
    disk.write(&r);
    assert_eq!(disk.lifeboat(&["verify"]).await.0.unwrap(), Exit::Failed, "a slot that is no manifest");
}
