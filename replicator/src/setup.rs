//! From a configuration file to what a pull needs. Owns the checks on the configuration; pulls nothing.

pub mod host;
mod lines;

use crate::activity::Activity;
use crate::catalog::{CatalogError, Catalogue};
use crate::replicate::Replicator;
use crate::replicate::fetch::Patience;
use crate::retain;
use crate::scrub::{self, Record};
use crate::source::{Limits, Source, SourceError};
use crate::vault::{self, Host, MinFree, Vault, VaultError, VaultOptions, Work, parse_size};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, ConfigError, ReplicatorConfig};
use lifeboat_common::progress::Mode;
use lines::At::{self, Key, Number};
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
    #[error(
        "The vault {path} belongs to the user {uid}, and root would leave files there that its service cannot use; \
         run this as that user: runuser -u \"#{uid}\" -- lifeboat-replicator …, or `setup` for a check of this host"
    )]
    OthersVault { path: PathBuf, uid: u32 },
    #[error("Cannot remove the old catalogue {path}: {source}; give this user the right to it")]
    Remove { path: PathBuf, source: std::io::Error },
}

impl SetupError {
    /// Whether the configuration is to blame.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::Invalid { .. } | Self::Source(_) | Self::OthersVault { .. } => true,
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

/// A setting that cannot be: where it stands, and what was expected.
struct Bad<'a>(Vec<At<'a>>, String);

/// Reads and checks a configuration. What is wrong is said with its line.
pub fn load(path: &Path) -> Result<ReplicatorConfig, SetupError> {
    let config: ReplicatorConfig = config::load(path)?;
    check(&config).map_err(|Bad(way, why)| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = lines::line(&text, &way).map(|n| format!("line {n}: ")).unwrap_or_default();
        SetupError::Invalid { path: path.to_owned(), why: format!("{line}{why}") }
    })?;
    Ok(config)
}

fn check(config: &ReplicatorConfig) -> Result<(), Bad<'static>> {
    let bad = |key, why: String| Err(Bad(vec![Key(key)], why));
    if let Err(error) = vault::directory(&config.vault) {
        return bad("vault", error.to_string());
    }
    if config.sources.is_empty() {
        let why = "It has no [[source]], so there is nothing to pull; add the one that `lifeboat init` wrote";
        return bad("source", why.to_owned());
    }
    if config.poll_seconds == 0 {
        return bad("poll_seconds", "poll_seconds is 0; it must be at least 1".to_owned());
    }
    if config.transfers == 0 {
        return bad("transfers", "transfers is 0; it must be at least 1".to_owned());
    }
    if let Err(why) = crate::notify::check(&config.notify) {
        return bad("notify", why);
    }
    if let Some(Err(why)) = config.min_free.as_ref().map(|size| size.parse::<MinFree>()) {
        return bad("min_free", format!("min_free: {why}"));
    }
    if let Some(Err(why)) = config.scrub.rate.as_ref().map(|rate| parse_size(rate)) {
        return Err(Bad(vec![Key("scrub"), Key("rate")], format!("scrub.rate: {why}")));
    }
    if config.scrub.period_days == Some(0) {
        let why = "scrub.period_days is 0; it must be at least 1".to_owned();
        return Err(Bad(vec![Key("scrub"), Key("period_days")], why));
    }
    let mut names = BTreeSet::new();
    for (number, source) in config.sources.iter().enumerate() {
        check_source(config, source, !names.insert(source.cluster.as_str())).map_err(|Bad(way, why)| {
            Bad(
                [&[Key("source"), Number(number)], &way[..]].concat(),
                format!("Cluster {}: {why}", source.cluster),
            )
        })?;
    }
    Ok(())
}

fn check_source(
    config: &ReplicatorConfig,
    source: &config::SourceConfig,
    again: bool,
) -> Result<(), Bad<'static>> {
    let bad = |way: &[At<'static>], why: String| Err(Bad(way.to_vec(), why));
    if again {
        return bad(&[Key("cluster")], "It has two [[source]] tables; keep one".to_owned());
    }
    if source.repo == config.vault {
        return bad(&[Key("repo")], "repo is the vault itself; a vault is a second place".to_owned());
    }
    if let Some(Err(why)) = source.reread_rate.as_ref().map(|rate| parse_size(rate)) {
        return bad(&[Key("reread_rate")], format!("reread_rate: {why}"));
    }
    if let Err(why) = Limits::new(&source.limits) {
        return bad(&[Key("limits")], why);
    }
    let percents = [
        ("retain", source.retain.as_ref().and_then(|r| r.max_percent)),
        ("retention", source.retention.max_percent),
    ];
    if let Some((table, _)) = percents.into_iter().find(|(_, p)| p.is_some_and(|p| p > 100)) {
        return bad(&[Key(table), Key("max_percent")], format!("{table}.max_percent is at most 100"));
    }
    if let Some(Err(error)) = source.retention.time_zone.as_ref().map(|zone| retain::zone(zone)) {
        return bad(&[Key("retention"), Key("time_zone")], error.to_string());
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
    refuse_root(vault::directory(&config.vault)?)?;
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

/// Root's files in a service's vault stop the service later, at a bad time.
fn refuse_root(vault: &Path) -> Result<(), SetupError> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(vault) {
        Ok(found) if found.uid() != 0 && rustix::process::geteuid().is_root() => {
            Err(SetupError::OthersVault { path: vault.to_owned(), uid: found.uid() })
        }
        _ => Ok(()),
    }
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
