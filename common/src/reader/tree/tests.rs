//! Trees of test repositories: found by path, listed, walked, read, and what a damaged or lying one gives.

mod diff;
mod scale;

use super::*;
use crate::reader::tests::open;
use crate::testing::{SnapshotBuilder, TestRepository, TestTree};
use futures::TryStreamExt as _;
use lifeboat_format::tree::path_key;

async fn tree_of(repository: &TestRepository, spec: &str) -> Tree {
    let open = open(repository, spec).await.unwrap();
    let domain = open.volumes().next().expect("a volume").clone();
    open.tree(&domain).unwrap()
}

async fn stored(tree: TestTree) -> (TestRepository, Tree) {
    let mut repository = TestRepository::new();
    repository.commit(&SnapshotBuilder::default().path("home", tree));
    let tree = tree_of(&repository, "latest").await;
    (repository, tree)
}

async fn paths(entries: BoxStream<'static, Result<TreeEntry, ReadError>>) -> Vec<String> {
    entries.map_ok(|e| shown(&e.path)).try_collect().await.unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    seeded(0, len)
}

/// Bytes that do not compress, others for each seed.
fn seeded(seed: usize, len: usize) -> Vec<u8> {
    let from = (seed as u64) << 32;
    let word = |i: u64| {
        let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()
    };
    (from..).flat_map(word).take(len).collect()
}

async fn content(tree: &Tree, path: &str) -> Vec<u8> {
    let entry = tree.entry(path.as_bytes()).await.unwrap().expect("an entry");
    let mut out = vec![0; usize::try_from(entry.attributes.size).unwrap()];
    let mut pieces = tree.content(&entry);
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        let from = usize::try_from(piece.offset).unwrap();
        out[from..from + piece.data.len()].copy_from_slice(&piece.data);
    }
    out
}

#[tokio::test]
async fn entries_are_found_listed_and_walked() {
    let tree =
        TestTree::new().file("b", "1").directory("a").file("a/x", "2").directory("a/d").file("a/d/y", "3");
    let (_, tree) = stored(tree.symlink("link", "a").file(b"\xff", "4")).await;
    assert_eq!(tree.folder(), "volumes/_paths/home");
    assert_eq!(paths(tree.all()).await, ["", "a", "b", "link", "\\xff", "a/d", "a/x", "a/d/y"]);
    assert_eq!(paths(tree.directory(b"")).await, ["a", "b", "link", "\\xff"]);
    assert_eq!(paths(tree.directory(b"a")).await, ["a/d", "a/x"]);
    assert_eq!(paths(tree.below(b"a")).await, ["a/d", "a/x", "a/d/y"]);
    assert_eq!(paths(tree.below(b"")).await.len(), 7);
    assert!(paths(tree.directory(b"b")).await.is_empty());
    let link = tree.entry(b"link").await.unwrap().unwrap();
    assert_eq!((link.name(), link.parent()), (b"link".as_slice(), Some(b"".as_slice())));
    assert_eq!(link.attributes.target.as_deref(), Some(b"a".as_slice()));
    assert!(tree.entry(b"").await.unwrap().unwrap().parent().is_none());
    assert!(tree.entry(b"a/none").await.unwrap().is_none());
    assert_eq!(content(&tree, "a/d/y").await, b"3");
}

#[tokio::test]
async fn a_tree_without_anything_is_empty() {
    let (_, tree) = stored(TestTree::default()).await;
    assert!(tree.entry(b"").await.unwrap().is_none());
    assert!(paths(tree.all()).await.is_empty());
}

#[tokio::test]
async fn large_and_sparse_files_come_back() {
    let large = noise(1 << 20);
    let attributes = Attributes {
        kind: NodeKind::File,
        size: 10_000,
        extents: Some(vec![(100, 50), (150, 1), (5000, 3000)]),
        ..Attributes::default()
    };
    let data = noise(3051);
    let mut tree = TestTree::new();
    tree.chunk = 100;
    let (_, tree) = stored(tree.file("large", large.clone()).entry("sparse", attributes, data.clone())).await;
    let entry = tree.entry(b"large").await.unwrap().unwrap();
    assert!(entry.indirect && entry.references.len() == 3, "10486 chunks of 100 bytes in lists of 4096");
    assert_eq!(tree.references(&entry).await.unwrap().len(), 10_486);
    assert_eq!(content(&tree, "large").await, large);
    let whole = [&[0; 100], &data[..51], &[0; 4849], &data[51..], &[0; 2000]].concat();
    assert_eq!(content(&tree, "sparse").await, whole);
}

