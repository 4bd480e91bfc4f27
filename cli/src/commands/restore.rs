//! `lifeboat restore`: puts a snapshot's objects and volumes back into a cluster: plan, ask, apply. What is planned and how it is
//! applied is `lifeboat_agent::restore`'s.

mod source;
mod volumes;

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust};
use crate::seen::state_folder;
use anyhow::{Context as _, Result};
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use lifeboat_agent::restore::order::Phase;
use lifeboat_agent::restore::volumes::{FillOptions, Filler};
use lifeboat_agent::restore::{
    ClusterScope, Event, Hooks, LabelSelector, NamespaceMap, ObjectSource, RestoreOptions, RestorePlan,
    RestoreReport, Selection, apply, plan,
};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::progress::{Mode, Progress, Unit};
use source::SnapshotSource;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use volumes::{Bars, VolumeArgs};

/// Restore a snapshot's objects and volumes into a cluster
///
/// First a plan is computed and shown: what is created, in which order, and what to know
/// before. Then, after you said yes, it is applied. A restore only ever creates: what exists is
/// left alone and reported. A claim gets its volume when all of its data is in it, before anything
/// that mounts it is made. An interrupted restore goes on when the same command is run again.
///
/// Exit codes: 0 all created, or there already and the same; 3 something there differs, or was
/// left out; 1 failed.
///
///   lifeboat restore latest --repo file:///vault --identity identity.txt \
///       --kubeconfig admin.conf --dry-run
///   lifeboat restore 42 --namespace web --namespace-map web=web-old \
///       --repo file:///vault -i identity.txt
///   lifeboat restore latest --volume web/data:uploads --as-claim data-old \
///       --repo file:///vault -i identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RestoreArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// The cluster to restore into (default: KUBECONFIG or ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current one)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Compute, check and show the plan; write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print plan or report as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    volumes: VolumeArgs,

    /// Restore a namespace under another name; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    namespace_map: Vec<String>,

    /// Restore the status of objects of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    status: Vec<String>,

    /// Run Jobs again that were finished
    #[arg(long)]
    rerun_jobs: bool,

    /// Take over volumes that still exist in the storage, rather than make new ones
    #[arg(long)]
    adopt_volumes: bool,

    /// Leave out what a deployment tool that is alive in the cluster keeps
    #[arg(long)]
    skip_managed: bool,

    /// Where interrupted restores are remembered (default: ~/.local/state/lifeboat/restore)
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    #[command(flatten)]
    repo: RepoArgs,
}

/// Which objects; each may be repeated, and without any it is everything.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Selection")]
struct SelectArgs {
    /// Only these namespaces, with * and ?
    #[arg(long, short, value_name = "GLOB")]
    namespace: Vec<String>,

    /// Not these namespaces, with * and ?
    #[arg(long, value_name = "GLOB")]
    exclude_namespace: Vec<String>,

    /// Only these kinds, such as Deployment or certificate.cert-manager.io
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,

    /// Not these kinds
    #[arg(long, value_name = "KIND")]
    exclude_kind: Vec<String>,

    /// Only objects with these names, with * and ?
    #[arg(long, value_name = "GLOB")]
    name: Vec<String>,

    /// Only objects with these labels, as kubectl -l takes them
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,

    /// Objects without a namespace: those that belong to the selection, all, or none
    #[arg(long, value_enum, value_name = "WHICH", default_value = "auto")]
    cluster_scope: Scope,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Scope {
    #[default]
    Auto,
    All,
    None,
}

pub(crate) async fn run(args: &RestoreArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut options = args.options()?;
    let journals =
        args.state.clone().or_else(|| state_folder().map(|s| s.join("restore"))).ok_or_else(|| {
            UsageError::new("There is no home folder to remember an interrupted restore in; add --state DIR")
        })?;
    let part = args.volumes.part()?;
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = match &part {
        Some(part) => reading.open_for(&args.snapshot, &part.paths()).await?,
        None => reading.open_snapshot(&args.snapshot, &[]).await?,
    };
    options.snapshot = open.snapshot().manifest.id.to_hex();
    let mut data = if args.volumes.are_wanted() { volumes::all(&open)? } else { volumes::Data::new() };
    let open = Arc::new(open);
    let stored = SnapshotSource::new(Arc::clone(&open), args.volumes.are_wanted());
    let mut one = None;
    if let Some(part) = &part {
        let found = part.find(&open, &stored).await?;
        (one, data) = (Some(found.0), found.1);
        options.part = part.fingerprint();
    }
    let source: &dyn ObjectSource = one.as_ref().map_or(&stored, |one| one);
    let connect = ConnectOptions { clock: Arc::clone(&context.clock), ..ConnectOptions::default() };
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref(), connect).await?;
    let mut plan = plan(&cluster, source, &options).await?;
    if args.dry_run {
        plan.dry_run(&cluster, source).await?;
        show_plan(args, &plan, context)?;
        return Ok(exit_of_plan(&plan));
    }
    if !args.json {
        show_plan(args, &plan, context)?;
    }
    if !args.yes && !confirmed(&plan)? {
        context.line("Nothing was written")?;
        return Ok(Exit::Failed);
    }
    let journal = plan.journal(&journals)?;
    let shown = Shown::new(Mode::choose(args.json), plan.summary.objects as u64);
    let progress = |event| shown.show(event);
    let bars = Bars::new(Mode::choose(args.json));
    let filler = Filler {
        cluster: &cluster,
        source: &stored,
        store: Arc::clone(reading.repository.store()),
        data,
        options: FillOptions { parallel: args.volumes.parallel(), ..FillOptions::of(args.volumes.image()) },
        progress: &|claim, event| bars.show(claim, event),
    };
    let hooks = Hooks { progress: &progress, volumes: Some(&filler), ..Hooks::default() };
    let report = apply(&cluster, source, &plan, journal, &hooks).await;
    shown.finish();
    let report = report.context("The restore stopped; the same command goes on where it stopped")?;
    show_report(args, &report, context)?;
    Ok(exit_of(&report))
}

