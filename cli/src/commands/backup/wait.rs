//! Waits for a Backup's end: shows how far it is, says what holds it up, and leaves it running when interrupted.

use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_agent::cluster::on_demand::{OnDemand, Watched};
use lifeboat_agent::kinds::{BackupStatus, Phase};
use lifeboat_common::progress::{Mode, Progress, Unit};
use std::time::Duration;

/// A controller takes a Backup up within seconds.
const UNTOUCHED: Duration = Duration::from_secs(60);

/// Its last status. An error when it is deleted, or not over in time.
pub(super) async fn until_the_end(
    on_demand: &OnDemand,
    namespace: &str,
    name: &str,
    timeout: Option<Duration>,
    json: bool,
) -> Result<BackupStatus> {
    let progress = Progress::new(Mode::choose(json), format!("Backup {name}"), Unit::Items, None);
    let ended = tokio::select! {
        ended = watch(on_demand, namespace, name, &progress) => ended,
        () = after(timeout) => Err(anyhow::anyhow!(
            "Backup {name} has not ended within --timeout; it goes on, and {}", see(namespace, name)
        )),
        () = interrupted() => Err(anyhow::anyhow!(
            "Interrupted; backup {name} goes on, and {} (deleting it cancels it)", see(namespace, name)
        )),
    };
    progress.finish();
    ended
}

async fn watch(
    on_demand: &OnDemand,
    namespace: &str,
    name: &str,
    progress: &Progress,
) -> Result<BackupStatus> {
    let mut states = std::pin::pin!(on_demand.watch(name));
    let mut shown = Phase::Pending;
    let mut hinted = false;
    loop {
        let next = tokio::select! {
            next = states.next() => next,
            () = tokio::time::sleep(UNTOUCHED), if shown == Phase::Pending && !hinted => {
                hinted = true;
                tracing::warn!("No controller has taken up backup {name} yet; `kubectl -n {namespace} get pods,leases` shows whether one runs, and `kubectl -n {namespace} get lb` whether another backup is before it");
                continue;
            }
        };
        match next {
            None => bail!("The watch of backup {name} ended; {}", see(namespace, name)),
            Some(Watched::Interrupted(why)) => {
                tracing::warn!("Cannot follow backup {name} now, trying again: {why}")
            }
            Some(Watched::Gone) => {
                bail!(
                    "Backup {name} was deleted, which cancels it: there is no snapshot of it unless it had been committed"
                )
            }
            Some(Watched::There(backup)) => {
                let status = backup.status.unwrap_or_default();
                if status.phase.is_finished() {
                    return Ok(status);
                }
                if status.phase != shown {
                    shown = status.phase;
                    progress.say(&format!("Backup {name} is {shown:?}"));
                }
                let objects = status.progress.map_or(0, |p| u64::try_from(p.objects).unwrap_or_default());
                progress.add(objects.saturating_sub(progress.done()));
            }
        }
    }
}

fn see(namespace: &str, name: &str) -> String {
    format!("`kubectl -n {namespace} get lb {name}` shows how far it is")
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
