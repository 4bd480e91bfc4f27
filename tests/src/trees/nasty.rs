//! A tree with everything that a file system allows and a backup gets wrong. The same seed gives the same tree.

use super::maker::{Maker, Meta, acl};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rustix::fs::FileType;
use std::path::Path;

/// Below this a file is one chunk (`FRAME_TARGET` of the format).
const ONE_CHUNK: usize = 128 << 10;
/// The charter's usual bounds of chunks.
const CHUNKS: [usize; 3] = [256 << 10, 1 << 20, 4 << 20];
const ACL_USER_OBJ: (u16, u32) = (1, u32::MAX);
const ACL_USER: u16 = 2;
const ACL_GROUP_OBJ: (u16, u32) = (4, u32::MAX);
const ACL_GROUP: u16 = 8;
const ACL_MASK: (u16, u32) = (16, u32::MAX);
const ACL_OTHER: (u16, u32) = (32, u32::MAX);

/// Makes the tree at `root`, about 60 MB. Devices, owners and privileged attributes only as root.
pub fn nasty(root: &Path, seed: u64) -> Result<()> {
    let mut maker = Maker::new(root)?;
    let mut random = StdRng::seed_from_u64(seed);
    names(&mut maker)?;
    sizes(&mut maker, &mut random)?;
    links(&mut maker)?;
    sparse(&mut maker, &mut random)?;
    attributes(&mut maker, &mut random)?;
    lists(&mut maker)?;
    modes(&mut maker)?;
    owners(&mut maker)?;
    times(&mut maker)?;
    specials(&mut maker)?;
    shapes(&mut maker)?;
    maker.meta("", Meta { mode: Some(0o2751), mtime: Some((1_000_000_000, 123_456_789)), ..Meta::default() });
    maker.finish()
}

/// Text of `len` bytes that compresses.
#[must_use]
pub fn text(random: &mut StdRng, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["fn ", "let ", "return ", "harbor", "{\n    ", "}\n", "anchor ", "= 0x"];
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        out.extend(WORDS[random.random_range(0..WORDS.len())].as_bytes());
        if random.random_ratio(1, 4) {
            out.extend(random.random::<u32>().to_string().as_bytes());
        }
    }
    out.truncate(len);
    out
}

/// `len` random bytes.
#[must_use]
pub fn noise(random: &mut StdRng, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    random.fill_bytes(&mut out);
    out
}

fn names(maker: &mut Maker) -> Result<()> {
    maker.directory("names")?;
    maker.directory("around")?;
    let mut long = vec![b'n'; 255];
    long[0] = b'L';
    let mut bytes: Vec<Vec<u8>> = (1..=255).filter(|b| *b != b'/' && *b != b'.').map(|b| vec![b]).collect();
    let more: [&[u8]; 26] = [
        b"-",
        b"--",
        b"-rf",
        b"--delete",
        b" ",
        b"  leading",
        b"trailing ",
        b"...",
        b"..a",
        b".hidden",
        b"*",
        b"?",
        b"[a]",
        b"new\nline",
        b"\x1b[31mred\x1b[0m",
        b"back\\slash",
        b"quote'\"`$(x)",
        b"~",
        b"a:b",
        b"\xff\xfe\xfd",
        b"\xc0\xaf",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"UPPER",
        b"upper",
        b"%2e%2e%2f",
    ];
    bytes.extend(more.iter().map(|name| name.to_vec()));
    bytes.push(long);
    bytes.push("ש".repeat(127).into_bytes());
    for name in &bytes {
        maker.file([b"names/", &name[..]].concat(), name)?;
    }
    // Directories whose keys sort around those of their neighbours: 00 joins components, and these surround it.
    for name in [&b"a"[..], b"a\x01", b"a b", b"a.b", b"a-b", b"ab", b"a\xff", b"-d", b"\n", b"\xff"] {
        let folder = [b"around/", name].concat();
        maker.directory(&folder)?;
        maker.file([&folder[..], b"/x"].concat(), name)?;
    }
    maker.directory([&b"around/"[..], &[b'D'; 255]].concat())
}

