//! One phase: its objects read from the snapshot, cleaned, their intents written, and posted, a fixed
//! number at once over the whole phase.

use super::super::error::RestoreError;
use super::super::facts::Index;
use super::super::fields::{self, Outcome as Rule};
use super::super::journal::Outcome;
use super::super::order::Phase;
use super::super::plan::dry_run::Version;
use super::super::source::{GroupKind, ObjectKey, StoredObject};
use super::super::target;
use super::{Event, Placed, Run, compare};
use crate::cluster::write::{Created, Found, KindPath, Live, Patched};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Intents written (and flushed) together.
const BATCH_OBJECTS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// An object about to be posted.
pub(super) struct Prepared {
    pub(super) index: Index,
    /// In the target.
    pub(super) key: ObjectKey,
    /// In the snapshot.
    pub(super) stored: ObjectKey,
    pub(super) path: KindPath,
    pub(super) body: Bytes,
    status: Option<Box<RawValue>>,
    notes: Vec<String>,
}

impl Run<'_> {
    pub(super) async fn create_phase(&self, phase: Phase) -> Result<(), RestoreError> {
        self.create_all(&self.plan.scopes_of(phase), None).await
    }

    /// Objects whose kind came to be served only later (by an API service, say).
    pub(super) async fn create_deferred(&mut self) -> Result<(), RestoreError> {
        let deferred: HashSet<Index> = std::mem::take(&mut self.shared().deferred).into_iter().collect();
        if deferred.is_empty() {
            return Ok(());
        }
        self.served = target::served(self.cluster).await?;
        let facts = &self.plan.facts;
        let mut scopes: BTreeMap<Option<String>, BTreeSet<GroupKind>> = BTreeMap::new();
        for index in &deferred {
            let scope = facts.namespace_of(*index).map(str::to_owned);
            scopes.entry(scope).or_default().insert(facts.kind_of(*index).clone());
        }
        self.create_all(&scopes, Some(&deferred)).await?;
        let mut shared = self.shared();
        for index in std::mem::take(&mut shared.deferred) {
            let key = self.plan.target_key(index);
            let text = format!(
                "the cluster does not serve the kind {}; install what provides it and run the same command again",
                key.kind
            );
            shared.report.failed.push(&key, text);
        }
        Ok(())
    }

    async fn create_all(
        &self,
        scopes: &BTreeMap<Option<String>, BTreeSet<GroupKind>>,
        only: Option<&HashSet<Index>>,
    ) -> Result<(), RestoreError> {
        let objects = stream::iter(scopes)
            .flat_map(|(scope, kinds)| self.source.objects(scope.as_deref(), Some(kinds)));
        let prepared = objects.filter_map(|object| {
            let done = match object {
                Ok(object) => self.prepare(&object, only).transpose(),
                // The plan has named those that cannot be read.
                Err(error) if error.key.is_some() => None,
                Err(error) => Some(Err(error.into())),
            };
            async { done }
        });
        batches(Box::pin(prepared))
            .and_then(|batch| self.intend(batch))
            .map_ok(|batch| stream::iter(batch.into_iter().map(Ok::<_, RestoreError>)))
            .try_flatten()
            .try_for_each_concurrent(self.plan.options.in_flight.max(1), |one| async {
                let done = self.create(one).await;
                (self.hooks.progress)(Event::Object);
                done
            })
            .await
    }

    /// Writes the intents of a batch and waits for the disk, while earlier ones are in flight.
    async fn intend(&self, batch: Vec<Prepared>) -> Result<Vec<Prepared>, RestoreError> {
        let unflushed = self.journal().intend(batch.iter().map(|one| &one.key))?;
        let flushed = tokio::task::spawn_blocking(move || unflushed.flush()).await;
        flushed.expect("flushing a file does not panic")?;
        Ok(batch)
    }

    /// Everything about an object that can be known before it is posted.
    fn prepare(
        &self,
        object: &StoredObject,
        only: Option<&HashSet<Index>>,
    ) -> Result<Option<Prepared>, RestoreError> {
        let Some(index) = self.plan.planned(object) else { return Ok(None) };
        if only.is_some_and(|only| !only.contains(&index)) {
            return Ok(None);
        }
        let key = self.plan.target_key(index);
        if self.was_settled(index, &key) {
            (self.hooks.progress)(Event::Object);
            return Ok(None);
        }
        if let Some(reason) = self.unfilled(&object.key) {
            self.shared().report.failed.push(&key, format!("its volume could not be filled: {reason}"));
            return Ok(None);
        }
        let Some(path) = self.served.path(&key.kind, &Version::of(&object.body)) else {
            self.shared().deferred.push(index);
            return Ok(None);
        };
        let cleaned = match fields::clean(&object.key, &object.body, &self.rules) {
            Rule::Create(cleaned) => cleaned,
            Rule::Skip(reason) => return self.changed(&key, reason),
            Rule::Drop(reason) => return self.changed(&key, &reason),
        };
        Ok(Some(Prepared {
            index,
            key,
            stored: object.key.clone(),
            path,
            body: Bytes::from(cleaned.body),
            status: cleaned.status,
            notes: cleaned.notes,
        }))
    }

    /// The source gave another document than when the plan was made.
    fn changed(&self, key: &ObjectKey, reason: &str) -> Result<Option<Prepared>, RestoreError> {
        self.shared().report.failed.push(key, format!("is not what the plan saw: {reason}"));
        Ok(None)
    }

    /// Whether an earlier run settled the object; if so it is counted.
    fn was_settled(&self, index: Index, key: &ObjectKey) -> bool {
        let Some(settled) = self.settled.get(key) else { return false };
        let live = Live { uid: settled.uid.to_string(), resource_version: String::new() };
        let ours = settled.outcome == Outcome::Created;
        let mut shared = self.shared();
        shared.count(key, settled.outcome);
        if settled.outcome == Outcome::LeftDifferent {
            shared.report.left_different.push(key, "found by the interrupted run");
        }
        shared.placed.insert(index, Placed { live, ours, finished: settled.finished });
        true
    }

    async fn create(&self, one: Prepared) -> Result<(), RestoreError> {
        let namespace = one.key.namespace.as_deref();
        if let Some(reason) = self.not_yet(&one).await? {
            self.shared().report.dropped.push(&one.key, reason);
            return Ok(());
        }
        match self.writer.create(&one.path, namespace, &one.key.name, one.body.clone()).await? {
            Created::Made(live) => {
                let live = self.restore_status(&one, live).await?;
                self.place(one.index, &one.key, live, Outcome::Created)?;
                let mut shared = self.shared();
                for note in one.notes {
                    shared.report.notes.push(&one.key, note);
                }
                Ok(())
            }
            Created::Exists(found) => self.left_alone(&one, &found).await,
            Created::Refused(refusal) => {
                self.shared().report.failed.push(&one.key, refusal.to_string());
                Ok(())
            }
        }
    }

    /// An object of that name exists: it stays as it is, and is compared.
    async fn left_alone(&self, one: &Prepared, found: &Found) -> Result<(), RestoreError> {
        let mut differences = compare::differences(&one.key, &one.body, &found.body, &self.rules);
        if one.key.kind.is("", "ServiceAccount") && one.key.name == "default" {
            self.complete_account(one, found, &mut differences).await?;
        }
        if differences.is_empty() {
            return self.place(one.index, &one.key, found.live.clone(), Outcome::LeftSame);
        }
        self.place(one.index, &one.key, found.live.clone(), Outcome::LeftDifferent)?;
        self.shared().report.left_different.push(&one.key, differences.join(", "));
        Ok(())
    }

    /// Puts a status back that was asked for, on the object just made.
    async fn restore_status(&self, one: &Prepared, live: Live) -> Result<Live, RestoreError> {
        let Some(status) = &one.status else { return Ok(live) };
        let change = serde_json::json!({ "status": serde_json::from_str::<serde_json::Value>(status.get()).unwrap_or_default() });
        let at = (one.key.namespace.as_deref(), one.key.name.as_str());
        let mut now = live;
        for _ in 0..5 {
            match self.writer.patch(&one.path, at, &now, "status", change.clone()).await? {
                Patched::Done(live) => return Ok(live),
                Patched::Moved => match self.writer.find(&one.path, at.0, at.1).await? {
                    Some(found) if found.live.uid == now.uid => now = found.live,
                    _ => break,
                },
                Patched::Refused(refusal) => {
                    self.shared().report.dropped.push(&one.key, format!("its status: {refusal}"));
                    return Ok(now);
                }
            }
        }
        self.shared().report.dropped.push(&one.key, "its status: the object kept changing");
        Ok(now)
    }
}

/// Gathers objects until their intents are worth a flush.
fn batches<S>(objects: S) -> impl Stream<Item = Result<Vec<Prepared>, RestoreError>>
where
    S: Stream<Item = Result<Prepared, RestoreError>> + Unpin,
{
    stream::try_unfold(objects, |mut objects| async {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_OBJECTS && bytes < BATCH_BYTES {
            let Some(object) = objects.next().await else { break };
            let object = object?;
            bytes += object.body.len();
            batch.push(object);
        }
        Ok((!batch.is_empty()).then_some((batch, objects)))
    })
}
