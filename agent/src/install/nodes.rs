//! The part of an installation that is on the nodes: its namespace, what of it belongs there, and the Secret of its
//! daemons, which holds where the repository is and no signing key. Pure; sends nothing.

use super::files::Files;
use super::objects::{NAMESPACE, PART_OF, SECRET};
use lifeboat_common::config::NodeConfig;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The DaemonSet, and the policy that ties it to its node.
pub const NODE: &str = "lifeboat-node";
/// The Secret with the keys of volumes under way.
pub use crate::cluster::node_work::WORK_SECRET as WORK;
/// The configuration's name in the daemons' Secret.
pub const NODE_TOML: &str = "node.toml";
/// The namespace that the files are written for.
pub(super) const NODES: &str = "lifeboat-nodes";

/// The namespace of the daemons, beside the agent's.
#[must_use]
pub fn namespace(agent: &str) -> String {
    format!("{agent}-nodes")
}

/// The name of the policy of an installation, which is the cluster's.
#[must_use]
pub fn policy(agent: &str) -> String {
    if agent == NAMESPACE { NODE.to_owned() } else { format!("{NODE}.{agent}") }
}

/// Whether an object of the files is only there for volumes.
pub(super) fn is_for_nodes(document: &Value) -> bool {
    let metadata = &document["metadata"];
    metadata["namespace"] == NODES || metadata["labels"]["app.kubernetes.io/component"] == "node"
}

/// Gives every mention of the nodes' namespace the name of this installation's.
pub(super) fn renamed(document: &Value, agent: &str) -> Value {
    if agent == NAMESPACE {
        return document.clone();
    }
    match document {
        Value::String(text) => Value::String(text.replace(NODES, &namespace(agent))),
        Value::Array(all) => all.iter().map(|v| renamed(v, agent)).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), renamed(v, agent))).collect(),
        other => other.clone(),
    }
}

/// What the daemons are given of the agent's files: where the repository is, the credential and the authority that its
/// configuration names. Empty where there is no configuration.
pub(super) fn files(agent: &Files) -> Files {
    let Some(config) = agent.config() else { return Files::default() };
    let named = [config.s3.credentials_file.clone(), config.s3.ca_file.clone()];
    let node = NodeConfig { repo: config.repo, cluster: config.cluster, s3: config.s3 };
    let text = toml::to_string(&node).expect("a configuration always serializes");
    let mut files = agent.only(named.iter().flatten().filter_map(|path| path.to_str()));
    files.add(NODE_TOML, Zeroizing::new(text));
    files
}

const PODS: &str = "/pods";

/// Lets the daemons see another directory of the kubelet's; in their containers it is where it always is.
pub(super) fn set_kubelet(daemons: &mut Value, directory: &str) {
    let volumes = daemons.pointer_mut("/spec/template/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten().filter(|v| v["name"] == "pods") {
        volume["hostPath"]["path"] = json!(format!("{}{PODS}", directory.trim_end_matches('/')));
    }
}

/// What [`set_kubelet`] set.
pub(super) fn kubelet_of(daemons: &Value) -> Option<String> {
    let volumes = daemons.pointer("/spec/template/spec/volumes")?.as_array()?;
    let pods = volumes.iter().find(|v| v["name"] == "pods")?;
    Some(pods["hostPath"]["path"].as_str()?.strip_suffix(PODS)?.to_owned())
}

pub(super) fn secret(agent: &Files) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": SECRET, "namespace": NODES, "labels": {
            "app.kubernetes.io/name": "lifeboat",
            "app.kubernetes.io/component": "node",
            PART_OF: "lifeboat",
        } },
        "type": "Opaque",
        "data": files(agent).to_data(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const AGENT: &str = r#"
repo = "s3://bucket/prefix"
cluster = "prod"
owner = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
charter = "charter.json"
signing_key = "agent.key"
state = "state"
[s3]
endpoint = "https://s3.example.org"
credentials_file = "credentials"
ca_file = "ca.pem"
"#;

    #[test]
    fn the_nodes_get_no_signing_key_and_what_they_need_to_reach_the_store() {
        let text = |s: &str| Zeroizing::new(s.to_owned());
        let names = ["agent.key", "charter.json", "credentials", "ca.pem", "other"];
        let mut all: BTreeMap<String, _> = names.map(|n| (n.to_owned(), text(n))).into();
        all.insert("agent.toml".to_owned(), text(AGENT));
        let files = files(&Files::new(all));
        assert_eq!(files.names(), ["ca.pem", "credentials", NODE_TOML]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NODE_TOML);
        std::fs::write(&path, files.text(NODE_TOML).unwrap()).unwrap();
        let config: NodeConfig = lifeboat_common::config::load(&path).unwrap();
        assert_eq!(config.repo.to_string(), "s3://bucket/prefix");
        assert_eq!(config.s3.credentials_file, Some(folder.path().join("credentials")));
        assert!(!files.text(NODE_TOML).unwrap().contains("key"));
    }
}
