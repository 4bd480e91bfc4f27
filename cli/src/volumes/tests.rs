//! `ls`, `find`, `cat` and `diff` of volumes, on repositories made by hand.

use crate::testing::OnDisk;
use lifeboat_common::exit::Exit;
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, TestTree};
use lifeboat_format::manifest::Coverage;
use lifeboat_format::tree::{Attributes, NodeKind};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

fn tree() -> TestTree {
    let sparse =
        Attributes { kind: NodeKind::File, size: 9, extents: Some(vec![(4, 3)]), ..Attributes::default() };
    TestTree::new()
        .directory("etc")
        .file("etc/a.conf", "one\n")
        .file("etc/b.conf", "two\n")
        .symlink("link", "etc/a.conf")
        .file(b"odd\xff\n", "odd")
        .file("back\\slash", "slash")
        .entry("sparse", sparse, "abc")
}

fn paths(builder: SnapshotBuilder) -> SnapshotBuilder {
    SnapshotBuilder { coverage: Coverage::Paths, ..builder }
}

fn sample() -> (TestRepository, OnDisk) {
    let mut repository = TestRepository::new();
    repository.commit(&paths(SnapshotBuilder::default().path("home", tree())));
    let later = tree().file("etc/new.conf", "three\n").file("etc/b.conf", "changed\n");
    repository.commit(&paths(SnapshotBuilder::default().path("home", later)));
    repository.commit(&SnapshotBuilder::default().object(Some("web"), "configmap", "c", "{}"));
    repository.commit(&paths(SnapshotBuilder::default().path("other", TestTree::new())));
    let disk = OnDisk::of(&repository);
    (repository, disk)
}

