//! What a person asked for. Plain data.

use super::mapping::NamespaceMap;
use super::selection::{Fnv, Selection};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::Duration;

/// The settings of one restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Id of the snapshot; names the journal, and stands in the commands that a report suggests.
    pub snapshot: String,
    pub selection: Selection,
    pub map: NamespaceMap,
    pub rerun_jobs: bool,
    pub adopt_volumes: bool,
    /// Storage classes under other names: of the snapshot, of the target.
    pub storage_classes: BTreeMap<String, String>,
    /// What of a volume is restored, where it is not whole objects; tells such restores apart.
    pub part: String,
    /// Leave out what a deployment tool that is alive in the cluster keeps.
    pub skip_managed: bool,
    /// Kinds whose status is restored, as a person writes them.
    pub status_kinds: Vec<String>,
    /// Requests at once.
    pub in_flight: usize,
    pub waits: Waits,
}

/// How long a restore waits for what becomes ready by itself.
#[derive(Debug, Clone)]
pub struct Waits {
    pub definition: Duration,
    pub namespace: Duration,
    /// For the Service behind a webhook or API service.
    pub endpoints: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            definition: Duration::from_secs(60),
            namespace: Duration::from_secs(120),
            endpoints: Duration::from_secs(60),
        }
    }
}

impl RestoreOptions {
    /// Everything in a snapshot.
    #[must_use]
    pub fn of(snapshot: impl Into<String>) -> Self {
        Self {
            snapshot: snapshot.into(),
            selection: Selection::default(),
            map: NamespaceMap::default(),
            rerun_jobs: false,
            adopt_volumes: false,
            storage_classes: BTreeMap::new(),
            part: String::new(),
            skip_managed: false,
            status_kinds: Vec::new(),
            in_flight: 32,
            waits: Waits::default(),
        }
    }

    /// The same for the same request; names the journal together with snapshot and cluster.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Fnv(self.selection.fingerprint());
        for (old, new) in self.map.iter() {
            hash.write(format!("{old}={new};").as_bytes());
        }
        let flags = (self.rerun_jobs, self.adopt_volumes, self.skip_managed, &self.status_kinds);
        hash.write(format!("{flags:?}").as_bytes());
        if !self.storage_classes.is_empty() || !self.part.is_empty() {
            hash.write(format!("{:?}{}", self.storage_classes, self.part).as_bytes());
        }
        format!("{:016x}", hash.finish())
    }
}
