//! Records come back in order whatever their number, and a small change leaves most segments as they were.

use super::*;
use crate::crypto::derive::Secret32;
use crate::id::{Digest, Handle, Sha256};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashSet;

fn keys() -> DomainKeys {
    DomainKeys::new(&Secret32::new([1; 32]), "path/home")
}

fn reference(n: u32) -> Reference {
    let handle = Handle([u8::try_from(n / 1000 % 256).unwrap(); 16]);
    Reference { handle, frame: n % 1000, offset: n, length: 1, digest: Digest::of(&n.to_le_bytes()) }
}

fn stat(inode: u64) -> Stat {
    Stat { kind: NodeKind::File, size: 3, mtime: (1, 2), ctime: (3, 4), inode }
}

fn record(path: &str, references: Vec<Reference>) -> Record {
    let name = keys().path_hash(path.as_bytes());
    let lists = if references.len() > 16 { vec![reference(1), reference(2)] } else { vec![] };
    let extents = (references.len() % 3 == 1).then(|| vec![(1, 2), (4, 5)]);
    Record { name, fingerprint: stat(7).fingerprint(&keys()), flags: HAS_XATTRS, extents, references, lists }
}

fn cut(files: &[(PathHash, Record)]) -> Vec<CutSegment> {
    let (mut writer, mut out) = (SegmentWriter::new(), Vec::new());
    for (directory, record) in files {
        writer.record(directory, record, |s| out.push(s));
    }
    out.extend(writer.finish());
    out
}

/// The records of segments, with those of one file made one again.
fn join(segments: &[CutSegment]) -> Vec<(PathHash, Record)> {
    let mut out: Vec<(PathHash, Record)> = Vec::new();
    for segment in segments {
        for part in parse_segment(&segment.plain).unwrap() {
            for record in part.records {
                match out.last_mut() {
                    Some((_, last)) if last.has(CONTINUES) => {
                        assert_eq!((last.name, last.fingerprint), (record.name, record.fingerprint));
                        last.references.extend(record.references);
                        last.flags = record.flags;
                    }
                    _ => out.push((part.directory, record)),
                }
            }
        }
    }
    out
}

fn tree(directories: u32, files: u32) -> Vec<(PathHash, Record)> {
    let file = |d: u32, f: u32| {
        let directory = keys().path_hash(d.to_string().as_bytes());
        (directory, record(&format!("{d}/{f}"), vec![reference(d * files + f)]))
    };
    (0..directories).flat_map(|d| (0..files).map(move |f| file(d, f))).collect()
}

#[test]
fn one_changed_file_changes_one_segment() {
    let mut files = tree(400, 100);
    let before = cut(&files);
    assert!((8..40).contains(&before.len()), "{} segments for 4 MB", before.len());
    assert_eq!(join(&before), files);
    assert!(before.iter().all(|s| s.plain.len() < 800 << 10));
    let begun: Vec<DirectoryId> = before.iter().flat_map(|s| s.directories.clone()).collect();
    assert_eq!(begun.len(), 400);
    assert!(begun.iter().eq(files.chunks(100).map(|c| directory_id(&c[0].0)).collect::<Vec<_>>().iter()));

    let known: HashSet<Vec<u8>> = before.into_iter().map(|s| s.plain).collect();
    files[20_000].1.references[0] = reference(77_777_777);
    files.remove(30_000);
    files.insert(10_000, (files[10_000].0, record("new", vec![reference(66_666_666)])));
    let changed = cut(&files).into_iter().filter(|s| !known.contains(&s.plain)).count();
    assert!((1..=6).contains(&changed), "{changed} segments for three changes");
}

#[test]
fn a_directory_of_many_files_goes_on() {
    let files = tree(1, 20_000);
    let segments = cut(&files);
    assert_eq!(join(&segments), files);
    assert!(segments.len() > 3);
    assert_eq!(segments.iter().map(|s| s.directories.len()).sum::<usize>(), 1);
}