fn sizes(maker: &mut Maker, random: &mut StdRng) -> Result<()> {
    maker.directory("sizes/text")?;
    maker.directory("sizes/noise")?;
    let mut sizes = vec![0, 1, 2, 4095, 4096, 4097, 65_535, 65_536, 65_537];
    for around in [&[ONE_CHUNK][..], &CHUNKS].concat() {
        sizes.extend([around - 1, around, around + 1]);
    }
    sizes.push(9 << 20);
    for size in sizes {
        maker.file(format!("sizes/text/{size}"), &text(random, size))?;
        maker.file(format!("sizes/noise/{size}"), &noise(random, size))?;
    }
    // Written out zeros, and the same content twice.
    maker.file("sizes/zeros", &vec![0; 5 << 20])?;
    let twice = noise(random, 700_000);
    maker.file("sizes/twice-a", &twice)?;
    maker.file("sizes/twice-b", &twice)
}

fn links(maker: &mut Maker) -> Result<()> {
    maker.directory("links/a/b/c")?;
    maker.directory("links/z")?;
    maker.file("links/z/last", b"one file, many names")?;
    for name in ["links/a/first", "links/a/b/c/deep", "links/z/another", "links/-dash"] {
        maker.link(name, "links/z/last")?;
    }
    maker.directory("links/farm")?;
    maker.file("links/farm/0", &[b'f'; 200_000])?;
    for n in 1..300 {
        maker.link(format!("links/farm/{n}"), "links/farm/0")?;
    }
    maker.file("links/empty-a", b"")?;
    maker.link("links/empty-b", "links/empty-a")?;
    // Equal content, not one file.
    maker.file("links/alike", b"one file, many names")?;
    let longest = vec![b't'; 4095];
    let targets: [(&str, &[u8]); 10] = [
        ("dangling", b"nowhere"),
        ("absolute", b"/etc/passwd"),
        ("outside", b"../../../../../../etc/passwd"),
        ("self", b"self"),
        ("loop-a", b"loop-b"),
        ("loop-b", b"loop-a"),
        ("directory", b"a/b"),
        ("bytes", b"\xff\n\x01"),
        ("dot", b"."),
        ("longest", &longest),
    ];
    for (name, target) in targets {
        maker.symlink(format!("links/{name}"), target)?;
    }
    maker.link("links/a/linked-symlink", "links/dangling")
}

fn sparse(maker: &mut Maker, random: &mut StdRng) -> Result<()> {
    maker.directory("sparse")?;
    let data = noise(random, 100_000);
    maker.sparse("sparse/all-hole", 3 << 20, &[])?;
    maker.sparse("sparse/large-hole", 200 << 20, &[(100 << 20, &data)])?;
    maker.sparse("sparse/data-first", 50 << 20, &[(0, &data)])?;
    maker.sparse("sparse/data-last", (50 << 20) + 4, &[((50 << 20), b"last")])?;
    maker.sparse("sparse/odd-end", (1 << 20) + 17, &[(65_536, &data)])?;
    let islands: Vec<(u64, &[u8])> = (0..200).map(|n| (n * 262_144, &data[..4096])).collect();
    maker.sparse("sparse/islands", 200 * 262_144, &islands)?;
    // More extents than the format keeps: its smallest holes become zeros.
    let many: Vec<(u64, &[u8])> = (0..3000).map(|n| (n * 8192, &data[..1])).collect();
    maker.sparse("sparse/many", 3000 * 8192, &many)?;
    maker.sparse("sparse/linked", 8 << 20, &[(4 << 20, b"x")])?;
    maker.link("sparse/linked-too", "sparse/linked")
}

