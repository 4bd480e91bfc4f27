//! Puts the agent into a cluster, and takes it out again: look → apply → wait, and look → remove → wait. The objects are
//! `objects`'; every call is `cluster/`'s. Must not read an administrator's folder, and never touches a repository.

pub mod files;
pub mod hooks;
pub mod nodes;
pub mod objects;
mod present;
mod remove;
mod rollout;

pub use files::Files;
pub use remove::{Removal, RemoveOptions, remove, what_is_there};

use crate::cluster::write::administer::{Administrator, Applied, Place};
use crate::cluster::write::{Limits, Refusal, WriteError, Writer};
use crate::cluster::{Cluster, ClusterError};
use objects::{Object, When};
use std::time::Duration;
use tokio::time::Instant;

/// The field manager of everything that is installed.
pub const MANAGER: &str = "lifeboat-install";
/// Definitions become usable within a second or two.
const ESTABLISHED: Duration = Duration::from_secs(60);

/// What to install.
#[derive(Debug, Clone)]
pub struct Options {
    pub namespace: String,
    /// What the agent's Secret is to hold.
    pub files: Files,
    /// Another image than `deploy/` names, or than the one that was given before.
    pub image: Option<String>,
    /// Whether daemons read the volumes on the nodes.
    pub nodes: bool,
    /// The namespaces in whose Pods hooks may run ([`hooks::EVERYWHERE`] for all), and no others; none: as it is.
    pub hooks: Option<Vec<String>>,
    /// The kubelet's directory on the nodes, where it is not `/var/lib/kubelet`, or not the one that was given before.
    pub kubelet: Option<String>,
    /// Of the schedule that a first installation makes; when one is given, also of one that exists.
    pub schedule: Option<String>,
    pub time_zone: Option<String>,
    /// TCP ports of API server and store, for the network policy.
    pub ports: Vec<u16>,
    /// Also fields that somebody else has changed.
    pub force: bool,
    /// How long the controller may take to become available; none: not waited for.
    pub wait: Option<Duration>,
}

impl Options {
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self {
            namespace: objects::NAMESPACE.to_owned(),
            files,
            image: None,
            nodes: true,
            hooks: None,
            kubelet: None,
            schedule: None,
            time_zone: None,
            ports: Vec::new(),
            force: false,
            wait: None,
        }
    }
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
    /// It is there, and its content is not the installation's.
    Left,
}

/// What happens, for a person to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Object { title: String, outcome: Outcome },
    Removed { title: String },
    Waiting { what: String },
    Note { what: String },
}

/// Why an installation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(
        "Namespace {namespace} already holds the agent of another repository ({there}; this folder is of {here}); give another --namespace, or remove that one first: lifeboat uninstall --namespace {namespace}"
    )]
    Another { namespace: String, there: String, here: String },
    #[error(
        "Namespace {namespace} is being deleted; wait until it is gone (kubectl get namespace {namespace}), then run the same command again"
    )]
    Terminating { namespace: String },
    #[error("The API server does not take {object}: {refusal}; {next}")]
    Refused { object: String, refusal: Refusal, next: &'static str },
    #[error(
        "Somebody changed {object}: {refusal}; put it back, or run the same command with --force-conflicts to overwrite that"
    )]
    Conflict { object: String, refusal: Refusal },
    #[error(
        "{object} was not established within {seconds} s; see kubectl describe crd, then run the same command again"
    )]
    NotEstablished { object: String, seconds: u64 },
    #[error(
        "Everything is applied, but the controller did not become available within {seconds} s: {why}; {next}"
    )]
    NotAvailable { seconds: u64, why: String, next: String },
    #[error(
        "{what} is still there after {seconds} s; see what holds it (kubectl describe), then run the same command again"
    )]
    StillThere { what: String, seconds: u64 },
}

impl From<ClusterError> for InstallError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

/// The one place that makes one (tidy holds that): a restore only creates.
fn administrator(cluster: &Cluster) -> Administrator {
    Administrator::new(Writer::new(cluster.client().clone(), MANAGER, Limits::default()))
}

