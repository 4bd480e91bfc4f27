//! Files of volumes, extracted as from a shell.

use crate::testing::OnDisk;
use lifeboat_common::exit::Exit;
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, TestTree};
use std::os::unix::fs::MetadataExt as _;

fn sample() -> SnapshotBuilder {
    let tree = TestTree::new()
        .directory("docs")
        .file("docs/a.txt", "a")
        .file("docs/b.odt", "bb")
        .file(b"docs/\xff*", "odd")
        .directory("docs/deep")
        .file("docs/deep/c.txt", "ccc")
        .symlink("link", "docs")
        .file("top.txt", "top");
    SnapshotBuilder::default()
        .object(Some("web"), "configmap", "c", r#"{"v":1}"#)
        .path("home", tree)
        .path("other", TestTree::new().file("o", "o"))
}

fn on_disk() -> (TestRepository, OnDisk) {
    let mut repository = TestRepository::new();
    repository.commit(&sample());
    let disk = OnDisk::of(&repository);
    (repository, disk)
}

/// Paths of files below the folder, sorted.
fn files(disk: &OnDisk, to: &str) -> Vec<String> {
    let root = disk.path(to);
    let mut out = Vec::new();
    let mut rest = vec![root.clone()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                rest.push(path);
            } else {
                out.push(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_extracted_and_found_done_by_a_second_run() {
    let (_, disk) = on_disk();
    let to = disk.path("to").display().to_string();
    let args = ["extract", "latest", "--to", &to];
    let (exit, out) = disk.lifeboat(&args).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{out}");
    assert!(out.contains("1 objects") && out.contains("6 files") && out.contains("1 links"), "{out}");
    let found = files(&disk, "to");
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(std::fs::read(disk.path("to/volumes/_paths/home/docs/deep/c.txt")).unwrap(), b"ccc");
    assert_eq!(
        std::fs::metadata(disk.path("to/volumes/_paths/home/top.txt")).unwrap().mode() & 0o7777,
        0o644
    );
    let (exit, out) = disk.lifeboat(&["extract", "latest", "volumes", "--to", &to, "--json"]).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["schema"], &json["seq"]), (&"lifeboat/extract/1".into(), &1.into()));
    assert_eq!((&json["volumes"]["files"], &json["volumes"]["already_complete"]), (&0.into(), &7.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_named_by_path_or_pattern() {
    let (_, disk) = on_disk();
    for (n, (args, expected)) in [
        (&["volumes/_paths/home/docs/a.txt"][..], &["home/docs/a.txt"][..]),
        (&["volumes/_paths/home/docs/\\xff*"], &["home/docs/\u{fffd}*"]),
        (&["volumes/_paths/home/docs/deep/"], &["home/docs/deep/c.txt"]),
        (&["volumes/_paths/home/**/*.txt"], &["home/docs/a.txt", "home/docs/deep/c.txt", "home/top.txt"]),
        (&["volumes/_paths/home/do?s/*.odt", "volumes/_paths/other/o"], &["home/docs/b.odt", "other/o"]),
        (&["volumes/_paths/other"], &["other/o"]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("to-{n}");
        let to = disk.path(&name).display().to_string();
        let line: Vec<&str> =
            ["extract", "latest"].into_iter().chain(args.iter().copied()).chain(["--to", &to]).collect();
        let (exit, out) = disk.lifeboat(&line).await;
        assert_eq!(exit.unwrap(), Exit::Done, "{args:?}: {out}");
        let expected: Vec<String> = expected.iter().map(|path| format!("volumes/_paths/{path}")).collect();
        assert_eq!(files(&disk, &name), expected, "{args:?}");
    }
    let to = disk.path("none").display().to_string();
    for none in
        ["volumes/_paths/home/none", "volumes/_paths/none", "volumes/web/data", "volumes/_paths/home/*.zip"]
    {
        let error = disk.lifeboat(&["extract", "latest", none, "--to", &to]).await.0.unwrap_err().to_string();
        assert!(error.contains(none), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_and_writes_nothing() {
    let (_, disk) = on_disk();
    let to = disk.path("to").display().to_string();
    let (exit, out) = disk.lifeboat(&["extract", "latest", "--to", &to, "--dry-run"]).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let lines: Vec<&str> = out.lines().map(str::trim_start).collect();
    for line in [
        "7 B objects/web/configmap/c.yaml",
        "2 B volumes/_paths/home/docs/b.odt",
        "volumes/_paths/home/docs/",
    ] {
        assert!(lines.contains(&line), "{line}: {out}");
    }
    assert!(lines.last().unwrap().contains("nothing was written"), "{out}");
    let (_, out) = disk
        .lifeboat(&["extract", "latest", "volumes/_paths/home/**/*.txt", "--to", &to, "--dry-run", "--json"])
        .await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["dry_run"], json["items"].as_array().unwrap().len()), (&true.into(), 3), "{out}");
    assert!(!disk.path("to").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_left_alone_and_said() {
    let (_, disk) = on_disk();
    let mine = disk.path("to/volumes/_paths/home/top.txt");
    std::fs::create_dir_all(mine.parent().unwrap()).unwrap();
    std::fs::write(&mine, "mine").unwrap();
    let to = disk.path("to").display().to_string();
    let (exit, out) = disk.lifeboat(&["extract", "latest", "--to", &to]).await;
    assert_eq!(exit.unwrap(), Exit::Partial, "{out}");
    assert!(out.contains("2 exist, differ, and were left alone"), "{out}");
    assert_eq!(std::fs::read(mine).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_its_pack_and_the_rest_extracted() {
    let mut repository = TestRepository::new();
    let large: Vec<u8> =
        (0..20_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tree = TestTree::new().file("a", "first").file("b", large).file("c", "last");
    let committed = repository.commit(&SnapshotBuilder::default().path("home", tree));
    let pack = &committed.packs["trees"][0];
    let mut bytes = repository.store.bytes(pack).unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    repository.store.put(pack, bytes);
    let disk = OnDisk::of(&repository);
    let to = disk.path("to").display().to_string();
    let (exit, out) = disk.lifeboat(&["extract", "latest", "--to", &to, "--json"]).await;
    assert_eq!(exit.unwrap(), Exit::Failed, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let failed = json["volumes"]["failed"]["first"][0].as_str().unwrap();
    assert!(failed.starts_with("volumes/_paths/home/b: ") && failed.contains(pack.as_str()), "{failed}");
    assert_eq!(files(&disk, "to"), ["volumes/_paths/home/a", "volumes/_paths/home/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_extract_at_a_time_writes_to_a_folder() {
    let (_, disk) = on_disk();
    let held = lifeboat_agent::tree::restore::Target::open(&disk.path("to")).unwrap();
    let to = disk.path("to").display().to_string();
    let args = ["extract", "latest", "volumes", "--to", &to];
    let error = disk.lifeboat(&args).await.0.unwrap_err().to_string();
    assert!(error.contains("Another extract"), "{error}");
    drop(held);
    assert_eq!(disk.lifeboat(&args).await.0.unwrap(), Exit::Done);
}
