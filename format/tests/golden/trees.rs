//! The fixture of trees: one pack with a map of files of every kind, and the files of a send log that remembers it. Read
//! completely for ever, and written again to the same bytes.

use crate::content::{secret, seed, seed16};
use crate::read::open_pack;
use crate::write::Files;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, scope_alias};
use lifeboat_format::id::{Digest, Handle, PathHash, Sha256};
use lifeboat_format::pack::{PackBuilder, Reference};
use lifeboat_format::send_log::{self, FileRef, KnownChunk, KnownPack, LogRoot, SegmentRef};
use lifeboat_format::sorted_map::{MapBuilder, Page, PageSink, parse_references};
use lifeboat_format::tree::{Attributes, CHANGING, NodeKind, encode_attributes, path_of};
use lifeboat_format::volume_log::{self, Record, SegmentEntry, SegmentWriter, Stat, VolumeLog};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;

const DOMAIN: &str = "path/home";
/// Files are cut into chunks of this size, so that small ones have many.
const CHUNK: usize = 16;

struct File {
    path: Vec<u8>,
    attributes: Attributes,
    content: Vec<u8>,
}

fn file(path: impl Into<Vec<u8>>, attributes: Attributes, content: impl Into<Vec<u8>>) -> File {
    File { path: path.into(), attributes, content: content.into() }
}

/// Fixed for ever: the fixture follows from it.
fn files() -> Vec<File> {
    let of = |kind| Attributes {
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        mtime_s: 1_790_000_000,
        ..Attributes::default()
    };
    let sized = |size: usize| Attributes { size: size as u64, ..of(NodeKind::File) };
    let noise: Vec<u8> = (0_u32..2600).flat_map(|i| seed(&format!("noise {i}"))).collect();
    let acl = (b"system.posix_acl_access".to_vec(), hex::decode("0200000001000600ffffffff").unwrap());
    let xattrs =
        vec![(b"security.capability".to_vec(), vec![0, 0, 0, 2]), acl, (b"user.empty".to_vec(), vec![])];
    let directory = Attributes { mode: 0o1777, ..of(NodeKind::Directory) };
    let sparse = Attributes { extents: Some(vec![(0, 5), (4096, 40), (9000, 1)]), ..sized(10_000) };
    let linked = Attributes { link: Some(77), ..sized(5) };
    let mut all = vec![
        file("", Attributes { mode: 0o755, ..Attributes::default() }, ""),
        file("a", directory.clone(), ""),
        file("a/attributes", Attributes { xattrs, mode: 0o6755, marks: CHANGING, ..sized(4) }, "text"),
        file("a/b", directory, ""),
        file("a/b/first", linked.clone(), "links"),
        file("a/b/second", linked, "links"),
        file("a\u{1}", Attributes { mtime_s: -1, mtime_ns: 999_999_999, ..sized(0) }, ""),
        file(b"bytes\xff\n".to_vec(), sized(300), &noise[..300]),
        file("fifo", of(NodeKind::Fifo), ""),
        file("hole", Attributes { extents: Some(vec![]), ..sized(1 << 40) }, ""),
        file("large", sized(80_000), &noise[..80_000]),
        file(
            "link",
            Attributes { mode: 0o777, target: Some(b"../\xfe".to_vec()), ..of(NodeKind::Symlink) },
            "",
        ),
        file("null", Attributes { rdev: Some((1, 3)), ..of(NodeKind::CharDevice) }, ""),
        file("disk", Attributes { rdev: Some((259, 1 << 20)), ..of(NodeKind::BlockDevice) }, ""),
        file("socket", of(NodeKind::Socket), ""),
        file("sparse", sparse, &noise[1000..1046]),
    ];
    for i in 0..1500 {
        all.push(file(format!("many/{i:04}"), sized(8), &seed(&format!("many {i}"))[..8]));
    }
    all.push(file("many", of(NodeKind::Directory), ""));
    all.sort_by_key(|f| lifeboat_format::tree::path_key(&f.path));
    all
}

struct Sink(PackBuilder, Vec<Reference>);

impl PageSink for Sink {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        let reference = self.0.append(chunk);
        self.1.push(reference);
        Ok(reference)
    }
}

fn run_key() -> RunKey {
    RunKey(secret("tree run key"))
}

