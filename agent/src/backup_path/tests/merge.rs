//! The merge of an old log and a new walk, where a directory or a file fills several segments of the log.

use super::world::{World, noise, on_disk};
use lifeboat_format::chunker::ChunkSizes;

fn name(i: u32) -> String {
    format!("many/{i:06}")
}

#[tokio::test]
async fn a_large_directory_is_merged_segment_by_segment() {
    let world = World::new();
    for i in 0..8_000 {
        world.write(&name(i), b"x");
    }
    world.write("z/last", b"y");
    world.run("v").await.unwrap();
    let segments = world.manifest(1).log.unwrap().segments.len();
    // Where they are cut a random key says; that there are several is what matters.
    assert!(segments > 2, "{segments}");
    world.later(3600);
    assert_eq!(world.run("v").await.unwrap().totals.read_bytes, 0);

    // Gone, new and changed ones, near and far from each other.
    for i in (500..900).chain(3_400..5_000) {
        std::fs::remove_file(world.tree().join(name(i))).unwrap();
    }
    for i in 2_000..2_400 {
        world.write(&format!("{}a", name(i)), b"new");
    }
    for i in [3, 2_999, 3_345] {
        world.write(&format!("{}b", name(i)), b"new");
        world.write(&name(i), b"changed");
    }
    world.write("a/first", b"new");
    world.later(3600);
    let changed = world.run("v").await.unwrap();
    assert_eq!(changed.totals.read_bytes, 400 * 3 + 3 * 3 + 3 * 7 + 3);
    let all = world.snapshots().await;
    assert_eq!(all[0].len(), 8_001);
    assert!(all[2] == on_disk(&world.tree(), "v"));
}

#[tokio::test]
async fn a_file_of_many_chunks_is_remembered_whole() {
    let world = World::with_chunks(ChunkSizes { min: 64, average: 256, max: 1024 });
    world.write("a", b"1");
    world.write("large", &noise(4 << 20, 5));
    world.write("z", b"2");
    let first = world.run("v").await.unwrap();
    world.later(3600);
    let second = world.run("v").await.unwrap();
    assert_eq!((second.totals.read_bytes, second.totals.new_bytes), (0, 0));
    assert!(first.totals.new_bytes > 4 << 20);
    // Data put in the middle: only that is stored.
    let mut content = noise(4 << 20, 5);
    content.splice(2 << 20..2 << 20, *b"put in the middle");
    world.write("large", &content);
    world.later(3600);
    let third = world.run("v").await.unwrap();
    assert_eq!(third.totals.read_bytes, content.len() as u64);
    assert!(third.totals.new_bytes < 500_000, "{}", third.totals.new_bytes);
    let all = world.snapshots().await;
    assert!(all[2]["v/large"] == content && all[1]["v/large"] == noise(4 << 20, 5));
}
