//! Turns the domains' chunks into packs: looks each chunk up among those that may be reused, seals what is new.
//! Knows nothing of Kubernetes; its output is packs to send and, at the end, what the run needs and may name.

use lifeboat_format::chunker::{self, ChunkSizes};
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, Secret32, scope_alias};
use lifeboat_format::crypto::random;
use lifeboat_format::id::{ChunkId, Digest, Handle, ScopeAlias};
use lifeboat_format::limits;
use lifeboat_format::pack::{PackBuilder, Reference, SealedPack};
use lifeboat_format::send_log::KnownChunk;
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

/// Bytes in open packs of all domains together; over it the fullest is closed.
const OPEN_BYTES_MAX: usize = 48 << 20;
/// How often they are counted, bytes.
const COUNT_EVERY: usize = 1 << 20;

/// What a run may reuse: chunk → where it is. Only chunks in packs that rules 2 and 3 allow.
#[derive(Debug, Default)]
pub struct Reusable(pub HashMap<ChunkId, Reference>);

/// A pack just sealed, and the domain whose chunks it holds.
#[derive(Debug)]
pub struct NewPack {
    pub sealed: SealedPack,
    pub domain: ScopeAlias,
    /// None for Secrets: never deduplicated.
    pub chunks: Vec<KnownChunk>,
}

/// What one domain became.
#[derive(Debug, Clone, Default)]
pub struct FinishedDomain {
    pub roots: Vec<Reference>,
    pub entries: u64,
    pub bytes: u64,
}

/// Everything of a run that becomes packs.
pub struct Packer {
    run_key: RunKey,
    sealed_run_key: Vec<u8>,
    dedup_key: Secret32,
    sizes: ChunkSizes,
    reusable: Reusable,
    /// Bytes pushed since the open packs were last counted.
    uncounted: usize,
    domains: HashMap<String, Domain>,
    /// Sealed packs that nobody has taken yet.
    pub outbox: Vec<NewPack>,
    /// Chunks that this snapshot needs, reused and new, Secrets aside.
    needed: HashMap<ChunkId, Reference>,
}

struct Domain {
    keys: DomainKeys,
    alias: ScopeAlias,
    dedup: bool,
    map: MapBuilder,
    open: Option<PackBuilder>,
    open_chunks: Vec<KnownChunk>,
    /// Chunks of this run, so that one run stores nothing twice either.
    own: HashMap<ChunkId, Reference>,
    finished: FinishedDomain,
}

/// The sink of one domain's chunks, while the packer is borrowed for it.
struct Sink<'a> {
    run_key: &'a RunKey,
    sealed_run_key: &'a [u8],
    reusable: &'a Reusable,
    needed: &'a mut HashMap<ChunkId, Reference>,
    outbox: &'a mut Vec<NewPack>,
    keys: DomainKeys,
    alias: ScopeAlias,
    dedup: bool,
    open: &'a mut Option<PackBuilder>,
    open_chunks: &'a mut Vec<KnownChunk>,
    own: &'a mut HashMap<ChunkId, Reference>,
}

impl PageSink for Sink<'_> {
    type Error = Infallible;

    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        if !self.dedup {
            return Ok(self.append(chunk));
        }
        let digest = Digest::of(chunk);
        let id = self.keys.chunk_id(&digest);
        let known = self.own.get(&id).or_else(|| self.reusable.0.get(&id));
        if let Some(reference) = known.copied().filter(|r| r.digest == digest) {
            self.needed.insert(id, reference);
            return Ok(reference);
        }
        let reference = self.append(chunk);
        self.own.insert(id, reference);
        self.needed.insert(id, reference);
        // `append` may have just closed the pack that the chunk is in: then it belongs to that one.
        let entry = KnownChunk { id, reference };
        match self.open {
            Some(open) if open.handle() == reference.handle => self.open_chunks.push(entry),
            _ => {
                let pack = self.outbox.iter_mut().rev().find(|p| p.sealed.handle == reference.handle);
                pack.expect("a pack just closed is in the outbox").chunks.push(entry);
            }
        }
        Ok(reference)
    }
}

