//! Jobs: whether they run again, and the labels by which the old cluster told their Pods. Pure.

use super::super::json::Node;
use super::{FieldRules, Notes, Verdict};
use serde::Deserialize;

/// Labels that the API server derives from the Job's uid and name.
const GENERATED: [&str; 4] =
    ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    completion_time: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

pub(super) fn clean(doc: &mut Node<'_>, rules: &FieldRules, notes: &mut Notes) -> Verdict {
    let status: Status = doc.read_at(&["status"]).unwrap_or_default();
    let ended = |c: &Condition| {
        matches!(c.kind.as_str(), "Complete" | "Failed" | "SuccessCriteriaMet" | "FailureTarget")
            && c.status == "True"
    };
    if status.completion_time.is_some() || status.conditions.iter().any(ended) {
        return Verdict::Skip("had finished");
    }
    let suspended = doc.read_at::<bool>(&["spec", "suspend"]) == Some(true);
    if !rules.rerun_jobs && !suspended {
        return Verdict::Drop("had not finished; --rerun-jobs runs it from its start".to_owned());
    }
    if !suspended {
        notes.push("runs again from its start".to_owned());
    }
    if doc.read_at::<bool>(&["spec", "manualSelector"]) != Some(true) {
        generated_labels(doc);
    }
    if let Some(annotations) = doc.at(&["metadata", "annotations"]) {
        annotations.remove("batch.kubernetes.io/job-tracking");
    }
    Verdict::Keep
}

fn generated_labels(doc: &mut Node<'_>) {
    let places: [&[&str]; 3] = [
        &["metadata", "labels"],
        &["spec", "selector", "matchLabels"],
        &["spec", "template", "metadata", "labels"],
    ];
    for place in places {
        if let Some(labels) = doc.at(place) {
            labels.retain_fields(|key| !GENERATED.contains(&key));
        }
    }
    if let Some(selector) = doc.at(&["spec", "selector"]) {
        if selector.get("matchLabels").is_some_and(|labels| labels.is_empty()) {
            selector.remove("matchLabels");
        }
        if selector.is_empty() {
            doc.remove_at(&["spec", "selector"]);
        }
    }
}
