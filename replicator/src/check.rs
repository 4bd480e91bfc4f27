//! `check-config`: tries everything that a pull will need, and says what is fine and what is not. Changes nothing but the
//! claim of an unclaimed vault.

use crate::setup::{self, Options};
use crate::source::Source;
use crate::vault::Work;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{ReplicatorConfig, SourceConfig};
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
