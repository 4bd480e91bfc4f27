//! A restore before it happens: what is created, in which order, what is left out and why, and what
//! stands in the way. Nothing has been written when a plan exists.

pub(super) mod dry_run;
mod text;

use super::error::RestoreError;
use super::facts::{Facts, Index, Verdict};
use super::fields::FieldRules;
use super::options::RestoreOptions;
use super::order::Phase;
use super::preflight::{Finding, preflight};
use super::scan::{self, Scan};
use super::settle;
use super::source::{GroupKind, ObjectKey, ObjectSource};
use super::target::{self, Target};
use crate::cluster::Cluster;
use crate::cluster::write::{Limits, Writer};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Why an object that nobody asked for is left out.
pub(super) const NOT_SELECTED: &str = "not in the selection";

/// The longest text about one object.
const MAX_TEXT: usize = 2_000;

/// A plan, ready to be shown and applied.
#[derive(Debug)]
pub struct RestorePlan {
    pub(super) facts: Facts,
    pub(super) rules: FieldRules,
    pub(super) target: Target,
    pub(super) options: RestoreOptions,
    /// Namespaces to make of which the snapshot has no object; names in the snapshot.
    pub(super) bare_namespaces: Vec<String>,
    /// Objects that could not be read.
    pub(super) unreadable: Vec<Named>,
    pub summary: PlanSummary,
}

/// The part of a plan that people and programs read.
#[derive(Debug, Clone, Serialize)]
pub struct PlanSummary {
    pub schema: &'static str,
    pub snapshot: String,
    /// The API server.
    pub server: String,
    /// Uid of the cluster.
    pub cluster: String,
    /// Objects to create.
    pub objects: usize,
    pub steps: Vec<Step>,
    pub namespaces: Vec<PlannedNamespace>,
    /// By reason, what is left out without loss.
    pub skipped: BTreeMap<String, usize>,
    pub dropped: Vec<Named>,
    pub findings: Vec<Finding>,
    pub notes: Vec<Named>,
    /// Notes beyond those listed.
    pub more_notes: usize,
    /// How the objects were checked, once `dry_run` has.
    pub checks: Option<Checks>,
}

/// What one step creates.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub phase: Phase,
    pub title: &'static str,
    pub objects: usize,
    pub kinds: BTreeMap<String, usize>,
}

/// A namespace of the restore.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedNamespace {
    /// Its name in the snapshot.
    pub namespace: String,
    /// Its name in the cluster.
    pub target: String,
    pub exists: bool,
    pub objects: usize,
}

/// An object and something about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    pub object: String,
    pub text: String,
}

impl Named {
    pub(super) fn new(object: &ObjectKey, text: impl Into<String>) -> Self {
        Self { object: object.to_string(), text: crate::cluster::text::clean(&text.into(), MAX_TEXT) }
    }
}

/// How many objects were checked in which way.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checks {
    /// The server said what it would do with them.
    pub by_server: usize,
    /// Their names are taken: they will be left alone.
    pub existing: usize,
    /// Only by rules, since their namespace or kind does not exist yet.
    pub by_rules: usize,
}

/// Computes the plan.
pub async fn plan(
    cluster: &Cluster,
    source: &dyn ObjectSource,
    options: &RestoreOptions,
) -> Result<RestorePlan, RestoreError> {
    let writer = Writer::new(cluster.client().clone(), "lifeboat-restore-plan", Limits::default());
    let target = target::look(cluster, &writer).await?;
    let mut rules = FieldRules {
        rerun_jobs: options.rerun_jobs,
        adopt_volumes: options.adopt_volumes,
        storage_classes: options.storage_classes.clone(),
        status: options.status_kinds.clone(),
        map: options.map.clone(),
        families: target.families.clone(),
        defaults: target.defaults.clone(),
        filled: Default::default(),
    };
    scan::default_classes(source, &mut rules).await?;
    let mut scan = scan::scan(source, options, &rules).await?;
    check_selection(&scan, options)?;
    settle::settle(&mut scan, options);
    let (findings, alive) = preflight(&scan, &target, &writer, &source.gaps(), options).await?;
    if options.skip_managed {
        settle::leave_managed(&mut scan, &alive);
    }
    Ok(assemble(scan, rules, target, options.clone(), findings))
}

fn check_selection(scan: &Scan, options: &RestoreOptions) -> Result<(), RestoreError> {
    for pattern in &options.selection.namespaces {
        if !scan.namespaces.iter().any(|n| super::selection::glob(pattern, n)) {
            return Err(RestoreError::Selection {
                detail: format!("the snapshot has no namespace {pattern:?}; see lifeboat ls"),
            });
        }
    }
    Ok(())
}

