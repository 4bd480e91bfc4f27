//! The end of a run: its body, its log and its commit.

use super::checkpoint;
use super::drive::Drive;
use super::{Totals, report};
use crate::backup::BackupError;
use crate::backup::body::BODY;
use crate::backup::commit::{Commit, Covered, Outcome, Remains, VolumeLeft};
use crate::backup::pack::{NewPack, domain_alias};
use crate::select::{Report, RunResult as ReportResult};
use crate::tree::StoredTree;
use crate::volume::flow::Walked;
use crate::volume::left::{self, Left};
use crate::volume::records::Written;
use crate::volume::result::Told;
use lifeboat_format::body::{Body, DomainEntry, DomainKind};
use lifeboat_format::crypto::derive::scope_alias;
use lifeboat_format::crypto::random;
use lifeboat_format::id::{Handle, ScopeAlias};
use lifeboat_format::manifest::{Coverage, Manifest, RunResult};
use lifeboat_format::pack::PackBuilder;
use lifeboat_format::send_log::KnownPack;
use std::collections::{HashMap, HashSet};

/// After so many seconds the chain is read again before the commit: others have probably been there.
const LOOK_AGAIN_SECONDS: i64 = 60;

pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) report: Report,
    pub(super) totals: Totals,
}

pub(super) async fn finish(drive: &mut Drive<'_, '_>, walked: Box<Walked>) -> Result<Finished, BackupError> {
    let Walked { tree, written } = *walked;
    let now = drive.run.clock.now();
    let mut report =
        report::of(&Told::of(&tree.report), tree.entries, &drive.run.request.name, drive.run.started);
    report.finish(now);
    let (manifest, body_pack) = seal_body(drive, &tree, &report).await?;
    let mut new_packs = drive.sending.wait().await?;
    let mut needed = tree.needed.clone();
    needed.insert(body_pack);
    // A file that changed while it was read may have left chunks behind.
    new_packs.retain(|p| needed.contains(&p.handle));

    let remains = remains(drive, &tree, written, &new_packs).await?;
    if now.as_second() - drive.run.started.as_second() >= LOOK_AGAIN_SECONDS {
        drive.base.look_again(drive.run, &drive.sending).await?;
    }
    let base = &mut drive.base;
    let new: HashSet<Handle> = new_packs.iter().map(|p| p.handle).collect();
    let old: HashSet<Handle> = needed.difference(&new).copied().collect();
    let (resumed, reused) = std::mem::take(&mut base.interrupted).split(old);
    let mut manifest = manifest;
    manifest.counts.stored_bytes = base.uploader.sent_bytes();
    let commit = Commit {
        uploader: &base.uploader,
        charter: drive.run.setup.charter.charter(),
        signing: &drive.run.setup.signing,
        memory: &base.memory,
        new_packs,
        resumed,
        reused,
        own: base.own.clone(),
        listed: Vec::new(),
        kept: HashSet::new(),
        sealed_run_key: base.sealed_run_key.clone(),
        covered: Covered::Only(HashSet::from([domain_alias(&drive.keys.dedup_key, &drive.run.domain)])),
        unfinished: Vec::new(),
        remains,
        manifest,
        may_commit: &|| true,
    };
    let outcome =
        commit.run(base.view.clone(), drive.sending.ledger.state, drive.sending.ledger.file).await?;
    Ok(Finished { outcome, report, totals: Totals::of(&tree) })
}

/// Seals the body as a pack of its own and sends it; gives the manifest as far as the run alone decides it, and the
/// pack's handle.
async fn seal_body(
    drive: &mut Drive<'_, '_>,
    tree: &StoredTree,
    report: &Report,
) -> Result<(Manifest, Handle), BackupError> {
    let run = drive.run;
    let alias_key = drive.sending.ledger.state.alias_key().ok_or(BackupError::NoKey)?;
    let alias = scope_alias(&alias_key, &format!("paths/{}", run.request.name));
    let mut manifest = checkpoint::manifest(run, &drive.base, &drive.sending, Coverage::Paths);
    let domain = DomainEntry {
        kind: DomainKind::Path,
        namespace: String::new(),
        name: run.request.name.clone(),
        alias: Some(alias),
        roots: tree.root.into_iter().collect(),
        entries: tree.entries,
        bytes: tree.bytes,
    };
    let text = serde_json::to_vec(report).map_err(|e| BackupError::Report { why: e.to_string() })?;
    let cluster = manifest.cluster.clone();
    let body = Body { cluster: cluster.to_string(), id: manifest.id, domains: vec![domain], report: text };
    let body = body.encode();
    // A body that no reader takes must not become a snapshot.
    Body::parse(&body, &cluster, &manifest.id)?;
    let sealed_run_key = drive.base.sealed_run_key.clone();
    let mut pack = PackBuilder::new(Handle(random::bytes()), &drive.keys.run_key, sealed_run_key);
    let reference = pack.append(&body);
    let domain: ScopeAlias = domain_alias(&drive.keys.dedup_key, BODY);
    drive.sending.send(NewPack { sealed: pack.finish(), domain, chunks: Vec::new() }, None).await?;

    manifest.scopes = vec![alias];
    manifest.body = Some(reference.into());
    if report.result != ReportResult::Completed {
        manifest.result = RunResult::PartiallyFailed;
    }
    (manifest.counts.volumes, manifest.counts.bytes) = (1, tree.bytes);
    manifest.counts.missed = report.missed_total;
    Ok((manifest, reference.handle))
}

/// Sends the rest of the volume's log; the root that names it is written with the commit.
async fn remains(
    drive: &Drive<'_, '_>,
    tree: &StoredTree,
    written: Written,
    new_packs: &[KnownPack],
) -> Result<Remains, BackupError> {
    let (run, past, base) = (drive.run, &drive.past, &drive.base);
    let domain = domain_alias(&drive.keys.dedup_key, &run.domain);
    let started = run.started.as_second();
    let of = left::Of { past, keys: &run.keys, domain, started, uploader: &base.uploader };
    let new: HashMap<Handle, &KnownPack> = new_packs.iter().map(|p| (p.handle, p)).collect();
    let sizes = |h: &Handle| {
        let old = || base.interrupted.packs.get(h).map(|r| &r.pack).or_else(|| base.memory.packs.get(h));
        new.get(h).copied().or_else(old).map(|p| (p.size, p.plain_bytes))
    };
    let Left { log, files } = left::send(&of, tree, written, sizes).await?;
    let replaced = past.files.clone();
    Ok(Remains::Run { objects: None, volumes: vec![VolumeLeft { log, files, replaced }] })
}
