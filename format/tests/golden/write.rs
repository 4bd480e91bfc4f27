//! The seeded writer: every key, handle and nonce follows from a label, so that it writes the same bytes every time.
//! What age seals is random, and is taken as it is.

use crate::content::{self, CLUSTER, Domain, secret, seed, seed16, signing_key};
use jiff::Timestamp;
use lifeboat_format::body::{Body, DomainEntry, DomainKind, domain_name};
use lifeboat_format::charter::{self, AgentKey, Charter, Epoch, Policy};
use lifeboat_format::chunker::{self, ChunkSizes};
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, labelled, scope_alias};
use lifeboat_format::id::{Digest, Handle, RunId, ScopeAlias, Sha256, SnapshotId};
use lifeboat_format::manifest::{
    self, Bitmap, Carry, Counts, Coverage, LogRef, Manifest, PackSet, RunResult,
};
use lifeboat_format::pack::{PackBuilder, Reference};
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::receipt::{self, Receipt};
use lifeboat_format::send_log::{self, KnownChunk, KnownPack, LogRoot, SegmentRef, UploadPiece};
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;

/// Small, so that values of 100 KB have several chunks.
const SIZES: ChunkSizes = ChunkSizes { min: 4 << 10, average: 16 << 10, max: 64 << 10 };

/// Path in the cluster's folder → bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What age sealed when the fixture was made.
pub(crate) struct Sealed {
    /// Public half and sealed private half of epochs 1 and 2.
    pub(crate) epochs: [(String, Vec<u8>); 2],
    /// The run keys of snapshots 1, 2, 3.
    pub(crate) run_keys: [Vec<u8>; 3],
}

/// The run key of snapshot `seq`, before age.
pub(crate) fn run_key(seq: u64) -> RunKey {
    RunKey(secret(&format!("run key {seq}")))
}

/// 02:00 on day `seq`.
fn time(seq: u64, minute: i64) -> Timestamp {
    let day = i64::try_from(seq).unwrap();
    Timestamp::from_second(1_790_000_000 / 86_400 * 86_400 + day * 86_400 + 7_200 + minute * 60).unwrap()
}

/// The whole repository, as a vault would hold it.
pub(crate) fn repository(sealed: &Sealed) -> Files {
    let mut writer = Writer { files: Files::new(), known: HashMap::new(), packs: Vec::new(), head: None };
    let first = writer.charter(sealed, 1, None);
    writer.charter(sealed, 2, Some(first));
    let mut receipt = None;
    for seq in 1..=3 {
        let manifest = writer.snapshot(sealed, seq);
        receipt = Some(writer.receipt(&manifest, receipt));
        writer.head = Some(manifest);
    }
    writer.files
}

struct Writer {
    files: Files,
    /// Chunks of all snapshots so far, by domain.
    known: HashMap<(String, Digest), Reference>,
    packs: Vec<(String, KnownPack)>,
    head: Option<Manifest>,
}

/// One run while it goes on.
struct Run<'a> {
    seq: u64,
    sealed: &'a [u8],
    known: &'a mut HashMap<(String, Digest), Reference>,
    needed: HashSet<Handle>,
    chunks: Vec<KnownChunk>,
    new: Vec<(String, PackEntry, u64)>,
    files: &'a mut Files,
}

struct Sink<'r, 'a> {
    run: &'r mut Run<'a>,
    domain: String,
    dedup: bool,
    keys: DomainKeys,
    open: Option<PackBuilder>,
}

impl PageSink for Sink<'_, '_> {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        let digest = Digest::of(chunk);
        let at = (self.domain.clone(), digest);
        let known = self.run.known.get(&at).copied().filter(|_| self.dedup);
        let reference = known.unwrap_or_else(|| {
            let (seq, domain, sealed) = (self.run.seq, &self.domain, self.run.sealed);
            let new = || {
                let handle = Handle(seed16(&format!("handle {seq} {domain}")));
                PackBuilder::new(handle, &run_key(seq), sealed.to_vec())
            };
            self.open.get_or_insert_with(new).append(chunk)
        });
        self.run.needed.insert(reference.handle);
        if self.dedup {
            self.run.known.insert(at, reference);
            self.run.chunks.push(KnownChunk { id: self.keys.chunk_id(&digest), reference });
        }
        Ok(reference)
    }
}

impl<'a> Run<'a> {
    fn sink<'r>(&'r mut self, domain: &str, dedup: bool) -> Sink<'r, 'a> {
        let keys = DomainKeys::new(&secret("dedup"), domain);
        Sink { run: self, domain: domain.to_owned(), dedup, keys, open: None }
    }
}

impl Sink<'_, '_> {
    fn finish(self) {
        let Some(open) = self.open else { return };
        let pack = open.finish();
        let entry = PackEntry { sha256: pack.sha256, size: pack.bytes.len() as u64, handle: pack.handle };
        self.run.new.push((self.domain, entry, pack.plain_bytes));
        self.run.files.insert(layout::pack(&pack.sha256), pack.bytes);
    }

