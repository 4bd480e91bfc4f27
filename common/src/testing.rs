//! Small repositories in memory, for tests: owner, charter, epoch, identity, packs, lists, bodies, signed manifests.
//! Written with the format crate alone, so that a reader can be tried without an agent; lies where a test asks for it.

mod tree;

pub use tree::TestTree;

use crate::clock::ManualClock;
use crate::reader::{Keyring, Repository};
use crate::store::{MemoryStore, SharedRead};
use jiff::{Timestamp, ToSpan as _};
use lifeboat_format::body::{Body, DomainEntry, DomainKind, domain_name, object_key};
use lifeboat_format::charter::{AgentKey, Charter, Epoch, FORMAT, Policy, SCHEMA as CHARTER_SCHEMA};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, Secret32, scope_alias};
use lifeboat_format::crypto::open::{EpochIdentity, Identities, identity_file};
use lifeboat_format::crypto::random;
use lifeboat_format::crypto::seal::{self, Recipient};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::epoch::seal_epoch;
use lifeboat_format::id::{ClusterName, Handle, RunId, ScopeAlias, Sha256, SnapshotId};
use lifeboat_format::manifest::{
    Bitmap, Counts, Coverage, Manifest, PackSet, RunResult, SCHEMA as MANIFEST_SCHEMA,
};
use lifeboat_format::pack::{PackBuilder, Reference, SealedPack};
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::receipt::{Receipt, SCHEMA as RECEIPT_SCHEMA};
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

/// Values over this become chunks of this size.
const CHUNK: usize = 1 << 20;

/// A repository of one cluster, and every key to it.
pub struct TestRepository {
    pub store: MemoryStore,
    pub cluster: ClusterName,
    pub owner: SigningKey,
    pub agent: SigningKey,
    pub receipt_key: SigningKey,
    /// The administrator's identity file.
    pub identity: String,
    pub charter: Charter,
    epoch: EpochIdentity,
    dedup: Secret32,
    head: Option<Sha256>,
    next_seq: u64,
}

/// A domain's entries: values by key.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Stores pages as it likes, and gives the root of a map of the namespace `raw`.
pub type RawMap = fn(&mut dyn FnMut(&[u8]) -> Reference) -> Reference;

/// What a snapshot is to hold.
#[derive(Debug, Clone)]
pub struct SnapshotBuilder {
    pub coverage: Coverage,
    pub result: RunResult,
    /// The run report, JSON.
    pub report: Vec<u8>,
    /// Entries by domain: kind, namespace, name of the volume.
    pub domains: BTreeMap<(DomainKind, String, String), Entries>,
    /// Trees of files by domain, as above.
    pub trees: BTreeMap<(DomainKind, String, String), TestTree>,
    pub raw: Option<RawMap>,
}

/// A snapshot as it was stored.
#[derive(Debug, Clone)]
pub struct Committed {
    pub seq: u64,
    pub manifest: Manifest,
    pub sha256: Sha256,
    /// Keys in the store.
    pub list: String,
    pub body_pack: String,
    /// Keys of packs, by domain; those of all trees but volumes under `trees`.
    pub packs: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for TestRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestRepository({})", self.cluster)
    }
}

/// A fresh signing key.
#[must_use]
pub fn signing_key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate()).expect("a generated key is one")
}

/// An identity file that opens nothing of any repository.
#[must_use]
pub fn stranger_file() -> String {
    String::from_utf8(EpochIdentity::generate().to_file().to_vec()).expect("an age identity is text")
}

/// Identities that open nothing of any repository.
#[must_use]
pub fn stranger() -> Arc<Identities> {
    Arc::new(identity_file(&stranger_file()).expect("a generated identity is one").identities)
}

impl Default for TestRepository {
    fn default() -> Self {
        Self::new()
    }
}

