//! Claims and volumes: a claim is unbound from the old volume, and a volume is created only when it
//! is adopted. Pure; filling volumes is elsewhere.

use super::super::json::Node;
use super::super::source::ObjectKey;
use super::{FieldRules, Notes, Verdict};
use serde::Deserialize;

/// What the binder, the scheduler and other backup tools left on a claim.
const BIND_ANNOTATIONS: [&str; 8] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-resizer",
    "velero.io/volume-snapshot-name",
    "velero.io/data-upload-name",
];

#[derive(Deserialize)]
struct Owner {
    kind: String,
}

pub(super) fn claim(key: &ObjectKey, doc: &mut Node<'_>, rules: &FieldRules, notes: &mut Notes) -> Verdict {
    let bound = doc.text(&["status", "phase"]).as_deref() == Some("Bound");
    let capacity = doc.at(&["status", "capacity", "storage"]).and_then(|n| n.read::<String>());
    let owners: Vec<Owner> = doc.read_at(&["metadata", "ownerReferences"]).unwrap_or_default();
    if owners.iter().any(|o| carries_data_away(&o.kind)) {
        notes.push("stays when the Pod or StatefulSet that owned it goes".to_owned());
    }
    if let Some(annotations) = doc.at(&["metadata", "annotations"]) {
        annotations.retain_fields(|key| !BIND_ANNOTATIONS.contains(&key));
    }
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let filled = rules.filled.get(&(namespace.to_owned(), key.name.clone()));
    map_class(doc, rules);
    let Some(spec) = doc.get("spec") else { return Verdict::Keep };
    if let Some(volume) = filled {
        spec.set("volumeName", Node::new(volume));
    } else if !(rules.adopt_volumes && bound) {
        spec.remove("volumeName");
    }
    if bound {
        // The volume holds what the source once gave it, and more by now.
        let one = spec.remove("dataSource").is_some();
        if spec.remove("dataSourceRef").is_some() || one {
            notes.push("data source left off: its data was in the volume already".to_owned());
        }
        if spec.text(&["storageClassName"]).is_none_or(|class| !class.is_empty()) {
            spec.remove("selector");
        }
        grow(spec, capacity, notes);
    }
    Verdict::Keep
}

/// Names the storage class as it is called in the target.
pub(super) fn map_class(claim: &mut Node<'_>, rules: &FieldRules) {
    const OLD: &str = "volume.beta.kubernetes.io/storage-class";
    if rules.storage_classes.is_empty() {
        return;
    }
    for (folder, field) in [(&["spec"][..], "storageClassName"), (&["metadata", "annotations"], OLD)] {
        if let Some(folder) = claim.at(folder)
            && let Some(new) = folder.text(&[field]).and_then(|old| rules.storage_classes.get(&old))
        {
            folder.set(field, Node::new(new));
        }
    }
}

/// Whether deleting the owner would delete the claim, and so the data, with it.
pub(in super::super) fn carries_data_away(owner_kind: &str) -> bool {
    matches!(owner_kind, "Pod" | "StatefulSet")
}

/// The request is at least what the volume really had.
fn grow(spec: &mut Node<'_>, capacity: Option<String>, notes: &mut Notes) {
    let Some(capacity) = capacity else { return };
    let request = spec.text(&["resources", "requests", "storage"]).unwrap_or_default();
    if quantity(&capacity) <= quantity(&request) {
        return;
    }
    if let Some(requests) = spec.at(&["resources", "requests"]) {
        requests.set("storage", Node::new(&capacity));
        notes.push(format!("request raised from {request} to {capacity}, the size it had"));
    }
}

/// A Kubernetes quantity as a number, good enough to compare sizes.
fn quantity(text: &str) -> f64 {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024f64,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => 1.0,
    };
    match suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok()) {
        Some(power) => number.parse().unwrap_or(0.0) * 10f64.powi(power),
        None => number.parse().unwrap_or(0.0) * factor,
    }
}

pub(super) fn volume(doc: &mut Node<'_>, rules: &FieldRules) -> Verdict {
    if !rules.adopt_volumes {
        return Verdict::Skip("volumes are provisioned anew");
    }
    doc.remove_at(&["metadata", "annotations", "pv.kubernetes.io/bound-by-controller"]);
    let Some(spec) = doc.get("spec") else { return Verdict::Keep };
    spec.set("persistentVolumeReclaimPolicy", Node::new(&"Retain"));
    if let Some(claim) = spec.get("claimRef") {
        claim.retain_fields(|field| !matches!(field, "uid" | "resourceVersion"));
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use super::quantity;

    #[test]
    fn sizes_compare() {
        for (less, more) in [("1Gi", "2Gi"), ("1G", "1Gi"), ("900Mi", "1Gi"), ("5", "1k"), ("", "1")] {
            assert!(quantity(less) < quantity(more), "{less} < {more}");
        }
        assert!((quantity("1e3") - 1000.0).abs() < f64::EPSILON);
        assert!((quantity("1Gi") - quantity("1024Mi")).abs() < f64::EPSILON);
    }
}
