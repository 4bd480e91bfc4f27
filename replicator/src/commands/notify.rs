//! `notify`: tells people of alarms, as a service, once, or to try the channels.

use anyhow::Context as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::NotifyConfig;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_replicator::notify::{self, Notifier, Report};
use lifeboat_replicator::setup;
use sd_notify::NotifyState;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub(crate) struct Notify {
    /// One look, then exit
    #[arg(long)]
    once: bool,
    /// Send a test message to every channel, then exit
    #[arg(long, conflicts_with = "once")]
    test: bool,
}

/// None: it ran as a service, and was stopped.
pub(crate) async fn notify(
    path: &Path,
    args: &Notify,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Option<Report>, String, Exit)> {
    let config = setup::load(path)?;
    if config.notify == NotifyConfig::default() {
        let why = format!(
            "{} has no [[notify.webhook]], [[notify.mail]] or other channel; add one",
            path.display()
        );
        return Err(UsageError::new(why).into());
    }
    // A unit of its own has a folder of its own, and may not write beside the catalogue.
    let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).filter(|p| p.is_dir());
    let mut notifier = Notifier::new(path.to_owned(), state.clone(), Arc::clone(&clock));
    if !args.once && !args.test {
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("watching")]) {
            tracing::debug!(%error, "Could not notify the service manager");
        }
        tokio::select! {
            () = notify::forever(path.to_owned(), state, clock) => {}
            stopped = crate::stop() => stopped.context("Cannot listen for signals")?,
        }
        return Ok((None, String::new(), Exit::Done));
    }
    let report = if args.test { notifier.test().await? } else { notifier.look().await };
    let mut text = String::new();
    for (channel, said) in &report.channels {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{channel}: {said}");
    }
    let exit = if report.failed { Exit::Failed } else { Exit::Done };
    Ok((Some(report), text, exit))
}