/// Every file of the fixture, by name.
pub(crate) fn written() -> Files {
    let keys = DomainKeys::new(&secret("dedup"), DOMAIN);
    let mut content = PackBuilder::new(Handle(seed16("tree handle")), &run_key(), b"sealed".to_vec());
    let pages = PackBuilder::new(Handle(seed16("pages handle")), &run_key(), b"sealed".to_vec());
    let (mut map, mut sink, mut log) = (MapBuilder::new(), Sink(pages, Vec::new()), SegmentWriter::new());
    let (mut listed, mut segments) = (String::new(), Vec::new());
    for (f, n) in files().iter().zip(0..) {
        let mut inline = Vec::new();
        encode_attributes(&f.attributes, &mut inline).unwrap();
        let references: Vec<Reference> = f.content.chunks(CHUNK).map(|c| content.append(c)).collect();
        let before = sink.1.len();
        let key = lifeboat_format::tree::path_key(&f.path);
        map.push(&keys, &key, &inline, &references, &mut sink).unwrap();
        let hash = Sha256::of(&f.content);
        writeln!(listed, "{} {} {hash}", hex::encode(&f.path), hex::encode(&inline)).unwrap();
        let lists = if references.len() > 16 { sink.1[before..].to_vec() } else { vec![] };
        let record = record(&keys, f, n, references, lists);
        log.record(&parent(&keys, &f.path), &record, |s| segments.push(s));
    }
    let root = map.finish(&keys, &mut sink).unwrap().unwrap();
    segments.extend(log.finish());
    let (content, pages) = (content.finish(), sink.0.finish());
    let mut files = Files::new();
    let known: Vec<KnownPack> = [(&content.sha256, content.handle), (&pages.sha256, pages.handle)]
        .map(|(sha256, handle)| KnownPack {
            handle,
            sha256: *sha256,
            size: 1 << 20,
            plain_bytes: 1 << 20,
            list: Sha256(seed("tree list")),
            index: 0,
            noted: 1_790_000_000,
            domain: scope_alias(&secret("dedup"), DOMAIN),
        })
        .to_vec();
    logs(&mut files, &keys, &segments, &sink.1, &known);
    files.insert("content".to_owned(), content.bytes);
    files.insert("pages".to_owned(), pages.bytes);
    files.insert("root".to_owned(), minicbor::to_vec(root).unwrap());
    files.insert("entries.txt".to_owned(), listed.into_bytes());
    files
}

fn record(
    keys: &DomainKeys,
    f: &File,
    inode: u64,
    references: Vec<Reference>,
    lists: Vec<Reference>,
) -> Record {
    let a = &f.attributes;
    let mtime = (a.mtime_s, a.mtime_ns);
    let stat = Stat { kind: a.kind, size: a.size, mtime, ctime: (1_790_000_001, 5), inode };
    Record {
        name: keys.path_hash(&f.path),
        fingerprint: stat.fingerprint(keys),
        flags: u8::from(!a.xattrs.is_empty()),
        extents: a.extents.clone(),
        references,
        lists,
    }
}

fn parent(keys: &DomainKeys, path: &[u8]) -> PathHash {
    let at = path.iter().rposition(|b| *b == b'/');
    keys.path_hash(at.map_or(&[], |at| &path[..at]))
}

/// Adds the files of the log, sealed.
fn logs(
    files: &mut Files,
    keys: &DomainKeys,
    segments: &[volume_log::CutSegment],
    pages: &[Reference],
    packs: &[KnownPack],
) {
    let key = |name: &str| secret(&format!("tree log {name}"));
    let file = |name: &str, sealed: &[u8], digest| FileRef {
        sha256: Sha256::of(sealed),
        key: key(name).expose().to_vec(),
        digest,
    };
    let mut entries = Vec::new();
    for (i, segment) in segments.iter().enumerate() {
        let name = format!("segment-{i}");
        let sealed = volume_log::seal_segment(&key(&name), &segment.plain);
        let FileRef { sha256, key, digest } = file(&name, &sealed, Digest::of(&segment.plain));
        entries.push(SegmentEntry { sha256, key, digest, directories: segment.directories.concat() });
        files.insert(name, sealed);
    }
    let index = volume_log::seal_index(&key("index"), &entries);
    let mut chunks: Vec<KnownChunk> =
        pages.iter().map(|r| KnownChunk { id: keys.chunk_id(&r.digest), reference: *r }).collect();
    chunks.sort_unstable_by_key(|c| c.id);
    let known = send_log::seal_segment(&key("pages"), &chunks);
    let sealed_packs = send_log::seal_packs(&key("packs"), packs);
    let page_file =
        SegmentRef { sha256: Sha256::of(&known), key: key("pages").expose().to_vec(), first: chunks[0].id };
    let root = LogRoot {
        packs: vec![],
        segments: vec![],
        pack_files: vec![file("packs", &sealed_packs, send_log::content(packs))],
        volumes: vec![VolumeLog {
            domain: scope_alias(&secret("dedup"), DOMAIN),
            started: 1_790_000_000,
            index: vec![file("index", &index, send_log::content(&entries))],
            pages: vec![page_file],
            sparse: vec![(packs[0].handle, 4000)],
            tree: None,
        }],
    };
    files.insert("log-root".to_owned(), send_log::seal_root(&key("root"), &root));
    files.extend([
        ("index".to_owned(), index),
        ("known-pages".to_owned(), known),
        ("packs".to_owned(), sealed_packs),
    ]);
}

