//! A complete reader in memory: from the owner's key to every object, everything verified on the way.

use crate::content::CLUSTER;
use crate::write::Files;
use lifeboat_format::body::{Body, DomainKind, parse_object_key};
use lifeboat_format::chain::{Chain, Verdict};
use lifeboat_format::charter::{TrustedCharter, trusted_chain};
use lifeboat_format::crypto::derive::RunKey;
use lifeboat_format::crypto::open::{EpochIdentity, Identities};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::epoch::open_epoch;
use lifeboat_format::id::{ClusterName, Digest, Handle, Sha256};
use lifeboat_format::manifest::{Manifest, UnverifiedManifest};
use lifeboat_format::pack::{Header, Reference, Trailer};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::receipt::Receipt;
use lifeboat_format::sorted_map::{Page, parse_references};
use lifeboat_format::{FormatError, layout};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

/// Path of an object → its JSON.
pub(crate) type Objects = BTreeMap<String, Vec<u8>>;

fn cluster() -> ClusterName {
    CLUSTER.parse().unwrap()
}

pub(crate) fn charters(files: &Files, owner: &VerifyKey) -> Result<Vec<TrustedCharter>, FormatError> {
    let named = files.iter().filter(|(k, v)| layout::parse_charter(k).is_some_and(|n| n.1 == Sha256::of(v)));
    let all: Vec<Vec<u8>> = named.map(|(_, v)| v.clone()).collect();
    trusted_chain(&all, owner, &cluster())
}

/// The chain of manifests; the rest is junk.
pub(crate) fn manifests(files: &Files, charter: &TrustedCharter) -> Vec<Manifest> {
    let agents = &charter.charter().agents;
    let keys: Vec<VerifyKey> = agents.iter().map(|a| a.key).collect();
    let mut chain = Chain::new(agents, None);
    let slots = files.iter().filter_map(|(k, v)| Some((layout::parse_manifest(k)?, v)));
    let signed =
        slots.filter_map(|(seq, v)| UnverifiedManifest::parse(v).ok()?.verify(&keys, &cluster(), seq).ok());
    signed.filter(|m| chain.judge(m) == Verdict::Accepted).map(|m| m.manifest).collect()
}

pub(crate) fn receipts(files: &Files, charter: &TrustedCharter) -> Vec<Receipt> {
    let key = &charter.charter().receipt_key;
    let all = files.iter().filter(|(k, _)| layout::parse_receipt(k).is_some());
    all.filter_map(|(_, v)| Receipt::verify(v, key, &cluster()).ok()).collect()
}

pub(crate) fn epochs(files: &Files, charter: &TrustedCharter, by: &Identities) -> Vec<EpochIdentity> {
    let counts =
        |n: u64, h: &Sha256| charter.charter().epochs.iter().any(|e| e.n == n && e.sealed_sha256.contains(h));
    let sealed = files
        .iter()
        .filter(|(k, v)| layout::parse_epoch(k).is_some_and(|(n, h)| counts(n, &h) && h == Sha256::of(v)));
    sealed.filter_map(|(_, v)| open_epoch(v, by).ok()).collect()
}

fn run_key(epochs: &[EpochIdentity], sealed: &[u8]) -> RunKey {
    epochs.iter().find_map(|e| e.run_key(sealed).ok()).expect("an epoch opens the run key")
}

/// Opens every frame of a pack.
pub(crate) fn open_pack(
    bytes: &[u8],
    key: impl Fn(&[u8]) -> RunKey,
) -> Result<(Handle, Vec<Vec<u8>>), FormatError> {
    let header = Header::parse(bytes)?;
    let key = key(&header.sealed_run_key).pack_key(&header.handle);
    let last4 = &bytes[bytes.len().saturating_sub(4)..];
    let trailer = Trailer::parse(last4, bytes.len() as u64, &header)?;
    let directory = header.open_directory(&key, &trailer, trailer.of(bytes).to_vec())?;
    let mut frames = Vec::new();
    for f in directory.frames() {
        let range = usize::try_from(f.offset).unwrap()..usize::try_from(f.end()).unwrap();
        frames.push(header.open_frame(&key, f, bytes[range].to_vec())?);
    }
    Ok((header.handle, frames))
}

