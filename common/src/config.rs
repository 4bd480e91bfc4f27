//! Configuration files: `repository.toml`, `agent.toml`, `replicator.toml`. Unknown keys are refused, file names in
//! them are relative to the file. Owns their shape; opens nothing that they name.

mod monitoring;

use crate::store::{S3Options, StoreUrl};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::ClusterName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use monitoring::{
    CommandConfig, HeartbeatConfig, HttpConfig, MailConfig, MailTls, NotifyConfig, WebhookConfig,
};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("Cannot read {path}: {source}; give the path of a configuration file written by `lifeboat init`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a valid configuration: {why}")]
    Invalid { path: PathBuf, why: String },
}

/// The public facts of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    pub repo: StoreUrl,
    pub vault: Option<StoreUrl>,
    pub cluster: ClusterName,
    pub owner: VerifyKey,
    #[serde(default)]
    pub s3: S3Options,
}

/// What an agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    pub repo: StoreUrl,
    pub cluster: ClusterName,
    /// The owner's public key: the charter must trace back to it.
    pub owner: VerifyKey,
    /// The charter, as the owner signed it, and those before it (`charter.json`; several joined by newlines).
    pub charter: PathBuf,
    /// PEM.
    pub signing_key: PathBuf,
    /// A folder for `<cluster>.cbor`.
    pub state: PathBuf,
    #[serde(default)]
    pub s3: S3Options,
    #[serde(default, skip_serializing_if = "VolumesConfig::is_default")]
    pub volumes: VolumesConfig,
}

/// How the controller has volumes read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumesConfig {
    /// Volumes at a time on one node; the nodes' --concurrency, or less.
    pub per_node: usize,
    /// Volumes at a time in the cluster.
    pub in_all: usize,
    /// Folders of nodes below which volumes of the kind hostPath are read; the nodes' --host-path names them, too.
    pub host_paths: Vec<String>,
    /// A volume that nothing mounts, and that was read so many hours ago, makes a backup partially failed.
    pub stale_hours: u32,
    /// Whether the controller's metrics have a series for each claim, by namespace and name: they are shown to whoever
    /// can reach them.
    pub metrics_by_claim: bool,
}

impl Default for VolumesConfig {
    fn default() -> Self {
        Self { per_node: 2, in_all: 16, host_paths: Vec::new(), stale_hours: 7 * 24, metrics_by_claim: false }
    }
}

impl VolumesConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the daemon of a node needs: where the repository is. No charter, no signing key and no state: what it is to do,
/// and under which keys, comes with each order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub repo: StoreUrl,
    pub cluster: ClusterName,
    #[serde(default)]
    pub s3: S3Options,
}

/// What a replicator needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicatorConfig {
    pub vault: StoreUrl,
    /// A folder for what is not in the vault (cursors, temporary files); `<vault>/.lifeboat` when absent.
    pub state: Option<PathBuf>,
    /// Seconds between two pulls of a source.
    #[serde(default = "default_poll_seconds")]
    pub poll_seconds: u64,
    /// Transfers at a time, over all sources, at most: a pull finds out by itself how many pay.
    #[serde(default = "default_transfers")]
    pub transfers: usize,
    /// How much of the vault's disk stays free, such as `10%` or `20GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub scrub: ScrubConfig,
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: HttpConfig,
    #[serde(default, skip_serializing_if = "is_default")]
    pub notify: NotifyConfig,
    #[serde(rename = "source", default)]
    pub sources: Vec<SourceConfig>,
}

/// How what lies in the vault is read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubConfig {
    /// Bytes per second at most, such as `20MiB`; `0` for as fast as it goes.
    pub rate: Option<String>,
    /// Days in which everything is read once.
    pub period_days: Option<u32>,
}

/// One cluster that is pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub cluster: ClusterName,
    pub repo: StoreUrl,
    pub owner: VerifyKey,
    /// PEM.
    pub receipt_key: PathBuf,
    #[serde(default)]
    pub s3: S3Options,
    /// Where the vault keeps otherwise than the charter says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: RetentionConfig,
    /// May create `forgotten/` and `lost/` in the primary. Without it nothing is forgotten there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<RoleConfig>,
    /// May delete packs, pack lists and send logs in the primary. Without it nothing is deleted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<RetainConfig>,
    /// May put back in the primary what was damaged or lost there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heal: Option<RoleConfig>,
    /// Bytes per second that a pull reads of the primary's packs again, in turn, such as `256KiB`; `0` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reread_rate: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: LimitsConfig,
}

/// What a source may take of the network and of the disk. What is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Bytes per second, such as `20MiB`; `0` for as fast as it goes.
    pub rate: Option<String>,
    /// Times with another rate, such as `mon-fri 08:00-18:00 10MiB`; the first that holds counts.
    pub windows: Vec<String>,
    /// Bytes of packs that are pulled on one day at most, such as `500GiB`.
    pub per_day: Option<String>,
    /// Bytes of packs of this source in the vault at most.
    pub total: Option<String>,
    /// Where days and windows begin, such as `Europe/Stockholm`; UTC when absent.
    pub time_zone: Option<String>,
}

