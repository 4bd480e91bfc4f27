//! Where filled volumes join a restore: before anything mounts them, and once more when their claims exist. How they are
//! filled is the caller's matter.

use super::super::error::RestoreError;
use super::super::fields::{self, Outcome as Rule};
use super::super::journal::{Extra, JournalError};
use super::super::source::{GroupKind, ObjectKey};
use super::Run;
use crate::cluster::write::Writer;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Notes what filling makes beside the snapshot's objects, durably, before it is used.
pub type ExtraSink<'a> = &'a (dyn Fn(Extra) -> Result<(), JournalError> + Send + Sync);

/// Fills volumes.
pub trait FillVolumes: Send + Sync {
    /// Fills a volume for each claim that has data, and says what became of it. Claims that are not in the answer are
    /// created without a volume. An error stops the restore, which goes on from here later.
    fn fill<'a>(
        &'a self,
        work: Work<'a>,
        claims: Vec<ClaimToFill>,
    ) -> BoxFuture<'a, Result<Vec<Filled>, String>>;

    /// Called when the claims exist: lets go of the volumes, and takes away everything that filling made. Says which
    /// claims did not get theirs: namespace and name in the target, and why.
    fn let_go<'a>(&'a self, work: Work<'a>) -> BoxFuture<'a, Result<Vec<Unbound>, String>>;
}

/// What a restore gives to whoever fills its volumes.
#[derive(Clone)]
pub struct Work<'a> {
    /// Of the restore; the same when it goes on.
    pub id: String,
    pub writer: &'a Writer,
    pub extras: ExtraSink<'a>,
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A claim that is going to be created.
#[derive(Debug, Clone)]
pub struct ClaimToFill {
    /// In the snapshot.
    pub key: ObjectKey,
    /// Its namespace in the target.
    pub namespace: String,
    /// As it will be created, but for its volume.
    pub document: Value,
}

/// What became of one claim's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    pub claim: ObjectKey,
    /// The PersistentVolume to bind to, or why there is none: then the claim is not created.
    pub volume: Result<String, String>,
    /// What of the data is not as it was, though it is all there.
    pub losses: Vec<String>,
}

/// A filled volume that its claim did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbound {
    pub namespace: String,
    pub claim: String,
    pub why: String,
}

impl Run<'_> {
    /// Runs `with` what fills volumes.
    fn work(&self) -> (String, impl Fn(Extra) -> Result<(), JournalError> + Send + Sync) {
        let id = self.journal().id().to_owned();
        (id, |extra| self.journal().extra(extra))
    }

    pub(super) async fn fill_volumes(&mut self) -> Result<(), RestoreError> {
        let Some(filler) = self.hooks.volumes else { return Ok(()) };
        let claims = self.claims_to_fill().await?;
        if claims.is_empty() {
            return Ok(());
        }
        let filled = {
            let (id, extras) = self.work();
            let work = Work { id, writer: &self.writer, extras: &extras };
            filler.fill(work, claims).await.map_err(|detail| RestoreError::Volumes { detail })?
        };
        for Filled { claim, volume, losses } in filled {
            for loss in losses {
                self.shared().report.dropped.push(&claim, loss);
            }
            let key = (claim.namespace.unwrap_or_default(), claim.name);
            match volume {
                Ok(volume) => drop(self.rules.filled.insert(key, volume)),
                Err(reason) => drop(self.unfilled.insert(key, reason)),
            }
        }
        Ok(())
    }

    /// The claims that no run has settled, as they will be.
    async fn claims_to_fill(&self) -> Result<Vec<ClaimToFill>, RestoreError> {
        let mut wanted: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
        for claim in self.plan.claims() {
            let index = self.plan.facts.find(&claim);
            if index.is_some_and(|i| !self.settled.contains_key(&self.plan.target_key(i))) {
                wanted.entry(claim.namespace).or_default().insert(claim.name);
            }
        }
        let kinds = BTreeSet::from([GroupKind::new("", "PersistentVolumeClaim")]);
        let mut claims = Vec::new();
        for (namespace, names) in wanted {
            let mut objects = self.source.objects(namespace.as_deref(), Some(&kinds));
            loop {
                let object = match objects.try_next().await {
                    Ok(Some(object)) => object,
                    Ok(None) => break,
                    Err(e) if e.key.is_some() => continue,
                    Err(e) => return Err(e.into()),
                };
                if !names.contains(&object.key.name) {
                    continue;
                }
                let Rule::Create(cleaned) = fields::clean(&object.key, &object.body, &self.rules) else {
                    continue;
                };
                let Ok(document) = serde_json::from_slice(&cleaned.body) else { continue };
                let namespace = self.plan.options.map.of(namespace.as_deref().unwrap_or_default()).to_owned();
                claims.push(ClaimToFill { key: object.key, namespace, document });
            }
        }
        Ok(claims)
    }

    /// The claims exist now, or do not; nothing of what filling made is needed any more.
    pub(super) async fn let_go_of_volumes(&self) -> Result<(), RestoreError> {
        let Some(filler) = self.hooks.volumes else { return Ok(()) };
        if self.journal().extras().is_empty() {
            return Ok(());
        }
        let (id, extras) = self.work();
        let work = Work { id, writer: &self.writer, extras: &extras };
        let unbound = filler.let_go(work).await.map_err(|detail| RestoreError::Volumes { detail })?;
        for Unbound { namespace, claim, why } in unbound {
            let kind = GroupKind::new("", "PersistentVolumeClaim");
            let key = ObjectKey { namespace: Some(namespace), kind, name: claim };
            self.shared().report.failed.push(&key, why);
        }
        Ok(())
    }

    /// Why a claim must not be created, if so.
    pub(super) fn unfilled(&self, key: &ObjectKey) -> Option<&str> {
        if self.unfilled.is_empty() || !key.kind.is("", "PersistentVolumeClaim") {
            return None;
        }
        let claim = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        self.unfilled.get(&claim).map(String::as_str)
    }
}
