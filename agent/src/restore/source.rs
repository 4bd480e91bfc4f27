//! Where the stored objects come from, as a restore needs them: again and again, in any part, and
//! never all at once. Knows no snapshot format.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A kind, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKind {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
}

impl GroupKind {
    #[must_use]
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_str() {
            "" => f.write_str(&self.kind),
            group => write!(f, "{}.{group}", self.kind),
        }
    }
}

/// What names an object in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// `None` for cluster-scoped objects.
    pub namespace: Option<String>,
    pub kind: GroupKind,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One stored object: its key, and the document as the API server once gave it.
#[derive(Debug, Clone)]
pub struct StoredObject {
    pub key: ObjectKey,
    pub body: Bytes,
}

/// Reading failed. With a key, for that object alone, and reading goes on; without, altogether.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Cannot read {target} from the snapshot: {detail}")]
pub struct SourceError {
    pub key: Option<Box<ObjectKey>>,
    pub target: String,
    pub detail: String,
}

/// The kinds to read; `None` for all.
pub type Kinds<'a> = Option<&'a BTreeSet<GroupKind>>;

/// A snapshot's objects. Read twice or three times, a part at a time; a reader that holds the
/// objects sorted by scope, group and kind need only read the parts that are asked for.
pub trait ObjectSource: Send + Sync {
    /// The namespaces, and `None` if there are cluster-scoped objects.
    fn scopes(&self) -> BoxFuture<'_, Result<Vec<Option<String>>, SourceError>>;

    /// The objects of one scope and of these kinds, in any order that is always the same.
    fn objects<'a>(
        &'a self,
        scope: Option<&'a str>,
        kinds: Kinds<'a>,
    ) -> BoxStream<'a, Result<StoredObject, SourceError>>;

    /// What the backup says it missed, one line each.
    fn gaps(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemorySource {
    objects: BTreeMap<Option<String>, BTreeMap<(GroupKind, String), Bytes>>,
    gaps: Vec<String>,
}

impl MemorySource {
    /// Takes objects by what their documents say they are; others are left out.
    #[must_use]
    pub fn of(documents: impl IntoIterator<Item = serde_json::Value>) -> Self {
        let mut source = Self::default();
        for document in documents {
            let text = |v: &serde_json::Value| v.as_str().map(str::to_owned);
            let group = text(&document["apiVersion"]).unwrap_or_default();
            let group = group.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
            let kind = text(&document["kind"]).unwrap_or_default();
            let Some(name) = text(&document["metadata"]["name"]) else { continue };
            let namespace = text(&document["metadata"]["namespace"]);
            let key = ObjectKey { namespace, kind: GroupKind { group, kind }, name };
            source.insert(key, Bytes::from(document.to_string()));
        }
        source
    }

    /// Puts one object in.
    pub fn insert(&mut self, key: ObjectKey, body: Bytes) {
        self.objects.entry(key.namespace).or_default().insert((key.kind, key.name), body);
    }

    /// Says that the backup missed something.
    pub fn add_gap(&mut self, gap: impl Into<String>) {
        self.gaps.push(gap.into());
    }
}

impl ObjectSource for MemorySource {
    fn scopes(&self) -> BoxFuture<'_, Result<Vec<Option<String>>, SourceError>> {
        Box::pin(async { Ok(self.objects.keys().cloned().collect()) })
    }

    fn objects<'a>(
        &'a self,
        scope: Option<&'a str>,
        kinds: Kinds<'a>,
    ) -> BoxStream<'a, Result<StoredObject, SourceError>> {
        let Some(objects) = self.objects.get(&scope.map(str::to_owned)) else {
            return stream::empty().boxed();
        };
        let wanted = objects.iter().filter(move |((kind, _), _)| kinds.is_none_or(|k| k.contains(kind)));
        stream::iter(wanted.map(move |((kind, name), body)| {
            let namespace = scope.map(str::to_owned);
            let key = ObjectKey { namespace, kind: kind.clone(), name: name.clone() };
            Ok(StoredObject { key, body: body.clone() })
        }))
        .boxed()
    }

    fn gaps(&self) -> Vec<String> {
        self.gaps.clone()
    }
}
