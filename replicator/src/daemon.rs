//! The service: pulls every source by its schedule until it is told to stop. Owns signals, readiness, the status text and
//! the watchdog; knows nothing of what a pull does.

use crate::activity::Activity;
use crate::replicate::{Outcome, Replicator};
use crate::retain;
use crate::scrub::{self, Pace};
use crate::setup::{self, SetupError};
use crate::source::Source;
use crate::status::duration;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::progress::Mode;
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two status texts.
const STATUS: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("Cannot listen for signals: {source}; look at the limits of this service")]
    Signals { source: std::io::Error },
    #[error(
        "The task that pulls stopped unexpectedly; see the log before this, the service manager starts it again"
    )]
    Task,
}

/// What is to be pulled, and how often. Replaced as a whole by a reload.
#[derive(Debug, Clone)]
struct Plan {
    sources: BTreeMap<String, Arc<Source>>,
    every: Duration,
}

fn plan(config: &ReplicatorConfig, sources: Vec<Arc<Source>>) -> Arc<Plan> {
    let sources = sources.into_iter().map(|s| (s.cluster.to_string(), s)).collect();
    Arc::new(Plan { sources, every: Duration::from_secs(config.poll_seconds) })
}

/// Whether the service only pulls, or does everything, as small installations want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Pull,
    Everything,
}

/// Runs until SIGTERM or SIGINT. SIGHUP reads `path` again.
pub async fn run(
    does: Does,
    path: PathBuf,
    config: ReplicatorConfig,
    replicator: Replicator,
    sources: Vec<Arc<Source>>,
) -> Result<(), DaemonError> {
    let listen = |kind| signal(kind).map_err(|source| DaemonError::Signals { source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let (plans, _) = watch::channel(plan(&config, sources));
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<tokio::task::Id, String> = BTreeMap::new();
    start(&replicator, &plans, &mut tasks, &mut running);
    let activity = Arc::clone(&replicator.activity);
    let watchdog = tokio::spawn(watch_over(Arc::clone(&activity)));
    let publisher = tokio::spawn(publish(replicator.clone()));
    let retention = (does == Does::Everything)
        .then(|| tokio::spawn(retain::daily(path.clone(), Arc::clone(&replicator.clock))));
    let pace = Arc::new(Pace::new(Some(scrub::service::rate(&config))));
    if does == Does::Everything {
        let (path, clock, pace) = (path.clone(), Arc::clone(&replicator.clock), Arc::clone(&pace));
        // Not in the activity: its progress is no sign that pulls make any.
        tokio::task::spawn_blocking(move || scrub::service::forever(&path, &clock, &pace, None));
    }
    let told = (does == Does::Everything)
        .then(|| tokio::spawn(crate::notify::forever(path.clone(), None, Arc::clone(&replicator.clock))));
    notify(&[NotifyState::Ready, NotifyState::Status("pulling")]);
    tracing::info!(sources = running.len(), "Ready");
    let result = loop {
        tokio::select! {
            _ = stop_signal(&mut terminate, &mut interrupt) => break Ok(()),
            _ = hangup.recv() => {
                reload(&path, &config, &replicator, &plans).await;
                start(&replicator, &plans, &mut tasks, &mut running);
            }
            Some(ended) = tasks.join_next_with_id() => match ended {
                // A source that the last reload took out, and maybe another put back.
                Ok((id, ())) => {
                    if let Some(name) = running.remove(&id) {
                        activity.gone(&name);
                    }
                    start(&replicator, &plans, &mut tasks, &mut running);
                }
                Err(error) => {
                    tracing::error!(%error, "A task failed");
                    break Err(DaemonError::Task);
                }
            },
        }
    };
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    tracing::info!("Stopping; the next start goes on from here");
    watchdog.abort();
    publisher.abort();
    pace.stop();
    for task in [retention, told].into_iter().flatten() {
        task.abort();
    }
    // A pull that is cut short is as good as one that crashed: nothing half is ever visible.
    tasks.shutdown().await;
    result
}

/// Scrubs by the schedule until SIGTERM or SIGINT.
pub async fn scrub(path: PathBuf, clock: Arc<dyn Clock>, pace: Arc<Pace>) -> Result<(), DaemonError> {
    let listen = |kind| signal(kind).map_err(|source| DaemonError::Signals { source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let activity = Arc::new(Activity::new(Mode::Lines));
    let watchdog = tokio::spawn(watch_over(Arc::clone(&activity)));
    let mut work = {
        let (pace, activity) = (Arc::clone(&pace), Arc::clone(&activity));
        tokio::task::spawn_blocking(move || scrub::service::forever(&path, &clock, &pace, Some(&activity)))
    };
    notify(&[NotifyState::Ready, NotifyState::Status("scrubbing")]);
    let result = tokio::select! {
        _ = stop_signal(&mut terminate, &mut interrupt) => Ok(()),
        _ = &mut work => Err(DaemonError::Task),
    };
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    pace.stop();
    watchdog.abort();
    result
}

async fn stop_signal(terminate: &mut Signal, interrupt: &mut Signal) -> Option<()> {
    tokio::select! {
        signal = terminate.recv() => signal,
        signal = interrupt.recv() => signal,
    }
}

/// Starts the sources of the plan that are not running.
fn start(
    replicator: &Replicator,
    plans: &watch::Sender<Arc<Plan>>,
    tasks: &mut JoinSet<()>,
    running: &mut BTreeMap<tokio::task::Id, String>,
) {
    let plan = Arc::clone(&plans.borrow());
    for name in plan.sources.keys() {
        if !running.values().any(|n| n == name) {
            let task = tasks.spawn(follow(replicator.clone(), name.clone(), plans.subscribe()));
            running.insert(task.id(), name.clone());
        }
    }
}

/// Pulls one source again and again, by the plan in force when a pull begins; ends when it is no longer in the plan.
async fn follow(replicator: Replicator, name: String, mut plans: watch::Receiver<Arc<Plan>>) {
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        let Some(source) = plan.sources.get(&name) else { return };
        let began = Instant::now();
        let outcome = replicator.pull(source).await;
        log(&outcome, began.elapsed());
        // Sources that began together do not stay together.
        let until = Instant::now() + plan.every;
        let every = i64::try_from(plan.every.as_secs()).unwrap_or(i64::MAX);
        replicator.activity.idle(
            &name,
            format!("{}, next pull in {}", text(&outcome), duration(every)),
            until,
        );
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            changed = plans.changed() => if changed.is_err() { return },
        }
    }
}

fn text(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.alarms.len()) {
        (Some(_), _) => "the last pull failed".to_owned(),
        (None, 0) => "all is well".to_owned(),
        (None, n) => format!("{n} alarms"),
    }
}

/// One line per pull that did something or failed.
pub fn log(outcome: &Outcome, took: Duration) {
    let Outcome { cluster, snapshots, packs, bytes, pending, .. } = outcome;
    match &outcome.error {
        Some(error) => tracing::error!(cluster, %error, "Pull failed"),
        None if *snapshots == 0 && *packs == 0 => tracing::debug!(cluster, ?took, "Nothing new"),
        None => tracing::info!(cluster, snapshots, packs, bytes, pending, ?took, "Pull finished"),
    }
}

/// Takes over a changed configuration, or keeps the old one when the new one is no good.
async fn reload(
    path: &std::path::Path,
    first: &ReplicatorConfig,
    replicator: &Replicator,
    plans: &watch::Sender<Arc<Plan>>,
) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
    let loaded: Result<_, SetupError> = async {
        let config = setup::load(path)?;
        let sources = setup::sources(&config, &replicator.clock).await?;
        Ok((config, sources))
    }
    .await;
    match loaded {
        Ok((config, _))
            if config.vault != first.vault
                || config.state != first.state
                || config.transfers != first.transfers =>
        {
            tracing::error!(
                "vault, state or transfers changed: restart the service; the old configuration stays in force"
            );
        }
        Ok((config, sources)) => {
            tracing::info!(sources = sources.len(), "Configuration read again");
            plans.send_replace(plan(&config, sources));
        }
        Err(error) => {
            tracing::error!(%error, "The changed configuration is refused; the old one stays in force")
        }
    }
    notify(&[NotifyState::Ready]);
}

