//! What each fuzz target does with its bytes; `fuzz/` includes this file, and the tests at its end run every target
//! over the committed corpus and seeded mutations of it, on stable Rust.
//!
//! A body panics when an invariant breaks. Parsers behind a seal get their input sealed under a fixed key first, so
//! that what a holder of the keys could write is explored, and not only what authentication refuses.

use lifeboat_format::body::{Body, object_key, parse_object_key};
use lifeboat_format::charter;
use lifeboat_format::crypto::derive::{RunKey, Secret32, labelled};
use lifeboat_format::crypto::open::{identity_file, is_age_file};
use lifeboat_format::crypto::seal::{self, FrameContext};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::{ClusterName, Digest, Handle, Sha256, SnapshotId};
use lifeboat_format::manifest::{self, UnverifiedManifest};
use lifeboat_format::pack::{Header, Reference, Trailer};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::receipt::{self, Receipt};
use lifeboat_format::send_log::{self, open_packs, open_root, open_segment, open_uploads};
use lifeboat_format::sorted_map::{Page, parse_references};
use lifeboat_format::tree::{self, Attributes, encode_attributes};
use lifeboat_format::volume_log::{self, CONTINUES, SegmentWriter, parse_segment};
use lifeboat_format::{dsse, layout, limits};

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has a folder of its name in `fuzz/corpus`.
pub const TARGETS: [Target; 19] = [
    ("charter", charter),
    ("manifest", manifest),
    ("receipt", receipt),
    ("pack_header", pack_header),
    ("pack_directory", pack_directory),
    ("frame", frame),
    ("pack_list", pack_list),
    ("page", page),
    ("references", references),
    ("body", body),
    ("log_root", log_root),
    ("log_segment", log_segment),
    ("log_uploads", log_uploads),
    ("log_packs", log_packs),
    ("tree_entry", tree_entry),
    ("volume_segment", volume_segment),
    ("volume_index", volume_index),
    ("identity", identity),
    ("layout", layout_keys),
];

fn signing_key() -> SigningKey {
    let mut document = hex::decode("302e020100300506032b657004220420").expect("a constant");
    document.extend_from_slice(&[7; 32]);
    SigningKey::from_pkcs8(&document).expect("a constant")
}

fn key() -> Secret32 {
    Secret32::new([9; 32])
}

fn cluster() -> ClusterName {
    "prod".parse().expect("a constant")
}

/// As a file, and as the payload of a signed file.
pub fn charter(data: &[u8]) {
    let _ = charter::parse(data);
    let owner = signing_key();
    let signed = dsse::sign(charter::PAYLOAD_TYPE, data, &[&owner]);
    let Ok((_, parsed)) = charter::parse(&signed) else { return };
    let _ = (parsed.check_writable(), parsed.current_epoch());
    let again = parsed.sign(&[&owner]);
    assert_eq!(charter::parse(&again).expect("what was parsed is encoded so that it parses").1, parsed);
    let owner = owner.verify_key();
    if let Ok(chain) = charter::trusted_chain(&[signed], &owner, &cluster()) {
        assert_eq!(chain.len(), 1);
        assert!(parsed.owners.contains(&owner) && parsed.n == 1);
    }
}

/// As a file, and as the payload of a signed file.
pub fn manifest(data: &[u8]) {
    let agent = signing_key();
    if let Ok(unsigned) = UnverifiedManifest::parse(data) {
        let _ = unsigned.verify(&[agent.verify_key()], &cluster(), 1);
    }
    let signed = dsse::sign(manifest::PAYLOAD_TYPE, data, &[&agent]);
    let Ok(parsed) = UnverifiedManifest::parse(&signed) else { return };
    let seq = parsed.claims().seq;
    let Ok(m) = parsed.verify(&[agent.verify_key()], &cluster(), seq) else { return };
    assert_eq!(layout::parse_manifest(&layout::manifest(seq)), Some(seq));
    let _ = m.manifest.lists();
    let again = UnverifiedManifest::parse(&m.manifest.sign(&agent)).expect("it is encoded so that it parses");
    assert_eq!(*again.claims(), m.manifest);
    for set in &m.manifest.packs {
        assert!(set.bitmap.iter().all(|i| i < limits::LIST_PACKS_MAX));
    }
}

