//! `lifeboat-agent backup`: one run, from a kubeconfig or in a pod.

use anyhow::Context as _;
use lifeboat_agent::backup::{BackupError, Committed, Control, Request, Setup, Stop, Wanted, backup_under};
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use lifeboat_agent::select::{ClusterScope, Report};
use lifeboat_common::clock::{Clock, SystemClock};
use lifeboat_common::config::{self, AgentConfig, ConfigError};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_format::charter::Charter;
use lifeboat_format::manifest::RunResult;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads every object that the selection covers and commits one snapshot.
///
/// Without a selection it is a full backup: every user namespace, and all cluster-scoped objects. A label
/// compliantkubernetes.io/nobackup or lifeboat.dev/nobackup on an object or a namespace leaves it out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The agent's configuration, as `lifeboat init` wrote it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whose cluster; default: the pod's own, else $KUBECONFIG, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than the current one
    #[arg(long)]
    context: Option<String>,
    /// Only these namespaces (globs: team-*); may be given many times
    #[arg(short, long = "namespace", value_name = "GLOB")]
    namespaces: Vec<String>,
    /// Not these namespaces; what is left is a part, and no full backup
    #[arg(long = "exclude-namespace", value_name = "GLOB")]
    exclude_namespaces: Vec<String>,
    /// Only objects with these labels (app=web,tier!=cache, 'env in (a,b)')
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Only these kinds (deployments, secrets, *.cert-manager.io)
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Not these kinds
    #[arg(long = "exclude-kind", value_name = "KIND")]
    exclude_kinds: Vec<String>,
    /// Cluster-scoped objects; default: all in a full backup, related otherwise
    #[arg(long, value_enum)]
    cluster_scope: Option<Scope>,
    /// Also what is labeled to be left out
    #[arg(long)]
    include_opted_out: bool,
    /// A named set of system namespaces to leave out: compliant-kubernetes
    #[arg(long)]
    preset: Option<String>,
    /// Hours that the primary keeps this snapshot, when shorter than the charter says
    #[arg(long, value_name = "HOURS")]
    primary_ttl_hours: Option<u32>,
    /// The result as JSON on standard output, progress as JSON lines on standard error
    #[arg(long)]
    json: bool,
    /// Read and count, and store nothing
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "Examples:
  lifeboat-agent backup --config backup/agent.toml --kubeconfig ~/.kube/config
  lifeboat-agent backup --config backup/agent.toml --namespace 'team-*' --selector app=web
  lifeboat-agent backup --config backup/agent.toml --dry-run";

#[derive(Clone, Copy, clap::ValueEnum)]
enum Scope {
    Off,
    Related,
    All,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config: AgentConfig = config::load(&args.config).map_err(usage)?;
    let setup = setup(&config, clock.clone()).await?;
    let request = request(&args, setup.charter.charter())?;
    let options = ConnectOptions { field_manager: "lifeboat-agent".to_owned(), ..ConnectOptions::default() };
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref(), options).await?;
    let progress = Progress::new(Mode::choose(args.json), "Backing up objects", Unit::Items, None);
    let shown = progress.clone();
    let count = move |objects: u64, _bytes: u64| shown.add(objects.saturating_sub(shown.done()));
    if args.dry_run {
        let report = lifeboat_agent::backup::dry_run(&cluster, &request, &count).await?;
        progress.finish();
        print_report(&report, args.json)?;
        return Ok(Exit::Done);
    }
    let (committing, may_commit, stop) = (|| {}, || true, Stop::default());
    let control = Control {
        progress: &count,
        committing: &committing,
        may_commit: &may_commit,
        stop: &stop,
        volumes: None,
    };
    let run = backup_under(&setup, &cluster, &request, clock, control);
    tokio::pin!(run);
    let committed = tokio::select! {
        committed = &mut run => committed,
        () = interrupted() => {
            stop.stop();
            run.await
        }
    };
    progress.finish();
    let committed = committed.context("No snapshot was made")?;
    print(&committed, args.json)?;
    Ok(match committed.manifest.result {
        RunResult::Completed => Exit::Done,
        RunResult::PartiallyFailed => Exit::Partial,
    })
}

pub(super) fn usage(error: ConfigError) -> anyhow::Error {
    UsageError::new(error.to_string()).into()
}

/// SIGTERM or an interrupt.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// What is wrong with its files is wrong usage; a store that does not answer is not.
pub(super) async fn setup(config: &AgentConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Setup> {
    Setup::load(config, config.state.clone().into(), clock).await.map_err(|error| match error {
        BackupError::Setup(error) => UsageError::new(error.to_string()).into(),
        other => other.into(),
    })
}

fn request(args: &Args, charter: &Charter) -> anyhow::Result<Request> {
    let wanted = Wanted {
        namespaces: args.namespaces.clone(),
        exclude_namespaces: args.exclude_namespaces.clone(),
        selector: args.selector.clone(),
        kinds: args.kinds.clone(),
        exclude_kinds: args.exclude_kinds.clone(),
        cluster_scope: args.cluster_scope.map(|scope| match scope {
            Scope::Off => ClusterScope::Off,
            Scope::Related => ClusterScope::Related,
            Scope::All => ClusterScope::All,
        }),
        include_opted_out: args.include_opted_out,
        preset: args.preset.clone(),
        primary_ttl_hours: args.primary_ttl_hours,
        agent_namespaces: Vec::new(),
    };
    Ok(wanted.request(charter).map_err(|e| UsageError::new(e.to_string()))?)
}

fn print(committed: &Committed, json: bool) -> std::io::Result<()> {
    let m = &committed.manifest;
    let mut out = std::io::stdout().lock();
    if json {
        let document = serde_json::json!({
            "schema": "lifeboat/backup/1",
            "seq": m.seq, "id": m.id, "result": m.result, "coverage": m.coverage,
            "started": m.started, "finished": m.finished, "counts": m.counts,
            "sent_bytes": committed.sent_bytes, "sent_objects": committed.sent_objects,
            "report": committed.report,
        });
        return writeln!(out, "{document}");
    }
    writeln!(
        out,
        "Snapshot {} ({}) {:?}: {} objects in {} namespaces, {} bytes, {} bytes stored",
        m.seq, m.id, m.result, m.counts.objects, m.counts.namespaces, m.counts.bytes, committed.sent_bytes
    )?;
    drop(out);
    committed.report.as_ref().map_or(Ok(()), print_missed)
}

fn print_report(report: &Report, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::to_string(report).map_err(std::io::Error::other)?);
    }
    let t = &report.total;
    writeln!(
        out,
        "Would store {} objects; {} excluded by rule or label, {} that the cluster makes again",
        t.stored, t.excluded, t.derived
    )?;
    drop(out);
    print_missed(report)
}

/// What the snapshot lacks is said where people look, not only in the report.
fn print_missed(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for missed in &report.missed {
        let place = [&missed.group, &missed.kind, &missed.namespace, &missed.name];
        let place: Vec<&str> = place.into_iter().filter(|s| !s.is_empty()).map(String::as_str).collect();
        writeln!(out, "missed: {} ({}): {}", place.join("/"), missed.reason, missed.message)?;
    }
    let unnamed = report.missed_total.saturating_sub(report.missed.len() as u64);
    if unnamed > 0 {
        writeln!(out, "missed: {unnamed} more of the same kinds")?;
    }
    Ok(())
}
