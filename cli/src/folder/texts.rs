//! The configuration files' texts. Their shape is `lifeboat_common::config`'s, so they are written by serializing it.

use super::{AGENT_KEY, AgentFiles, CA, CHARTER, CREDENTIALS, RECEIPT_KEY};
use anyhow::Result;
use lifeboat_common::config::{
    AgentConfig, HttpConfig, LimitsConfig, NotifyConfig, ReplicatorConfig, RepositoryConfig, RetentionConfig,
    ScrubConfig, SourceConfig,
};
use lifeboat_common::store::S3Options;

/// Where an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On a host, beside the other files of the folder.
    Host,
    /// In the cluster, with its Secret mounted.
    Cluster,
}

pub(super) fn repository_toml(facts: &RepositoryConfig) -> Result<String> {
    Ok(format!(
        "# The public facts of this repository, for --owner and for people. No secret is in here.\n\
         # The owner's fingerprint is {}.\n{}",
        facts.owner.fingerprint(),
        toml::to_string(facts)?
    ))
}

pub(super) fn agent_toml(agent: &AgentFiles<'_>, place: Place) -> Result<String> {
    let (state, credentials) = match place {
        Place::Host => ("state", CREDENTIALS),
        Place::Cluster => ("/var/lib/lifeboat", super::secret::CREDENTIALS),
    };
    let config = AgentConfig {
        repo: agent.facts.repo.clone(),
        cluster: agent.facts.cluster.clone(),
        owner: agent.facts.owner,
        charter: CHARTER.into(),
        signing_key: AGENT_KEY.into(),
        state: state.into(),
        s3: S3Options {
            credentials_file: agent.credentials.map(|_| credentials.into()),
            ..s3(agent.facts, agent.ca.is_some())
        },
        volumes: lifeboat_common::config::VolumesConfig::default(),
    };
    let note = match place {
        Place::Host => {
            "# For an agent on a host (lifeboat-agent backup --config …). File names are relative to this file."
        }
        Place::Cluster => {
            "# For the agent in the cluster; the files beside this one are keys of the same Secret."
        }
    };
    Ok(format!("{note}\n{}", toml::to_string(&config)?))
}

pub(super) fn replicator_toml(facts: &RepositoryConfig) -> Result<String> {
    let vault = facts.vault.clone().unwrap_or_else(|| facts.repo.join("vault"));
    let source = SourceConfig {
        cluster: facts.cluster.clone(),
        repo: facts.repo.clone(),
        owner: facts.owner,
        receipt_key: RECEIPT_KEY.into(),
        s3: s3(facts, facts.s3.ca_file.is_some()),
        retention: RetentionConfig::default(),
        marker: None,
        retain: None,
        heal: None,
        reread_rate: None,
        limits: LimitsConfig::default(),
    };
    let config = ReplicatorConfig {
        vault,
        state: None,
        poll_seconds: 300,
        transfers: 96,
        min_free: None,
        scrub: ScrubConfig::default(),
        http: HttpConfig::default(),
        notify: NotifyConfig::default(),
        sources: vec![source],
    };
    Ok(format!(
        "# For the replicator's host, outside of the cluster. File names are relative to this file.\n\
         # Under systemd, receipt_key and credentials_file come from $CREDENTIALS_DIRECTORY.\n\
         # The credential needs Get, List and ListVersions on the repository, and nothing else:\n\
         # add credentials_file = \"…\" to [source.s3], or let it come from where the AWS tools look.\n\
         # A second cluster: copy the [[source]] of its own replicator.toml in here.\n{}",
        toml::to_string(&config)?
    ))
}

/// How everyone reaches the store; whose credential is another matter.
fn s3(facts: &RepositoryConfig, ca: bool) -> S3Options {
    S3Options { ca_file: ca.then(|| CA.into()), credentials_file: None, ..facts.s3.clone() }
}
