//! `retain`, `hold`, `unhold` and `undo`: retention in the vault, and what a person may say to it.

use anyhow::Context as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{ReplicatorConfig, SourceConfig};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_replicator::catalog::Catalogue;
use lifeboat_replicator::primary::table::Side;
use lifeboat_replicator::primary::{self, Roles};
use lifeboat_replicator::retain::table::{Cluster, Document, SCHEMA};
use lifeboat_replicator::retain::{Agreement, Hold, Retainer};
use lifeboat_replicator::setup::{self, Options};
use lifeboat_replicator::source;
use lifeboat_replicator::vault::{Vault, Work};
use std::sync::Arc;

#[derive(clap::Args)]
pub(crate) struct Retain {
    /// Decide and print every snapshot with the reasons, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on although the policy keeps less than before, or although the clock jumped
    #[arg(long, value_enum, value_name = "WHAT")]
    agree: Vec<Agree>,
    /// Only this cluster (may be repeated)
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
    /// One pass, which is what it does anyway
    #[arg(long, hide = true)]
    once: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Agree {
    Policy,
    Clock,
}

#[derive(clap::Args)]
pub(crate) struct One {
    /// The snapshot's number (see `lifeboat snapshots`)
    seq: u64,
    /// Of which cluster; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    pub(crate) one: One,
    /// In the primary: what was not deleted there yet stays
    #[arg(long)]
    primary: bool,
    /// With --primary: let it be forgotten there after all
    #[arg(long, requires = "primary")]
    again: bool,
}

/// What each of the commands works on.
pub(crate) struct Opened {
    pub(crate) config: ReplicatorConfig,
    pub(crate) vault: Arc<Vault>,
    pub(crate) catalogue: Catalogue,
}

pub(crate) fn open(config: ReplicatorConfig, clock: &dyn Clock) -> anyhow::Result<Opened> {
    let catalogue = setup::catalogue(&config)?;
    let vault = setup::open_vault(Work::Retain, &config, Options::default(), clock)?;
    Ok(Opened { config, vault, catalogue })
}

fn with_retainer<T>(
    opened: &Opened,
    source: &SourceConfig,
    work: impl FnOnce(&Retainer<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let receipt_key: SigningKey = source::receipt_key(&source.cluster, &source.receipt_key)?;
    work(&Retainer::of(source, &receipt_key, &opened.vault, &opened.catalogue))
}

/// The source that `cluster` names, or the only one.
pub(crate) fn only<'a>(
    config: &'a ReplicatorConfig,
    cluster: Option<&str>,
) -> anyhow::Result<&'a SourceConfig> {
    let mut found = config.sources.iter().filter(|s| cluster.is_none_or(|name| s.cluster.as_str() == name));
    match (found.next(), found.next()) {
        (Some(source), None) => Ok(source),
        (None, _) => {
            let name = cluster.unwrap_or_default();
            Err(UsageError::new(format!("The configuration has no [[source]] of cluster '{name}'")).into())
        }
        (Some(_), Some(_)) => {
            Err(UsageError::new("The configuration has several clusters; say which with --cluster").into())
        }
    }
}

pub(crate) fn chosen(clusters: &[String], source: &SourceConfig) -> bool {
    clusters.is_empty() || clusters.iter().any(|name| source.cluster.as_str() == name)
}

/// One pass over every cluster, in the vault and then in the primary. Gives the document, its text, and the exit code: 3
/// where something stops forgetting.
pub(crate) async fn retain(
    config: ReplicatorConfig,
    args: &Retain,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Document, String, Exit)> {
    for name in &args.clusters {
        only(&config, Some(name))?;
    }
    let opened = open(config, &*clock)?;
    let (mut clusters, mut text, mut exit) = (Vec::new(), String::new(), Exit::Done);
    for source in opened.config.sources.iter().filter(|s| chosen(&args.clusters, s)) {
        let receipt_key = source::receipt_key(&source.cluster, &source.receipt_key)?;
        let retainer = Retainer::of(source, &receipt_key, &opened.vault, &opened.catalogue);
        let cluster = one(&retainer, source, args, &clock)
            .await
            .with_context(|| format!("Retention of cluster {}", source.cluster))?;
        text.push_str(&cluster.text(args.dry_run));
        if cluster.is_stopped() {
            exit = Exit::Partial;
        }
        clusters.push(cluster);
    }
    Ok((Document { schema: SCHEMA, dry_run: args.dry_run, clusters }, text, exit))
}

