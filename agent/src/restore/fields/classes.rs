//! Classes that call themselves the default: a restore never makes a second one. Pure.

use super::super::json::Node;
use super::super::source::ObjectKey;
use super::{FieldRules, Notes, Verdict};
use std::collections::BTreeMap;

const STORAGE: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

/// By kind, the one class that may be the default. A kind that is not in it has no rule (yet).
#[derive(Debug, Clone, Default)]
pub struct DefaultClasses(BTreeMap<String, Choice>);

#[derive(Debug, Clone)]
struct Choice {
    name: String,
    /// The newest of several is the one that Kubernetes used.
    created: String,
    in_cluster: bool,
}

impl DefaultClasses {
    /// The target has a default of its own.
    pub fn in_cluster(&mut self, kind: &str, name: &str) {
        let choice = Choice { name: name.to_owned(), created: String::new(), in_cluster: true };
        self.0.insert(kind.to_owned(), choice);
    }

    /// A stored class calls itself the default.
    pub fn stored(&mut self, kind: &str, name: &str, created: &str) {
        let newer =
            |old: &Choice| !old.in_cluster && (created, name) > (old.created.as_str(), old.name.as_str());
        if self.0.get(kind).is_none_or(newer) {
            let choice = Choice { name: name.to_owned(), created: created.to_owned(), in_cluster: false };
            self.0.insert(kind.to_owned(), choice);
        }
    }

    fn other_than(&self, kind: &str, name: &str) -> Option<&str> {
        self.0.get(kind).map(|choice| choice.name.as_str()).filter(|chosen| *chosen != name)
    }
}

/// Whether a document is a class that calls itself the default.
pub fn default_class(kind: &str, doc: &mut Node<'_>) -> bool {
    let mut annotated = |key| doc.text(&["metadata", "annotations", key]).as_deref() == Some("true");
    match kind {
        "StorageClass" => STORAGE.iter().any(|key| annotated(key)),
        "IngressClass" => annotated(INGRESS),
        "PriorityClass" => doc.read_at::<bool>(&["globalDefault"]) == Some(true),
        _ => false,
    }
}

pub(super) fn clean(key: &ObjectKey, doc: &mut Node<'_>, rules: &FieldRules, notes: &mut Notes) -> Verdict {
    let kind = key.kind.kind.as_str();
    if !default_class(kind, doc) {
        return Verdict::Keep;
    }
    let Some(other) = rules.defaults.other_than(kind, &key.name) else { return Verdict::Keep };
    match kind {
        "PriorityClass" => doc.set("globalDefault", Node::new(&false)),
        _ => {
            if let Some(annotations) = doc.at(&["metadata", "annotations"]) {
                annotations.retain_fields(|k| k != INGRESS && !STORAGE.contains(&k));
            }
        }
    }
    notes.push(format!("no longer the default {kind}: {other} is"));
    Verdict::Keep
}