fn attributes(maker: &mut Maker, random: &mut StdRng) -> Result<()> {
    maker.directory("attributes/folder")?;
    let xattrs = |list: &[(&str, &[u8])]| Meta {
        xattrs: list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect(),
        ..Meta::default()
    };
    let large = noise(random, 2500);
    for (name, list) in [
        ("empty", &[("user.empty", &b""[..])][..]),
        ("binary", &[("user.b", &b"\0\xff\n"[..])]),
        ("several", &[("user.z", b"1"), ("user.a", b"2"), ("user.A", b"3"), ("user.a.b", b"4")]),
        ("large", &[("user.large", &large)]),
        ("trusted", &[("trusted.x", b"root only"), ("user.x", b"all")]),
        ("capability", &[("security.capability", &capability())]),
    ] {
        maker.file(format!("attributes/{name}"), name.as_bytes())?;
        maker.meta(format!("attributes/{name}"), xattrs(list));
    }
    let odd = Meta { xattrs: vec![(b"user.\xff\n".to_vec(), b"odd".to_vec())], ..Meta::default() };
    maker.file("attributes/odd-name", b"x")?;
    maker.meta("attributes/odd-name", odd);
    maker.meta("attributes/folder", xattrs(&[("user.folder", b"f"), ("trusted.folder", b"g")]));
    maker.symlink("attributes/link", b"several")?;
    maker.meta("attributes/link", xattrs(&[("trusted.of-the-link", b"l")]));
    maker.link("attributes/several-too", "attributes/several")
}

