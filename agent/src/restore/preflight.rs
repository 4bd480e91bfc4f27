//! What would go wrong, found before the first write. Looks at the cluster, changes nothing.

use super::error::RestoreError;
use super::options::RestoreOptions;
use super::scan::Scan;
use super::source::{GroupKind, ObjectKey};
use super::target::{Target, is_alive};
use crate::cluster::write::{KindPath, Writer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Secrets looked for in the cluster at most; a snapshot may name any number.
const MAX_LOOKS: usize = 2_000;
/// Findings listed of one sort.
const MAX_OF_A_SORT: usize = 200;

/// One thing that a person should know before saying yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub sort: Sort,
    /// What it is about.
    pub target: String,
    pub message: String,
}

/// Sorts of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    UnservedKind,
    MissingClass,
    MissingSecret,
    MissingDriver,
    LiveOwner,
    PartialSnapshot,
    UnreadableObject,
    /// The server-side dry run was refused.
    Refused,
}

/// Everything that is found without asking the server to take anything.
pub(super) async fn preflight(
    scan: &Scan,
    target: &Target,
    writer: &Writer,
    source_gaps: &[String],
    options: &RestoreOptions,
) -> Result<(Vec<Finding>, HashSet<u32>), RestoreError> {
    let mut findings = Vec::new();
    for gap in source_gaps.iter().take(MAX_OF_A_SORT) {
        add(&mut findings, Sort::PartialSnapshot, "snapshot", gap.clone());
    }
    for error in scan.damage.iter().take(MAX_OF_A_SORT) {
        add(&mut findings, Sort::UnreadableObject, &error.target, error.detail.clone());
    }
    unserved(scan, target, &mut findings);
    classes(scan, target, &mut findings);
    secrets(scan, writer, options, &mut findings).await?;
    let alive = owners(scan, target, writer, options, &mut findings).await?;
    Ok((findings, alive))
}

fn add(findings: &mut Vec<Finding>, sort: Sort, target: &str, message: String) {
    findings.push(Finding { sort, target: target.to_owned(), message });
}

/// Kinds that neither the cluster serves nor a definition of the snapshot brings.
fn unserved(scan: &Scan, target: &Target, findings: &mut Vec<Finding>) {
    let defined: HashSet<&GroupKind> =
        scan.cluster_defines().filter(|(index, _)| scan.is_created(*index)).map(|(_, kind)| kind).collect();
    let mut counts: BTreeMap<GroupKind, usize> = BTreeMap::new();
    for index in scan.facts.to_create() {
        let kind = scan.facts.kind_of(index);
        if !target.served.has(kind) && !defined.contains(kind) {
            *counts.entry(kind.clone()).or_default() += 1;
        }
    }
    for (kind, count) in counts {
        let message = format!(
            "the cluster does not serve this kind; {count} of its objects cannot be created until what provides it is installed"
        );
        add(findings, Sort::UnservedKind, &kind.to_string(), message);
    }
}

fn classes(scan: &Scan, target: &Target, findings: &mut Vec<Finding>) {
    let comes = |kind: &GroupKind, name: &str| {
        scan.facts.find_parts(None, kind, name).is_some_and(|index| scan.is_created(index))
    };
    let missing = scan.needs.cluster.iter().filter(|((kind, name), _)| {
        matches!(
            kind.kind.as_str(),
            "StorageClass" | "IngressClass" | "PriorityClass" | "RuntimeClass" | "VolumeAttributesClass"
        ) && !name.starts_with("system-")
            && !target.classes.contains(&(kind.clone(), name.clone()))
            && !comes(kind, name)
    });
    for ((kind, name), user) in missing.take(MAX_OF_A_SORT) {
        let message = format!("is in neither the cluster nor the selection, and {user} names it");
        add(findings, Sort::MissingClass, &format!("{} {name}", kind.kind), message);
    }
    let driver = GroupKind::new("storage.k8s.io", "CSIDriver");
    let missing = scan.needs.drivers.iter().filter(|(name, _)| {
        !target.classes.contains(&(driver.clone(), (*name).clone())) && !comes(&driver, name)
    });
    for (name, user) in missing.take(MAX_OF_A_SORT) {
        let message = format!("has no CSIDriver in the cluster, and {user} needs it");
        add(findings, Sort::MissingDriver, name, message);
    }
}

async fn secrets(
    scan: &Scan,
    writer: &Writer,
    options: &RestoreOptions,
    findings: &mut Vec<Finding>,
) -> Result<(), RestoreError> {
    let kind = GroupKind::new("", "Secret");
    let path =
        KindPath { group: String::new(), version: "v1".into(), plural: "secrets".into(), namespaced: true };
    let absent: Vec<_> = scan
        .needs
        .secrets
        .iter()
        .filter(|((ns, name), _)| {
            !scan.facts.find_parts(Some(ns), &kind, name).is_some_and(|index| scan.is_created(index))
        })
        .collect();
    let mut found = 0;
    for ((namespace, name), user) in absent.into_iter().take(MAX_LOOKS) {
        if found >= MAX_OF_A_SORT {
            break;
        }
        let namespace = options.map.of(namespace);
        if writer.find(&path, Some(namespace), name).await?.is_none() {
            found += 1;
            let message = format!("is in neither the cluster nor the selection, and {user} needs it");
            add(findings, Sort::MissingSecret, &format!("Secret {namespace}/{name}"), message);
        }
    }
    Ok(())
}

/// Deployment tools that are alive in the cluster and keep objects of the selection.
async fn owners(
    scan: &Scan,
    target: &Target,
    writer: &Writer,
    options: &RestoreOptions,
    findings: &mut Vec<Finding>,
) -> Result<HashSet<u32>, RestoreError> {
    let mut alive = HashSet::new();
    for (position, (owner, count)) in scan.managers.iter().enumerate().take(MAX_LOOKS) {
        if !options.map.is_empty() && is_mapped(scan, position, options) {
            continue;
        }
        if is_alive(&target.served, writer, owner).await? {
            alive.extend(u32::try_from(position));
            let message = if options.skip_managed {
                format!("is in the cluster and keeps {count} objects: they are left to it (--skip-managed)")
            } else {
                format!(
                    "is in the cluster and keeps {count} objects: it may change or prune what is restored; --skip-managed leaves them to it"
                )
            };
            add(findings, Sort::LiveOwner, &owner.to_string(), message);
        }
    }
    Ok(alive)
}

/// Whether everything that an owner keeps goes to another namespace, where it does not look.
fn is_mapped(scan: &Scan, position: usize, options: &RestoreOptions) -> bool {
    let mut kept = scan
        .facts
        .to_create()
        .filter(|i| scan.facts.get(*i).manager.is_some_and(|m| m as usize == position))
        .map(|i| scan.facts.namespace_of(i).is_some_and(|n| options.map.get(n).is_some()));
    kept.all(|mapped| mapped)
}

impl Scan {
    fn is_created(&self, index: super::facts::Index) -> bool {
        self.facts.get(index).verdict == super::facts::Verdict::Create
    }

    fn cluster_defines(&self) -> impl Iterator<Item = (super::facts::Index, &GroupKind)> {
        self.defines.iter().map(|(index, kind)| (*index, kind))
    }

    /// The key of an object for a message.
    pub(super) fn key(&self, index: super::facts::Index) -> ObjectKey {
        self.facts.key_of(index)
    }
}
