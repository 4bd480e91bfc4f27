//! Carries out what was planned, all but running a Backup: one request an action, in order, up to the first that fails.

use super::elect::Term;
use super::plan::{Action, Memory};
use super::write::patch;
use crate::cluster::ClusterError;
use crate::cluster::events::{About, Recorder, Tone};
use crate::cluster::own::Own;
use crate::kinds::{Backup, BackupSchedule, SCHEDULE_LABEL, SCHEDULED_AT};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_format::id::Sha256;

/// Ties to the cluster.
#[derive(Debug, Clone)]
pub struct Actor {
    pub own: Own,
    pub term: Term,
    pub events: Recorder,
}

impl Actor {
    /// Creates the Backup of a schedule's time; what it is then. A Backup of that schedule and time that is there
    /// already is the one.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create(
        &self,
        schedule: &BackupSchedule,
        at: Timestamp,
        memory: &mut Memory,
    ) -> Result<Option<Backup>, ClusterError> {
        let uid = schedule.metadata.uid.clone().unwrap_or_default();
        let mut made = None;
        for name in names(schedule, at) {
            if !self.term.lasts() {
                return Ok(None);
            }
            let backup = new_backup(schedule, &name, at);
            if let Some(backup) = self.own.create(&backup).await? {
                made = Some(backup);
                break;
            }
            match self.own.get::<Backup>(&name).await? {
                Some(there) if is_of(&there, schedule, at) => {
                    made = Some(there);
                    break;
                }
                // Somebody else's object has the name.
                _ => {}
            }
        }
        memory.served.insert(uid, at);
        Ok(made)
    }

    /// Says that a Backup waits for its turn.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn queue(&self, backup: &Backup, now: Timestamp) -> Result<Option<Backup>, ClusterError> {
        if !self.term.lasts() {
            return Ok(None);
        }
        let (name, uid) = (backup.metadata.name.as_deref(), backup.metadata.uid.as_deref());
        let status = super::status::queued(super::status::whole(now));
        let version = backup.metadata.resource_version.as_deref().unwrap_or_default();
        let status = patch(&crate::kinds::BackupStatus::default(), &status);
        let sent = self.own.patch_status(name.unwrap_or_default(), uid.unwrap_or_default(), version, status);
        match sent.await {
            Ok(new) => Ok(Some(new)),
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries out what is no creation and no run.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn act(
        &self,
        action: &Action,
        schedule: Option<&BackupSchedule>,
    ) -> Result<Option<BackupSchedule>, ClusterError> {
        if !self.term.lasts() {
            return Ok(None);
        }
        match action {
            Action::Missed { schedule, uid, count, newest } => {
                let note = format!(
                    "{count} times of the schedule were left out, the newest {newest}: the agent was not there, or another backup ran"
                );
                let about = About { kind: "BackupSchedule", name: schedule.clone(), uid: uid.clone() };
                self.events.tell(&about, Tone::Warning, "MissedSchedule", &note);
            }
            Action::Status { schedule: name, uid, status } => {
                let old = schedule.and_then(|s| s.status.clone()).unwrap_or_default();
                let version =
                    schedule.and_then(|s| s.metadata.resource_version.as_deref()).unwrap_or_default();
                let invalid = status.conditions.iter().find(|c| c.kind == "Invalid" && c.status == "True");
                if let Some(condition) = invalid {
                    let about = About { kind: "BackupSchedule", name: name.clone(), uid: uid.clone() };
                    self.events.tell(&about, Tone::Warning, "Invalid", &condition.message);
                }
                let sent =
                    self.own.patch_status::<BackupSchedule>(name, uid, version, patch(&old, &**status)).await;
                return match sent {
                    Ok(new) => Ok(Some(new)),
                    // The watch tells what changed, and it is planned again.
                    Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(None),
                    Err(error) => Err(error),
                };
            }
            Action::Forget { name, uid } => {
                tracing::debug!(backup = name, "removing the object of an old backup; its snapshot stays");
                self.own.delete::<Backup>(name, uid).await?;
            }
            Action::Start { .. } | Action::Cancel { .. } | Action::Create { .. } | Action::Queue { .. } => {}
        }
        Ok(None)
    }
}

fn is_of(backup: &Backup, schedule: &BackupSchedule, at: Timestamp) -> bool {
    super::plan::schedule_of(backup) == schedule.metadata.name.as_deref()
        && super::plan::scheduled_at(backup) == Some(at)
}

/// The same for every controller that makes it: so none is made twice.
fn names(schedule: &BackupSchedule, at: Timestamp) -> [String; 2] {
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    let time = at.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M").to_string();
    let uid = Sha256::of(schedule.metadata.uid.as_deref().unwrap_or_default().as_bytes()).to_hex();
    [format!("{name}-{time}"), format!("{name}-{time}-{}", &uid[..8])]
}

fn new_backup(schedule: &BackupSchedule, name: &str, at: Timestamp) -> Backup {
    let of = schedule.metadata.name.clone().unwrap_or_default();
    let mut backup = Backup::new(name, schedule.spec.template.clone());
    backup.spec.schedule_name = Some(of.clone());
    backup.metadata.labels = Some([(SCHEDULE_LABEL.to_owned(), of)].into());
    backup.metadata.annotations = Some([(SCHEDULED_AT.to_owned(), at.to_string())].into());
    backup
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::BackupScheduleSpec;

    #[test]
    fn a_backup_is_named_by_its_schedule_and_time() {
        let mut schedule = BackupSchedule::new(&"s".repeat(48), BackupScheduleSpec::default());
        schedule.metadata.uid = Some("u".to_owned());
        let at: Timestamp = "2026-11-24T02:03:00Z".parse().unwrap();
        let [name, other] = names(&schedule, at);
        assert_eq!(name, format!("{}-20261124-0203", "s".repeat(48)));
        assert!(other.starts_with(&name) && other.len() > name.len());
        let backup = new_backup(&schedule, &name, at);
        assert!(is_of(&backup, &schedule, at) && !is_of(&backup, &schedule, Timestamp::UNIX_EPOCH));
    }
}
