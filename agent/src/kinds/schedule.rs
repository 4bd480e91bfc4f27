//! `BackupSchedule`: when backups are made, and of what. Plain data.

#![allow(
    clippy::duplicated_attributes,
    reason = "columns of one type; the lint takes them for repeated attributes"
)]

use super::backup::BackupSpec;
use super::condition::Condition;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many finished Backups of a schedule are kept as objects. Snapshots are not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HistoryLimits {
    /// Backups with a snapshot.
    pub successful: i32,
    /// Backups without one.
    pub failed: i32,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { successful: 10, failed: 3 }
    }
}

/// When backups are made, and of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, kube::CustomResource)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "BackupSchedule",
    namespaced,
    status = "BackupScheduleStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "lbs",
    category = "lifeboat",
    doc = "Makes a Backup of this cluster at every time that it names.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "TimeZone", type_ = "string", json_path = ".spec.timeZone"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Last success", type_ = "date", json_path = ".status.lastSuccessfulRun"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active", priority = 1),
    printcolumn(
        name = "Invalid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Invalid')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BackupScheduleSpec {
    /// Five fields (minute, hour, day of the month, month, day of the week), or one of @hourly, @daily, @weekly,
    /// @monthly, @yearly, @daily-random. The last is one minute of the night, the same every day and another one in
    /// every cluster.
    pub schedule: String,
    /// The time zone of the schedule, as Europe/Stockholm.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Makes no Backups while it is true. What was missed then is not made up.
    #[serde(default)]
    pub paused: bool,
    /// A Backup that could not begin for so long after its time is left out. Default: it is made up, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_deadline_seconds: Option<i64>,
    /// What to back up. Empty: everything.
    #[serde(default)]
    pub template: BackupSpec,
    /// How many finished Backups are kept as objects. Snapshots are not touched.
    #[serde(default)]
    pub history_limits: HistoryLimits,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What a schedule did, and what it will do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupScheduleStatus {
    /// Up to here every time of the schedule was served or given up.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Timestamp>,
    /// When its newest Backup began.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Timestamp>,
    /// When its newest Backup with a snapshot ended.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_run: Option<Timestamp>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Timestamp>,
    /// Its Backup that waits or runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Times that were given up, in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_runs: Option<i64>,
    /// The schedule and time zone that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Invalid: True when the schedule cannot be followed, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
