//! `lifeboat-agent fill`: the worker that fills a volume in a restore. `lifeboat restore` starts it; people do not.

use anyhow::{Context as _, Result};
use lifeboat_agent::fill;
use lifeboat_common::exit::{Exit, UsageError};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Fill a volume in a restore; `lifeboat restore` starts it, and talks to it over its standard streams
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The mounted volume
    #[arg(long, value_name = "DIR", required_unless_present = "hold", conflicts_with = "hold")]
    to: Option<PathBuf>,
    /// Keep the volume mounted until a signal comes, and do nothing
    #[arg(long)]
    hold: bool,
}

pub(crate) async fn run(args: Args) -> Result<Exit> {
    if args.hold {
        return hold().await;
    }
    let to = args.to.ok_or_else(|| UsageError::new("Give the mounted volume with --to"))?;
    let input = stream(std::io::stdin().as_fd())?;
    let report = fill::work(input, stream(std::io::stdout().as_fd())?, &to).await?;
    tracing::info!(files = report.files, bytes = report.bytes, "the volume is filled");
    // A read of standard input cannot be ended otherwise.
    std::process::exit(Exit::Done.code().into());
}

/// A standard stream, without the buffers that print lines.
fn stream(fd: BorrowedFd<'_>) -> Result<tokio::fs::File> {
    let fd = fd.try_clone_to_owned().context("Cannot use a standard stream")?;
    Ok(tokio::fs::File::from_std(fd.into()))
}

async fn hold() -> Result<Exit> {
    let mut terminated = signal(SignalKind::terminate()).context("Cannot wait for signals")?;
    tokio::select! {
        _ = terminated.recv() => {}
        done = tokio::signal::ctrl_c() => done.context("Cannot wait for signals")?,
    }
    Ok(Exit::Done)
}
