//! The last pass: owners by their new uids, and who applied which field. Only on objects that this
//! restore made, and only to owners that exist now.

use super::super::error::RestoreError;
use super::super::facts::Index;
use super::super::plan::dry_run::Version;
use super::super::refs::OwnerReference;
use super::super::settle::group_of;
use super::super::source::{GroupKind, ObjectKey};
use super::{Event, Run};
use crate::cluster::write::{Found, KindPath, Live, Patched};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::Mutex;

/// Looks at an object that keeps changing, at most.
const MAX_TRIES: usize = 8;

/// Owners outside the plan, looked up once: kind, namespace, name → uid.
type Cache = Mutex<HashMap<(GroupKind, Option<String>, String), Option<String>>>;

#[derive(Deserialize)]
struct Managed {
    metadata: ManagedMeta,
}

#[derive(Deserialize)]
struct ManagedMeta {
    #[serde(default, rename = "managedFields")]
    fields: Vec<Value>,
}

impl Run<'_> {
    /// Puts owners and managed fields back.
    pub(super) async fn finish(&self) -> Result<(), RestoreError> {
        let (applied, others) = self.unfinished();
        if applied.is_empty() && others.is_empty() {
            return Ok(());
        }
        // What is patched must be known to be ours first: after it, the field manager may be gone.
        self.journal().flush()?;
        (self.hooks.progress)(Event::Finishing(applied.len() + others.len()));
        let cache = Cache::default();
        let at_once = self.plan.options.in_flight.max(1);
        stream::iter(others.into_iter().map(Ok))
            .try_for_each_concurrent(at_once, |index| self.finish_one(index, None, None, &cache))
            .await?;
        let mut scopes: BTreeMap<Option<String>, BTreeSet<GroupKind>> = BTreeMap::new();
        for index in &applied {
            let scope = self.plan.facts.namespace_of(*index).map(str::to_owned);
            scopes.entry(scope).or_default().insert(self.plan.facts.kind_of(*index).clone());
        }
        let applied: BTreeSet<Index> = applied.into_iter().collect();
        stream::iter(&scopes)
            .flat_map(|(scope, kinds)| self.source.objects(scope.as_deref(), Some(kinds)))
            .map_err(RestoreError::from)
            .try_for_each_concurrent(at_once, |object| {
                let index = self.plan.planned(&object).filter(|index| applied.contains(index));
                let managed = index.and_then(|_| serde_json::from_slice::<Managed>(&object.body).ok());
                let version = index.map(|_| Version::of(&object.body));
                drop(object);
                let cache = &cache;
                async move {
                    match (index, managed) {
                        (Some(index), Some(managed)) => {
                            self.finish_one(index, Some(managed.metadata.fields), version, cache).await
                        }
                        _ => Ok(()),
                    }
                }
            })
            .await
    }

    /// Objects of ours that lack something: those that were applied, and those with owners alone.
    fn unfinished(&self) -> (Vec<Index>, Vec<Index>) {
        let facts = &self.plan.facts;
        let shared = self.shared();
        let open = shared.placed.iter().filter(|(_, placed)| placed.ours && !placed.finished);
        let mut split = (Vec::new(), Vec::new());
        for index in open.map(|(index, _)| *index) {
            let fact = facts.get(index);
            // A copy under another name is nobody's applied object any more.
            let mapped = facts.namespace_of(index).is_some_and(|n| self.plan.options.map.get(n).is_some());
            if fact.applied && !mapped {
                split.0.push(index);
            } else if !fact.owners.is_empty() {
                split.1.push(index);
            }
        }
        split.0.sort_unstable();
        split.1.sort_unstable();
        split
    }

    async fn finish_one(
        &self,
        index: Index,
        managed: Option<Vec<Value>>,
        version: Option<String>,
        cache: &Cache,
    ) -> Result<(), RestoreError> {
        let key = self.plan.target_key(index);
        let Some(live) = self.shared().placed.get(&index).map(|placed| placed.live.clone()) else {
            return Ok(());
        };
        let Some(path) = self.served.path(&key.kind, version.as_deref().unwrap_or_default()) else {
            return Ok(());
        };
        let mut owners = Vec::new();
        for owner in &self.plan.facts.get(index).owners {
            match self.owner_now(index, owner, cache).await? {
                Some(uid) => owners.push(reference(owner, &uid)),
                None => {
                    let text =
                        format!("its owner {} {} does not exist: reference left off", owner.kind, owner.name);
                    self.shared().report.dropped.push(&key, text);
                }
            }
        }
        if !owners.is_empty() || managed.is_some() {
            let change = Change { owners, managed };
            self.patch_until_done(&key, &path, live, change).await?;
        }
        self.journal().finish(&key)?;
        (self.hooks.progress)(Event::Object);
        Ok(())
    }

    async fn patch_until_done(
        &self,
        key: &ObjectKey,
        path: &KindPath,
        live: Live,
        mut change: Change,
    ) -> Result<(), RestoreError> {
        let at = (key.namespace.as_deref(), key.name.as_str());
        let mut now = live;
        let mut present = Vec::new();
        for attempt in 0..MAX_TRIES {
            // Of an earlier run only the uid is known; and what others changed has to be seen.
            if attempt > 0 || now.resource_version.is_empty() {
                match self.writer.find(path, at.0, at.1).await? {
                    Some(found) if found.live.uid == now.uid => {
                        present = owners_of(&found);
                        now = found.live;
                    }
                    _ => return Ok(()), // gone, or another by now: not ours to touch
                }
            }
            let owners = merged(&present, &change.owners);
            let body = change.body(&owners);
            match self.writer.patch(path, at, &now, "", body).await? {
                Patched::Done(_) => {
                    self.shared().report.owners_added += owners.len() - present.len();
                    return Ok(());
                }
                Patched::Moved => {}
                Patched::Refused(refusal) if change.managed.is_some() && !change.owners.is_empty() => {
                    change.managed = None;
                    let text = format!("its managed fields were not taken: {refusal}");
                    self.shared().report.notes.push(key, text);
                }
                Patched::Refused(refusal) => {
                    let text = format!("its owners or managed fields were not taken: {refusal}");
                    self.shared().report.dropped.push(key, text);
                    return Ok(());
                }
            }
        }
        self.shared().report.dropped.push(key, "its owners: the object kept changing");
        Ok(())
    }

    /// The uid that an owner has now.
    async fn owner_now(
        &self,
        index: Index,
        owner: &OwnerReference,
        cache: &Cache,
    ) -> Result<Option<String>, RestoreError> {
        let kind = GroupKind::new(group_of(&owner.api_version), owner.kind.as_str());
        let namespace = self.plan.facts.namespace_of(index);
        for scope in [namespace, None] {
            let Some(stored) = self.plan.facts.find_parts(scope, &kind, &owner.name) else { continue };
            if *self.plan.facts.get(stored).uid != *owner.uid {
                return Ok(None); // another object of that name: its owner was gone before the backup
            }
            if let Some(placed) = self.shared().placed.get(&stored) {
                return Ok(Some(placed.live.uid.clone()));
            }
        }
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        let Some(path) = self.served.path(&kind, version) else { return Ok(None) };
        let scope = match (path.namespaced, namespace) {
            (true, None) => return Ok(None),
            (true, Some(namespace)) => Some(self.plan.options.map.of(namespace).to_owned()),
            (false, _) => None,
        };
        let at = (kind, scope.clone(), owner.name.clone());
        let mut known = cache.lock().await;
        if let Some(uid) = known.get(&at) {
            return Ok(uid.clone());
        }
        let found = self.writer.find(&path, scope.as_deref(), &owner.name).await?;
        let uid = found.map(|found| found.live.uid);
        known.insert(at, uid.clone());
        Ok(uid)
    }
}

