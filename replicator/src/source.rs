//! A source: one cluster's folder in a primary, and the keys that go with it. Owns how its files and its store are found.

pub mod bandwidth;

use crate::replicate::quota::Quota;
use crate::replicate::reread;
use crate::vault::parse_size;
use bandwidth::{Bandwidth, Schedule};
use jiff::tz::TimeZone;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{LimitsConfig, SourceConfig};
use lifeboat_common::keys::{self, KeyError, Readers};
use lifeboat_common::store::{ReadStore, S3Options, SharedRead, StoreError, StoreUrl};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::ClusterName;
use lifeboat_format::{FormatError, layout};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{source}; receipt_key of cluster {cluster} is the receipt.key that `lifeboat init` wrote")]
    Key { cluster: ClusterName, source: KeyError },
    #[error(
        "{path}: {source}; receipt_key of cluster {cluster} is the receipt.key that `lifeboat init` wrote"
    )]
    Pem { cluster: ClusterName, path: PathBuf, source: FormatError },
    #[error("reread_rate of cluster {cluster}: {why}")]
    Rate { cluster: ClusterName, why: String },
    #[error("Cluster {cluster}: {why}")]
    Limits { cluster: ClusterName, why: String },
    #[error("{source}; see [[source]] of cluster {cluster}")]
    Store { cluster: ClusterName, source: StoreError },
}

/// What a source may take.
#[derive(Debug)]
pub struct Limits {
    pub bandwidth: Bandwidth,
    pub quota: Quota,
    /// Where days begin.
    pub zone: TimeZone,
}

impl Limits {
    /// The first thing that is wrong with the table, where something is.
    pub fn new(config: &LimitsConfig) -> Result<Self, String> {
        let size = |key: &str, text: &Option<String>| {
            text.as_deref().map(|t| parse_size(t).map_err(|why| format!("limits.{key}: {why}"))).transpose()
        };
        Ok(Self {
            bandwidth: Bandwidth::new(Schedule::new(config)?),
            quota: Quota { per_day: size("per_day", &config.per_day)?, total: size("total", &config.total)? },
            zone: bandwidth::zone(config)?,
        })
    }
}

/// One cluster to pull.
#[derive(Debug)]
pub struct Source {
    pub cluster: ClusterName,
    /// Every charter must trace back to it.
    pub owner: VerifyKey,
    pub receipt_key: SigningKey,
    /// Bytes per second of packs that are read again there.
    pub reread_rate: u64,
    pub limits: Limits,
    store: SharedRead,
    /// Where the URL may already be the cluster's own folder.
    itself: Option<SharedRead>,
    chosen: OnceLock<SharedRead>,
}

impl Source {
    /// A source in a store that is the cluster's folder.
    #[must_use]
    pub fn new(cluster: ClusterName, owner: VerifyKey, receipt_key: SigningKey, store: SharedRead) -> Self {
        Self {
            cluster,
            owner,
            receipt_key,
            reread_rate: reread::RATE,
            limits: Limits::new(&LimitsConfig::default()).expect("no limit is none that is wrong"),
            store,
            itself: None,
            chosen: OnceLock::new(),
        }
    }

    /// Reads the key and prepares the store of a `[[source]]`; sends no request.
    pub async fn open(config: &SourceConfig, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let cluster = config.cluster.clone();
        let receipt_key = receipt_key(&cluster, &config.receipt_key)?;
        let options = with_credentials(&config.s3);
        let name = Some(cluster.as_str());
        let fail = |source| SourceError::Store { cluster: cluster.clone(), source };
        let store = config.repo.open_read(name, &options, Arc::clone(&clock)).await.map_err(fail)?;
        let itself = config.repo.open_read(None, &options, clock).await.map_err(fail)?;
        let mut source = Self::new(cluster.clone(), config.owner, receipt_key, store);
        if let Some(rate) = &config.reread_rate {
            source.reread_rate =
                parse_size(rate).map_err(|why| SourceError::Rate { cluster: cluster.clone(), why })?;
        }
        source.limits = Limits::new(&config.limits)
            .map_err(|why| SourceError::Limits { cluster: cluster.clone(), why })?;
        match &config.repo {
            StoreUrl::File(folder) if folder.join(layout::CHARTER).is_dir() => source.store = itself,
            StoreUrl::File(_) => {}
            StoreUrl::S3 { .. } => source.itself = Some(itself),
        }
        Ok(source)
    }

