//! One pass over a snapshot: which objects there are, what becomes of each by itself, and what it
//! refers to. What depends on other objects is decided in `settle.rs`. Only reads the source.

use super::error::RestoreError;
use super::facts::{Facts, Index, Verdict};
use super::fields::{self, FieldRules, Outcome, default_class};
use super::json::Node;
use super::options::RestoreOptions;
use super::refs::{Meta, Refs, has_refs, refs_of};
use super::selection::ClusterScope;
use super::source::{GroupKind, ObjectKey, ObjectSource, SourceError, StoredObject};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The largest document that is looked at. An API server takes no request above 3 MiB.
const MAX_BODY: usize = 6 << 20;
/// The largest document that is searched for references: opened whole, it is ten times its size.
const MAX_SEARCHED: usize = 2 << 20;
/// Names and uids are never longer.
const MAX_NAME: usize = 253;
/// Notes beyond this many are only counted.
const MAX_NOTES: usize = 10_000;

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) facts: Facts,
    /// Namespaces that the selection covers and the snapshot has.
    pub(super) namespaces: BTreeSet<String>,
    /// Paused Deployments and their current revision.
    pub(super) paused: HashMap<(String, String), String>,
    /// The revision of each ReplicaSet.
    pub(super) revisions: HashMap<Index, String>,
    pub(super) services_with_selector: HashSet<(String, String)>,
    /// Cluster-scoped objects, and whether they were asked for by name.
    pub(super) cluster: Vec<(Index, Refs, bool)>,
    /// Definitions and the kinds that they bring.
    pub(super) defines: Vec<(Index, GroupKind)>,
    pub(super) needs: Needs,
    /// What controlled objects refer to: it counts only if they are created after all.
    pub(super) controlled: Vec<(Index, Refs)>,
    /// Objects of deployment tools, and how many objects each keeps.
    pub(super) managers: Vec<(ObjectKey, usize)>,
    pub(super) notes: Vec<(ObjectKey, String)>,
    pub(super) more_notes: usize,
    /// Objects that could not be read.
    pub(super) damage: Vec<SourceError>,
}

/// What is referred to, and by whom first.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) secrets: BTreeMap<(String, String), ObjectKey>,
    pub(super) cluster: BTreeMap<(GroupKind, String), ObjectKey>,
    pub(super) drivers: BTreeMap<String, ObjectKey>,
}

impl Needs {
    pub(super) fn add(&mut self, user: &ObjectKey, refs: &Refs) {
        if let Some(namespace) = &user.namespace {
            for secret in &refs.secrets {
                let key = (namespace.clone(), secret.clone());
                self.secrets.entry(key).or_insert_with(|| user.clone());
            }
        }
        for needed in &refs.cluster {
            self.cluster.entry(needed.clone()).or_insert_with(|| user.clone());
        }
        for driver in &refs.drivers {
            self.drivers.entry(driver.clone()).or_insert_with(|| user.clone());
        }
    }
}

#[derive(Deserialize)]
struct WithMeta {
    #[serde(default)]
    metadata: Meta,
}

/// Learns which stored classes call themselves the default, before any document is cleaned.
pub(super) async fn default_classes(
    source: &dyn ObjectSource,
    rules: &mut FieldRules,
) -> Result<(), RestoreError> {
    let kinds = BTreeSet::from([
        GroupKind::new("storage.k8s.io", "StorageClass"),
        GroupKind::new("networking.k8s.io", "IngressClass"),
        GroupKind::new("scheduling.k8s.io", "PriorityClass"),
    ]);
    let mut objects = source.objects(None, Some(&kinds));
    while let Some(object) = objects.next().await {
        let Ok(object) = object else { continue };
        let Ok(mut doc) = Node::parse(&object.body) else { continue };
        if default_class(&object.key.kind.kind, &mut doc) {
            let created = doc.text(&["metadata", "creationTimestamp"]).unwrap_or_default();
            rules.defaults.stored(&object.key.kind.kind, &object.key.name, &created);
        }
    }
    Ok(())
}

/// Goes through everything that the selection may cover.
pub(super) async fn scan(
    source: &dyn ObjectSource,
    options: &RestoreOptions,
    rules: &FieldRules,
) -> Result<Scan, RestoreError> {
    let mut scan = Scan::default();
    let scopes = source.scopes().await?;
    for namespace in scopes.iter().flatten().filter(|n| options.selection.has_namespace(n)) {
        scan.namespaces.insert(namespace.clone());
        scan.scope(source, Some(namespace), options, rules).await?;
    }
    if scopes.contains(&None) && options.selection.cluster_scope != ClusterScope::None {
        scan.scope(source, None, options, rules).await?;
    }
    Ok(scan)
}

