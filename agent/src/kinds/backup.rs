//! `Backup`: one run, asked for by a person or a schedule. Plain data.

#![allow(
    clippy::duplicated_attributes,
    reason = "columns of one type; the lint takes them for repeated attributes"
)]

use super::condition::Condition;
use super::hooks::PodHooks;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which cluster-scoped objects belong to a backup. Selected Namespaces always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TemplateScope {
    Off,
    Related,
    All,
}

/// Which volumes belong to a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumesMode {
    /// Every claim's, apart from those that are opted out.
    #[default]
    All,
    /// Those that a Pod names in its annotation backup.velero.io/backup-volumes.
    OptIn,
    /// None.
    Off,
}

/// What to back up. An empty spec is a full backup: every user namespace and all cluster-scoped objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, kube::CustomResource)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "lb",
    category = "lifeboat",
    doc = "One backup of this cluster. Deleting it cancels it while it runs; it never deletes a snapshot.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Objects", type_ = "integer", json_path = ".status.objects"),
    printcolumn(name = "Volumes", type_ = "integer", json_path = ".status.volumes"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Missed", type_ = "integer", json_path = ".status.missed"),
    printcolumn(name = "Snapshot", type_ = "integer", json_path = ".status.snapshot.seq"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Completed')].reason",
        priority = 1
    ),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.scheduleName", priority = 1),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.finished", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Only these namespaces: names, or patterns with * and ?. None stands for every user namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Not these namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Only objects with these labels, as for kubectl -l: app=shop,tier in (web,db),!test
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only objects with these labels, as in other Kubernetes objects. Give this or selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Only these kinds: deployments, deploy, deployments.apps, *.cert-manager.io
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_kinds: Vec<String>,
    /// Not these kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_kinds: Vec<String>,
    /// Cluster-scoped objects: Off, Related or All. Default: All in a full backup, Related otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_scope: Option<TemplateScope>,
    /// A named set of system namespaces to leave out: compliant-kubernetes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Also what is labeled to be left out (compliantkubernetes.io/nobackup, lifeboat.dev/nobackup).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_opted_out: bool,
    /// The volumes of claims: All, OptIn (those that a Pod names in backup.velero.io/backup-volumes) or Off. Default All.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesMode>,
    /// Commands that run in Pods before and after their volumes are read. Annotations on a Pod
    /// (pre.hook.backup.velero.io/command and the rest) go before these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<PodHooks>,
    /// How long the primary store keeps the snapshot, when shorter than the charter says: 72h, 14d. The replica
    /// keeps it by its own rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// How long the backup may take in all, retries included: 90m, 12h. Default 12h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The BackupSchedule that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_name: Option<String>,
}

/// Labels that an object must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Requirements that must all hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: String,
    /// Values, for In and NotIn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// The same requirements as for `kubectl -l`. Slips are found when that is read.
    #[must_use]
    pub fn to_text(&self) -> String {
        let equal = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let set = self.match_expressions.iter().map(|r| match r.operator.as_str() {
            "In" => format!("{} in ({})", r.key, r.values.join(",")),
            "NotIn" => format!("{} notin ({})", r.key, r.values.join(",")),
            "DoesNotExist" => format!("!{}", r.key),
            "Exists" => r.key.clone(),
            other => format!("{} {other} ()", r.key),
        });
        equal.chain(set).collect::<Vec<_>>().join(",")
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waits for its turn.
    #[default]
    Pending,
    /// Objects are read and stored.
    InProgress,
    /// Everything is stored, the snapshot is being signed.
    Committing,
    /// A snapshot of all that was asked for.
    Completed,
    /// A snapshot that lacks what `missed` counts.
    PartiallyFailed,
    /// No snapshot; the conditions say why.
    Failed,
    /// No snapshot: it was canceled.
    Canceled,
}

impl Phase {
    #[must_use]
    pub fn is_finished(self) -> bool {
        self.has_snapshot() || matches!(self, Self::Failed | Self::Canceled)
    }
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::InProgress | Self::Committing)
    }
    #[must_use]
    pub fn has_snapshot(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed)
    }
}

/// The snapshot that a backup made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its number in the repository.
    pub seq: i64,
    /// Its name.
    pub id: String,
}

/// What a running backup has read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    pub objects: i64,
    pub bytes: i64,
    /// Volumes that are to be read by nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<i64>,
    /// Those of them of which it is known how they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes_done: Option<i64>,
    /// Bytes of their files that nodes have read, or found unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_bytes: Option<i64>,
    /// How fast that grew lately, all nodes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_bytes_per_second: Option<i64>,
    /// The last sign of life.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<Timestamp>,
}

/// How a backup goes, or went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    pub phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Full, or Partial when a part was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<String>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Objects in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Volumes in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<i64>,
    /// Namespaces in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<i64>,
    /// Bytes of what was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Bytes that this backup added to the primary store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<i64>,
    /// Namespaces that the charter left out of it: names, and patterns with * and ?.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Things that should have been stored and were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<i64>,
    /// The first of them. All: lifeboat report SNAPSHOT
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The run's id, in the manifest, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// How often it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The controller that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Completed (True only for a complete snapshot), Finished (True at every end), Progressing, Invalid, Stale.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_selector_say_the_same() {
        let expression = |key: &str, operator: &str, values: &[&str]| Requirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let selector = LabelSelector {
            match_labels: [("app".to_owned(), "shop".to_owned())].into(),
            match_expressions: vec![
                expression("tier", "In", &["web", "db"]),
                expression("env", "NotIn", &["test"]),
                expression("a", "Exists", &[]),
                expression("b", "DoesNotExist", &[]),
            ],
        };
        let text = selector.to_text();
        assert_eq!(text, "app=shop,tier in (web,db),env notin (test),a,!b");
        assert!(crate::select::labels::LabelSelector::parse(&text).is_ok());
        let odd = LabelSelector {
            match_expressions: vec![expression("a", "Like", &[])],
            ..LabelSelector::default()
        };
        assert!(crate::select::labels::LabelSelector::parse(&odd.to_text()).is_err());
    }
}
