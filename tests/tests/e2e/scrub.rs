//! The programs on a vault whose disk rots: `scrub` finds a flipped byte of any file, `pull` heals it, `status` and the audit
//! log tell it.

use crate::tree::backup_path;
use crate::world::{Ran, World, files};
use std::path::{Path, PathBuf};

fn replicator(world: &World, words: &[&str]) -> Ran {
    let config = world.admin().join("replicator.toml");
    world.run("lifeboat-replicator", &[words, &["--config", config.to_str().unwrap()]].concat())
}

/// Files of the cluster's folder that a scrub looks at.
fn at_rest(world: &World) -> Vec<PathBuf> {
    let folder = world.vault().join("prod");
    let kinds = ["charter", "epochs", "lists", "packs", "manifests", "receipts", "audit"];
    kinds.iter().flat_map(|kind| files(&folder.join(kind))).collect()
}

fn flip(path: &Path) -> Vec<u8> {
    let right = std::fs::read(path).unwrap();
    let mut wrong = right.clone();
    let at = right.len() / 3;
    wrong[at] ^= 4;
    std::fs::write(path, wrong).unwrap();
    right
}

#[test]
fn a_flipped_byte_in_any_file_of_the_vault_is_found_and_what_the_primary_has_is_healed() {
    let world = World::file();
    let tree = world.folder().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for text in ["one", "two"] {
        std::fs::write(tree.join("file"), text.repeat(5000)).unwrap();
        backup_path(&world, "data", &tree, &[]).expect(0);
        world.pull().expect(0);
    }
    replicator(&world, &["scrub", "--all", "--rate", "0"]).expect(0);
    let all = at_rest(&world);
    assert!(all.len() >= 10, "{all:?}");
    for path in all {
        let alone = ["receipts", "audit"].iter().any(|k| path.parent().unwrap().ends_with(k));
        let right = flip(&path);
        let found = replicator(&world, &["scrub", "--all", "--rate", "0", "--json"]).expect(3).json();
        let named = found["clusters"][0]["damaged"][0]["key"].as_str().unwrap();
        assert!(path.ends_with(named), "{named} {}", path.display());
        if alone {
            let told = world.pull().expect(3).said();
            assert!(told.contains("vault-damaged") && told.contains(named), "{told}");
            std::fs::write(&path, &right).unwrap();
        }
        world.pull().expect(0);
        assert_eq!(std::fs::read(&path).unwrap(), right, "{}", path.display());
        replicator(&world, &["scrub", "--all", "--rate", "0"]).expect(0);
    }
    let status = replicator(&world, &["status", "--json"]).expect(0).json();
    assert_eq!(status["clusters"][0]["damaged"]["vault"], 0);
    assert!(status["clusters"][0]["scrub"]["objects"].as_u64().unwrap() >= 10, "{status:#}");
    replicator(&world, &["audit", "verify"]).expect(0);
    let told = replicator(&world, &["audit", "show"]).expect(0).stdout;
    assert!(told.contains("vault-damaged") && told.contains("vault-healed"), "{told}");
    world.on_vault(&["verify"]).expect(0);
}
