//! The kinds of `lifeboat.dev/v1alpha1`: their shapes, and the definitions (CRDs) made from them. Plain data: knows
//! no client, and not how a run is made.

mod backup;
mod cel;
mod condition;
mod crd;
mod duration;
mod hooks;
mod schedule;
mod volume_backup;

pub use backup::{
    Backup, BackupSpec, BackupStatus, LabelSelector, Phase, Progress, Snapshot, TemplateScope, VolumesMode,
};
pub use condition::{Condition, set_condition};
pub use crd::{crds, crds_yaml};
pub use duration::{DurationError, seconds};
pub use hooks::{ExecHook, OnError, PodHooks};
pub use schedule::{BackupSchedule, BackupScheduleSpec, BackupScheduleStatus, HistoryLimits};
pub use volume_backup::{
    FROZEN_AT, NODE_LABEL, RUN_LABEL, VolumeBackup, VolumeBackupSpec, VolumeBackupStatus, VolumePhase,
};

/// The API group.
pub const GROUP: &str = "lifeboat.dev";
pub const VERSION: &str = "v1alpha1";
/// On a Backup: the BackupSchedule that made it.
pub const SCHEDULE_LABEL: &str = "lifeboat.dev/schedule";
/// On a Backup: the time that its schedule made it for, RFC 3339.
pub const SCHEDULED_AT: &str = "lifeboat.dev/scheduled-at";
