//! A repository in memory, a tree in a folder, and a host that backs it up.

use crate::backup::resume::Cadence;
use crate::backup::{BackupError, Setup};
use crate::backup_path::{Checkpoints, CommittedTree, PathRequest, backup_path};
use crate::tree::{TreeOptions, TreeProgress};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use lifeboat_common::clock::{Clock, ManualClock};
use lifeboat_common::reader::{Keyring, Repository};
use lifeboat_common::store::{MemoryStore, SharedCreate};
use lifeboat_format::charter::{AgentKey, Charter, Epoch, FORMAT, Policy, SCHEMA};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::open::{self, EpochIdentity};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::epoch::seal_epoch;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::manifest::{Manifest, UnverifiedManifest};
use lifeboat_format::tree::NodeKind;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) struct World {
    pub(crate) memory: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    owner: SigningKey,
    agent: Vec<u8>,
    charter: String,
    identity: String,
    dir: tempfile::TempDir,
    /// The name of the state's folder.
    state: Mutex<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_chunks(ChunkSizes::default())
    }

    pub(crate) fn with_chunks(chunking: ChunkSizes) -> Self {
        // The tree's files are of now: a clock behind them would make all of them look racy.
        let now = lifeboat_common::clock::SystemClock.now();
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(now.as_second() + 10).unwrap()));
        let memory = MemoryStore::new(clock.clone());
        let key = |document: &[u8]| SigningKey::from_pkcs8(document).unwrap();
        let (owner, agent) = (key(&SigningKey::generate()), SigningKey::generate().to_vec());
        let (epoch, admin) = (EpochIdentity::generate(), EpochIdentity::generate());
        let sealed = seal_epoch(&epoch, &[admin.recipient().parse().unwrap()]).unwrap();
        let sealed_sha256 = vec![Sha256::of(&sealed)];
        memory.put(&layout::epoch(1, &sealed_sha256[0]), sealed);
        let charter = Charter {
            schema: SCHEMA.to_owned(),
            n: 1,
            prev: None,
            cluster: cluster(),
            created: clock.now(),
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: key(&agent).verify_key(), from: None, until: None }],
            receipt_key: owner.verify_key(),
            epochs: vec![Epoch { n: 1, recipient: epoch.recipient(), created: clock.now(), sealed_sha256 }],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking,
            features: vec![],
            format_max: FORMAT,
        };
        let file = charter.sign(&[&owner]);
        memory.put(&layout::charter(1, &Sha256::of(&file)), file.clone());
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        Self {
            memory,
            clock,
            owner,
            agent,
            charter: String::from_utf8(file).unwrap(),
            identity: String::from_utf8(admin.to_file().to_vec()).unwrap(),
            dir,
            state: Mutex::new("state".to_owned()),
        }
    }

    /// From now on with another state: another agent of the same key.
    pub(crate) fn aside(&self, state: &str) {
        *self.state.lock().unwrap() = state.to_owned();
    }

    pub(crate) fn owner_key(&self) -> VerifyKey {
        self.owner.verify_key()
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.tree().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The clock goes on; never back.
    pub(crate) fn later(&self, seconds: i64) {
        self.clock.set(Timestamp::from_second(self.clock.now().as_second() + seconds).unwrap());
    }

    pub(crate) fn plain(&self) -> SharedCreate {
        Arc::new(self.memory.clone())
    }

    pub(crate) fn setup(&self, store: SharedCreate) -> Setup {
        let signing = SigningKey::from_pkcs8(&self.agent).unwrap();
        let charter = (PathBuf::from("charter.json"), self.charter.as_str());
        let state = self.dir.path().join(&*self.state.lock().unwrap());
        Setup::new(store, &self.owner.verify_key(), &cluster(), charter, signing, state).unwrap()
    }

    pub(crate) fn forget_state(&self) {
        std::fs::remove_dir_all(self.dir.path().join("state")).unwrap();
    }

    pub(crate) fn request(&self, name: &str) -> PathRequest {
        PathRequest {
            name: name.to_owned(),
            root: self.tree(),
            options: TreeOptions { readers: 2, workers: 2, ..TreeOptions::default() },
            origin: Sha256::of(b"this host"),
            bandwidth: None,
            checkpoints: Checkpoints::default(),
            cadence: Cadence { pause: Duration::ZERO, ..Cadence::TREES },
        }
    }

    pub(crate) async fn run(&self, name: &str) -> Result<CommittedTree, BackupError> {
        self.run_with(self.plain(), self.request(name)).await
    }

    pub(crate) async fn run_with(
        &self,
        store: SharedCreate,
        request: PathRequest,
    ) -> Result<CommittedTree, BackupError> {
        // Files are made by the machine's clock: behind it, they would all look as if they had just changed.
        let now = lifeboat_common::clock::SystemClock.now().as_second() + 10;
        if self.clock.now().as_second() < now {
            self.clock.set(Timestamp::from_second(now).unwrap());
        }
        let stop = std::pin::pin!(std::future::pending());
        let progress = Arc::new(TreeProgress::default());
        backup_path(&self.setup(store), &request, self.clock.clone(), progress, stop).await
    }

    /// Keys in the store with this prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.memory.keys().into_iter().filter(|k| k.starts_with(prefix)).collect()
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.keys(prefix).len()
    }

    pub(crate) fn bytes(&self, prefix: &str) -> u64 {
        self.keys(prefix).iter().map(|k| self.memory.bytes(k).unwrap().len() as u64).sum()
    }

    pub(crate) fn manifest(&self, seq: u64) -> Manifest {
        let bytes = self.memory.bytes(&layout::manifest(seq)).unwrap();
        assert!(bytes.len() as u64 <= limits::MANIFEST_MAX);
        UnverifiedManifest::parse(&bytes).unwrap().claims().clone()
    }

    /// The files of every snapshot: `<volume>/<path>` → content. Panics when anything is damaged.
    pub(crate) async fn snapshots(&self) -> Vec<Files> {
        let repository = Repository::open(self.plain(), &cluster(), &self.owner.verify_key()).await.unwrap();
        let list = repository.snapshots().await.unwrap();
        assert!(list.anomalies.is_empty(), "{:?}", list.anomalies);
        let mut all = Vec::new();
        for snapshot in &list.snapshots {
            let identities = open::identity_file(&self.identity).unwrap().identities;
            let keyring = Arc::new(Keyring::new(&repository, Arc::new(identities)));
            let open = repository.open_snapshot(snapshot, keyring).await.unwrap();
            let mut files = Files::new();
            for domain in open.volumes() {
                let tree = open.tree(domain).unwrap();
                let entries: Vec<_> = tree.all().try_collect().await.unwrap();
                for entry in entries.iter().filter(|e| e.attributes.kind == NodeKind::File) {
                    let mut content = vec![0; usize::try_from(entry.attributes.size).unwrap()];
                    let mut pieces = tree.content(entry);
                    while let Some(piece) = pieces.next().await {
                        let piece = piece.unwrap();
                        let at = usize::try_from(piece.offset).unwrap();
                        content[at..at + piece.data.len()].copy_from_slice(&piece.data);
                    }
                    let path = String::from_utf8_lossy(&entry.path).into_owned();
                    files.insert(format!("{}/{path}", domain.name), content);
                }
            }
            all.push(files);
        }
        all
    }
}

fn cluster() -> ClusterName {
    "prod".parse().unwrap()
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// The files of a folder, as [`World::snapshots`] gives them.
pub(crate) fn on_disk(root: &Path, volume: &str) -> Files {
    let mut out = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap().display();
                out.insert(format!("{volume}/{below}"), std::fs::read(&path).unwrap());
            }
        }
    }
    out
}