impl Scan {
    async fn scope(
        &mut self,
        source: &dyn ObjectSource,
        scope: Option<&str>,
        options: &RestoreOptions,
        rules: &FieldRules,
    ) -> Result<(), RestoreError> {
        let mut objects = source.objects(scope, None);
        while let Some(object) = objects.next().await {
            match object {
                Ok(object) if object.key.namespace.as_deref() == scope => {
                    self.object(&object, options, rules);
                }
                Ok(object) => self.damage.push(SourceError {
                    target: object.key.to_string(),
                    detail: "it is stored under another namespace".to_owned(),
                    key: Some(Box::new(object.key)),
                }),
                Err(error) if error.key.is_some() => self.damage.push(error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &StoredObject, options: &RestoreOptions, rules: &FieldRules) {
        let key = &object.key;
        let selection = &options.selection;
        if key.namespace.is_some() && !selection.has_namespaced(key) {
            return;
        }
        if key.namespace.is_none()
            && selection.exclude_kinds.iter().any(|k| super::selection::is_kind(k, &key.kind))
        {
            return;
        }
        if object.body.len() > MAX_BODY {
            self.facts.add(key, Verdict::Drop(format!("is longer than {MAX_BODY} bytes").into()));
            return;
        }
        let meta = serde_json::from_slice::<WithMeta>(&object.body).map(|d| d.metadata).unwrap_or_default();
        let labeled = selection.has_labels(meta.labels.as_ref().unwrap_or(&BTreeMap::new()));
        if key.namespace.is_some() && !labeled {
            return;
        }
        let (verdict, notes) = match fields::clean(key, &object.body, rules) {
            Outcome::Create(cleaned) => (Verdict::Create, cleaned.notes),
            Outcome::Skip(reason) => (Verdict::Skip(reason), Vec::new()),
            Outcome::Drop(reason) => (Verdict::Drop(reason.into()), Vec::new()),
        };
        let wanted = verdict == Verdict::Create;
        let Some(index) = self.facts.add(key, verdict) else { return };
        for note in notes {
            self.note(key, note);
        }
        let doc = match has_refs(&key.kind) && object.body.len() <= MAX_SEARCHED {
            true => serde_json::from_slice(&object.body).unwrap_or(Value::Null),
            false => Value::Null,
        };
        let refs = refs_of(key, &doc, &meta);
        self.remember(index, key, &doc, &meta);
        let manager = refs.manager.clone().filter(|_| wanted).and_then(|owner| self.managed_by(owner));
        let is_controlled = meta.controller().is_some();
        let fact = self.facts.get_mut(index);
        fact.manager = manager;
        fact.applied = meta.was_applied();
        fact.uid = Some(meta.uid).filter(|uid| uid.len() <= MAX_NAME).unwrap_or_default().into();
        fact.owners = kept_owners(key, meta.owner_references);
        if key.namespace.is_none() {
            self.defines.extend(refs.defines.clone().map(|kind| (index, kind)));
            let direct = labeled && selection.names_cluster_object(key);
            self.cluster.push((index, refs, direct));
        } else if wanted && is_controlled {
            self.controlled.push((index, refs));
        } else if wanted {
            self.needs.add(key, &refs);
        }
    }

    fn note(&mut self, key: &ObjectKey, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push((key.clone(), note));
        } else {
            self.more_notes += 1;
        }
    }

    /// Keeps what the decisions between objects need.
    fn remember(&mut self, index: Index, key: &ObjectKey, doc: &Value, meta: &Meta) {
        const REVISION: &str = "deployment.kubernetes.io/revision";
        let Some(namespace) = key.namespace.clone() else { return };
        let named = (namespace, key.name.clone());
        let revision = || meta.annotation(REVISION).unwrap_or_default().to_owned();
        match (key.kind.group.as_str(), key.kind.kind.as_str()) {
            ("apps", "Deployment") if doc["spec"]["paused"] == true => {
                self.paused.insert(named, revision());
            }
            ("apps", "ReplicaSet") => {
                self.revisions.insert(index, revision());
            }
            ("", "Service") if doc["spec"]["selector"].as_object().is_some_and(|s| !s.is_empty()) => {
                self.services_with_selector.insert(named);
            }
            _ => {}
        }
    }

    fn managed_by(&mut self, owner: ObjectKey) -> Option<u32> {
        let at = match self.managers.iter().position(|(known, _)| *known == owner) {
            Some(at) => at,
            // More owners than this are no deployment tool's.
            None if self.managers.len() >= 10_000 => return None,
            None => {
                self.managers.push((owner, 0));
                self.managers.len() - 1
            }
        };
        self.managers[at].1 += 1;
        u32::try_from(at).ok()
    }
}

/// The owners that the last pass may put back. A claim never gets one that would take its data
/// away; more than a few are nobody's.
fn kept_owners(
    key: &ObjectKey,
    owners: Vec<super::refs::OwnerReference>,
) -> Box<[super::refs::OwnerReference]> {
    let is_claim = key.kind.is("", "PersistentVolumeClaim");
    owners
        .into_iter()
        .filter(|owner| owner.is_bounded(MAX_NAME))
        .filter(|owner| !(is_claim && matches!(owner.kind.as_str(), "Pod" | "StatefulSet")))
        .take(64)
        .collect()
}