/// What is put back on one object.
struct Change {
    owners: Vec<Value>,
    managed: Option<Vec<Value>>,
}

impl Change {
    fn body(&self, owners: &[Value]) -> Value {
        let mut metadata = json!({});
        if !owners.is_empty() {
            metadata["ownerReferences"] = json!(owners);
        }
        if let Some(managed) = &self.managed {
            metadata["managedFields"] = json!(managed);
        }
        json!({ "metadata": metadata })
    }
}

fn reference(owner: &OwnerReference, uid: &str) -> Value {
    let mut reference = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": uid,
    });
    if let Some(controller) = owner.controller {
        reference["controller"] = json!(controller);
    }
    if let Some(block) = owner.block_owner_deletion {
        reference["blockOwnerDeletion"] = json!(block);
    }
    reference
}

fn owners_of(found: &Found) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&found.body).unwrap_or_default();
    document["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default()
}

/// What is there stays; ours are added, unless there already, or a second controller.
fn merged(present: &[Value], ours: &[Value]) -> Vec<Value> {
    let mut all = present.to_vec();
    for owner in ours {
        let known = all.iter().any(|other| other["uid"] == owner["uid"]);
        let second = owner["controller"] == true && all.iter().any(|other| other["controller"] == true);
        if !known && !second {
            all.push(owner.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_added_to_what_controllers_set_meanwhile() {
        let owner = |uid: &str, controller: bool| json!({"uid": uid, "controller": controller});
        let all = merged(&[owner("a", true)], &[owner("a", true), owner("b", true), owner("c", false)]);
        assert_eq!(all, [owner("a", true), owner("c", false)]);
        assert_eq!(merged(&[], &[owner("a", true)]).len(), 1);
    }

    #[test]
    fn a_reference_keeps_its_flags() {
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "A".into(),
            name: "n".into(),
            uid: "old".into(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let want = json!({"apiVersion": "v1", "kind": "A", "name": "n", "uid": "new", "controller": true});
        assert_eq!(reference(&owner, "new"), want);
    }
}