async fn one(
    retainer: &Retainer<'_>,
    source: &SourceConfig,
    args: &Retain,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Cluster> {
    let now = clock.now();
    for agree in &args.agree {
        let what = match agree {
            Agree::Policy => Agreement::Policy,
            Agree::Clock => Agreement::Clock,
        };
        retainer.agree(what, now)?;
        primary::agree(retainer, what)?;
    }
    let pass = if args.dry_run { retainer.preview(now)? } else { retainer.run(now)? };
    let mut cluster = Cluster::new(&source.cluster, &pass);
    if let Some(roles) = Roles::open(source, Arc::clone(clock)).await? {
        let primary = roles.primary(retainer);
        let pass = if args.dry_run { primary.preview(now).await? } else { primary.run(now).await? };
        cluster.primary = Some(Side::new(&pass));
    }
    Ok(cluster)
}

pub(crate) fn hold(
    config: ReplicatorConfig,
    one: &One,
    reason: Option<&str>,
    clock: &dyn Clock,
) -> anyhow::Result<String> {
    let opened = open(config, clock)?;
    let source = only(&opened.config, one.cluster.as_deref())?;
    let hold = reason.map(|reason| Hold { since: clock.now(), reason: reason.to_owned() });
    let held = hold.is_some();
    let before = with_retainer(&opened, source, |retainer| Ok(retainer.hold(one.seq, hold, clock.now())?))?;
    let (seq, cluster) = (one.seq, &source.cluster);
    Ok(match (held, before) {
        (true, None) => format!("Snapshot {seq} of {cluster} is held: no retention forgets it\n"),
        (true, Some(_)) => format!("Snapshot {seq} of {cluster} was held already; the reason is replaced\n"),
        (false, Some(hold)) => {
            format!(
                "Snapshot {seq} of {cluster} is no longer held (since {:.0}: {})\n",
                hold.since, hold.reason
            )
        }
        (false, None) => format!("Snapshot {seq} of {cluster} was not held\n"),
    })
}

pub(crate) fn undo(config: ReplicatorConfig, args: &Undo, clock: &dyn Clock) -> anyhow::Result<String> {
    let opened = open(config, clock)?;
    let one = &args.one;
    let source = only(&opened.config, one.cluster.as_deref())?;
    if args.primary {
        let (seq, cluster, now) = (one.seq, &source.cluster, clock.now());
        let undo = |retainer: &Retainer<'_>| Ok(primary::undo(retainer, seq, args.again, now)?);
        let changed = with_retainer(&opened, source, undo)?;
        return Ok(match (changed, args.again) {
            (false, false) => format!("Snapshot {seq} of {cluster} was kept in the primary already\n"),
            (false, true) => format!("Snapshot {seq} of {cluster} was not kept in the primary by an undo\n"),
            (true, false) => format!(
                "Snapshot {seq} of {cluster} stays in the primary, as far as it was not deleted there yet; `undo --primary --again` ends that\n"
            ),
            (true, true) => {
                format!("Snapshot {seq} of {cluster} is kept in the primary by its policy again\n")
            }
        });
    }
    with_retainer(&opened, source, |retainer| Ok(retainer.undo(one.seq, clock.now())?))?;
    let (seq, cluster) = (one.seq, &source.cluster);
    Ok(format!("Snapshot {seq} of {cluster} is kept again; hold it, or the next pass forgets it once more\n"))
}