/// What kinds of structure a snapshot used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) inner_pages: usize,
    pub(crate) indirect: usize,
    pub(crate) chunked: usize,
    pub(crate) most_roots: usize,
}

/// The frames of the packs that one snapshot needs.
struct Chunks {
    packs: HashMap<Handle, Vec<Vec<u8>>>,
    shape: Cell<Shape>,
}

impl Chunks {
    fn load(files: &Files, manifest: &Manifest, epochs: &[EpochIdentity]) -> Self {
        let mut packs = HashMap::new();
        for set in &manifest.packs {
            let list = &files[&layout::list(&set.list)];
            assert_eq!(Sha256::of(list), set.list);
            let list = PackList::parse(list).unwrap();
            for i in set.bitmap.iter() {
                let entry = list.packs[i];
                let bytes = &files[&layout::pack(&entry.sha256)];
                assert_eq!((Sha256::of(bytes), bytes.len() as u64), (entry.sha256, entry.size));
                let (handle, frames) = open_pack(bytes, |sealed| run_key(epochs, sealed)).unwrap();
                assert_eq!(handle, entry.handle);
                assert!(packs.insert(handle, frames).is_none());
            }
        }
        Self { packs, shape: Cell::default() }
    }

    fn get(&self, r: &Reference) -> &[u8] {
        let chunk = &self.packs[&r.handle][r.frame as usize][r.offset as usize..][..r.length as usize];
        assert_eq!(Digest::of(chunk), r.digest);
        chunk
    }

    fn saw(&self, change: impl FnOnce(&mut Shape)) {
        let mut shape = self.shape.get();
        change(&mut shape);
        self.shape.set(shape);
    }

    fn walk(&self, page: &Reference, level: Option<u8>, visit: &mut dyn FnMut(&[u8], Vec<u8>)) {
        match Page::parse(self.get(page)).unwrap() {
            Page::Leaf(entries) => {
                assert!(level.is_none_or(|l| l == 0));
                for e in entries {
                    self.saw(|s| {
                        s.indirect += usize::from(e.indirect);
                        s.chunked += usize::from(e.references.len() > 1);
                    });
                    let list = |r: &Reference| parse_references(self.get(r)).unwrap();
                    let listed = e.indirect.then(|| e.references.iter().flat_map(list).collect());
                    let references: Vec<Reference> = listed.unwrap_or(e.references);
                    let long = references.iter().flat_map(|r| self.get(r)).copied().collect();
                    visit(e.key, if references.is_empty() { e.inline.to_vec() } else { long });
                }
            }
            Page::Inner { level: own, children } => {
                assert!(level.is_none_or(|l| l == own));
                self.saw(|s| s.inner_pages += 1);
                for (_, child) in &children {
                    self.walk(child, Some(own - 1), visit);
                }
            }
        }
    }
}

/// Every object of a snapshot.
pub(crate) fn objects(files: &Files, manifest: &Manifest, epochs: &[EpochIdentity]) -> (Objects, Shape) {
    let chunks = Chunks::load(files, manifest, epochs);
    let at = Reference::from(manifest.body.as_ref().unwrap());
    let body = Body::parse(chunks.get(&at), &manifest.cluster, &manifest.id).unwrap();
    let mut out = Objects::new();
    for domain in &body.domains {
        let folder = if domain.kind == DomainKind::Cluster { "_cluster" } else { &domain.namespace };
        let mut entries = 0;
        chunks.saw(|s| s.most_roots = s.most_roots.max(domain.roots.len()));
        for root in &domain.roots {
            chunks.walk(root, None, &mut |key, value| {
                let (kind, name) = parse_object_key(key).unwrap();
                entries += 1;
                let path = format!("objects/{folder}/{kind}/{}.json", file_stem(name));
                assert!(out.insert(path, value).is_none());
            });
        }
        assert_eq!(entries, domain.entries);
    }
    (out, chunks.shape.get())
}

/// A name that no file system takes is cut, with a piece of its hash.
fn file_stem(name: &str) -> String {
    if name.len() <= 250 {
        return name.to_owned();
    }
    format!("{}~{}", &name[..name.floor_char_boundary(233)], &Sha256::of(name.as_bytes()).to_hex()[..16])
}
