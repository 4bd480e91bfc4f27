//! `lifeboat uninstall`: takes the agent out of a cluster. Owns what is said and asked; what is removed, and in which
//! order, is `lifeboat_agent::install`'s.

use super::install::{ClusterArgs, tell};
use crate::context::Context;
use anyhow::Result;
use lifeboat_agent::install::{Removal, RemoveOptions, remove, what_is_there};
use lifeboat_common::exit::{Exit, UsageError};
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

/// Take the agent out of a cluster; backups stay
///
/// Removes the controller, the definitions with the Backup and BackupSchedule objects, the rights,
/// and the agent's namespace with the Secrets in it. Repository and vault are not touched, and
/// can be restored from as before. What the agent remembers between runs goes with the
/// namespace: after another `lifeboat install` the first backup stores everything anew.
///
///   lifeboat uninstall --kubeconfig admin.conf --dry-run
///   lifeboat uninstall --kubeconfig admin.conf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Say what would be removed; remove nothing
    #[arg(long)]
    dry_run: bool,

    /// How many seconds each object may take to be gone
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

pub(crate) async fn run(args: &UninstallArgs, context: &mut Context<'_>) -> Result<Exit> {
    args.cluster.check()?;
    let cluster = args.cluster.connect(context).await?;
    let options = RemoveOptions {
        namespace: args.cluster.namespace.clone(),
        within: Duration::from_secs(args.timeout),
    };
    let removal = what_is_there(&cluster, &options).await?;
    if removal.is_empty() {
        context.line(format!(
            "There is no agent in namespace {} of {}.",
            options.namespace,
            cluster.server()
        ))?;
        return Ok(Exit::Done);
    }
    show(&removal, &options, cluster.server(), context)?;
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes && !agreed(context)? {
        context.line("Nothing was removed.")?;
        return Ok(Exit::Done);
    }
    let mut told = Ok(());
    remove(&cluster, &removal, &options, &mut |step| tell(&step, context, &mut told)).await?;
    told?;
    context.line("The agent is gone. Every snapshot is where it was; to go on: lifeboat install.")?;
    Ok(Exit::Done)
}

fn show(removal: &Removal, options: &RemoveOptions, server: &str, context: &mut Context<'_>) -> Result<()> {
    context.line(format!("To be removed from {server}:"))?;
    for title in removal.titles() {
        let more = if title.starts_with("Namespace ") {
            ", with everything in it"
        } else if title.starts_with("CustomResourceDefinition ") {
            ", with all its objects"
        } else {
            ""
        };
        context.line(format!("  {title}{more}"))?;
    }
    if removal.foreign_namespace {
        context.line(format!(
            "Namespace {} was not made by an installation, so it stays with what is in it.",
            options.namespace
        ))?;
    }
    if !removal.others.is_empty() {
        context.line(format!(
            "The definitions and the right to list stay: there is an agent in {}, too.",
            removal.others.join(", ")
        ))?;
    }
    context.line("Backups stay: repository and vault are not touched.")
}

fn agreed(context: &mut Context<'_>) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(UsageError::new("Nobody can be asked here; add --yes, or --dry-run to only look").into());
    }
    write!(context.out, "Remove this? [y/N] ")?;
    context.out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