/// `cap_net_raw=ep`, revision 2.
fn capability() -> Vec<u8> {
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Access control lists, and entries that would inherit one although they have none.
fn lists(maker: &mut Maker) -> Result<()> {
    maker.directory("acl/default/inner")?;
    let entry = |(tag, id): (u16, u32), bits| (tag, bits, id);
    let access = acl(&[
        entry(ACL_USER_OBJ, 6),
        (ACL_USER, 7, 12_345),
        entry(ACL_GROUP_OBJ, 4),
        (ACL_GROUP, 5, 54_321),
        entry(ACL_MASK, 7),
        entry(ACL_OTHER, 0),
    ]);
    let default = acl(&[
        entry(ACL_USER_OBJ, 7),
        (ACL_USER, 5, 12_345),
        entry(ACL_GROUP_OBJ, 5),
        entry(ACL_MASK, 5),
        entry(ACL_OTHER, 0),
    ]);
    let with = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    maker.file("acl/file", b"a list")?;
    maker
        .meta("acl/file", Meta { xattrs: vec![with("system.posix_acl_access", &access)], ..Meta::default() });
    let both = vec![with("system.posix_acl_default", &default), with("system.posix_acl_access", &access)];
    // Its children are there already, so they have none; whoever makes them again must not let them inherit.
    maker.file("acl/default/plain", b"no list")?;
    maker.file("acl/default/inner/plain", b"no list")?;
    maker.symlink("acl/default/link", b"plain")?;
    maker.meta("acl/default", Meta { xattrs: both, ..Meta::default() });
    Ok(())
}

fn modes(maker: &mut Maker) -> Result<()> {
    maker.directory("modes")?;
    for mode in [0o000, 0o001, 0o200, 0o400, 0o644, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
        maker.file(format!("modes/f{mode:04o}"), b"mode")?;
        maker.meta(format!("modes/f{mode:04o}"), Meta { mode: Some(mode), ..Meta::default() });
    }
    for mode in [0o500, 0o700, 0o1777, 0o2775, 0o3777] {
        maker.directory(format!("modes/d{mode:04o}/in"))?;
        maker.file(format!("modes/d{mode:04o}/file"), b"inside")?;
        maker.meta(format!("modes/d{mode:04o}"), Meta { mode: Some(mode), ..Meta::default() });
    }
    if maker.privileged {
        for mode in [0o000, 0o100, 0o300] {
            maker.directory(format!("modes/d{mode:04o}/in"))?;
            maker.file(format!("modes/d{mode:04o}/file"), b"inside")?;
            maker.meta(format!("modes/d{mode:04o}"), Meta { mode: Some(mode), ..Meta::default() });
        }
    }
    Ok(())
}

fn owners(maker: &mut Maker) -> Result<()> {
    maker.directory("owners/folder")?;
    let owners = [
        ("nobody", (65_534, 65_534)),
        ("odd", (123_456, 7)),
        ("most", (u32::MAX - 1, u32::MAX - 1)),
        ("group", (0, 1000)),
    ];
    for (name, owner) in owners {
        maker.file(format!("owners/{name}"), name.as_bytes())?;
        // A change of owner clears these bits.
        maker.meta(
            format!("owners/{name}"),
            Meta { mode: Some(0o6755), owner: Some(owner), ..Meta::default() },
        );
    }
    let capable = vec![(b"security.capability".to_vec(), capability())];
    maker.file("owners/capable", b"c")?;
    maker.meta("owners/capable", Meta { owner: Some((1000, 1000)), xattrs: capable, ..Meta::default() });
    maker.symlink("owners/link", b"nobody")?;
    maker.meta("owners/link", Meta { owner: Some((4242, 4243)), ..Meta::default() });
    // Files made in a directory with this bit take its group.
    let meta = Meta { mode: Some(0o2770), owner: Some((1, 4244)), ..Meta::default() };
    maker.meta("owners/folder", meta);
    maker.file("owners/folder/own-group", b"g")?;
    maker.meta("owners/folder/own-group", Meta { owner: Some((1, 1)), ..Meta::default() });
    Ok(())
}

fn times(maker: &mut Maker) -> Result<()> {
    maker.directory("times")?;
    // What ext4 can hold: 1901 to 2446.
    let times = [
        (-2_147_483_648, 0),
        (-2_147_483_647, 1),
        (-1, 999_999_999),
        (0, 0),
        (0, 1),
        (1_000_000_000, 999_999_999),
        (2_147_483_647, 5),
        (2_147_483_648, 5),
        (4_294_967_296, 5),
        (15_032_385_535, 0),
    ];
    for (n, time) in times.into_iter().enumerate() {
        maker.file(format!("times/f{n}"), b"t")?;
        maker.directory(format!("times/d{n}/in"))?;
        maker.symlink(format!("times/l{n}"), b"t")?;
        for kind in ["f", "d", "l"] {
            maker.meta(format!("times/{kind}{n}"), Meta { mtime: Some(time), ..Meta::default() });
        }
    }
    Ok(())
}

fn specials(maker: &mut Maker) -> Result<()> {
    maker.directory("specials")?;
    maker.special("specials/fifo", FileType::Fifo, (0, 0))?;
    maker.link("specials/fifo-too", "specials/fifo")?;
    maker.special("specials/socket", FileType::Socket, (0, 0))?;
    let meta = Meta { mode: Some(0o1606), mtime: Some((5, 6)), owner: Some((3, 4)), ..Meta::default() };
    maker.meta("specials/fifo", meta);
    if maker.privileged {
        let (block, character) = (FileType::BlockDevice, FileType::CharacterDevice);
        for (name, kind, device) in
            [("null", character, (1, 3)), ("large", character, (4095, 1_048_575)), ("disk", block, (7, 300))]
        {
            maker.special(format!("specials/{name}"), kind, device)?;
        }
        maker.link("specials/null-too", "specials/null")?;
        maker.meta(
            "specials/disk",
            Meta { mode: Some(0o660), owner: Some((0, 6)), mtime: Some((7, 8)), ..Meta::default() },
        );
    }
    Ok(())
}

/// Many entries, and paths just below the longest that a system call takes.
fn shapes(maker: &mut Maker) -> Result<()> {
    maker.directory("shapes/nothing")?;
    maker.directory("shapes/many")?;
    for n in 0..3000 {
        maker.file(format!("shapes/many/{n:05}"), if n % 3 == 0 { b"x" } else { b"" })?;
    }
    for n in 0..500 {
        maker.directory(format!("shapes/folders/{n:03}"))?;
    }
    let mut path = b"shapes/narrow".to_vec();
    for _ in 0..400 {
        path.extend(b"/d");
    }
    maker.directory(&path)?;
    maker.file([&path[..], b"/bottom"].concat(), b"deep")?;
    let mut path = b"shapes/wide".to_vec();
    for _ in 0..14 {
        path.push(b'/');
        path.extend([b'w'; 250]);
    }
    maker.directory(&path)?;
    maker.file([&path[..], b"/bottom"].concat(), b"long")
}
