//! Who mounts a claim, and where that may run: so that a volume is made where its workload can use it. Pure but for
//! reading the snapshot.

use crate::restore::source::{GroupKind, ObjectSource, SourceError};
use futures::TryStreamExt as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Documents longer than this are not looked into, bytes.
const MAX_SEARCHED: usize = 4 << 20;
/// Labels and terms that are taken over.
const MAX_COPIED: usize = 64;
/// Labels by which controllers know their Pods.
const CONTROLLERS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-template-generation",
];

/// What of a workload's Pods goes for the worker, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Placement {
    pub(super) labels: Map<String, Value>,
    /// `nodeSelector`, `affinity`, `tolerations`.
    pub(super) fields: Map<String, Value>,
}

/// The placement of who mounts each of `claims` in the snapshot's namespace; in the same order.
pub(super) async fn placements(
    source: &dyn ObjectSource,
    namespace: &str,
    claims: &[String],
) -> Result<Vec<Placement>, SourceError> {
    let kinds: BTreeSet<GroupKind> = [
        ("", "Pod"),
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    ]
    .map(|(group, kind)| GroupKind::new(group, kind))
    .into();
    let mut found: Vec<Option<Placement>> = vec![None; claims.len()];
    let mut objects = source.objects(Some(namespace), Some(&kinds));
    loop {
        let object = match objects.try_next().await {
            Ok(Some(object)) => object,
            Ok(None) => break,
            // One that cannot be read is named elsewhere.
            Err(e) if e.key.is_some() => continue,
            Err(e) => return Err(e),
        };
        if object.body.len() > MAX_SEARCHED {
            continue;
        }
        let Ok(document) = serde_json::from_slice::<Value>(&object.body) else { continue };
        for (claim, placement) in claims.iter().zip(&mut found).filter(|(_, p)| p.is_none()) {
            *placement = placement_for(&object.key.kind.kind, &document, claim);
        }
    }
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

/// Where a workload's Pods may run, if they mount the claim.
fn placement_for(kind: &str, document: &Value, claim: &str) -> Option<Placement> {
    let spec = &document["spec"];
    let (meta, pod) = match kind {
        "Pod" => (&document["metadata"], spec),
        "CronJob" => {
            let template = &spec["jobTemplate"]["spec"]["template"];
            (&template["metadata"], &template["spec"])
        }
        _ => (&spec["template"]["metadata"], &spec["template"]["spec"]),
    };
    let named = list(&pod["volumes"]).any(|v| v["persistentVolumeClaim"]["claimName"] == claim);
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let templated = kind == "StatefulSet"
        && list(&spec["volumeClaimTemplates"]).any(|t| is_of(claim, &t["metadata"]["name"], name));
    (named || templated).then(|| placement(meta, pod))
}

/// Whether a claim is a replica's: `<template>-<set>-<ordinal>`.
fn is_of(claim: &str, template: &Value, set: &str) -> bool {
    let rest = template.as_str().and_then(|t| claim.strip_prefix(t)?.strip_prefix('-'));
    let ordinal = rest.and_then(|rest| rest.strip_prefix(set)?.strip_prefix('-'));
    ordinal.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn placement(meta: &Value, pod: &Value) -> Placement {
    let mut out = Placement::default();
    let labels = meta["labels"].as_object().into_iter().flatten();
    // Those of controllers would make them take the worker for their own.
    let labels = labels.filter(|(key, _)| !CONTROLLERS.contains(&key.as_str()));
    out.labels = labels.take(MAX_COPIED).map(|(k, v)| (k.clone(), v.clone())).collect();
    for field in ["nodeSelector", "tolerations"] {
        if !pod[field].is_null() {
            out.fields.insert(field.to_owned(), pod[field].clone());
        }
    }
    let affinity = affinity(&pod["affinity"]);
    if !affinity.is_empty() {
        out.fields.insert("affinity".to_owned(), affinity.into());
    }
    out
}

/// Nodes as they are; keeping away from each other as a wish, since only workers are in the working namespace, and not
/// all of them at once.
fn affinity(from: &Value) -> Map<String, Value> {
    let mut out = Map::new();
    if !from["nodeAffinity"].is_null() {
        out.insert("nodeAffinity".to_owned(), from["nodeAffinity"].clone());
    }
    let apart = &from["podAntiAffinity"];
    let hard = list(&apart["requiredDuringSchedulingIgnoredDuringExecution"]);
    let soft = list(&apart["preferredDuringSchedulingIgnoredDuringExecution"]).map(|p| &p["podAffinityTerm"]);
    let wishes: Vec<Value> = hard
        .chain(soft)
        .filter(|term| term["topologyKey"].is_string())
        .take(MAX_COPIED)
        .map(|term| {
            let term = json!({"labelSelector": term["labelSelector"], "topologyKey": term["topologyKey"]});
            json!({"weight": 100, "podAffinityTerm": term})
        })
        .collect();
    if !wishes.is_empty() {
        let wishes = json!({"preferredDuringSchedulingIgnoredDuringExecution": wishes});
        out.insert("podAntiAffinity".to_owned(), wishes);
    }
    out
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicas_claim_is_known_by_its_name() {
        let of = |claim: &str| is_of(claim, &json!("data"), "db");
        assert!(of("data-db-0") && of("data-db-12"));
        assert!(
            !of("data-db-") && !of("data-db-x") && !of("data-db") && !of("other-db-0") && !of("data-db-0-1")
        );
    }

    #[test]
    fn where_a_workload_may_run_goes_for_the_worker() {
        let set = json!({
            "metadata": {"name": "db"},
            "spec": {
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {
                        "nodeSelector": {"disk": "ssd"},
                        "tolerations": [{"operator": "Exists"}],
                        "affinity": {
                            "podAffinity": {"x": 1},
                            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                                {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone", "namespaces": ["a"]},
                            ]},
                        },
                    },
                },
            },
        });
        let placed = placement_for("StatefulSet", &set, "data-db-1").unwrap();
        assert_eq!(placed.fields["nodeSelector"]["disk"], "ssd");
        assert!(placed.fields["affinity"].get("podAffinity").is_none());
        let wish = &placed.fields["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            [0];
        assert_eq!(wish["podAffinityTerm"]["topologyKey"], "zone");
        assert!(wish["podAffinityTerm"].get("namespaces").is_none());
        assert_eq!(placement_for("StatefulSet", &set, "other"), None);
    }
}
