//! Checkpoints of a long run: chained manifests without a body that keep its packs nameable (docs/format.md §10.3). Owns
//! what the run builds on, which a checkpoint changes.

use super::Run;
use crate::backup::BackupError;
use crate::backup::commit::{Commit, Covered, Outcome, Remains};
use crate::backup::head::{self, ChainView};
use crate::backup::ledger::Stated;
use crate::backup::log::Memory;
use crate::backup::resume::Interrupted;
use crate::backup::send::Sending;
use crate::backup::upload::Uploader;
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::random;
use lifeboat_format::id::{Handle, RunId, ScopeAlias, SnapshotId};
use lifeboat_format::layout;
use lifeboat_format::manifest::{Counts, Coverage, Manifest, RunResult, SCHEMA};
use lifeboat_format::send_log::KnownPack;
use std::collections::HashSet;
use std::time::Duration;

/// When a run writes a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoints {
    /// After so many seconds.
    pub seconds: i64,
    /// After so many sealed bytes.
    pub bytes: u64,
    /// After so many manifests of others.
    pub foreign: usize,
    /// How often it looks for those, seconds.
    pub poll_seconds: i64,
    /// How often the run looks whether anything is due.
    pub look: Duration,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            seconds: 6 * 3600,
            bytes: 64 << 30,
            foreign: 2,
            poll_seconds: 600,
            look: Duration::from_secs(1),
        }
    }
}

/// What a run builds on, and what it has made nameable.
pub(super) struct Base {
    pub(super) view: ChainView,
    pub(super) memory: Memory,
    pub(super) interrupted: Interrupted,
    pub(super) uploader: Uploader,
    pub(super) sealed_run_key: Vec<u8>,
    /// Packs of earlier manifests that may be named.
    allowed: HashSet<Handle>,
    /// Packs that attempts of this run sent, and that lists name.
    pub(super) own: HashSet<Handle>,
    last: Timestamp,
    last_bytes: u64,
    polled: Timestamp,
    /// Checkpoints written.
    pub(super) written: u64,
}

impl Base {
    pub(super) fn new(
        view: ChainView,
        memory: Memory,
        interrupted: Interrupted,
        allowed: HashSet<Handle>,
        uploader: Uploader,
        sealed_run_key: Vec<u8>,
        now: Timestamp,
    ) -> Self {
        let own = interrupted.checkpointed.clone();
        Self {
            view,
            memory,
            interrupted,
            uploader,
            sealed_run_key,
            allowed,
            own,
            last: now,
            last_bytes: 0,
            polled: now,
            written: 0,
        }
    }

    /// Whether a checkpoint is due; looks for manifests of others from time to time.
    pub(super) async fn is_due(&mut self, when: &Checkpoints, now: Timestamp) -> Result<bool, StoreError> {
        let age = |since: Timestamp| now.as_second() - since.as_second();
        let sent = self.uploader.sent_bytes() - self.last_bytes;
        if age(self.last) >= when.seconds || sent >= when.bytes {
            return Ok(true);
        }
        if age(self.polled) < when.poll_seconds {
            return Ok(false);
        }
        self.polled = now;
        Ok(newer(self.uploader.store(), self.view.free, when.foreign).await? >= when.foreign)
    }

    /// Reads the chain again: a long run's view of it is old.
    pub(super) async fn look_again(
        &mut self,
        run: &Run<'_>,
        sending: &Sending<Stated<'_>>,
    ) -> Result<(), BackupError> {
        let charter = run.setup.charter.charter();
        let agent = run.setup.signing.verify_key();
        self.view =
            head::read(self.uploader.store(), charter, &agent, sending.ledger.state.head, true).await?;
        Ok(())
    }

    /// Packs are named by lists now.
    fn listed(&mut self, packs: Vec<KnownPack>) {
        for pack in packs {
            self.interrupted.packs.remove(&pack.handle);
            self.own.insert(pack.handle);
            self.memory.packs.insert(pack.handle, pack);
        }
    }
}

/// Manifests at or above slot `from`, at most `limit`.
async fn newer(store: &dyn ReadStore, from: u64, limit: usize) -> Result<usize, StoreError> {
    let before = layout::manifest(from.saturating_sub(1));
    let page = store.list(layout::MANIFESTS, Some(&before), limit.clamp(1, 1000)).await?;
    Ok(page.entries.iter().filter(|e| layout::parse_manifest(&e.key).is_some()).count())
}

/// Writes one. The reason, when the run has lost what it built on and must start again.
pub(super) async fn write(
    run: &Run<'_>,
    base: &mut Base,
    sending: &mut Sending<Stated<'_>>,
    domain: ScopeAlias,
) -> Result<Option<&'static str>, BackupError> {
    // Without the log a later attempt would have the packs and not know what is in them.
    sending.write_log().await?;
    base.look_again(run, sending).await?;
    let mut reused = base.allowed.clone();
    reused.extend(&base.own);
    let commit = Commit {
        uploader: &base.uploader,
        charter: run.setup.charter.charter(),
        signing: &run.setup.signing,
        memory: &base.memory,
        new_packs: std::mem::take(&mut sending.packs),
        resumed: base.interrupted.packs.values().cloned().collect(),
        reused,
        own: base.own.clone(),
        listed: Vec::new(),
        kept: HashSet::new(),
        sealed_run_key: base.sealed_run_key.clone(),
        covered: Covered::Only(HashSet::new()),
        unfinished: Vec::new(),
        remains: Remains::Checkpoint(domain),
        manifest: manifest(run, base, sending, Coverage::Checkpoint),
        may_commit: &|| true,
    };
    let done = match commit.run(base.view.clone(), sending.ledger.state, sending.ledger.file).await? {
        Outcome::Redo(why) => return Ok(Some(why)),
        Outcome::Found(_) => return Ok(Some(super::FOUND)),
        Outcome::Committed(done) => done,
    };
    tracing::info!(seq = done.manifest.seq, "checkpoint: what was sent so far stays usable");
    base.listed(done.listed);
    base.look_again(run, sending).await?;
    (base.last, base.polled) = (run.clock.now(), run.clock.now());
    base.last_bytes = base.uploader.sent_bytes();
    base.written += 1;
    Ok(None)
}

/// A manifest of this run without seq, prev, packs, carry, log and body.
pub(super) fn manifest(
    run: &Run<'_>,
    base: &Base,
    sending: &Sending<Stated<'_>>,
    coverage: Coverage,
) -> Manifest {
    let charter = run.setup.charter.charter();
    Manifest {
        schema: SCHEMA.to_owned(),
        cluster: charter.cluster.clone(),
        seq: 0,
        id: SnapshotId(random::bytes()),
        run: sending.ledger.state.pending.as_ref().map_or_else(|| RunId(random::bytes()), |p| p.run),
        prev: None,
        charter: charter.n,
        features: Vec::new(),
        origin: run.request.origin,
        started: run.started,
        finished: run.clock.now(),
        coverage,
        scopes: Vec::new(),
        result: RunResult::Completed,
        packs: Vec::new(),
        carry: Vec::new(),
        log: None,
        body: None,
        primary_ttl_hours: None,
        counts: Counts { stored_bytes: base.uploader.sent_bytes(), ..Counts::default() },
    }
}