/// As a file, and as the payload of a signed file.
pub fn receipt(data: &[u8]) {
    let signer = signing_key();
    let _ = Receipt::verify(data, &signer.verify_key(), &cluster());
    let signed = dsse::sign(receipt::PAYLOAD_TYPE, data, &[&signer]);
    if let Ok(parsed) = Receipt::verify(&signed, &signer.verify_key(), &cluster()) {
        let again = Receipt::verify(&parsed.sign(&signer), &signer.verify_key(), &cluster());
        assert_eq!(again.expect("it is encoded so that it parses"), parsed);
    }
}

/// A whole pack from a store: header, trailer, and a directory that does not authenticate.
pub fn pack_header(data: &[u8]) {
    let Ok(header) = Header::parse(data) else { return };
    assert!(header.len <= data.len() as u64);
    let last = &data[data.len().saturating_sub(4)..];
    let Ok(trailer) = Trailer::parse(last, data.len() as u64, &header) else { return };
    assert!(trailer.offset >= header.len && trailer.offset + trailer.len + 4 == data.len() as u64);
    let key = RunKey(key()).pack_key(&header.handle);
    assert!(header.open_directory(&key, &trailer, trailer.of(data).to_vec()).is_err());
}

fn small_header() -> (Vec<u8>, Header) {
    let bytes = [b"LBPK\x01\x01\x02\x00ab".to_vec(), vec![5; 16]].concat();
    let header = Header::parse(&bytes).expect("a constant");
    (bytes, header)
}

/// The bytes are a directory's plaintext.
pub fn pack_directory(data: &[u8]) {
    let (bytes, header) = small_header();
    let key = RunKey(key()).pack_key(&header.handle);
    let context = FrameContext { header: Sha256::of(&bytes).0 };
    let mut sealed = data.to_vec();
    seal::frame(&key, &context, u32::MAX, 2, &mut sealed);
    // The frames are said to end wherever this directory says.
    for between in [0, 16, 1000] {
        let trailer = Trailer { offset: header.len + between, len: sealed.len() as u64 };
        let Ok(directory) = header.open_directory(&key, &trailer, sealed.clone()) else { continue };
        let end = directory.frames().last().map_or(header.len, |f| f.end());
        assert_eq!(end, trailer.offset);
        for f in directory.frames() {
            assert!(header.open_frame(&key, f, vec![0; f.sealed_len as usize]).is_err());
        }
    }
}

/// The first bytes say what the directory says of a frame, the rest is what was sealed: raw, or to be decompressed.
pub fn frame(data: &[u8]) {
    let Some((head, sealed)) = data.split_first_chunk::<4>() else { return };
    let kind = head[0] & 1;
    let plain_len = u32::from_le_bytes([head[1], head[2], head[3], 0]);
    let (bytes, header) = small_header();
    let key = RunKey(key()).pack_key(&header.handle);
    let context = FrameContext { header: Sha256::of(&bytes).0 };
    let mut frame = sealed.to_vec();
    seal::frame(&key, &context, 0, kind, &mut frame);
    let mut e = minicbor::Encoder::new(Vec::new());
    let entry = |e: &mut minicbor::Encoder<Vec<u8>>| -> Result<(), Box<dyn std::error::Error>> {
        e.array(1)?.array(3)?.u8(kind)?.u32(u32::try_from(frame.len())?)?.u32(plain_len)?;
        Ok(())
    };
    entry(&mut e).expect("writing to memory does not fail");
    let mut directory = e.into_writer();
    seal::frame(&key, &context, u32::MAX, 2, &mut directory);
    let trailer = Trailer { offset: header.len + frame.len() as u64, len: directory.len() as u64 };
    let Ok(directory) = header.open_directory(&key, &trailer, directory) else { return };
    let entry = directory.frame(0).expect("there is one");
    if let Ok(plain) = header.open_frame(&key, entry, frame) {
        assert_eq!(plain.len(), plain_len as usize);
        let whole = Reference {
            handle: header.handle,
            frame: 0,
            offset: 0,
            length: plain_len,
            digest: Digest::of(&plain),
        };
        assert_eq!(directory.chunk(&plain, &whole).expect("the whole frame"), plain);
        assert!(directory.chunk(&plain, &Reference { offset: 1, ..whole }).is_err());
    }
}

/// There is one encoding of a pack list.
pub fn pack_list(data: &[u8]) {
    if let Ok(list) = PackList::parse(data) {
        assert_eq!(list.encode(), data);
    }
}

