//! `lifeboat install`: puts the agent into a cluster, with what `init` wrote. What is applied, and in which order, is
//! `lifeboat_agent::install`'s; owns only what is read from the folder and what is said.

mod secret;

use crate::context::Context;
use crate::yaml;
use anyhow::Result;
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use lifeboat_agent::install::{self, InstallError, MANAGER, Options, Outcome, Step, objects};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::store::StoreUrl;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Put the agent into a cluster: definitions, rights, its Secret, the controller, and a daily backup
///
/// Takes agent-secret.yaml from the folder that `lifeboat init` made, and needs a kubeconfig of a
/// cluster administrator. Run again, it brings the installation to what this version and the folder
/// say (after an update, or `lifeboat rotate`) and leaves your schedules alone.
///
/// The image is made by `make image`. Push it to your registry and name it with --image, or import
/// it on every node. With --dry-run everything is printed as YAML, for a deployment tool.
///
///   lifeboat install --config prod --kubeconfig admin.conf --image registry.example.org/lifeboat-agent:0.1.0
///   lifeboat install --config prod --dry-run --show-secrets | kubectl apply --server-side -f -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct InstallArgs {
    /// The folder that `lifeboat init` made
    #[arg(long, value_name = "DIR")]
    config: PathBuf,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// The image (default: what was given before, else localhost/lifeboat-agent:VERSION of `make image`)
    #[arg(long, value_name = "REF")]
    image: Option<String>,

    /// No daemons on the nodes: volumes of pods are not read, and a backup that finds some says so
    #[arg(long)]
    without_nodes: bool,

    /// Where hooks may run commands in Pods: NAMESPACE,NAMESPACE or '*' (default: as it was; at first nowhere)
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = hook_namespace)]
    hooks: Vec<String>,

    /// Hooks run nowhere any more; volumes of Pods that have some are then missed
    #[arg(long, conflicts_with = "hooks")]
    without_hooks: bool,

    /// The kubelet's directory on the nodes (default: what was given before, else /var/lib/kubelet)
    #[arg(long, value_name = "DIR", value_parser = kubelet_dir)]
    kubelet_dir: Option<String>,

    /// When the daily backup is made: five fields of cron, or @daily-random (default: 17 1 * * *)
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,

    /// The time zone of that, such as Europe/Stockholm (default: UTC)
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,

    /// Print the objects as YAML, without the Secret's content; contact no cluster
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run: print the Secret, too. It holds a private key
    #[arg(long, requires = "dry_run")]
    show_secrets: bool,

    /// Also overwrite what somebody changed in an installed object
    #[arg(long)]
    force_conflicts: bool,

    /// Do not wait until the controller is available
    #[arg(long)]
    no_wait: bool,

    /// How many seconds that may take
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
}

/// Which cluster, and where in it.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The cluster (default: KUBECONFIG or ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current one)
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The agent's namespace
    #[arg(long, value_name = "NAME", default_value = objects::NAMESPACE)]
    pub(crate) namespace: String,
}

impl ClusterArgs {
    pub(crate) fn check(&self) -> Result<()> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = &self.namespace;
        let good = !name.is_empty() && name.len() <= 57 && name.chars().all(label) && !name.starts_with('-');
        if good && !name.ends_with('-') && !name.starts_with("kube-") && name != "default" {
            return Ok(());
        }
        Err(UsageError::new(format!(
            "{name:?} cannot be the agent's namespace; give it one of its own, with a name of lower-case letters, digits and -"
        ))
        .into())
    }

    pub(crate) async fn connect(&self, context: &Context<'_>) -> Result<Cluster> {
        let options = ConnectOptions {
            field_manager: MANAGER.to_owned(),
            clock: Arc::clone(&context.clock),
            ..ConnectOptions::default()
        };
        Ok(Cluster::connect(self.kubeconfig.as_deref(), self.context.as_deref(), options).await?)
    }
}

