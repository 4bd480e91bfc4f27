//! What was stored comes back, all of it or what was asked for, and a second run finds it done.

use super::*;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

fn file(mode: u32) -> Attributes {
    Attributes {
        kind: NodeKind::File,
        mode,
        mtime_s: 1_000_000,
        mtime_ns: 123_456_789,
        ..Attributes::default()
    }
}

fn sized(mode: u32, size: u64) -> Attributes {
    Attributes { size, ..file(mode) }
}

/// A tree with something of everything that needs no privileges.
fn everything() -> TestTree {
    let fifo = Attributes { kind: NodeKind::Fifo, size: 0, ..file(0o620) };
    let socket = Attributes { kind: NodeKind::Socket, ..fifo.clone() };
    let root = Attributes { mode: 0o750, mtime_s: 77, mtime_ns: 5, ..Attributes::default() };
    let directory = Attributes { mode: 0o555, mtime_s: -5, mtime_ns: 1, ..Attributes::default() };
    let sparse = Attributes { extents: Some(vec![(4096, 3), (1 << 20, 5)]), ..sized(0o600, 4 << 20) };
    let hole = Attributes { extents: Some(vec![]), ..sized(0o600, 1 << 30) };
    let linked = Attributes { link: Some(9), ..sized(0o640, 4) };
    TestTree::new()
        .entry("", root, "")
        .entry("a", directory, "")
        .directory("a/deep")
        .entry("a/deep/file", sized(0o400, 5), "hello")
        .entry("a/first", linked.clone(), "link")
        .entry("z-second", linked, "link")
        .entry("empty", file(0o644), "")
        .entry("large", sized(0o644, 300_000), noise(300_000))
        .entry("fifo", fifo, "")
        .entry("socket", socket, "")
        .entry("sparse", sparse, "abcdefgh")
        .entry("hole", hole, "")
        .entry(b"odd \xff\n", sized(0o644, 1), "x")
        .symlink("link", "../../../nowhere")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back() {
    let mut tree = everything();
    // So many chunks that their list is in chunks of its own.
    tree.chunk = 1000;
    let bed = Bed::new(tree);
    let restored = bed.restore().await;
    let report = restored.report;
    assert!(
        restored.stopped.is_none() && report.failed.total == 0 && report.left_alone.total == 0,
        "{report:?}"
    );
    assert_eq!((report.directories, report.files, report.hard_links), (3, 7, 1));
    assert_eq!((report.symlinks, report.special), (1, 2));
    assert_eq!(std::fs::read(bed.path("large")).unwrap(), noise(300_000));
    assert_eq!(std::fs::read(bed.path("a/deep/file")).unwrap(), b"hello");
    let meta = |path: &str| std::fs::symlink_metadata(bed.path(path)).unwrap();
    let times = |path: &str| (meta(path).mode() & 0o7777, meta(path).mtime(), meta(path).mtime_nsec());
    assert_eq!(times(""), (0o750, 77, 5));
    assert_eq!(times("a"), (0o555, -5, 1));
    assert_eq!(times("a/deep/file"), (0o400, 1_000_000, 123_456_789));
    assert_eq!(times("fifo"), (0o620, 1_000_000, 123_456_789));
    assert!(meta("fifo").file_type().is_fifo() && meta("socket").file_type().is_socket());
    assert_eq!(std::fs::read_link(bed.path("link")).unwrap(), Path::new("../../../nowhere"));
    assert_eq!(meta("link").mtime(), 0);
    assert_eq!(meta("a/first").ino(), meta("z-second").ino());
    let sparse = std::fs::read(bed.path("sparse")).unwrap();
    assert_eq!(
        (&sparse[4096..4099], &sparse[1 << 20..][..5], sparse.len()),
        (&b"abc"[..], &b"defgh"[..], 4 << 20)
    );
    assert!(meta("sparse").blocks() * 512 < 64 << 10 && meta("hole").blocks() == 0);
    assert_eq!(meta("hole").len(), 1 << 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_devices_and_capabilities_come_back_to_root() {
    if !is_root() {
        eprintln!("SKIPPED: this needs root");
        return;
    }
    let owned = Attributes { uid: 1234, gid: 4321, ..sized(0o6755, 1) };
    let capability =
        (b"security.capability".to_vec(), hex::decode("0100000200040000000000000000000000000000").unwrap());
    let capable =
        Attributes { xattrs: vec![capability.clone(), (b"user.a".to_vec(), vec![0, 255])], ..owned.clone() };
    // Version 2: user::rw- user:7:r-- group::r-- mask::r-- other::---
    let acl = "0200000001000600ffffffff020004000700000004000400ffffffff10000400ffffffff20000000ffffffff";
    let acl = (b"system.posix_acl_access".to_vec(), hex::decode(acl).unwrap());
    let listed = Attributes { xattrs: vec![acl.clone()], ..sized(0o640, 1) };
    let device = Attributes { kind: NodeKind::CharDevice, rdev: Some((1, 3)), size: 0, ..owned.clone() };
    let label = (b"trusted.x".to_vec(), b"of the link".to_vec());
    let link =
        Attributes { kind: NodeKind::Symlink, size: 0, target: Some(b"capable".to_vec()), ..owned.clone() };
    let labelled = Attributes { xattrs: vec![label.clone()], mode: 0o777, ..link };
    let folder = Attributes { kind: NodeKind::Directory, size: 0, ..capable.clone() };
    let bed = Bed::new(
        TestTree::new()
            .entry("capable", capable, "x")
            .entry("listed", listed, "y")
            .entry("null", device, "")
            .entry("l", labelled, "")
            .entry(
                "d",
                Attributes { xattrs: vec![(b"user.a".to_vec(), b"1".to_vec())], mode: 0o2775, ..folder },
                "",
            ),
    );
    let report = bed.restore().await.report;
    assert_eq!((report.devices_left_out, report.is_complete()), (1, false));
    let restored = bed.restore_with(vec![Chosen::All], RestoreOptions { devices: true, ..options() }).await;
    assert!(restored.report.not_set.is_empty(), "{:?}", restored.report);
    assert_eq!((restored.report.special, restored.report.already_complete), (1, 3));
    let meta = |path: &str| std::fs::symlink_metadata(bed.path(path)).unwrap();
    for (path, mode) in [("capable", 0o6755), ("null", 0o6755), ("d", 0o2775), ("l", 0o777)] {
        let m = meta(path);
        assert_eq!((m.uid(), m.gid(), m.mode() & 0o7777), (1234, 4321, mode), "{path}");
    }
    assert_eq!(meta("null").rdev(), rustix::fs::makedev(1, 3));
    let xattr = |path: &str, name: &[u8]| {
        let mut value = vec![0; 100];
        let len = rustix::fs::lgetxattr(bed.path(path), name, &mut value[..]).unwrap();
        value.truncate(len);
        value
    };
    for (path, (name, value)) in [("capable", capability), ("listed", acl), ("l", label)] {
        assert_eq!(xattr(path, &name), value, "{path}");
    }
    assert_eq!((xattr("capable", b"user.a"), xattr("d", b"user.a")), (vec![0, 255], b"1".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finds_all_done_and_a_third_fills_what_is_missing() {
    let bed = Bed::new(everything());
    let first = bed.restore().await.report;
    let before = std::fs::metadata(bed.path("large")).unwrap();
    let second = bed.restore().await.report;
    assert!(second.is_complete(), "{second:?}");
    assert_eq!((second.files, second.bytes), (0, 0));
    assert_eq!(second.already_complete, first.files + first.hard_links + first.symlinks + first.special);
    assert_eq!(std::fs::metadata(bed.path("large")).unwrap().ino(), before.ino());
    std::fs::remove_file(bed.path("large")).unwrap();
    // As a run leaves it that was killed.
    std::fs::set_permissions(bed.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o1700)).unwrap();
    std::fs::write(bed.path(format!("{}left", partial::PREFIX)), "half").unwrap();
    let third = bed.restore().await.report;
    assert_eq!((third.files, third.is_complete()), (1, true), "{third:?}");
    let root = std::fs::metadata(bed.path("")).unwrap();
    assert_eq!((root.mode() & 0o7777, root.mtime()), (0o750, 77));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_restored_with_the_directories_that_they_are_in() {
    let private = Attributes { mode: 0o700, mtime_s: 5, ..Attributes::default() };
    let tree = TestTree::new()
        .directory("a")
        .entry("a/b", private, "")
        .file("a/b/one.txt", "1")
        .file("a/b/two.log", "2")
        .directory("a/b/logs-1")
        .file("a/b/logs-1/x", "x")
        .directory("a/c")
        .file("a/c/three.txt", "3")
        .file("top.txt", "t");
    let glob = |text| vec![Chosen::Matching(Pattern::new(text).unwrap())];
    let path = |text: &str| vec![Chosen::Path(text.as_bytes().to_vec())];
    for (chosen, expected) in [
        (path("a/b/two.log"), &["a", "a/b", "a/b/two.log"][..]),
        (path("a/b"), &["a", "a/b", "a/b/logs-1", "a/b/logs-1/x", "a/b/one.txt", "a/b/two.log"]),
        (path("a/c/"), &[]),
        (path("none"), &[]),
        (glob("**/*.txt"), &["a", "a/b", "a/b/one.txt", "a/c", "a/c/three.txt", "top.txt"]),
        (glob("*/b/logs-*"), &["a", "a/b", "a/b/logs-1", "a/b/logs-1/x"]),
        (glob("nothing*"), &[]),
        (
            [path("top.txt"), path("a/b/one.txt"), path("a/b")].concat(),
            &["a", "a/b", "a/b/logs-1", "a/b/logs-1/x", "a/b/one.txt", "a/b/two.log", "top.txt"],
        ),
    ] {
        let bed = Bed::new(tree.clone());
        let shown = format!("{chosen:?}");
        let restored = bed.restore_with(chosen, options()).await;
        assert_eq!(restored.found.iter().all(|f| *f), !expected.is_empty(), "{shown}");
        assert!(
            restored.report.failed.total == 0 && restored.report.left_alone.total == 0,
            "{:?}",
            restored.report
        );
        assert_eq!(below(&bed.path("")), expected, "{shown}");
        if expected.contains(&"a/b") {
            let meta = std::fs::metadata(bed.path("a/b")).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o700, 5), "{shown}");
        }
    }
}

/// Paths below a folder, sorted.
fn below(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            out.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                rest.push(path);
            }
        }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_can_be_the_target_itself() {
    let bed = Bed::new(everything());
    let to = bed.dir.path().join("volume");
    let target = Arc::new(Target::open(&to).unwrap());
    let options = RestoreOptions { root: Root::Target, ..options() };
    let restored = restore(&bed.tree().await, vec![Chosen::All], &target, options).await;
    assert!(restored.report.is_complete(), "{:?}", restored.report);
    let root = std::fs::metadata(&to).unwrap();
    assert_eq!((root.mode() & 0o7777, root.mtime()), (0o750, 77));
    assert_eq!(std::fs::read(to.join("a/deep/file")).unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_and_equal_files_come_back() {
    let mut tree = TestTree::new();
    for d in 0..30 {
        tree = tree.directory(format!("d{d}"));
        for f in 0..200 {
            tree = tree
                .file(format!("d{d}/{f}"), if f % 3 == 0 { b"same".to_vec() } else { noise(d * 200 + f) });
        }
    }
    let bed = Bed::new(tree);
    let report = bed.restore().await.report;
    assert_eq!((report.files, report.directories), (6000, 31), "{report:?}");
    assert_eq!(std::fs::read(bed.path("d29/199")).unwrap(), noise(5999));
    assert_eq!(std::fs::read(bed.path("d7/3")).unwrap(), b"same");
}