impl TestRepository {
    /// An initialized repository of cluster `prod`, without a snapshot.
    #[must_use]
    pub fn new() -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let store = MemoryStore::new(Arc::new(ManualClock::new(now)));
        let (owner, agent, receipt_key) = (signing_key(), signing_key(), signing_key());
        let person = EpochIdentity::generate();
        let secret = String::from_utf8(person.to_file().to_vec()).expect("an age identity is text");
        let identity = format!("# owner: {}\n{secret}", owner.verify_key());
        let epoch = EpochIdentity::generate();
        let recipient: Recipient = person.recipient().parse().expect("an age recipient");
        let sealed = seal_epoch(&epoch, &[recipient]).expect("sealing to memory");
        let sealed_sha256 = Sha256::of(&sealed);
        store.put(&layout::epoch(1, &sealed_sha256), sealed);
        let cluster: ClusterName = "prod".parse().expect("a label");
        let charter = Charter {
            schema: CHARTER_SCHEMA.to_owned(),
            n: 1,
            prev: None,
            cluster: cluster.clone(),
            created: now,
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: agent.verify_key(), from: None, until: None }],
            receipt_key: receipt_key.verify_key(),
            epochs: vec![Epoch {
                n: 1,
                recipient: epoch.recipient(),
                created: now,
                sealed_sha256: vec![sealed_sha256],
            }],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: ChunkSizes::default(),
            features: vec![],
            format_max: FORMAT,
        };
        let dedup = Secret32::random();
        let mut made = Self {
            store,
            cluster,
            owner,
            agent,
            receipt_key,
            identity,
            charter,
            epoch,
            dedup,
            head: None,
            next_seq: 1,
        };
        made.publish_charter();
        made
    }

    fn publish_charter(&mut self) {
        let bytes = self.charter.sign(&[&self.owner]);
        self.store.put(&layout::charter(self.charter.n, &Sha256::of(&bytes)), bytes);
    }

    /// The next charter, changed by `change`.
    pub fn amend(&mut self, change: impl FnOnce(&mut Charter)) {
        self.charter.prev = Some(Sha256::of(&self.charter.payload()));
        self.charter.n += 1;
        change(&mut self.charter);
        self.publish_charter();
    }

    #[must_use]
    pub fn owner_key(&self) -> VerifyKey {
        self.owner.verify_key()
    }

    #[must_use]
    pub fn identities(&self) -> Arc<Identities> {
        Arc::new(identity_file(&self.identity).expect("a generated identity is one").identities)
    }

    #[must_use]
    pub fn shared(&self) -> SharedRead {
        Arc::new(self.store.clone())
    }

    /// Opened with the owner pinned.
    pub async fn open(&self) -> Repository {
        Repository::open(self.shared(), &self.cluster, &self.owner_key()).await.expect("a sound repository")
    }

    /// The administrator's keys to `repository`.
    #[must_use]
    pub fn keyring(&self, repository: &Repository) -> Arc<Keyring> {
        Arc::new(Keyring::new(repository, self.identities()))
    }

    /// Hash of the newest manifest's payload.
    #[must_use]
    pub fn head(&self) -> Option<Sha256> {
        self.head
    }

    /// Stores a snapshot as an agent would.
    pub fn commit(&mut self, snapshot: &SnapshotBuilder) -> Committed {
        self.commit_with(snapshot, |_| {}, |_| {})
    }

    /// Stores a snapshot; the pack list and the manifest can be falsified before they are named and signed.
    pub fn commit_with(
        &mut self,
        snapshot: &SnapshotBuilder,
        falsify_list: impl FnOnce(&mut PackList),
        falsify_manifest: impl FnOnce(&mut Manifest),
    ) -> Committed {
        let run_key = RunKey::random();
        let sealed = seal::run_key(&self.epoch.recipient(), &run_key).expect("sealing to memory");
        let run = Run { key: run_key, sealed_key: sealed.clone() };
        let id = SnapshotId(random::bytes());
        let mut packs = Vec::new();
        let mut by_domain = BTreeMap::new();
        let mut domains = Vec::new();
        for ((kind, namespace, name), entries) in &snapshot.domains {
            let (mut entry, sealed) = run.domain(&self.dedup, *kind, namespace, name, entries);
            entry.alias = Some(scope_alias(&self.dedup, namespace));
            let keys = sealed.iter().map(|p| layout::pack(&p.sha256)).collect();
            by_domain.insert(entry.domain(), keys);
            packs.extend(sealed);
            domains.push(entry);
        }
        if !snapshot.trees.is_empty() {
            let (entries, sealed) = tree::store(&run, &self.dedup, &snapshot.trees);
            domains.extend(entries);
            for (domain, sealed) in sealed {
                by_domain.insert(domain, sealed.iter().map(|p| layout::pack(&p.sha256)).collect());
                packs.extend(sealed);
            }
        }
        if let Some(make) = snapshot.raw {
            let (entry, sealed) = run.raw(make);
            packs.push(sealed);
            domains.push(entry);
        }
        // What a real run covers, it covers whole.
        let scopes: BTreeSet<ScopeAlias> = domains.iter().filter_map(|d| d.alias).collect();
        let body = Body { cluster: self.cluster.to_string(), id, domains, report: snapshot.report.clone() };
        let (body_reference, body_pack) = run.one(&body.encode());
        let body_key = layout::pack(&body_pack.sha256);
        packs.push(body_pack);
        let mut list = PackList { nonce: random::bytes(), sealed_run_key: sealed, packs: Vec::new() };
        let mut bitmap = Bitmap::new(packs.len());
        for (i, pack) in packs.into_iter().enumerate() {
            bitmap.insert(i);
            let size = pack.bytes.len() as u64;
            list.packs.push(PackEntry { sha256: pack.sha256, size, handle: pack.handle });
            self.store.put(&layout::pack(&pack.sha256), pack.bytes);
        }
        falsify_list(&mut list);
        let list_bytes = list.encode();
        let list_sha256 = Sha256::of(&list_bytes);
        self.store.put(&layout::list(&list_sha256), list_bytes);
        let mut manifest = self.manifest(snapshot, id);
        manifest.scopes = scopes.into_iter().collect();
        manifest.packs = vec![PackSet { list: list_sha256, bitmap }];
        manifest.body = (snapshot.coverage != Coverage::Checkpoint).then(|| body_reference.into());
        falsify_manifest(&mut manifest);
        let sha256 = Sha256::of(&manifest.payload());
        let seq = self.next_seq;
        self.store.put(&layout::manifest(seq), manifest.sign(&self.agent));
        self.next_seq += 1;
        self.head = Some(sha256);
        Committed {
            seq,
            manifest,
            sha256,
            list: layout::list(&list_sha256),
            body_pack: body_key,
            packs: by_domain,
        }
    }

    fn manifest(&self, snapshot: &SnapshotBuilder, id: SnapshotId) -> Manifest {
        let hours = i64::try_from(self.next_seq).expect("a small number");
        let started = self.charter.created.checked_add(hours.hours()).expect("a time");
        let values = || snapshot.domains.values().flat_map(BTreeMap::values);
        Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            cluster: self.cluster.clone(),
            seq: self.next_seq,
            id,
            run: RunId(random::bytes()),
            prev: self.head,
            charter: self.charter.n,
            features: vec![],
            origin: Sha256::of(b"origin"),
            started,
            finished: started.checked_add(1.minute()).expect("a time"),
            coverage: snapshot.coverage,
            scopes: vec![],
            result: snapshot.result,
            packs: vec![],
            carry: vec![],
            log: None,
            body: None,
            primary_ttl_hours: None,
            counts: Counts {
                namespaces: 0,
                objects: values().count() as u64,
                volumes: 0,
                bytes: values().map(|v| v.len() as u64).sum(),
                stored_bytes: 0,
                missed: 0,
            },
        }
    }

    /// Gives out a receipt for a snapshot, as a replicator would.
    pub fn receipt(&self, of: &Committed) {
        let now = of.manifest.finished;
        let receipt = Receipt {
            schema: RECEIPT_SCHEMA.to_owned(),
            cluster: self.cluster.clone(),
            seq: of.seq,
            id: of.manifest.id,
            manifest: of.sha256,
            prev: None,
            first_seen: now,
            verified: now,
            packs: 1,
            bytes: 1,
            proven_by_drill: None,
        };
        self.store.put(&layout::receipt(of.seq), receipt.sign(&self.receipt_key));
    }
}

