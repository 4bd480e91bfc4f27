//! A primary with real charters, packs, lists and manifests; a vault in a temporary directory; and the look that says
//! whether a vault is whole. Knows nothing of how a pull works.

use jiff::{SignedDuration, Timestamp};
use lifeboat_common::clock::{Clock, ManualClock, SystemClock};
use lifeboat_common::config::RetentionConfig;
use lifeboat_common::progress::Mode;
use lifeboat_common::store::{MemoryStore, SharedRead};
use lifeboat_format::charter::{self, AgentKey, Charter, Epoch, Policy};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{RunKey, Secret32};
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::{ClusterName, Digest, Handle, RunId, Sha256, SnapshotId};
use lifeboat_format::layout;
use lifeboat_format::manifest::{
    self, Bitmap, BodyRef, Counts, Coverage, Manifest, PackSet, RunResult, UnverifiedManifest,
};
use lifeboat_format::pack::PackBuilder;
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::receipt::Receipt;
use lifeboat_replicator::activity::Activity;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::catalog::Catalogue;
use lifeboat_replicator::replicate::fetch::Patience;
use lifeboat_replicator::replicate::{Outcome, Replicator};
use lifeboat_replicator::retain::Retainer;
use lifeboat_replicator::source::Source;
use lifeboat_replicator::vault::disk::Disk;
use lifeboat_replicator::vault::{Host, MinFree, Vault, VaultError, VaultOptions, Work};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub fn start() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().unwrap()
}

pub fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
}

/// A cluster's folder in a primary store, and everyone's keys.
pub struct Primary {
    pub store: MemoryStore,
    pub clock: Arc<ManualClock>,
    pub cluster: ClusterName,
    pub owner: SigningKey,
    pub agent: SigningKey,
    pub receipt_pem: String,
    pub charter: Charter,
    pub head: Option<(u64, Sha256)>,
    random: u64,
}

impl Primary {
    pub fn new(cluster: &str) -> Self {
        Self::from(cluster, start())
    }

    /// For a program that reads the real clock: `count` daily snapshots, the last of now.
    pub fn recent(cluster: &str, count: i64) -> Self {
        let mut primary = Self::from(cluster, SystemClock.now() - SignedDuration::from_hours(24 * count));
        for _ in 0..count {
            primary.snapshot(3);
        }
        primary
    }

