//! What `init` says in the end, read back from the folder so that it holds after an interruption too.

use crate::context::Context;
use crate::folder::{self, Folder};
use anyhow::{Context as _, Result};
use lifeboat_format::charter;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
pub(super) struct Summary {
    schema: &'static str,
    dir: String,
    cluster: String,
    repo: String,
    vault: Option<String>,
    owner: String,
    owner_fingerprint: String,
    agent: String,
    agent_fingerprint: String,
    receipt_key: String,
    receipt_fingerprint: String,
    recipients: Vec<String>,
    epoch: String,
    charter: u64,
    /// Whether an earlier run had begun it.
    resumed: bool,
    #[serde(skip)]
    own_identity: bool,
}

impl Summary {
    pub(super) fn read(dir: &Path, resumed: bool) -> Result<Self> {
        let Folder { facts, charters, recipients, .. } = Folder::load(dir)?;
        let (_, charter) = charter::parse(charters.first().context("charter.json is empty")?)?;
        let agent = charter.agents[0].key;
        Ok(Self {
            schema: "lifeboat/init/1",
            dir: dir.display().to_string(),
            cluster: facts.cluster.to_string(),
            repo: facts.repo.to_string(),
            vault: facts.vault.map(|v| v.to_string()),
            owner: facts.owner.to_string(),
            owner_fingerprint: facts.owner.fingerprint(),
            agent: agent.to_string(),
            agent_fingerprint: agent.fingerprint(),
            receipt_key: charter.receipt_key.to_string(),
            receipt_fingerprint: charter.receipt_key.fingerprint(),
            recipients: recipients.iter().map(ToString::to_string).collect(),
            epoch: charter.current_epoch().map(|e| e.recipient.clone()).unwrap_or_default(),
            charter: charter.n,
            resumed,
            own_identity: dir.join(folder::IDENTITY).exists(),
        })
    }

    pub(super) fn print(&self, json: bool, context: &mut Context<'_>) -> Result<()> {
        if json {
            return context.json(self);
        }
        if self.resumed {
            context.line("An earlier init was finished; its keys and arguments stand.")?;
        }
        context.line(format!("Repository of cluster {} made in {}", self.cluster, self.repo))?;
        context.line(format!("  owner        {}  {}", self.owner_fingerprint, self.owner))?;
        context.line(format!("  agent        {}  {}", self.agent_fingerprint, self.agent))?;
        context.line(format!("  receipt key  {}  {}", self.receipt_fingerprint, self.receipt_key))?;
        for recipient in &self.recipients {
            context.line(format!("  opened by    {recipient}"))?;
        }
        let identity = if self.own_identity { "identity.txt and owner.key" } else { "owner.key" };
        context.line(format!("Keys and configurations are in {}; read NEXT-STEPS.md there.", self.dir))?;
        context
            .line(format!("Keep {identity} offline and never in the cluster. Note the owner's fingerprint."))
    }
}
