//! `VolumeBackup`: one volume that one node is to read for a Backup. Made and removed by the controller in the nodes'
//! namespace; the node writes only its status. Plain data.
//!
//! A node begins when the key that `workKey` names is in the Secret; until then the volume waits for its turn (a hook
//! may have to freeze its application first). What is read, and how, is in the sealed order that `order` names.

#![allow(
    clippy::duplicated_attributes,
    reason = "columns of one type; the lint takes them for repeated attributes"
)]

use super::condition::Condition;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// On a VolumeBackup: the run that it belongs to, 32 hexadecimal digits.
pub const RUN_LABEL: &str = "lifeboat.dev/run";
/// On a VolumeBackup: the node, where its name is a label's value; nodes select by `spec.nodeName`.
pub const NODE_LABEL: &str = "lifeboat.dev/node";
/// On a VolumeBackup: since when its Pod is frozen by a pre hook, RFC 3339. Set before the hook runs, removed when the
/// post hook has: whoever finds it thaws the Pod.
pub const FROZEN_AT: &str = "lifeboat.dev/frozen-at";

/// One volume that one node is to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, kube::CustomResource)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "VolumeBackup",
    namespaced,
    status = "VolumeBackupStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "lbv",
    category = "lifeboat",
    doc = "One volume that one node reads for a Backup. Made and removed by the controller; deleting it stops the node.",
    selectable = ".spec.nodeName",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claim"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Files", type_ = "integer", json_path = ".status.files"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backup", priority = 1),
    printcolumn(name = "Pod", type_ = "string", json_path = ".spec.podName", priority = 1),
    printcolumn(name = "Renewed", type_ = "date", json_path = ".status.renewTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeBackupSpec {
    /// The Backup that it is a part of.
    pub backup: String,
    /// That Backup's run, 32 hexadecimal digits.
    pub run_id: String,
    /// Which try this is, from 1.
    pub attempt: i64,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The claim's uid: a claim that was made anew is another one.
    pub pvc_uid: String,
    /// The Pod through whose mount it is read.
    pub pod_name: String,
    /// That Pod's uid, a folder's name on the node.
    pub pod_uid: String,
    /// The volume's folder in the Pod's, as the kubelet names it: the name of the PersistentVolume.
    pub volume_name: String,
    /// The node that reads it.
    pub node_name: String,
    /// The kubelet's folder of the volume's plugin: kubernetes.io~csi. Or hostPath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The folder on the node, of a volume of the kind hostPath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// The sealed order in the store: SHA-256, hexadecimal.
    pub order: String,
    /// The key in the Secret lifeboat-work that opens it.
    pub work_key: String,
    /// What an earlier try of this order sent: the last piece of its log, SHA-256, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_log: Option<String>,
}

/// How far a volume is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VolumePhase {
    /// Waits for the node.
    #[default]
    Pending,
    /// Is being read.
    InProgress,
    /// Is in the store; `result` names what the node found.
    Completed,
    /// Could not be read; `message` says why.
    Failed,
    /// Was stopped.
    Canceled,
}

impl VolumePhase {
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

/// How a volume goes, or went. At most 4 KiB, written by the node at most every 10 seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeBackupStatus {
    pub phase: VolumePhase,
    /// Files read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Files in all, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_files: Option<i64>,
    /// Bytes in all, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// The last sign of life, by the node's clock: only that it changes counts.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<Timestamp>,
    /// The sealed result in the store: SHA-256, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The last piece of the log of what was sent, for another try: SHA-256, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_log: Option<String>,
    /// Why it failed, a CamelCase word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Completed (True when it is in the store), Finished (True at every end).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
