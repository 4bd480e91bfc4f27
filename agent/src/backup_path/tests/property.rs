//! Random trees with random changes between snapshots: every older snapshot reads back as it was.

use super::world::{Files, World, noise, on_disk};
use proptest::prelude::*;
use std::path::PathBuf;

#[derive(Debug, Clone)]
enum Change {
    Write { path: u8, len: u32, seed: u8 },
    Append { path: u8 },
    Remove { path: u8 },
    Rename { from: u8, to: u8 },
    RemoveFolder { folder: u8 },
    Many { folder: u8, files: u16 },
}

fn path(n: u8) -> String {
    let (a, b) = (n % 4, n / 4 % 5);
    match n % 3 {
        0 => format!("f{b}"),
        1 => format!("d{a}/f{b}"),
        _ => format!("d{a}/e{a}/f{b}"),
    }
}

fn change() -> impl Strategy<Value = Change> {
    let len = prop_oneof![0..2_000_u32, 100_000..200_000_u32, 1_000_000..3_000_000_u32];
    prop_oneof![
        4 => (any::<u8>(), len, 0..4_u8).prop_map(|(path, len, seed)| Change::Write { path, len, seed }),
        2 => any::<u8>().prop_map(|path| Change::Append { path }),
        2 => any::<u8>().prop_map(|path| Change::Remove { path }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Change::Rename { from, to }),
        1 => any::<u8>().prop_map(|folder| Change::RemoveFolder { folder }),
        1 => (any::<u8>(), 1..400_u16).prop_map(|(folder, files)| Change::Many { folder, files }),
    ]
}

fn apply(world: &World, change: &Change) {
    let at = |n: &u8| -> PathBuf { world.tree().join(path(*n)) };
    match change {
        Change::Write { path: p, len, seed } => {
            if !at(p).is_dir() {
                world.write(&path(*p), &noise(*len as usize, u64::from(*seed)));
            }
        }
        Change::Append { path: p } => {
            if let Ok(mut content) = std::fs::read(at(p)) {
                content.extend_from_slice(b"more");
                world.write(&path(*p), &content);
            }
        }
        Change::Remove { path: p } => drop(std::fs::remove_file(at(p))),
        Change::Rename { from, to } => {
            if let (true, Some(parent)) = (at(from).is_file(), at(to).parent()) {
                std::fs::create_dir_all(parent).unwrap();
                std::fs::rename(at(from), at(to)).unwrap();
            }
        }
        Change::RemoveFolder { folder } => {
            drop(std::fs::remove_dir_all(world.tree().join(format!("d{}", folder % 4))));
        }
        Change::Many { folder, files } => {
            for i in 0..*files {
                world.write(&format!("m{}/{i:04}", folder % 3), &noise(usize::from(i % 70), u64::from(i)));
            }
        }
    }
}

async fn check(rounds: Vec<Vec<Change>>) {
    let world = World::new();
    let mut expected: Vec<Files> = Vec::new();
    for changes in &rounds {
        changes.iter().for_each(|c| apply(&world, c));
        world.later(3600);
        world.run("v").await.unwrap();
        expected.push(on_disk(&world.tree(), "v"));
    }
    let found = world.snapshots().await;
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let paths = |f: &Files| f.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(found), paths(expected), "snapshot {i}");
        for (path, content) in expected {
            assert!(found[path] == *content, "snapshot {i}, {path}");
        }
    }
    assert_eq!(found.len(), rounds.len());
    // Nothing changed: nothing is stored but what is mostly dead, 2 % of what its packs hold.
    world.later(3600);
    let again = world.run("v").await.unwrap();
    assert!(again.totals.new_bytes < 100_000 + again.totals.bytes / 14, "{}", again.totals.new_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 50,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_older_snapshot_reads_back(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..6)
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(check(rounds));
    }
}
