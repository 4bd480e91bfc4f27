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

fn references(count: usize) -> Vec<Reference> {
    let reference = |i: usize| Reference {
        handle: Handle([u8::try_from(i / 100 % 256).unwrap(); 16]),
        frame: 1,
        offset: 2,
        length: 3,
        digest: Digest::of(&i.to_le_bytes()),
    };
    (0..count).map(reference).collect()
}

#[test]
fn many_chunks_go_to_lists_of_their_own() {
    for (count, lists) in [(17, 1), (4096, 1), (4097, 2), (65_536, 16), (65_537, 16), (100_000, 16)] {
        let mut chunks = Chunks::default();
        let all = references(count);
        let mut builder = MapBuilder::new();
        builder.push(&keys(), b"k", b"attributes", &all, &mut chunks).unwrap();
        let root = builder.finish(&keys(), &mut chunks).unwrap().unwrap();
        let Page::Leaf(entries) = Page::parse(&chunks.0[&root.digest.0]).unwrap() else { panic!("a leaf") };
        assert!(entries[0].indirect);
        assert_eq!(entries[0].references.len(), lists, "{count}");
        let read = |list: &Reference| parse_references(&chunks.0[&list.digest.0]).unwrap();
        assert_eq!(entries[0].references.iter().flat_map(read).collect::<Vec<_>>(), all);

        // An unchanged file's lists are named again, and the page is the same.
        let mut builder = MapBuilder::new();
        builder.push_entry(&keys(), &entries[0].clone(), &mut Chunks::default()).unwrap();
        assert_eq!(builder.finish(&keys(), &mut Chunks::default()).unwrap().unwrap().digest, root.digest);
    }
}

#[test]
fn the_largest_list_fits_a_frame() {
    let worst = |i: usize| Reference {
        handle: Handle(Digest::of(&i.to_le_bytes()).0[..16].try_into().unwrap()),
        frame: u32::MAX,
        offset: u32::MAX,
        length: u32::MAX,
        digest: Digest([1; 32]),
    };
    let all: Vec<Reference> = (0..crate::limits::LIST_REFERENCES_MAX).map(worst).collect();
    let list = page::encode_references(&all);
    assert!(list.len() <= crate::limits::FRAME_MAX, "{}", list.len());
    assert_eq!(parse_references(&list).unwrap(), all);
}

#[test]
fn pages_stay_in_their_bound_whatever_they_point_to() {
    let mut chunks = Chunks::default();
    let mut builder = MapBuilder::new();
    // Each reference in a pack of its own, and as short as one can be.
    let mut n = 0_u64;
    let mut scattered = || {
        let mut all = references(16);
        for r in &mut all {
            n += 1;
            (r.frame, r.offset, r.length) = (0, 0, 0);
            r.handle = Handle(Digest::of(&n.to_le_bytes()).0[..16].try_into().unwrap());
        }
        all
    };
    let mut i = 0_u32;
    for small in 240..285 {
        let mut left = small;
        while left > 0 {
            i += 1;
            let key = i.to_be_bytes();
            // Keys at which no page is cut, so that each grows until the longest entry that there can be ends it.
            if keys().cut_hash(&key) > u64::MAX / 32 {
                builder.push(&keys(), &key, b"", &scattered(), &mut chunks).unwrap();
                left -= 1;
            }
        }
        i += 1;
        let key = [&i.to_be_bytes()[..], &vec![b'k'; crate::limits::KEY_MAX - 4]].concat();
        let inline = vec![1; crate::limits::INLINE_MAX];
        builder.push(&keys(), &key, &inline, &scattered(), &mut chunks).unwrap();
    }
    let root = builder.finish(&keys(), &mut chunks).unwrap().unwrap();
    let (mut back, mut pages) = (BTreeMap::new(), 0);
    read(&chunks, &root, &mut back, &mut pages);
    assert_eq!(back.len(), (240..285).sum::<usize>() + 45);
    assert!((250 << 10..=320 << 10).contains(&chunks.0.values().map(Vec::len).max().unwrap()));
}

#[test]
fn entries_without_their_lists_are_refused() {
    for (count, fits) in [(0, false), (1, true), (16, true), (17, false)] {
        let entry = Entry { key: b"k", inline: b"", references: references(count), indirect: true };
        let mut packs = page::PackTable::default();
        let mut body = Vec::new();
        page::encode_leaf_entry(&mut body, &mut packs, &entry);
        assert_eq!(Page::parse(&page::encode_page(0, &packs, 1, &body)).is_ok(), fits, "{count}");
    }
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
