//! Services: addresses and ports that the old cluster chose go, those that a person chose stay, and
//! IP families are cut down to what the target has. Pure.

use super::super::json::Node;
use super::{FieldRules, Notes, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The IP families of a cluster's Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Families {
    /// `IPv4` or `IPv6`.
    pub primary: String,
    pub dual: bool,
}

impl Families {
    fn has(&self, family: &str) -> bool {
        self.dual || self.primary == family
    }
}

pub(super) fn clean(doc: &mut Node<'_>, rules: &FieldRules, notes: &mut Notes) -> Verdict {
    if doc.text(&["spec", "type"]).as_deref() == Some("ExternalName") {
        return Verdict::Keep;
    }
    let chosen = Chosen::of(doc);
    let Some(spec) = doc.get("spec") else { return Verdict::Keep };
    if spec.text(&["clusterIP"]).as_deref() != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if !chosen.health_check {
        spec.remove("healthCheckNodePort");
    }
    for port in spec.each(&["ports"]) {
        if !chosen.has(port) {
            port.remove("nodePort");
        }
    }
    if let Some(families) = &rules.families {
        fit_families(spec, families, notes);
    }
    Verdict::Keep
}

/// The node ports that a person set, known from the two places where that leaves a trace.
#[derive(Default)]
struct Chosen {
    by_name: Vec<String>,
    by_node_port: Vec<u64>,
    by_key: Vec<(u64, String)>,
    health_check: bool,
}

impl Chosen {
    fn of(doc: &mut Node<'_>) -> Self {
        let mut chosen = Self::default();
        let annotation = "kubectl.kubernetes.io/last-applied-configuration";
        if let Some(applied) = doc
            .text(&["metadata", "annotations", annotation])
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        {
            chosen.add_applied(&applied["spec"]);
        }
        let managed: Vec<Value> = doc.read_at(&["metadata", "managedFields"]).unwrap_or_default();
        for entry in managed.iter().filter(|entry| entry["subresource"].as_str().is_none()) {
            chosen.add_managed(&entry["fieldsV1"]["f:spec"]);
        }
        chosen
    }

    fn add_applied(&mut self, spec: &Value) {
        self.health_check |= spec["healthCheckNodePort"].as_u64().is_some_and(|port| port > 0);
        for port in spec["ports"].as_array().into_iter().flatten() {
            let Some(node_port) = port["nodePort"].as_u64().filter(|p| *p > 0) else { continue };
            match port["name"].as_str().filter(|name| !name.is_empty()) {
                Some(name) => self.by_name.push(name.to_owned()),
                None => self.by_node_port.push(node_port),
            }
        }
    }

    fn add_managed(&mut self, spec: &Value) {
        self.health_check |= spec.get("f:healthCheckNodePort").is_some();
        for (key, fields) in spec["f:ports"].as_object().into_iter().flatten() {
            let key = key.strip_prefix("k:").and_then(|k| serde_json::from_str::<Value>(k).ok());
            let Some(key) = key.filter(|_| fields.get("f:nodePort").is_some()) else { continue };
            if let Some(port) = key["port"].as_u64() {
                self.by_key.push((port, key["protocol"].as_str().unwrap_or("TCP").to_owned()));
            }
        }
    }

    fn has(&self, port: &mut Node<'_>) -> bool {
        let number = port.read_at::<u64>(&["port"]);
        let protocol = port.text(&["protocol"]).unwrap_or_else(|| "TCP".to_owned());
        let node_port = port.read_at::<u64>(&["nodePort"]);
        let name = port.text(&["name"]);
        name.is_some_and(|name| self.by_name.contains(&name))
            || node_port.is_some_and(|p| self.by_node_port.contains(&p))
            || number.is_some_and(|p| self.by_key.contains(&(p, protocol)))
    }
}

fn fit_families(spec: &mut Node<'_>, target: &Families, notes: &mut Notes) {
    let policy = spec.text(&["ipFamilyPolicy"]).unwrap_or_default();
    if policy == "RequireDualStack" && !target.dual {
        spec.set("ipFamilyPolicy", Node::new(&"PreferDualStack"));
        notes.push(format!(
            "RequireDualStack became PreferDualStack: the cluster has {} only",
            target.primary
        ));
    }
    let families: Vec<String> = spec.read_at(&["ipFamilies"]).unwrap_or_default();
    let kept: Vec<&String> = families.iter().filter(|family| target.has(family)).collect();
    if kept.len() == families.len() {
        return;
    }
    notes.push(format!(
        "IP families {} cut down to what the cluster has ({})",
        families.join(", "),
        target.primary
    ));
    if kept.is_empty() {
        spec.remove("ipFamilies");
    } else {
        spec.set("ipFamilies", Node::new(&kept));
    }
}
