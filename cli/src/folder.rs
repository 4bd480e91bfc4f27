//! The administrator's folder (DIR): which files are in it, and their contents as a function of the public facts,
//! the charters and the agent's key. Knows no store and signs nothing.

pub(crate) mod load;
mod next_steps;
pub(crate) mod replace;
mod secret;
mod texts;

pub(crate) use load::Folder;
pub(crate) use next_steps::{NextSteps, next_steps};

use anyhow::{Context as _, Result};
use lifeboat_common::config::RepositoryConfig;
use std::path::Path;
use zeroize::Zeroizing;

pub(crate) const IDENTITY: &str = "identity.txt";
pub(crate) const OWNER_KEY: &str = "owner.key";
pub(crate) const AGENT_KEY: &str = "agent.key";
pub(crate) const RECEIPT_KEY: &str = "receipt.key";
pub(crate) const CHARTER: &str = "charter.json";
pub(crate) const REPOSITORY: &str = "repository.toml";
pub(crate) const AGENT_TOML: &str = "agent.toml";
pub(crate) const AGENT_SECRET: &str = "agent-secret.yaml";
pub(crate) const REPLICATOR: &str = "replicator.toml";
pub(crate) const NEXT_STEPS: &str = "NEXT-STEPS.md";
/// Who the epochs are sealed to, one a line: age does not tell.
pub(crate) const RECIPIENTS: &str = "recipients.txt";
/// The agent's credential for the store.
pub(crate) const CREDENTIALS: &str = "agent.credentials";
pub(crate) const CA: &str = "ca.pem";

/// A file of the folder: its name and its bytes.
pub(crate) type NewFile = (&'static str, Zeroizing<Vec<u8>>);

/// What the files that an agent needs are made of.
pub(crate) struct AgentFiles<'a> {
    pub(crate) facts: &'a RepositoryConfig,
    /// Signed charters, ascending.
    pub(crate) charters: &'a [Vec<u8>],
    /// PEM.
    pub(crate) key: &'a str,
    /// The agent's own credential; none where the store needs none or it is filled in by hand.
    pub(crate) credentials: Option<&'a str>,
    pub(crate) ca: Option<&'a str>,
}

impl AgentFiles<'_> {
    /// `charter.json`, `agent.toml` and `agent-secret.yaml`.
    pub(crate) fn files(&self) -> Result<Vec<NewFile>> {
        Ok(vec![
            (CHARTER, Zeroizing::new(charter_lines(self.charters))),
            (AGENT_TOML, Zeroizing::new(texts::agent_toml(self, texts::Place::Host)?.into_bytes())),
            (AGENT_SECRET, Zeroizing::new(secret::yaml(self)?.as_bytes().to_vec())),
        ])
    }
}

pub(crate) fn repository_toml(facts: &RepositoryConfig) -> Result<Vec<u8>> {
    Ok(texts::repository_toml(facts)?.into_bytes())
}

pub(crate) fn replicator_toml(facts: &RepositoryConfig) -> Result<Vec<u8>> {
    Ok(texts::replicator_toml(facts)?.into_bytes())
}

/// One signed charter a line, ascending.
pub(crate) fn charter_lines(charters: &[Vec<u8>]) -> Vec<u8> {
    charters.join(&b'\n')
}

/// Reads an agent's credential, which must look like one.
pub(crate) fn read_credentials(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = lifeboat_common::keys::read_private(path, lifeboat_common::keys::Readers::OwnerOnly)?;
    let text = Zeroizing::new(
        String::from_utf8(bytes.to_vec()).ok().with_context(|| format!("{} is not text", path.display()))?,
    );
    for key in ["aws_access_key_id", "aws_secret_access_key"] {
        anyhow::ensure!(
            text.contains(key),
            "{} has no {key}; it needs a line [default], then aws_access_key_id = … and aws_secret_access_key = …",
            path.display()
        );
    }
    Ok(text)
}