/// Writes transfers under way into the catalogue, where `status`, metrics and the status page find them. Never ends.
pub async fn publish(replicator: Replicator) {
    let mut said = true;
    loop {
        let transfers = replicator.activity.transfers();
        let rows: Vec<_> = transfers.into_iter().map(|t| (t.source, t.task, t.figures)).collect();
        let silent = rows.is_empty();
        if !silent || said {
            let (catalogue, now) = (Arc::clone(&replicator.catalogue), replicator.clock.now());
            let written = tokio::task::spawn_blocking(move || catalogue.set_transfers(&rows, now)).await;
            if let Ok(Err(error)) = written {
                tracing::debug!(%error, "Could not write down the progress");
            }
        }
        said = !silent;
        tokio::time::sleep(STATUS).await;
    }
}

/// Sends the status text, and feeds the service manager's watchdog for as long as something moves or nothing is due.
async fn watch_over(activity: Arc<Activity>) {
    let watchdog = sd_notify::watchdog_enabled();
    let pace = watchdog.map_or(STATUS, |limit| (limit / 4).min(STATUS));
    let mut seen = None;
    let mut said = String::new();
    loop {
        let ticks = activity.ticks();
        if watchdog.is_some() && (seen != Some(ticks) || activity.all_idle(Instant::now())) {
            notify(&[NotifyState::Watchdog]);
        }
        seen = Some(ticks);
        let line = activity.line();
        if line != said {
            notify(&[NotifyState::Status(&line)]);
            said = line;
        }
        tokio::time::sleep(pace).await;
    }
}

/// Without a service manager nobody listens, and that is fine.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "Could not notify the service manager");
    }
}
