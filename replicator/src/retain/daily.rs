//! Retention as a part of the service: a pass of each cluster a day after the last one. Knows no pull.

use super::{Memory, RetainError, Retainer};
use crate::primary::Roles;
use crate::setup::{self, Options, SetupError};
use crate::source;
use crate::vault::Work;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::SourceConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Between two looks whether a pass is due.
const LOOK: Duration = Duration::from_secs(600);
/// Before the first: pulls go first when a service starts.
const FIRST: Duration = Duration::from_secs(5);
/// Between two passes, seconds. Less than a day, so that a pass does not wander through the day.
const PASS: i64 = 23 * 3600;

/// Never ends. Reads the configuration at `path` anew each time.
pub async fn daily(path: PathBuf, clock: Arc<dyn Clock>) {
    tokio::time::sleep(FIRST).await;
    loop {
        let (path, clock) = (path.clone(), Arc::clone(&clock));
        let runtime = tokio::runtime::Handle::current();
        let looked = tokio::task::spawn_blocking(move || look(&path, &clock, &runtime)).await;
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "Retention failed; nothing is lost by it"),
            Err(error) => tracing::error!(%error, "Retention ended early"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// On a thread that may block: the disk is asked as it comes, the primary through `runtime`.
fn look(path: &Path, clock: &Arc<dyn Clock>, runtime: &Handle) -> Result<(), SetupError> {
    let config = setup::load(path)?;
    let vault = setup::open_vault(Work::Retain, &config, Options::default(), &**clock)?;
    let catalogue = setup::catalogue(&config)?;
    for source in &config.sources {
        let receipt_key = source::receipt_key(&source.cluster, &source.receipt_key)?;
        let retainer = Retainer::of(source, &receipt_key, &vault, &catalogue);
        if pass(&retainer, clock.now()) {
            runtime.block_on(in_primary(source, &retainer, clock));
        }
    }
    Ok(())
}

async fn in_primary(source: &SourceConfig, retainer: &Retainer<'_>, clock: &Arc<dyn Clock>) {
    let cluster = retainer.cluster.as_str();
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(cluster, %error, "Retention of the primary failed; nothing is lost by it");
    };
    let roles = match Roles::open(source, Arc::clone(clock)).await {
        Ok(Some(roles)) => roles,
        Ok(None) => return,
        Err(error) => return failed(&error),
    };
    match roles.primary(retainer).run(clock.now()).await {
        Ok(pass) => {
            for why in &pass.stopped {
                tracing::warn!(
                    cluster,
                    why,
                    "Nothing is deleted in the primary; see `lifeboat-replicator retain --dry-run`"
                );
            }
            let (forgotten, healed) = (pass.forgotten.len(), pass.healed.healed.len());
            let (deleted, bytes) = (pass.deleted, pass.deleted_bytes);
            tracing::info!(cluster, forgotten, deleted, bytes, healed, "Retention of the primary");
        }
        Err(error) => failed(&error),
    }
}

/// One cluster must not keep the others from their pass. True when one was due.
fn pass(retainer: &Retainer<'_>, now: Timestamp) -> bool {
    let cluster = retainer.cluster.as_str();
    let done = is_due(retainer, now).and_then(|due| due.then(|| retainer.run(now)).transpose());
    match done {
        Ok(None) => return false,
        Ok(Some(pass)) => {
            for why in &pass.restraints {
                tracing::warn!(cluster, %why, "Nothing is forgotten; see `lifeboat-replicator retain --dry-run`");
            }
            let (forgotten, packs) = (pass.forgotten.len(), pass.collected_packs);
            tracing::info!(cluster, forgotten, packs, bytes = pass.collected_bytes, "Retention");
        }
        // Before the first pull there is nothing to keep.
        Err(RetainError::NoCharter { .. }) => return false,
        Err(error) => tracing::error!(cluster, %error, "Retention failed; nothing is lost by it"),
    }
    true
}

fn is_due(retainer: &Retainer<'_>, now: Timestamp) -> Result<bool, RetainError> {
    let last = Memory::load(retainer.folder.vault(), retainer.cluster)?.last_pass();
    Ok(last.is_none_or(|last| !(0..PASS).contains(&now.duration_since(last).as_secs())))
}
