//! `lifeboat-agent`: reads a cluster into its repository. Only takes arguments and prints; the work is in the library.

mod commands;

use clap::{Parser, Subcommand};
use lifeboat_common::exit::{Exit, UsageError, told_once};
use lifeboat_common::telemetry::{self, Base, LogArgs};
use std::process::ExitCode;

/// Backs up a Kubernetes cluster, encrypted, to a repository that it cannot read.
#[derive(Parser)]
#[command(version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 Completed · 1 Failed, no snapshot · 2 called wrongly · 3 PartiallyFailed, a snapshot whose report names what it lacks";

#[derive(Subcommand)]
enum Command {
    /// Make one snapshot of a cluster's resources
    Backup(commands::backup::Args),
    /// Make one snapshot of a directory tree
    BackupPath(commands::backup_path::Args),
    /// Make the backups that BackupSchedule and Backup objects ask for
    Controller(commands::controller::Args),
    /// Print the definitions of Lifeboat's kinds
    Crds(commands::crds::Args),
    #[command(hide = true)]
    Fill(commands::fill::Args),
    /// Read the volumes of one node that VolumeBackup objects name
    Node(commands::node::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(&cli.log, Base::Info);
    let done = match cli.command {
        Command::Backup(args) => commands::backup::run(args).await,
        Command::BackupPath(args) => commands::backup_path::run(args).await,
        Command::Controller(args) => commands::controller::run(args).await,
        Command::Crds(args) => commands::crds::run(&args),
        Command::Fill(args) => commands::fill::run(args).await,
        Command::Node(args) => commands::node::run(args).await,
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            let usage = error.chain().any(|e| e.is::<UsageError>());
            tracing::error!("{}", told_once(error.chain()));
            if usage { Exit::Usage.into() } else { Exit::Failed.into() }
        }
    }
}
