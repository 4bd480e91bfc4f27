//! Trees made to break the machine: all end, in bounded time, and the rest is stored.

use super::*;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat};
use std::fs;
use std::time::Instant;

fn directory(parent: &OwnedFd, name: &str) -> OwnedFd {
    mkdirat(parent, name, Mode::from_raw_mode(0o755)).unwrap();
    openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Removes a chain of directories of one name, in linear time: what is below the first takes its place.
fn remove_chain(root: &Path, name: &str) {
    let root = openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let below = format!("{name}/{name}");
    while rustix::fs::renameat(&root, &below, &root, "moved").is_ok() {
        for file in ["a", "z", "\n"] {
            let _ = rustix::fs::unlinkat(&root, format!("{name}/{file}"), AtFlags::empty());
        }
        rustix::fs::unlinkat(&root, name, AtFlags::REMOVEDIR).unwrap();
        rustix::fs::renameat(&root, "moved", &root, name).unwrap();
    }
}

#[test]
fn a_hundred_thousand_nested_directories() {
    // In memory where that is possible: a disk needs minutes to make and remove them.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut at = openat(CWD, &root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..100_000 {
        at = directory(&at, "d");
    }
    // Beside the deep one, so that the walk has to come all the way back.
    fs::create_dir(root.join("e")).unwrap();
    fs::write(root.join("e/file"), "e").unwrap();
    fs::create_dir(root.join("d/e")).unwrap();
    fs::write(root.join("d/e/file"), "de").unwrap();
    let started = Instant::now();
    let mut volume = Volume::default();
    let stored = volume.store(&root, &TreeOptions { readers: 2, ..TreeOptions::default() });
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let read = volume.read(&stored);
    assert_eq!((&read[&b"e/file"[..]].1[..], &read[&b"d/e/file"[..]].1[..]), (&b"e"[..], &b"de"[..]));
    // A path of 8191 components has a key of 16 KiB: below it the tree is missed, and named once.
    assert!(stored.entries > 8000 && stored.entries < 8300, "{}", stored.entries);
    assert_eq!((stored.report.missed_total, stored.report.missed[0].reason), (1, Reason::PathTooLong));
    fs::remove_dir_all(root.join("d/e")).unwrap();
    remove_chain(&root, "d");
}

#[test]
fn long_names_control_characters_and_many_levels_with_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut at = openat(CWD, folder.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    // 50 × 250 bytes: beyond PATH_MAX, below the longest key.
    let name = "\u{1b}[2J".to_owned() + &"x".repeat(246);
    for i in 0..50 {
        for file in ["a", "z", "\n"] {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let fd = openat(&at, file, flags, Mode::from_raw_mode(0o600)).unwrap();
            rustix::io::write(&fd, format!("{i}{file}").as_bytes()).unwrap();
        }
        at = directory(&at, &name);
    }
    let mut volume = Volume::default();
    let stored = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!((stored.entries, stored.report.missed_total), (1 + 50 * 4, 0));
    let read = volume.read(&stored);
    let deep = [vec![name.as_bytes(); 49].join(&b'/'), b"z".to_vec()].join(&b'/');
    assert_eq!(read[&deep].1, b"49z");
    let again = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!((again.root, again.read_bytes), (stored.root, 0));
    remove_chain(folder.path(), &name);
}

#[test]
fn a_farm_of_links_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    fs::write(&first, noise(3 << 20, 1)).unwrap();
    for i in 0..60 {
        fs::create_dir_all(folder.path().join(format!("d{}", i % 10))).unwrap();
        fs::hard_link(&first, folder.path().join(format!("d{}/{i}", i % 10))).unwrap();
    }
    let mut volume = Volume::default();
    let stored = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!(stored.read_bytes, 3 << 20);
    assert_same(&volume, &stored, folder.path());
}

#[test]
fn a_sparse_bomb_with_many_extents() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = fs::File::create(folder.path().join("bomb")).unwrap();
    use std::os::unix::fs::FileExt as _;
    // As large as the file system allows, up to 1 EiB.
    let size = (40..=60).rev().map(|bits| 1_u64 << bits).find(|size| bomb.set_len(*size).is_ok()).unwrap();
    for i in 0..5000 {
        // Small holes first, so that those are the ones that are stored as zeros.
        let step = if i < 3000 { 8 << 10 } else { 1 << 20 };
        bomb.write_all_at(&[1 + u8::try_from(i % 200).unwrap()], i * step + (1 << 16)).unwrap();
    }
    bomb.write_all_at(b"end", size - 3).unwrap();
    let started = Instant::now();
    let mut volume = Volume::default();
    let stored = volume.store(folder.path(), &TreeOptions::default());
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    let read = volume.read(&stored);
    let (attributes, content) = &read[&b"bomb"[..]];
    let extents = attributes.extents.as_ref().unwrap();
    assert_eq!((attributes.size, extents.len()), (size, lifeboat_format::tree::EXTENTS_MAX));
    assert!(content.ends_with(b"end") && content.len() < 100 << 20);
    let again = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!((again.root, again.read_bytes), (stored.root, 0));
}

#[test]
fn a_large_directory_and_a_crowd_of_directories() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("many")).unwrap();
    for i in 0..20_000_u32 {
        fs::write(folder.path().join(format!("many/{:x}", i.wrapping_mul(2_654_435_761))), i.to_le_bytes())
            .unwrap();
    }
    for i in 0..3000 {
        fs::create_dir_all(folder.path().join(format!("crowd/{}/{i}", i % 7))).unwrap();
    }
    let mut volume = Volume::default();
    let stored = volume.store(folder.path(), &TreeOptions::default());
    assert_same(&volume, &stored, folder.path());
    let again = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!((again.root, volume.last_packs), (stored.root, 0));
    fs::write(folder.path().join("many/new"), "new").unwrap();
    let changed = volume.store(folder.path(), &TreeOptions::default());
    assert!(changed.new_bytes < 500_000, "{}", changed.new_bytes);
    assert_same(&volume, &changed, folder.path());
}