    fn from(cluster: &str, start: Timestamp) -> Self {
        let clock = Arc::new(ManualClock::new(start));
        let (owner, agent) = (key(), key());
        let receipt_pem = SigningKey::to_pem(&SigningKey::generate()).to_string();
        let receipt_key = SigningKey::from_pem(&receipt_pem).unwrap().verify_key();
        let store = MemoryStore::new(clock.clone());
        let sealed = format!("sealed epoch of {cluster}").into_bytes();
        store.put(&layout::epoch(1, &Sha256::of(&sealed)), sealed.clone());
        let epoch = Epoch {
            n: 1,
            recipient: "age1x".to_owned(),
            created: start,
            sealed_sha256: vec![Sha256::of(&sealed)],
        };
        let charter = Charter {
            schema: charter::SCHEMA.to_owned(),
            n: 1,
            prev: None,
            cluster: cluster.parse().unwrap(),
            created: start,
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: agent.verify_key(), from: None, until: None }],
            receipt_key,
            epochs: vec![epoch],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: ChunkSizes::default(),
            features: vec![],
            format_max: 1,
        };
        let primary = Self {
            store,
            clock,
            cluster: cluster.parse().unwrap(),
            owner,
            agent,
            receipt_pem,
            charter,
            head: None,
            random: cluster.bytes().map(u64::from).sum::<u64>() << 32,
        };
        primary.put_charter(&primary.charter);
        primary
    }

    /// A primary with `count` snapshots of three packs each, neighbors sharing one.
    pub fn with(cluster: &str, count: usize) -> Self {
        let mut primary = Self::new(cluster);
        for _ in 0..count {
            primary.snapshot(3);
        }
        primary
    }

    fn number(&mut self) -> [u8; 16] {
        self.random += 1;
        u128::from(self.random).to_be_bytes()
    }

    pub fn put_charter(&self, charter: &Charter) -> String {
        let file = charter.sign(&[&self.owner]);
        let key = layout::charter(charter.n, &Sha256::of(&file));
        self.store.put(&key, file);
        key
    }

    /// Charter n + 1, changed and put in place.
    pub fn next_charter(&mut self, change: impl FnOnce(&mut Charter)) -> String {
        let mut next = self.charter.clone();
        (next.n, next.prev) = (next.n + 1, Some(Sha256::of(&next.payload())));
        change(&mut next);
        self.charter = next;
        self.put_charter(&self.charter)
    }

    pub fn pass(&self, time: SignedDuration) {
        self.clock.set(self.clock.now() + time);
    }

    pub fn put_pack(&mut self) -> PackEntry {
        let handle = Handle(self.number());
        let mut builder = PackBuilder::new(handle, &RunKey(Secret32::new([1; 32])), vec![3; 250]);
        builder.append(&[handle.0.as_slice(), &[7; 3000]].concat());
        let pack = builder.finish();
        let entry = PackEntry { sha256: pack.sha256, size: pack.bytes.len() as u64, handle };
        self.store.put(&layout::pack(&pack.sha256), pack.bytes);
        entry
    }

    pub fn put_list(&mut self, packs: Vec<PackEntry>) -> PackSet {
        let mut bitmap = Bitmap::new(packs.len());
        (0..packs.len()).for_each(|i| bitmap.insert(i));
        let bytes = PackList { nonce: self.number(), sealed_run_key: vec![9; 250], packs }.encode();
        let list = Sha256::of(&bytes);
        self.store.put(&layout::list(&list), bytes);
        PackSet { list, bitmap }
    }

    /// The next manifest, unsigned, naming what `sets` name.
    pub fn manifest(&mut self, sets: Vec<PackSet>) -> Manifest {
        let now = self.clock.now();
        let body =
            BodyRef { handle: Handle([1; 16]), frame: 0, offset: 0, length: 9, digest: Digest([2; 32]) };
        Manifest {
            schema: manifest::SCHEMA.to_owned(),
            cluster: self.cluster.clone(),
            seq: self.head.map_or(1, |(seq, _)| seq + 1),
            id: SnapshotId(self.number()),
            run: RunId(self.number()),
            prev: self.head.map(|(_, sha256)| sha256),
            charter: self.charter.n,
            features: vec![],
            origin: Sha256([5; 32]),
            started: now,
            finished: now,
            coverage: Coverage::Full,
            scopes: vec![],
            result: RunResult::Completed,
            packs: sets,
            carry: vec![],
            log: None,
            body: Some(body),
            primary_ttl_hours: None,
            counts: Counts { bytes: 1000, ..Counts::default() },
        }
    }

    /// Signs and puts a manifest; it becomes the head.
    pub fn commit(&mut self, manifest: &Manifest) -> u64 {
        self.store.put(&layout::manifest(manifest.seq), manifest.sign(&self.agent));
        self.head = Some((manifest.seq, Sha256::of(&manifest.payload())));
        manifest.seq
    }

    /// A whole snapshot a day later.
    pub fn snapshot(&mut self, packs: usize) -> u64 {
        self.pass(SignedDuration::from_hours(24));
        let packs = (0..packs).map(|_| self.put_pack()).collect();
        let set = self.put_list(packs);
        let manifest = self.manifest(vec![set]);
        self.commit(&manifest)
    }

    pub fn checkpoint(&mut self) -> u64 {
        let pack = self.put_pack();
        let set = self.put_list(vec![pack]);
        let mut manifest = self.manifest(vec![]);
        let carry = manifest::Carry { list: set.list, bitmap: set.bitmap, since: self.clock.now() };
        (manifest.coverage, manifest.body, manifest.carry) = (Coverage::Checkpoint, None, vec![carry]);
        self.commit(&manifest)
    }

    pub fn source(&self) -> Arc<Source> {
        self.source_through(Arc::new(self.store.clone()))
    }

    pub fn source_through(&self, store: SharedRead) -> Arc<Source> {
        let receipt_key = SigningKey::from_pem(&self.receipt_pem).unwrap();
        Arc::new(Source::new(self.cluster.clone(), self.owner.verify_key(), receipt_key, store))
    }

    /// The first key under `prefix`.
    pub fn first(&self, prefix: &str) -> String {
        self.store.keys().into_iter().find(|k| k.starts_with(prefix)).unwrap()
    }
}

