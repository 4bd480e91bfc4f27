//! A cluster that is scripted, volumes that are folders, and workers of this process that read them.

use crate::backup::resume::Cadence;
use crate::backup::volumes::{Choice, ChooseError, Chosen, Claim, Consistency, Outcome, Task, Volumes};
use crate::backup::{BackupError, Committed, Control, Request, Stop, Wanted, backup_under, run_of};
use crate::backup_path::tests::world::World;
use crate::cluster::test_server::{TestServer, ok, quick, serve};
use crate::volume::work::work_at;
use crate::volume::{Order, Work, WorkProgress, WorkResult};
use futures::future::BoxFuture;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::store::SharedCreate;
use lifeboat_format::id::{RunId, Sha256};
use lifeboat_format::layout;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

const CORE: &str = r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{},"versions":[{"version":"v1","resources":[
  {"resource":"namespaces","responseKind":{"kind":"Namespace"},"scope":"Cluster","verbs":["list","create","delete"]},
  {"resource":"persistentvolumeclaims","responseKind":{"kind":"PersistentVolumeClaim"},"scope":"Namespaced","verbs":["list","create","delete"]},
  {"resource":"configmaps","responseKind":{"kind":"ConfigMap"},"scope":"Namespaced","verbs":["list","create","delete"]}]}]}]}"#;

/// What a worker does with a volume.
#[derive(Clone)]
pub(super) enum Worker {
    Reads,
    /// Says that it cannot.
    Fails,
    /// Says nothing.
    Silent,
    /// Reads it and says something else.
    Lies(Arc<dyn Fn(&mut WorkResult) + Send + Sync>),
    /// Names something that is no result.
    Names(Sha256),
    /// Is stopped once the store has so many packs.
    Dies(usize),
}

/// The volumes of the cluster, read in this process.
pub(super) struct Local {
    pub(super) folder: PathBuf,
    pub(super) store: Mutex<SharedCreate>,
    clock: Arc<dyn Clock>,
    memory: lifeboat_common::store::MemoryStore,
    pub(super) claims: Mutex<BTreeMap<Claim, (String, Choice, Worker)>>,
    pub(super) broken: Mutex<bool>,
    pub(super) lists_max: Mutex<usize>,
    /// Results of runs that have not committed, as VolumeBackups keep them.
    pub(super) finished: Mutex<HashMap<(RunId, Claim), Outcome>>,
    pub(super) reads: Mutex<usize>,
}

pub(super) fn claim(name: &str) -> Claim {
    let (namespace, name) = name.split_once('/').unwrap();
    Claim { namespace: namespace.to_owned(), name: name.to_owned() }
}

impl Local {
    async fn work(&self, task: &Task, worker: Worker) -> Option<Outcome> {
        let claim = task.claim.clone();
        let missed = |reason: &str, upload_log| Outcome::Missed {
            claim: claim.clone(),
            reason: reason.to_owned(),
            message: "as it was told".to_owned(),
            upload_log,
        };
        let store = self.store.lock().unwrap().clone();
        let order = Order::fetch(&*store, &task.order, &task.key).await.unwrap();
        let root = self.folder.join(&claim.namespace).join(&claim.name);
        let progress = Arc::new(WorkProgress::default());
        let cadence = Cadence { pause: Duration::ZERO, ..Cadence::TREES };
        let work = Work {
            store: store.clone(),
            order: &order,
            key: &task.key,
            root: &root,
            resume: None,
            clock: self.clock.clone(),
            progress: progress.clone(),
        };
        let stop = async {
            match worker {
                Worker::Dies(packs) => {
                    while self.memory.keys().iter().filter(|k| k.starts_with("packs/")).count() < packs {
                        tokio::task::yield_now().await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        *self.reads.lock().unwrap() += 1;
        let done = match &worker {
            Worker::Silent => return None,
            Worker::Fails => return Some(missed("Told", None)),
            _ => work_at(work, cadence, std::pin::pin!(stop)).await,
        };
        let result = match (done, &worker) {
            (Err(BackupError::Stopped), _) => return Some(missed("Died", progress.upload_log())),
            (Err(error), _) => panic!("{error}"),
            (Ok(mut done), Worker::Lies(lie)) => {
                lie(&mut done.result);
                let (name, bytes) = done.result.seal(&task.key);
                self.memory.put(&layout::agent(&name), bytes);
                name
            }
            (Ok(_), Worker::Names(name)) => *name,
            (Ok(done), _) => done.name,
        };
        Some(Outcome::Read { claim, result, key: task.key.clone(), consistency: Consistency::Live })
    }
}

impl Volumes for Local {
    fn choose<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Vec<Chosen>, ChooseError>> {
        let claims = self.claims.lock().unwrap().clone();
        let one = |(claim, (uid, choice, _))| Chosen { claim, uid, choice };
        let chosen: Vec<Chosen> = claims.into_iter().map(one).collect();
        let broken = *self.broken.lock().unwrap();
        let error = || ChooseError { reason: "Forbidden".to_owned(), message: "may not list".to_owned() };
        Box::pin(async move { if broken { Err(error()) } else { Ok(chosen) } })
    }

    fn read<'a>(
        &'a self,
        run: RunId,
        tasks: Vec<Task>,
        outcomes: UnboundedSender<Outcome>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for task in tasks {
                let place = (run, task.claim.clone());
                let before = self.finished.lock().unwrap().get(&place).cloned().filter(|_| !task.anew);
                let worker = self.claims.lock().unwrap()[&task.claim].2.clone();
                let outcome = match before {
                    Some(before) => Some(before),
                    None => self.work(&task, worker).await,
                };
                if let Some(outcome) = outcome {
                    if matches!(outcome, Outcome::Read { .. }) {
                        self.finished.lock().unwrap().insert(place, outcome.clone());
                    }
                    outcomes.send(outcome).unwrap();
                }
            }
        })
    }

    fn lists_max(&self) -> usize {
        *self.lists_max.lock().unwrap()
    }

    fn committed<'a>(&'a self, run: RunId) -> BoxFuture<'a, ()> {
        self.finished.lock().unwrap().retain(|(r, _), _| *r != run);
        Box::pin(async {})
    }
}

