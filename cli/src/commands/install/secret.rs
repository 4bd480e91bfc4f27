//! Reading `agent-secret.yaml`, and what is wrong with it before a cluster is asked. Sends nothing, shows no content.

use crate::folder::AGENT_SECRET;
use anyhow::{Context as _, Result};
use lifeboat_agent::install::Files;
use lifeboat_common::config::AgentConfig;
use lifeboat_common::exit::UsageError;
use lifeboat_common::keys::{Readers, read_private};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// The agent's Secret as the folder has it.
pub(super) struct Loaded {
    pub(super) files: Files,
    pub(super) config: AgentConfig,
    pub(super) warnings: Vec<String>,
}

/// `stringData` as `init` writes it.
#[derive(serde::Deserialize)]
struct Secret {
    kind: String,
    #[serde(rename = "stringData")]
    files: BTreeMap<String, String>,
}

pub(super) fn load(folder: &Path) -> Result<Loaded> {
    let path = folder.join(AGENT_SECRET);
    let bytes = read_private(&path, Readers::OwnerOnly)
        .with_context(|| format!("{} is what `lifeboat init` made for the cluster", path.display()))?;
    // The parser's own words could quote a line, and a line can be a key's.
    let wrong = |why: &str| {
        UsageError::new(format!(
            "{} {why}; take it as `lifeboat init` or `lifeboat rotate` wrote it",
            path.display()
        ))
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text"))?;
    let secret: Secret =
        serde_saphyr::from_str(text).map_err(|_| wrong("is not a Secret with stringData (YAML)"))?;
    if secret.kind != "Secret" {
        return Err(wrong("is not a Secret").into());
    }
    let files =
        Files::new(secret.files.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect());
    let config = files.config().ok_or_else(|| wrong("has no valid agent.toml"))?;
    let named = [Some(&config.charter), Some(&config.signing_key), config.s3.credentials_file.as_ref()];
    for file in named.into_iter().chain([config.s3.ca_file.as_ref()]).flatten() {
        let name = file.to_str().filter(|name| files.has(name));
        if name.is_none() && file.is_relative() {
            return Err(wrong(&format!("has no {}, which its agent.toml names", file.display())).into());
        }
    }
    let mut warnings = Vec::new();
    if config.s3.credentials_file.is_none() && config.repo.directory().is_none() {
        warnings.push(format!(
            "{AGENT_SECRET} holds no credential for the store: unless the pods get one from their platform, no backup will be stored; its first lines say how to add one"
        ));
    }
    Ok(Loaded { files, config, warnings })
}