impl Sink<'_> {
    fn append(&mut self, chunk: &[u8]) -> Reference {
        let open = self.open.get_or_insert_with(|| {
            PackBuilder::new(Handle(random::bytes()), self.run_key, self.sealed_run_key.to_vec())
        });
        let reference = open.append(chunk);
        if open.is_full() {
            self.close();
        }
        reference
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let chunks = std::mem::take(self.open_chunks);
            self.outbox.push(NewPack { sealed: open.finish(), domain: self.alias, chunks });
        }
    }

    /// A value longer than a page takes becomes chunks of its own.
    fn put_value(&mut self, value: &[u8], sizes: ChunkSizes) -> Vec<Reference> {
        chunker::cut(value, sizes).map(|c| self.put(c).unwrap_or_else(|never| match never {})).collect()
    }
}

impl Packer {
    #[must_use]
    pub fn new(
        run_key: RunKey,
        sealed_run_key: Vec<u8>,
        dedup_key: Secret32,
        sizes: ChunkSizes,
        reusable: Reusable,
    ) -> Self {
        Self {
            run_key,
            sealed_run_key,
            dedup_key,
            sizes,
            reusable,
            uncounted: 0,
            domains: HashMap::new(),
            outbox: Vec::new(),
            needed: HashMap::new(),
        }
    }

    /// The run key as it stands in every pack and in the list.
    #[must_use]
    pub fn sealed_run_key(&self) -> &[u8] {
        &self.sealed_run_key
    }

    /// Adds one value to a domain; keys of a domain may come in any order, best ascending.
    pub fn push(&mut self, domain: &str, dedup: bool, key: &[u8], value: &[u8]) {
        let sizes = self.sizes;
        let (mut sink, map, finished) = self.sink(domain, dedup);
        let (inline, references) = if value.len() <= limits::INLINE_MAX {
            (value, Vec::new())
        } else {
            (&[][..], sink.put_value(value, sizes))
        };
        // Keys that do not ascend begin another map; readers take the union.
        if !map.accepts(key) {
            close_map(map, &mut sink, finished);
        }
        let keys = sink.keys.clone();
        map.push(&keys, key, inline, &references, &mut sink).unwrap_or_else(|never| match never {});
        finished.entries += 1;
        finished.bytes += value.len() as u64;
        self.uncounted += value.len();
        if self.uncounted >= COUNT_EVERY {
            self.uncounted = 0;
            self.bound_open_packs();
        }
    }

    /// Puts one chunk into a domain without a map: the body.
    pub fn put_chunk(&mut self, domain: &str, chunk: &[u8]) -> Reference {
        let (mut sink, _, _) = self.sink(domain, false);
        sink.put(chunk).unwrap_or_else(|never| match never {})
    }

    /// Closes a domain's maps and packs.
    pub fn finish(&mut self, domain: &str) -> FinishedDomain {
        let (mut sink, map, finished) = self.sink(domain, true);
        close_map(map, &mut sink, finished);
        sink.close();
        self.domains.remove(domain).map(|d| d.finished).unwrap_or_default()
    }

    /// Chunks that the snapshot needs, for the send log.
    pub fn needed(&self) -> impl Iterator<Item = (&ChunkId, &Reference)> {
        self.needed.iter()
    }

    /// Packs that the snapshot needs and this run did not make.
    #[must_use]
    pub fn reused_packs(&self) -> HashSet<Handle> {
        let allowed: HashSet<Handle> = self.reusable.0.values().map(|r| r.handle).collect();
        self.needed.values().map(|r| r.handle).filter(|h| allowed.contains(h)).collect()
    }

    fn sink(&mut self, domain: &str, dedup: bool) -> (Sink<'_>, &mut MapBuilder, &mut FinishedDomain) {
        if !self.domains.contains_key(domain) {
            let new = Domain::new(&self.dedup_key, domain, dedup);
            self.domains.insert(domain.to_owned(), new);
        }
        let d = self.domains.get_mut(domain).expect("it was just inserted");
        let sink = Sink {
            run_key: &self.run_key,
            sealed_run_key: &self.sealed_run_key,
            reusable: &self.reusable,
            needed: &mut self.needed,
            outbox: &mut self.outbox,
            keys: d.keys.clone(),
            alias: d.alias,
            dedup: d.dedup,
            open: &mut d.open,
            open_chunks: &mut d.open_chunks,
            own: &mut d.own,
        };
        (sink, &mut d.map, &mut d.finished)
    }

