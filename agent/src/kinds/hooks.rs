//! Commands that run in a Pod before and after its volumes are read, as a Backup's spec gives them. Those on the Pod
//! itself (Velero's annotations) go before these. Plain data.

use super::backup::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Commands for the Pods that it selects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodHooks {
    /// A name for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Pods of these namespaces: names, or patterns with * and ?. None stands for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Not those of these namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Pods with these labels. None stands for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Run in order, right before the Pod's volumes are read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre: Vec<ExecHook>,
    /// Run in order, right after they were read, at the latest 10 minutes after the first of pre.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<ExecHook>,
}

/// One command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHook {
    /// The container; the Pod's first without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The program and its arguments; no shell reads it.
    pub command: Vec<String>,
    /// What becomes of the Pod's volumes when it fails. Default Fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// How long it may take: 30s, 2m; at most 10m. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// What a failed hook means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    /// The Pod's volumes are missed.
    Fail,
    /// They are read all the same.
    Continue,
}