/// Who asks the primary for more than a pull does; all else is as in `s3`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// In the format of `~/.aws/credentials`, profile `default`.
    pub credentials_file: Option<PathBuf>,
}

/// [`RoleConfig`], and how much goes in one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetainConfig {
    /// In the format of `~/.aws/credentials`, profile `default`.
    pub credentials_file: Option<PathBuf>,
    /// Objects that one pass deletes at most.
    pub max_objects: Option<usize>,
    /// The same as a part of all packs, in percent.
    pub max_percent: Option<usize>,
}

/// Overrides of the charter's retention in the vault, and what only this host decides. What is absent is the charter's,
/// or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Everything is kept for so many hours.
    pub within_hours: Option<u32>,
    pub last: Option<u32>,
    pub hourly: Option<u32>,
    pub daily: Option<u32>,
    pub weekly: Option<u32>,
    pub monthly: Option<u32>,
    pub yearly: Option<u32>,
    /// Never fewer snapshots than this of one kind of coverage.
    pub minimum: Option<usize>,
    /// Nothing is forgotten that was first seen less than so many hours ago.
    pub floor_hours: Option<u32>,
    /// The last snapshot that covers a namespace stays for so many days.
    pub scope_days: Option<u32>,
    /// Hours between forgetting a snapshot, which can be undone, and deleting what only it needs.
    pub grace_hours: Option<u32>,
    /// Snapshots that one pass forgets at most.
    pub max_snapshots: Option<usize>,
    /// The same as a part of all, in percent.
    pub max_percent: Option<usize>,
    /// Where days begin, such as `Europe/Stockholm`; UTC when absent.
    pub time_zone: Option<String>,
}

fn is_default<T: Default + PartialEq>(table: &T) -> bool {
    *table == T::default()
}

fn default_poll_seconds() -> u64 {
    300
}

fn default_transfers() -> usize {
    96
}

/// Reads one of the configurations above. File names in it become absolute or relative to the working directory.
pub fn load<T: DeserializeOwned + Relocate>(path: &Path) -> Result<T, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let parsed = config::Config::builder()
        .add_source(config::File::from_str(&text, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize::<T>);
    match parsed {
        Ok(value) => Ok(value.relocate(path.parent().unwrap_or(Path::new(".")))),
        // `config` names no line; toml's own error does.
        Err(error) => {
            let why = toml::from_str::<T>(&text).err().map_or(error.to_string(), |e| e.to_string());
            Err(ConfigError::Invalid { path: path.into(), why })
        }
    }
}

/// Takes relative file names as relative to the folder of the file they stand in.
pub trait Relocate {
    #[must_use]
    fn relocate(self, folder: &Path) -> Self;
}

impl Relocate for RepositoryConfig {
    fn relocate(mut self, folder: &Path) -> Self {
        self.s3 = self.s3.relative_to(folder);
        self
    }
}

impl Relocate for AgentConfig {
    fn relocate(mut self, folder: &Path) -> Self {
        self.charter = folder.join(self.charter);
        self.signing_key = folder.join(self.signing_key);
        self.state = folder.join(self.state);
        self.s3 = self.s3.relative_to(folder);
        self
    }
}

impl Relocate for NodeConfig {
    fn relocate(mut self, folder: &Path) -> Self {
        self.s3 = self.s3.relative_to(folder);
        self
    }
}

impl Relocate for ReplicatorConfig {
    fn relocate(mut self, folder: &Path) -> Self {
        self.state = self.state.map(|s| folder.join(s));
        self.notify.relative_to(folder);
        for source in &mut self.sources {
            source.receipt_key = folder.join(&source.receipt_key);
            source.s3 = std::mem::take(&mut source.s3).relative_to(folder);
            let roles = [&mut source.marker, &mut source.heal].into_iter().flatten();
            let files = roles.map(|r| &mut r.credentials_file);
            let files = files.chain(source.retain.as_mut().map(|r| &mut r.credentials_file));
            for file in files.flatten() {
                *file = folder.join(&*file);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.toml"), text).unwrap();
        dir
    }

    const GOOD: &str = r#"
repo = "file:///backups"
cluster = "prod"
owner = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
charter = "charter.json"
signing_key = "agent.key"
state = "state"
"#;

    #[test]
    fn file_names_are_relative_to_the_file() {
        let dir = write(GOOD);
        let config: AgentConfig = load(&dir.path().join("agent.toml")).unwrap();
        assert_eq!(config.signing_key, dir.path().join("agent.key"));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let dir = write(&format!("{GOOD}\ncolour = 1\n"));
        let error = load::<AgentConfig>(&dir.path().join("agent.toml")).unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("line 9"), "{error}");
    }
}