pub fn host(name: &str) -> Host {
    Host { id: Sha256::of(name.as_bytes()), name: name.to_owned() }
}

pub fn open_vault(
    root: &Path,
    disk: Option<Arc<dyn Disk>>,
    min_free: MinFree,
) -> Result<Arc<Vault>, VaultError> {
    let root = root.to_owned();
    Vault::open(VaultOptions { root, state: None, host: host("one"), min_free, disk, now: start() })
}

pub fn replicator(vault: Arc<Vault>, clock: Arc<dyn Clock>) -> Replicator {
    let catalogue = Arc::new(Catalogue::open(&vault.catalogue()).unwrap());
    let patience =
        Patience { attempts: 6, pause: Duration::from_millis(1), stall: Duration::from_millis(300) };
    let activity = Arc::new(Activity::new(Mode::Quiet));
    Replicator::new(vault, catalogue, clock, activity, 4, patience)
}

/// A vault in a temporary directory.
pub struct Vaulted {
    pub dir: tempfile::TempDir,
    pub replicator: Replicator,
}

impl Vaulted {
    pub fn new(primary: &Primary) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vault = open_vault(dir.path(), None, MinFree::Bytes(0)).unwrap();
        let replicator = replicator(vault, primary.clock.clone());
        Self { dir, replicator }
    }

    pub async fn pull(&self, primary: &Primary) -> Outcome {
        self.replicator.pull(&primary.source()).await
    }

    /// A pull that must go through without an alarm.
    pub async fn clean_pull(&self, primary: &Primary) -> Outcome {
        let outcome = self.pull(primary).await;
        assert!(outcome.error.is_none(), "{}", outcome.error.unwrap());
        assert!(outcome.alarms.is_empty(), "{:?}", outcome.alarms);
        outcome
    }

    /// Runs `work` on the vault as `retain` does, beside the pulls.
    pub fn retaining<T>(&self, primary: &Primary, work: impl FnOnce(&Retainer<'_>) -> T) -> T {
        self.retaining_with(primary, &RetentionConfig::default(), work)
    }

    pub fn retaining_with<T>(
        &self,
        primary: &Primary,
        overrides: &RetentionConfig,
        work: impl FnOnce(&Retainer<'_>) -> T,
    ) -> T {
        let options = VaultOptions {
            root: self.dir.path().to_owned(),
            state: None,
            host: host("one"),
            min_free: MinFree::Bytes(0),
            disk: None,
            now: start(),
        };
        let vault = Vault::open_for(Work::Retain, options).unwrap();
        let catalogue = Catalogue::open_read_only(&vault.catalogue()).unwrap();
        let receipt_key = SigningKey::from_pem(&primary.receipt_pem).unwrap();
        work(&Retainer {
            folder: vault.folder(&primary.cluster),
            catalogue: &catalogue,
            cluster: &primary.cluster,
            owner: &primary.owner.verify_key(),
            receipt_key: &receipt_key,
            overrides,
        })
    }

    pub fn held(&self, primary: &Primary) -> Vec<u64> {
        check(self.dir.path(), primary)
    }
}

/// The alarms of an outcome, as (kind, what). Those of age are left out: most tests let days pass in which nothing came.
pub fn alarms(outcome: &Outcome) -> Vec<(AlarmKind, String)> {
    let all = outcome.alarms.iter().filter(|a| !is_of_age(a.kind));
    all.map(|a| (a.kind, a.what.clone())).collect()
}

pub fn is_of_age(kind: AlarmKind) -> bool {
    matches!(kind, AlarmKind::RpoMissed | AlarmKind::AgentStopped | AlarmKind::NotCovered)
}

/// Every committed snapshot of a cluster in the vault at `root`, ascending. Asserts that each is whole: lists, packs and
/// epochs there and right, and that nothing else lies under a name that promises something.
pub fn check(root: &Path, primary: &Primary) -> Vec<u64> {
    let folder = root.join(primary.cluster.as_str());
    let read = |key: &str| std::fs::read(folder.join(key)).unwrap_or_else(|e| panic!("{key}: {e}"));
    let names = |sub: &str| -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder.join(sub)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .map(|n| format!("{sub}{n}"))
            .collect();
        names.sort();
        names
    };
    let mut snapshots = Vec::new();
    for key in names(layout::MANIFESTS) {
        let seq = layout::parse_manifest(&key).unwrap_or_else(|| panic!("{key}"));
        let keys: Vec<_> = primary.charter.agents.iter().map(|a| a.key).collect();
        let signed =
            UnverifiedManifest::parse(&read(&key)).unwrap().verify(&keys, &primary.cluster, seq).unwrap();
        for list in signed.manifest.lists() {
            assert_eq!(Sha256::of(&read(&layout::list(&list))), list);
        }
        // What retention forgot has its manifest and its lists, and maybe no packs.
        let forgotten = folder.join(layout::tombstone(seq)).exists();
        for set in signed.manifest.packs.iter().filter(|_| !forgotten) {
            let list = PackList::parse(&read(&layout::list(&set.list))).unwrap();
            for i in set.bitmap.iter() {
                let pack = list.packs[i].sha256;
                assert_eq!(Sha256::of(&read(&layout::pack(&pack))), pack);
            }
        }
        for epoch in &primary.charter.epochs {
            for sealed in &epoch.sealed_sha256 {
                assert_eq!(Sha256::of(&read(&layout::epoch(epoch.n, sealed))), *sealed);
            }
        }
        if signed.manifest.coverage != Coverage::Checkpoint && !forgotten {
            snapshots.push(seq);
        }
    }
    for sub in names(layout::PACKS) {
        for key in names(&format!("{sub}/")) {
            assert_eq!(Some(Sha256::of(&read(&key))), layout::parse_pack(&key), "{key}");
        }
    }
    for key in names(layout::LISTS) {
        assert_eq!(Some(Sha256::of(&read(&key))), layout::parse_hash_named(layout::LISTS, &key), "{key}");
    }
    for key in names(layout::CHARTER) {
        assert_eq!(Some(Sha256::of(&read(&key))), layout::parse_charter(&key).map(|c| c.1), "{key}");
    }
    snapshots
}

/// Asserts that every snapshot has its receipt, and that the receipts are one chain.
pub fn check_receipts(root: &Path, primary: &Primary, seqs: &[u64]) {
    let key = SigningKey::from_pem(&primary.receipt_pem).unwrap().verify_key();
    let (mut own, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut roots = 0;
    for seq in seqs {
        let path = root.join(primary.cluster.as_str()).join(layout::receipt(*seq));
        let receipt = Receipt::verify(&std::fs::read(&path).unwrap(), &key, &primary.cluster).unwrap();
        assert_eq!(receipt.seq, *seq);
        own.insert(Sha256::of(&receipt.payload()));
        match receipt.prev {
            Some(prev) => assert!(named.insert(prev), "two receipts follow one"),
            None => roots += 1,
        }
    }
    assert_eq!(roots, usize::from(!seqs.is_empty()));
    assert!(named.is_subset(&own), "a receipt follows one that is not there");
}