    /// The store of the cluster's folder; looks once which of the two it is.
    pub async fn store(&self) -> Result<SharedRead, StoreError> {
        let (None, Some(itself)) = (self.chosen.get(), &self.itself) else {
            return Ok(Arc::clone(self.chosen.get().unwrap_or(&self.store)));
        };
        let chosen = if has_charter(&*self.store).await? || !has_charter(&**itself).await? {
            &self.store
        } else {
            itself
        };
        Ok(Arc::clone(self.chosen.get_or_init(|| Arc::clone(chosen))))
    }

    /// Whether `repo`, from which this was opened, is the cluster's own folder; known once [`Source::store`] was called.
    #[must_use]
    pub(crate) fn is_itself(&self, repo: &StoreUrl) -> bool {
        match (repo, self.chosen.get(), &self.itself) {
            (StoreUrl::File(folder), ..) => folder.join(layout::CHARTER).is_dir(),
            (_, Some(chosen), Some(itself)) => Arc::ptr_eq(chosen, itself),
            _ => false,
        }
    }

    /// For messages; holds no credential.
    #[must_use]
    pub fn describe(&self) -> String {
        self.chosen.get().unwrap_or(&self.store).describe()
    }
}

async fn has_charter(store: &dyn ReadStore) -> Result<bool, StoreError> {
    Ok(!store.list(layout::CHARTER, None, 1).await?.entries.is_empty())
}

/// Where systemd puts the credentials of the services; for a command of a person, who may be allowed to read them there.
const SERVICES: [&str; 3] = [
    "/run/credentials/lifeboat-replicator.service",
    "/run/credentials/lifeboat-replicator-pull.service",
    "/run/credentials/lifeboat-replicator-retain.service",
];

/// `path`, or the systemd credential of its name where there is no such file: this unit's own, or outside of any unit that
/// of a service that runs.
pub(crate) fn credential(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let services = if own.is_some() { &[][..] } else { &SERVICES };
    let folders = own.into_iter().chain(services.iter().map(PathBuf::from));
    let mut found = folders.filter_map(|folder| Some(folder.join(path.file_name()?)));
    found.find(|file| file.exists()).unwrap_or_else(|| path.to_owned())
}

pub(crate) fn with_credentials(options: &S3Options) -> S3Options {
    let mut options = options.clone();
    options.credentials_file = options.credentials_file.map(|file| credential(&file));
    options
}

/// Reads the key that signs receipts and tombstones of `cluster`.
pub fn receipt_key(cluster: &ClusterName, path: &Path) -> Result<SigningKey, SourceError> {
    let found = credential(path);
    let fail = |source| SourceError::Key { cluster: cluster.clone(), source };
    if found != path {
        // systemd guards it; its group bits show an access list.
        return keys::service_key(&found).map_err(fail);
    }
    let bytes = keys::read_private(&found, Readers::OwnerOnly).map_err(fail)?;
    let text = String::from_utf8_lossy(&bytes);
    SigningKey::from_pem(&text).map_err(|source| SourceError::Pem {
        cluster: cluster.clone(),
        path: found.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_fix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipt.key");
        let pem = SigningKey::to_pem(&SigningKey::generate());
        std::fs::write(&path, pem.as_bytes()).unwrap();
        let cluster: ClusterName = "prod".parse().unwrap();
        for mode in [0o644, 0o640] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = receipt_key(&cluster, &path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            assert!(!error.contains(pem.lines().nth(1).unwrap()), "no secret in a message");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(receipt_key(&cluster, &path).is_ok());
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(receipt_key(&cluster, &path), Err(SourceError::Pem { .. })));
        assert!(receipt_key(&cluster, &dir.path().join("absent")).is_err());
    }
}
