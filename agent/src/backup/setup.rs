//! What an agent is given: repository, charter, signing key, state. Checked before a run begins.

use super::state::{Held, State, StatePlace};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{AgentConfig, ConfigError};
use lifeboat_common::keys::{self, KeyError};
use lifeboat_common::store::SharedCreate;
use lifeboat_format::FormatError;
use lifeboat_format::charter::{TrustedCharter, trusted_chain};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::{ClusterName, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("Cannot read {what} {path}: {source}; it is one of the files that `lifeboat init` wrote")]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Format { path: PathBuf, source: FormatError },
    #[error(
        "The signing key {key} is not an agent of charter {charter}; use the agent.key and charter.json of one `lifeboat init`, `rotate` or `adopt`"
    )]
    NotAnAgent { key: VerifyKey, charter: u64 },
    #[error(
        "The agent's charter is number {have}, and it has worked under number {known} before; give it the newest charter.json"
    )]
    OldCharter { have: u64, known: u64 },
    #[error(
        "This is another cluster than the one that the repository's snapshots are of (its kube-system namespace is another one); run `lifeboat adopt` to go on from a rebuilt cluster, or use a repository of its own"
    )]
    OtherCluster,
    #[error(
        "This is another host, or another configuration, than the one that the repository's path volumes were backed up from; run `lifeboat adopt` to go on from a rebuilt host, or use a repository of its own"
    )]
    OtherHost,
    #[error(transparent)]
    Unsupported(FormatError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Everything that a run needs beside the cluster.
#[derive(Debug)]
pub struct Setup {
    pub store: SharedCreate,
    pub charter: TrustedCharter,
    pub signing: SigningKey,
    /// Where the agent remembers.
    pub state: StatePlace,
}

impl Setup {
    /// Reads the files that the configuration names and opens the store: anew for each run, since they are rotated.
    pub async fn load(
        config: &AgentConfig,
        state: StatePlace,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, super::BackupError> {
        let path = &config.charter;
        let charter = std::fs::read_to_string(path).map_err(|source| SetupError::Read {
            what: "the charter",
            path: path.clone(),
            source,
        })?;
        let signing = keys::service_key(&config.signing_key).map_err(SetupError::Key)?;
        let store = config.repo.open(Some(config.cluster.as_str()), &config.s3, clock).await?;
        let charter = (path.clone(), charter.as_str());
        Ok(Self::new(store, &config.owner, &config.cluster, charter, signing, state)?)
    }

    /// Checks the charter file (one charter a line, ascending) against the owner, and the signing key against it.
    pub fn new(
        store: SharedCreate,
        owner: &VerifyKey,
        cluster: &ClusterName,
        charter_file: (PathBuf, &str),
        signing: SigningKey,
        state: impl Into<StatePlace>,
    ) -> Result<Self, SetupError> {
        let (path, text) = charter_file;
        let files: Vec<Vec<u8>> =
            text.lines().filter(|l| !l.is_empty()).map(|l| l.as_bytes().to_vec()).collect();
        let chain = trusted_chain(&files, owner, cluster);
        let mut chain = chain.map_err(|source| SetupError::Format { path, source })?;
        let charter = chain.pop().expect("a trusted chain is never empty");
        charter.charter().check_writable().map_err(SetupError::Unsupported)?;
        let key = signing.verify_key();
        let valid = charter.charter().agents.iter().any(|a| a.key == key && a.until.is_none());
        if !valid {
            return Err(SetupError::NotAnAgent { key, charter: charter.charter().n });
        }
        Ok(Self { store, charter, signing, state: state.into() })
    }

    /// Takes the state; a new one where there is none, a new dedup key where the charter asks for it.
    pub(crate) async fn open_state(&self) -> Result<(Held, State), super::BackupError> {
        let charter = self.charter.charter();
        let key = self.signing.verify_key().to_string();
        let (file, state) = self.state.take(charter.cluster.as_str()).await?;
        let fresh = || State::fresh(charter.cluster.as_str(), charter.dedup_generation, &key);
        let mut state = state.filter(|s| s.cluster == charter.cluster.as_str()).unwrap_or_else(fresh);
        if charter.n < state.charter {
            return Err(SetupError::OldCharter { have: charter.n, known: state.charter }.into());
        }
        if state.generation != charter.dedup_generation {
            tracing::info!(
                generation = charter.dedup_generation,
                "the charter asks for everything to be stored anew"
            );
            state.renew_dedup_key(charter.dedup_generation);
        }
        if state.agent_key != key {
            // Another key continues the chain from where the charter says; what the old one knew is not its own.
            (state.agent_key, state.head) = (key, None);
            (state.origin, state.path_origin) = (None, None);
            state.renew_dedup_key(charter.dedup_generation);
        }
        file.fence(&mut state).await?;
        Ok((file, state))
    }

    /// The cluster that is read must stay the same one.
    pub(super) fn check_origin(&self, state: &mut State, origin: Sha256) -> Result<(), SetupError> {
        match state.origin {
            Some(known) if known != origin => Err(SetupError::OtherCluster),
            _ => {
                state.origin = Some(origin);
                Ok(())
            }
        }
    }

    /// As [`Setup::check_origin`], for the host that path volumes are on.
    pub(crate) fn check_host(&self, state: &mut State, origin: Sha256) -> Result<(), SetupError> {
        match state.path_origin {
            Some(known) if known != origin => Err(SetupError::OtherHost),
            _ => {
                state.path_origin = Some(origin);
                Ok(())
            }
        }
    }
}
