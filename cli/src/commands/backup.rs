//! `lifeboat backup now`: asks the controller in the cluster for a Backup, and waits for it if told to. The backup
//! itself is the controller's.

mod wait;

use crate::context::Context;
use crate::table::{bytes, printable};
use anyhow::{Context as _, Result};
use lifeboat_agent::cluster::on_demand::OnDemand;
use lifeboat_agent::cluster::{Cluster, ClusterError, ConnectOptions};
use lifeboat_agent::kinds::{self, Backup, BackupSpec, BackupStatus, Phase, SCHEDULE_LABEL, TemplateScope};
use lifeboat_common::exit::{Exit, UsageError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Make backups with the controller in a cluster
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BackupCommand {
    Now(Box<NowArgs>),
}

/// Make a backup now, beside the schedules
///
/// Makes a Backup object; the controller in the cluster does the rest. Without a schedule and without
/// a selection it is a full backup. With --wait the command stays until the end; interrupting it does
/// not interrupt the backup.
///
/// Exit codes: 0 asked for, or with --wait Completed; 3 PartiallyFailed: the snapshot lacks what the
/// report names; 1 failed, canceled, or not done within --timeout; 2 called wrongly.
///
///   lifeboat backup now --from-schedule daily --kubeconfig admin.conf --wait
///   lifeboat backup now --namespace 'team-*' --selector app=web --ttl 72h --wait
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct NowArgs {
    /// The cluster (default: KUBECONFIG or ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current one)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The namespace that Lifeboat was installed into
    #[arg(long, value_name = "NAME", default_value = "lifeboat")]
    agent_namespace: String,

    /// Back up what this BackupSchedule does
    #[arg(long, value_name = "NAME", conflicts_with_all = SELECTION)]
    from_schedule: Option<String>,

    /// Only these namespaces, with * and ?; may be repeated
    #[arg(long, short, value_name = "GLOB")]
    namespace: Vec<String>,

    /// Not these namespaces, with * and ?
    #[arg(long, value_name = "GLOB")]
    exclude_namespace: Vec<String>,

    /// Only objects with these labels, as kubectl -l takes them
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,

    /// Only these kinds, such as deployments or *.cert-manager.io
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,

    /// Not these kinds
    #[arg(long, value_name = "KIND")]
    exclude_kind: Vec<String>,

    /// Objects without a namespace (default: all in a full backup, related otherwise)
    #[arg(long, value_enum, value_name = "WHICH")]
    cluster_scope: Option<Scope>,

    /// A named set of system namespaces to leave out: compliant-kubernetes
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,

    /// Also what is labeled to be left out
    #[arg(long)]
    include_opted_out: bool,

    /// How long the primary store keeps the snapshot, when shorter than the charter says: 72h, 14d
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,

    /// Wait until it has ended, and say how
    #[arg(long)]
    wait: bool,

    /// Wait no longer than this: 90s, 30m, 2h
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = time)]
    timeout: Option<Duration>,

    /// Print the Backup as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    json: bool,
}