#[tokio::test]
async fn one_directory_of_many_is_one_range() {
    let mut tree = TestTree::new();
    for d in 0..20 {
        tree = tree.directory(format!("d{d:02}"));
        for f in 0..2000 {
            let value = seeded(d * 10_000 + f, 64);
            let xattrs = vec![(b"user.noise".to_vec(), value)];
            let attributes = Attributes { kind: NodeKind::File, xattrs, ..Attributes::default() };
            tree = tree.entry(format!("d{d:02}/{f:05}"), attributes, "");
        }
    }
    let (repository, tree) = stored(tree).await;
    assert_eq!(paths(tree.directory(b"d07")).await.len(), 2000);
    let fresh = tree_of(&repository, "latest").await;
    let opened = repository.store.requests().total();
    assert_eq!(paths(fresh.directory(b"d07")).await.len(), 2000);
    let one = repository.store.requests().total() - opened;
    let whole = tree_of(&repository, "latest").await;
    let opened = repository.store.requests().total();
    assert_eq!(paths(whole.all()).await.len(), 40_021);
    let all = repository.store.requests().total() - opened;
    assert!(one <= 6 && all > one, "{one} requests for one directory, {all} for all");
}

#[tokio::test]
async fn what_cannot_be_is_named_and_passed_over() {
    let tree = TestTree::new().directory("a").file("a/good", "1").file("z", "2");
    let hostile = tree
        .raw(b"a\0\0..".to_vec(), b"\xa1\x00\x03".to_vec())
        .raw(path_key(b"a/odd"), b"\xa1\x00\x09".to_vec())
        .raw(path_key(b"a/short"), b"\xa2\x00\x01\x06\x05".to_vec())
        .raw(b"junk".to_vec(), b"\xa1\x00\x03".to_vec());
    let (_, tree) = stored(hostile).await;
    let all: Vec<_> = tree.all().collect().await;
    let good: Vec<String> = all.iter().flatten().map(|e| shown(&e.path)).collect();
    assert_eq!(good, ["", "a", "z", "a/good"]);
    let bad: Vec<String> = all.iter().filter_map(|e| e.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(bad.len(), 4);
    assert!(bad.iter().any(|e| e.contains("volumes/_paths/home/a/odd")), "{bad:?}");
    assert!(bad.iter().any(|e| e.contains("not as long as its size says")), "{bad:?}");
    assert!(bad.iter().all(|e| e.contains("the agent that wrote it is at fault")), "{bad:?}");
}

#[tokio::test]
async fn a_lost_pack_is_named_with_the_file_and_the_rest_is_read() {
    let mut repository = TestRepository::new();
    let large = noise(40 << 20);
    let tree = TestTree::new().file("a", "first").file("b", large.clone()).file("c", "last");
    let committed = repository.commit(&SnapshotBuilder::default().path("home", tree));
    let packs = &committed.packs["trees"];
    assert!(packs.len() > 2);
    repository.store.remove(&packs[1]);
    let tree = tree_of(&repository, "latest").await;
    assert_eq!(content(&tree, "a").await, b"first");
    assert_eq!(content(&tree, "c").await, b"last");
    let entry = tree.entry(b"b").await.unwrap().unwrap();
    let pieces: Vec<_> = tree.content(&entry).collect().await;
    let errors: Vec<&ReadError> = pieces.iter().filter_map(|p| p.as_ref().err()).collect();
    assert!(!errors.is_empty() && errors.iter().all(|e| e.key() == Some(packs[1].as_str())));
    assert!(errors[0].to_string().contains("volumes/_paths/home/b"));
    // What is there is where it belongs.
    let read: usize = pieces
        .iter()
        .flatten()
        .map(|p| {
            let from = usize::try_from(p.offset).unwrap();
            assert_eq!(p.data, large[from..from + p.data.len()]);
            p.data.len()
        })
        .sum();
    assert!((16 << 20..40 << 20).contains(&read), "{read}");
}
