//! From a configuration file to what a pull needs. Owns the checks on the configuration; pulls nothing.

use crate::activity::Activity;
use crate::catalog::{CatalogError, Catalogue};
use crate::replicate::Replicator;
use crate::replicate::fetch::Patience;
use crate::scrub::{self, Record};
use crate::source::{Limits, Source, SourceError};
use crate::vault::{self, Host, MinFree, Vault, VaultError, VaultOptions, Work, parse_size};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, ConfigError, ReplicatorConfig};
use lifeboat_common::progress::Mode;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{path}: {why}")]
    Invalid { path: PathBuf, why: String },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Catalogue(#[from] CatalogError),
    #[error("Cannot remove the old catalogue {path}: {source}; give this user the right to it")]
    Remove { path: PathBuf, source: std::io::Error },
}

impl SetupError {
    /// Whether the configuration is to blame.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::Invalid { .. } | Self::Source(_) => true,
            Self::Vault(error) => matches!(error, VaultError::NotLocal { .. }),
            Self::Catalogue(_) | Self::Remove { .. } => false,
        }
    }
}

/// Settings of the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Instead of the configuration's.
    pub min_free: Option<MinFree>,
}

/// Reads and checks a configuration.
pub fn load(path: &Path) -> Result<ReplicatorConfig, SetupError> {
    let config: ReplicatorConfig = config::load(path)?;
    let bad = |why: String| Err(SetupError::Invalid { path: path.to_owned(), why });
    vault::directory(&config.vault)?;
    if config.sources.is_empty() {
        return bad(
            "It has no [[source]], so there is nothing to pull; add the one that `lifeboat init` wrote"
                .to_owned(),
        );
    }
    if config.poll_seconds == 0 || config.transfers == 0 {
        return bad("poll_seconds and transfers must be at least 1".to_owned());
    }
    if let Err(why) = check_sizes(&config) {
        return bad(why);
    }
    let mut names = BTreeSet::new();
    for source in &config.sources {
        if !names.insert(source.cluster.as_str()) {
            return bad(format!("Cluster {} has two [[source]] tables; keep one", source.cluster));
        }
        if source.repo == config.vault {
            return bad(format!(
                "The repo of cluster {} is the vault itself; a vault is a second place",
                source.cluster
            ));
        }
    }
    Ok(config)
}

fn check_sizes(config: &ReplicatorConfig) -> Result<(), String> {
    let named = |name: &str| {
        let name = name.to_owned();
        move |why: String| format!("{name}: {why}")
    };
    if let Some(min_free) = &config.min_free {
        min_free.parse::<MinFree>().map_err(named("min_free"))?;
    }
    if let Some(rate) = &config.scrub.rate {
        parse_size(rate).map_err(named("scrub.rate"))?;
    }
    for source in &config.sources {
        if let Some(rate) = &source.reread_rate {
            parse_size(rate).map_err(named(&format!("reread_rate of cluster {}", source.cluster)))?;
        }
        Limits::new(&source.limits).map_err(|why| format!("Cluster {}: {why}", source.cluster))?;
        if source.retain.as_ref().is_some_and(|r| r.max_percent.is_some_and(|p| p > 100)) {
            return Err(format!("retain.max_percent of cluster {} is at most 100", source.cluster));
        }
    }
    Ok(())
}

/// Opens the vault of a configuration for one kind of work.
pub fn open_vault(
    work: Work,
    config: &ReplicatorConfig,
    options: Options,
    clock: &dyn Clock,
) -> Result<Arc<Vault>, SetupError> {
    Ok(Vault::open_for(
        work,
        VaultOptions {
            root: vault::directory(&config.vault)?.to_owned(),
            state: config.state.clone(),
            host: Host::local(),
            min_free: options.min_free.or_else(|| config.min_free.as_ref()?.parse().ok()).unwrap_or_default(),
            disk: None,
            now: clock.now(),
        },
    )?)
}

/// Opens the vault and its catalogue.
pub fn open(
    config: &ReplicatorConfig,
    options: Options,
    clock: Arc<dyn Clock>,
    mode: Mode,
) -> Result<Replicator, SetupError> {
    let vault = open_vault(Work::Pull, config, options, &*clock)?;
    let catalogue = Arc::new(Catalogue::open(&vault.catalogue())?);
    let activity = Arc::new(Activity::new(mode));
    let (transfers, patience) = (config.transfers, Patience::default());
    Ok(Replicator::new(vault, catalogue, clock, activity, transfers, patience))
}

/// Opens every source of the configuration.
pub async fn sources(
    config: &ReplicatorConfig,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Arc<Source>>, SetupError> {
    let mut sources = Vec::new();
    for source in &config.sources {
        sources.push(Arc::new(Source::open(source, Arc::clone(clock)).await?));
    }
    Ok(sources)
}

/// The catalogue of a configuration, for reading.
pub fn catalogue(config: &ReplicatorConfig) -> Result<Catalogue, SetupError> {
    let root = vault::directory(&config.vault)?;
    Ok(Catalogue::open_read_only(&vault::catalogue_path(root, config.state.as_deref()))?)
}

/// What scrubs noted, for reading; nothing before the first one.
pub fn scrub_record(config: &ReplicatorConfig) -> Result<Option<Record>, SetupError> {
    let root = vault::directory(&config.vault)?;
    let catalogue = vault::catalogue_path(root, config.state.as_deref());
    Ok(Record::open_read_only(&catalogue.with_file_name(scrub::RECORD))?)
}

/// The catalogue of a configuration, for a person's word about an alarm; all else in it is written by pulls.
pub fn catalogue_for_alarms(config: &ReplicatorConfig) -> Result<Catalogue, SetupError> {
    let root = vault::directory(&config.vault)?;
    let path = vault::catalogue_path(root, config.state.as_deref());
    // Never made here: that is for a pull.
    drop(Catalogue::open_read_only(&path)?);
    Ok(Catalogue::open(&path)?)
}

/// An empty catalogue in the place of the old one, damaged or not, and the vault that it is rebuilt from.
pub fn new_catalogue(
    config: &ReplicatorConfig,
    clock: &dyn Clock,
) -> Result<(Catalogue, Arc<Vault>), SetupError> {
    let vault = open_vault(Work::Pull, config, Options::default(), clock)?;
    let path = vault.catalogue();
    Catalogue::remove(&path).map_err(|source| SetupError::Remove { path: path.clone(), source })?;
    Ok((Catalogue::open(&path)?, vault))
}
