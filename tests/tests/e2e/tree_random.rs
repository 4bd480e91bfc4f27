//! Random trees with random changes between snapshots: each snapshot comes back as the tree was then, also long after.

use crate::tree::{From, Looked, backup_path, extracted, same, seen};
use crate::world::World;
use lifeboat_tests::trees::RandomTree;

/// How many trees; each is changed and backed up seven times. More: `LIFEBOAT_TREES=100`.
fn trees() -> u64 {
    std::env::var("LIFEBOAT_TREES").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

fn first_seed() -> u64 {
    std::env::var("LIFEBOAT_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[test]
fn every_older_snapshot_of_a_changing_tree_stays_what_it_was() {
    for seed in first_seed()..first_seed() + trees() {
        let world = World::file();
        let root = world.folder().join("tree");
        let mut tree = RandomTree::new(&root, seed).unwrap();
        let mut past: Vec<(String, Looked)> = Vec::new();
        for round in 0..7 {
            tree.change(if round == 0 { 120 } else { 40 }).unwrap();
            // The last one reads all, and must find the same.
            let more: &[&str] = if round == 6 { &["--read-all"] } else { &[] };
            let ran = backup_path(&world, "random", &root, more).expect(0);
            past.push((ran.json()["seq"].to_string(), seen(&root)));
            let (_folder, restored) = extracted(&world, From::Primary, "latest", "random");
            same(&past.last().unwrap().1, &restored);
        }
        world.pull().expect(0);
        world.on_vault(&["verify"]).expect(0);
        for (seq, was) in &past {
            let (_folder, restored) = extracted(&world, From::Vault, seq, "random");
            same(was, &restored);
        }
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_found() {
    let world = World::file();
    let root = world.folder().join("tree");
    std::fs::create_dir(&root).unwrap();
    let file = root.join("file");
    std::fs::write(&file, "first content").unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut past = Vec::new();
    for content in ["first content", "other content", "third content"] {
        std::fs::write(&file, content).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        // At once, so that the change lies within the clock's grain.
        backup_path(&world, "same", &root, &[]).expect(0);
        past.push(content);
    }
    for (seq, content) in (1..).zip(past) {
        let (_folder, restored) = extracted(&world, From::Primary, &format!("{seq}"), "same");
        assert_eq!(std::fs::read_to_string(restored.join("file")).unwrap(), content);
    }
}
