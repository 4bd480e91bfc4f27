//! Directory trees end to end: `backup-path`, `pull`, `extract`, and a comparison of every entry. This file: what all
//! tests of trees use, and the round trip of a tree made to be nasty. The others: `tree_*.rs`.

use crate::reader::independent;
use crate::world::{Ran, World, files};
use lifeboat_tests::trees::{Entry, differences, look, nasty, rsync_differences};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a tree was.
pub(crate) type Looked = BTreeMap<Vec<u8>, Entry>;

pub(crate) fn seen(root: &Path) -> Looked {
    look(root).unwrap()
}

/// `lifeboat-agent backup-path … --json`.
pub(crate) fn backup_path(world: &World, name: &str, tree: &Path, more: &[&str]) -> Ran {
    let config = world.admin().join("agent.toml");
    let place = ["backup-path", "--config", config.to_str().unwrap(), "--name", name, tree.to_str().unwrap()];
    world.run("lifeboat-agent", &[&place, &["--json"][..], more].concat())
}

/// Where a snapshot is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Primary,
    Vault,
}

/// `lifeboat extract SNAPSHOT PATH --to DIR`; devices too.
pub(crate) fn extract(
    world: &World,
    from: From,
    snapshot: &str,
    path: &str,
    to: &Path,
    more: &[&str],
) -> Ran {
    let args = [&["extract", snapshot, path, "--devices", "--to", to.to_str().unwrap()], more].concat();
    match from {
        From::Primary => world.on_primary(&args),
        From::Vault => world.on_vault(&args),
    }
}

/// Extracts a volume into a new folder; where its tree is then.
#[track_caller]
pub(crate) fn extracted(
    world: &World,
    from: From,
    snapshot: &str,
    name: &str,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("volumes/_paths/{name}");
    extract(world, from, snapshot, &path, &folder.path().join("x"), &[]).expect(0);
    let tree = folder.path().join("x").join(path);
    (folder, tree)
}

#[track_caller]
pub(crate) fn same(wanted: &Looked, tree: &Path) {
    let found = differences(wanted, &seen(tree));
    assert!(found.is_empty(), "{} is another tree:\n{}", tree.display(), found.join("\n"));
}

/// Bytes below a folder.
pub(crate) fn bytes(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum()
}

/// Removes a tree that is too deep for `remove_dir_all`, and one that was made unreadable.
pub(crate) struct Removed(pub(crate) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 1).unwrap();
    let before = seen(&tree);
    let ran = backup_path(&world, "nasty", &tree, &[]).expect(0);
    assert_eq!(ran.json()["result"], "Completed", "{}", ran.stdout);
    // Reading changed nothing.
    same(&before, &tree);

    let (_primary, restored) = extracted(&world, From::Primary, "latest", "nasty");
    same(&before, &restored);
    assert_eq!(rsync_differences(&tree, &restored).unwrap(), "");

    world.pull().expect(0);
    std::fs::remove_dir_all(world.primary()).unwrap();
    world.on_vault(&["verify"]).expect(0);
    let (_vault, restored) = extracted(&world, From::Vault, "latest", "nasty");
    same(&before, &restored);
}

#[test]
fn the_independent_reader_restores_the_nasty_tree() {
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 2).unwrap();
    backup_path(&world, "nasty", &tree, &[]).expect(0);
    world.pull().expect(0);
    let to = world.folder().join("theirs");
    let admin = world.admin();
    let (vault, identity) = (world.kept(), admin.join("identity.txt"));
    let owner = std::fs::read_to_string(admin.join("repository.toml")).unwrap();
    let owner = owner.lines().find_map(|l| l.strip_prefix("owner = \"")).unwrap().trim_end_matches('"');
    let place =
        [vault.to_str().unwrap(), "latest", "--identity", identity.to_str().unwrap(), "--owner", owner];
    independent(&[&["extract"][..], &place, &["--deep", "--devices", "--to", to.to_str().unwrap()]].concat());
    same(&seen(&tree), &to.join("volumes/_paths/nasty"));
}

