//! Trees stored through a sink in memory and read back from its packs.

mod changes;
mod hostile;
mod memory;
mod random;
mod simple;

use super::*;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{Handle, PathHash};
use lifeboat_format::pack::{Header, Reference, Trailer};
use lifeboat_format::sorted_map::{Page, parse_references};
use lifeboat_format::tree::{self, Attributes};
use lifeboat_format::volume_log::Record;
use memory::{Kept, Records};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;

/// Packs as they were taken.
#[derive(Default)]
pub struct MemorySink(Mutex<Vec<NewPack>>);

impl PackSink for MemorySink {
    fn take(&self, pack: NewPack) -> Result<(), SinkClosed> {
        self.0.lock().unwrap().push(pack);
        Ok(())
    }
}

/// Plaintext frames of all packs of all runs so far.
#[derive(Default)]
pub struct Opened {
    frames: HashMap<(Handle, u32), Vec<u8>>,
    packs: usize,
}

pub fn keys() -> TreeKeys {
    keys_with(ChunkSizes { min: 8 << 10, average: 32 << 10, max: 128 << 10 })
}

pub fn keys_with(sizes: ChunkSizes) -> TreeKeys {
    TreeKeys {
        run: RunKey(Secret32::new([1; 32])),
        sealed_run_key: vec![3; 250],
        domain: DomainKeys::new(&Secret32::new([2; 32]), "path/test"),
        alias: ScopeAlias([4; 16]),
        sizes,
    }
}

impl Opened {
    fn add(&mut self, packs: Vec<NewPack>) {
        for pack in packs {
            self.packs += 1;
            let bytes = &pack.sealed.bytes;
            assert_eq!(lifeboat_format::id::Sha256::of(bytes), pack.sealed.sha256);
            assert!(bytes.len() <= lifeboat_format::limits::PACK_TARGET);
            let header = Header::parse(bytes).unwrap();
            let key = keys().run.pack_key(&header.handle);
            let trailer = Trailer::parse(&bytes[bytes.len() - 4..], bytes.len() as u64, &header).unwrap();
            let directory = header.open_directory(&key, &trailer, trailer.of(bytes).to_vec()).unwrap();
            for (n, entry) in directory.frames().iter().enumerate() {
                let range = usize::try_from(entry.offset).unwrap()..usize::try_from(entry.end()).unwrap();
                let plain = header.open_frame(&key, entry, bytes[range].to_vec()).unwrap();
                self.frames.insert((header.handle, u32::try_from(n).unwrap()), plain);
            }
            for chunk in &pack.chunks {
                assert_eq!(keys().domain.chunk_id(&chunk.reference.digest), chunk.id);
                self.chunk(&chunk.reference);
            }
        }
    }

    pub fn chunk(&self, r: &Reference) -> &[u8] {
        let frame = &self.frames[&(r.handle, r.frame)];
        let bytes = &frame[r.offset as usize..(r.offset + r.length) as usize];
        assert_eq!(lifeboat_format::id::Digest::of(bytes), r.digest);
        bytes
    }

    fn page(&self, page: &Reference, out: &mut Vec<(Vec<u8>, Attributes, Vec<u8>)>) {
        match Page::parse(self.chunk(page)).unwrap() {
            Page::Inner { children, .. } => children.iter().for_each(|(_, child)| self.page(child, out)),
            Page::Leaf(entries) => {
                for e in entries {
                    let lists = e.references.iter().flat_map(|r| parse_references(self.chunk(r)).unwrap());
                    let all: Vec<Reference> = if e.indirect { lists.collect() } else { e.references.clone() };
                    let content = all.iter().flat_map(|r| self.chunk(r)).copied().collect();
                    out.push((e.key.to_vec(), Attributes::parse(e.inline).unwrap(), content));
                }
            }
        }
    }
}

/// A tree as it was read back: path → attributes and content, holes filled.
pub type Read = BTreeMap<Vec<u8>, (Attributes, Vec<u8>)>;

/// Runs one after the other over one volume.
#[derive(Default)]
pub struct Volume {
    pub opened: Opened,
    pub kept: Kept,
    pub last_packs: usize,
}

impl Volume {
    pub fn store(&mut self, root: &Path, options: &TreeOptions) -> StoredTree {
        let mut records = Records::default();
        let sink = MemorySink::default();
        let mut memory = self.kept.memory();
        let stored = store_tree(
            root,
            TreeRun {
                options,
                keys: &keys(),
                memory: &mut memory,
                past: &self.kept,
                packs: &sink,
                records: &mut records,
                progress: &TreeProgress::default(),
                cancel: &AtomicBool::new(false),
            },
        )
        .unwrap();
        let packs = sink.0.into_inner().unwrap();
        self.last_packs = packs.len();
        self.kept.learn(records, &packs);
        self.opened.add(packs);
        stored
    }

    pub fn read(&self, stored: &StoredTree) -> Read {
        let mut entries = Vec::new();
        self.opened.page(&stored.root.unwrap(), &mut entries);
        assert!(entries.windows(2).all(|w| w[0].0 < w[1].0), "keys ascend");
        assert_eq!(entries.len() as u64, stored.entries);
        let path = |key: &[u8]| tree::path_of(key).unwrap();
        entries.into_iter().map(|(key, a, content)| (path(&key), fill_holes(a, content))).collect()
    }
}

fn fill_holes(a: Attributes, content: Vec<u8>) -> (Attributes, Vec<u8>) {
    assert_eq!(a.content_len(), content.len() as u64);
    let Some(extents) = &a.extents else { return (a, content) };
    // Of a file that is mostly hole only the content is looked at.
    if a.size > 64 << 20 {
        return (a, content);
    }
    let mut whole = vec![0; usize::try_from(a.size).unwrap()];
    let mut at = 0;
    for (offset, length) in
        extents.iter().map(|(o, l)| (usize::try_from(*o).unwrap(), usize::try_from(*l).unwrap()))
    {
        whole[offset..offset + length].copy_from_slice(&content[at..at + length]);
        at += length;
    }
    (a, whole)
}

/// What is on the disk, as it should come back.
pub fn on_disk(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut out = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    out.insert(Vec::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            out.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), content);
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    out
}

/// Bytes that do not repeat and do not compress.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_be_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Asserts that a stored tree is what is on the disk.
pub fn assert_same(volume: &Volume, stored: &StoredTree, root: &Path) {
    let read = volume.read(stored);
    let disk = on_disk(root);
    assert_eq!(read.keys().collect::<Vec<_>>(), disk.keys().collect::<Vec<_>>());
    for (path, content) in disk {
        assert!(read[&path].1 == content, "{}", path.escape_ascii());
    }
}

/// The file system's time.
pub fn now(folder: &Path) -> jiff::Timestamp {
    let modified =
        tempfile::tempfile_in(folder.parent().unwrap()).unwrap().metadata().unwrap().modified().unwrap();
    jiff::Timestamp::try_from(modified).unwrap()
}
