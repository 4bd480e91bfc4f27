//! What a person's command asks of the controller's kinds: make a Backup, read a schedule, list Backups, watch one end.
//! Knows nothing of how a Backup is made.

use super::connect::Cluster;
use super::error::ClusterError;
use super::resource::percent;
use super::text::{MAX_MESSAGE, clean};
use crate::kinds::{Backup, BackupSchedule, GROUP, VERSION};
use futures::{Stream, StreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The largest answer: a thousand Backups of a few KiB.
const MAX_LIST: usize = 16 << 20;
/// Objects of a kind that are looked at; history limits keep far fewer.
const MAX_OBJECTS: usize = 1000;

/// The controller's kinds in its namespace.
#[derive(Debug, Clone)]
pub struct OnDemand {
    cluster: Cluster,
    namespace: String,
}

/// What was seen of a Backup that is watched.
#[derive(Debug)]
pub enum Watched {
    /// As it is now.
    There(Box<Backup>),
    /// Nobody has it any more: it was deleted.
    Gone,
    /// The watch broke and is being tried again; why.
    Interrupted(String),
}

#[derive(Deserialize)]
struct List<K> {
    items: Vec<K>,
}

impl OnDemand {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned() }
    }

    /// Makes a Backup; its name is the server's to choose where only `generateName` is set.
    ///
    /// # Errors
    /// What the server says, the words of its schema included.
    pub async fn create(&self, backup: &Backup) -> Result<Backup, ClusterError> {
        let path =
            format!("{}?fieldManager={}", self.path("backups", ""), percent(self.cluster.field_manager()));
        let body = serde_json::to_vec(backup).map_err(|e| self.cluster.malformed(&path, &e.to_string()))?;
        let request = http::Request::post(&path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| self.cluster.malformed(&path, &e.to_string()))?;
        let answer = self.cluster.request_bounded(request, MAX_LIST).await?;
        self.read(&path, &answer)
    }

    /// A schedule.
    ///
    /// # Errors
    /// What the server says.
    pub async fn schedule(&self, name: &str) -> Result<BackupSchedule, ClusterError> {
        let path = self.path("backupschedules", name);
        let answer = self.cluster.get(&path).await?;
        self.read(&path, &answer)
    }

    /// All schedules there are.
    ///
    /// # Errors
    /// What the server says.
    pub async fn schedules(&self) -> Result<Vec<BackupSchedule>, ClusterError> {
        self.list(&self.path("backupschedules", "")).await
    }

    /// All Backups there are, at most a thousand.
    ///
    /// # Errors
    /// What the server says.
    pub async fn backups(&self) -> Result<Vec<Backup>, ClusterError> {
        self.list(&self.path("backups", "")).await
    }

    async fn list<K: DeserializeOwned>(&self, path: &str) -> Result<Vec<K>, ClusterError> {
        let path = format!("{path}?limit={MAX_OBJECTS}");
        let request = self.cluster.get_request(&path, "application/json")?;
        let answer = self.cluster.request_bounded(request, MAX_LIST).await?;
        Ok(self.read::<List<K>>(&path, &answer)?.items)
    }

    /// A Backup's states from now on. Ends never: the caller bounds the time.
    pub fn watch(&self, name: &str) -> impl Stream<Item = Watched> + Send + use<> {
        let client = self.cluster.long_lived_client().clone();
        let api = kube::Api::<Backup>::namespaced(client, &self.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher::watcher(api, config).default_backoff();
        let mut found = false;
        events.filter_map(move |event| {
            let watched = match event {
                Ok(watcher::Event::Apply(backup)) => Some(Watched::There(Box::new(backup))),
                Ok(watcher::Event::InitApply(backup)) => {
                    found = true;
                    Some(Watched::There(Box::new(backup)))
                }
                Ok(watcher::Event::Init) => {
                    found = false;
                    None
                }
                Ok(watcher::Event::InitDone) => (!found).then_some(Watched::Gone),
                Ok(watcher::Event::Delete(_)) => Some(Watched::Gone),
                Err(error) => Some(Watched::Interrupted(clean(&error.to_string(), MAX_MESSAGE))),
            };
            std::future::ready(watched)
        })
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let namespace = percent(&self.namespace);
        let kind = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}");
        if name.is_empty() { kind } else { format!("{kind}/{}", percent(name)) }
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &[u8]) -> Result<T, ClusterError> {
        serde_json::from_slice(answer).map_err(|e| self.cluster.malformed(path, &e.to_string()))
    }
}
