//! The part of an installation that lets hooks run: in which namespaces commands may be run in Pods, as objects, and
//! what there is of them in a cluster. Runs no hook.

use super::objects::{self, NAMESPACE};
use super::{InstallError, Step};
use crate::cluster::exec::HOOKS_ACCOUNT;
use crate::cluster::write::administer::{Administrator, Place};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Stands for every namespace.
pub const EVERYWHERE: &str = "*";
/// The RoleBinding in each namespace where commands may be run.
pub const BINDING: &str = "lifeboat-hooks-exec";
const COMPONENT: &str = "app.kubernetes.io/component";
/// Bindings that carry the labels of the files.
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/rolebindings?limit=5000&labelSelector=app.kubernetes.io%2Fcomponent%3Dhooks,app.kubernetes.io%2Fpart-of%3Dlifeboat";

/// Whether an object of the files is only there for hooks.
pub(super) fn is_for_hooks(document: &Value) -> bool {
    document["metadata"]["labels"][COMPONENT] == "hooks"
}

/// The name of the ClusterRoleBinding of an installation.
pub(super) fn everywhere(agent: &str) -> String {
    if agent == NAMESPACE { HOOKS_ACCOUNT.to_owned() } else { format!("{HOOKS_ACCOUNT}.{agent}") }
}

/// The name of the bindings of an installation: two of them may have one in the same namespace.
fn binding(agent: &str) -> String {
    if agent == NAMESPACE { BINDING.to_owned() } else { format!("{BINDING}.{agent}") }
}

/// What of a document of an installation is wanted for these namespaces: all of it, a binding in each, or nothing.
pub(super) fn wanted(document: Value, agent: &str, namespaces: &[String]) -> Vec<Value> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    if document["kind"] != "ClusterRoleBinding" || namespaces.iter().any(|n| n == EVERYWHERE) {
        return vec![document];
    }
    let each = namespaces.iter().collect::<BTreeSet<_>>().into_iter().map(|namespace| {
        let mut one = document.clone();
        one["kind"] = json!("RoleBinding");
        one["metadata"]["name"] = json!(binding(agent));
        one["metadata"]["namespace"] = json!(namespace);
        one
    });
    each.collect()
}

/// Where an installation has its bindings: namespaces, or [`EVERYWHERE`].
pub(super) async fn present(administrator: &Administrator, agent: &str) -> Result<Vec<String>, InstallError> {
    let found = administrator.reader().get(BINDINGS).await?;
    let found: Value = found.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
    let mut namespaces = bound(&found, agent);
    let path = objects::path("ClusterRoleBinding").expect("a ClusterRoleBinding is in the table");
    let place = Place { path: &path, namespace: None, name: &everywhere(agent) };
    if administrator.get(&place).await?.is_some() {
        namespaces.push(EVERYWHERE.to_owned());
    }
    Ok(namespaces)
}

/// Namespaces of the bindings in a list that are for this agent's account.
fn bound(list: &Value, agent: &str) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let ours = items.filter(|b| {
        let subjects = b["subjects"].as_array().into_iter().flatten();
        let mut subjects = subjects.filter(|s| s["name"] == HOOKS_ACCOUNT && s["namespace"] == agent);
        b["metadata"]["name"] == binding(agent) && subjects.next().is_some()
    });
    ours.filter_map(|b| b["metadata"]["namespace"].as_str().map(str::to_owned)).collect()
}

/// What there is of it, in the order of removing: bindings first.
pub(super) fn objects_of(
    agent: &str,
    namespaces: &[String],
    last: bool,
) -> Vec<(&'static str, String, Option<String>)> {
    let mut all = Vec::new();
    for namespace in namespaces {
        all.push(match namespace.as_str() {
            EVERYWHERE => ("ClusterRoleBinding", everywhere(agent), None),
            _ => ("RoleBinding", binding(agent), Some(namespace.clone())),
        });
    }
    let agent = || Some(agent.to_owned());
    all.push(("RoleBinding", HOOKS_ACCOUNT.to_owned(), agent()));
    all.push(("Role", HOOKS_ACCOUNT.to_owned(), agent()));
    all.push(("ServiceAccount", HOOKS_ACCOUNT.to_owned(), agent()));
    if last {
        all.push(("ClusterRole", HOOKS_ACCOUNT.to_owned(), None));
    }
    all
}

/// Takes away the bindings that are no longer wanted; without any that is wanted, the rest as well.
pub(super) async fn take_back(
    administrator: &Administrator,
    agent: &str,
    (present, wanted): (&[String], &[String]),
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let unwanted: Vec<String> = present.iter().filter(|n| !wanted.contains(n)).cloned().collect();
    // The ClusterRole, which gives nobody anything, may be another installation's as well.
    let all = objects_of(agent, &unwanted, false);
    let count = if wanted.is_empty() && !present.is_empty() { all.len() } else { unwanted.len() };
    for (kind, name, namespace) in all.into_iter().take(count) {
        let path = objects::path(kind).expect("the kinds that are removed are in the table");
        let place = Place { path: &path, namespace: namespace.as_deref(), name: &name };
        if administrator.delete(&place).await? {
            say(Step::Removed { title: title(kind, &name, namespace.as_deref()) });
        }
    }
    Ok(())
}

pub(super) fn title(kind: &str, name: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if name.starts_with(BINDING) => format!("{kind} {name} in {namespace}"),
        _ => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_of_other_agents_and_other_names_are_not_ours() {
        let one = |name: &str, namespace: &str, agent: &str| {
            json!({
                "metadata": {"name": name, "namespace": namespace},
                "subjects": [{"kind": "ServiceAccount", "name": HOOKS_ACCOUNT, "namespace": agent}],
            })
        };
        let list = json!({"items": [
            one(BINDING, "shop", "lifeboat"), one(BINDING, "db", "other"), one("lifeboat-hooks-exec.other", "db", "other"),
            one(HOOKS_ACCOUNT, "lifeboat", "lifeboat"), {"metadata": null}, 7,
        ]});
        assert_eq!(bound(&list, "lifeboat"), ["shop"]);
        assert_eq!(bound(&list, "other"), ["db"]);
        assert!(bound(&Value::Null, "lifeboat").is_empty());
    }
}
