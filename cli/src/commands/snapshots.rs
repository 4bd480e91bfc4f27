//! `lifeboat snapshots`: what is in a repository. Opens nothing: manifests are in clear.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust};
use crate::table::{Table, bytes};
use anyhow::Result;
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::{Link, Snapshot};
use lifeboat_format::manifest::{Coverage, RunResult};
use serde::Serialize;

/// List the snapshots of a repository or a vault
///
/// Needs no identity. Without the owner's key the list is as true as the store, and says so.
///
///   lifeboat snapshots --repo s3://backups/clusters --owner repository.toml
///   lifeboat snapshots --repo file:///var/lib/lifeboat/vault --cluster prod \
///       --owner repository.toml --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SnapshotsArgs {
    #[command(flatten)]
    repo: RepoArgs,

    /// Show those too that the retention forgot
    #[arg(long, short)]
    all: bool,

    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    cluster: String,
    /// Whether everything was traced back to a pinned owner.
    verified: bool,
    snapshots: Vec<Row>,
    anomalies: Vec<AnomalyRow>,
}

#[derive(Serialize)]
struct Row {
    seq: u64,
    id: String,
    /// When the run began: what is in it was so then or later.
    time: String,
    finished: String,
    result: RunResult,
    coverage: Coverage,
    namespaces: u64,
    objects: u64,
    volumes: u64,
    bytes: u64,
    stored_bytes: u64,
    missed: u64,
    state: &'static str,
    /// Every manifest before it is there and sound.
    chained: bool,
}

#[derive(Serialize)]
struct AnomalyRow {
    key: String,
    reason: &'static str,
    why: String,
}

impl Row {
    fn of(snapshot: &Snapshot) -> Self {
        let m = &snapshot.manifest;
        Self {
            seq: m.seq,
            id: m.id.to_hex(),
            time: format!("{:.0}", m.started),
            finished: format!("{:.0}", m.finished),
            result: m.result,
            coverage: m.coverage,
            namespaces: m.counts.namespaces,
            objects: m.counts.objects,
            volumes: m.counts.volumes,
            bytes: m.counts.bytes,
            stored_bytes: m.counts.stored_bytes,
            missed: m.counts.missed,
            state: snapshot.fate.word(),
            chained: snapshot.link == Link::Chained,
        }
    }
}

pub(crate) async fn run(args: &SnapshotsArgs, context: &mut Context<'_>) -> Result<Exit> {
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let shown = |s: &&Snapshot| args.all || args.json || s.fate == lifeboat_common::reader::Fate::Kept;
    let rows: Vec<Row> = reading.list.snapshots.iter().filter(shown).map(Row::of).collect();
    if args.json {
        let anomalies = reading.list.anomalies.iter();
        let anomaly = |a: &lifeboat_common::reader::Anomaly| AnomalyRow {
            key: a.key.clone(),
            reason: a.kind.reason(),
            why: a.why.clone(),
        };
        let document = Document {
            schema: "lifeboat/snapshots/1",
            cluster: reading.repository.cluster().to_string(),
            verified: reading.verified,
            snapshots: rows,
            anomalies: anomalies.map(anomaly).collect(),
        };
        context.json(&document)?;
    } else {
        print(&rows, context)?;
    }
    Ok(if reading.complaint.is_some() { Exit::Partial } else { Exit::Done })
}

fn print(rows: &[Row], context: &mut Context<'_>) -> Result<()> {
    let titles =
        ["SEQ", "ID", "TIME", "RESULT", "COVERAGE", "OBJECTS", "VOLUMES", "SIZE", "ADDED", "MISSED", "STATE"];
    let mut table = Table::new(&titles, &[0, 5, 6, 7, 8, 9]);
    for row in rows {
        table.row([
            row.seq.to_string(),
            row.id[..8].to_owned(),
            row.time.clone(),
            format!("{:?}", row.result),
            format!("{:?}", row.coverage).to_lowercase(),
            row.objects.to_string(),
            row.volumes.to_string(),
            bytes(row.bytes),
            bytes(row.stored_bytes),
            row.missed.to_string(),
            if row.chained { row.state.to_owned() } else { format!("{}, after a gap", row.state) },
        ]);
    }
    write!(context.out, "{}", table.render())?;
    Ok(())
}