async fn lines(disk: &OnDisk, args: &[&str]) -> Vec<String> {
    let (exit, out) = disk.lifeboat(args).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{args:?} {out}");
    out.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn folders_and_files_are_listed() {
    let (_repository, disk) = sample();
    let ls = async |path: &str| lines(&disk, &["ls", "2", path]).await;
    assert_eq!(ls("").await, ["volumes/"]);
    assert_eq!(ls("volumes").await, ["volumes/_paths/"]);
    assert_eq!(ls("volumes/_paths/").await, ["volumes/_paths/home/"]);
    let root = ["back\\\\slash", "etc/", "link", "odd\\xff\\n", "sparse"]
        .map(|n| format!("volumes/_paths/home/{n}"));
    assert_eq!(ls("volumes/_paths/home").await, root);
    let etc = ["a.conf", "b.conf", "new.conf"].map(|n| format!("volumes/_paths/home/etc/{n}"));
    assert_eq!(ls("volumes/_paths/home/etc/").await, etc);
    assert_eq!(ls("volumes/_paths/home/etc/a.conf").await, etc[..1]);
    let all = lines(&disk, &["ls", "2", "-R"]).await;
    assert_eq!(all, [&root[..], &etc[..]].concat());
    assert_eq!(lines(&disk, &["ls", "2", "-R", "volumes/_paths"]).await, all);
    let long = lines(&disk, &["ls", "2", "-l", "volumes/_paths/home/link"]).await;
    assert!(long[0].starts_with("lrwxrwxrwx") && long[0].ends_with("home/link -> etc/a.conf"), "{long:?}");
    for none in
        ["volumes/web", "volumes/_paths/none", "volumes/_paths/home/none", "volumes/_paths/home/etc/a.conf/x"]
    {
        let (exit, out) = disk.lifeboat(&["ls", "2", none]).await;
        assert!(exit.unwrap_err().to_string().contains("has no"), "{none}");
        assert_eq!(out, "");
    }
    assert!(disk.lifeboat(&["ls", "2", "volumes/_paths/home/../x"]).await.0.is_err());
}

#[tokio::test]
async fn json_says_everything_and_names_come_back() {
    let (_repository, disk) = sample();
    let (_, out) = disk.lifeboat(&["ls", "2", "--json", "volumes/_paths/home"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&json["schema"], &json["seq"], &json["verified"]),
        (&"lifeboat/ls/1".into(), &2.into(), &true.into())
    );
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    let odd = &items[3];
    assert_eq!(odd["name_hex"], hex::encode(b"odd\xff\n"));
    assert_eq!((&odd["type"], &odd["size"], &odd["mode"]), (&"file".into(), &3.into(), &"0644".into()));
    assert_eq!(items[2]["target"], "etc/a.conf");
    for item in items.iter().filter(|i| i["type"] == "file") {
        let (_, content) = disk.lifeboat(&["cat", "2", item["path"].as_str().unwrap()]).await;
        assert_eq!(content.len() as u64, item["size"].as_u64().unwrap(), "{item}");
    }
}

#[tokio::test]
async fn cat_writes_files_and_says_what_is_none() {
    let (_repository, disk) = sample();
    let cat = async |path: &str| disk.lifeboat(&["cat", "2", path]).await;
    assert_eq!(cat("volumes/_paths/home/sparse").await.1, "\0\0\0\0abc\0\0");
    assert_eq!(cat("volumes/_paths/home/odd\\xff\\n").await.1, "odd");
    assert_eq!(cat("volumes/_paths/home/back\\slash").await.1, "slash", "as it is");
    assert_eq!(cat("volumes/_paths/home/back\\\\slash").await.1, "slash", "as it is shown");
    let raw = OsString::from_vec(b"volumes/_paths/home/odd\xff\n".to_vec());
    assert!(crate::paths::snapshot_paths(&[raw]).is_ok());
    for (path, why) in [
        ("volumes/_paths/home/etc", "is a folder"),
        ("volumes/_paths", "is a folder"),
        ("volumes/_paths/home/link", "symbolic link to 'etc/a.conf'"),
        ("volumes/_paths/home/none", "has no"),
    ] {
        let (exit, out) = cat(path).await;
        assert!(exit.unwrap_err().to_string().contains(why), "{path}");
        assert_eq!(out, "");
    }
}

#[tokio::test]
async fn find_looks_for_names_and_types() {
    let (_repository, disk) = sample();
    let conf = ["a.conf", "b.conf", "new.conf"].map(|n| format!("volumes/_paths/home/etc/{n}"));
    assert_eq!(lines(&disk, &["find", "2", "--name", "*.conf"]).await, conf);
    assert_eq!(lines(&disk, &["find", "2", "volumes/_paths/home/etc", "--name", "?.conf"]).await, conf[..2]);
    assert_eq!(
        lines(&disk, &["find", "2", "volumes", "--type", "symlink"]).await,
        ["volumes/_paths/home/link"]
    );
    let folders = lines(&disk, &["find", "2", "--type", "directory"]).await;
    assert_eq!(folders, ["volumes/_paths/home/", "volumes/_paths/home/etc/"]);
    assert_eq!(lines(&disk, &["find", "3"]).await, ["objects/web/configmap/c.yaml"]);
    assert!(disk.lifeboat(&["find", "2", "volumes", "--kind", "secret"]).await.0.is_err());
    assert!(disk.lifeboat(&["find", "2", "volumes/_paths/none"]).await.0.is_err());
}

#[tokio::test]
async fn latest_is_the_newest_that_has_the_volume() {
    let (_repository, disk) = sample();
    assert_eq!(lines(&disk, &["cat", "latest", "volumes/_paths/home/etc/b.conf"]).await, ["changed"]);
    assert_eq!(lines(&disk, &["ls", "latest"]).await, ["objects/"]);
    assert!(disk.lifeboat(&["ls", "latest", "volumes/_paths/none"]).await.0.is_err());
}

#[tokio::test]
async fn diff_says_what_changed() {
    let (_repository, disk) = sample();
    let expected = ["* volumes/_paths/home/etc/b.conf (content, size)", "+ volumes/_paths/home/etc/new.conf"]
        .map(str::to_owned);
    assert_eq!(lines(&disk, &["diff", "1", "2"]).await, expected);
    assert_eq!(lines(&disk, &["diff", "1", "latest", "volumes/_paths/home"]).await, expected);
    assert_eq!(lines(&disk, &["diff", "1", "2", "volumes/_paths/home/etc/new.conf"]).await, expected[1..]);
    assert!(lines(&disk, &["diff", "1", "2", "volumes/_paths/home/link"]).await.is_empty());
    assert_eq!(lines(&disk, &["diff", "2", "4"]).await.len(), 10, "two volumes, each in one only");
    let (_, out) = disk.lifeboat(&["diff", "1", "2", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["items"][0]["what"], serde_json::json!(["content", "size"]));
    assert_eq!(json["items"][0]["before"]["size"], 4);
    assert_eq!((&json["items"][1]["change"], &json["before"]), (&"added".into(), &1.into()));
    for wrong in ["objects/web", "volumes/_paths/none", "volumes/_paths/home/none"] {
        assert!(disk.lifeboat(&["diff", "1", "2", wrong]).await.0.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_damaged_is_named_and_the_rest_shown() {
    let mut repository = TestRepository::new();
    let tree = TestTree::new().file("a", "sound").file("z", "sound");
    let hostile = tree.raw(lifeboat_format::tree::path_key(b"b\x1b[2J"), b"\xa1\x00\x09".to_vec());
    let committed = repository.commit(&paths(SnapshotBuilder::default().path("home", hostile)));
    let disk = OnDisk::of(&repository);
    let (exit, out) = disk.lifeboat(&["ls", "latest", "volumes/_paths/home"]).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    assert_eq!(out, "volumes/_paths/home/a\nvolumes/_paths/home/z\n");
    repository.store.remove(&committed.packs["trees"][0]);
    disk.write(&repository);
    let (exit, _) = disk.lifeboat(&["cat", "latest", "volumes/_paths/home/a"]).await;
    let why = format!("{:#}", exit.unwrap_err());
    assert!(why.contains(&committed.packs["trees"][0]) && why.contains("volumes/_paths/home/a"), "{why}");
}
