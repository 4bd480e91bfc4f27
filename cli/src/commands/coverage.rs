//! `lifeboat coverage`: what of a cluster is protected, and who left out the rest. Owns where the facts come from and
//! how they are shown; what they amount to is `lifeboat_agent::coverage`'s.

mod show;

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust};
use anyhow::{Context as _, Result};
use lifeboat_agent::backup::survey;
use lifeboat_agent::cluster::on_demand::OnDemand;
use lifeboat_agent::cluster::{Cluster, ClusterError, ConnectOptions};
use lifeboat_agent::coverage::{self, Evidence, InSnapshot, Known, Volume, VolumesNow};
use lifeboat_agent::kinds::{Backup, BackupSchedule, BackupSpec};
use lifeboat_agent::select::coverage::Table;
use lifeboat_agent::select::volumes::{Rules, choose};
use lifeboat_agent::select::{Report, Selection};
use lifeboat_common::exit::Exit;
use lifeboat_common::progress::{Mode, Progress, Unit};
use std::path::PathBuf;
use std::sync::Arc;

/// Show what of a cluster is protected, since when, and who left out the rest
///
/// Lists the cluster as the next scheduled backup would, and compares it with the Backup objects there;
/// with --repo and an identity also with what is in the newest full snapshot, and with the charter.
/// What is named `never` should be in a backup and is in none; `old` is in an old one only.
///
/// Volumes: METHOD says how the next backup comes by one (live, kept: nothing mounts it, missed,
/// excluded), HOW how still it stood when its last good tree was read. Volumes that a schedule does
/// not ask for (volumes: Off or OptIn) are in no backup: that is a gap, unless a label says so.
///
/// Exit codes: 0 everything is protected, new since the last backup, or left out on purpose;
/// 3 something is in no backup, or could not be looked at; 1 failed; 2 called wrongly.
///
///   lifeboat coverage --kubeconfig admin.conf
///   lifeboat coverage --kubeconfig admin.conf --repo file:///vault --identity identity.txt --kinds
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CoverageArgs {
    /// The cluster (default: KUBECONFIG or ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current one)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The namespace that Lifeboat was installed into
    #[arg(long, value_name = "NAME", default_value = "lifeboat")]
    agent_namespace: String,

    /// Also one line for each kind in each namespace
    #[arg(long)]
    kinds: bool,

    /// Print everything as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

/// What is shown beside the coverage itself.
struct Facts {
    server: String,
    schedule: Option<String>,
    snapshot: Option<InSnapshot>,
    charter_known: bool,
    warnings: Vec<String>,
}

pub(crate) async fn run(args: &CoverageArgs, context: &mut Context<'_>) -> Result<Exit> {
    let options = ConnectOptions {
        field_manager: "lifeboat".to_owned(),
        clock: Arc::clone(&context.clock),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref(), options).await?;
    let mut warnings = Vec::new();
    let (schedules, backups) = objects(&cluster, &args.agent_namespace, &mut warnings).await?;
    let repository = match args.repo.repo.is_some() || args.repo.owner.is_some() {
        true => Some(in_repository(&args.repo, context).await?),
        false => None,
    };
    let (found, charter) = repository.unzip();
    let (snapshot, evidence) = found.flatten().unzip();
    let evidence = evidence.flatten().or_else(|| Evidence::of_backups(&backups));
    let charter = charter.or_else(|| coverage::excluded_lately(&backups));
    if charter.is_none() {
        warnings.push(
            "What the charter excludes is not known before the first full backup, or without --repo: it may be shown as `never`"
                .to_owned(),
        );
    }
    let schedule = widest(&schedules);
    if schedule.is_none() {
        warnings.push("No schedule makes backups of this cluster".to_owned());
    }
    let template = schedule.map(|s| s.spec.template.clone()).unwrap_or_default();
    let selection = coverage::selection(&template, charter.as_deref().unwrap_or_default())?;
    let mut table = Table::new(coverage::newest_full(&backups, snapshot.as_ref()));
    let progress = Progress::new(Mode::choose(args.json), "Looking at objects", Unit::Items, None);
    let shown = progress.clone();
    let count = move |objects: u64, _bytes: u64| shown.add(objects.saturating_sub(shown.done()));
    let report = survey(&cluster, &selection, &mut table, &count).await;
    progress.finish();
    let report = report?;
    let mut assessed = coverage::assess(&Known {
        report: &report,
        table: &table,
        backups: &backups,
        template: &template,
        charter_excludes: charter.as_deref(),
        snapshot: snapshot.as_ref(),
    });
    let nodes = lifeboat_agent::controller::volumes::nodes_namespace(&args.agent_namespace);
    assessed.volumes = volumes(&cluster, &nodes, &selection, &template, evidence.as_ref()).await?;
    let facts = Facts {
        server: cluster.server().to_owned(),
        schedule: schedule.and_then(|s| s.metadata.name.clone()),
        snapshot,
        charter_known: charter.is_some(),
        warnings,
    };
    if args.json {
        context.json(&show::document(&facts, &assessed))?;
    } else {
        show::print(&facts, &assessed, args.kinds, context)?;
    }
    Ok(if assessed.has_gaps() { Exit::Partial } else { Exit::Done })
}

/// What becomes of every claim by the rules of the template.
async fn volumes(
    cluster: &Cluster,
    nodes: &str,
    selection: &Selection,
    template: &BackupSpec,
    evidence: Option<&Evidence>,
) -> Result<Vec<Volume>> {
    let seen = cluster.volumes_now(nodes).await.context("Cannot look at the volumes of this cluster")?;
    // Folders and rights are set where the agent runs: what they hinder, the newest backup has missed.
    let host_paths: Vec<String> = seen.volumes.values().filter_map(|v| v.source.folder_around()).collect();
    let rules = Rules {
        selection,
        mode: template.volumes.unwrap_or_default(),
        hooks: &template.hooks,
        may_exec: true,
        host_paths: &host_paths,
    };
    let decisions = choose(&rules, &seen);
    Ok(coverage::volumes(VolumesNow { seen: &seen, decisions: &decisions }, evidence))
}

/// Schedules and Backups; a cluster without Lifeboat has none.
async fn objects(
    cluster: &Cluster,
    namespace: &str,
    warnings: &mut Vec<String>,
) -> Result<(Vec<BackupSchedule>, Vec<Backup>)> {
    let on_demand = OnDemand::new(cluster.clone(), namespace);
    let there = async { Ok::<_, ClusterError>((on_demand.schedules().await?, on_demand.backups().await?)) };
    match there.await {
        Ok(both) => Ok(both),
        Err(error) if error.code() == Some(404) => {
            warnings.push("Lifeboat is not installed in this cluster".to_owned());
            Ok((Vec::new(), Vec::new()))
        }
        Err(error) => Err(error).context("Cannot read the Backups of this cluster"),
    }
}

/// The schedule that covers most: a full one that is not paused before others.
fn widest(schedules: &[BackupSchedule]) -> Option<&BackupSchedule> {
    let empty = BackupSpec::default();
    let width = |s: &&BackupSchedule| {
        let template = BackupSpec { ttl: None, deadline: None, ..s.spec.template.clone() };
        (template == empty, template.included_namespaces.is_empty())
    };
    schedules.iter().filter(|s| !s.spec.paused).max_by_key(width)
}

/// What the newest full snapshot holds, and what the charter excludes.
async fn in_repository(
    args: &RepoArgs,
    context: &Context<'_>,
) -> Result<(Option<(InSnapshot, Option<Evidence>)>, Vec<String>)> {
    let reading = Reading::open(args, Trust::Required, context).await?;
    let excludes = reading.repository.newest().policy.scope.exclude_namespaces.clone();
    if reading.list.latest().is_err() {
        return Ok((None, excludes));
    }
    let open = reading.open_snapshot("latest", &[]).await?;
    let manifest = &open.snapshot().manifest;
    let mut found = InSnapshot { seq: manifest.seq, finished: manifest.finished, kinds: [].into() };
    for namespace in open.namespaces() {
        let (kinds, errors) = open.kinds(&namespace).await;
        if let Some(error) = errors.into_iter().next() {
            return Err(error).context("Cannot read what the newest snapshot holds");
        }
        found.kinds.insert(namespace.unwrap_or_default(), kinds.into_iter().collect());
    }
    // A report of a form that this version does not know says nothing of volumes.
    let report = serde_json::from_slice::<Report>(open.report()).ok();
    let evidence = report.map(|r| Evidence::of_report(&r, found.finished));
    Ok((Some((found, evidence)), excludes))
}