impl Default for SnapshotBuilder {
    fn default() -> Self {
        Self {
            coverage: Coverage::Full,
            result: RunResult::Completed,
            report: br#"{"schema":"lifeboat/run-report/1"}"#.to_vec(),
            domains: BTreeMap::new(),
            trees: BTreeMap::new(),
            raw: None,
        }
    }
}

impl SnapshotBuilder {
    /// Adds an object; `secret` goes to its namespace's Secrets, and what has no namespace to the cluster's objects.
    #[must_use]
    pub fn object(
        self,
        namespace: Option<&str>,
        kind_group: &str,
        name: &str,
        json: impl Into<Vec<u8>>,
    ) -> Self {
        let kind = match (namespace, kind_group) {
            (None, _) => DomainKind::Cluster,
            (_, "secret") => DomainKind::Secrets,
            _ => DomainKind::Objects,
        };
        self.entry(kind, namespace.unwrap_or_default(), object_key(kind_group, name), json)
    }

    /// Adds the tree of a path volume.
    #[must_use]
    pub fn path(mut self, name: &str, tree: TestTree) -> Self {
        self.trees.insert((DomainKind::Path, String::new(), name.to_owned()), tree);
        self
    }

    /// Adds the tree of a claim's volume, in packs of its own.
    #[must_use]
    pub fn volume(mut self, namespace: &str, claim: &str, tree: TestTree) -> Self {
        self.trees.insert((DomainKind::Volume, namespace.to_owned(), claim.to_owned()), tree);
        self
    }

