//! Trees and places that are bad on purpose: too deep, too sparse, without rights, on a disk that fills. Each ends in a
//! report that names the thing, and the rest is done.

use crate::faults::says;
use crate::faults_vault::SmallDisk;
use crate::tree::{From, Removed, backup_path, bytes, extract, extracted, same, seen};
use crate::world::{World, program};
use lifeboat_tests::trees::nasty::noise;
use lifeboat_tests::trees::{Maker, Meta, nasty};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A chain of directories named `d`, each in the one before, with a file in the last.
fn chain(root: &Path, depth: usize) {
    fs::create_dir_all(root).unwrap();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    let file = openat(&at, "bottom", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
}

/// How deep the chain is, and what is in its last file.
fn depth(root: &Path) -> (usize, Option<Vec<u8>>) {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, root, flags, Mode::empty()).unwrap();
    let mut depth = 0;
    while let Ok(next) = openat(&at, "d", flags, Mode::empty()) {
        at = next;
        depth += 1;
    }
    let bottom = openat(&at, "bottom", OFlags::RDONLY, Mode::empty()).ok().map(|file| {
        let mut bytes = vec![0; 16];
        let n = rustix::io::read(&file, &mut bytes).unwrap();
        bytes.truncate(n);
        bytes
    });
    (depth, bottom)
}

#[test]
fn paths_longer_than_a_system_call_takes_come_back() {
    let world = World::file();
    let tree = world.folder().join("tree");
    let _removed = Removed(tree.clone());
    chain(&tree, 5000);
    backup_path(&world, "deep", &tree, &[]).expect(0);
    let (folder, restored) = extracted(&world, From::Primary, "latest", "deep");
    let _removed_too = Removed(folder.path().join("x"));
    assert_eq!(depth(&restored), (5000, Some(b"deep".to_vec())));
}

#[test]
fn directories_nested_too_deep_are_reported_and_the_rest_is_stored() {
    nested(15_000);
}

/// Minutes: `cargo test -p lifeboat-tests --test e2e nested -- --ignored`.
#[test]
#[ignore = "minutes; the smaller one runs always"]
fn a_hundred_thousand_nested_directories_are_reported_and_the_rest_is_stored() {
    nested(100_000);
}

fn nested(levels: usize) {
    let world = World::file();
    let tree = world.folder().join("tree");
    let _removed = Removed(tree.clone());
    chain(&tree.join("pit"), levels);
    fs::write(tree.join("beside"), "stored").unwrap();
    let start = Instant::now();
    let ran = says(backup_path(&world, "deep", &tree, &[]), 3, &["too long"]);
    assert!(start.elapsed().as_secs() < 60);
    assert!(ran.said().len() < 1 << 20, "the report is {} bytes", ran.said().len());
    let (folder, restored) = extracted(&world, From::Primary, "latest", "deep");
    let _removed_too = Removed(folder.path().join("x"));
    assert_eq!(fs::read_to_string(restored.join("beside")).unwrap(), "stored");
    assert!(depth(&restored.join("pit")).0 > 5000);
}

#[test]
fn a_file_of_holes_costs_nothing() {
    let world = World::file();
    let tree = world.folder().join("tree");
    let mut maker = Maker::new(&tree).unwrap();
    // As large as ext4 makes them.
    maker.sparse("bomb", (16 << 40) - 4096, &[(0, b"begin"), (7 << 40, b"middle")]).unwrap();
    for n in 0..20 {
        maker.sparse(format!("hole{n}"), 1 << 40, &[]).unwrap();
    }
    maker.finish().unwrap();
    let start = Instant::now();
    backup_path(&world, "sparse", &tree, &[]).expect(0);
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "sparse");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert!(bytes(&world.primary()) < 1 << 20);
    same(&seen(&tree), &restored);
}

#[test]
fn a_farm_of_hard_links_is_one_file() {
    let world = World::file();
    let tree = world.folder().join("tree");
    let content = noise(&mut StdRng::seed_from_u64(5), 3 << 20);
    for folder in 0..20 {
        let folder = tree.join(format!("{folder:02}"));
        fs::create_dir_all(&folder).unwrap();
        for name in 0..1000 {
            let first = tree.join("00/0");
            if first.exists() {
                fs::hard_link(&first, folder.join(name.to_string())).unwrap();
            } else {
                fs::write(&first, &content).unwrap();
            }
        }
    }
    let ran = backup_path(&world, "farm", &tree, &[]).expect(0).json();
    // Its names are many; what is read of it is not.
    assert!(ran["read_bytes"].as_u64().unwrap() <= 60 << 20, "{}", ran["read_bytes"]);
    assert!(bytes(&world.primary()) < 8 << 20, "{}", bytes(&world.primary()));
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "farm");
    let links = std::os::unix::fs::MetadataExt::nlink(&restored.join("19/999").metadata().unwrap());
    assert_eq!(links, 20_000);
    assert!(fs::read(restored.join("07/77")).unwrap() == content);
}

