//! Where filled volumes join a restore: before anything mounts them. How they are filled is the
//! caller's matter.

use super::super::error::RestoreError;
use super::super::journal::{Extra, JournalError};
use super::super::source::ObjectKey;
use super::Run;
use futures::future::BoxFuture;

/// Notes what filling makes beside the snapshot's objects, durably, before it is used.
pub type ExtraSink<'a> = &'a (dyn Fn(Extra) -> Result<(), JournalError> + Send + Sync);

/// Fills volumes.
pub trait FillVolumes: Send + Sync {
    /// Fills a volume for each claim (keys of the snapshot) that has data, and says what became of
    /// it. Claims that are not in the answer are created without a volume. An error stops the
    /// restore, which goes on from here later.
    fn fill<'a>(
        &'a self,
        claims: Vec<ObjectKey>,
        extras: ExtraSink<'a>,
    ) -> BoxFuture<'a, Result<Vec<Filled>, String>>;
}

/// What became of one claim's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    pub claim: ObjectKey,
    /// The PersistentVolume to bind to, or why there is none: then the claim is not created.
    pub volume: Result<String, String>,
}

impl Run<'_> {
    pub(super) async fn fill_volumes(&mut self) -> Result<(), RestoreError> {
        let Some(filler) = self.hooks.volumes else { return Ok(()) };
        let claims: Vec<ObjectKey> = self
            .plan
            .claims()
            .filter(|claim| {
                self.plan
                    .facts
                    .find(claim)
                    .is_some_and(|i| !self.settled.contains_key(&self.plan.target_key(i)))
            })
            .collect();
        if claims.is_empty() {
            return Ok(());
        }
        let sink = |extra| self.journal().extra(extra);
        let filled = filler.fill(claims, &sink).await.map_err(|detail| RestoreError::Volumes { detail })?;
        for Filled { claim, volume } in filled {
            let key = (claim.namespace.unwrap_or_default(), claim.name);
            match volume {
                Ok(volume) => drop(self.rules.filled.insert(key, volume)),
                Err(reason) => drop(self.unfilled.insert(key, reason)),
            }
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
