//! The independent reader, in Python and from `docs/format.md` alone, prints the same objects as `lifeboat extract`.
//! Promise 8 of the design.

use crate::inprocess::namespace;
use crate::world::{World, files, kubeconfig};
use std::path::{Path, PathBuf};
use std::process::Command;

fn tests_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> PathBuf {
    let out = Command::new(tests_folder().join("peers/python.sh")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    PathBuf::from(String::from_utf8(out.stdout).unwrap().lines().last().unwrap().trim())
}

/// Runs the independent reader; its standard output.
pub(crate) fn independent(args: &[&str]) -> String {
    let out =
        Command::new(python()).arg(tests_folder().join("independent_reader.py")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let below = |f: &PathBuf| f.strip_prefix(folder).unwrap().to_path_buf();
    files(folder).iter().map(|f| (below(f), std::fs::read(f).unwrap())).collect()
}

#[test]
fn it_extracts_the_same_objects_as_lifeboat() {
    namespace("reader", 50);
    let world = World::file();
    for more in [&["--namespace", "reader"][..], &["--namespace", "reader", "--namespace", "default"]] {
        world.backup(kubeconfig(), more).expect(0);
    }
    world.pull().expect(0);
    let (ours, theirs) = (world.folder().join("ours"), world.folder().join("theirs"));
    world.on_vault(&["extract", "latest", "--output", "json", "--to", ours.to_str().unwrap()]).expect(0);
    let admin = world.admin();
    let (vault, identity) = (world.kept(), admin.join("identity.txt"));
    let owner = std::fs::read_to_string(admin.join("repository.toml")).unwrap();
    let owner =
        owner.lines().find_map(|l| l.strip_prefix("owner = \"")).unwrap().trim_end_matches('"').to_owned();
    let place =
        [vault.to_str().unwrap(), "latest", "--identity", identity.to_str().unwrap(), "--owner", &owner];
    independent(&[&["extract"][..], &place, &["--deep", "--to", theirs.to_str().unwrap()]].concat());
    let (ours, theirs) = (contents(&ours), contents(&theirs));
    assert!(ours.len() >= 53, "{}", ours.len());
    assert!(ours == theirs);
}

#[test]
fn it_reads_the_golden_repository() {
    let fixture = tests_folder().join("fixtures/v1");
    let expected = std::fs::read(fixture.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    // The fixture's identity names its owner in a comment.
    let identity = fixture.join("identity.txt");
    let text = std::fs::read_to_string(&identity).unwrap();
    let owner = text.lines().find_map(|l| l.strip_prefix("# owner: ")).unwrap().trim();
    let repository = fixture.join("repository");
    for (snapshot, objects) in expected.as_object().unwrap() {
        let identity = identity.to_str().unwrap();
        let place = [repository.to_str().unwrap(), snapshot, "--identity", identity, "--owner", owner];
        let dumped = independent(&[&["dump"][..], &place, &["--deep", "--json"]].concat());
        let dumped: serde_json::Value = serde_json::from_str(&dumped).unwrap();
        assert_eq!(dumped, *objects, "snapshot {snapshot}");
    }
}
