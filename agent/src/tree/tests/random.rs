//! Random trees, random changes between runs; every older snapshot is still what it was.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// One change to a tree.
#[derive(Debug, Clone)]
enum Change {
    /// Length class, seed.
    Write(Vec<u8>, u8, u64),
    Append(Vec<u8>, u16),
    Remove(Vec<u8>),
    Directory(Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    Symlink(Vec<u8>),
    Sparse(Vec<u8>, u64),
}

/// Few names, so that changes meet; some that sort oddly around separators.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&[u8]> = vec![b"a", b"a b", b"a.b", b"a\x01", b"b", b"\xff", b"ab", b"-", b"a\xc3\xa9"];
    proptest::collection::vec(proptest::sample::select(names), 1..4).prop_map(|parts| parts.join(&b'/'))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (path(), 0_u8..5, 0_u64..4).prop_map(|(p, class, seed)| Change::Write(p, class, seed)),
        1 => (path(), any::<u16>()).prop_map(|(p, n)| Change::Append(p, n)),
        2 => path().prop_map(Change::Remove),
        2 => path().prop_map(Change::Directory),
        1 => (path(), path()).prop_map(|(a, b)| Change::Link(a, b)),
        1 => path().prop_map(Change::Symlink),
        1 => (path(), 1_u64..3_000_000).prop_map(|(p, n)| Change::Sparse(p, n)),
    ]
}

/// Makes the change, as far as what is there allows.
fn make(root: &Path, change: &Change) {
    let at = |path: &[u8]| -> PathBuf {
        let path = root.join(std::ffi::OsStr::from_bytes(path));
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        path
    };
    let _ = match change {
        Change::Write(p, class, seed) => {
            let len = [0, 10, 40_000, 140_000, 1_300_000][usize::from(*class)];
            fs::write(at(p), noise(len, *seed))
        }
        Change::Append(p, n) => fs::read(at(p)).and_then(|mut content| {
            content.extend_from_slice(&n.to_le_bytes());
            fs::write(at(p), content)
        }),
        Change::Remove(p) => fs::remove_dir_all(at(p)).or_else(|_| fs::remove_file(at(p))),
        Change::Directory(p) => fs::create_dir_all(at(p)),
        Change::Link(a, b) => fs::hard_link(at(a), at(b)),
        Change::Symlink(p) => symlink("a/b", at(p)),
        Change::Sparse(p, n) => fs::File::create(at(p)).and_then(|f| {
            use std::os::unix::fs::FileExt as _;
            f.set_len(n + 100_000)?;
            f.write_all_at(b"in a hole", n / 2)
        }),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_stays_what_the_tree_was(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..25), 1..4),
        read_all in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::default();
        let mut snapshots = Vec::new();
        for round in rounds {
            round.iter().for_each(|change| make(folder.path(), change));
            let options = TreeOptions { read_all, readers: 3, ..TreeOptions::default() };
            // What changed within the granularity of the file system's clock is read again, as in life.
            volume.kept.started = volume.kept.started.map(|_| now(folder.path()));
            let stored = volume.store(folder.path(), &options);
            prop_assert!(stored.report.missed.is_empty(), "{:?}", stored.report.missed);
            snapshots.push((stored, on_disk(folder.path())));
        }
        for (stored, disk) in snapshots {
            let read = volume.read(&stored);
            prop_assert_eq!(read.keys().collect::<Vec<_>>(), disk.keys().collect::<Vec<_>>());
            for (path, content) in disk {
                prop_assert!(read[&path].1 == content, "{}", path.escape_ascii());
            }
        }
    }
}
