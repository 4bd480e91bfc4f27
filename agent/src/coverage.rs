//! What of a cluster is protected, since when, and who left out the rest: compares what is there now with the Backups
//! and, where one is opened, the newest snapshot. Pure: plain data in, plain data out.

mod volumes;

use crate::kinds::{Backup, BackupSpec, TemplateScope, VolumesMode};
use crate::select::coverage::{Cell, Table};
use crate::select::report::{Missed, OptedOut};
use crate::select::rules::SYSTEM_NAMESPACES;
use crate::select::{ClusterScope, Report, RuleError, Selection, SelectionSpec};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

pub use volumes::{Evidence, Method, STALE, Volume, VolumesNow, volumes};

/// What is known.
#[derive(Debug)]
pub struct Known<'a> {
    /// What a full run by the schedule would do now, and its objects by namespace and kind.
    pub report: &'a Report,
    pub table: &'a Table,
    pub backups: &'a [Backup],
    /// The template that the cluster is looked at through.
    pub template: &'a BackupSpec,
    /// What the charter excludes, where it is known.
    pub charter_excludes: Option<&'a [String]>,
    pub snapshot: Option<&'a InSnapshot>,
}

/// The newest full snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InSnapshot {
    pub seq: u64,
    pub finished: Timestamp,
    /// The kinds that it holds; cluster-scoped ones under "".
    pub kinds: BTreeMap<String, BTreeSet<String>>,
}

/// How it stands with a namespace or a kind in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// In a backup.
    Protected,
    /// Made since the last backup: the next one has it.
    New,
    /// It should be in a backup and is in none.
    Never,
    /// What a backup holds of it is too old, or can no longer be renewed.
    Old,
    /// A rule or a label leaves it out.
    Excluded,
    /// The cluster makes it again, or it is being deleted.
    Derived,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// "" for what is in none.
    pub name: String,
    pub state: State,
    pub objects: u64,
    /// Objects that are left out, by rule.
    pub excluded: BTreeMap<String, u64>,
    /// The end of the newest backup that has it, and the beginning of the oldest that is known.
    pub last: Option<Timestamp>,
    pub since: Option<Timestamp>,
    /// Who leaves it out, or why it is in no backup.
    pub why: Option<String>,
    pub kinds: BTreeMap<String, Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kind {
    pub state: State,
    #[serde(flatten)]
    pub counts: Cell,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    pub namespaces: Vec<Namespace>,
    /// Every claim; none where they were not looked at.
    pub volumes: Vec<Volume>,
    /// Objects that carry an opt-out label themselves.
    pub opted_out: Vec<OptedOut>,
    /// Kinds that no run reads, with the rule.
    pub unread: BTreeMap<String, String>,
    /// What could not be read now.
    pub missed: Vec<Missed>,
    /// Objects that are not counted by namespace and kind, because there are too many.
    pub beyond: u64,
}

impl Coverage {
    /// Whether something is in no backup that should be, or could not be looked at.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        !self.missed.is_empty()
            || self.namespaces.iter().any(Namespace::has_gaps)
            || self.volumes.iter().any(Volume::is_gap)
    }
}

impl Namespace {
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.state == State::Never || self.kinds.values().any(|kind| kind.state == State::Never)
    }
}

/// The selection that a template makes of a cluster, with what the charter excludes.
///
/// # Errors
/// If a pattern or selector in it cannot be used.
pub fn selection(template: &BackupSpec, charter_excludes: &[String]) -> Result<Selection, RuleError> {
    let everywhere = template.included_namespaces.iter().all(|n| n == "*");
    let mut exclude_namespaces = template.excluded_namespaces.clone();
    if everywhere {
        exclude_namespaces.extend(charter_excludes.iter().cloned());
    }
    Selection::parse(&SelectionSpec {
        namespaces: template.included_namespaces.clone(),
        exclude_namespaces,
        preset: template.preset.clone(),
        selector: template.selector.clone().or(template.label_selector.as_ref().map(|s| s.to_text())),
        kinds: template.included_kinds.clone(),
        exclude_kinds: template.excluded_kinds.clone(),
        cluster_scope: template.cluster_scope.map(|scope| match scope {
            TemplateScope::Off => ClusterScope::Off,
            TemplateScope::Related => ClusterScope::Related,
            TemplateScope::All => ClusterScope::All,
        }),
        include_opted_out: template.include_opted_out,
        agent_namespaces: Vec::new(),
    })
}

