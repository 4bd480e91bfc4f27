//! Keys sort as a walk goes, and attributes come back as they were; what no entry can have is refused.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..5).prop_map(|bytes| {
        let name: Vec<u8> = bytes.into_iter().map(|b| if matches!(b, 0 | b'/') { 1 } else { b }).collect();
        if name == b"." || name == b".." { b"dot".to_vec() } else { name }
    })
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(name(), 0..5)
}

prop_compose! {
    fn common()(
        mode in 0_u32..0o10000, uid: u32, gid: u32, mtime_s: i64, mtime_ns in 0_u32..1_000_000_000,
        xattrs in proptest::collection::btree_map(vec(1_u8..255, 1..20), vec(any::<u8>(), 0..50), 0..4),
        marks in 0_u8..2,
    ) -> Attributes {
        let xattrs = xattrs.into_iter().collect();
        Attributes { mode, uid, gid, mtime_s, mtime_ns, xattrs, marks, ..Attributes::default() }
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let gaps = proptest::option::of(vec((0_u64..1000, 1_u64..1000), 0..10));
    let rest = (0_u8..7, any::<u32>(), any::<Option<u64>>(), vec(1_u8..255, 1..30), gaps);
    (common(), rest).prop_map(|(common, (kind, number, link, target, gaps))| {
        let link_of = |kind| if kind == NodeKind::Directory { None } else { link };
        let with = |kind| Attributes { kind, link: link_of(kind), ..common.clone() };
        match kind {
            0 => with(NodeKind::Directory),
            1 => {
                let mut end = 0;
                let extents = gaps.map(|gaps| {
                    let place = |(gap, length)| {
                        let offset = end + gap;
                        end = offset + length;
                        (offset, length)
                    };
                    gaps.into_iter().map(place).collect()
                });
                Attributes { size: u64::from(number) + 20_000, extents, ..with(NodeKind::File) }
            }
            2 => Attributes { target: Some(target), ..with(NodeKind::Symlink) },
            3 => with(NodeKind::Fifo),
            4 => with(NodeKind::Socket),
            5 => Attributes { rdev: Some((number, 3)), ..with(NodeKind::CharDevice) },
            _ => Attributes { rdev: Some((8, number)), ..with(NodeKind::BlockDevice) },
        }
    })
}

/// In the order of a walk: a directory's entries by name, then what is below each.
fn walk_order(a: &[Vec<u8>], b: &[Vec<u8>]) -> std::cmp::Ordering {
    match (a, b) {
        ([], [_, ..]) => std::cmp::Ordering::Less,
        ([_, ..], []) => std::cmp::Ordering::Greater,
        ([x], [y]) => x.cmp(y),
        // An entry of this directory comes before everything that is deeper.
        ([_], [_, _, ..]) => std::cmp::Ordering::Less,
        ([_, _, ..], [_]) => std::cmp::Ordering::Greater,
        ([x, a @ ..], [y, b @ ..]) => x.cmp(y).then_with(|| walk_order(a, b)),
        ([], []) => std::cmp::Ordering::Equal,
    }
}

proptest! {
    #[test]
    fn keys_sort_as_a_walk_goes(a in path(), b in path()) {
        let (x, y) = (a.join(&b'/'), b.join(&b'/'));
        prop_assert_eq!(path_key(&x).cmp(&path_key(&y)), walk_order(&a, &b));
        prop_assert_eq!(path_of(&path_key(&x)).unwrap(), x.clone());
        let below = b.len() > a.len() && b[..a.len()] == a[..];
        let child = below && b.len() == a.len() + 1;
        prop_assert_eq!(path_key(&y).starts_with(&directory_prefix(&x)), child);
        prop_assert_eq!(path_key(&y).starts_with(&subtree_prefix(&x)), below || (a.is_empty() && b.is_empty()));
    }

    #[test]
    fn what_is_below_comes_back(parent in path(), below in path()) {
        let whole = [parent.clone(), below].concat();
        let key = path_key(&whole.join(&b'/'));
        if whole.len() > parent.len() {
            prop_assert!(key.starts_with(&subtree_prefix(&parent.join(&b'/'))));
        }
    }

    #[test]
    fn attributes_come_back(a in attributes()) {
        let mut bytes = b"before".to_vec();
        encode_attributes(&a, &mut bytes).unwrap();
        prop_assert_eq!(Attributes::parse(&bytes[6..]).unwrap(), a);
        for end in 6..bytes.len() {
            prop_assert!(Attributes::parse(&bytes[6..end]).is_err());
        }
    }

    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_key(&bytes);
        if let Ok(a) = Attributes::parse(&bytes) {
            let mut again = Vec::new();
            encode_attributes(&a, &mut again).unwrap();
            prop_assert_eq!(Attributes::parse(&again).unwrap(), a);
        }
    }
}

