//! `lifeboat`, the administrator's command. Owns the list of commands and how an outcome becomes an exit code;
//! each command is a file under `commands/`.

mod args;
mod change;
mod commands;
mod context;
mod folder;
mod listing;
mod paths;
mod publish;
mod reading;
mod seen;
mod table;
#[cfg(test)]
mod testing;
mod volumes;
mod yaml;

use clap::{Parser, Subcommand};
use commands::{
    adopt, backup, cat, completions, coverage, diff, extract, find, init, install, keygen, ls, man, probe,
    report, restore, rotate, snapshots, uninstall, verify,
};
use context::Context;
use lifeboat_common::config::ConfigError;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::keys::KeyError;
use lifeboat_common::telemetry::{self, Base, LogArgs};
use std::process::ExitCode;

/// Backs up Kubernetes clusters, and keeps copies that survive the loss or the compromise of a cluster.
///
/// Start with `lifeboat init`, which makes every key and configuration and a page NEXT-STEPS.md that says
/// what goes where.
///
/// Exit codes: 0 done; 1 failed; 2 called wrongly; 3 done in part, or something needs attention.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Keygen(keygen::KeygenArgs),
    Rotate(rotate::RotateArgs),
    Adopt(adopt::AdoptArgs),
    Probe(probe::ProbeArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Cat(cat::CatArgs),
    Diff(diff::DiffArgs),
    Extract(extract::ExtractArgs),
    Verify(verify::VerifyArgs),
    Report(report::ReportArgs),
    Restore(Box<restore::RestoreArgs>),
    Install(install::InstallArgs),
    Uninstall(uninstall::UninstallArgs),
    Backup(backup::BackupArgs),
    Coverage(coverage::CoverageArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

async fn run(command: Command, context: &mut Context<'_>) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(&args, context).await,
        Command::Keygen(args) => keygen::run(&args, context),
        Command::Rotate(args) => rotate::run(&args, context).await,
        Command::Adopt(args) => adopt::run(&args, context).await,
        Command::Probe(args) => probe::run(&args, context).await,
        Command::Snapshots(args) => snapshots::run(&args, context).await,
        Command::Ls(args) => ls::run(&args, context).await,
        Command::Find(args) => find::run(&args, context).await,
        Command::Cat(args) => cat::run(&args, context).await,
        Command::Diff(args) => diff::run(&args, context).await,
        Command::Extract(args) => extract::run(&args, context).await,
        Command::Verify(args) => verify::run(&args, context).await,
        Command::Report(args) => report::run(&args, context).await,
        Command::Restore(args) => restore::run(&args, context).await,
        Command::Install(args) => install::run(&args, context).await,
        Command::Uninstall(args) => uninstall::run(&args, context).await,
        Command::Backup(args) => backup::run(&args, context).await,
        Command::Coverage(args) => coverage::run(&args, context).await,
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(&cli.log, Base::Warnings);
    let mut stdout = std::io::stdout();
    let mut context = Context::new(&mut stdout, cli.log.color);
    match run(cli.command, &mut context).await {
        Ok(exit) => exit.into(),
        Err(error) if reader_went_away(&error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("Error: {}", told_once(&error));
            exit_of(&error).into()
        }
    }
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let usage = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.downcast_ref::<KeyError>().is_some_and(KeyError::is_usage)
    });
    if usage { Exit::Usage } else { Exit::Failed }
}

fn told_once(error: &anyhow::Error) -> String {
    lifeboat_common::exit::told_once(error.chain())
}

/// `lifeboat … | head` is no failure.
fn reader_went_away(error: &anyhow::Error) -> bool {
    let broken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let path = std::path::Path::new("/nonexistent/repository.toml");
        let error =
            lifeboat_common::config::load::<lifeboat_common::config::RepositoryConfig>(path).unwrap_err();
        let text = told_once(&anyhow::Error::new(error).context("While loading"));
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert!(text.starts_with("While loading: Cannot read"), "{text}");
    }

    #[test]
    fn being_called_wrongly_is_two() {
        let usage = anyhow::Error::new(UsageError::new("no")).context("while trying");
        assert_eq!(exit_of(&usage), Exit::Usage);
        assert_eq!(exit_of(&anyhow::anyhow!("broken")), Exit::Failed);
        let passphrase = KeyError::NoPassphrase { what: "x".to_owned(), otherwise: "" };
        assert_eq!(exit_of(&passphrase.into()), Exit::Usage);
    }
}
