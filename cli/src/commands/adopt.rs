//! `lifeboat adopt`: the repository goes on with a new agent key, from a given manifest. Owns the order that makes an
//! interrupted run repeatable; where the chain ends is `head`'s,
//! what an emptied store needs again is `put_back`'s.

mod head;
mod put_back;

use super::init::make::signing_key;
use crate::change::{Change, ChangeArgs};
use crate::context::Context;
use crate::folder::{self, replace};
use anyhow::{Context as _, Result};
use head::{Found, find_head};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::keys::{self, Readers};
use lifeboat_common::store::{ReadStore, StoreUrl};
use lifeboat_format::chain::Head;
use lifeboat_format::charter::{AgentKey, Charter};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::Sha256;
use put_back::put_back;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The new private key, until the charter that names it is in force and the folder has it.
const NEXT_KEY: &str = "agent.key.next";

/// Continue a repository with a new agent: after a cluster was rebuilt, or broken into
///
/// Makes a new agent key that is valid from the newest manifest on; the old key ends there, so
/// whatever it signs later (a thief's work) is set aside and displaces nothing. The next backup
/// stores everything anew and refers to nothing that the old cluster stored after that.
///
///   lifeboat adopt --config prod
///
/// The head of the chain is read from the repository. When that is empty or was tampered with,
/// it is taken from the replicator's vault, and what is needed to go on is put back:
///
///   lifeboat adopt --config prod --from-vault file:///srv/vault
///
/// When the intruder made backups too, end the old key at the last one you believe:
///
///   lifeboat adopt --config prod --head 41
///
/// Afterwards: make a NEW credential for the store and revoke the old one (--agent-credentials
/// puts it into agent-secret.yaml), then apply agent-secret.yaml in the cluster. The old
/// agent.key, credential and configurations are kept beside the new ones under their number.
#[derive(Debug, Default, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,

    /// Take the head of the chain from the vault (or a copy of it) rather than from the repository
    #[arg(long, value_name = "URL")]
    pub(crate) from_vault: Option<StoreUrl>,

    /// Number of the last manifest that counts (default: the newest of the chain)
    #[arg(long, value_name = "SEQ")]
    pub(crate) head: Option<u64>,

    /// There never was a backup: begin the chain anew, and ask no vault
    #[arg(long, conflicts_with_all = ["from_vault", "head"])]
    pub(crate) no_snapshots: bool,

    /// The new agent's own credential for the store, put into agent-secret.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) agent_credentials: Option<PathBuf>,
}

#[derive(Serialize)]
struct Adopted {
    schema: &'static str,
    charter: u64,
    agent: VerifyKey,
    agent_fingerprint: String,
    head: Option<Sha256>,
    head_seq: Option<u64>,
    dedup_generation: u64,
    /// Manifests that a key after its end, or before its beginning, signed.
    rejected: Vec<u64>,
    junk: Vec<String>,
    /// Whether an earlier run had put the charter already.
    resumed: bool,
}

pub(crate) async fn run(args: &AdoptArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut change = Change::begin(&args.change, context).await?;
    let credentials = args.agent_credentials.as_deref().map(folder::read_credentials).transpose()?;
    let next_key = change.folder.path.join(NEXT_KEY);
    let (pem, key) = match read_key(&next_key)? {
        Some(found) => found,
        None => new_key(&next_key)?,
    };
    let in_force = change.newest().charter().agents.iter().any(|a| a.key == key);
    let mut found = None;
    if !in_force {
        let owners = change.owners(&args.change)?;
        let (head, vault) = locate(args, &change, context).await?;
        if let Some(vault) = vault {
            put_back(&*change.store, &*vault, change.newest().charter(), head.head).await?;
        }
        let mut next = change.next(context)?;
        hand_over(&mut next, key, &head);
        change.commit(&next, &owners).await?;
        found = Some(head);
    }
    let n = change.replaced();
    let mut more = vec![(folder::AGENT_KEY, Zeroizing::new(pem.as_bytes().to_vec()))];
    match &credentials {
        Some(text) => more.push((folder::CREDENTIALS, Zeroizing::new(text.as_bytes().to_vec()))),
        // The old one is to be revoked, so nothing may go on using it.
        None => replace::retire(&change.folder.path, n, folder::CREDENTIALS)?,
    }
    change.write(&pem, credentials.as_ref().map(|c| c.as_str()), more)?;
    std::fs::remove_file(&next_key).with_context(|| format!("Cannot remove {}", next_key.display()))?;
    report(args, &change, key, found, context)?;
    Ok(Exit::Done)
}

/// The key of a run that was cut short.
fn read_key(path: &std::path::Path) -> Result<Option<(Zeroizing<String>, VerifyKey)>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = keys::read_private(path, Readers::OwnerOnly)?;
    let pem = Zeroizing::new(
        String::from_utf8(bytes.to_vec()).with_context(|| format!("{} is not text", path.display()))?,
    );
    let key =
        SigningKey::from_pem(&pem).with_context(|| format!("{}; remove it and try again", path.display()))?;
    Ok(Some((pem, key.verify_key())))
}