#[test]
fn keys_that_would_leave_the_tree_are_refused() {
    assert_eq!(parse_key(b"a\0b\0\0name").unwrap(), (b"a/b".to_vec(), b"name".as_slice()));
    assert_eq!(parse_key(b"\0\0name").unwrap(), (Vec::new(), b"name".as_slice()));
    let mut long = b"\0\0".to_vec();
    long.resize(NAME_MAX + 3, b'x');
    let bad: [&[u8]; 13] = [
        b"",
        b"a",
        b"a\0b",
        b"\0\0",
        b"a\0\0",
        b"\0\0..",
        b"\0\0.",
        b"..\0\0x",
        b"a\0..\0b\0\0x",
        b"\0a\0\0x",
        b"a\0\0\0x",
        b"\0\0a/b",
        &long,
    ];
    for key in bad {
        assert!(parse_key(key).is_err(), "{}", key.escape_ascii());
    }
}

#[test]
fn fields_of_another_kind_are_left_out() {
    let a = Attributes {
        kind: NodeKind::Fifo,
        size: 9,
        target: Some(b"x".to_vec()),
        rdev: Some((1, 2)),
        extents: Some(vec![]),
        ..Attributes::default()
    };
    let mut bytes = Vec::new();
    encode_attributes(&a, &mut bytes).unwrap();
    let plain = Attributes { kind: NodeKind::Fifo, ..Attributes::default() };
    assert_eq!(Attributes::parse(&bytes).unwrap(), plain);
    assert_eq!(bytes, [0xa1, 0, 3]);
}

#[test]
fn impossible_attributes_are_refused_on_both_sides() {
    let file = Attributes { kind: NodeKind::File, size: 100, ..Attributes::default() };
    let xattr = |name: &[u8]| (name.to_vec(), Vec::new());
    let bad = [
        Attributes { mode: 0o10000, ..file.clone() },
        Attributes { mtime_ns: 1_000_000_000, ..file.clone() },
        Attributes { size: u64::MAX, ..file.clone() },
        Attributes { marks: 2, ..file.clone() },
        Attributes { extents: Some(vec![(0, 10), (9, 1)]), ..file.clone() },
        Attributes { extents: Some(vec![(0, 0)]), ..file.clone() },
        Attributes { extents: Some(vec![(99, 2)]), ..file.clone() },
        Attributes { extents: Some(vec![(u64::MAX, u64::MAX)]), ..file.clone() },
        Attributes { extents: Some(vec![(0, 1); EXTENTS_MAX + 1]), ..file.clone() },
        Attributes { xattrs: vec![xattr(b"b"), xattr(b"a")], ..file.clone() },
        Attributes { xattrs: vec![xattr(b"a"), xattr(b"a")], ..file.clone() },
        Attributes { xattrs: vec![xattr(b"")], ..file.clone() },
        Attributes { xattrs: vec![xattr(&[1; 256])], ..file.clone() },
        Attributes { kind: NodeKind::Symlink, ..Attributes::default() },
        Attributes { kind: NodeKind::Symlink, target: Some(vec![]), ..Attributes::default() },
        Attributes { kind: NodeKind::Symlink, target: Some(b"a\0".to_vec()), ..Attributes::default() },
        Attributes { kind: NodeKind::CharDevice, ..Attributes::default() },
    ];
    for a in bad {
        let mut out = b"kept".to_vec();
        assert!(encode_attributes(&a, &mut out).is_err(), "{a:?}");
        assert_eq!(out, b"kept");
    }
    let large = Attributes { xattrs: vec![(b"user.a".to_vec(), vec![0; 65_530])], ..file };
    assert!(encode_attributes(&large, &mut Vec::new()).is_err());
    let bad: [&[u8]; 8] = [
        b"\xa0",
        b"\xa1\x01\x00",
        b"\xa2\x00\x01\x00\x01",
        b"\xa1\x00\x07",
        b"\xbf\x00\x01\xff",
        b"\xa1\x00\x01\x00",
        b"\xa2\x00\x00\x06\x05",
        b"\xa2\x00\x05\x07\x83\x01\x02\x03",
    ];
    for bytes in bad {
        assert!(Attributes::parse(bytes).is_err(), "{}", bytes.escape_ascii());
    }
    // What a later version adds is passed over.
    assert!(Attributes::parse(b"\xa2\x00\x01\x18\x20\x82\x01\x02").is_ok());
}