fn assemble(
    mut scan: Scan,
    rules: FieldRules,
    target: Target,
    options: RestoreOptions,
    findings: Vec<Finding>,
) -> RestorePlan {
    let bare_namespaces: Vec<String> = settle::unstored_namespaces(&scan)
        .into_iter()
        .filter(|name| !target.namespaces.contains(options.map.of(name)))
        .collect();
    let notes = std::mem::take(&mut scan.notes);
    let is_created = |key: &ObjectKey| {
        scan.facts.find(key).is_some_and(|index| scan.facts.get(index).verdict == Verdict::Create)
    };
    let notes: Vec<Named> = notes
        .into_iter()
        .filter(|(key, _)| is_created(key))
        .map(|(key, text)| Named::new(&key, text))
        .collect();
    let (skipped, dropped) = left_out(&scan);
    let summary = PlanSummary {
        schema: "lifeboat/restore-plan/1",
        snapshot: options.snapshot.clone(),
        server: target.server.clone(),
        cluster: target.cluster_uid.clone(),
        objects: scan.facts.to_create().count() + bare_namespaces.len(),
        steps: steps(&scan.facts, bare_namespaces.len()),
        namespaces: namespaces(&scan, &target, &options),
        skipped,
        dropped,
        findings,
        notes,
        more_notes: scan.more_notes,
        checks: None,
    };
    let unreadable =
        scan.damage.iter().map(|e| Named { object: e.target.clone(), text: e.detail.clone() }).collect();
    RestorePlan { facts: scan.facts, rules, target, options, bare_namespaces, unreadable, summary }
}

fn left_out(scan: &Scan) -> (BTreeMap<String, usize>, Vec<Named>) {
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let mut dropped = Vec::new();
    for index in scan.facts.indexes() {
        match &scan.facts.get(index).verdict {
            Verdict::Create => {}
            Verdict::Skip(reason) => *skipped.entry((*reason).to_owned()).or_default() += 1,
            Verdict::Drop(reason) => dropped.push(Named::new(&scan.key(index), &**reason)),
        }
    }
    (skipped, dropped)
}

fn steps(facts: &Facts, bare_namespaces: usize) -> Vec<Step> {
    let mut steps: BTreeMap<Phase, BTreeMap<String, usize>> = BTreeMap::new();
    for index in facts.to_create() {
        let kinds = steps.entry(facts.phase_of(index)).or_default();
        *kinds.entry(facts.kind_of(index).to_string()).or_default() += 1;
    }
    if bare_namespaces > 0 {
        let kinds = steps.entry(Phase::Namespaces).or_default();
        *kinds.entry("Namespace".to_owned()).or_default() += bare_namespaces;
    }
    steps
        .into_iter()
        .map(|(phase, kinds)| Step { phase, title: phase.title(), objects: kinds.values().sum(), kinds })
        .collect()
}

fn namespaces(scan: &Scan, target: &Target, options: &RestoreOptions) -> Vec<PlannedNamespace> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for index in scan.facts.to_create() {
        if let Some(namespace) = scan.facts.namespace_of(index) {
            *counts.entry(namespace).or_default() += 1;
        }
    }
    let planned = |(namespace, objects): (&str, usize)| {
        let name = options.map.of(namespace).to_owned();
        let exists = target.namespaces.contains(&name);
        PlannedNamespace { namespace: namespace.to_owned(), target: name, exists, objects }
    };
    counts.into_iter().map(planned).collect()
}

impl RestorePlan {
    /// The claims that are to be created, with the facts that filling their volumes needs.
    pub fn claims(&self) -> impl Iterator<Item = ObjectKey> {
        let claim = GroupKind::new("", "PersistentVolumeClaim");
        self.facts.to_create().filter(move |i| *self.facts.kind_of(*i) == claim).map(|i| self.facts.key_of(i))
    }

    /// Where an object goes: its key under the namespace map.
    pub(super) fn target_key(&self, index: Index) -> ObjectKey {
        let mut key = self.facts.key_of(index);
        if let Some(namespace) = &key.namespace {
            key.namespace = Some(self.options.map.of(namespace).to_owned());
        } else if key.kind.is("", "Namespace") {
            key.name = self.options.map.of(&key.name).to_owned();
        }
        key
    }

    /// The kinds that a step creates in each scope.
    pub(super) fn scopes_of(&self, phase: Phase) -> BTreeMap<Option<String>, BTreeSet<GroupKind>> {
        let mut scopes: BTreeMap<Option<String>, BTreeSet<GroupKind>> = BTreeMap::new();
        for index in self.facts.to_create().filter(|i| self.facts.phase_of(*i) == phase) {
            let scope = self.facts.namespace_of(index);
            let kind = self.facts.kind_of(index);
            if scopes.get(&scope.map(str::to_owned)).is_some_and(|kinds| kinds.contains(kind)) {
                continue;
            }
            scopes.entry(scope.map(str::to_owned)).or_default().insert(kind.clone());
        }
        scopes
    }

    /// Objects that a step creates.
    pub(super) fn count_of(&self, phase: Phase) -> usize {
        self.summary.steps.iter().find(|step| step.phase == phase).map_or(0, |step| step.objects)
    }
}
