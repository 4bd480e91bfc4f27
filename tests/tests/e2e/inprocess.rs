//! An agent in this process, on a store in memory, with a real cluster: for tests that fail a store at will, look at
//! its requests, or move its clock.

use jiff::Timestamp;
use lifeboat_agent::backup::{BackupError, Committed, Request, Setup, backup};
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use lifeboat_agent::select::{Selection, SelectionSpec};
use lifeboat_common::clock::{Clock, ManualClock, SystemClock};
use lifeboat_common::reader::{Keyring, ObjectPath, Repository};
use lifeboat_common::store::{MemoryStore, SharedCreate, SharedRead};
use lifeboat_format::charter::{AgentKey, Charter, Epoch, Policy, SCHEMA};
use lifeboat_format::crypto::open::{self, EpochIdentity};
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::{epoch, layout};
use lifeboat_tests::harness;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) type Outcome = Result<Committed, BackupError>;

/// A repository in memory, and what its agent and its administrator hold.
pub(crate) struct Inprocess {
    pub(crate) memory: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    charter: String,
    owner: SigningKey,
    agent: Vec<u8>,
    identity: String,
    state: tempfile::TempDir,
    namespaces: Vec<String>,
}

impl Inprocess {
    /// A new repository, for these namespaces.
    pub(crate) fn new(namespaces: &[&str]) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let memory = MemoryStore::new(clock.clone());
        let key = |document: &[u8]| SigningKey::from_pkcs8(document).unwrap();
        let (owner, agent) = (key(&SigningKey::generate()), SigningKey::generate().to_vec());
        let epoch_identity = EpochIdentity::generate();
        // Any age identity serves an administrator.
        let admin = EpochIdentity::generate();
        let sealed = epoch::seal_epoch(&epoch_identity, &[admin.recipient().parse().unwrap()]).unwrap();
        let sealed_sha256 = Sha256::of(&sealed);
        memory.put(&layout::epoch(1, &sealed_sha256), sealed);
        let recipient = epoch_identity.recipient();
        let epoch = Epoch { n: 1, recipient, created: clock.now(), sealed_sha256: vec![sealed_sha256] };
        let charter = Charter {
            schema: SCHEMA.to_owned(),
            n: 1,
            prev: None,
            cluster: "prod".parse().unwrap(),
            created: clock.now(),
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: key(&agent).verify_key(), from: None, until: None }],
            receipt_key: owner.verify_key(),
            epochs: vec![epoch],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: lifeboat_format::chunker::ChunkSizes::default(),
            features: vec![],
            format_max: 1,
        };
        let file = charter.sign(&[&owner]);
        memory.put(&layout::charter(1, &Sha256::of(&file)), file.clone());
        Self {
            memory,
            clock,
            charter: String::from_utf8(file).unwrap(),
            owner,
            agent,
            identity: String::from_utf8(admin.to_file().to_vec()).unwrap(),
            state: tempfile::tempdir().unwrap(),
            namespaces: namespaces.iter().map(|&n| n.to_owned()).collect(),
        }
    }

    /// From now on these namespaces.
    pub(crate) fn select(&mut self, namespaces: &[&str]) {
        self.namespaces = namespaces.iter().map(|&n| n.to_owned()).collect();
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn plain(&self) -> SharedCreate {
        Arc::new(self.memory.clone())
    }

    fn setup(&self, store: SharedCreate, state: PathBuf) -> Setup {
        let cluster = "prod".parse().unwrap();
        let signing = SigningKey::from_pkcs8(&self.agent).unwrap();
        let charter = (PathBuf::from("charter.json"), self.charter.as_str());
        Setup::new(store, &self.owner.verify_key(), &cluster, charter, signing, state).unwrap()
    }

    /// One run over `store`, with the state in `state`.
    pub(crate) async fn run_with(&self, store: SharedCreate, state: &Path, clock: Arc<dyn Clock>) -> Outcome {
        let spec = SelectionSpec { namespaces: self.namespaces.clone(), ..SelectionSpec::default() };
        let request = Request {
            selection: Selection::parse(&spec).unwrap(),
            full: false,
            whole_namespaces: true,
            primary_ttl_hours: None,
            run: None,
        };
        let setup = self.setup(store, state.to_path_buf());
        let kubeconfig = harness::shared_cluster().unwrap().kubeconfig();
        let cluster = Cluster::connect(Some(kubeconfig), None, ConnectOptions::default()).await.unwrap();
        backup(&setup, &cluster, &request, clock, &|_, _| {}).await
    }

    pub(crate) async fn run(&self, store: SharedCreate) -> Outcome {
        self.run_with(store, self.state.path(), self.clock.clone()).await
    }

    /// Every object of every snapshot, opened: path → document. Panics when anything of any snapshot is damaged.
    pub(crate) async fn restore_all(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        use futures::TryStreamExt as _;
        let store: SharedRead = Arc::new(self.memory.clone());
        let repository =
            Repository::open(store, &"prod".parse().unwrap(), &self.owner.verify_key()).await.unwrap();
        let list = repository.snapshots().await.unwrap();
        assert!(list.anomalies.is_empty(), "{:?}", list.anomalies);
        let mut all = Vec::new();
        for snapshot in &list.snapshots {
            let identities = open::identity_file(&self.identity).unwrap().identities;
            let keyring = Arc::new(Keyring::new(&repository, Arc::new(identities)));
            let open = repository.open_snapshot(snapshot, keyring).await.unwrap();
            let stored: Vec<_> = open.objects(&ObjectPath::default()).try_collect().await.unwrap();
            all.push(stored.into_iter().map(|s| (format!("{:?}", s.name), s.json.to_vec())).collect());
        }
        all
    }
}

/// A namespace with `objects` ConfigMaps and a Secret, of this test alone.
pub(crate) fn namespace(name: &str, objects: usize) {
    let cluster = harness::shared_cluster().unwrap();
    let mut yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    for i in 0..objects {
        let noise: String = (0..40).map(|j| format!("{:016x}", lehmer(i * 40 + j))).collect();
        yaml += &format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{i:04}, namespace: {name}}}\ndata: {{noise: n{noise}}}\n"
        );
    }
    yaml += &format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {name}}}\nstringData: {{password: hunter2}}\n"
    );
    cluster.apply(&yaml).unwrap();
    // The controllers' own object comes a moment later; a comparison of snapshots wants it there from the start.
    let args = ["-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s"];
    cluster.kubectl(&args).unwrap();
}

fn lehmer(seed: usize) -> u64 {
    let mut x = seed as u64 + 1;
    for _ in 0..4 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    x
}

pub(crate) fn later(clock: &ManualClock, seconds: i64) {
    let now = clock.now();
    clock.set(Timestamp::from_second(now.as_second() + seconds).unwrap());
}
