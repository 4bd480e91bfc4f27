//! The barriers after definitions and namespaces, and the namespaces of which a snapshot has no
//! object.

use super::super::error::RestoreError;
use super::super::journal::Outcome;
use super::super::order::Phase;
use super::super::source::{GroupKind, ObjectKey};
use super::Run;
use crate::cluster::write::{Created, KindPath};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

impl Run<'_> {
    /// Waits for the definitions that are there now; says whether any was made.
    pub(super) async fn wait_for_definitions(&self) -> Result<bool, RestoreError> {
        let made = self.placed(Phase::Definitions, true);
        let any = !made.is_empty();
        let within = self.plan.options.waits.definition;
        stream::iter(made.into_iter().map(Ok))
            .try_for_each_concurrent(self.plan.options.in_flight.max(1), |key| async move {
                if !self.writer.established(&key.name, within).await? {
                    let text = format!("was created, but is not established after {} s", within.as_secs());
                    self.shared().report.failed.push(&key, text);
                }
                Ok::<_, RestoreError>(())
            })
            .await?;
        Ok(any)
    }

    /// Waits for namespaces, also for those that are just being deleted.
    pub(super) async fn wait_for_namespaces(&self) -> Result<(), RestoreError> {
        let within = self.plan.options.waits.namespace;
        stream::iter(self.placed(Phase::Namespaces, false).into_iter().map(Ok))
            .try_for_each_concurrent(self.plan.options.in_flight.max(1), |key| async move {
                if !self.writer.active(&key.name, within).await? {
                    let text = format!(
                        "is not active after {} s: it is being deleted, or was deleted meanwhile",
                        within.as_secs()
                    );
                    self.shared().report.failed.push(&key, text);
                }
                Ok::<_, RestoreError>(())
            })
            .await
    }

    fn placed(&self, phase: Phase, ours: bool) -> Vec<ObjectKey> {
        let shared = self.shared();
        let wanted = shared
            .placed
            .iter()
            .filter(|(index, placed)| self.plan.facts.phase_of(**index) == phase && (placed.ours || !ours));
        wanted.map(|(index, _)| self.plan.target_key(*index)).collect()
    }

    /// Makes the namespaces that objects need and of which there is no object in the snapshot.
    pub(super) async fn bare_namespaces(&self) -> Result<(), RestoreError> {
        let path = KindPath {
            group: String::new(),
            version: "v1".into(),
            plural: "namespaces".into(),
            namespaced: false,
        };
        let mut names = stream::iter(&self.plan.bare_namespaces);
        while let Some(name) = names.next().await {
            let name = self.plan.options.map.of(name);
            let key =
                ObjectKey { namespace: None, kind: GroupKind::new("", "Namespace"), name: name.to_owned() };
            let outcome = self.settled.get(&key).map(|settled| settled.outcome);
            if let Some(outcome) = outcome {
                self.shared().count(&key, outcome);
                continue;
            }
            self.journal().intend([&key])?.flush()?;
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            match self.writer.create(&path, None, name, Bytes::from(body.to_string())).await? {
                Created::Made(live) => {
                    self.journal().settle(&key, Outcome::Created, &live.uid)?;
                    let mut shared = self.shared();
                    shared.count(&key, Outcome::Created);
                    shared.report.notes.push(&key, "made without labels: the snapshot has no object of it");
                }
                Created::Exists(found) => {
                    self.journal().settle(&key, Outcome::LeftSame, &found.live.uid)?;
                    self.shared().count(&key, Outcome::LeftSame);
                }
                Created::Refused(refusal) => {
                    self.shared().report.failed.push(&key, refusal.to_string());
                }
            }
            self.writer.active(name, self.plan.options.waits.namespace).await?;
        }
        Ok(())
    }
}
