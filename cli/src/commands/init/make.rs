//! The keys of a new repository and all files with them, in memory. Touches no disk and no store.

use crate::folder::{self, AgentFiles, NewFile, NextSteps};
use anyhow::Result;
use jiff::Timestamp;
use lifeboat_common::config::RepositoryConfig;
use lifeboat_common::keys::{self, Protection};
use lifeboat_common::store::{S3Options, StoreUrl};
use lifeboat_format::charter::{AgentKey, Charter, Epoch, FORMAT, Policy, SCHEMA};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::open::EpochIdentity;
use lifeboat_format::crypto::seal::Recipient;
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::epoch::seal_epoch;
use lifeboat_format::id::{ClusterName, Sha256};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The sealed epoch, in the folder only until the store has it.
pub(super) const EPOCH: &str = "epoch.age";

/// What was asked for.
pub(crate) struct Plan {
    pub(crate) repo: StoreUrl,
    pub(crate) vault: StoreUrl,
    pub(crate) cluster: ClusterName,
    /// File names as in the folder; no credential.
    pub(crate) s3: S3Options,
    /// Empty: make an identity.
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) credentials: Option<Zeroizing<String>>,
    pub(crate) ca: Option<String>,
    pub(crate) dir: PathBuf,
}

/// A new signing key: its PEM and its public half.
pub(crate) fn signing_key() -> Result<(Zeroizing<String>, SigningKey)> {
    let document = SigningKey::generate();
    Ok((SigningKey::to_pem(&document), SigningKey::from_pkcs8(&document)?))
}

/// Makes the keys and writes them down.
pub(super) fn make(plan: &Plan, protection: &Protection, now: Timestamp) -> Result<Vec<NewFile>> {
    let now = Timestamp::from_second(now.as_second())?;
    let (owner_pem, owner) = signing_key()?;
    let (agent_pem, agent) = signing_key()?;
    let (receipt_pem, receipt) = signing_key()?;
    let mut files: Vec<NewFile> = Vec::new();
    let mut recipients = plan.recipients.clone();
    if recipients.is_empty() {
        let (identity, recipient) = keys::new_identity(Some(&owner.verify_key()), now);
        files.push((folder::IDENTITY, keys::protect(identity.as_bytes(), protection)?));
        recipients.push(recipient.parse()?);
    }
    let epoch = EpochIdentity::generate();
    let sealed = seal_epoch(&epoch, &recipients)?;
    let charter =
        charter(plan, &owner, &agent, receipt.verify_key(), new_epoch(1, &epoch, &sealed, now), now);
    let charters = [charter.sign(&[&owner])];
    let facts = RepositoryConfig {
        repo: plan.repo.clone(),
        vault: Some(plan.vault.clone()),
        cluster: plan.cluster.clone(),
        owner: owner.verify_key(),
        s3: plan.s3.clone(),
    };
    let credentials = plan.credentials.as_ref().map(|c| c.as_str());
    let mut add = |name, bytes: Vec<u8>| files.push((name, Zeroizing::new(bytes)));
    add(folder::AGENT_KEY, agent_pem.as_bytes().to_vec());
    add(folder::RECEIPT_KEY, receipt_pem.as_bytes().to_vec());
    add(EPOCH, sealed);
    add(folder::RECIPIENTS, folder::load::recipients_text(&recipients).into_bytes());
    add(folder::REPOSITORY, folder::repository_toml(&facts)?);
    add(folder::REPLICATOR, folder::replicator_toml(&facts)?);
    if let Some(text) = credentials {
        add(folder::CREDENTIALS, text.as_bytes().to_vec());
    }
    if let Some(text) = &plan.ca {
        add(folder::CA, text.clone().into_bytes());
    }
    files.push((folder::OWNER_KEY, keys::protect(owner_pem.as_bytes(), protection)?));
    let agent_files = AgentFiles {
        facts: &facts,
        charters: &charters,
        key: &agent_pem,
        credentials,
        ca: plan.ca.as_deref(),
    };
    files.extend(agent_files.files()?);
    let page = NextSteps {
        facts: &facts,
        dir: &plan.dir,
        own_identity: plan.recipients.is_empty(),
        protected: protection.is_protected(),
        recipients: &recipients,
        credentials: credentials.is_some(),
    };
    // Last: whoever finds it knows that the rest is there.
    files.push((folder::NEXT_STEPS, Zeroizing::new(folder::next_steps(&page).into_bytes())));
    Ok(files)
}

/// How a charter names an epoch.
pub(crate) fn new_epoch(n: u64, identity: &EpochIdentity, sealed: &[u8], now: Timestamp) -> Epoch {
    Epoch { n, recipient: identity.recipient(), created: now, sealed_sha256: vec![Sha256::of(sealed)] }
}

fn charter(
    plan: &Plan,
    owner: &SigningKey,
    agent: &SigningKey,
    receipt_key: VerifyKey,
    epoch: Epoch,
    created: Timestamp,
) -> Charter {
    Charter {
        schema: SCHEMA.to_owned(),
        n: 1,
        prev: None,
        cluster: plan.cluster.clone(),
        created,
        owners: vec![owner.verify_key()],
        threshold: 1,
        agents: vec![AgentKey { key: agent.verify_key(), from: None, until: None }],
        receipt_key,
        epochs: vec![epoch],
        dedup_generation: 1,
        policy: Policy::default(),
        chunking: ChunkSizes::default(),
        features: vec![],
        format_max: FORMAT,
    }
}