    fn bound_open_packs(&mut self) {
        let open = |d: &Domain| d.open.as_ref().map_or(0, PackBuilder::len);
        let total: usize = self.domains.values().map(open).sum();
        if total <= OPEN_BYTES_MAX {
            return;
        }
        let fullest = self.domains.iter().max_by_key(|(_, d)| open(d)).map(|(name, _)| name.clone());
        if let Some(name) = fullest {
            self.sink(&name, true).0.close();
        }
    }
}

impl Domain {
    fn new(dedup_key: &Secret32, name: &str, dedup: bool) -> Self {
        Self {
            keys: DomainKeys::new(dedup_key, name),
            alias: domain_alias(dedup_key, name),
            dedup,
            map: MapBuilder::new(),
            open: None,
            open_chunks: Vec::new(),
            own: HashMap::new(),
            finished: FinishedDomain::default(),
        }
    }
}

/// The keyed alias under which the send log knows a domain.
#[must_use]
pub fn domain_alias(dedup_key: &Secret32, domain: &str) -> ScopeAlias {
    scope_alias(dedup_key, domain)
}

fn close_map(map: &mut MapBuilder, sink: &mut Sink<'_>, finished: &mut FinishedDomain) {
    let keys = sink.keys.clone();
    let root = std::mem::take(map).finish(&keys, sink).unwrap_or_else(|never| match never {});
    finished.roots.extend(root);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packer(reusable: Reusable) -> Packer {
        let key = Secret32::new([1; 32]);
        Packer::new(RunKey(Secret32::new([2; 32])), vec![0; 250], key, ChunkSizes::default(), reusable)
    }

    fn fill(p: &mut Packer, objects: u32) {
        for i in 0..objects {
            let key = format!("configmap\0name-{i:06}");
            p.push("objects/a", true, key.as_bytes(), format!("value {i}").repeat(50).as_bytes());
        }
    }

    #[test]
    fn what_is_known_is_not_stored_again() {
        let mut first = packer(Reusable::default());
        fill(&mut first, 2_000);
        let done = first.finish("objects/a");
        assert_eq!((done.entries, done.roots.len()), (2_000, 1));
        let log: HashMap<ChunkId, Reference> =
            first.outbox.iter().flat_map(|p| &p.chunks).map(|c| (c.id, c.reference)).collect();
        assert_eq!(log.len(), first.needed().count());
        let mut second = packer(Reusable(log));
        fill(&mut second, 2_000);
        assert_eq!(second.finish("objects/a").roots, done.roots);
        assert!(second.outbox.is_empty());
        assert_eq!(second.reused_packs().len(), first.outbox.len());
    }

    #[test]
    fn secrets_are_sealed_anew_and_unordered_keys_make_more_maps() {
        let mut p = packer(Reusable::default());
        for key in ["b", "c", "a", "d"] {
            p.push("secrets/a", false, key.as_bytes(), b"same");
        }
        assert_eq!(p.finish("secrets/a").roots.len(), 2);
        assert_eq!(p.needed().count(), 0);
        assert!(p.outbox[0].chunks.is_empty());
    }

    #[test]
    fn open_packs_are_bounded() {
        let mut p = packer(Reusable::default());
        let mut x = 1_u64;
        for domain in 0..8 {
            for i in 0..10 {
                let noise: Vec<u8> = (0..1 << 20)
                    .map(|_| {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        x.to_be_bytes()[1]
                    })
                    .collect();
                p.push(&format!("objects/{domain}"), true, format!("k{i}").as_bytes(), &noise);
            }
        }
        let open: usize = p.domains.values().filter_map(|d| d.open.as_ref()).map(PackBuilder::len).sum();
        assert!(open <= OPEN_BYTES_MAX + COUNT_EVERY, "{open}");
        assert!(!p.outbox.is_empty());
    }
}
