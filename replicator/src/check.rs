//! `check-config`: tries everything that a pull will need, and says what is fine and what is not. Changes nothing but the
//! claim of an unclaimed vault.

use crate::setup::{self, Options};
use crate::source::{self, Source};
use crate::vault::Work;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{ReplicatorConfig, SourceConfig};
use lifeboat_common::store::{S3Options, StoreUrl};
use lifeboat_common::trust;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

pub const SCHEMA: &str = "lifeboat/check/1";

/// One thing that was tried.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub what: String,
    pub ok: bool,
    pub detail: String,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub ok: bool,
    pub checks: Vec<Item>,
    /// The configuration is to blame, rather than the world.
    #[serde(skip)]
    pub usage: bool,
}

impl Report {
    fn add(&mut self, what: impl Into<String>, result: Result<String, String>) {
        let ok = result.is_ok();
        self.ok &= ok;
        let detail = result.unwrap_or_else(|e| e);
        self.checks.push(Item { what: what.into(), ok, detail });
    }

    #[must_use]
    pub fn text(&self) -> String {
        let line = |i: &Item| format!("{:4}  {}: {}\n", if i.ok { "ok" } else { "FAIL" }, i.what, i.detail);
        self.checks.iter().map(line).collect()
    }
}

/// Checks the file at `path` and all that it names.
pub async fn run(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Report {
    let mut report = Report { schema: SCHEMA, ok: true, checks: Vec::new(), usage: false };
    let config = match setup::load(path) {
        Ok(config) => config,
        Err(error) => {
            report.usage = true;
            report.add("configuration", Err(error.to_string()));
            return report;
        }
    };
    let sources = config.sources.len();
    report.add("configuration", Ok(format!("{} is valid, {sources} sources", path.display())));
    report.add("vault", vault(&config, options, &*clock));
    for source in &config.sources {
        let result = check_source(source, &clock).await;
        report.add(format!("source {}", source.cluster), result);
        for (role, file) in roles(source) {
            let result = check_role(source, role, file, &clock).await;
            report.add(format!("{role} of {}", source.cluster), result);
        }
    }
    report
}

fn vault(config: &ReplicatorConfig, options: Options, clock: &dyn Clock) -> Result<String, String> {
    use crate::vault::VaultError;
    match setup::open_vault(Work::Pull, config, options, clock) {
        Ok(vault) => {
            vault.reserve(0).map_err(|e| e.to_string())?;
            // A file that comes and goes shows what a mode does not: a read-only mount, a quota, a full disk.
            vault.try_write().map_err(|e| e.to_string())?;
            Ok(format!("{} is writable and belongs to this host", vault.root().display()))
        }
        Err(setup::SetupError::Vault(error @ VaultError::Busy { .. })) => Ok(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// What the configuration lets this host do in the primary beside reading, and as whom.
fn roles(config: &SourceConfig) -> Vec<(&'static str, Option<&Path>)> {
    let (marker, retain, heal) = (&config.marker, &config.retain, &config.heal);
    let all = [
        ("marker", marker.as_ref().map(|r| r.credentials_file.as_deref())),
        ("retain", retain.as_ref().map(|r| r.credentials_file.as_deref())),
        ("heal", heal.as_ref().map(|r| r.credentials_file.as_deref())),
    ];
    all.into_iter().filter_map(|(role, file)| Some((role, file?))).collect()
}

/// Reads with a role's credential: that it may write is `lifeboat probe`'s to show.
async fn check_role(
    config: &SourceConfig,
    role: &str,
    file: Option<&Path>,
    clock: &Arc<dyn Clock>,
) -> Result<String, String> {
    if matches!(config.repo, StoreUrl::File(_)) {
        return Ok("works in the directory with the rights of the service".to_owned());
    }
    let Some(file) = file else {
        return Err(format!(
            "[source.{role}] has no credentials_file; give it one of its own, so that no other unit has its rights"
        ));
    };
    let others = roles(config).into_iter().filter(|(other, _)| *other != role);
    let mut others = others.chain([("s3", config.s3.credentials_file.as_deref())]);
    if let Some((other, _)) = others.find(|(_, theirs)| *theirs == Some(file)) {
        return Err(format!(
            "[source.{role}] and [source.{other}] have one credential, {}; give each one of its own, with no other rights than it needs",
            file.display()
        ));
    }
    if !source::credential(file).exists() {
        return Err(format!(
            "credentials_file {} is not there, and no systemd credential of that name; under systemd only the unit that needs it has it, \
             and `lifeboat-replicator setup` tries it",
            file.display()
        ));
    }
    let as_role = SourceConfig {
        s3: S3Options { credentials_file: Some(file.to_owned()), ..config.s3.clone() },
        ..config.clone()
    };
    let source = Source::open(&as_role, Arc::clone(clock)).await.map_err(|e| e.to_string())?;
    let store = source.store().await.map_err(|e| crate::replicate::error::PullError::from(e).to_string())?;
    Ok(format!("{} takes its credential", store.describe()))
}

async fn check_source(config: &SourceConfig, clock: &Arc<dyn Clock>) -> Result<String, String> {
    let source = Source::open(config, Arc::clone(clock)).await.map_err(|e| e.to_string())?;
    let reach =
        |e: lifeboat_common::store::StoreError| crate::replicate::error::PullError::from(e).to_string();
    let store = source.store().await.map_err(reach)?;
    let charters = trust::charters(&*store, &source.owner, &source.cluster)
        .await
        .map_err(|e| format!("{e}; compare repo, cluster and owner with repository.toml"))?;
    let newest = charters.last().ok_or("there is no charter; run `lifeboat init`")?.charter();
    let (ours, named) = (source.receipt_key.verify_key(), newest.receipt_key);
    if ours != named {
        return Err(format!(
            "receipt_key is {}, charter {} names {}; give the receipt.key that `lifeboat init` wrote for this cluster",
            ours.fingerprint(),
            newest.n,
            named.fingerprint()
        ));
    }
    newest.check_writable().map_err(|e| e.to_string())?;
    let created: Timestamp = newest.created;
    Ok(format!("{} has charter {} of {created:.0}, signed by the owner", store.describe(), newest.n))
}
