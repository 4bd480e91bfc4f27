//! What is known of claims, volumes and Pods, read from what the API server lists. Pure. Bounded per object by what is
//! kept of it: names, labels and the few annotations that rules know.

use super::Source;
use crate::cluster::Item;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Volumes of one Pod that are looked at; the API server takes no Pod near as large.
const MAX_MOUNTS: usize = 1024;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClaimPhase {
    #[default]
    Pending,
    Bound,
    Lost,
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub phase: ClaimPhase,
    /// The PersistentVolume that it is bound to.
    pub volume: Option<String>,
    pub block: bool,
    pub deleting: bool,
    /// Made for one Pod, and deleted with it.
    pub pod_owned: bool,
    /// When the claim was made, as the API server writes times.
    pub created: String,
    /// What the API server gave is no claim.
    pub unreadable: bool,
}

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub source: Source,
    /// Of the claim that it is bound to.
    pub claim_uid: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodPhase {
    #[default]
    Pending,
    Running,
    /// All containers are done, or nobody knows of them any more.
    Ended,
}

/// A claim in a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name in the Pod.
    pub volume: String,
    pub claim: String,
    /// A container asks for it: the kubelet mounts nothing else.
    pub mounted: bool,
    /// As a device.
    pub block: bool,
}

/// A Pod that uses claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Those that choose volumes, and those of hooks.
    pub annotations: BTreeMap<String, String>,
    pub node: Option<String>,
    pub phase: PodPhase,
    /// A container, of the initial ones too, has run: volumes are mounted.
    pub started: bool,
    pub ready: bool,
    pub deleting: bool,
    pub created: String,
    pub containers: Vec<String>,
    pub mounts: Vec<Mount>,
}

impl Claim {
    #[must_use]
    pub fn of(item: &Item) -> Self {
        let body = item.parse::<ClaimBody>();
        let unreadable = body.is_err();
        let body = body.unwrap_or_default();
        let meta = &item.meta;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            labels: meta.labels.clone(),
            phase: match body.status.phase.as_str() {
                "Bound" => ClaimPhase::Bound,
                "Lost" => ClaimPhase::Lost,
                _ => ClaimPhase::Pending,
            },
            volume: body.spec.volume_name.filter(|v| !v.is_empty()),
            block: body.spec.volume_mode.as_deref() == Some("Block"),
            deleting: meta.deleted.is_some(),
            pod_owned: meta.controller().is_some_and(|owner| owner.kind == "Pod"),
            created: meta.created.clone().unwrap_or_default(),
            unreadable,
        }
    }
}

impl Volume {
    #[must_use]
    pub fn of(item: &Item) -> Self {
        let spec = item.parse::<VolumeBody>().unwrap_or_default().spec;
        let claim = spec.get("claimRef").and_then(|c| c.get("uid")).and_then(Value::as_str);
        Self { source: Source::of(&spec), claim_uid: claim.unwrap_or_default().to_owned() }
    }
}

impl Pod {
    /// None of a Pod that uses no claim.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        let body = item.parse::<PodBody>().unwrap_or_default();
        let (spec, status, meta) = (body.spec, body.status, &item.meta);
        let all =
            || [&spec.containers, &spec.init_containers, &spec.ephemeral_containers].into_iter().flatten();
        let mounted: BTreeSet<&str> =
            all().flatten().flat_map(|c| c.volume_mounts.iter().flatten()).map(|m| m.name.as_str()).collect();
        let devices: BTreeSet<&str> = all()
            .flatten()
            .flat_map(|c| c.volume_devices.iter().flatten())
            .map(|m| m.name.as_str())
            .collect();
        let claims = spec.volumes.iter().flatten().filter_map(|v| {
            let claim = match (&v.persistent_volume_claim, &v.ephemeral) {
                (Some(used), _) => used.claim_name.clone(),
                (None, Some(_)) => format!("{}-{}", meta.name, v.name),
                (None, None) => return None,
            };
            Some(Mount {
                mounted: mounted.contains(v.name.as_str()),
                block: devices.contains(v.name.as_str()),
                volume: v.name.clone(),
                claim,
            })
        });
        let mounts: Vec<Mount> = claims.take(MAX_MOUNTS).collect();
        if mounts.is_empty() {
            return None;
        }
        let ran = |c: &ContainerStatus| c.state.running.is_some() || c.state.terminated.is_some();
        let states = [&status.container_statuses, &status.init_container_statuses];
        let known =
            |key: &&String| key.starts_with("backup.velero.io/") || key.contains("hook.backup.velero.io/");
        Some(Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            labels: meta.labels.clone(),
            annotations: meta
                .annotations
                .iter()
                .filter(|(key, _)| known(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            node: spec.node_name.filter(|n| !n.is_empty()),
            phase: match status.phase.as_str() {
                "Running" => PodPhase::Running,
                "Succeeded" | "Failed" | "Unknown" => PodPhase::Ended,
                _ => PodPhase::Pending,
            },
            started: states.into_iter().flatten().flatten().any(ran),
            ready: status.conditions.iter().flatten().any(|c| c.kind == "Ready" && c.status == "True"),
            deleting: meta.deleted.is_some(),
            created: meta.created.clone().unwrap_or_default(),
            containers: spec.containers.iter().flatten().map(|c| c.name.clone()).collect(),
            mounts,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaimBody {
    spec: ClaimSpec,
    status: Phase,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: Option<String>,
    volume_mode: Option<String>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Phase {
    phase: String,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct VolumeBody {
    spec: Map<String, Value>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct PodBody {
    spec: PodSpec,
    status: PodStatus,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
    volumes: Option<Vec<PodVolume>>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodVolume {
    name: String,
    persistent_volume_claim: Option<ClaimUse>,
    ephemeral: Option<serde::de::IgnoredAny>,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ClaimUse {
    claim_name: String,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    volume_mounts: Option<Vec<Named>>,
    volume_devices: Option<Vec<Named>>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    conditions: Option<Vec<PodCondition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerStatus {
    state: ContainerState,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerState {
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<serde::de::IgnoredAny>,
}