    fn domain(mut self, domain: &Domain) -> DomainEntry {
        let mut map = MapBuilder::new();
        let (mut roots, mut bytes) = (Vec::new(), 0);
        let keys = self.keys.clone();
        for object in &domain.objects {
            if !map.accepts(&object.key) {
                roots.extend(std::mem::take(&mut map).finish(&keys, &mut self).unwrap());
            }
            let long = object.json.len() > limits::INLINE_MAX;
            let (inline, cuts): (&[u8], Vec<&[u8]>) = if long {
                (&[], chunker::cut(&object.json, SIZES).collect())
            } else {
                (&object.json, vec![])
            };
            let references: Vec<Reference> = cuts.into_iter().map(|c| self.put(c).unwrap()).collect();
            map.push(&keys, &object.key, inline, &references, &mut self).unwrap();
            bytes += object.json.len() as u64;
        }
        roots.extend(map.finish(&keys, &mut self).unwrap());
        self.finish();
        let alias = (domain.kind != DomainKind::Cluster).then(|| alias(domain.namespace));
        let namespace = domain.namespace.to_owned();
        let entries = domain.objects.len() as u64;
        DomainEntry { kind: domain.kind, namespace, name: String::new(), alias, roots, entries, bytes }
    }
}

fn alias(namespace: &str) -> ScopeAlias {
    scope_alias(&secret("alias"), &format!("ns/{namespace}"))
}

