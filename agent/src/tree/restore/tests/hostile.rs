//! Trees as no sound agent writes them.

use super::*;
use lifeboat_format::tree::{encode_attributes, path_key};
use std::os::unix::fs::MetadataExt as _;

fn encoded(a: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    encode_attributes(a, &mut out).unwrap();
    out
}

fn failed(report: &Report, path: &str) -> bool {
    report.failed.first.iter().any(|line| line.contains(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_only_into_directories_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    let bed = Bed::new(
        TestTree::new()
            .file("file", "x")
            .file("file/below", "1")
            .symlink("link", outside.path().to_str().unwrap())
            .file("link/below", "2")
            .file("link/deep/below", "2")
            .file("nowhere/below", "3")
            .directory("nowhere/else/deep")
            .file("sound", "4"),
    );
    let report = bed.restore().await.report;
    assert_eq!((report.files, report.symlinks, report.directories), (2, 1, 1), "{report:?}");
    for bad in ["file: ", "link: ", "nowhere: "] {
        assert!(failed(&report, &format!("volumes/_paths/home/{bad}")), "{bad}: {report:?}");
    }
    assert_eq!((report.failed.total, report.below_failed), (3, 5), "{report:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out() {
    let file = encoded(&Attributes { kind: NodeKind::File, mode: 0o644, ..Attributes::default() });
    let mut tree = TestTree::new().file("sound", "1");
    for key in [&b"\0\0.."[..], b"\0\0.", b"\0\0a/b", b"..\0\0x", b"a\0..\0\0x", b"\0\0", b"/etc\0\0x", b"x"]
    {
        tree = tree.raw(key, file.clone());
    }
    let bed = Bed::new(tree);
    let report = bed.restore().await.report;
    assert_eq!((report.files, report.failed.total), (1, 8), "{report:?}");
    let around: Vec<_> = std::fs::read_dir(bed.dir.path()).unwrap().collect();
    assert_eq!(around.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_sizes_that_no_file_system_takes_are_said() {
    let huge =
        Attributes { kind: NodeKind::File, size: 1 << 60, extents: Some(vec![]), ..Attributes::default() };
    let end =
        Attributes { size: i64::MAX as u64, extents: Some(vec![(i64::MAX as u64 - 3, 3)]), ..huge.clone() };
    let bed = Bed::new(
        TestTree::new()
            .entry("huge", huge, "")
            .entry("end", end, "abc")
            .file("n".repeat(300), "long")
            .directory("d".repeat(300))
            .file(format!("{}/below", "d".repeat(300)), "x")
            .file("a\x1b[31m\n", "red")
            .file("sound", "1"),
    );
    let report = bed.restore().await.report;
    assert_eq!(report.failed.total + report.files, 6, "{report:?}");
    assert!(failed(&report, "nnn: Cannot create it: File name too long"), "{report:?}");
    assert_eq!((report.below_failed, bed.path("a\x1b[31m\n").exists()), (1, true));
    assert!(std::fs::read(bed.path("sound")).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_file_must_be_of_one_file() {
    let linked =
        |size| Attributes { kind: NodeKind::File, mode: 0o644, size, link: Some(5), ..Attributes::default() };
    let fifo = Attributes { kind: NodeKind::Fifo, mode: 0o600, link: Some(5), ..Attributes::default() };
    let bed = Bed::new(
        TestTree::new()
            .entry("a", linked(1), "1")
            .entry("b", linked(1), "2")
            .entry("c", linked(2), "22")
            .entry("d", fifo, "")
            .entry("e", linked(1), "1"),
    );
    let report = bed.restore().await.report;
    assert_eq!((report.hard_links, report.links_as_copies, report.files), (1, 3, 3), "{report:?}");
    let ino = |path: &str| std::fs::symlink_metadata(bed.path(path)).unwrap().ino();
    assert_eq!(ino("a"), ino("e"));
    assert_eq!(std::fs::read(bed.path("b")).unwrap(), b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_a_file_that_is_lost_are_tried_one_by_one() {
    let linked = |link| Attributes {
        kind: NodeKind::File,
        mode: 0o644,
        size: 20 << 20,
        link: Some(link),
        ..Attributes::default()
    };
    let bed = Bed::new(
        TestTree::new()
            .entry("a", linked(1), noise(20 << 20))
            .entry("b", linked(1), noise(20 << 20))
            .entry("c", linked(1), noise(20 << 20))
            .file("z", "sound"),
    );
    bed.repository.store.remove(&bed.packs[0]);
    let report = bed.restore().await.report;
    assert_eq!((report.failed.total, report.files), (3, 1), "{report:?}");
    // One that is in the way is not linked to.
    let bed = Bed::new(TestTree::new().entry("a", linked(1), noise(20 << 20)).entry(
        "b",
        linked(1),
        noise(20 << 20),
    ));
    std::fs::create_dir_all(bed.path("")).unwrap();
    std::fs::write(bed.path("a"), "mine").unwrap();
    let report = bed.restore().await.report;
    assert_eq!((report.files, report.hard_links), (1, 0), "{report:?}");
    assert_eq!(std::fs::read(bed.path("a")).unwrap(), b"mine");
    assert_eq!(std::fs::read(bed.path("b")).unwrap(), noise(20 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn very_deep_trees_come_back_as_far_as_they_can_be_stored() {
    let mut tree = TestTree::new();
    let mut path = String::new();
    for _ in 0..3000 {
        path.push_str(if path.is_empty() { "d" } else { "/d" });
        tree = tree.directory(&path);
    }
    let bed = Bed::new(tree.file(format!("{path}/deep"), "down here"));
    let report = bed.restore().await.report;
    assert_eq!((report.directories, report.files, report.failed.total), (3001, 1, 0), "{report:?}");
    // What std cannot remove in one path.
    Command::new("rm").arg("-rf").arg(bed.path("d")).status().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_no_entry_is_said() {
    let bed = Bed::new(TestTree::new().file("a", "1").raw(path_key(b"b"), b"\xff".to_vec()).file("c", "2"));
    let report = bed.restore().await.report;
    assert_eq!((report.files, report.failed.total), (2, 1), "{report:?}");
    assert!(failed(&report, "volumes/_paths/home/b"), "{report:?}");
}
