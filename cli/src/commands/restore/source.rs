//! A snapshot as a restore reads it. Keys in a snapshot are lower case; how a kind is written is in the object.

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use lifeboat_agent::restore::{GroupKind, ObjectKey, ObjectSource, SourceError, StoredObject};
use lifeboat_common::reader::{ObjectFilter, OpenSnapshot, ReadError, Stored};
use lifeboat_format::body::kind_group;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Missed objects that the plan names.
const GAPS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct SnapshotSource {
    open: Arc<OpenSnapshot>,
    /// The data of volumes is restored, too.
    volumes: bool,
}

impl SnapshotSource {
    pub(super) fn new(open: Arc<OpenSnapshot>, volumes: bool) -> Self {
        Self { open, volumes }
    }
}

/// What says how a kind is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

impl ObjectSource for SnapshotSource {
    fn scopes(&self) -> BoxFuture<'_, Result<Vec<Option<String>>, SourceError>> {
        futures::future::ready(Ok(self.open.namespaces())).boxed()
    }

    fn objects<'a>(
        &'a self,
        scope: Option<&'a str>,
        kinds: Option<&'a BTreeSet<GroupKind>>,
    ) -> BoxStream<'a, Result<StoredObject, SourceError>> {
        let namespace = Some(scope.map(str::to_owned));
        let filters = match kinds {
            None => vec![ObjectFilter { namespace, ..ObjectFilter::default() }],
            Some(kinds) => {
                let words: BTreeSet<String> = kinds.iter().map(|k| kind_group(&k.kind, &k.group)).collect();
                let filter =
                    |word| ObjectFilter { namespace: namespace.clone(), kind_group: Some(word), stem: None };
                words.into_iter().map(filter).collect()
            }
        };
        stream::iter(filters)
            .flat_map(|filter| self.open.objects(&filter))
            .map(move |o| convert(scope, o))
            .boxed()
    }

    fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<String> = self.open.problems().to_vec();
        let volumes = self.open.domains().iter().filter(|d| !d.has_objects()).count();
        if volumes > 0 && !self.volumes {
            gaps.push(format!("the data of {volumes} volumes is not restored: their claims are made empty"));
        }
        let report: Result<lifeboat_agent::select::Report, _> = serde_json::from_slice(self.open.report());
        let Ok(report) = report else { return gaps };
        gaps.extend(report.missed.iter().take(GAPS_MAX).map(|m| {
            format!(
                "the backup missed {}{} {}/{}: {}",
                m.kind,
                group(&m.group),
                m.namespace,
                m.name,
                m.message
            )
        }));
        let more = report.missed_total.saturating_sub(report.missed.len().min(GAPS_MAX) as u64);
        if more > 0 {
            gaps.push(format!("the backup missed {more} more; `lifeboat report` lists them"));
        }
        gaps
    }
}

fn group(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(".{group}") }
}

/// Damage touches what is damaged, and the others go on; a store that does not answer ends the reading.
fn convert(scope: Option<&str>, stored: Result<Stored, ReadError>) -> Result<StoredObject, SourceError> {
    let stored = stored.map_err(|e| match &e {
        ReadError::At { path, .. } if e.is_damage() => {
            let (kind, name) = (GroupKind::new("", "Unreadable"), path.clone());
            let key = ObjectKey { namespace: scope.map(str::to_owned), kind, name };
            SourceError { key: Some(Box::new(key)), target: path.clone(), detail: e.to_string() }
        }
        _ => SourceError { key: None, target: "the objects".to_owned(), detail: e.to_string() },
    })?;
    let name = &stored.name;
    let broken = |detail: String| {
        let kind = GroupKind::new("", name.kind_group.clone());
        let key = ObjectKey { namespace: name.namespace.clone(), kind, name: name.name.clone() };
        SourceError { key: Some(Box::new(key)), target: name.path(), detail }
    };
    let kind: Kind<'_> =
        serde_json::from_slice(&stored.json).map_err(|e| broken(format!("it is no object: {e}")))?;
    let group = kind.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if kind_group(&kind.kind, group) != name.kind_group {
        return Err(broken(format!("it says that it is a {} of {}", kind.kind, kind.api_version)));
    }
    let kind = GroupKind::new(group, kind.kind);
    let key = ObjectKey { namespace: name.namespace.clone(), kind, name: name.name.clone() };
    Ok(StoredObject { key, body: stored.json })
}

#[cfg(test)]
mod tests;