#[test]
fn a_disk_that_fills_is_named_and_a_larger_one_is_enough() {
    let world = World::file();
    let tree = world.folder().join("tree");
    fs::create_dir(&tree).unwrap();
    let mut random = StdRng::seed_from_u64(4);
    for n in 0..10 {
        fs::write(tree.join(format!("file{n}")), noise(&mut random, 3 << 20)).unwrap();
    }
    backup_path(&world, "full", &tree, &[]).expect(0);
    let to = world.folder().join("disk");
    let Some(disk) = SmallDisk::at(&to, "16m") else { return };
    let volume = "volumes/_paths/full";
    let ran = extract(&world, From::Primary, "latest", volume, &to.join("x"), &[]);
    says(ran, 1, &["No space left"]);
    // What is there is whole: nothing half-written has a file's name.
    let restored = to.join("x").join(volume);
    for n in 0..10 {
        let name = format!("file{n}");
        if let Ok(content) = fs::read(restored.join(&name)) {
            assert!(content == fs::read(tree.join(&name)).unwrap(), "{name} is half written");
        }
    }
    disk.remount("size=64m");
    let ran = extract(&world, From::Primary, "latest", volume, &to.join("x"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    same(&seen(&tree), &restored);
}

/// Gives a folder and everything in it to nobody.
fn give_away(folder: &Path) {
    let done = Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status();
    assert!(done.unwrap().success());
}

/// Runs a program as a user who may nothing; its code and what it said.
fn as_nobody(world: &World, name: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(world.folder().join(name));
    command
        .args(args)
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .env("XDG_STATE_HOME", world.folder().join("xdg-nobody"));
    let out = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), said)
}

#[test]
fn what_a_user_may_not_read_is_named_and_what_he_may_not_set_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::file();
    let tree = world.folder().join("tree");
    nasty(&tree, 9).unwrap();
    let mut maker = Maker::new(&tree).unwrap();
    maker.file("locked-file", b"root's").unwrap();
    maker.directory("locked-folder/in").unwrap();
    for name in ["locked-file", "locked-folder"] {
        maker.meta(name, Meta { mode: Some(0o600), owner: Some((0, 0)), ..Meta::default() });
    }
    maker.meta("", Meta { mode: Some(0o755), ..Meta::default() });
    maker.finish().unwrap();
    for name in ["lifeboat", "lifeboat-agent"] {
        fs::copy(program(name), world.folder().join(name)).unwrap();
    }
    fs::create_dir_all(world.primary()).unwrap();
    for folder in [world.admin(), world.folder().join("primary")] {
        give_away(&folder);
    }
    // The folder itself, not what is in the tree.
    std::os::unix::fs::chown(world.folder(), Some(65_534), Some(65_534)).unwrap();
    let config = world.admin().join("agent.toml");
    let place = ["backup-path", "--config", config.to_str().unwrap(), "--name", "v", tree.to_str().unwrap()];
    let (code, said) = as_nobody(&world, "lifeboat-agent", &place);
    assert_eq!(code, 3, "{said}");
    for name in ["locked-file", "locked-folder", "denied"] {
        assert!(said.contains(name), "nothing names {name}: {said}");
    }
    // Root's own backup has it all, and a user gets of it what he can have.
    backup_path(&world, "v", &tree, &[]).expect(0);
    give_away(&world.folder().join("primary"));
    let to = world.folder().join("restored");
    let (repo, identity) =
        (format!("file://{}/primary", world.folder().display()), world.admin().join("identity.txt"));
    let args = [
        "extract",
        "latest",
        "volumes/_paths/v",
        "--to",
        to.to_str().unwrap(),
        "--repo",
        &repo,
        "--identity",
        identity.to_str().unwrap(),
    ];
    let (code, said) = as_nobody(&world, "lifeboat", &args);
    assert!(code == 0 || code == 3, "{code}: {said}");
    assert!(said.contains("owner"), "nothing is said of owners: {said}");
    let restored = to.join("volumes/_paths/v");
    for file in ["sizes/noise/4194305", "links/a/first", "owners/nobody", "locked-file", "shapes/many/00042"]
    {
        assert_eq!(fs::read(restored.join(file)).unwrap(), fs::read(tree.join(file)).unwrap(), "{file}");
    }
}
