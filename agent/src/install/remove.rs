//! Takes an installation out of a cluster: pods first, so that nothing is half done, then definitions with their objects,
//! rights, and the namespace. Repositories are never touched.

use super::hooks;
use super::nodes::{self, NODE};
use super::objects::{CONTROLLER, NAMESPACE, PART_OF, SECRET, binding, path};
use super::{InstallError, Step, administrator};
use crate::cluster::Cluster;
use crate::cluster::write::administer::{Administrator, Place};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What to remove.
#[derive(Debug, Clone)]
pub struct RemoveOptions {
    pub namespace: String,
    /// How long objects may take to be gone.
    pub within: Duration,
}

impl Default for RemoveOptions {
    fn default() -> Self {
        Self { namespace: NAMESPACE.to_owned(), within: Duration::from_secs(120) }
    }
}

/// What there is to remove, in the order of removing, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Kind, name, and the namespace where that is not the kind's own.
    objects: Vec<(&'static str, String, Option<String>)>,
    /// Namespaces of other installations: they need the definitions and the right to list.
    pub others: Vec<String>,
    /// The namespace is there, but no installation made it.
    pub foreign_namespace: bool,
}

impl Removal {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// `Deployment lifeboat-controller`, and so on.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        self.objects.iter().map(|(kind, name, inside)| hooks::title(kind, name, inside.as_deref())).collect()
    }
}

/// Looks what is there.
///
/// # Errors
/// If the server is away or refuses to show it.
pub async fn what_is_there(cluster: &Cluster, options: &RemoveOptions) -> Result<Removal, InstallError> {
    let administrator = administrator(cluster);
    let others = others(&administrator, &options.namespace).await?;
    let mut removal = Removal { others, ..Removal::default() };
    let namespace = get(&administrator, "Namespace", &options.namespace, &options.namespace, None).await?;
    removal.foreign_namespace =
        namespace.as_ref().is_some_and(|n| n["metadata"]["labels"][PART_OF] != "lifeboat");
    let nodes = get(&administrator, "Namespace", "", &nodes::namespace(&options.namespace), None).await?;
    let mut candidates = vec![("Deployment", CONTROLLER.to_owned()), ("DaemonSet", NODE.to_owned())];
    if removal.others.is_empty() {
        for crd in crate::kinds::crds() {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            candidates.push(("CustomResourceDefinition", name));
        }
    }
    candidates.push(("ClusterRoleBinding", binding(&options.namespace)));
    if removal.others.is_empty() {
        candidates.push(("ClusterRole", SECRET.to_owned()));
    }
    // The binding before what it binds.
    for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
        candidates.push((kind, nodes::policy(&options.namespace)));
    }
    if nodes.is_some_and(|n| n["metadata"]["labels"][PART_OF] == "lifeboat") {
        candidates.push(("Namespace", nodes::namespace(&options.namespace)));
    }
    if !removal.foreign_namespace {
        candidates.push(("Namespace", options.namespace.clone()));
    }
    let hooked = hooks::present(&administrator, &options.namespace).await?;
    let hooked = hooks::objects_of(&options.namespace, &hooked, removal.others.is_empty());
    // After the pods: a controller that is still there thaws what it froze.
    let mut all: Vec<_> = candidates.into_iter().map(|(kind, name)| (kind, name, None)).collect();
    all.splice(2..2, hooked);
    for (kind, name, inside) in all {
        if get(&administrator, kind, &options.namespace, &name, inside.as_deref()).await?.is_some() {
            removal.objects.push((kind, name, inside));
        }
    }
    Ok(removal)
}

/// Removes it, and waits until each is gone.
///
/// # Errors
/// If the server is away or refuses, or something does not go. The same command goes on.
pub async fn remove(
    cluster: &Cluster,
    removal: &Removal,
    options: &RemoveOptions,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let administrator = administrator(cluster);
    for (kind, name, inside) in &removal.objects {
        let path = path(kind).expect("the kinds that are removed are in the table");
        let home = inside.clone().unwrap_or_else(|| home(kind, &options.namespace));
        let namespace = path.namespaced.then_some(home.as_str());
        administrator.delete(&Place { path: &path, namespace, name }).await?;
        gone(&administrator, (kind, name, inside.as_deref()), options, say).await?;
        say(Step::Removed { title: hooks::title(kind, name, inside.as_deref()) });
    }
    Ok(())
}

async fn gone(
    administrator: &Administrator,
    (kind, name, inside): (&str, &str, Option<&str>),
    options: &RemoveOptions,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let (started, mut said) = (Instant::now(), false);
    while get(administrator, kind, &options.namespace, name, inside).await?.is_some() {
        if started.elapsed() >= options.within {
            let seconds = started.elapsed().as_secs();
            return Err(InstallError::StillThere { what: format!("{kind} {name}"), seconds });
        }
        if !said && started.elapsed() >= Duration::from_secs(3) {
            say(Step::Waiting { what: format!("{kind} {name} is being removed") });
            said = true;
        }
        sleep(administrator.reader().poll_interval()).await;
    }
    Ok(())
}

async fn get(
    administrator: &Administrator,
    kind: &str,
    agent: &str,
    name: &str,
    inside: Option<&str>,
) -> Result<Option<Value>, InstallError> {
    let path = path(kind).expect("the kinds that are looked at are in the table");
    let home = inside.map_or_else(|| home(kind, agent), str::to_owned);
    let namespace = path.namespaced.then_some(home.as_str());
    Ok(administrator.get(&Place { path: &path, namespace, name }).await?)
}

/// The namespace that objects of a kind are in.
fn home(kind: &str, agent: &str) -> String {
    if kind == "DaemonSet" { nodes::namespace(agent) } else { agent.to_owned() }
}

/// Namespaces with a controller, beside this one.
async fn others(administrator: &Administrator, namespace: &str) -> Result<Vec<String>, InstallError> {
    let url = "/apis/apps/v1/deployments?limit=100&labelSelector=app.kubernetes.io%2Fname%3Dlifeboat,app.kubernetes.io%2Fcomponent%3Dcontroller";
    let found = administrator.reader().get(url).await?;
    let found: Value = found.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
    let namespaces = found["items"].as_array().into_iter().flatten();
    let namespaces = namespaces.filter_map(|d| d["metadata"]["namespace"].as_str());
    Ok(namespaces.filter(|n| *n != namespace).map(str::to_owned).collect())
}
