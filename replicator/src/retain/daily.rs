//! Retention as a part of the service: a pass of each cluster a day after the last one. Knows no pull.

use super::{Memory, RetainError, Retainer};
use crate::setup::{self, Options, SetupError};
use crate::source;
use crate::vault::Work;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
        let looked = tokio::task::spawn_blocking(move || look(&path, &*clock)).await;
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "Retention failed; nothing is lost by it"),
            Err(error) => tracing::error!(%error, "Retention ended early"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn look(path: &Path, clock: &dyn Clock) -> Result<(), SetupError> {
    let config = setup::load(path)?;
    let vault = setup::open_vault(Work::Retain, &config, Options::default(), clock)?;
    let catalogue = setup::catalogue(&config)?;
    for source in &config.sources {
        let receipt_key = source::receipt_key(&source.cluster, &source.receipt_key)?;
        pass(&Retainer::of(source, &receipt_key, &vault, &catalogue), clock.now());
    }
    Ok(())
}

/// One cluster must not keep the others from their pass.
fn pass(retainer: &Retainer<'_>, now: Timestamp) {
    let cluster = retainer.cluster.as_str();
    let done = is_due(retainer, now).and_then(|due| due.then(|| retainer.run(now)).transpose());
    match done {
        Ok(None) => {}
        Ok(Some(pass)) => {
            for why in &pass.restraints {
                tracing::warn!(cluster, %why, "Nothing is forgotten; see `lifeboat-replicator retain --dry-run`");
            }
            let (forgotten, packs) = (pass.forgotten.len(), pass.collected_packs);
            tracing::info!(cluster, forgotten, packs, bytes = pass.collected_bytes, "Retention");
        }
        // Before the first pull there is nothing to keep.
        Err(RetainError::NoCharter { .. }) => {}
        Err(error) => tracing::error!(cluster, %error, "Retention failed; nothing is lost by it"),
    }
}

fn is_due(retainer: &Retainer<'_>, now: Timestamp) -> Result<bool, RetainError> {
    let last = Memory::load(retainer.folder.vault(), retainer.cluster)?.last_pass();
    Ok(last.is_none_or(|last| !(0..PASS).contains(&now.duration_since(last).as_secs())))
}