#[test]
fn parts_of_a_tree_are_read_alone() {
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 3).unwrap();
    backup_path(&world, "nasty", &tree, &[]).expect(0);
    let volume = "volumes/_paths/nasty";
    let below = |prefix: &str| -> Looked {
        let whole = seen(&tree);
        let inside =
            |path: &[u8]| path == prefix.as_bytes() || path.starts_with(format!("{prefix}/").as_bytes());
        let relative = |path: &[u8]| path[prefix.len()..].strip_prefix(b"/").unwrap_or_default().to_vec();
        // Names of one file that are outside the part do not count.
        whole.iter().filter(|(path, _)| inside(path)).map(|(path, e)| (relative(path), e.clone())).collect()
    };
    for part in ["sizes", "sparse", "around", "acl/default", "shapes/narrow"] {
        let to = world.folder().join(part.replace('/', "-"));
        extract(&world, From::Primary, "latest", &format!("{volume}/{part}"), &to, &[]).expect(0);
        let unlinked = |looked: Looked| -> Looked {
            looked.into_iter().map(|(path, entry)| (path, Entry { link: None, ..entry })).collect()
        };
        let found = differences(&unlinked(below(part)), &unlinked(seen(&to.join(volume).join(part))));
        assert!(found.is_empty(), "{part}:\n{}", found.join("\n"));
    }
    // One name of a file with many, and one of those that are in chunks of their own.
    for file in ["links/a/b/c/deep", "sizes/noise/4194305", "sizes/text/0", "sparse/odd-end"] {
        let to = world.folder().join(file.replace('/', "-"));
        extract(&world, From::Primary, "latest", &format!("{volume}/{file}"), &to, &[]).expect(0);
        let (a, b) = (tree.join(file), to.join(volume).join(file));
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap(), "{file}");
        assert_eq!(a.metadata().unwrap().modified().unwrap(), b.metadata().unwrap().modified().unwrap());
    }
    let cat = world.on_primary(&["cat", "latest", &format!("{volume}/links/a/first")]).expect(0);
    assert_eq!(cat.stdout, "one file, many names");
    let none = world.on_primary(&["cat", "latest", &format!("{volume}/links/nothing")]).expect(1);
    assert!(none.said().contains("links/nothing"), "{}", none.said());
}

#[test]
fn extract_goes_on_where_it_stopped_and_replaces_nothing() {
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 4).unwrap();
    backup_path(&world, "nasty", &tree, &[]).expect(0);
    let before = seen(&tree);
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "nasty");
    let to = restored.ancestors().nth(3).unwrap();
    for gone in ["sizes/noise/4194305", "links/farm/7", "times/l3", "names/\x01"] {
        std::fs::remove_file(restored.join(gone)).unwrap();
    }
    std::fs::remove_dir_all(restored.join("shapes/folders")).unwrap();
    let ran = extract(&world, From::Primary, "latest", "volumes/_paths/nasty", to, &[]);
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.said());
    // A directory that was finished keeps the time that the removal gave it.
    let timeless = |looked: Looked| -> Looked {
        let plain = |e: Entry| if e.kind == FileType::Directory { Entry { mtime: (0, 0), ..e } } else { e };
        looked.into_iter().map(|(path, entry)| (path, plain(entry))).collect()
    };
    let found = differences(&timeless(before), &timeless(seen(&restored)));
    assert!(found.is_empty(), "{}", found.join("\n"));
    // What someone else put there stays.
    std::fs::write(restored.join("links/a/first"), "mine").unwrap();
    std::fs::remove_file(restored.join("sizes/twice-a")).unwrap();
    std::fs::write(restored.join("sizes/twice-a"), "mine too").unwrap();
    let ran = extract(&world, From::Primary, "latest", "volumes/_paths/nasty", to, &[]);
    assert!(ran.said().contains("twice-a"), "{}", ran.said());
    assert_eq!(std::fs::read_to_string(restored.join("links/a/first")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(restored.join("sizes/twice-a")).unwrap(), "mine too");
}

#[test]
fn an_extract_that_is_killed_goes_on_to_the_same_tree() {
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 5).unwrap();
    backup_path(&world, "nasty", &tree, &[]).expect(0);
    let to = world.folder().join("x");
    let (volume, mut random) = ("volumes/_paths/nasty", StdRng::seed_from_u64(1));
    let (repo, identity) = (world.primary_url(), world.admin().join("identity.txt"));
    let place = [
        "--repo",
        &repo,
        "--identity",
        identity.to_str().unwrap(),
        "--devices",
        "--to",
        to.to_str().unwrap(),
    ];
    let args = [&["extract", "latest", volume][..], &place].concat();
    for _ in 0..8 {
        let mut child = world.spawn("lifeboat", &args);
        std::thread::sleep(std::time::Duration::from_millis(random.random_range(20..500)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    extract(&world, From::Primary, "latest", volume, &to, &[]).expect(0);
    same(&seen(&tree), &to.join(volume));
    // Nothing of the runs before is left beside it.
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
}
