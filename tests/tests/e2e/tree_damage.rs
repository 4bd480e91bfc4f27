//! A store that loses, swaps or cuts a pack: `extract` names it and the files that it touches, and restores all others.

use crate::tree::{From, Looked, backup_path, extract, seen};
use crate::world::{Ran, World, files};
use lifeboat_tests::trees::differences;
use lifeboat_tests::trees::nasty::noise;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const VOLUME: &str = "volumes/_paths/v";

/// A repository whose packs hold a few files each, and what the tree was.
fn world() -> (World, Looked) {
    let world = World::file();
    let tree = world.folder().join("tree");
    let mut random = StdRng::seed_from_u64(8);
    for n in 0..12 {
        let folder = tree.join(format!("d{n:02}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("large"), noise(&mut random, 5 << 20)).unwrap();
        fs::write(folder.join("small"), noise(&mut random, 5000)).unwrap();
    }
    fs::hard_link(tree.join("d00/large"), tree.join("d11/linked")).unwrap();
    backup_path(&world, "v", &tree, &[]).expect(0);
    let looked = seen(&tree);
    (world, looked)
}

fn packs(world: &World) -> Vec<PathBuf> {
    let mut packs = files(&world.primary().join("packs"));
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.metadata().unwrap().len()));
    packs
}

/// Writes over a file that nobody shall write to.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every file is either as it was or named in what was said; returns those that are not there.
#[track_caller]
fn named_or_whole(ran: &Ran, was: &Looked, tree: &Path, what: &str) -> BTreeSet<String> {
    let said = ran.said();
    assert!(ran.code == 1 || ran.code == 3, "{what}: code {}: {said}", ran.code);
    assert!(!said.contains("panicked"), "{what}: {said}");
    let now = if tree.exists() { seen(tree) } else { Looked::new() };
    let is_file = |path: &&Vec<u8>| was[*path].content.is_some();
    let mut lost = BTreeSet::new();
    for path in was.keys().filter(is_file) {
        let name = String::from_utf8(path.clone()).unwrap();
        match now.get(path) {
            None => {
                assert!(said.contains(&name), "{what}: {name} is missing and not named:\n{said}");
                lost.insert(name);
            }
            Some(entry) => {
                let one = |looked: &Looked| -> Looked {
                    [(path.clone(), looked[path].clone())]
                        .map(|(p, e)| (p, lifeboat_tests::trees::Entry { link: None, ..e }))
                        .into()
                };
                let found = differences(&one(was), &one(&now));
                assert!(found.is_empty(), "{what}: {found:?} {:?}", entry.size);
            }
        }
    }
    lost
}

#[test]
fn a_lost_swapped_or_cut_pack_is_named_with_its_files_and_the_rest_comes_back() {
    let (world, was) = world();
    let packs = packs(&world);
    assert!(packs.len() >= 4, "{} packs", packs.len());
    let (first, second) = (&packs[0], &packs[1]);
    let kept = [fs::read(first).unwrap(), fs::read(second).unwrap()];
    type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let damages: [Damage<'_>; 5] = [
        ("lost", Box::new(|| fs::remove_file(first).unwrap())),
        ("cut", Box::new(|| overwrite(first, &kept[0][..kept[0].len() / 2]))),
        ("empty", Box::new(|| overwrite(first, b""))),
        ("swapped", Box::new(|| overwrite(first, &kept[1]))),
        (
            "flipped",
            Box::new(|| {
                let mut bytes = kept[0].clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                overwrite(first, &bytes);
            }),
        ),
    ];
    for (what, damage) in damages {
        damage();
        let to = world.folder().join(what);
        let ran = extract(&world, From::Primary, "latest", VOLUME, &to, &[]);
        let lost = named_or_whole(&ran, &was, &to.join(VOLUME), what);
        let pack = first.file_stem().unwrap().to_str().unwrap();
        assert!(ran.said().contains(&pack[..16]), "{what}: nothing names the pack {pack}:\n{}", ran.said());
        assert!(!lost.is_empty() && lost.len() < 10, "{what}: {lost:?}");
        if what == "flipped" {
            assert!(lost.len() <= 3, "one chunk is broken, and {lost:?} are lost");
        }
        // The pack is back: the next run gives what was missing.
        let _none = fs::remove_file(first);
        fs::write(first, &kept[0]).unwrap();
        let again = extract(&world, From::Primary, "latest", VOLUME, &to, &[]);
        assert!(again.code == 0 || again.code == 3, "{what}: {}", again.said());
        let found = differences(&was, &seen(&to.join(VOLUME)));
        assert!(found.is_empty(), "after {what}:\n{}", found.join("\n"));
    }
}

#[test]
fn whichever_pack_is_lost_nothing_wrong_comes_back() {
    let (world, was) = world();
    for pack in packs(&world) {
        let bytes = fs::read(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        let to = world.folder().join(pack.file_stem().unwrap());
        let ran = extract(&world, From::Primary, "latest", VOLUME, &to, &[]);
        let name = pack.file_stem().unwrap().to_str().unwrap();
        assert!(ran.said().contains(&name[..16]), "nothing names the pack {name}:\n{}", ran.said());
        let tree = to.join(VOLUME);
        // The pack with the tree's pages takes everything with it, and then no file can be named.
        if tree.exists() && files(&tree).len() > 1 {
            named_or_whole(&ran, &was, &tree, name);
        } else {
            assert_ne!(ran.code, 0, "{}", ran.said());
        }
        fs::write(&pack, bytes).unwrap();
    }
}
