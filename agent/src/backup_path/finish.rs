//! The end of a run: its body, its log and its commit.

use super::checkpoint::{self, Base};
use super::drive::{Drive, Walked};
use super::{Totals, report};
use crate::backup::BackupError;
use crate::backup::body::BODY;
use crate::backup::commit::{Commit, Covered, Outcome, Remains};
use crate::backup::log;
use crate::backup::pack::{NewPack, domain_alias};
use crate::backup::reuse;
use crate::select::{Report, RunResult as ReportResult};
use crate::tree::StoredTree;
use lifeboat_format::body::{Body, DomainEntry, DomainKind};
use lifeboat_format::crypto::derive::scope_alias;
use lifeboat_format::crypto::random;
use lifeboat_format::id::{Handle, ScopeAlias};
use lifeboat_format::manifest::{Coverage, Manifest, RunResult};
use lifeboat_format::pack::PackBuilder;
use lifeboat_format::send_log::{FileRef, KnownChunk, KnownPack, content};
use lifeboat_format::volume_log::{SPARSE_MAX, VolumeLog, index_pieces, seal_index};
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
    let mut report = report::of(&tree, &drive.run.request.name, drive.run.started);
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
        sealed_run_key: base.sealed_run_key.clone(),
        covered: Covered::Only(HashSet::from([domain_alias(&drive.keys.dedup_key, &drive.run.domain)])),
        remains,
        manifest,
        may_commit: &|| true,
    };
    let outcome = commit.run(base.view.clone(), drive.sending.state, drive.sending.file).await?;
    Ok(Finished { outcome, report, totals: report::totals(&tree) })
}

/// Seals the body as a pack of its own and sends it; gives the manifest as far as the run alone decides it, and the
/// pack's handle.
async fn seal_body(
    drive: &mut Drive<'_, '_>,
    tree: &StoredTree,
    report: &Report,
) -> Result<(Manifest, Handle), BackupError> {
    let run = drive.run;
    let alias_key = drive.sending.state.alias_key().ok_or(BackupError::NoKey)?;
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
    mut written: super::records::Written,
    new_packs: &[KnownPack],
) -> Result<Remains, BackupError> {
    let (run, past, uploader) = (drive.run, &drive.past, &drive.base.uploader);
    let mut pages: Vec<KnownChunk> = Vec::with_capacity(tree.pages.len());
    for page in &tree.pages {
        written.needs(std::slice::from_ref(page));
        pages.push(KnownChunk { id: run.keys.chunk_id(&page.digest), reference: *page });
    }
    pages.sort_unstable_by_key(|c| c.id);
    pages.dedup_by_key(|c| c.id);
    let pages = log::save_chunks(uploader, &past.page_segments, pages).await?;
    let mut unsent = written.unsent;
    let mut index = Vec::new();
    for piece in index_pieces(&written.segments) {
        let digest = content(piece);
        if let Some(known) = past.index.get(&digest) {
            index.push(known.clone());
            continue;
        }
        let (sha256, key, bytes) = log::sealed(|key| seal_index(key, piece));
        index.push(FileRef { sha256, key, digest });
        unsent.push((sha256, bytes));
    }
    log::send(uploader, unsent).await?;
    let mut files: HashSet<_> = written.segments.iter().map(|s| s.sha256).collect();
    files.extend(index.iter().map(|f| f.sha256));
    files.extend(pages.iter().map(|s| s.sha256));
    let log = VolumeLog {
        domain: domain_alias(&drive.keys.dedup_key, &run.domain),
        started: run.started.as_second(),
        index,
        pages,
        sparse: sparse(&written.live, &drive.base, new_packs),
    };
    Ok(Remains::Volume { log: Box::new(log), files, replaced: past.files.clone() })
}

/// The packs that the next run may store anew, worst first.
fn sparse(live: &HashMap<Handle, u64>, base: &Base, new_packs: &[KnownPack]) -> Vec<(Handle, u64)> {
    let new: HashMap<Handle, &KnownPack> = new_packs.iter().map(|p| (p.handle, p)).collect();
    let known = |h: &Handle| {
        let old = || base.interrupted.packs.get(h).map(|r| &r.pack).or_else(|| base.memory.packs.get(h));
        new.get(h).copied().or_else(old)
    };
    let mut found: Vec<(u64, Handle, u64)> = live
        .iter()
        .filter_map(|(h, live)| Some((known(h)?, *live)))
        .filter(|(pack, live)| reuse::is_sparse(pack, *live))
        .map(|(pack, live)| (reuse::percent(pack, live), pack.handle, live))
        .collect();
    found.sort_unstable();
    found.truncate(SPARSE_MAX);
    found.into_iter().map(|(_, handle, live)| (handle, live)).collect()
}
