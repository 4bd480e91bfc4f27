//! Opens every chunk that a snapshot refers to, with an administrator's keys.

use super::Progress;
use super::report::{Damage, DamageKind, Unchecked, VerifyReport};
use crate::reader::chain::Snapshot;
use crate::reader::error::ReadError;
use crate::reader::keyring::Keyring;
use crate::reader::map::{self, KeyRange, MapEntry};
use crate::reader::names::ObjectName;
use crate::reader::repository::Repository;
use crate::reader::snapshot::{Domain, OpenSnapshot};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use lifeboat_format::layout;
use std::sync::Arc;

/// Entries whose chunks are opened at a time.
const AHEAD: usize = 8;
/// How many entries between two reports.
const REPORT_EVERY: u64 = 256;

pub(super) async fn check(
    repository: &Repository,
    snapshot: &Snapshot,
    keyring: &Arc<Keyring>,
    report: &mut VerifyReport,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), ReadError> {
    let seq = snapshot.manifest.seq;
    let open = match repository.open_snapshot(snapshot, Arc::clone(keyring)).await {
        Ok(open) => open,
        Err(e @ (ReadError::WrongIdentity { .. } | ReadError::NoEpoch { .. })) => return Err(e),
        Err(e) => {
            add(report, seq, String::new(), &e);
            return Ok(());
        }
    };
    for problem in open.problems() {
        let expected = "names that can be paths";
        report
            .damage(Damage::new(format!("snapshot {seq}"), DamageKind::Invalid, expected, problem).of([seq]));
    }
    let of_entries = open.domains().iter().map(|d| d.entries).sum();
    let mut entries = 0;
    for domain in open.domains() {
        let mut checked =
            if domain.has_objects() { check_objects(&open, domain) } else { check_tree(&open, domain) };
        while let Some(outcome) = checked.next().await {
            entries += 1;
            match outcome {
                Ok(()) => report.opened_entries += 1,
                Err((path, e)) => add(report, seq, path, &e),
            }
            if entries % REPORT_EVERY == 0 {
                progress(Progress::Opened { seq, entries, of_entries });
            }
        }
    }
    progress(Progress::Opened { seq, entries, of_entries });
    Ok(())
}

type Checked<'a> = BoxStream<'a, Result<(), (String, ReadError)>>;

fn check_objects<'a>(open: &'a OpenSnapshot, domain: &'a Domain) -> Checked<'a> {
    let entries = open.entries(domain, &KeyRange::all());
    entries.map(|entry| check_entry(open, domain, entry)).buffer_unordered(AHEAD).boxed()
}

/// Attributes too, and that a file's chunks are of its size. Memory does not grow with a file's list of chunks.
fn check_tree<'a>(open: &'a OpenSnapshot, domain: &'a Domain) -> Checked<'a> {
    let tree = match open.tree(domain) {
        Ok(tree) => tree,
        Err(e) => return stream::iter([Err((domain.folder(), e))]).boxed(),
    };
    let checked = tree.all().map(move |entry| {
        let tree = tree.clone();
        async move {
            let entry = entry.map_err(|e| (e.path().unwrap_or_default().to_owned(), e))?;
            let mut content = tree.content(&entry);
            while let Some(piece) = content.next().await {
                piece.map_err(|e| (tree.shown(&entry.path), e))?;
            }
            Ok(())
        }
    });
    checked.buffer_unordered(AHEAD).boxed()
}

async fn check_entry(
    open: &OpenSnapshot,
    domain: &Domain,
    entry: Result<MapEntry, ReadError>,
) -> Result<(), (String, ReadError)> {
    let entry = entry.map_err(|e| (domain.folder(), e))?;
    let path = || {
        let name = ObjectName::from_key(domain.namespace.as_deref(), &entry.key);
        name.map_or_else(|| domain.folder(), |n| n.path())
    };
    let references = map::references(open.chunks(), &entry).await.map_err(|e| (path(), e))?;
    for reference in &references {
        open.chunks().chunk(reference).await.map_err(|e| (path(), e))?;
    }
    Ok(())
}

fn add(report: &mut VerifyReport, seq: u64, path: String, error: &ReadError) {
    if !error.is_damage() {
        let key = format!("{} of snapshot {seq}", if path.is_empty() { "the body" } else { &path });
        report.unchecked(Unchecked { key, why: error.to_string() });
        return;
    }
    let key = error.key().map_or_else(|| layout::manifest(seq), str::to_owned);
    let kind =
        if matches!(error, ReadError::Missing { .. }) { DamageKind::Missing } else { DamageKind::Invalid };
    let mut damage = Damage::new(key, kind, "bytes that open", error.to_string()).of([seq]);
    damage.objects.extend((!path.is_empty()).then_some(path));
    report.damage(damage);
}
