//! Makes the corpus of the fuzz targets: one or two small, sound inputs of each kind.

use crate::content::{secret, seed16};
use crate::write::Files;
use lifeboat_format::body::Body;
use lifeboat_format::crypto::derive::DomainKeys;
use lifeboat_format::id::{Digest, Fingerprint, Handle, RunId, ScopeAlias, Sha256, SnapshotId};
use lifeboat_format::layout;
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::{FileRef, KnownChunk, KnownPack, LogRoot, SegmentRef, UploadPiece};
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use lifeboat_format::tree::{Attributes, NodeKind, encode_attributes, path_key};
use lifeboat_format::volume_log::{Record, SegmentEntry, SegmentWriter, VolumeLog};
use std::convert::Infallible;

/// Target and input.
pub(crate) type Corpus = Vec<(&'static str, Vec<u8>)>;

struct Pages(Vec<Vec<u8>>);

impl PageSink for Pages {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        self.0.push(chunk.to_vec());
        Ok(reference(u8::try_from(self.0.len()).unwrap()))
    }
}

fn reference(n: u8) -> Reference {
    Reference {
        handle: Handle([n % 3; 16]),
        frame: u32::from(n),
        offset: 70_000,
        length: 300,
        digest: Digest([n; 32]),
    }
}

fn cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// The payload of a signed file.
fn payload(file: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let envelope: serde_json::Value = serde_json::from_slice(file).unwrap();
    let text = envelope["payload"].as_str().unwrap();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

pub(crate) fn corpus(files: &Files) -> Corpus {
    let mut out = Corpus::new();
    for (prefix, target) in
        [(layout::CHARTER, "charter"), (layout::MANIFESTS, "manifest"), (layout::RECEIPTS, "receipt")]
    {
        let (_, file) = files.iter().rfind(|(k, _)| k.starts_with(prefix)).unwrap();
        out.extend([(target, file.clone()), (target, payload(file))]);
    }
    let of = |prefix: &'static str| {
        files.iter().filter(move |(k, _)| k.starts_with(prefix)).map(|(_, v)| v.clone())
    };
    out.push(("pack_list", of(layout::LISTS).next().unwrap()));
    out.push(("pack_header", of(layout::PACKS).min_by_key(Vec::len).unwrap()));
    packs(&mut out);
    maps(&mut out);
    logs(&mut out);
    trees(&mut out);
    texts(files, &mut out);
    out
}

fn packs(out: &mut Corpus) {
    out.push(("pack_directory", hex::decode("828300150583001606000000").unwrap()));
    out.push(("pack_directory", hex::decode("8183001903e81903d800").unwrap()));
    out.push(("frame", [&[0, 5, 0, 0], &b"hello"[..]].concat()));
    let packed = zstd::bulk::compress(&[7; 300], 1).unwrap();
    out.push(("frame", [vec![1, 44, 1, 0], packed].concat()));
}

fn maps(out: &mut Corpus) {
    let keys = DomainKeys::new(&secret("dedup"), "objects/a");
    let mut pages = Pages(Vec::new());
    let mut map = MapBuilder::new();
    let many: Vec<Reference> = (0..20).map(reference).collect();
    map.push(&keys, b"configmap\0a", b"{}", &[], &mut pages).unwrap();
    map.push(&keys, b"configmap\0b", b"", &many[..3], &mut pages).unwrap();
    map.push(&keys, b"configmap\0c", b"", &many, &mut pages).unwrap();
    let root = map.finish(&keys, &mut pages).unwrap().unwrap();
    out.push(("references", pages.0[0].clone()));
    out.push(("page", pages.0[1].clone()));
    // An inner page: [1, packs, [[first key, reference]]].
    let inner = (
        1_u8,
        minicbor::bytes::ByteVec::from(vec![3; 16]),
        [(minicbor::bytes::ByteVec::from(b"configmap\0a".to_vec()), (0_u8, 1_u8, 2_u8, 3_u8, root.digest))],
    );
    out.push(("page", cbor(&inner)));
    let body = Body {
        cluster: "prod".to_owned(),
        id: SnapshotId([1; 16]),
        domains: vec![lifeboat_format::body::DomainEntry {
            kind: lifeboat_format::body::DomainKind::Objects,
            namespace: "a".to_owned(),
            name: String::new(),
            alias: Some(ScopeAlias([4; 16])),
            roots: vec![root],
            entries: 3,
            bytes: 1000,
        }],
        report: b"{}".to_vec(),
    };
    out.push(("body", body.encode()));
}