/// Installs, or brings an installation to what the options say. Run twice, the second time changes nothing.
///
/// # Errors
/// If another repository's agent is there, or the server refuses an object, or the controller does not start. What was
/// applied stays; the same command goes on.
pub async fn install(
    cluster: &Cluster,
    options: &Options,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let administrator = administrator(cluster);
    let present = present::look(&administrator, options).await?;
    let mut options = options.clone();
    options.ports.extend(present.api_ports);
    if options.image.is_none() {
        options.image = present.image.filter(|image| !image.starts_with(objects::OWN_IMAGE));
        if let Some(image) = &options.image {
            say(Step::Note {
                what: format!("The controller keeps its image {image}; --image gives it another"),
            });
        }
    }
    options.kubelet = options.kubelet.or(present.kubelet);
    let hooks = options.hooks.clone().unwrap_or_else(|| present.hooks.clone());
    options.hooks = Some(hooks.clone());
    let asked = options.schedule.is_some() || options.time_zone.is_some();
    let objects = objects::objects(&options);
    let (definitions, rest): (Vec<&Object>, Vec<&Object>) =
        objects.iter().partition(|o| o.is("CustomResourceDefinition"));
    for object in &definitions {
        apply(&administrator, object, options.force, say).await?;
    }
    for object in &definitions {
        established(&administrator, object).await?;
    }
    for object in rest {
        match object.when {
            When::First if !present.first && !asked => {}
            When::Absent => create(&administrator, object, say).await?,
            When::Always | When::First => apply(&administrator, object, options.force, say).await?,
        }
    }
    hooks::take_back(&administrator, &options.namespace, (&present.hooks, &hooks), say).await?;
    match options.wait {
        Some(within) => {
            let started = Instant::now();
            rollout::wait(&administrator, &options.namespace, within, say).await?;
            if options.nodes {
                let left = within.saturating_sub(started.elapsed());
                rollout::wait_for_nodes(&administrator, &options.namespace, left, say).await?;
            }
            Ok(())
        }
        None => Ok(()),
    }
}

fn place(object: &Object) -> Place<'_> {
    Place { path: &object.path, namespace: object.namespace.as_deref(), name: &object.name }
}

async fn apply(
    administrator: &Administrator,
    object: &Object,
    force: bool,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let mut applied = administrator.apply(&place(object), &object.body, force).await?;
    // What an earlier restore put there (the definitions, the rights) is nobody's change.
    if let Applied::Conflict(refusal) = &applied
        && only_our_own(&refusal.message)
    {
        applied = administrator.apply(&place(object), &object.body, true).await?;
    }
    let outcome = match applied {
        Applied::Created => Outcome::Created,
        Applied::Changed => Outcome::Changed,
        Applied::Unchanged => Outcome::Unchanged,
        Applied::Conflict(refusal) => {
            return Err(InstallError::Conflict { object: object.title(), refusal });
        }
        Applied::Refused(refusal) => return Err(refused(object, refusal)),
    };
    say(Step::Object { title: object.title(), outcome });
    Ok(())
}

/// Whether a conflict is with field managers of this program alone: `conflict with "NAME" using …`, once for each.
fn only_our_own(message: &str) -> bool {
    let mut managers = message.split(" with \"").skip(1).filter_map(|rest| rest.split('"').next()).peekable();
    managers.peek().is_some() && managers.all(|m| m == MANAGER || m.starts_with("lifeboat-restore"))
}

async fn create(
    administrator: &Administrator,
    object: &Object,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    use crate::cluster::write::Created;
    let there = administrator.get(&place(object)).await?.is_some();
    let outcome = if there {
        Outcome::Left
    } else {
        match administrator.create(&place(object), &object.body).await? {
            Created::Made(_) => Outcome::Created,
            Created::Exists(_) => Outcome::Left,
            Created::Refused(refusal) => return Err(refused(object, refusal)),
        }
    };
    say(Step::Object { title: object.title(), outcome });
    Ok(())
}

fn refused(object: &Object, refusal: Refusal) -> InstallError {
    let next = match refusal.code {
        403 => {
            "installing needs a kubeconfig of a cluster administrator: it makes definitions, a namespace and rights"
        }
        404 if object.name.starts_with(hooks::BINDING) => {
            "make that namespace first, or leave it out of --hooks"
        }
        404 => "this version needs Kubernetes 1.30 or newer",
        422 if object.is("BackupSchedule") => "give another --schedule or --time-zone",
        _ => "mend the cause and run the same command again",
    };
    InstallError::Refused { object: object.title(), refusal, next }
}

async fn established(administrator: &Administrator, object: &Object) -> Result<(), InstallError> {
    if administrator.reader().established(&object.name, ESTABLISHED).await? {
        return Ok(());
    }
    Err(InstallError::NotEstablished { object: object.title(), seconds: ESTABLISHED.as_secs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_restore_of_our_own_is_overwritten_unasked() {
        let one =
            r#"Apply failed with 1 conflict: conflict with "kubectl-patch" using apps/v1: .spec.replicas"#;
        let ours =
            r#"Apply failed with 1 conflict: conflict with "lifeboat-restore-1f" using v1: .spec.versions"#;
        let both = r#"Apply failed with 2 conflicts: conflicts with "lifeboat-restore-1f": - .a conflicts with "helm" using v1: - .b"#;
        assert!(only_our_own(ours));
        assert!(!only_our_own(one) && !only_our_own(both) && !only_our_own("Apply failed"));
    }
}
