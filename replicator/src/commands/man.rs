//! `man`: manual pages, for packages. Knows nothing but the arguments.

use anyhow::Context as _;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Man {
    /// Where to write them: one page for the program and one for each command
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn write(args: &Man, command: clap::Command) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(command, &args.folder))
        .with_context(|| format!("Cannot write manual pages into {}", args.folder.display()))
}
