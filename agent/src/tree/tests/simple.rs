//! Every kind of entry, and what a second run does with them.

use super::*;
use lifeboat_format::tree::NodeKind;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

fn nasty(root: &Path) {
    fs::create_dir_all(root.join("a/b/empty")).unwrap();
    fs::create_dir_all(root.join("a b")).unwrap();
    fs::write(root.join("a/small"), "hello").unwrap();
    fs::write(root.join("a/empty"), "").unwrap();
    fs::write(root.join("a/b/middle"), noise(300_000, 1)).unwrap();
    fs::write(root.join("a/b/same"), noise(300_000, 1)).unwrap();
    fs::write(root.join("a/large"), noise(9 << 20, 2)).unwrap();
    fs::write(root.join("a b/text"), "line\n".repeat(50_000)).unwrap();
    fs::hard_link(root.join("a/large"), root.join("z-link")).unwrap();
    fs::hard_link(root.join("a/large"), root.join("a/b/y-link")).unwrap();
    symlink("../nowhere/\u{7}", root.join("a/link")).unwrap();
    symlink("/", root.join("a/root")).unwrap();
    let odd = std::ffi::OsStr::new("new\nline\u{1b}[31m");
    fs::write(root.join(odd), "odd").unwrap();
    use std::os::unix::ffi::OsStrExt as _;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(CWD, root.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    use std::os::unix::fs::FileExt as _;
    sparse.write_all_at(b"data", 1 << 20).unwrap();
    sparse.write_all_at(&noise(200_000, 3), 3 << 20).unwrap();
    fs::File::create(root.join("hole")).unwrap().set_len(1 << 40).unwrap();
    fs::set_permissions(root.join("a/small"), fs::Permissions::from_mode(0o4751)).unwrap();
    let _ = rustix::fs::lsetxattr(root.join("a/small"), "user.color", b"blue", XattrFlags::empty());
    let _ = rustix::fs::lsetxattr(root.join("a/b"), "user.empty", b"", XattrFlags::empty());
}

#[test]
fn every_kind_comes_back_and_a_second_run_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    nasty(root);
    let mut volume = Volume::default();
    let options = TreeOptions::default();
    let first = volume.store(root, &options);
    assert_eq!((&first.report.missed[..], first.report.vanished), (&[][..], 0));
    let read = volume.read(&first);
    let hole = &read[&b"hole"[..]];
    assert_eq!((hole.0.size, hole.0.extents.as_deref(), hole.1.len()), (1 << 40, Some(&[][..]), 0));
    fs::remove_file(root.join("hole")).unwrap();
    assert_eq!(read.len(), on_disk(root).len() + 1);
    for (path, content) in on_disk(root) {
        assert!(read[&path].1 == content, "{}", path.escape_ascii());
    }
    let kind = |path: &str| read[path.as_bytes()].0.kind;
    assert_eq!(
        (kind("fifo"), kind("socket"), kind("a/link")),
        (NodeKind::Fifo, NodeKind::Socket, NodeKind::Symlink)
    );
    let small = &read[&b"a/small"[..]].0;
    assert_eq!((small.mode, small.size, small.link), (0o4751, 5, None));
    if !small.xattrs.is_empty() {
        assert_eq!(small.xattrs, [(b"user.color".to_vec(), b"blue".to_vec())]);
        assert_eq!(read[&b"a/b"[..]].0.xattrs, [(b"user.empty".to_vec(), Vec::new())]);
    }
    assert_eq!(read[&b"a/link"[..]].0.target.as_deref(), Some("../nowhere/\u{7}".as_bytes()));
    let links = ["a/large", "z-link", "a/b/y-link"].map(|p| read[p.as_bytes()].0.link);
    assert!(links[0].is_some() && links.iter().all(|l| *l == links[0]));
    let sparse = read[&b"sparse"[..]].0.extents.as_ref().unwrap();
    assert!(sparse.iter().map(|e| e.1).sum::<u64>() < 300_000, "{sparse:?}");
    // The large file once, whatever its names; the same content once.
    assert!(first.read_bytes < (9 << 20) + 1_200_000, "{}", first.read_bytes);
    assert!(first.new_bytes < (9 << 20) + 900_000, "{}", first.new_bytes);

    fs::File::create(root.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let second = volume.store(root, &options);
    assert_eq!(second.read_bytes, 0);
    let third = volume.store(root, &options);
    assert_eq!((third.root, volume.last_packs), (second.root, 0));
    assert_eq!(volume.read(&third).len(), read.len());
    let all = volume.store(root, &TreeOptions { read_all: true, ..TreeOptions::default() });
    assert_eq!((all.root, all.new_bytes, volume.last_packs), (second.root, 0, 0));
    assert!(all.read_bytes > 9 << 20);
}

#[test]
fn what_is_excluded_is_counted_and_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in
        ["keep/x", "cache/y", "marked/.nobackup", "marked/z", "tagged/CACHEDIR.TAG", "tagged/z", "false/z"]
    {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), path).unwrap();
    }
    fs::write(root.join("tagged/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# more")
        .unwrap();
    fs::write(root.join("false/CACHEDIR.TAG"), "something else").unwrap();
    let exclude = Excludes::new(["cache/", "*.tmp"]).unwrap();
    fs::write(root.join("keep/a.tmp"), "").unwrap();
    let mut volume = Volume::default();
    let stored = volume.store(root, &TreeOptions { exclude, ..TreeOptions::default() });
    let read = volume.read(&stored);
    let paths: Vec<&str> = read.keys().map(|p| std::str::from_utf8(p).unwrap()).collect();
    assert_eq!(paths, ["", "false", "false/CACHEDIR.TAG", "false/z", "keep", "keep/x", "marked", "tagged"]);
    assert_eq!(stored.report.excluded, 6);
    let unmarked = volume.store(root, &TreeOptions { markers: false, ..TreeOptions::default() });
    assert_same(&volume, &unmarked, root);
}

#[test]
fn a_dry_run_counts_and_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), noise(1 << 20, 5)).unwrap();
    let mut volume = Volume::default();
    let dry = TreeOptions { dry_run: true, ..TreeOptions::default() };
    let stored = volume.store(folder.path(), &dry);
    assert_eq!((stored.entries, stored.read_bytes, volume.last_packs), (2, 1 << 20, 0));
    assert!(stored.root.is_none());
}

#[test]
fn a_root_that_is_no_directory_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for name in ["file", "nothing"] {
        let (mut nothing, keys, options) = (Nothing, keys(), TreeOptions::default());
        let run = TreeRun {
            options: &options,
            keys: &keys,
            memory: &mut nothing,
            past: &Nothing,
            packs: &MemorySink::default(),
            records: &mut Records::default(),
            progress: &TreeProgress::default(),
            cancel: &AtomicBool::new(false),
        };
        let error = store_tree(&folder.path().join(name), run).unwrap_err();
        assert!(matches!(error, TreeError::Root { .. }), "{error}");
    }
}

#[test]
fn a_large_file_is_cut_as_if_it_was_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let content = noise(20 << 20, 7);
    fs::write(folder.path().join("large"), &content).unwrap();
    let mut volume = Volume::default();
    volume.store(folder.path(), &TreeOptions::default());
    let cut = lifeboat_format::chunker::cut(&content, keys().sizes).map(<[u8]>::len);
    let stored = volume.kept.records.0[0].1[0].references.iter().map(|r| r.length as usize);
    assert_eq!(stored.collect::<Vec<_>>(), cut.collect::<Vec<_>>());
}