fn logs(out: &mut Corpus) {
    let chunks = vec![
        KnownChunk { id: lifeboat_format::id::ChunkId(seed16("a")), reference: reference(1) },
        KnownChunk { id: lifeboat_format::id::ChunkId(seed16("b")), reference: reference(2) },
    ];
    let pack = KnownPack {
        handle: Handle([1; 16]),
        sha256: Sha256([2; 32]),
        size: 16 << 20,
        plain_bytes: 30 << 20,
        list: Sha256([3; 32]),
        index: 7,
        noted: 1_790_000_000,
        domain: ScopeAlias([4; 16]),
    };
    let segment = SegmentRef { sha256: Sha256([5; 32]), key: vec![6; 32], first: chunks[0].id };
    out.push(("log_segment", cbor(&chunks)));
    out.push((
        "log_root",
        cbor(&LogRoot { packs: vec![pack], segments: vec![segment], ..LogRoot::default() }),
    ));
    volume_logs(out, pack);
    let run = RunId([1; 16]);
    let piece = UploadPiece { run, sealed_run_key: vec![9; 40], packs: vec![pack], chunks, prev: None };
    out.push(("log_uploads", cbor(&piece)));
}

fn volume_logs(out: &mut Corpus, pack: KnownPack) {
    let file = |n| FileRef { sha256: Sha256([n; 32]), key: vec![n; 32], digest: Digest([n; 32]) };
    let first = lifeboat_format::id::ChunkId(seed16("a"));
    let pages = vec![SegmentRef { sha256: Sha256([5; 32]), key: vec![6; 32], first }];
    let volume = VolumeLog {
        domain: ScopeAlias([4; 16]),
        started: 1_790_000_000,
        index: vec![file(1)],
        pages,
        sparse: vec![(Handle([8; 16]), 5)],
        tree: None,
    };
    let root = LogRoot { pack_files: vec![file(2)], volumes: vec![volume], ..LogRoot::default() };
    out.push(("log_root", cbor(&root)));
    out.push(("log_packs", cbor(&vec![pack, pack])));
    let keys = DomainKeys::new(&secret("dedup"), "path/a");
    let record = |path: &str, references: Vec<Reference>| Record {
        name: keys.path_hash(path.as_bytes()),
        fingerprint: Fingerprint(seed16(path)),
        flags: 1,
        extents: (references.len() > 1).then(|| vec![(0, 300), (5000, 300)]),
        lists: if references.len() > 16 { vec![reference(1)] } else { vec![] },
        references,
    };
    let (mut writer, root, below) = (SegmentWriter::new(), keys.path_hash(b""), keys.path_hash(b"b"));
    writer.record(&root, &record("a", vec![reference(1)]), |_| ());
    writer.record(&below, &record("b/a", vec![reference(2), reference(3)]), |_| ());
    writer.record(&below, &record("b/b", (0..20).map(reference).collect()), |_| ());
    let segment = writer.finish().unwrap();
    let entry = SegmentEntry {
        sha256: Sha256([1; 32]),
        key: vec![2; 32],
        digest: Digest::of(&segment.plain),
        directories: segment.directories.concat(),
    };
    out.push(("volume_segment", segment.plain));
    out.push(("volume_index", cbor(&vec![entry])));
}

fn trees(out: &mut Corpus) {
    let common = Attributes { mode: 0o644, uid: 1000, mtime_s: -5, mtime_ns: 999, ..Attributes::default() };
    let acl = (b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0]);
    let all = [
        ("", common.clone()),
        (
            "a/sparse",
            Attributes {
                kind: NodeKind::File,
                size: 9000,
                extents: Some(vec![(0, 10), (4096, 4096)]),
                link: Some(77),
                marks: 1,
                xattrs: vec![acl, (b"user.a".to_vec(), b"v".to_vec())],
                ..common.clone()
            },
        ),
        ("link", Attributes { kind: NodeKind::Symlink, target: Some(b"../x".to_vec()), ..common.clone() }),
        ("tty", Attributes { kind: NodeKind::CharDevice, rdev: Some((4, 64)), ..common }),
    ];
    for (path, attributes) in all {
        let key = path_key(path.as_bytes());
        let mut input = vec![u8::try_from(key.len()).unwrap()];
        input.extend_from_slice(&key);
        encode_attributes(&attributes, &mut input).unwrap();
        out.push(("tree_entry", input));
    }
}

fn texts(files: &Files, out: &mut Corpus) {
    let names: std::collections::BTreeMap<&str, &String> =
        files.keys().map(|k| (k.split('/').next().unwrap(), k)).collect();
    out.extend(names.values().map(|k| ("layout", k.as_bytes().to_vec())));
    let hash = Sha256([0xab; 32]);
    let more = [layout::forgotten(3, &hash), layout::lost(&hash), layout::pending(7)];
    out.extend(more.map(|k| ("layout", k.into_bytes())));
    out.push(("identity", std::fs::read(crate::folder().join("identity.txt")).unwrap()));
    let document = hex::decode("302e020100300506032b657004220420").unwrap();
    let pem = lifeboat_format::crypto::sign::SigningKey::to_pem(&[document, vec![1; 32]].concat());
    out.push(("identity", pem.as_bytes().to_vec()));
    out.push(("identity", crate::content::signing_key("owner").verify_key().to_string().into_bytes()));
}