fn new_key(path: &std::path::Path) -> Result<(Zeroizing<String>, VerifyKey)> {
    let (pem, key) = signing_key()?;
    keys::write_new(path, pem.as_bytes())?;
    Ok((pem, key.verify_key()))
}

type Vault = Arc<dyn ReadStore>;

/// The head, and the vault when it came from there.
async fn locate(args: &AdoptArgs, change: &Change, context: &Context<'_>) -> Result<(Found, Option<Vault>)> {
    let charter = change.newest().charter();
    if args.from_vault.is_none() {
        let found = find_head(&*change.store, charter, args.head).await?;
        if found.head.is_some() || change.folder.facts.vault.is_none() || args.no_snapshots {
            return Ok((found, None));
        }
        tracing::warn!("{} has no manifest; looking in the vault", change.store.describe());
    }
    let url = args.from_vault.as_ref().or(change.folder.facts.vault.as_ref()).context("no vault is known")?;
    let vault = open_vault(url, args, change, context).await.with_context(|| {
        format!(
            "The repository has no manifest, so the head must come from the vault {url}; where it is on another host, run this there, copy it here, or mount it, and give --from-vault URL; if there never was a backup, --no-snapshots"
        )
    })?;
    let found = find_head(&*vault, charter, args.head).await?;
    Ok((found, Some(vault)))
}

async fn open_vault(
    url: &StoreUrl,
    args: &AdoptArgs,
    change: &Change,
    context: &Context<'_>,
) -> Result<Vault> {
    let options = args.change.s3.over(change.folder.s3());
    let folders = url.clusters(&options, Arc::clone(&context.clock)).await?;
    let itself = folders.len() == 1 && folders[0].url == *url;
    let cluster = change.folder.facts.cluster.as_str();
    let name = if itself { None } else { Some(cluster) };
    Ok(url.open_read(name, &options, Arc::clone(&context.clock)).await?)
}

/// Ends every key in force at the head, and begins `key` there.
fn hand_over(next: &mut Charter, key: VerifyKey, found: &Found) {
    let head = found.head.map(|h| h.sha256);
    match found.head {
        Some(Head { signer, .. }) => {
            // Its signer too, where an earlier end of it lay further on.
            for agent in next.agents.iter_mut().filter(|a| a.until.is_none() || a.key == signer) {
                agent.until = head;
            }
        }
        // Nothing was ever committed, so the old key has nothing to account for.
        None => next.agents.clear(),
    }
    next.agents.push(AgentKey { key, from: head, until: None });
    next.dedup_generation += 1;
}

fn report(
    args: &AdoptArgs,
    change: &Change,
    key: VerifyKey,
    found: Option<Found>,
    context: &mut Context<'_>,
) -> Result<()> {
    let charter = change.newest().charter();
    let adopted = Adopted {
        schema: "lifeboat/adopt/1",
        charter: charter.n,
        agent: key,
        agent_fingerprint: key.fingerprint(),
        head: charter.agents.iter().find(|a| a.key == key).and_then(|a| a.from),
        head_seq: found.as_ref().and_then(|f| f.head).map(|h| h.seq),
        dedup_generation: charter.dedup_generation,
        rejected: found.as_ref().map(|f| f.rejected.clone()).unwrap_or_default(),
        resumed: found.is_none(),
        junk: found.map(|f| f.junk).unwrap_or_default(),
    };
    if args.change.json {
        return context.json(&adopted);
    }
    if adopted.resumed {
        context.line("An earlier adopt had put the charter already; the folder is up to date now.")?;
    }
    context.line(format!("Charter {} is in force with a new agent key:", adopted.charter))?;
    context.line(format!("  agent        {}  {key}", adopted.agent_fingerprint))?;
    match (adopted.head, adopted.head_seq) {
        (Some(head), Some(seq)) => context.line(format!("  goes on from manifest {seq} ({head})"))?,
        (Some(head), None) => context.line(format!("  goes on from manifest {head}"))?,
        (None, _) => context.line("  begins the chain: there was no manifest yet")?,
    }
    if !adopted.rejected.is_empty() {
        context.line(format!(
            "  set aside    {} manifests of keys that had ended: {:?}",
            adopted.rejected.len(),
            adopted.rejected
        ))?;
    }
    for name in &adopted.junk {
        context.line(format!("  junk         {name}"))?;
    }
    let dir = args.change.config.display();
    context.line("Next:")?;
    context.line("  1. Make a new credential for the agent and revoke the old one at the store.")?;
    if args.agent_credentials.is_none() {
        context.line(format!("  2. Add it to {dir}/agent-secret.yaml (its first lines say how)."))?;
    }
    context.line(format!("  3. lifeboat install --config {dir}: the agent of the new cluster goes on."))?;
    if adopted.head.is_some() {
        context
            .line("  4. Compare the manifest above with what `lifeboat-replicator status` says is newest.")?;
    }
    Ok(())
}

/// So that nobody adopts at a number that was mistyped.
fn no_such_head(seq: u64, accepted: &[u64]) -> anyhow::Error {
    let last = accepted.last().map_or_else(|| "none".to_owned(), u64::to_string);
    UsageError::new(format!("--head {seq} is not a manifest of the chain; its newest is {last}")).into()
}

#[cfg(test)]
mod tests;