/// A Backup with a snapshot that holds namespaces whole.
struct Done {
    selection: Selection,
    started: Timestamp,
    finished: Timestamp,
    cluster_scoped: bool,
}

/// The Backups that say something of coverage: those with a snapshot, not chosen by label or kind.
fn done(known: &Known<'_>) -> Vec<Done> {
    let whole = |spec: &BackupSpec| {
        spec.selector.is_none()
            && spec.label_selector.is_none()
            && spec.included_kinds.is_empty()
            && spec.excluded_kinds.is_empty()
    };
    let each = |backup: &Backup| {
        let status = backup.status.as_ref()?;
        if !status.phase.has_snapshot() || !whole(&backup.spec) {
            return None;
        }
        let selection = selection(&backup.spec, known.charter_excludes.unwrap_or_default()).ok()?;
        let cluster_scoped = selection.cluster_scope == ClusterScope::All;
        Some(Done { selection, started: status.started?, finished: status.finished?, cluster_scoped })
    };
    known.backups.iter().filter_map(each).collect()
}

/// Whether a Backup has a snapshot of every object of the charter's scope, whatever it has of volumes.
fn is_wide(backup: &Backup) -> bool {
    let Some(status) = backup.status.as_ref().filter(|s| s.phase.has_snapshot()) else { return false };
    let asked = BackupSpec {
        volumes: None,
        hooks: Vec::new(),
        ttl: None,
        deadline: None,
        schedule_name: None,
        ..backup.spec.clone()
    };
    let by_mode = matches!(backup.spec.volumes, Some(VolumesMode::Off | VolumesMode::OptIn));
    status.coverage.as_deref() == Some("Full") || (by_mode && asked == BackupSpec::default())
}

/// The beginning of the newest full backup, by the Backups and the snapshot.
#[must_use]
pub fn newest_full(backups: &[Backup], snapshot: Option<&InSnapshot>) -> Option<Timestamp> {
    let started = backups.iter().filter(|b| is_wide(b)).filter_map(|b| b.status.as_ref()?.started).max();
    started.or(snapshot.map(|s| s.finished))
}

/// What the charter left out of the newest full backup, by the Backups; none where they do not say.
#[must_use]
pub fn excluded_lately(backups: &[Backup]) -> Option<Vec<String>> {
    let full = backups.iter().filter(|b| is_wide(b));
    let newest = full.filter_map(|b| b.status.as_ref()).max_by_key(|s| s.started);
    newest.map(|s| s.excluded_namespaces.clone()).filter(|names| !names.is_empty())
}

/// Puts it together.
#[must_use]
pub fn assess(known: &Known<'_>) -> Coverage {
    let done = done(known);
    let nothing = BTreeMap::new();
    let names: BTreeSet<&String> = known.report.namespaces.keys().chain(known.table.cells.keys()).collect();
    let namespaces = names.into_iter().map(|name| {
        let cells = known.table.cells.get(name).unwrap_or(&nothing);
        namespace(known, &done, name, cells)
    });
    Coverage {
        namespaces: namespaces.collect(),
        volumes: Vec::new(),
        opted_out: known.report.opted_out.clone(),
        unread: known.report.unlisted.clone(),
        missed: known.report.missed.clone(),
        beyond: known.table.beyond,
    }
}

