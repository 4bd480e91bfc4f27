//! `lifeboat report`: the run report of a snapshot, which says what was stored, left out and missed.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust};
use crate::table::{Table, bytes, printable};
use anyhow::{Context as _, Result};
use lifeboat_agent::select::{Consistency, Report};
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::OpenSnapshot;
use serde_json::value::RawValue;

/// Missed objects and warnings that are shown.
const SHOWN: usize = 50;

/// Show the run report of a snapshot
///
/// Says what the run stored, what rules and labels left out, and what it missed.
///
///   lifeboat report latest --repo file:///backups --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ReportArgs {
    /// A number, an id or the beginning of one, or `latest`
    #[arg(default_value = "latest")]
    snapshot: String,

    /// Print the report as it was stored, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

pub(crate) async fn run(args: &ReportArgs, context: &mut Context<'_>) -> Result<Exit> {
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = reading.open_snapshot(&args.snapshot, &[]).await?;
    if args.json {
        let report: &RawValue =
            serde_json::from_slice(open.report()).context("The run report is not JSON")?;
        context.line(report.get())?;
        return Ok(Exit::Done);
    }
    let report: Report = serde_json::from_slice(open.report())
        .context("The run report is of a form that this version does not know; --json shows it as it is")?;
    print(&open, &report, context)?;
    Ok(Exit::Done)
}

fn print(open: &OpenSnapshot, report: &Report, context: &mut Context<'_>) -> Result<()> {
    let manifest = &open.snapshot().manifest;
    context.line(format!("Snapshot {} of cluster {} ({})", manifest.seq, manifest.cluster, manifest.id))?;
    let finished = report.finished.map_or_else(|| "not finished".to_owned(), |t| format!("{t:.0}"));
    context.line(format!("{:?}, {:.0} to {finished}", report.result, report.started))?;
    if !report.server_version.is_empty() {
        context.line(format!("Kubernetes {}", printable(&report.server_version)))?;
    }
    if let Some(failure) = &report.failure {
        context.line(format!("Failed: {}", printable(failure)))?;
    }
    context.line("")?;
    let mut table =
        Table::new(&["KIND", "STORED", "EXCLUDED", "DERIVED", "SKIPPED", "MISSED"], &[1, 2, 3, 4, 5]);
    let total = ("total".to_owned(), report.total);
    for (kind, c) in report.kinds.iter().map(|(k, c)| (k.clone(), *c)).chain([total]) {
        let counts = [c.stored, c.excluded, c.derived, c.skipped, c.missed].map(|n| n.to_string());
        table.row([kind].into_iter().chain(counts));
    }
    write!(context.out, "{}", table.render())?;
    let rules = [("excluded", &report.excluded), ("derived", &report.derived), ("skipped", &report.skipped)];
    for (what, by_rule) in rules {
        for (rule, count) in by_rule {
            context.line(format!("{count} {what}: {}", printable(rule)))?;
        }
    }
    for (kind, rule) in &report.unlisted {
        context.line(format!("{} not read: {}", printable(kind), printable(rule)))?;
    }
    volumes(report, context)?;
    shown(report.missed.iter().map(missed), report.missed_total, context)?;
    shown(report.warnings.iter().map(|w| format!("Warning: {w}")), report.warnings.len() as u64, context)
}

fn volumes(report: &Report, context: &mut Context<'_>) -> Result<()> {
    let total = report.volumes.len() + report.kept.len();
    if total == 0 {
        return Ok(());
    }
    context.line("")?;
    let mut table = Table::new(&["VOLUME", "METHOD", "HOW", "READ", "FILES", "SIZE", "ADDED"], &[4, 5, 6]);
    for v in report.volumes.iter().take(SHOWN) {
        table.row([
            printable(&format!("{}/{}", v.namespace, v.claim)),
            "live".to_owned(),
            how(v.consistency).to_owned(),
            format!("{:.0}", v.read),
            v.files.to_string(),
            bytes(v.bytes),
            bytes(v.stored_bytes),
        ]);
    }
    for k in report.kept.iter().take(SHOWN) {
        let name = printable(&format!("{}/{}", k.namespace, k.claim));
        let how = if k.overdue { "too old" } else { "" };
        table.row([name, "kept".to_owned(), how.to_owned(), format!("{:.0}", k.since)]);
    }
    write!(context.out, "{}", table.render())?;
    let more = report.volumes.len().saturating_sub(SHOWN) + report.kept.len().saturating_sub(SHOWN);
    if more > 0 {
        context.line(format!("… and {more} more volumes (--json names them)"))?;
    }
    Ok(())
}

/// How still a volume stood while it was read.
pub(crate) fn how(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Live => "live",
        Consistency::Hooked => "hooked",
        Consistency::Snapshot => "snapshot",
    }
}

fn missed(m: &lifeboat_agent::select::report::Missed) -> String {
    let kind = if m.kind.is_empty() { "every kind" } else { &m.kind };
    let group = if m.group.is_empty() { String::new() } else { format!(".{}", m.group) };
    let name = match (m.namespace.as_str(), m.name.as_str()) {
        ("", "") => String::new(),
        ("", name) => format!(" {name}"),
        (namespace, "") => format!(" in {namespace}"),
        (namespace, name) => format!(" {namespace}/{name}"),
    };
    format!("Missed {kind}{group}{name}: {} ({})", m.message, m.reason)
}

fn shown(lines: impl Iterator<Item = String>, total: u64, context: &mut Context<'_>) -> Result<()> {
    let mut count = 0;
    for line in lines.take(SHOWN) {
        count += 1;
        context.line(printable(&line))?;
    }
    if total > count {
        context.line(format!("… and {} more (--json shows what was listed)", total - count))?;
    }
    Ok(())
}
