//! Asking the API server what it would do with each object, where it can know. Changes nothing.

use super::super::error::RestoreError;
use super::super::facts::{Index, Verdict};
use super::super::fields::{self, Outcome};
use super::super::order::Phase;
use super::super::preflight::{Finding, Sort};
use super::super::settle::group_of;
use super::super::source::{ObjectSource, StoredObject};
use super::{Checks, RestorePlan};
use crate::cluster::Cluster;
use crate::cluster::write::{Limits, Refusal, Writer};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;

/// Refusals that are listed.
const MAX_REFUSALS: usize = 1_000;

#[derive(Deserialize)]
pub(in super::super) struct Version {
    #[serde(rename = "apiVersion")]
    api_version: String,
}

impl Version {
    /// The version a document is written in, without its group.
    pub(in super::super) fn of(body: &[u8]) -> String {
        let found: Option<Self> = serde_json::from_slice(body).ok();
        let text = found.map(|v| v.api_version).unwrap_or_default();
        text.strip_prefix(group_of(&text)).unwrap_or(&text).trim_start_matches('/').to_owned()
    }
}

impl RestorePlan {
    /// Tries every object by a server-side dry run where its namespace and kind exist, and adds
    /// what was refused to the findings.
    pub async fn dry_run(
        &mut self,
        cluster: &Cluster,
        source: &dyn ObjectSource,
    ) -> Result<(), RestoreError> {
        let writer = Writer::new(cluster.client().clone(), "lifeboat-restore-plan", Limits::default());
        let mut checks = Checks::default();
        let mut findings = Vec::new();
        for phase in Phase::ALL {
            for (scope, kinds) in self.scopes_of(phase) {
                let this = &*self;
                let answers = source
                    .objects(scope.as_deref(), Some(&kinds))
                    .map(|object| async { this.try_one(&writer, object?).await })
                    .buffer_unordered(this.options.in_flight.max(1));
                let mut answers = std::pin::pin!(answers);
                while let Some(answer) = answers.next().await {
                    match answer? {
                        Tried::NotPlanned => {}
                        Tried::ByRules => checks.by_rules += 1,
                        Tried::ByServer(None) => checks.by_server += 1,
                        Tried::ByServer(Some((_, refusal))) if refusal.code == 409 => checks.existing += 1,
                        Tried::ByServer(Some((index, refusal))) => {
                            checks.by_server += 1;
                            if findings.len() < MAX_REFUSALS {
                                let target = this.target_key(index).to_string();
                                findings.push(Finding {
                                    sort: Sort::Refused,
                                    target,
                                    message: format!("the API server would not take it: {refusal}"),
                                });
                            }
                        }
                    }
                }
            }
        }
        checks.by_rules += self.bare_namespaces.len();
        self.summary.findings.extend(findings);
        self.summary.checks = Some(checks);
        Ok(())
    }

    async fn try_one(&self, writer: &Writer, object: StoredObject) -> Result<Tried, RestoreError> {
        let Some(index) = self.planned(&object) else { return Ok(Tried::NotPlanned) };
        let key = self.target_key(index);
        let exists = key.namespace.as_ref().is_none_or(|n| self.target.namespaces.contains(n));
        let path = self.target.served.path(&key.kind, &Version::of(&object.body));
        let (true, Some(path)) = (exists, path) else { return Ok(Tried::ByRules) };
        let Outcome::Create(cleaned) = fields::clean(&object.key, &object.body, &self.rules) else {
            return Ok(Tried::NotPlanned);
        };
        let asked = writer.try_create(&path, key.namespace.as_deref(), Bytes::from(cleaned.body)).await;
        Ok(Tried::ByServer(asked?.map(|refusal| (index, refusal))))
    }

    /// The position of a stored object that is to be created.
    pub(in super::super) fn planned(&self, object: &StoredObject) -> Option<Index> {
        let index = self.facts.find(&object.key)?;
        (self.facts.get(index).verdict == Verdict::Create).then_some(index)
    }
}

enum Tried {
    NotPlanned,
    ByRules,
    ByServer(Option<(Index, Refusal)>),
}
