//! From a stored document to one that a fresh cluster takes: what the server set goes, what a person
//! set stays, byte for byte. Pure; must not know what else is restored, nor call anything.

mod builtin;
mod claim;
mod classes;
mod endpoints;
mod extension;
mod job;
mod metadata;
mod pod;
mod remap;
mod secret;
mod service;
mod workload;

pub use builtin::is_cluster_made;
pub use classes::{DefaultClasses, default_class};
pub use metadata::server_set_annotations;
pub use service::Families;

use super::json::Node;
use super::mapping::NamespaceMap;
use super::selection::is_kind;
use super::source::ObjectKey;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// What the rules need to know beside the document.
#[derive(Debug, Clone, Default)]
pub struct FieldRules {
    /// Create Jobs that had not finished.
    pub rerun_jobs: bool,
    /// Create PersistentVolumes (always with policy Retain) and keep claims bound to them.
    pub adopt_volumes: bool,
    /// Storage classes under other names.
    pub storage_classes: BTreeMap<String, String>,
    /// Kinds whose status is restored, as a person writes them.
    pub status: Vec<String>,
    pub map: NamespaceMap,
    /// IP families of the target; `None` where unknown.
    pub families: Option<Families>,
    /// Which stored class may call itself the default.
    pub defaults: DefaultClasses,
    /// Claims whose volume was filled: the volume that each is bound to.
    pub filled: HashMap<(String, String), String>,
}

/// A document ready to be posted.
#[derive(Debug)]
pub struct Cleaned {
    pub body: Vec<u8>,
    /// What a person should know about it.
    pub notes: Vec<String>,
    /// The stored status, where it is restored.
    pub status: Option<Box<RawValue>>,
}

/// What becomes of a document.
#[derive(Debug)]
pub enum Outcome {
    Create(Cleaned),
    /// Nothing is lost by leaving it out: the cluster makes it again, or it had ended.
    Skip(&'static str),
    /// Left out, and somebody may miss it.
    Drop(String),
}

/// A rule's verdict.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Skip(&'static str),
    Drop(String),
}

type Notes = Vec<String>;

/// Applies every rule to one document. The key must be what the document says it is.
#[must_use]
pub fn clean(key: &ObjectKey, body: &[u8], rules: &FieldRules) -> Outcome {
    let mut doc = match Node::parse(body) {
        Ok(doc) => doc,
        Err(e) => return Outcome::Drop(e.to_string()),
    };
    if let Err(reason) = metadata::check_identity(&mut doc, key) {
        return Outcome::Drop(reason);
    }
    if let Some(reason) = builtin::cluster_made(key, &mut doc) {
        return Outcome::Skip(reason);
    }
    if doc.text(&["metadata", "deletionTimestamp"]).is_some() {
        return Outcome::Skip("was being deleted");
    }
    let mut notes = Notes::new();
    match by_kind(key, &mut doc, rules, &mut notes) {
        Verdict::Keep => {}
        Verdict::Skip(reason) => return Outcome::Skip(reason),
        Verdict::Drop(reason) => return Outcome::Drop(reason),
    }
    if !rules.map.is_empty()
        && let Some(reason) = remap::apply(key, &mut doc, &rules.map, &mut notes)
    {
        return Outcome::Drop(reason);
    }
    metadata::strip(&mut doc, &mut notes);
    let status = take_status(key, &mut doc, rules);
    Outcome::Create(Cleaned { body: doc.to_bytes(), notes, status })
}

/// The document of an object of the cluster with the same parts taken out, to compare with.
#[must_use]
pub fn clean_live(key: &ObjectKey, body: &[u8], rules: &FieldRules) -> Option<Vec<u8>> {
    let mut doc = Node::parse(body).ok()?;
    let mut notes = Notes::new();
    // Whether it would be restored is not the question here, and it is where it should be already.
    let _ = by_kind(key, &mut doc, rules, &mut notes);
    metadata::strip(&mut doc, &mut notes);
    doc.remove("status");
    Some(doc.to_bytes())
}

fn by_kind(key: &ObjectKey, doc: &mut Node<'_>, rules: &FieldRules, notes: &mut Notes) -> Verdict {
    match (key.kind.group.as_str(), key.kind.kind.as_str()) {
        ("", "Namespace") => {
            doc.remove("spec");
            doc.at(&["metadata", "labels"]).map(|labels| labels.remove("kubernetes.io/metadata.name"));
            Verdict::Keep
        }
        ("", "Pod") => pod::bare(doc),
        ("", "Service") => service::clean(doc, rules, notes),
        ("", "Secret") => secret::secret(key, doc),
        ("", "ServiceAccount") => secret::account(key, doc),
        ("", "PersistentVolumeClaim") => claim::claim(key, doc, rules, notes),
        ("", "PersistentVolume") => claim::volume(doc, rules),
        ("", "Endpoints") => endpoints::endpoints(doc),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(doc),
        ("batch", "Job") => job::clean(doc, rules, notes),
        ("apps", "StatefulSet") => {
            for template in doc.each(&["spec", "volumeClaimTemplates"]) {
                claim::map_class(template, rules);
            }
            workload::stateful_set(doc, notes)
        }
        ("apps", "Deployment") => workload::deployment(doc, notes),
        ("storage.k8s.io", "StorageClass")
        | ("networking.k8s.io", "IngressClass")
        | ("scheduling.k8s.io", "PriorityClass") => classes::clean(key, doc, rules, notes),
        ("apiregistration.k8s.io", "APIService") => extension::api_service(doc),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => extension::definition(doc, notes),
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => extension::webhooks(doc, notes),
        ("snapshot.storage.k8s.io", "VolumeSnapshot" | "VolumeSnapshotContent")
        | ("groupsnapshot.storage.k8s.io", "VolumeGroupSnapshot" | "VolumeGroupSnapshotContent") => {
            Verdict::Drop("a volume snapshot points into the old storage system".to_owned())
        }
        _ => Verdict::Keep,
    }
}

/// Takes the status out, and hands it back where it is to be restored.
fn take_status(key: &ObjectKey, doc: &mut Node<'_>, rules: &FieldRules) -> Option<Box<RawValue>> {
    let status = doc.remove("status")?;
    if status.is_empty() || !rules.status.iter().any(|word| is_kind(word, &key.kind)) {
        return None;
    }
    RawValue::from_string(String::from_utf8(status.to_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests;
