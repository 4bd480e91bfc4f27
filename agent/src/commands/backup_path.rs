//! `lifeboat-agent backup-path`: one directory tree as one volume.

use super::backup::{interrupted, setup, usage};
use anyhow::Context as _;
use lifeboat_agent::backup_path::{
    Cadence, Checkpoints, CommittedTree, PathRequest, Totals, backup_path, dry_run, host_origin,
};
use lifeboat_agent::select::Report;
use lifeboat_agent::tree::{Excludes, TreeOptions, TreeProgress};
use lifeboat_common::clock::{Clock, SystemClock};
use lifeboat_common::config::{self, AgentConfig};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::is_volume_name;
use lifeboat_format::manifest::RunResult;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Backs up a directory tree as one volume and commits one snapshot.
///
/// Files that look unchanged since the last snapshot (size, times, inode) are not read again. Never crosses into another
/// file system, never follows a link. A run that was interrupted goes on where it was: start it again.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The agent's configuration, as `lifeboat init` wrote it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The volume's name in the snapshot: volumes/_paths/VOLUME
    #[arg(long, value_name = "VOLUME")]
    name: String,
    /// Leave out what matches, as in .gitignore (*.tmp, cache/, /top, a/**/b); may be given many times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Also read files that look unchanged
    #[arg(long)]
    read_all: bool,
    /// Also what is in directories with a .nobackup file or a CACHEDIR.TAG
    #[arg(long)]
    no_markers: bool,
    /// Send at most so much a second (10MiB/s, 500K)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<NonZeroU64>,
    /// Walk and count, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// The result as JSON on standard output, progress as JSON lines on standard error
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  lifeboat-agent backup-path --config backup/agent.toml --name home /home
  lifeboat-agent backup-path --config backup/agent.toml --name www /srv/www --exclude '*.tmp' --exclude cache/
  lifeboat-agent backup-path --config backup/agent.toml --name data /data --bandwidth 20MiB/s";

/// A size with a unit (K, M, G and KiB, MiB, GiB: powers of 1024; KB, MB, GB: of 1000), a second.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bad = || format!("'{}' is no rate; give one such as 10MiB/s", text.escape_debug());
    let amount = text.strip_suffix("/s").unwrap_or(text);
    let digits = amount.len() - amount.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = amount.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(factor).and_then(NonZeroU64::new).ok_or_else(bad)
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let config: AgentConfig = config::load(&args.config).map_err(usage)?;
    let request = request(&args)?;
    let walked = Arc::new(TreeProgress::default());
    let shown = Shown::start(Mode::choose(args.json), walked.clone());
    let done = if args.dry_run {
        count(&args, request, walked).await
    } else {
        store(&args, &config, &request, walked).await
    };
    shown.end();
    match done? {
        Done::Counted(report, totals) => print_count(&report, &totals, args.json)?,
        Done::Committed(committed) => {
            print(&committed, &args)?;
            if committed.manifest.result == RunResult::PartiallyFailed {
                return Ok(Exit::Partial);
            }
        }
    }
    Ok(Exit::Done)
}

enum Done {
    Counted(Box<Report>, Totals),
    Committed(Box<CommittedTree>),
}

async fn store(
    args: &Args,
    config: &AgentConfig,
    request: &PathRequest,
    walked: Arc<TreeProgress>,
) -> anyhow::Result<Done> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let setup = setup(config, clock.clone()).await?;
    let stop = std::pin::pin!(interrupted());
    let committed = backup_path(&setup, request, clock, walked, stop).await;
    let committed = committed.with_context(|| format!("No snapshot of {} was made", args.path.display()))?;
    Ok(Done::Committed(Box::new(committed)))
}

async fn count(args: &Args, request: PathRequest, walked: Arc<TreeProgress>) -> anyhow::Result<Done> {
    let cancel = Arc::new(AtomicBool::new(false));
    let canceled = cancel.clone();
    let now = SystemClock.now();
    let mut walk = tokio::task::spawn_blocking(move || dry_run(&request, now, &walked, &canceled));
    let counted = tokio::select! {
        counted = &mut walk => counted,
        () = interrupted() => {
            cancel.store(true, Ordering::Relaxed);
            walk.await
        }
    };
    let (report, totals) =
        counted?.with_context(|| format!("Nothing was counted in {}", args.path.display()))?;
    Ok(Done::Counted(Box::new(report), totals))
}

