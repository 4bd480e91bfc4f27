//! `lifeboat init`: every key and configuration of a new repository, in one command. Owns its order: the folder first
//! (under a name of its own), then the store, and the charter last.

pub(crate) mod make;
mod place;
mod summary;

use super::keygen::ProtectArgs;
use crate::args::S3Args;
use crate::context::Context;
use crate::folder;
use anyhow::{Context as _, Result};
use lifeboat_common::config::RepositoryConfig;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::store::{CreateStore, StoreUrl};
use lifeboat_format::crypto::seal::Recipient;
use lifeboat_format::id::ClusterName;
use make::Plan;
use place::Unfinished;
use std::path::PathBuf;
use std::sync::Arc;
use summary::Summary;

/// Make a repository: every key, the charter, and the configurations of agent and replicator
///
/// Run it on an administrator's machine, never in the cluster. It writes a folder (mode 0700,
/// files 0600, nothing is ever replaced) and puts two small files into the repository: the
/// sealed epoch and the signed charter. Your own credential for the store is used for that and
/// copied nowhere; it needs Put, Get and List there.
///
/// The page NEXT-STEPS.md in the folder says which file goes where, and what must never be in
/// the cluster.
///
///   lifeboat init --repo s3://backups/lifeboat --cluster prod --vault file:///srv/vault \
///       --out prod
///
/// To seal to identities you already have (two or more are a good idea), name them instead of
/// making one:
///
///   lifeboat init … --recipient age1… --recipient age1…
///
/// A trial without passphrases, on one machine:
///
///   lifeboat init --repo file:///tmp/repo --cluster test --vault file:///tmp/vault \
///       --out test --unprotected
///
/// When it is cut short, run it again with the same arguments: it goes on where it was.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct InitArgs {
    /// Repository, as the agent will reach it: file:///DIR or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) repo: StoreUrl,

    /// Name of the cluster (a DNS label): its folder in the repository
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: ClusterName,

    /// Where the replicator will keep its copies, as its host sees it
    #[arg(long, value_name = "URL")]
    pub(crate) vault: StoreUrl,

    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Who can open the backups (age1…, also of a plugin); repeat it. Without any, an identity is made
    #[arg(long = "recipient", value_name = "AGE1…")]
    pub(crate) recipients: Vec<Recipient>,

    #[command(flatten)]
    pub(crate) protect: ProtectArgs,

    /// The agent's own credential for the store (format of ~/.aws/credentials), put into agent-secret.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) agent_credentials: Option<PathBuf>,

    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) s3: S3Args,
}

pub(crate) async fn run(args: &InitArgs, context: &mut Context<'_>) -> Result<Exit> {
    check(args)?;
    let unfinished = Unfinished::of(&args.out)?;
    let resumed = unfinished.look(&args.repo, &args.cluster)?;
    let files = if resumed {
        None
    } else {
        let plan = plan(args)?;
        Some((plan, args.protect.protection("the new keys")?))
    };
    args.repo.make_base().await?;
    let options = args.s3.over(Default::default());
    let store = args.repo.open(Some(args.cluster.as_str()), &options, Arc::clone(&context.clock)).await?;
    if let Some((plan, protection)) = files {
        place::refuse_existing(&*store, &args.cluster).await?;
        unfinished.write(&make::make(&plan, &protection, context.clock.now())?)?;
    }
    finish(&unfinished, &*store, &args.out).await?;
    Summary::read(&args.out, resumed)?.print(args.json, context)?;
    Ok(Exit::Done)
}

/// Everything that follows once the folder is whole: repeated as it is when it was cut short.
async fn finish(unfinished: &Unfinished, store: &dyn CreateStore, out: &std::path::Path) -> Result<()> {
    let next = || {
        format!(
            "Keys and configurations are in {} and stay valid; mend the cause and run the same command again",
            unfinished.path().display()
        )
    };
    unfinished.publish(store).await.with_context(next)?;
    unfinished.rename(out)
}

fn check(args: &InitArgs) -> Result<()> {
    let usage = |why: String| Err(UsageError::new(why).into());
    if args.out.symlink_metadata().is_ok() {
        return usage(format!(
            "{} exists already and nothing in it is replaced; give another --out (to change an existing setup: lifeboat rotate, lifeboat adopt)",
            args.out.display()
        ));
    }
    if args.vault == args.repo {
        return usage(
            "The vault must not be the repository itself: it is the copy that survives the repository"
                .to_owned(),
        );
    }
    if let (Some(repo), Some(vault)) = (args.repo.directory(), args.vault.directory())
        && (vault.starts_with(repo) || repo.starts_with(vault))
    {
        return usage("Neither of repository and vault may lie inside of the other".to_owned());
    }
    Ok(())
}

fn plan(args: &InitArgs) -> Result<Plan> {
    let credentials = args.agent_credentials.as_deref().map(folder::read_credentials).transpose()?;
    let ca = args.s3.ca_file.as_deref().map(|file| {
        std::fs::read_to_string(file)
            .with_context(|| format!("Cannot read the authorities in {}", file.display()))
    });
    let mut s3 = args.s3.over(Default::default());
    s3.credentials_file = None;
    s3.ca_file = s3.ca_file.map(|_| folder::CA.into());
    Ok(Plan {
        repo: args.repo.clone(),
        vault: args.vault.clone(),
        cluster: args.cluster.clone(),
        s3,
        recipients: args.recipients.clone(),
        credentials,
        ca: ca.transpose()?,
        // The commands on the page work from anywhere.
        dir: std::path::absolute(&args.out)?,
    })
}

/// What `Unfinished::look` compares.
fn same_repository(facts: &RepositoryConfig, repo: &StoreUrl, cluster: &ClusterName) -> bool {
    facts.repo == *repo && facts.cluster == *cluster
}

#[cfg(test)]
pub(crate) mod tests;
