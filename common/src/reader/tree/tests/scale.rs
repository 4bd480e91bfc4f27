//! Figures for large trees, printed; by hand.

use super::*;
use std::time::Instant;

fn many(directories: usize, change: bool) -> TestTree {
    let mut tree = TestTree::new();
    for d in 0..directories {
        tree = tree.directory(format!("data/{d:05}"));
        for f in 0..100 {
            let content = if change && (d, f) == (directories / 2, 50) { "changed" } else { "x" };
            tree = tree.file(format!("data/{d:05}/file-{f:03}.dat"), content);
        }
    }
    tree.directory("data")
}

#[tokio::test]
#[ignore = "prints figures"]
async fn large_trees_are_walked_and_compared() {
    let mut repository = TestRepository::new();
    let builder = SnapshotBuilder::default().path("a", many(5000, false)).path("b", many(5000, true));
    repository.commit(&builder);
    let open = open(&repository, "latest").await.unwrap();
    let trees: Vec<Tree> = open.volumes().map(|d| open.tree(d).unwrap()).collect();
    let begun = Instant::now();
    let mut walk = trees[0].all();
    let mut count = 0;
    while let Some(entry) = walk.next().await {
        entry.unwrap();
        count += 1;
    }
    println!("{count} entries walked in {:?}", begun.elapsed());
    let begun = Instant::now();
    let changes: Vec<_> = trees[0].diff(&trees[1], b"").try_collect().await.unwrap();
    println!("{} changes found in {:?}", changes.len(), begun.elapsed());
    let begun = Instant::now();
    let listed: Vec<_> = trees[0].directory(b"data/02000").try_collect().await.unwrap();
    println!("{} entries listed in {:?}", listed.len(), begun.elapsed());
    assert_eq!((changes.len(), listed.len()), (1, 100));
}