pub(crate) async fn run(args: &InstallArgs, context: &mut Context<'_>) -> Result<Exit> {
    args.cluster.check()?;
    let loaded = secret::load(&args.config)?;
    let options = args.options(&loaded)?;
    for warning in &loaded.warnings {
        eprintln!("Warning: {warning}");
    }
    if args.dry_run {
        return print(&options, args.show_secrets, context);
    }
    let cluster = args.cluster.connect(context).await?;
    context.line(format!("Installing into {} ({})", cluster.server(), cluster.server_version()))?;
    let mut told = Ok(());
    let done = install::install(&cluster, &options, &mut |step| tell(&step, context, &mut told)).await;
    told?;
    match done {
        Ok(()) => {}
        Err(error @ InstallError::Another { .. }) => return Err(UsageError::new(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    }
    next(args, context)?;
    Ok(Exit::Done)
}

impl InstallArgs {
    fn options(&self, loaded: &secret::Loaded) -> Result<Options> {
        let endpoint = loaded.config.s3.endpoint.as_deref();
        let port = match &loaded.config.repo {
            StoreUrl::File(_) => {
                return Err(UsageError::new(format!(
                    "The repository is {}, a directory that the pods of a cluster do not have; make one in an object store: lifeboat init --repo s3://…",
                    loaded.config.repo
                ))
                .into());
            }
            StoreUrl::S3 { .. } => endpoint.and_then(port_of).unwrap_or(443),
        };
        Ok(Options {
            namespace: self.cluster.namespace.clone(),
            image: self.image.clone(),
            nodes: !self.without_nodes,
            hooks: (self.without_hooks || !self.hooks.is_empty()).then(|| self.hooks.clone()),
            kubelet: self.kubelet_dir.clone(),
            schedule: self.schedule.clone(),
            time_zone: self.time_zone.clone(),
            ports: vec![port],
            force: self.force_conflicts,
            wait: (!self.no_wait).then_some(Duration::from_secs(self.timeout)),
            ..Options::new(loaded.files.clone())
        })
    }
}

fn hook_namespace(text: &str) -> std::result::Result<String, String> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = !text.is_empty() && text.len() <= 63 && text.chars().all(label);
    if text == install::hooks::EVERYWHERE || name && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    Err("not the name of a namespace; '*' stands for all of them".to_owned())
}

fn kubelet_dir(text: &str) -> std::result::Result<String, String> {
    let path = text.trim_end_matches('/');
    let odd = |name: &str| name.is_empty() || name == "." || name == "..";
    if path.strip_prefix('/').is_some_and(|names| !names.split('/').any(odd)) {
        return Ok(path.to_owned());
    }
    Err("not the absolute path of a directory, such as /var/lib/k0s/kubelet".to_owned())
}

/// The port in `http://HOST:PORT/…`, or the scheme's own.
fn port_of(endpoint: &str) -> Option<u16> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // The colons of an IPv6 address are in brackets.
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    match after.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None if scheme == "http" => Some(80),
        None => Some(443),
    }
}

/// Everything as YAML. The Secret is left out where its content must not be shown: applied without, it would be emptied.
fn print(options: &Options, show_secrets: bool, context: &mut Context<'_>) -> Result<Exit> {
    for object in objects::objects(options) {
        if object.is("Secret") && object.name == objects::SECRET && !show_secrets {
            let keys = object.body["data"].as_object().into_iter().flatten();
            let keys: Vec<&str> = keys.map(|(key, _)| key.as_str()).collect();
            context.line(format!(
                "---\n# Secret {} in {} with the keys {}: add --show-secrets.",
                object.name,
                object.namespace.as_deref().unwrap_or_default(),
                keys.join(", ")
            ))?;
            continue;
        }
        context.line(format!("---\n{}", yaml::from_json(object.body.to_string().as_bytes())?.trim_end()))?;
    }
    Ok(Exit::Done)
}

/// A line for each step; waiting is on standard error, like all progress.
pub(crate) fn tell(step: &Step, context: &mut Context<'_>, told: &mut Result<()>) {
    let (title, word) = match step {
        Step::Waiting { what } => return eprintln!("Waiting: {what}"),
        Step::Note { what } => return eprintln!("Note: {what}"),
        Step::Removed { title } => (title, "removed"),
        Step::Object { title, outcome } => (
            title,
            match outcome {
                Outcome::Created => "created",
                Outcome::Changed => "changed",
                Outcome::Unchanged => "unchanged",
                Outcome::Left => "there, left alone",
            },
        ),
    };
    if told.is_ok() {
        *told = context.line(format!("  {title}: {word}"));
    }
}

fn next(args: &InstallArgs, context: &mut Context<'_>) -> Result<()> {
    let namespace = &args.cluster.namespace;
    context.line(if args.no_wait {
        "Applied; the controller is starting."
    } else {
        "The controller runs."
    })?;
    context.line(format!("  When backups are made:   kubectl -n {namespace} get backupschedules"))?;
    context.line("  Make one now:            lifeboat backup now --from-schedule daily --wait")?;
    context.line(format!("  What was made:           kubectl -n {namespace} get backups"))?;
    context.line(format!(
        "{} is in the cluster now: lock it away or delete it here.",
        args.config.join(crate::folder::AGENT_SECRET).display()
    ))
}

#[cfg(test)]
mod tests;
