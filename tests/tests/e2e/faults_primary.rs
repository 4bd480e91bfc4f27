//! A primary that somebody else writes to: a stranger's manifest, an older charter, names that are none. Each is named,
//! and what is sound is pulled all the same.

use crate::faults::{manifests, says, world_on_s3};
use crate::inprocess::namespace;
use crate::world::{World, files, kubeconfig, shared_s3};
use std::path::Path;

fn backup(world: &World, namespace: &str) {
    says(world.backup(kubeconfig(), &["--namespace", namespace]), 0, &[]);
}

#[test]
fn a_strangers_manifest_is_named_and_the_others_are_pulled() {
    namespace("faults-stranger", 3);
    let (world, stranger) = (World::file(), World::file());
    backup(&world, "faults-stranger");
    for _ in 0..2 {
        backup(&stranger, "faults-stranger");
    }
    let theirs = manifests(&stranger.primary()).pop().unwrap();
    let forged = theirs.strip_prefix(stranger.primary()).unwrap().to_str().unwrap().to_owned();
    std::fs::copy(&theirs, world.primary().join(&forged)).unwrap();
    let ran = says(world.pull(), 3, &[&forged, "ALARM", "find out who"]);
    assert!(ran.said().contains("forged") || ran.said().contains("charter-unknown"), "{}", ran.said());
    assert_eq!(manifests(&world.kept()).len(), 1);
    // The agent's next snapshot takes the next slot, and is pulled with the junk below it.
    backup(&world, "faults-stranger");
    says(world.pull(), 3, &[&forged]);
    assert_eq!(manifests(&world.kept()).len(), 2);
    let list = world.on_vault(&["snapshots", "--json"]).json();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 2, "{list}");
    // A slot that never held a snapshot is no hole in the vault's chain.
    says(world.on_vault(&["verify"]), 0, &[]);
    std::fs::remove_file(world.primary().join(&forged)).unwrap();
    says(world.pull(), 0, &[]);
    says(world.on_vault(&["verify"]), 0, &[]);
}

#[test]
fn a_charter_that_was_rolled_back_is_named_and_stays_in_force() {
    namespace("faults-charter", 3);
    let world = World::file();
    let admin = world.admin();
    says(world.lifeboat(&["rotate", "--config", admin.to_str().unwrap()]), 0, &[]);
    backup(&world, "faults-charter");
    says(world.pull(), 0, &[]);
    let newest = files(&world.primary().join("charter")).pop().unwrap();
    let aside = world.folder().join("aside");
    std::fs::rename(&newest, &aside).unwrap();
    backup(&world, "faults-charter");
    let name = newest.file_name().unwrap().to_str().unwrap();
    says(world.pull(), 3, &[name, "ALARM charter-rolled-back", "copy it back from the vault"]);
    assert_eq!(manifests(&world.kept()).len(), 2, "a sound snapshot is pulled all the same");
    std::fs::rename(&aside, &newest).unwrap();
    says(world.pull(), 0, &[]);
    says(world.on_vault(&["verify"]), 0, &[]);
}

/// Everything below a folder but what is in `except`.
fn outside(folder: &Path, except: &Path) -> Vec<std::path::PathBuf> {
    files(folder).into_iter().filter(|f| !f.starts_with(except)).collect()
}

#[test]
fn names_that_would_leave_the_folder_are_junk() {
    namespace("faults-names", 3);
    let world = world_on_s3("faults-names");
    backup(&world, "faults-names");
    let mut put = Vec::new();
    for key in [
        "manifests/..%2f",
        "manifests/..%2f..%2fescaped.json",
        "manifests/0000000000000001.json.tmp",
        "manifests/..\\..\\escaped",
        "manifests/../../../escaped",
        "packs/../../x",
        "packs/aa/..%2f..%2fescaped",
        "charter/..%2fescaped",
        "lists/..%2fescaped",
        "epochs/..%2fescaped",
    ] {
        // The server itself may refuse some of them.
        let full = format!("faults-names/prod/{key}");
        if shared_s3().put_object("shared", &full, b"junk").is_ok() {
            put.push(full);
        }
    }
    assert!(put.len() >= 6, "{put:?}");
    let before = outside(world.folder(), &world.vault());
    let ran = says(world.pull(), 3, &["ALARM junk", "manifests/..%2f"]);
    assert_eq!(
        ran.stdout.matches("ALARM").count(),
        ran.stdout.matches("ALARM junk").count(),
        "{}",
        ran.stdout
    );
    assert_eq!(outside(world.folder(), &world.vault()), before, "something was written outside");
    assert!(!files(&world.vault()).iter().any(|f| f.to_string_lossy().contains("escaped")));
    says(world.on_vault(&["verify"]), 0, &[]);
    assert_eq!(manifests(&world.kept()).len(), 1);
    backup(&world, "faults-names");
    says(world.pull(), 3, &["ALARM junk"]);
    assert_eq!(manifests(&world.kept()).len(), 2);
    // With versions, a deletion leaves the listing, which is all that counts.
    for key in put {
        shared_s3().delete_object("shared", &key).unwrap();
    }
    // Where the head has passed them, they are looked for in turn, one page in each pull.
    let ran = world.pull();
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.said());
    says(world.pull(), 0, &[]);
}
