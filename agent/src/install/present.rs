//! What is in the cluster before an installation: whether there is one, and whose. Only reads.

use super::files::Files;
use super::objects::{CONTROLLER, SECRET, STATE, path};
use super::{InstallError, Options};
use super::{hooks, nodes};
use crate::cluster::text::clean;
use crate::cluster::write::administer::{Administrator, Place};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use lifeboat_common::config::AgentConfig;
use serde_json::Value;

/// Where the controller keeps its state in the Secret.
const STATE_KEY: &str = "state.cbor";
/// Where the API server says at which ports it is behind its Service.
const API: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

/// What matters of it.
#[derive(Debug)]
pub(super) struct Present {
    /// There is no controller yet.
    pub(super) first: bool,
    pub(super) api_ports: Vec<u16>,
    /// What the controller runs.
    pub(super) image: Option<String>,
    /// The kubelet's directory that its daemons were given.
    pub(super) kubelet: Option<String>,
    /// Where hooks may run.
    pub(super) hooks: Vec<String>,
}

/// Looks, and refuses to go on where another repository's agent is.
pub(super) async fn look(administrator: &Administrator, options: &Options) -> Result<Present, InstallError> {
    let namespace = &options.namespace;
    let of_nodes = nodes::namespace(namespace);
    let get = async |kind: &str, name: &str| {
        let namespace = if kind == "DaemonSet" { &of_nodes } else { namespace };
        let path = path(kind).expect("the kinds that are looked at are in the table");
        let inside = path.namespaced.then_some(namespace.as_str());
        administrator.get(&Place { path: &path, namespace: inside, name }).await
    };
    let found = get("Namespace", namespace).await?;
    if found.is_some_and(|n| n["metadata"]["deletionTimestamp"].is_string()) {
        return Err(InstallError::Terminating { namespace: namespace.clone() });
    }
    let here = options.files.config();
    let another = |there: Option<String>| match (&here, there) {
        (Some(here), Some(there)) if there != title(here) => {
            Err(InstallError::Another { namespace: namespace.clone(), there, here: title(here) })
        }
        _ => Ok(()),
    };
    let there = get("Secret", SECRET).await?.and_then(|s| Files::of_secret(&s).config());
    another(there.as_ref().map(title))?;
    if let (Some(state), Some(here)) = (get("Secret", STATE).await?.as_ref().and_then(state_of), &here)
        && state.cluster != here.cluster.as_str()
    {
        another(Some(format!("cluster {}", state.cluster)))?;
    }
    let slices = administrator.reader().get(API).await?;
    let slices = slices.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
    let controller = get("Deployment", CONTROLLER).await?;
    let image =
        controller.as_ref().and_then(|d| d.pointer("/spec/template/spec/containers/0/image")?.as_str());
    let daemons = if options.nodes { get("DaemonSet", nodes::NODE).await? } else { None };
    Ok(Present {
        hooks: hooks::present(administrator, namespace).await?,
        kubelet: daemons.as_ref().and_then(nodes::kubelet_of),
        first: controller.is_none(),
        api_ports: ports(&slices),
        image: image.map(|image| clean(image, 512)),
    })
}

fn title(config: &AgentConfig) -> String {
    format!("cluster {} in {}, owner {}", config.cluster, config.repo, config.owner.fingerprint())
}

/// The beginning of what the agent remembers: whose it is.
#[derive(minicbor::Decode)]
#[cbor(map)]
struct State {
    #[n(0)]
    cluster: String,
}

/// An empty or damaged state is nobody's.
fn state_of(secret: &Value) -> Option<State> {
    let bytes = zeroize::Zeroizing::new(BASE64_STANDARD.decode(secret["data"][STATE_KEY].as_str()?).ok()?);
    minicbor::decode(&bytes).ok()
}

fn ports(slices: &Value) -> Vec<u16> {
    let slices = slices["items"].as_array().into_iter().flatten();
    let ports = slices.flat_map(|s| s["ports"].as_array().into_iter().flatten());
    ports.filter_map(|p| u16::try_from(p["port"].as_u64()?).ok()).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_api_server_s_ports_are_found_and_nonsense_is_none() {
        let slices =
            json!({"items": [{"ports": [{"port": 6443}, {"port": "x"}, {"port": 70000}]}, {"ports": null}]});
        assert_eq!(ports(&slices), [6443]);
        assert!(ports(&Value::Null).is_empty());
    }

    #[test]
    fn a_state_says_whose_it_is_and_an_empty_one_nothing() {
        // A map of one entry, and one more that is of no interest here: {0: "prod", 1: 7}.
        let bytes = b"\xa2\x00\x64prod\x01\x07";
        let secret = json!({"data": {STATE_KEY: BASE64_STANDARD.encode(bytes)}});
        assert_eq!(state_of(&secret).unwrap().cluster, "prod");
        for empty in [json!({}), json!({"data": {STATE_KEY: ""}}), json!({"data": {STATE_KEY: "//"}})] {
            assert!(state_of(&empty).is_none());
        }
    }
}