fn request(args: &Args) -> anyhow::Result<PathRequest> {
    if !is_volume_name(&args.name) {
        let why = format!(
            "'{}' cannot be a volume's name; use letters, digits, '-', '_' and '.'",
            args.name.escape_debug()
        );
        return Err(UsageError::new(why).into());
    }
    let patterns = args.exclude.iter().map(String::as_str);
    let exclude = Excludes::new(patterns).map_err(|e| UsageError::new(e.to_string()))?;
    let options =
        TreeOptions { exclude, markers: !args.no_markers, read_all: args.read_all, ..TreeOptions::default() };
    Ok(PathRequest {
        name: args.name.clone(),
        root: args.path.clone(),
        options,
        origin: host_origin(&args.config),
        bandwidth: args.bandwidth,
        checkpoints: Checkpoints::default(),
        cadence: Cadence::TREES,
    })
}

/// The walk's counts on the screen, as they grow.
struct Shown {
    progress: Progress,
    walked: Arc<TreeProgress>,
    task: tokio::task::JoinHandle<()>,
}

impl Shown {
    fn start(mode: Mode, walked: Arc<TreeProgress>) -> Self {
        let progress = Progress::new(mode, "Backing up", Unit::Bytes, None);
        let (shown, seen) = (progress.clone(), walked.clone());
        let task = tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                update(&shown, &seen);
            }
        });
        Self { progress, walked, task }
    }

    fn end(self) {
        self.task.abort();
        update(&self.progress, &self.walked);
        self.progress.finish();
    }
}

fn update(progress: &Progress, walked: &TreeProgress) {
    // How much there is in all is known when the walk has seen it.
    if walked.walked.load(Ordering::Relaxed) != 0 {
        progress.set_total(walked.seen_bytes.load(Ordering::Relaxed));
    }
    let done = walked.done_bytes.load(Ordering::Relaxed);
    progress.add(done.saturating_sub(progress.done()));
}

fn print(committed: &CommittedTree, args: &Args) -> std::io::Result<()> {
    let (m, t) = (&committed.manifest, &committed.totals);
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = serde_json::json!({
            "schema": "lifeboat/backup-path/1",
            "seq": m.seq, "id": m.id, "result": m.result, "coverage": m.coverage, "volume": args.name,
            "started": m.started, "finished": m.finished,
            "entries": t.entries, "files": t.files, "bytes": t.bytes,
            "read_bytes": t.read_bytes, "new_bytes": t.new_bytes,
            "sent_bytes": committed.sent_bytes, "sent_objects": committed.sent_objects,
            "checkpoints": committed.checkpoints, "report": committed.report,
        });
        return writeln!(out, "{document}");
    }
    writeln!(
        out,
        "Snapshot {} ({}) {:?}: {} files in {} entries, {} bytes, {} bytes read, {} bytes stored",
        m.seq, m.id, m.result, t.files, t.entries, t.bytes, t.read_bytes, committed.sent_bytes
    )?;
    print_findings(&mut out, &committed.report)
}

fn print_count(report: &Report, t: &Totals, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let document = serde_json::json!({
            "schema": "lifeboat/backup-path-dry-run/1",
            "entries": t.entries, "files": t.files, "bytes": t.bytes, "report": report,
        });
        return writeln!(out, "{document}");
    }
    writeln!(
        out,
        "Would store {} files in {} entries, {} bytes; {} excluded",
        t.files, t.entries, t.bytes, report.total.excluded
    )?;
    print_findings(&mut out, report)
}

/// What the snapshot lacks is said where people look, not only in the report.
fn print_findings(out: &mut impl std::io::Write, report: &Report) -> std::io::Result<()> {
    for missed in &report.missed {
        writeln!(out, "missed: {} ({}): {}", missed.name, missed.reason, missed.message)?;
    }
    let unnamed = report.missed_total.saturating_sub(report.missed.len() as u64);
    if unnamed > 0 {
        writeln!(out, "missed: {unnamed} more")?;
    }
    for warning in &report.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let bytes = |text: &str| rate(text).map(NonZeroU64::get);
        assert_eq!(bytes("10MiB/s"), Ok(10 << 20));
        assert_eq!(bytes("500K"), Ok(500 << 10));
        assert_eq!(bytes("1GB/s"), Ok(1_000_000_000));
        assert_eq!(bytes("7"), Ok(7));
        for bad in ["", "0", "fast", "10 parsecs", "-1M", "99999999999999999999G", "99999999999G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