/// All of it.
pub(super) struct Site {
    pub(super) world: World,
    pub(super) local: Local,
    server: TestServer,
    runs: AtomicU64,
}

impl Site {
    pub(super) async fn new(claims: &[&str]) -> Self {
        let world = World::new();
        let names: Vec<Claim> = claims.iter().map(|c| claim(c)).collect();
        let server = serve(quick(), move |path| ok(&answer(path, &names))).await;
        let local = Local {
            folder: world.tree(),
            store: Mutex::new(world.plain()),
            clock: world.clock.clone(),
            memory: world.memory.clone(),
            claims: Mutex::default(),
            broken: Mutex::default(),
            lists_max: Mutex::new(lifeboat_format::limits::MANIFEST_LISTS_MAX),
            finished: Mutex::default(),
            reads: Mutex::default(),
        };
        let site = Self { world, local, server, runs: AtomicU64::new(0) };
        for name in claims {
            site.set(name, Choice::Read, Worker::Reads);
            std::fs::create_dir_all(site.local.folder.join(name)).unwrap();
        }
        site
    }

    pub(super) fn set(&self, name: &str, choice: Choice, worker: Worker) {
        let value = (format!("uid of {name}"), choice, worker);
        self.local.claims.lock().unwrap().insert(claim(name), value);
    }

    pub(super) async fn run(&self) -> Result<Committed, BackupError> {
        self.run_of("a backup of its own", true, self.world.plain()).await
    }

    /// A run that a Backup names; `uid` is followed by a number, unless it begins with `=`.
    pub(super) async fn run_of(
        &self,
        uid: &str,
        with_volumes: bool,
        store: SharedCreate,
    ) -> Result<Committed, BackupError> {
        let now = lifeboat_common::clock::SystemClock.now().as_second() + 10;
        if self.world.clock.now().as_second() < now {
            self.world.clock.set(Timestamp::from_second(now).unwrap());
        }
        let setup = self.world.setup(store);
        let request = Wanted::default().request(setup.charter.charter()).unwrap();
        let uid = if uid.starts_with('=') {
            uid.to_owned()
        } else {
            format!("{uid} {}", self.runs.fetch_add(1, Ordering::Relaxed))
        };
        let request = Request { run: Some(run_of(&uid)), ..request };
        let stop = Stop::never();
        let volumes: Option<&dyn Volumes> = with_volumes.then_some(&self.local);
        let control =
            Control { progress: &|_, _| {}, committing: &|| {}, may_commit: &|| true, stop: &stop, volumes };
        backup_under(&setup, &self.server.cluster, &request, self.world.clock.clone(), control).await
    }
}

fn answer(path: &str, claims: &[Claim]) -> String {
    let list = |kind: &str, items: Vec<String>| {
        format!(
            r#"{{"kind":"{kind}List","metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
            items.join(",")
        )
    };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match path {
        "/api" => CORE.to_owned(),
        "/apis" => r#"{"kind":"APIGroupDiscoveryList","items":[]}"#.to_owned(),
        "/api/v1/namespaces" => {
            let mut names = vec!["kube-system".to_owned()];
            names.extend(claims.iter().map(|c| c.namespace.clone()));
            names.sort();
            names.dedup();
            let item = |n: String| format!(r#"{{"metadata":{{"name":"{n}","uid":"uid-{n}"}}}}"#);
            list("Namespace", names.into_iter().map(item).collect())
        }
        "/api/v1/persistentvolumeclaims" => {
            let item = |c: &Claim| {
                format!(r#"{{"metadata":{{"name":"{}","namespace":"{}","uid":"u"}}}}"#, c.name, c.namespace)
            };
            list("PersistentVolumeClaim", claims.iter().map(item).collect())
        }
        "/api/v1/configmaps" => {
            let item = |c: &Claim| {
                format!(
                    r#"{{"metadata":{{"name":"settings","namespace":"{}","uid":"u"}},"data":{{"a":"b"}}}}"#,
                    c.namespace
                )
            };
            let mut items: Vec<String> = claims.iter().map(item).collect();
            items.sort();
            items.dedup();
            list("ConfigMap", items)
        }
        _ => list("Unknown", Vec::new()),
    }
}
