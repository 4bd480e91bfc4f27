//! Writes the status of one Backup: only while this process leads, only over what it has seen, and never into another
//! object of the same name. Knows nothing of what the status means.

use super::elect::Term;
use crate::cluster::ClusterError;
use crate::cluster::own::Own;
use crate::kinds::{Backup, BackupStatus};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::sync::Mutex;

const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteStop {
    /// The Backup was deleted.
    #[error("the Backup is gone")]
    Gone,
    /// This process does not lead any more.
    #[error("this controller no longer leads")]
    Lost,
    #[error(transparent)]
    Refused(#[from] ClusterError),
}

/// The status of one Backup.
#[derive(Debug)]
pub struct StatusWriter {
    own: Own,
    term: Term,
    name: String,
    uid: String,
    latest: Mutex<Backup>,
}

impl StatusWriter {
    #[must_use]
    pub fn new(own: Own, term: Term, backup: Backup) -> Self {
        let name = backup.metadata.name.clone().unwrap_or_default();
        let uid = backup.metadata.uid.clone().unwrap_or_default();
        Self { own, term, name, uid, latest: Mutex::new(backup) }
    }

    /// Changes it, as long as it takes.
    ///
    /// # Errors
    /// If the Backup is gone, this process no longer leads, or the API server refuses for good.
    pub async fn write(
        &self,
        change: impl Fn(&BackupStatus) -> BackupStatus,
    ) -> Result<BackupStatus, WriteStop> {
        let mut pause = PAUSE;
        loop {
            match self.once(&change).await {
                Err(WriteStop::Refused(error)) if !error.permanent() || error.code() == Some(401) => {
                    tracing::warn!(%error, backup = %self.name, "the status cannot be written; trying again");
                    tokio::time::sleep(error.retry_after().unwrap_or(pause).min(MAX_PAUSE)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Tries once to change it.
    ///
    /// # Errors
    /// As [`Self::write`], and what passes.
    pub async fn once(
        &self,
        change: impl Fn(&BackupStatus) -> BackupStatus,
    ) -> Result<BackupStatus, WriteStop> {
        let mut latest = self.latest.lock().await;
        for _ in 0..4 {
            if !self.term.lasts() {
                return Err(WriteStop::Lost);
            }
            let old = latest.status.clone().unwrap_or_default();
            let new = change(&old);
            let version = latest.metadata.resource_version.clone().unwrap_or_default();
            let sent = self.own.patch_status::<Backup>(&self.name, &self.uid, &version, patch(&old, &new));
            match sent.await {
                Ok(backup) => {
                    *latest = backup;
                    return Ok(new);
                }
                Err(error) if error.code() == Some(404) => return Err(WriteStop::Gone),
                Err(error) if error.code() == Some(409) => match self.own.get::<Backup>(&self.name).await? {
                    Some(now) if now.metadata.uid.as_deref() == Some(&self.uid) => *latest = now,
                    _ => return Err(WriteStop::Gone),
                },
                Err(error) => return Err(error.into()),
            }
        }
        // Somebody changes it all the time; so the caller comes again.
        Ok(latest.status.clone().unwrap_or_default())
    }
}

/// A merge patch that also takes away what is no longer there.
pub(super) fn patch<T: serde::Serialize>(old: &T, new: &T) -> Value {
    let object = |status: &T| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut out = object(new);
    for key in object(old).keys() {
        if !out.contains_key(key) {
            out.insert(key.clone(), Value::Null);
        }
    }
    Value::Object(out)
}