/// Keys ascend and references are in bounds.
pub fn page(data: &[u8]) {
    match Page::parse(data) {
        Ok(Page::Leaf(entries)) => {
            assert!(entries.windows(2).all(|w| w[0].key < w[1].key));
            for e in entries {
                assert!(e.key.len() <= limits::KEY_MAX && e.references.len() <= limits::VALUE_CHUNKS_MAX);
                if let Some((kind, name)) = parse_object_key(e.key) {
                    assert_eq!(object_key(kind, name), e.key);
                    assert!(!kind.contains('/') && !name.contains('/') && name != "..");
                }
            }
        }
        Ok(Page::Inner { level, children }) => {
            assert!(usize::from(level) < limits::MAP_DEPTH_MAX && level > 0);
            assert!(children.windows(2).all(|w| w[0].0 < w[1].0));
        }
        Err(_) => {}
    }
}

pub fn references(data: &[u8]) {
    if let Ok(all) = parse_references(data) {
        assert!(all.len() * 36 <= data.len());
    }
}

/// The bytes are an opened body; if it is of no snapshot at all, of the one that it claims.
pub fn body(data: &[u8]) {
    let _ = Body::parse(data, &cluster(), &SnapshotId([1; 16]));
    let Ok(claimed) = minicbor::decode::<Body>(data) else { return };
    let Ok(cluster) = claimed.cluster.parse() else { return };
    if let Ok(parsed) = Body::parse(data, &cluster, &claimed.id) {
        let again = Body::parse(&parsed.encode(), &cluster, &claimed.id);
        assert_eq!(again.expect("it is encoded so that it parses"), parsed);
        let _: Vec<String> = parsed.domains.iter().map(|d| d.domain()).collect();
    }
}

fn sealed(magic: &[u8; 6], key: &Secret32, data: &[u8]) -> Vec<u8> {
    [magic.to_vec(), seal::once(key, magic, data)].concat()
}

pub fn log_root(data: &[u8]) {
    assert!(open_root(&key(), data).is_err());
    if let Ok(root) = open_root(&key(), &sealed(b"LBLR\x01\x01", &key(), data)) {
        assert_eq!(open_root(&key(), &send_log::seal_root(&key(), &root)).expect("sealed here"), root);
    }
}

pub fn log_segment(data: &[u8]) {
    assert!(open_segment(&key(), data).is_err());
    if let Ok(chunks) = open_segment(&key(), &sealed(b"LBLG\x01\x01", &key(), data)) {
        assert_eq!(send_log::segments(&chunks).concat(), chunks);
    }
}

pub fn log_uploads(data: &[u8]) {
    assert!(open_uploads(&key(), data).is_err());
    let key = labelled(&key(), "lifeboat/1 upload log", &[3; 32]);
    if let Ok(piece) = open_uploads(&key, &sealed(b"LBLU\x01\x01", &key, data)) {
        assert_eq!(open_uploads(&key, &send_log::seal_uploads(&key, &piece)).expect("sealed here"), piece);
    }
}

pub fn log_packs(data: &[u8]) {
    assert!(open_packs(&key(), data).is_err());
    if let Ok(packs) = open_packs(&key(), &sealed(b"LBLK\x01\x01", &key(), data)) {
        assert_eq!(send_log::pack_pieces(&packs).concat(), packs);
        assert_eq!(open_packs(&key(), &send_log::seal_packs(&key(), &packs)).expect("sealed here"), packs);
    }
}

/// The first byte says how much of the rest is an entry's key; what follows are its attributes.
pub fn tree_entry(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let (key, inline) = rest.split_at(usize::from(len).min(rest.len()));
    if let Ok(path) = tree::path_of(key) {
        assert_eq!(tree::path_key(&path), key);
        let mut names = path.split(|b| *b == b'/');
        let name = |n: &[u8]| !n.is_empty() && n != b"." && n != b".." && !n.contains(&0);
        assert!(path.is_empty() || names.all(name));
        assert!(path.is_empty() || key.starts_with(&tree::subtree_prefix(b"")));
    }
    if let Ok(attributes) = Attributes::parse(inline) {
        let mut again = Vec::new();
        encode_attributes(&attributes, &mut again).expect("what was parsed can be written");
        assert_eq!(Attributes::parse(&again), Ok(attributes.clone()));
        assert!(attributes.content_len() <= attributes.size);
    }
}