#[test]
fn a_very_large_file_is_several_records() {
    let directory = keys().path_hash(b"");
    let mut all: Vec<Reference> = (0..100_000).map(reference).collect();
    let before = cut(&[(directory, record("large", all.clone()))]);
    assert_eq!(join(&before), [(directory, record("large", all.clone()))]);
    assert!(before.iter().all(|s| s.plain.len() < 1 << 20));
    let known: HashSet<Vec<u8>> = before.into_iter().map(|s| s.plain).collect();
    all.insert(50_000, reference(1_000_000));
    let changed =
        cut(&[(directory, record("large", all))]).into_iter().filter(|s| !known.contains(&s.plain)).count();
    assert!((1..=4).contains(&changed), "{changed}");
}

#[test]
fn segments_and_indexes_open_with_their_key_only() {
    let (key, other) = (Secret32::random(), Secret32::random());
    let segment = cut(&tree(2, 3)).remove(0);
    let sealed = seal_segment(&key, &segment.plain);
    assert_eq!(open_segment(&key, &sealed).unwrap(), parse_segment(&segment.plain).unwrap());
    assert!(open_segment(&other, &sealed).is_err());
    assert!(open_index(&key, &sealed).is_err());
    let entry = SegmentEntry {
        sha256: Sha256::of(&sealed),
        key: key.expose().to_vec(),
        digest: Digest::of(&segment.plain),
        directories: segment.directories.concat(),
    };
    assert_eq!(entry.directories().collect::<Vec<_>>(), segment.directories);
    let sealed = seal_index(&other, std::slice::from_ref(&entry));
    assert_eq!(open_index(&other, &sealed).unwrap(), std::slice::from_ref(&entry));
    let bad = SegmentEntry { key: vec![1; 31], ..entry };
    assert!(open_index(&other, &seal_index(&other, &[bad])).is_err());
}

#[test]
fn index_files_are_cut_by_content() {
    let entry = |n: u32| {
        let digest = Digest::of(&n.to_le_bytes());
        SegmentEntry { sha256: Sha256([1; 32]), key: vec![0; 32], digest, directories: vec![2; 800] }
    };
    let mut all: Vec<SegmentEntry> = (0..2000).map(entry).collect();
    let before: Vec<Vec<SegmentEntry>> = index_pieces(&all).into_iter().map(<[_]>::to_vec).collect();
    assert_eq!(before.concat(), all);
    assert!(before.len() > 20 && before.iter().all(|p| p.len() <= 1200));
    all.insert(1000, entry(9999));
    let changed = index_pieces(&all).into_iter().filter(|p| !before.contains(&p.to_vec())).count();
    assert!((1..=2).contains(&changed), "{changed}");
}

#[test]
fn every_field_of_a_stat_counts() {
    let one = stat(1);
    let all = [
        one,
        Stat { kind: NodeKind::Symlink, ..one },
        Stat { size: 4, ..one },
        Stat { mtime: (2, 2), ..one },
        Stat { mtime: (1, 3), ..one },
        Stat { ctime: (4, 4), ..one },
        Stat { ctime: (3, 5), ..one },
        stat(2),
    ];
    let different: HashSet<Fingerprint> = all.iter().map(|s| s.fingerprint(&keys())).collect();
    assert_eq!(different.len(), all.len());
    assert_ne!(
        one.fingerprint(&keys()),
        one.fingerprint(&DomainKeys::new(&Secret32::new([1; 32]), "path/b"))
    );
}

proptest! {
    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_segment(&bytes);
    }

    #[test]
    fn records_come_back(counts in vec((0_u32..4, 0_usize..40), 0..60)) {
        let mut directory = 0;
        let files: Vec<(PathHash, Record)> = counts.into_iter().enumerate().map(|(i, (step, n))| {
            directory += step;
            let references = (0..n).map(|n| reference(u32::try_from(n).unwrap())).collect();
            (keys().path_hash(&[u8::try_from(directory).unwrap()]), record(&i.to_string(), references))
        }).collect();
        prop_assert_eq!(join(&cut(&files)), files);
    }
}
