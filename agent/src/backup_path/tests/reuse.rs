//! The packs that are stored anew: old, mostly dead, small. And packs that are gone.

use super::world::{World, noise};
use lifeboat_format::layout;

const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn packs_older_than_half_a_year_are_stored_anew() {
    let world = World::new();
    world.write("a", &noise(2 << 20, 1));
    world.run("v").await.unwrap();
    // The chain goes on, so that the pack stays named.
    for _ in 0..10 {
        world.later(14 * DAY);
        assert!(world.run("v").await.unwrap().sent_bytes < 20_000);
    }
    world.later(71 * DAY);
    let last = world.run("v").await.unwrap();
    assert!(last.sent_bytes > 2 << 20, "{}", last.sent_bytes);
    assert_eq!(world.snapshots().await.last().unwrap()["v/a"], noise(2 << 20, 1));
}

#[tokio::test]
async fn mostly_dead_packs_are_stored_anew_within_the_allowance() {
    let world = World::new();
    // One pack of which a little stays, and enough beside it that 2 % are more than that.
    for i in 0..12 {
        world.write(&format!("dead/{i:02}"), &noise(1 << 20, i));
    }
    world.write("dead/stays", &noise(200_000, 99));
    world.run("v").await.unwrap();
    let first: Vec<String> = world.keys("packs/");
    for i in 0..40 {
        world.write(&format!("live/{i:02}"), &noise(1 << 20, 1000 + i));
    }
    for i in 0..12 {
        std::fs::remove_file(world.tree().join(format!("dead/{i:02}"))).unwrap();
    }
    world.later(DAY);
    let second = world.run("v").await.unwrap();
    assert!(second.sent_bytes > 40 << 20);
    // The log of the second says that the first pack is mostly dead: the third stores what lives of it anew.
    world.later(DAY);
    let third = world.run("v").await.unwrap();
    assert!((150_000..3_000_000).contains(&third.sent_bytes), "{}", third.sent_bytes);
    let names: Vec<u64> =
        (1..=3).map(|seq| u64::try_from(world.manifest(seq).packs.len()).unwrap()).collect();
    assert_eq!(names[0], 1);
    let of_first = world.manifest(1).packs[0].list;
    assert!(world.manifest(2).packs.iter().any(|p| p.list == of_first));
    assert!(
        !world.manifest(3).packs.iter().any(|p| p.list == of_first),
        "nothing of the first list is needed"
    );
    assert!(!first.is_empty());
    assert_eq!(world.snapshots().await[2].len(), 41);
}

#[tokio::test]
async fn a_pack_that_is_gone_is_noticed_and_its_files_are_stored_again() {
    let world = World::new();
    for i in 0..20 {
        world.write(&format!("{i:02}"), &noise(1 << 20, i));
    }
    world.run("v").await.unwrap();
    let lost = world.keys("packs/").into_iter().max_by_key(|k| world.memory.bytes(k).unwrap().len()).unwrap();
    assert!(world.memory.remove(&lost));
    world.later(60);
    let second = world.run("v").await.unwrap();
    assert!(second.sent_bytes > 10 << 20, "{}", second.sent_bytes);
    // The same again, marked by the replicator.
    let pack = world.keys("packs/").into_iter().max_by_key(|k| world.memory.bytes(k).unwrap().len()).unwrap();
    world.memory.put(&layout::lost(&layout::parse_pack(&pack).unwrap()), "{}");
    world.later(60);
    let third = world.run("v").await.unwrap();
    assert!(third.sent_bytes > 10 << 20, "{}", third.sent_bytes);
    world.memory.remove(&layout::manifest(1));
}

#[tokio::test]
async fn lost_state_costs_a_full_run_and_nothing_else() {
    let world = World::new();
    world.write("a", &noise(2 << 20, 1));
    world.run("v").await.unwrap();
    world.forget_state();
    world.later(60);
    let again = world.run("v").await.unwrap();
    assert!(again.sent_bytes > 2 << 20);
    assert_eq!(again.manifest.seq, 2);
    let all = world.snapshots().await;
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn a_damaged_log_costs_a_full_run_and_nothing_else() {
    let world = World::new();
    world.write("a", &noise(2 << 20, 1));
    world.run("v").await.unwrap();
    for key in world.keys("agent/") {
        world.memory.corrupt(&key, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }
    world.later(60);
    assert!(world.run("v").await.unwrap().sent_bytes > 2 << 20);
    let all = world.snapshots().await;
    assert_eq!(all[0], all[1]);
}
