//! Differences are those that were made, and equal pages are not read.

use super::*;
use proptest::collection::btree_map;
use proptest::prelude::*;
use std::collections::BTreeMap;

async fn two(before: TestTree, after: TestTree) -> (TestRepository, Tree, Tree) {
    let mut repository = TestRepository::new();
    repository.commit(&SnapshotBuilder::default().path("a", before).path("b", after));
    let (a, b) = reopened(&repository).await;
    (repository, a, b)
}

/// Both trees, each read through caches of its own.
async fn reopened(repository: &TestRepository) -> (Tree, Tree) {
    let mut trees = Vec::new();
    for name in ["a", "b"] {
        let open = open(repository, "latest").await.unwrap();
        let domain = open.volumes().find(|d| d.name == name).unwrap().clone();
        trees.push(open.tree(&domain).unwrap());
    }
    let b = trees.pop().unwrap();
    (trees.pop().unwrap(), b)
}

fn line(change: &Change) -> String {
    let sign = match change {
        Change::Added(_) => "+",
        Change::Removed(_) => "-",
        Change::Changed { .. } => "*",
    };
    [vec![format!("{sign}{}", shown(change.path()))], change.what().iter().map(ToString::to_string).collect()]
        .concat()
        .join(" ")
}

async fn changes(a: &Tree, b: &Tree, path: &str) -> Vec<String> {
    a.diff(b, path.as_bytes()).map_ok(|c| line(&c)).try_collect().await.unwrap()
}

#[tokio::test]
async fn each_kind_of_difference_is_said() {
    let base = || TestTree::new().directory("d").file("same", "same").file("d/deep", "1");
    let before = base().file("gone", "x").file("text", "one").file("mode", "m").symlink("link", "a");
    let mode = Attributes { kind: NodeKind::File, mode: 0o600, size: 1, ..Attributes::default() };
    let after = base().file("new", "x").file("text", "other").entry("mode", mode, "m").symlink("link", "b");
    let after = after.file("d/deep", "2");
    let (_repository, a, b) = two(before, after).await;
    let expected = ["-gone", "*link target", "*mode mode", "+new", "*text content size", "*d/deep content"];
    assert_eq!(changes(&a, &b, "").await, expected);
    assert_eq!(changes(&a, &b, "d").await, ["*d/deep content"]);
    assert_eq!(changes(&a, &b, "mode").await, ["*mode mode"]);
    assert!(changes(&a, &a, "").await.is_empty());
    assert!(changes(&a, &b, "same").await.is_empty());
}

#[tokio::test]
async fn lists_of_chunks_are_compared_by_content() {
    let with = |large: Vec<u8>, before: &str| {
        let mut tree = TestTree::new().file("large", large).file("a-before", before);
        tree.chunk = 1000;
        tree
    };
    let large = noise(100_000);
    let mut other = large.clone();
    other[50_000] ^= 1;
    let (_repository, a, b) = two(with(large, "1"), with(other, "2")).await;
    assert_eq!(changes(&a, &b, "").await, ["*a-before content", "*large content"]);
}

/// Large attributes fill many packs with pages.
fn heavy(change: Option<usize>) -> TestTree {
    let mut tree = TestTree::new();
    for f in 0..700 {
        let seed = if change == Some(f) { 1000 + f } else { f };
        let xattrs = vec![(b"user.noise".to_vec(), seeded(seed, 60_000))];
        let attributes = Attributes { kind: NodeKind::File, xattrs, ..Attributes::default() };
        tree = tree.entry(format!("{f:04}"), attributes, "");
    }
    tree
}

fn commit(a: TestTree, b: TestTree) -> (TestRepository, Vec<String>) {
    let mut repository = TestRepository::new();
    let committed = repository.commit(&SnapshotBuilder::default().path("a", a).path("b", b));
    let packs = committed.packs["trees"].clone();
    assert!(packs.len() > 2, "{}", packs.len());
    (repository, packs)
}

#[tokio::test]
async fn equal_pages_are_not_read() {
    let (repository, packs) = commit(heavy(None), heavy(Some(600)));
    // Pages that both trees have are gone, and nobody looks.
    repository.store.remove(&packs[0]);
    let (a, b) = reopened(&repository).await;
    assert_eq!(changes(&a, &b, "").await, ["*0600 xattrs"]);
    assert!(a.all().try_collect::<Vec<_>>().await.is_err());
}

#[tokio::test]
async fn what_one_side_cannot_read_is_not_called_a_difference() {
    let (repository, packs) = commit(heavy(None), TestTree::new());
    repository.store.remove(&packs[0]);
    let (a, b) = reopened(&repository).await;
    let all: Vec<_> = a.diff(&b, b"").collect().await;
    let removed = all.iter().filter(|c| matches!(c, Ok(Change::Removed(_)))).count();
    let errors = all.iter().filter(|c| c.is_err()).count();
    assert!(errors > 0 && removed > 100 && removed < 700, "{errors} errors, {removed} removed");
    let reverse: Vec<_> = b.diff(&a, b"").collect().await;
    assert_eq!(reverse.iter().filter(|c| matches!(c, Ok(Change::Added(_)))).count(), removed);
    // The root is in both; the page that holds one of the two is gone.
    assert!(!all.iter().flatten().any(|c| matches!(c, Change::Added(_))));
}

fn expected(before: &BTreeMap<u16, u8>, after: &BTreeMap<u16, u8>) -> Vec<String> {
    let mut keys: Vec<&u16> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let line = |k: &&u16| match (before.get(k), after.get(k)) {
        (Some(_), None) => Some(format!("-{k:05}")),
        (None, Some(_)) => Some(format!("+{k:05}")),
        (Some(a), Some(b)) if a != b => Some(format!("*{k:05} content")),
        _ => None,
    };
    keys.iter().filter_map(line).collect()
}

fn built(files: &BTreeMap<u16, u8>) -> TestTree {
    let pad = |k: u16| vec![(b"user.pad".to_vec(), seeded(k.into(), 2000))];
    files.iter().fold(TestTree::new(), |tree, (k, v)| {
        let attributes =
            Attributes { kind: NodeKind::File, size: 1, xattrs: pad(*k), ..Attributes::default() };
        tree.entry(format!("{k:05}"), attributes, [*v])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn random_changes_are_found(
        files in btree_map(0_u16..2000, any::<u8>(), 0..400),
        edits in btree_map(0_u16..2000, any::<Option<u8>>(), 0..30),
    ) {
        let mut after = files.clone();
        for (k, v) in edits {
            match v {
                Some(v) => drop(after.insert(k, v)),
                None => drop(after.remove(&k)),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(async {
            let (_repository, a, b) = two(built(&files), built(&after)).await;
            changes(&a, &b, "").await
        });
        prop_assert_eq!(found, expected(&files, &after));
    }
}
