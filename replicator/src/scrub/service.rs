//! Scrubbing as a service: a round over what is due, an hour's rest, and again. Owns the rest, and how a configuration
//! becomes a [`Scrubber`].

use super::{PERIOD_DAYS, Pace, RATE, RECORD, Record, Report, Scrubber};
use crate::activity::Activity;
use crate::setup::{self, Options, SetupError};
use crate::status::size;
use crate::vault::{Work, parse_size};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::progress::Progress;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds.
const REST: Duration = Duration::from_secs(3600);
const NAP: Duration = Duration::from_millis(200);

/// The rate that is configured, bytes per second.
#[must_use]
pub fn rate(config: &ReplicatorConfig) -> u64 {
    // `setup::load` refused what is no size.
    config.scrub.rate.as_deref().and_then(|r| parse_size(r).ok()).unwrap_or(RATE)
}

/// Opens vault, catalogue and record.
pub fn open(
    config: &ReplicatorConfig,
    clock: Arc<dyn Clock>,
    pace: Arc<Pace>,
    activity: Option<Arc<Activity>>,
) -> Result<Scrubber, SetupError> {
    let vault = setup::open_vault(Work::Scrub, config, Options::default(), &*clock)?;
    let catalogue = setup::catalogue(config)?;
    let record = Record::open(&vault.own_path(RECORD))?;
    let clusters = config.sources.iter().map(|s| (s.cluster.clone(), s.owner)).collect();
    let period_days = config.scrub.period_days.unwrap_or(PERIOD_DAYS).max(1);
    Ok(Scrubber { vault, catalogue, record, clusters, clock, pace, period_days, threads: None, activity })
}

/// Rounds until `pace` is told to stop. Reads the configuration at `path` anew for each.
pub fn forever(path: &Path, clock: &Arc<dyn Clock>, pace: &Arc<Pace>, activity: Option<&Arc<Activity>>) {
    while !pace.is_stopped() {
        if let Some(activity) = activity {
            activity.busy("vault", "scrubbing");
        }
        match round(path, clock, pace, activity) {
            Ok(report) => say(&report),
            // Before the first pull there is nothing to read.
            Err(RoundError::Setup(SetupError::Catalogue(crate::catalog::CatalogError::Absent {
                ..
            }))) => {}
            Err(error) => tracing::error!(%error, "The scrub failed; the next one goes on from here"),
        }
        if let Some(activity) = activity {
            activity.idle("vault", "nothing is due", tokio::time::Instant::now() + REST + REST);
        }
        let mut rested = Duration::ZERO;
        while rested < REST && !pace.is_stopped() {
            std::thread::sleep(NAP);
            rested += NAP;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Scrub(#[from] crate::replicate::error::PullError),
}

fn round(
    path: &Path,
    clock: &Arc<dyn Clock>,
    pace: &Arc<Pace>,
    activity: Option<&Arc<Activity>>,
) -> Result<Report, RoundError> {
    let config = setup::load(path)?;
    let scrubber = open(&config, Arc::clone(clock), Arc::clone(pace), activity.cloned())?;
    Ok(scrubber.run(false, |_| Progress::quiet())?)
}

fn say(report: &Report) {
    for c in &report.clusters {
        let (cluster, read, damaged) = (&c.name, size(c.bytes), c.damaged.len());
        if damaged > 0 {
            tracing::warn!(
                cluster,
                objects = c.objects,
                read,
                damaged,
                "Scrub: the next pull heals what can be healed"
            );
        } else if c.objects > 0 {
            tracing::info!(cluster, objects = c.objects, read, "Scrub: all sound");
        }
        if c.standing.overdue > 0 {
            tracing::warn!(
                cluster,
                overdue = c.standing.overdue,
                "Scrub: behind its period; raise scrub.rate"
            );
        }
    }
}
