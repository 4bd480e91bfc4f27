//! `heal`: puts back in the primaries what was damaged or lost there, from the vault.

use super::retain::{chosen, only, open};
use anyhow::Context as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::exit::Exit;
use lifeboat_replicator::catalog::Side;
use lifeboat_replicator::primary::Roles;
use lifeboat_replicator::retain::Retainer;
use lifeboat_replicator::status::plain;
use lifeboat_replicator::{heal, source};
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;

#[derive(clap::Args)]
pub(crate) struct Heal {
    /// Only this cluster (may be repeated)
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Document {
    schema: &'static str,
    clusters: Vec<Cluster>,
}

#[derive(Serialize)]
struct Cluster {
    name: String,
    healed: Vec<String>,
    failed: Vec<Failed>,
    marked_lost: Vec<String>,
    /// Damaged in the vault, and healed by the next pull where the primary has it sound.
    damaged_in_vault: u64,
}

#[derive(Serialize)]
struct Failed {
    key: String,
    why: String,
}

pub(crate) async fn heal(
    config: ReplicatorConfig,
    args: &Heal,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Document, String, Exit)> {
    for name in &args.clusters {
        only(&config, Some(name))?;
    }
    let opened = open(config, &*clock)?;
    let (mut clusters, mut text, mut exit) = (Vec::new(), String::new(), Exit::Done);
    for source in opened.config.sources.iter().filter(|s| chosen(&args.clusters, s)) {
        let cluster = &source.cluster;
        let roles = Roles::open(source, Arc::clone(&clock)).await?;
        let key = source::receipt_key(cluster, &source.receipt_key)?;
        let retainer = Retainer::of(source, &key, &opened.vault, &opened.catalogue);
        let (healer, marker) = roles.as_ref().map_or((None, None), |r| (r.healer(), r.marker()));
        let report = heal::run(&retainer, healer, marker, clock.now())
            .await
            .with_context(|| format!("Healing the primary of cluster {cluster}"))?;
        let damaged_in_vault = opened.catalogue.count_damaged(cluster.as_str(), Side::Vault)?;
        // Writing to a String cannot fail.
        let (healed, failed) = (report.healed.len(), report.failed.len());
        let _ = writeln!(text, "{cluster}: healed {healed} in the primary, {failed} not");
        for (key, why) in &report.failed {
            let _ = writeln!(text, "  {}: {}", plain(key), plain(why));
        }
        if damaged_in_vault > 0 {
            let _ = writeln!(
                text,
                "  {damaged_in_vault} damaged in the vault: `pull` heals those from the primary"
            );
        }
        if failed > 0 {
            exit = Exit::Partial;
        }
        clusters.push(Cluster {
            name: cluster.to_string(),
            healed: report.healed,
            failed: report.failed.into_iter().map(|(key, why)| Failed { key, why }).collect(),
            marked_lost: report.marked,
            damaged_in_vault,
        });
    }
    Ok((Document { schema: "lifeboat/heal/1", clusters }, text, exit))
}