    /// Adds any entry, sound or not.
    #[must_use]
    pub fn entry(
        mut self,
        kind: DomainKind,
        namespace: &str,
        key: Vec<u8>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        let domain = self.domains.entry((kind, namespace.to_owned(), String::new())).or_default();
        domain.insert(key, value.into());
        self
    }
}

struct Run {
    key: RunKey,
    sealed_key: Vec<u8>,
}

/// The packs of one domain.
struct Sink<'a> {
    run: &'a Run,
    open: PackBuilder,
    sealed: Vec<SealedPack>,
}

impl Run {
    fn builder(&self) -> PackBuilder {
        PackBuilder::new(Handle(random::bytes()), &self.key, self.sealed_key.clone())
    }

    fn one(&self, chunk: &[u8]) -> (Reference, SealedPack) {
        let mut builder = self.builder();
        let reference = builder.append(chunk);
        (reference, builder.finish())
    }

    fn raw(&self, make: RawMap) -> (DomainEntry, SealedPack) {
        let mut builder = self.builder();
        let root = make(&mut |page| builder.append(page));
        let entry = DomainEntry {
            kind: DomainKind::Objects,
            namespace: "raw".to_owned(),
            name: String::new(),
            alias: None,
            roots: vec![root],
            entries: 0,
            bytes: 0,
        };
        (entry, builder.finish())
    }

    fn domain(
        &self,
        dedup: &Secret32,
        kind: DomainKind,
        namespace: &str,
        name: &str,
        entries: &Entries,
    ) -> (DomainEntry, Vec<SealedPack>) {
        let keys = DomainKeys::new(dedup, &domain_name(kind, namespace, name));
        let mut sink = Sink { run: self, open: self.builder(), sealed: Vec::new() };
        let mut map = MapBuilder::new();
        for (key, value) in entries {
            let chunks =
                if value.len() > limits::INLINE_MAX { value.chunks(CHUNK).collect() } else { Vec::new() };
            let references: Vec<Reference> = chunks.iter().map(|c| infallible(sink.put(c))).collect();
            let inline: &[u8] = if references.is_empty() { value } else { &[] };
            infallible(map.push(&keys, key, inline, &references, &mut sink));
        }
        let root = infallible(map.finish(&keys, &mut sink));
        let entry = DomainEntry {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            alias: None,
            roots: root.into_iter().collect(),
            entries: entries.len() as u64,
            bytes: entries.values().map(|v| v.len() as u64).sum(),
        };
        sink.sealed.push(sink.open.finish());
        (entry, sink.sealed)
    }
}

impl PageSink for Sink<'_> {
    type Error = Infallible;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Infallible> {
        if self.open.is_full() {
            let full = std::mem::replace(&mut self.open, self.run.builder());
            self.sealed.push(full.finish());
        }
        Ok(self.open.append(chunk))
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}
