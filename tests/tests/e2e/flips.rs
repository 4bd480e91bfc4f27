//! One byte flipped in any one object that the replicator keeps, in the primary or the vault, is found by `pull` or by
//! `verify`; one of each kind is tried.

use crate::inprocess::namespace;
use crate::world::{World, files, kubeconfig};
use std::path::{Path, PathBuf};

/// One file of each kind below a cluster's folder.
fn one_of_each(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let first = |kind: &&str| {
        let found = files(&folder.join(kind));
        found.into_iter().next().unwrap_or_else(|| panic!("no {kind} in {}", folder.display()))
    };
    kinds.iter().map(first).collect()
}

fn flip(path: &Path, at: usize) -> Vec<u8> {
    let before = std::fs::read(path).unwrap();
    let mut after = before.clone();
    after[at] ^= 1;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(path, after).unwrap();
    before
}

#[test]
fn a_flipped_byte_in_the_vault_is_found_by_verify() {
    namespace("flip-vault", 20);
    let world = World::file();
    for _ in 0..2 {
        world.backup(kubeconfig(), &["--namespace", "flip-vault"]).expect(0);
    }
    world.pull().expect(0);
    world.on_vault(&["verify"]).expect(0);
    for file in one_of_each(&world.kept(), &["charter", "epochs", "lists", "packs", "manifests", "receipts"])
    {
        let len = std::fs::metadata(&file).unwrap().len() as usize;
        for at in [0, len / 3, len / 2, len - 1] {
            let before = flip(&file, at);
            let ran = world.on_vault(&["verify", "--cluster", "prod"]);
            assert_eq!(ran.code, 1, "{} at {at}: {}", file.display(), ran.said());
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(ran.said().contains(name.split('.').next().unwrap()), "{name}: {}", ran.said());
            std::fs::write(&file, before).unwrap();
        }
    }
    world.on_vault(&["verify"]).expect(0);
}

#[test]
fn a_flipped_byte_in_the_primary_is_found_by_pull() {
    namespace("flip-primary", 20);
    for kind in ["charter", "epochs", "lists", "packs", "manifests"] {
        let world = World::file();
        world.backup(kubeconfig(), &["--namespace", "flip-primary"]).expect(0);
        let file = one_of_each(&world.primary(), &[kind]).remove(0);
        let len = std::fs::metadata(&file).unwrap().len() as usize;
        let before = flip(&file, len / 2);
        let ran = world.pull();
        assert!(ran.code == 3 || ran.code == 1, "{kind}: {}", ran.said());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            ran.said().contains(&name[..16.min(name.len())]) || kind == "charter",
            "{kind}: {}",
            ran.said()
        );
        let kept = files(&world.kept().join("manifests"));
        assert!(kept.is_empty(), "{kind}: a damaged snapshot was taken for whole");
        // The cause is gone: the next pull goes through.
        std::fs::write(&file, before).unwrap();
        let again = world.pull();
        assert!(again.code == 0 || again.code == 3, "{kind}: {}", again.said());
        world.on_vault(&["verify"]).expect(0);
        assert_eq!(files(&world.kept().join("manifests")).len(), 1, "{kind}: {}", again.said());
    }
}
