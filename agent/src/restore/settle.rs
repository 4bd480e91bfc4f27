//! Decisions that need more than one object: what controllers make again, what belongs to what is
//! selected, what a living deployment tool keeps. Pure.

use super::facts::{Index, Verdict};
use super::options::RestoreOptions;
use super::scan::Scan;
use super::selection::ClusterScope;
use super::source::{GroupKind, ObjectKey};
use std::collections::{BTreeSet, HashSet};

/// Takes out what is not to be created after all.
pub(super) fn settle(scan: &mut Scan, options: &RestoreOptions) {
    owned(scan);
    endpoints(scan);
    cluster_scoped(scan, options);
}

/// Pods and ReplicaSets whose controller is restored too, and makes them again.
fn owned(scan: &mut Scan) {
    let mut derived = Vec::new();
    for index in scan.facts.to_create() {
        let kind = scan.facts.kind_of(index);
        if !kind.is("", "Pod") && !kind.is("apps", "ReplicaSet") {
            continue;
        }
        let Some(namespace) = scan.facts.namespace_of(index) else { continue };
        let owners = &scan.facts.get(index).owners;
        let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else { continue };
        let owner_kind = GroupKind::new(group_of(&owner.api_version), owner.kind.as_str());
        let is_stored = scan
            .facts
            .find_parts(Some(namespace), &owner_kind, &owner.name)
            .is_some_and(|i| *scan.facts.get(i).uid == *owner.uid);
        if is_stored && !is_current_of_paused(scan, index, namespace, &owner.name) {
            derived.push(index);
        }
    }
    for index in derived {
        scan.facts.leave_out(index, Verdict::Skip("made again by its controller"));
    }
    for (index, refs) in std::mem::take(&mut scan.controlled) {
        if scan.facts.get(index).verdict == Verdict::Create {
            scan.needs.add(&scan.facts.key_of(index), &refs);
        }
    }
}

/// A paused Deployment does not make a ReplicaSet of its template: the one it runs must come back.
fn is_current_of_paused(scan: &Scan, index: Index, namespace: &str, deployment: &str) -> bool {
    let paused = scan.paused.get(&(namespace.to_owned(), deployment.to_owned()));
    paused.is_some_and(|revision| scan.revisions.get(&index) == Some(revision))
}

/// Endpoints of a Service with a selector are its controller's.
fn endpoints(scan: &mut Scan) {
    let kept_by_controller: Vec<Index> = scan
        .facts
        .to_create()
        .filter(|i| scan.facts.kind_of(*i).is("", "Endpoints"))
        .filter(|i| {
            let name = scan.facts.get(*i).name.to_string();
            let namespace = scan.facts.namespace_of(*i).unwrap_or_default().to_owned();
            scan.services_with_selector.contains(&(namespace, name))
        })
        .collect();
    for index in kept_by_controller {
        scan.facts.leave_out(index, Verdict::Skip("kept by the endpoint controller"));
    }
}

/// Which cluster-scoped objects come along.
fn cluster_scoped(scan: &mut Scan, options: &RestoreOptions) {
    let selection = &options.selection;
    let all = selection.cluster_scope == ClusterScope::All || selection.is_everything();
    let (occupied, kinds) = in_use(scan);
    let mut cluster = std::mem::take(&mut scan.cluster);
    // Bindings first: they pull in the roles that they name.
    cluster.sort_by_key(|(index, ..)| !scan.facts.kind_of(*index).kind.ends_with("Binding"));
    for (index, refs, direct) in cluster {
        let key = scan.facts.key_of(index);
        let named = (key.kind.clone(), key.name.clone());
        // Webhooks and API services act on the whole cluster: a copy of their namespace must not take
        // them over.
        let acts = key.kind.group.ends_with("registration.k8s.io");
        let belongs = refs
            .namespaces
            .iter()
            .any(|n| scan.namespaces.contains(n) && !(acts && options.map.get(n).is_some()));
        let elsewhere =
            !refs.namespaces.is_empty() && refs.namespaces.iter().all(|n| !selection.has_namespace(n));
        let keep = if key.kind.is("", "Namespace") {
            let whole =
                selection.kinds.is_empty() && selection.names.is_empty() && selection.labels.is_none();
            occupied.contains(&key.name) || direct || (whole && selection.has_namespace(&key.name))
        } else if all {
            !elsewhere
        } else {
            direct
                || scan.needs.cluster.contains_key(&named)
                || refs.defines.as_ref().is_some_and(|kind| kinds.contains(kind))
                || (selection.kinds.is_empty() && selection.names.is_empty() && belongs)
        };
        if !keep {
            scan.facts.leave_out(index, Verdict::Skip(super::plan::NOT_SELECTED));
        } else if scan.facts.get(index).verdict == Verdict::Create {
            scan.needs.add(&key, &refs);
        }
    }
}

/// Namespaces in which something is created, and the kinds of what is created in namespaces.
fn in_use(scan: &Scan) -> (BTreeSet<String>, HashSet<GroupKind>) {
    let mut namespaces = BTreeSet::new();
    let mut kinds = HashSet::new();
    for index in scan.facts.to_create() {
        if let Some(namespace) = scan.facts.namespace_of(index) {
            if !namespaces.contains(namespace) {
                namespaces.insert(namespace.to_owned());
            }
            let kind = scan.facts.kind_of(index);
            if !kinds.contains(kind) {
                kinds.insert(kind.clone());
            }
        }
    }
    (namespaces, kinds)
}

/// Leaves out what tools keep that are alive in the cluster; gives them with their counts.
pub(super) fn leave_managed(scan: &mut Scan, alive: &HashSet<u32>) {
    let managed: Vec<Index> = scan
        .facts
        .to_create()
        .filter(|i| scan.facts.get(*i).manager.is_some_and(|manager| alive.contains(&manager)))
        .collect();
    for index in managed {
        scan.facts.leave_out(index, Verdict::Skip("kept by a deployment tool in the cluster"));
    }
}

/// `apps` of `apps/v1`, nothing of `v1`.
pub(super) fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Namespaces that must exist and of which the snapshot has no object.
pub(super) fn unstored_namespaces(scan: &Scan) -> Vec<String> {
    let (occupied, _) = in_use(scan);
    let kind = GroupKind::new("", "Namespace");
    let stored = |name: &String| {
        let key = ObjectKey { namespace: None, kind: kind.clone(), name: name.clone() };
        scan.facts.find(&key).is_some()
    };
    occupied.into_iter().filter(|name| !stored(name)).collect()
}

#[cfg(test)]
mod tests;