fn namespace(known: &Known<'_>, done: &[Done], name: &str, cells: &BTreeMap<String, Cell>) -> Namespace {
    let covers =
        |d: &&Done| if name.is_empty() { d.cluster_scoped } else { d.selection.selects_namespace(name) };
    let made = known.table.made.get(name).copied();
    // A Namespace of the same name may have been there before: that one does not count.
    let after = |d: &&Done| made.is_none_or(|made| made <= d.started);
    let holds = known.snapshot.map(|s| (s.kinds.get(name), s.finished));
    let of_backups = done.iter().filter(covers).filter(after).map(|d| d.finished).max();
    let last = match &holds {
        Some((kinds, finished)) => {
            kinds.filter(|k| !k.is_empty()).map(|_| *finished).filter(|t| made.is_none_or(|m| m <= *t))
        }
        None => of_backups,
    };
    let since = done.iter().filter(covers).filter(after).map(|d| d.started).min();
    let counts = known.report.namespaces.get(name).cloned().unwrap_or_default();
    let sum = |pick: fn(&Cell) -> u64| cells.values().map(pick).sum::<u64>();
    let objects = if name.is_empty() { sum(|c| c.stored) } else { counts.stored };
    let excluded = counts.excluded;
    let all_new = sum(|c| c.stored) == sum(|c| c.newer);
    let state = match () {
        () if objects == 0 && (!excluded.is_empty() || sum(|c| c.excluded) > 0) => State::Excluded,
        () if objects == 0 => State::Derived,
        () if last.is_some() => State::Protected,
        () if made.is_some_and(|made| newest(done).is_some_and(|n| made > n)) && all_new => State::New,
        () => State::Never,
    };
    let in_snapshot = holds.and_then(|(kinds, _)| kinds);
    let kinds = cells.iter().filter(|(_, c)| c.stored + c.excluded + c.derived > 0).map(|(kind, cell)| {
        let there = last.is_some() && in_snapshot.is_none_or(|kinds| kinds.contains(kind));
        (kind.clone(), Kind { state: kind_state(cell, there, state), counts: *cell })
    });
    let kinds = kinds.collect();
    Namespace {
        name: name.to_owned(),
        state,
        objects,
        why: why(known, name, state, &excluded),
        excluded,
        last,
        since,
        kinds,
    }
}

fn newest(done: &[Done]) -> Option<Timestamp> {
    done.iter().map(|d| d.started).max()
}

fn kind_state(cell: &Cell, there: bool, around: State) -> State {
    match () {
        () if cell.stored == 0 && cell.excluded > 0 => State::Excluded,
        () if cell.stored == 0 => State::Derived,
        () if cell.newer == cell.stored && around != State::Never => State::New,
        () if there => State::Protected,
        () => around.min_of_kind(),
    }
}

impl State {
    /// Of a kind that is in no backup, in a namespace of this state.
    fn min_of_kind(self) -> Self {
        if self == Self::New { Self::New } else { Self::Never }
    }
}

/// Who leaves a namespace out, in words.
fn why(known: &Known<'_>, name: &str, state: State, excluded: &BTreeMap<String, u64>) -> Option<String> {
    match state {
        State::Protected => return None,
        State::New => return Some("made since the last backup".to_owned()),
        State::Never | State::Old => return Some("in no backup that is known".to_owned()),
        State::Derived => {
            return Some("nothing to store: it is being deleted, or the cluster makes it again".to_owned());
        }
        State::Excluded => {}
    }
    let has = |rule: &str| excluded.contains_key(rule);
    if has("agentNamespace") {
        return Some("Lifeboat's own namespace".to_owned());
    }
    if has("systemNamespace") {
        let preset = known.template.preset.as_deref().filter(|_| !SYSTEM_NAMESPACES.contains(&name));
        return Some(preset.map_or_else(|| "a system namespace".to_owned(), |p| format!("preset {p}")));
    }
    if has("namespace") {
        let matches = |globs: &[String]| {
            globs.iter().find(|g| crate::select::glob::Glob::new(g).matches(name)).cloned()
        };
        let charter =
            known.charter_excludes.and_then(matches).map(|glob| format!("the charter excludes {glob}"));
        let template = || {
            matches(&known.template.excluded_namespaces).map(|glob| format!("the schedule excludes {glob}"))
        };
        return Some(
            charter.or_else(template).unwrap_or_else(|| "the schedule does not include it".to_owned()),
        );
    }
    if has("optedOut") || has("namespaceOptedOut") {
        let label = known.report.opted_out.iter().find(|o| o.kind == "namespace" && o.name == name);
        return Some(
            label.map_or_else(|| "a label".to_owned(), |o| format!("label {} on Namespace {name}", o.label)),
        );
    }
    Some(excluded.keys().cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