impl Writer {
    fn charter(&mut self, sealed: &Sealed, n: u64, prev: Option<Sha256>) -> Sha256 {
        let owner = signing_key("owner");
        let epoch = |(number, (recipient, file)): (u64, &(String, Vec<u8>))| Epoch {
            n: number,
            recipient: recipient.clone(),
            created: time(number - 1, 0),
            sealed_sha256: vec![Sha256::of(file)],
        };
        let charter = Charter {
            schema: charter::SCHEMA.to_owned(),
            n,
            prev,
            cluster: CLUSTER.parse().unwrap(),
            created: time(n - 1, 0),
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: signing_key("agent").verify_key(), from: None, until: None }],
            receipt_key: signing_key("receipt").verify_key(),
            epochs: (1..=n).zip(&sealed.epochs).map(epoch).collect(),
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: SIZES,
            features: vec![],
            format_max: 1,
        };
        let file = charter.sign(&[&owner]);
        self.files.insert(layout::charter(n, &Sha256::of(&file)), file);
        let epoch = &sealed.epochs[usize::try_from(n).unwrap() - 1].1;
        self.files.insert(layout::epoch(n, &Sha256::of(epoch)), epoch.clone());
        Sha256::of(&charter.payload())
    }

    fn snapshot(&mut self, sealed: &Sealed, seq: u64) -> Manifest {
        let sealed_run_key = &sealed.run_keys[usize::try_from(seq).unwrap() - 1];
        let mut run = Run {
            seq,
            sealed: sealed_run_key,
            known: &mut self.known,
            needed: HashSet::new(),
            chunks: Vec::new(),
            new: Vec::new(),
            files: &mut self.files,
        };
        let domains = content::domains(seq);
        let entries: Vec<DomainEntry> = domains
            .iter()
            .map(|d| {
                let name = domain_name(d.kind, d.namespace, "");
                run.sink(&name, d.kind != DomainKind::Secrets).domain(d)
            })
            .collect();
        let body = Body {
            cluster: CLUSTER.to_owned(),
            id: SnapshotId(seed16(&format!("snapshot {seq}"))),
            domains: entries.clone(),
            report: br#"{"schema":"lifeboat/run-report/1"}"#.to_vec(),
        };
        let mut sink = run.sink("body", false);
        let at = sink.put(&body.encode()).unwrap();
        sink.finish();
        let Run { needed, mut chunks, new, .. } = run;
        let list = PackList {
            nonce: seed16(&format!("nonce {seq}")),
            sealed_run_key: sealed_run_key.clone(),
            packs: new.iter().map(|(_, entry, _)| *entry).collect(),
        };
        let list = self.hash_named(layout::list, list.encode());
        self.know(seq, list, new);
        chunks.sort_unstable_by_key(|c| c.id);
        chunks.dedup();
        let log = self.send_log(seq, sealed_run_key, &chunks, &needed);
        let manifest = self.manifest(seq, &body, at, &needed, log, &domains);
        self.files.insert(layout::manifest(seq), manifest.sign(&signing_key("agent")));
        manifest
    }

    fn hash_named(&mut self, key: impl Fn(&Sha256) -> String, bytes: Vec<u8>) -> Sha256 {
        let sha256 = Sha256::of(&bytes);
        self.files.insert(key(&sha256), bytes);
        sha256
    }

    fn know(&mut self, seq: u64, list: Sha256, new: Vec<(String, PackEntry, u64)>) {
        for (index, (domain, entry, plain_bytes)) in new.into_iter().enumerate() {
            let known = KnownPack {
                handle: entry.handle,
                sha256: entry.sha256,
                size: entry.size,
                plain_bytes,
                list,
                index: u32::try_from(index).unwrap(),
                noted: time(seq, 0).as_second(),
                domain: scope_alias(&secret("dedup"), &domain),
            };
            self.packs.push((domain, known));
        }
    }

    fn send_log(
        &mut self,
        seq: u64,
        sealed_run_key: &[u8],
        chunks: &[KnownChunk],
        needed: &HashSet<Handle>,
    ) -> LogRef {
        let mut segments = Vec::new();
        for piece in send_log::segments(chunks) {
            let key = secret(&format!("segment {seq} {}", piece[0].id));
            let sha256 = self.hash_named(layout::agent, send_log::seal_segment(&key, piece));
            segments.push(SegmentRef { sha256, key: key.expose().to_vec(), first: piece[0].id });
        }
        let packs = self.packs.iter().filter(|(_, p)| needed.contains(&p.handle)).map(|(_, p)| *p).collect();
        let unlisted = |(_, p): &(String, KnownPack)| KnownPack { list: Sha256([0; 32]), index: 0, ..*p };
        let last: Vec<KnownPack> = self.packs.iter().rev().take(2).map(unlisted).collect();
        let names = segments.iter().map(|s| s.sha256).collect();
        let log_key = secret(&format!("log {seq}"));
        let root = self.hash_named(
            layout::agent,
            send_log::seal_root(&log_key, &LogRoot { packs, segments, ..LogRoot::default() }),
        );
        let piece = UploadPiece {
            run: RunId(seed16(&format!("run {seq}"))),
            sealed_run_key: sealed_run_key.to_vec(),
            packs: last,
            chunks: chunks[..1].to_vec(),
            prev: None,
        };
        let salt = seed(&format!("salt {seq}"));
        let piece_key = labelled(&log_key, "lifeboat/1 upload log", &salt);
        self.hash_named(layout::agent, [salt.to_vec(), send_log::seal_uploads(&piece_key, &piece)].concat());
        LogRef { root, segments: names }
    }

    /// Bitmaps, by list, of the packs that `wanted` takes.
    fn sets(&self, wanted: impl Fn(&str, &KnownPack) -> bool) -> BTreeMap<Sha256, Bitmap> {
        let mut sets: BTreeMap<Sha256, Bitmap> = BTreeMap::new();
        for (_, p) in self.packs.iter().filter(|(domain, p)| wanted(domain, p)) {
            sets.entry(p.list).or_default().insert(p.index as usize);
        }
        sets
    }

    fn manifest(
        &self,
        seq: u64,
        body: &Body,
        at: Reference,
        needed: &HashSet<Handle>,
        log: LogRef,
        domains: &[Domain],
    ) -> Manifest {
        let partial = seq == 3;
        let named_before =
            |p: &KnownPack| self.head.as_ref().is_some_and(|h| h.names(&p.list, p.index as usize));
        let carried = |domain: &str, p: &KnownPack| {
            partial && (domain == "cluster" || domain == "objects/shop") && named_before(p)
        };
        let since = time(2, 0);
        let mut scopes: Vec<ScopeAlias> = body.domains.iter().filter_map(|d| d.alias).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let packs = self.sets(|_, p| needed.contains(&p.handle));
        let carry = self.sets(carried);
        Manifest {
            schema: manifest::SCHEMA.to_owned(),
            cluster: CLUSTER.parse().unwrap(),
            seq,
            id: body.id,
            run: RunId(seed16(&format!("run {seq}"))),
            prev: self.head.as_ref().map(|h| Sha256::of(&h.payload())),
            charter: seq.min(2),
            features: vec![],
            origin: Sha256(seed("origin")),
            started: time(seq, 0),
            finished: time(seq, 3),
            coverage: if partial { Coverage::Partial } else { Coverage::Full },
            counts: Counts {
                namespaces: scopes.len() as u64,
                objects: domains.iter().map(|d| d.objects.len() as u64).sum(),
                bytes: body.domains.iter().map(|d| d.bytes).sum(),
                ..Counts::default()
            },
            scopes,
            result: RunResult::Completed,
            packs: packs.into_iter().map(|(list, bitmap)| PackSet { list, bitmap }).collect(),
            carry: carry.into_iter().map(|(list, bitmap)| Carry { list, bitmap, since }).collect(),
            log: Some(log),
            body: Some(at.into()),
            primary_ttl_hours: None,
        }
    }

    fn receipt(&mut self, manifest: &Manifest, prev: Option<Sha256>) -> Sha256 {
        let receipt = Receipt {
            schema: receipt::SCHEMA.to_owned(),
            cluster: manifest.cluster.clone(),
            seq: manifest.seq,
            id: manifest.id,
            manifest: Sha256::of(&manifest.payload()),
            prev,
            first_seen: time(manifest.seq, 10),
            verified: time(manifest.seq, 11),
            packs: manifest.packs.iter().map(|p| p.bitmap.iter().count() as u64).sum(),
            bytes: manifest.counts.bytes,
            proven_by_drill: None,
        };
        self.files.insert(layout::receipt(manifest.seq), receipt.sign(&signing_key("receipt")));
        Sha256::of(&receipt.payload())
    }
}
