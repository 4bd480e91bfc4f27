//! The body of a snapshot, sealed as the run's last pack, and the manifest as far as the run alone decides it.

use super::Request;
use super::attempt::Run;
use super::commit::Covered;
use super::error::BackupError;
use super::pack::{Packer, domain_alias};
use super::read::{DomainId, Gathered};
use super::state::State;
use super::volume_run::VolumesRead;
use crate::select::{Report, RunResult as ReportResult};
use jiff::Timestamp;
use lifeboat_format::body::{Body, DomainEntry, DomainKind, domain_name};
use lifeboat_format::crypto::derive::{Secret32, scope_alias};
use lifeboat_format::crypto::random;
use lifeboat_format::id::{RunId, ScopeAlias, SnapshotId};
use lifeboat_format::manifest::{Counts, Coverage, Manifest, RunResult, SCHEMA};
use std::collections::HashSet;

/// The domain of the body itself.
pub const BODY: &str = "body";

/// The key of scopes' pseudonyms, the run's own, and the dedup key.
pub(super) struct Aliases(Secret32, RunId, Secret32);

impl Aliases {
    pub(super) fn new(state: &State) -> Result<Self, BackupError> {
        let run = state.pending.as_ref().map_or_else(|| RunId(random::bytes()), |p| p.run);
        let keys = state.alias_key().zip(state.dedup_key());
        let (alias, dedup) = keys.ok_or(BackupError::NoKey)?;
        Ok(Self(alias, run, dedup))
    }
    fn namespace(&self, name: &str) -> ScopeAlias {
        scope_alias(&self.0, &format!("ns/{name}"))
    }
    fn cluster(&self) -> ScopeAlias {
        scope_alias(&self.0, "cluster")
    }
    fn of(&self, id: &DomainId) -> ScopeAlias {
        if id.kind == DomainKind::Cluster { self.cluster() } else { self.namespace(&id.namespace) }
    }
}

/// A sealed body, and what follows from it.
pub(super) struct Sealed {
    /// Without seq, prev, packs, carry and log.
    pub(super) manifest: Manifest,
    pub(super) report: Report,
    pub(super) covered: Covered,
}

pub(super) fn seal(
    run: &Run<'_>,
    packer: &mut Packer,
    mut gathered: Gathered,
    volumes: &VolumesRead,
    aliases: &Aliases,
    started: Timestamp,
) -> Result<Sealed, BackupError> {
    let mut domains = Vec::new();
    for (name, id) in &gathered.domains {
        let finished = packer.finish(name);
        domains.push(DomainEntry {
            kind: id.kind,
            namespace: id.namespace.clone(),
            name: String::new(),
            alias: Some(aliases.of(id)),
            roots: finished.roots,
            entries: finished.entries,
            bytes: finished.bytes,
        });
    }
    domains.extend(volumes.domains(|namespace| aliases.namespace(namespace)));
    let now = run.clock.now();
    volumes.tell(gathered.claims, &mut gathered.report);
    gathered.report.finish(now);
    let report =
        serde_json::to_vec(&gathered.report).map_err(|e| BackupError::Report { why: e.to_string() })?;
    let id = SnapshotId(random::bytes());
    let cluster = run.setup.charter.charter().cluster.clone();
    let body = Body { cluster: cluster.as_str().to_owned(), id, domains, report }.encode();
    // A body that no reader takes (too many bytes or domains) must not become a snapshot.
    Body::parse(&body, &cluster, &id)?;
    let reference = packer.put_chunk(BODY, &body);
    packer.finish(BODY);

    let full = run.request.full && volumes.unasked.is_empty();
    let scopes = scopes(run.request, &gathered, volumes, aliases);
    let (volume_count, volume_bytes) = volumes.totals();
    let failed = gathered.report.result == ReportResult::PartiallyFailed;
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        cluster,
        seq: 0,
        id,
        run: aliases.1,
        prev: None,
        charter: run.setup.charter.charter().n,
        features: Vec::new(),
        origin: run.origin,
        started,
        finished: now,
        coverage: if full { Coverage::Full } else { Coverage::Partial },
        scopes,
        result: if failed { RunResult::PartiallyFailed } else { RunResult::Completed },
        packs: Vec::new(),
        carry: Vec::new(),
        log: None,
        body: Some(reference.into()),
        primary_ttl_hours: run.request.primary_ttl_hours,
        counts: Counts {
            namespaces: gathered.namespaces.len() as u64,
            objects: gathered.objects,
            volumes: volume_count,
            bytes: gathered.bytes.saturating_add(volume_bytes),
            stored_bytes: 0,
            missed: gathered.report.missed_total,
        },
    };
    let covered = covered(run.request, &gathered, &aliases.2).and(volumes.covered(&aliases.2));
    Ok(Sealed { manifest, covered, report: gathered.report })
}

/// What it counts as a backup of.
fn scopes(
    request: &Request,
    gathered: &Gathered,
    volumes: &VolumesRead,
    aliases: &Aliases,
) -> Vec<ScopeAlias> {
    // What was chosen by label or kind covers no namespace: its last whole snapshot must stay the one that counts. So it
    // is with one whose volumes were not asked for.
    let whole = request.whole_namespaces.then_some(&gathered.namespaces);
    let whole = whole.into_iter().flatten().filter(|n| !volumes.unasked.contains(*n));
    let mut scopes: Vec<ScopeAlias> = whole.map(|n| aliases.namespace(n)).collect();
    if request.full && volumes.unasked.is_empty() {
        scopes.push(aliases.cluster());
    }
    scopes.sort_unstable();
    scopes
}

/// What the run covers whole, so that nothing of it need be carried.
fn covered(request: &Request, gathered: &Gathered, dedup_key: &Secret32) -> Covered {
    if request.full {
        return Covered::Objects(HashSet::new());
    }
    let whole = request.whole_namespaces.then_some(&gathered.namespaces);
    let objects = whole.into_iter().flatten().map(|n| domain_name(DomainKind::Objects, n, ""));
    Covered::Only(objects.map(|domain| domain_alias(dedup_key, &domain)).collect())
}
