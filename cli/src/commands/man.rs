//! `lifeboat man`: manual pages, for packages. Knows nothing but the arguments.

use crate::Cli;
use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use lifeboat_common::exit::Exit;
use std::path::PathBuf;

/// Write manual pages into a folder
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct ManArgs {
    /// One page for the program and one for each command
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> Result<Exit> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .with_context(|| format!("Cannot write manual pages into {}", args.folder.display()))?;
    Ok(Exit::Done)
}
