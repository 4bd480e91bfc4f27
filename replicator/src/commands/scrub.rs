//! `scrub`: reads what lies in the vault again, once or as a service.

use anyhow::Context as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::exit::Exit;
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_replicator::daemon;
use lifeboat_replicator::scrub::{Pace, Report, service};
use lifeboat_replicator::setup;
use lifeboat_replicator::vault::parse_size;
use std::path::Path;
use std::sync::Arc;

#[derive(clap::Args)]
pub(crate) struct Scrub {
    /// One round over what is due, then exit (3 when something is damaged)
    #[arg(long)]
    once: bool,
    /// Everything, however lately it was verified; implies --once
    #[arg(long)]
    all: bool,
    /// Bytes per second at most, such as 50MiB; 0 for as fast as it goes [default: scrub.rate, else 20MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    rate: Option<u64>,
}

/// None: it ran as a service, and was stopped.
pub(crate) async fn scrub(
    path: &Path,
    args: &Scrub,
    mode: Mode,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Option<Report>, Exit)> {
    let config = setup::load(path)?;
    let pace = Arc::new(Pace::new(Some(args.rate.unwrap_or_else(|| service::rate(&config)))));
    if !args.once && !args.all {
        daemon::scrub(path.to_owned(), clock, pace).await?;
        return Ok((None, Exit::Done));
    }
    let scrubber = service::open(&config, clock, Arc::clone(&pace), None)?;
    let all = args.all;
    let work = tokio::task::spawn_blocking(move || {
        scrubber.run(all, |bytes| Progress::new(mode, "Scrubbing the vault", Unit::Bytes, Some(bytes)))
    });
    tokio::pin!(work);
    let report = tokio::select! {
        done = &mut work => done,
        stopped = crate::stop() => {
            stopped.context("Cannot listen for signals")?;
            pace.stop();
            work.await
        }
    };
    let report = report.context("The thread that read the vault is gone")??;
    let exit = match (report.failed(), report.stopped, report.damaged()) {
        (0, false, 0) => Exit::Done,
        (0, false, _) => Exit::Partial,
        _ => Exit::Failed,
    };
    Ok((Some(report), exit))
}
