//! `lifeboat-agent crds`: the definitions of Lifeboat's kinds, for `kubectl apply -f -`.

use lifeboat_agent::kinds;
use lifeboat_common::exit::Exit;
use std::io::Write as _;

/// Prints the definitions of Backup and BackupSchedule as YAML.
///
/// Apply them before a new version of the agent: lifeboat-agent crds | kubectl apply -f -
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> anyhow::Result<Exit> {
    std::io::stdout().lock().write_all(kinds::crds_yaml().as_bytes())?;
    Ok(Exit::Done)
}
