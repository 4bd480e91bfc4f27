//! Maps come back as they were built, equal content gives equal pages, and a change touches few of them.

use super::*;
use crate::crypto::derive::{DomainKeys, Secret32};
use crate::id::{Digest, Handle};
use crate::pack::Reference;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

/// Chunks by digest, as deduplication would store them.
#[derive(Default)]
struct Chunks(HashMap<[u8; 32], Vec<u8>>);

impl PageSink for Chunks {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        let digest = Digest::of(chunk);
        self.0.insert(digest.0, chunk.to_vec());
        let length = u32::try_from(chunk.len()).unwrap();
        Ok(Reference { handle: Handle([0; 16]), frame: 0, offset: 0, length, digest })
    }
}

fn keys() -> DomainKeys {
    DomainKeys::new(&Secret32::new([1; 32]), "objects/a")
}

fn build(map: &BTreeMap<Vec<u8>, Vec<u8>>, chunks: &mut Chunks) -> Option<Reference> {
    let mut builder = MapBuilder::new();
    for (k, v) in map {
        builder.push(&keys(), k, v, &[], chunks).unwrap();
    }
    builder.finish(&keys(), chunks).unwrap()
}

fn read(chunks: &Chunks, page: &Reference, out: &mut BTreeMap<Vec<u8>, Vec<u8>>, pages: &mut usize) {
    *pages += 1;
    match Page::parse(&chunks.0[&page.digest.0]).unwrap() {
        Page::Leaf(entries) => out.extend(entries.into_iter().map(|e| (e.key.to_vec(), e.inline.to_vec()))),
        Page::Inner { children, .. } => {
            for (first, child) in children {
                let bytes = &chunks.0[&child.digest.0];
                assert_eq!(Page::parse(bytes).unwrap().first_key(), Some(first));
                read(chunks, &child, out, pages);
            }
        }
    }
}

fn large() -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..20_000_u32).map(|i| (format!("key-{i:08}").into_bytes(), i.to_be_bytes().repeat(50))).collect()
}

#[test]
fn a_small_change_stores_few_pages() {
    let mut chunks = Chunks::default();
    let mut map = large();
    let root = build(&map, &mut chunks).unwrap();
    let (mut back, mut pages) = (BTreeMap::new(), 0);
    read(&chunks, &root, &mut back, &mut pages);
    assert_eq!(back, map);
    assert!((30..200).contains(&pages), "{pages} pages for 4 MB");
    let before = chunks.0.len();
    assert_eq!(build(&map, &mut chunks).unwrap().digest, root.digest);
    assert_eq!(chunks.0.len(), before, "equal content gives equal pages");
    map.insert(b"key-00010000x".to_vec(), vec![1; 100]);
    map.remove(b"key-00000003".as_slice());
    build(&map, &mut chunks).unwrap();
    assert!(chunks.0.len() - before <= 8, "{} new pages for two changes", chunks.0.len() - before);
}

#[test]
fn many_chunks_go_to_a_list_of_their_own() {
    let mut chunks = Chunks::default();
    let all: Vec<Reference> = (0..40_u8)
        .map(|i| Reference {
            handle: Handle([i; 16]),
            frame: 1,
            offset: 2,
            length: 3,
            digest: Digest([i; 32]),
        })
        .collect();
    let mut builder = MapBuilder::new();
    builder.push(&keys(), b"k", b"attributes", &all, &mut chunks).unwrap();
    let root = builder.finish(&keys(), &mut chunks).unwrap().unwrap();
    let Page::Leaf(entries) = Page::parse(&chunks.0[&root.digest.0]).unwrap() else { panic!("a leaf") };
    assert!(entries[0].indirect);
    assert_eq!(parse_references(&chunks.0[&entries[0].references[0].digest.0]).unwrap(), all);
}

#[test]
fn longest_keys_make_a_tree_that_ends() {
    let key = |i: u32| [vec![b'k'; crate::limits::KEY_MAX - 4], i.to_be_bytes().to_vec()].concat();
    // A map that begins with a key at which pages are cut: about every third.
    for first in 0..10 {
        let mut chunks = Chunks::default();
        let map: BTreeMap<Vec<u8>, Vec<u8>> = (first..first + 200).map(|i| (key(i), vec![1; 10])).collect();
        let root = build(&map, &mut chunks).unwrap();
        let (mut back, mut pages) = (BTreeMap::new(), 0);
        read(&chunks, &root, &mut back, &mut pages);
        assert_eq!(back, map);
        let Page::Inner { level, .. } = Page::parse(&chunks.0[&root.digest.0]).unwrap() else {
            panic!("inner")
        };
        assert!(level <= 4, "{level} levels");
    }
}

#[test]
fn descending_and_double_keys_are_refused() {
    let entry = |key: &'static [u8]| Entry { key, inline: b"", references: vec![], indirect: false };
    for pair in [[entry(b"b"), entry(b"a")], [entry(b"a"), entry(b"a")]] {
        let mut packs = page::PackTable::default();
        let mut body = Vec::new();
        for e in &pair {
            page::encode_leaf_entry(&mut body, &mut packs, e);
        }
        assert!(Page::parse(&page::encode_page(0, &packs, 2, &body)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_goes_in_comes_out(map in proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..3000), 0..300)) {
        let mut chunks = Chunks::default();
        let mut back = BTreeMap::new();
        if let Some(root) = build(&map, &mut chunks) {
            read(&chunks, &root, &mut back, &mut 0);
        }
        prop_assert_eq!(back, map);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = Page::parse(&bytes);
        let _ = parse_references(&bytes);
    }
}