/// The bytes are a segment's plaintext; written again, it holds the same.
pub fn volume_segment(data: &[u8]) {
    assert!(volume_log::open_segment(&key(), data).is_err());
    let Ok(parts) = parse_segment(data) else { return };
    let whole = parts.iter().flat_map(|p| &p.records).all(|r| !r.has(CONTINUES));
    // What comes in one call for each file is what a writer is given.
    if !whole || parts.windows(2).any(|w| w[0].directory == w[1].directory) {
        return;
    }
    let (mut writer, mut segments) = (SegmentWriter::new(), Vec::new());
    for part in &parts {
        for record in &part.records {
            writer.record(&part.directory, record, |s| segments.push(s));
        }
    }
    segments.extend(writer.finish());
    let again: Vec<_> =
        segments.iter().flat_map(|s| parse_segment(&s.plain).expect("written here")).collect();
    assert!(again.iter().flat_map(|p| &p.records).eq(parts.iter().flat_map(|p| &p.records)));
}

pub fn volume_index(data: &[u8]) {
    assert!(volume_log::open_index(&key(), data).is_err());
    if let Ok(entries) = volume_log::open_index(&key(), &sealed(b"LBLI\x01\x01", &key(), data)) {
        assert_eq!(volume_log::index_pieces(&entries).concat(), entries);
        assert!(entries.iter().all(|e| e.directories().count() * 8 == e.directories.len()));
    }
}

/// Private files: identities and signing keys. Plugins are programs, so lines that name one are left out.
pub fn identity(data: &[u8]) {
    let _ = is_age_file(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = SigningKey::from_pem(text) {
        assert_eq!(key.verify_key().to_string().parse::<VerifyKey>().as_ref(), Ok(&key.verify_key()));
    }
    let _ = text.parse::<VerifyKey>();
    if !text.to_lowercase().contains("plugin") {
        let _ = identity_file(text);
    }
}

/// A key parses as one thing, and is that thing's only name.
pub fn layout_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let made = [
        layout::parse_charter(text).map(|(n, h)| layout::charter(n, &h)),
        layout::parse_epoch(text).map(|(n, h)| layout::epoch(n, &h)),
        layout::parse_manifest(text).map(layout::manifest),
        layout::parse_forgotten(text).map(|(n, h)| layout::forgotten(n, &h)),
        layout::parse_receipt(text).map(layout::receipt),
        layout::parse_pending(text).map(layout::pending),
        layout::parse_pack(text).map(|h| layout::pack(&h)),
        layout::parse_hash_named(layout::LISTS, text).map(|h| layout::list(&h)),
        layout::parse_hash_named(layout::AGENT, text).map(|h| layout::agent(&h)),
        layout::parse_hash_named(layout::LOST, text).map(|h| layout::lost(&h)),
    ];
    let made: Vec<String> = made.into_iter().flatten().collect();
    assert!(made.len() <= 1 && made.iter().all(|m| m == text), "{text:?} → {made:?}");
    let _ = (layout::claimed_seq(text), text.parse::<ClusterName>(), text.parse::<Handle>());
}

#[cfg(test)]
mod corpus {
    use super::{TARGETS, Target};
    use std::path::{Path, PathBuf};

    /// Mutations of each file of the corpus.
    const MUTATIONS: u64 = 300;

    /// splitmix64 (Steele, Lea, Flood 2014): the same mutations in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
        fn below(&mut self, n: usize) -> usize {
            usize::try_from(self.next() % n.max(1) as u64).unwrap()
        }
    }

    fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(out.len());
            let small = u8::try_from(random.below(256)).unwrap();
            match random.below(6) {
                0 => out.truncate(at),
                1 => out.insert(at.min(out.len()), small),
                2 if !out.is_empty() => drop(out.remove(at)),
                3 if !out.is_empty() => out[at] = small,
                // Lengths and counts are where parsers are led astray.
                4 if !out.is_empty() => out[at] = [0x00, 0x1b, 0x7f, 0x80, 0x9f, 0xff][random.below(6)],
                _ => {
                    let end = at + random.below(out.len() - at.min(out.len()) + 1);
                    let piece = out.get(at..end).unwrap_or_default().to_vec();
                    out.splice(at..at, piece);
                }
            }
        }
        out
    }

    fn folder(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
    }

    fn run((name, body): Target) {
        let entries = std::fs::read_dir(folder(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        let mut random = Random(1);
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            body(&bytes);
            for _ in 0..MUTATIONS {
                body(&mutate(&bytes, &mut random));
            }
        }
    }

    #[test]
    fn every_target_survives_its_corpus_and_mutations_of_it() {
        TARGETS.into_iter().for_each(run);
    }

    #[test]
    fn every_target_has_a_program() {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/targets");
        for (name, _) in TARGETS {
            assert!(programs.join(format!("{name}.rs")).is_file(), "{name}");
        }
    }
}
