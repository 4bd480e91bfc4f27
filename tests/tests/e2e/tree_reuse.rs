//! What is stored once, what is not read again, and how little an unchanged tree costs.

use crate::tree::{From, backup_path, bytes, extracted, same, seen};
use crate::world::{World, program};
use lifeboat_tests::trees::nasty::noise;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a backup and gives the peak of its memory in MB, as the kernel accounts it.
fn memory(world: &World, name: &str, tree: &Path) -> u64 {
    let config = world.admin().join("agent.toml");
    let mut command = Command::new(program("lifeboat-agent"));
    command.args(["backup-path", "--config"]).arg(config).args(["--name", name]).arg(tree);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        peak = peak.max(now.unwrap_or(0));
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(status.success(), "{status}");
    peak / 1024
}

/// `count` small files, a thousand in a directory, and a fifth as many in one.
fn many(tree: &Path, count: usize) {
    fs::create_dir_all(tree.join("flat")).unwrap();
    for name in 0..count / 5 {
        fs::write(tree.join(format!("flat/{name}")), "").unwrap();
    }
    for folder in 0..count.div_ceil(1000) {
        let path = tree.join(format!("{:02}/{folder:04}", folder / 100));
        fs::create_dir_all(&path).unwrap();
        for name in 0..1000.min(count - folder * 1000) {
            fs::write(path.join(format!("{name:03}")), format!("{folder}/{name}")).unwrap();
        }
    }
}

/// A tree of `count` files of which one changes: what its second and third backup store.
fn next_to_nothing(count: usize) {
    let world = World::file();
    let tree = world.folder().join("tree");
    many(&tree, count);
    // A change just before a backup is read again by the next; age is what makes a file unchanged.
    std::thread::sleep(Duration::from_secs(3));
    let peak = memory(&world, "many", &tree);
    assert!(peak < 300, "the first backup took {peak} MB");
    let first = bytes(&world.primary());
    let again = backup_path(&world, "many", &tree, &[]).expect(0).json();
    assert_eq!(again["result"], "Completed");
    let second = bytes(&world.primary());
    assert!(second - first < 64 << 10, "an unchanged tree of {count} files stored {} bytes", second - first);
    fs::write(tree.join("00/0007/500"), "changed").unwrap();
    let peak = memory(&world, "many", &tree);
    assert!(peak < 200, "an incremental backup took {peak} MB");
    let third = bytes(&world.primary());
    assert!(third - second < 3 << 20, "one file changed, and {} bytes were stored", third - second);
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "many");
    same(&seen(&tree), &restored);
}

#[test]
fn fifty_thousand_files_unchanged_store_next_to_nothing() {
    next_to_nothing(50_000);
}

/// Minutes: `cargo test -p lifeboat-tests --test e2e million -- --ignored`.
#[test]
#[ignore = "minutes; the smaller one runs always"]
fn a_million_files_unchanged_store_next_to_nothing() {
    next_to_nothing(1_000_000);
}

#[test]
fn what_is_moved_copied_or_named_twice_is_stored_once() {
    let world = World::file();
    let tree = world.folder().join("tree");
    let mut random = StdRng::seed_from_u64(1);
    fs::create_dir_all(tree.join("a")).unwrap();
    for n in 0..100 {
        fs::write(tree.join(format!("a/small{n}")), noise(&mut random, 30_000)).unwrap();
    }
    let large = noise(&mut random, 20 << 20);
    fs::write(tree.join("a/large"), &large).unwrap();
    fs::copy(tree.join("a/large"), tree.join("a/large-twice")).unwrap();
    fs::hard_link(tree.join("a/large"), tree.join("a/large-linked")).unwrap();
    backup_path(&world, "v", &tree, &[]).expect(0);
    let first = bytes(&world.primary());
    assert!(first < 24 << 20, "{first} bytes for 23 MB, twice and a third time by link");

    fs::rename(tree.join("a"), tree.join("moved")).unwrap();
    for n in 0..100 {
        fs::copy(tree.join(format!("moved/small{n}")), tree.join(format!("copy{n}"))).unwrap();
    }
    fs::copy(tree.join("moved/large"), tree.join("large-copied")).unwrap();
    backup_path(&world, "v", &tree, &[]).expect(0);
    let second = bytes(&world.primary());
    assert!(second - first < 300 << 10, "moved and copied data stored {} bytes more", second - first);

    // A few bytes put into the middle of a large file cost a chunk or two.
    let (head, tail) = large.split_at(9 << 20);
    fs::write(tree.join("moved/large"), [head, b"inserted", tail].concat()).unwrap();
    backup_path(&world, "v", &tree, &[]).expect(0);
    let third = bytes(&world.primary());
    assert!(third - second < 9 << 20, "{} bytes for an insertion", third - second);

    let (_folder, restored) = extracted(&world, From::Primary, "latest", "v");
    same(&seen(&tree), &restored);
}

/// Two volumes share nothing but the repository: the snapshots of one do not cost the other its memory.
#[test]
fn two_volumes_have_memories_of_their_own() {
    let world = World::file();
    let mut random = StdRng::seed_from_u64(2);
    let [one, two] = ["one", "two"].map(|name| world.folder().join(name));
    for tree in [&one, &two] {
        fs::create_dir(tree).unwrap();
        fs::write(tree.join("file"), noise(&mut random, 3 << 20)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    backup_path(&world, "one", &one, &[]).expect(0);
    backup_path(&world, "two", &two, &[]).expect(0);
    let before = bytes(&world.primary());
    backup_path(&world, "one", &one, &[]).expect(0);
    backup_path(&world, "two", &two, &[]).expect(0);
    let more = bytes(&world.primary()) - before;
    assert!(more < 64 << 10, "{more} bytes for two unchanged volumes");
    for (name, tree) in [("one", &one), ("two", &two)] {
        let (_folder, restored) = extracted(&world, From::Primary, "latest", name);
        same(&seen(tree), &restored);
    }
}

#[test]
fn patterns_and_markers_leave_out() {
    let world = World::file();
    let tree = world.folder().join("tree");
    for folder in ["keep", "cache", "marked", "deep/skip"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
        fs::write(tree.join(folder).join("file"), folder).unwrap();
        fs::write(tree.join(folder).join("file.tmp"), folder).unwrap();
    }
    fs::write(tree.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    fs::write(tree.join("marked/.nobackup"), "").unwrap();
    let dry = backup_path(&world, "v", &tree, &["--dry-run", "--exclude", "*.tmp"]).expect(0);
    assert!(!dry.stdout.is_empty());
    assert!(!world.primary().join("manifests").exists(), "a dry run stored a snapshot");
    backup_path(&world, "v", &tree, &["--exclude", "*.tmp", "--exclude", "deep/skip"]).expect(0);
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "v");
    assert!(restored.join("keep/file").exists());
    for gone in ["keep/file.tmp", "cache/file", "marked/file", "deep/skip"] {
        assert!(!restored.join(gone).exists(), "{gone}");
    }
}