impl RestoreArgs {
    fn options(&self) -> Result<RestoreOptions> {
        let usage = |e: &dyn std::fmt::Display| UsageError::new(e.to_string());
        let labels =
            self.select.selector.as_deref().map(LabelSelector::parse).transpose().map_err(|e| usage(&e))?;
        let selection = Selection {
            namespaces: self.select.namespace.clone(),
            exclude_namespaces: self.select.exclude_namespace.clone(),
            kinds: self.select.kind.clone(),
            exclude_kinds: self.select.exclude_kind.clone(),
            names: self.select.name.clone(),
            labels,
            cluster_scope: match self.select.cluster_scope {
                Scope::Auto => ClusterScope::Auto,
                Scope::All => ClusterScope::All,
                Scope::None => ClusterScope::None,
            },
        };
        Ok(RestoreOptions {
            selection,
            map: NamespaceMap::parse(&self.namespace_map).map_err(|e| usage(&e))?,
            rerun_jobs: self.rerun_jobs,
            adopt_volumes: self.adopt_volumes,
            storage_classes: self.volumes.classes()?,
            skip_managed: self.skip_managed,
            status_kinds: self.status.clone(),
            ..RestoreOptions::of("")
        })
    }
}

fn show_plan(args: &RestoreArgs, plan: &RestorePlan, context: &mut Context<'_>) -> Result<()> {
    if args.json { context.json(&plan.summary) } else { context.line(plan) }
}

fn show_report(args: &RestoreArgs, report: &RestoreReport, context: &mut Context<'_>) -> Result<()> {
    if args.json { context.json(report) } else { context.line(report) }
}

/// Asks on the terminal; without one, nothing is written that was not agreed to.
fn confirmed(plan: &RestorePlan) -> Result<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() {
        return Err(UsageError::new(
            "There is no terminal to ask on; look at the plan with --dry-run, then add --yes",
        )
        .into());
    }
    write!(
        stderr,
        "Create {} objects in {}? Type yes to go on: ",
        plan.summary.objects, plan.summary.server
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

fn exit_of(report: &RestoreReport) -> Exit {
    match report.exit_code() {
        0 => Exit::Done,
        3 => Exit::Partial,
        _ => Exit::Failed,
    }
}

/// A plan with findings needs a look.
fn exit_of_plan(plan: &RestorePlan) -> Exit {
    if plan.summary.findings.is_empty() && plan.summary.dropped.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    }
}

/// One bar over all objects, named after the step at hand.
struct Shown {
    bar: Progress,
    step: Mutex<Option<Phase>>,
    finishing: AtomicBool,
}

impl Shown {
    fn new(mode: Mode, total: u64) -> Self {
        let bar = Progress::new(mode, "Restoring", Unit::Items, Some(total));
        Self { bar, step: Mutex::new(None), finishing: AtomicBool::new(false) }
    }

    fn show(&self, event: Event) {
        match event {
            // The last pass touches again what was counted.
            Event::Object if self.finishing.load(Ordering::Relaxed) => {}
            Event::Object => self.bar.add(1),
            Event::Phase(phase, objects) => {
                let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
                if *step != Some(phase) {
                    *step = Some(phase);
                    self.bar.say(&format!("{}: {objects} objects", phase.title()));
                }
            }
            Event::Finishing(objects) => {
                self.finishing.store(true, Ordering::Relaxed);
                self.bar.say(&format!("Finishing {objects} objects: owners and status"));
            }
        }
    }

    fn finish(&self) {
        self.bar.finish();
    }
}