/// What a reader finds in a fixture: path → attributes and content; and how many lists, inner pages.
struct Reader<'a> {
    frames: BTreeMap<Handle, Vec<Vec<u8>>>,
    out: &'a mut Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    lists: usize,
    inner: usize,
}

impl Reader<'_> {
    fn chunk(&self, r: &Reference) -> &[u8] {
        let chunk = &self.frames[&r.handle][r.frame as usize][r.offset as usize..][..r.length as usize];
        assert_eq!(Digest::of(chunk), r.digest);
        chunk
    }

    fn walk(&mut self, page: &Reference) {
        let bytes = self.chunk(page).to_vec();
        match Page::parse(&bytes).unwrap() {
            Page::Inner { children, .. } => {
                self.inner += 1;
                children.iter().for_each(|(_, child)| self.walk(child));
            }
            Page::Leaf(entries) => {
                for e in entries {
                    let list = |r: &Reference| parse_references(self.chunk(r)).unwrap();
                    let listed = e.indirect.then(|| e.references.iter().flat_map(list).collect());
                    self.lists += if e.indirect { e.references.len() } else { 0 };
                    let references: Vec<Reference> = listed.unwrap_or(e.references);
                    let content = references.iter().flat_map(|r| self.chunk(r)).copied().collect();
                    self.out.push((path_of(e.key).unwrap(), e.inline.to_vec(), content));
                }
            }
        }
    }
}

#[test]
fn the_fixture_of_trees_is_read_completely() {
    let stored = crate::tree_fixture();
    let mut frames = BTreeMap::new();
    for name in ["content", "pages"] {
        let (handle, opened) = open_pack(&stored[name], |_| run_key()).unwrap();
        frames.insert(handle, opened);
    }
    let root: Reference = minicbor::decode(&stored["root"]).unwrap();
    let mut found = Vec::new();
    let mut reader = Reader { frames, out: &mut found, lists: 0, inner: 0 };
    reader.walk(&root);
    assert!(reader.inner >= 1 && reader.lists == 3, "{} lists, {} inner pages", reader.lists, reader.inner);
    let wanted = files();
    assert_eq!(found.len(), wanted.len());
    let mut listed = String::new();
    for ((path, inline, content), f) in found.iter().zip(&wanted) {
        assert_eq!((path, content), (&f.path, &f.content));
        assert_eq!(Attributes::parse(inline).unwrap(), f.attributes, "{}", path.escape_ascii());
        let hash = Sha256::of(content);
        writeln!(listed, "{} {} {hash}", hex::encode(path), hex::encode(inline)).unwrap();
    }
    assert_eq!(listed.as_bytes(), stored["entries.txt"]);
}

#[test]
fn the_log_of_the_fixture_remembers_the_tree() {
    let stored = crate::tree_fixture();
    let keys = DomainKeys::new(&secret("dedup"), DOMAIN);
    let open = |name: &str| (secret(&format!("tree log {name}")), &stored[name]);
    let root = send_log::open_root(&secret("tree log root"), &stored["log-root"]).unwrap();
    let volume = &root.volumes[0];
    let (key, sealed) = open("index");
    assert_eq!(volume.index[0].sha256, Sha256::of(sealed));
    let entries = volume_log::open_index(&key, sealed).unwrap();
    let mut names = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let sealed = &stored[&format!("segment-{i}")];
        assert_eq!(entry.sha256, Sha256::of(sealed));
        let key = lifeboat_format::crypto::derive::Secret32::new(entry.key.clone().try_into().unwrap());
        for part in volume_log::open_segment(&key, sealed).unwrap() {
            names.extend(part.records.into_iter().map(|r| (r.name, r.references.len())));
        }
    }
    let mut counted: Vec<(PathHash, usize)> = Vec::new();
    for (name, references) in names {
        match counted.last_mut() {
            Some((last, count)) if *last == name => *count += references,
            _ => counted.push((name, references)),
        }
    }
    let wanted: Vec<(PathHash, usize)> =
        files().iter().map(|f| (keys.path_hash(&f.path), f.content.len().div_ceil(CHUNK))).collect();
    assert_eq!(counted, wanted);
    let (key, sealed) = open("packs");
    assert_eq!(send_log::open_packs(&key, sealed).unwrap().len(), 2);
    let known = send_log::open_segment(&secret("tree log pages"), &stored["known-pages"]).unwrap();
    assert_eq!(known[0].id, volume.pages[0].first);
}

#[test]
fn the_seeded_tree_is_written_to_the_same_bytes() {
    let (stored, made) = (crate::tree_fixture(), written());
    let differ: Vec<&String> =
        made.iter().filter(|(k, v)| stored.get(*k) != Some(v)).map(|(k, _)| k).collect();
    assert!(differ.is_empty() && stored.len() == made.len(), "written otherwise: {differ:?}");
}