const SELECTION: [&str; 8] = [
    "namespace",
    "exclude_namespace",
    "selector",
    "kind",
    "exclude_kind",
    "cluster_scope",
    "preset",
    "include_opted_out",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scope {
    All,
    Related,
    Off,
}

fn time(text: &str) -> Result<Duration, kinds::DurationError> {
    kinds::seconds(text).map(Duration::from_secs)
}

pub(crate) async fn run(args: &BackupArgs, context: &mut Context<'_>) -> Result<Exit> {
    match &args.command {
        BackupCommand::Now(args) => now(args, context).await,
    }
}

async fn now(args: &NowArgs, context: &mut Context<'_>) -> Result<Exit> {
    let options = ConnectOptions {
        field_manager: "lifeboat".to_owned(),
        clock: Arc::clone(&context.clock),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref(), options).await?;
    let on_demand = OnDemand::new(cluster, &args.agent_namespace);
    let asked = args.backup(&on_demand).await?;
    let made = on_demand.create(&asked).await.map_err(|e| refused(e, &args.agent_namespace))?;
    let name = made.metadata.name.clone().context("the API server made a Backup without a name")?;
    if !args.wait {
        if args.json {
            context.json(&document(&args.agent_namespace, &name, &BackupStatus::default()))?;
        } else {
            let namespace = &args.agent_namespace;
            context.line(format!(
                "Backup {name} was made; `kubectl -n {namespace} get lb {name}` shows how far it is"
            ))?;
        }
        return Ok(Exit::Done);
    }
    let status =
        wait::until_the_end(&on_demand, &args.agent_namespace, &name, args.timeout, args.json).await?;
    if args.json {
        context.json(&document(&args.agent_namespace, &name, &status))?;
    } else {
        report(&name, &status, context)?;
    }
    Ok(match status.phase {
        Phase::Completed => Exit::Done,
        Phase::PartiallyFailed => Exit::Partial,
        _ => Exit::Failed,
    })
}

impl NowArgs {
    async fn backup(&self, on_demand: &OnDemand) -> Result<Backup> {
        let Some(schedule) = &self.from_schedule else {
            return Ok(self.object("now-", self.spec(), None));
        };
        let found = on_demand.schedule(schedule).await;
        let found = found.map_err(|error| match error.code() {
            Some(404) => anyhow::Error::new(UsageError::new(format!(
                "There is no BackupSchedule {schedule} in the namespace {}; `kubectl -n {0} get lbs` shows those there are",
                self.agent_namespace
            ))),
            _ => error.into(),
        })?;
        let mut spec = found.spec.template;
        spec.schedule_name = Some(schedule.clone());
        if self.ttl.is_some() {
            spec.ttl.clone_from(&self.ttl);
        }
        Ok(self.object(&format!("{schedule}-now-"), spec, Some(schedule)))
    }

    fn spec(&self) -> BackupSpec {
        BackupSpec {
            included_namespaces: self.namespace.clone(),
            excluded_namespaces: self.exclude_namespace.clone(),
            selector: self.selector.clone(),
            included_kinds: self.kind.clone(),
            excluded_kinds: self.exclude_kind.clone(),
            cluster_scope: self.cluster_scope.map(|scope| match scope {
                Scope::All => TemplateScope::All,
                Scope::Related => TemplateScope::Related,
                Scope::Off => TemplateScope::Off,
            }),
            preset: self.preset.clone(),
            include_opted_out: self.include_opted_out,
            ttl: self.ttl.clone(),
            ..BackupSpec::default()
        }
    }

    fn object(&self, prefix: &str, spec: BackupSpec, schedule: Option<&str>) -> Backup {
        let mut backup = Backup::new("", spec);
        backup.metadata.name = None;
        backup.metadata.generate_name = Some(prefix.to_owned());
        backup.metadata.namespace = Some(self.agent_namespace.clone());
        backup.metadata.labels = schedule.map(|s| [(SCHEDULE_LABEL.to_owned(), s.to_owned())].into());
        backup
    }
}

/// A refusal of the schema is a wrong call; a kind that is not there is a missing installation.
fn refused(error: ClusterError, namespace: &str) -> anyhow::Error {
    match error.code() {
        Some(422) => UsageError::new(format!("The cluster refuses this backup: {}", error.message())).into(),
        Some(404) => anyhow::Error::new(error).context(format!(
            "There is no Lifeboat in the namespace {namespace} of this cluster; put it there with `lifeboat install`, or name another with --agent-namespace"
        )),
        _ => error.into(),
    }
}

fn document(namespace: &str, name: &str, status: &BackupStatus) -> serde_json::Value {
    serde_json::json!({
        "schema": "lifeboat/backup-now/1",
        "namespace": namespace, "name": name, "phase": status.phase, "status": status,
    })
}

/// The short report, as `kubectl describe` has it.
fn report(name: &str, status: &BackupStatus, context: &mut Context<'_>) -> Result<()> {
    let count = |n: Option<i64>| u64::try_from(n.unwrap_or_default()).unwrap_or_default();
    if let Some(snapshot) = &status.snapshot {
        context.line(format!(
            "Backup {name} is {:?}: snapshot {} ({}), {} objects in {} namespaces, {}, {} stored",
            status.phase,
            snapshot.seq,
            printable(&snapshot.id),
            count(status.objects),
            count(status.namespaces),
            bytes(count(status.bytes)),
            bytes(count(status.stored_bytes)),
        ))?;
    } else {
        let why = status.conditions.iter().find(|c| c.kind == "Completed");
        let why = why.map(|c| format!(": {} ({})", printable(&c.message), printable(&c.reason)));
        context.line(format!("Backup {name} is {:?}{}", status.phase, why.unwrap_or_default()))?;
    }
    for message in &status.messages {
        let more = message.starts_with("and ");
        context.line(format!("{}{}", if more { "" } else { "Missed " }, printable(message)))?;
    }
    if let (Some(snapshot), true) = (&status.snapshot, count(status.missed) > 0) {
        context.line(format!("`lifeboat report {}` names all that is known of them", snapshot.seq))?;
    }
    Ok(())
}
