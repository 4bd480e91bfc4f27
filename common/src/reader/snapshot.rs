//! An opened snapshot: its body, and the objects of its namespaces, streamed or looked up one by one. Names that are
//! unsafe as paths are reported and never followed. Knows no Kubernetes beyond names.

use super::chain::Snapshot;
use super::chunks::ChunkReader;
use super::error::ReadError;
use super::keyring::Keyring;
use super::map::{self, KeyRange, MapEntry};
use super::names::{CLUSTER, ObjectName, ObjectPath, PATHS, is_namespace, is_volume_name};
use super::packs::PackIndex;
use super::repository::Repository;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_format::body::{Body, DomainEntry, DomainKind, object_key};
use lifeboat_format::id::Handle;
use lifeboat_format::pack::Reference;
use std::collections::HashMap;
use std::sync::Arc;

/// Values out of their page that are fetched at a time.
const VALUES_AHEAD: usize = 4;
/// Domains read at a time where order does not matter.
const DOMAINS_AHEAD: usize = 4;
/// Longer names of one path are not ours (`names::shorten`).
const SURE_LEN: usize = 200;

/// A snapshot whose body was opened.
#[derive(Debug)]
pub struct OpenSnapshot {
    snapshot: Snapshot,
    body: Body,
    domains: Vec<Domain>,
    problems: Vec<String>,
    chunks: Arc<ChunkReader>,
    owners: Owners,
}

/// Packs that are known to be a domain's, since its root is in them, with its folder.
pub(super) type Owners = Arc<HashMap<Handle, String>>;

/// One domain of the body, its names checked.
#[derive(Debug, Clone)]
pub struct Domain {
    pub kind: DomainKind,
    /// `None` for what has no namespace.
    pub namespace: Option<String>,
    /// The claim or path volume; empty for objects.
    pub name: String,
    pub entries: u64,
    /// Plaintext of the values.
    pub bytes: u64,
    pub(super) roots: Vec<Reference>,
}

/// Which objects: all at or below this path.
pub type ObjectFilter = ObjectPath;

/// An object as the API server gave it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub name: ObjectName,
    /// Out of a Secrets domain.
    pub secret: bool,
    /// JSON, verbatim.
    pub json: Bytes,
}

/// An object that was not read.
#[derive(Debug, Clone)]
pub struct Listed {
    pub name: ObjectName,
    pub secret: bool,
    /// Of its JSON, bytes; unknown for very large ones.
    pub size: Option<u64>,
}

impl Repository {
    /// Opens a snapshot with an administrator's keys.
    pub async fn open_snapshot(
        &self,
        snapshot: &Snapshot,
        keyring: Arc<Keyring>,
    ) -> Result<OpenSnapshot, ReadError> {
        let manifest = &snapshot.manifest;
        let seq = manifest.seq;
        let Some(body) = &manifest.body else {
            return Err(ReadError::Snapshot { seq, why: "it is a checkpoint and has no body".to_owned() });
        };
        let index = PackIndex::load(&self.store, manifest).await?;
        let made_under = self.charters.iter().find(|c| c.charter().n == manifest.charter);
        let epoch = made_under.and_then(|c| c.charter().current_epoch()).map(|e| e.n);
        let chunks = Arc::new(ChunkReader::new(seq, Arc::clone(&self.store), keyring, epoch, index));
        let bytes = chunks.chunk(&Reference::from(body)).await?;
        let body = Body::parse(&bytes, &self.cluster, &manifest.id)
            .map_err(|e| ReadError::Snapshot { seq, why: e.to_string() })?;
        let mut problems = Vec::new();
        let domains: Vec<Domain> =
            body.domains.iter().filter_map(|d| Domain::check(d, &mut problems)).collect();
        let owned = |d: &Domain| {
            let folder = d.folder();
            d.roots.iter().map(|r| (r.handle, folder.clone())).collect::<Vec<_>>()
        };
        let owners = Arc::new(domains.iter().flat_map(owned).collect());
        Ok(OpenSnapshot { snapshot: snapshot.clone(), body, domains, problems, chunks, owners })
    }
}

impl Domain {
    fn check(entry: &DomainEntry, problems: &mut Vec<String>) -> Option<Self> {
        let namespace = match entry.kind {
            DomainKind::Cluster | DomainKind::Path => None,
            _ if is_namespace(&entry.namespace) => Some(entry.namespace.clone()),
            _ => {
                problems.push(format!(
                    "The namespace name '{}' is not one; its {} entries are left out",
                    entry.namespace.escape_debug(),
                    entry.entries
                ));
                return None;
            }
        };
        if matches!(entry.kind, DomainKind::Volume | DomainKind::Path) && !is_volume_name(&entry.name) {
            let name = entry.name.escape_debug();
            problems.push(format!(
                "The volume name '{name}' is not one; its {} entries are left out",
                entry.entries
            ));
            return None;
        }
        Some(Self {
            kind: entry.kind,
            namespace,
            name: entry.name.clone(),
            entries: entry.entries,
            bytes: entry.bytes,
            roots: entry.roots.clone(),
        })
    }

    /// Whether it holds objects, rather than files.
    #[must_use]
    pub fn has_objects(&self) -> bool {
        matches!(self.kind, DomainKind::Objects | DomainKind::Secrets | DomainKind::Cluster)
    }

    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind == DomainKind::Secrets
    }

    /// The folder that its objects or files are shown in: `objects/<namespace>`, `volumes/<namespace>/<claim>`,
    /// `volumes/_paths/<volume>`.
    #[must_use]
    pub fn folder(&self) -> String {
        match (self.has_objects(), self.namespace.as_deref()) {
            (true, namespace) => format!("objects/{}", namespace.unwrap_or(CLUSTER)),
            (false, namespace) => format!("volumes/{}/{}", namespace.unwrap_or(PATHS), self.name),
        }
    }
}

impl OpenSnapshot {
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    #[must_use]
    pub fn seq(&self) -> u64 {
        self.snapshot.manifest.seq
    }

    /// The run report: JSON, schema `lifeboat/run-report/1`.
    #[must_use]
    pub fn report(&self) -> &[u8] {
        &self.body.report
    }

    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// Names in the body that are unsafe, one line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The snapshot's chunks, for what reads more than objects.
    #[must_use]
    pub fn chunks(&self) -> &Arc<ChunkReader> {
        &self.chunks
    }

    /// Whether it covers a namespace (`None`: what has none) whole, as its manifest's scopes say; a run that chose
    /// by label or kind covers none.
    #[must_use]
    pub fn covers(&self, namespace: Option<&str>) -> bool {
        let scopes = &self.snapshot.manifest.scopes;
        let of_it = |d: &&DomainEntry| match namespace {
            Some(name) => d.namespace == name && d.kind != DomainKind::Cluster,
            None => d.kind == DomainKind::Cluster,
        };
        self.body.domains.iter().filter(of_it).any(|d| d.alias.is_some_and(|a| scopes.contains(&a)))
    }

    /// The namespaces with objects, ascending; first `None` where there are objects without one.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Option<String>> {
        let mut all: Vec<_> =
            self.domains.iter().filter(|d| d.has_objects()).map(|d| d.namespace.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn wanted(&self, filter: &ObjectFilter) -> Vec<Domain> {
        let wanted =
            |d: &&Domain| d.has_objects() && filter.namespace.as_ref().is_none_or(|n| *n == d.namespace);
        self.domains.iter().filter(wanted).cloned().collect()
    }

    /// The objects of `filter`, with their content, in an order that is always the same. An error says what cannot be
    /// read; the others go on.
    pub fn objects(&self, filter: &ObjectFilter) -> BoxStream<'static, Result<Stored, ReadError>> {
        let domains = self.wanted(filter);
        let (chunks, filter) = (Arc::clone(&self.chunks), filter.clone());
        stream::iter(domains).flat_map(move |d| objects_of(Arc::clone(&chunks), d, filter.clone())).boxed()
    }

    /// Like [`Self::objects`], several namespaces at a time, in no order.
    pub fn objects_unordered(&self, filter: &ObjectFilter) -> BoxStream<'static, Result<Stored, ReadError>> {
        let domains = self.wanted(filter);
        let (chunks, filter) = (Arc::clone(&self.chunks), filter.clone());
        let each = move |d| objects_of(Arc::clone(&chunks), d, filter.clone());
        stream::iter(domains).flat_map_unordered(DOMAINS_AHEAD, each).boxed()
    }

    /// The names of the objects of `filter`, their content unread where it is not in the pages.
    pub fn names(&self, filter: &ObjectFilter) -> BoxStream<'static, Result<Listed, ReadError>> {
        let domains = self.wanted(filter);
        let (chunks, filter) = (Arc::clone(&self.chunks), filter.clone());
        stream::iter(domains)
            .flat_map(move |d| entries_of(Arc::clone(&chunks), d, filter.clone()))
            .map_ok(|found| {
                let size = found.entry.size();
                Listed { name: found.name, secret: found.secret, size }
            })
            .boxed()
    }

    /// The kinds in a namespace, ascending, in a few reads each; and what could not be read.
    pub async fn kinds(&self, namespace: &Option<String>) -> (Vec<String>, Vec<ReadError>) {
        let filter = ObjectFilter { namespace: Some(namespace.clone()), ..ObjectFilter::default() };
        let (mut kinds, mut errors) = (Vec::new(), Vec::new());
        for domain in self.wanted(&filter) {
            for root in &domain.roots {
                let found = self.kinds_of(*root, &mut kinds).await;
                errors.extend(found.err().map(|e| e.at(domain.folder())));
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        (kinds, errors)
    }

    async fn kinds_of(&self, root: Reference, kinds: &mut Vec<String>) -> Result<(), ReadError> {
        let mut range = KeyRange::all();
        while let Some(entry) = map::first(&self.chunks, root, range).await? {
            let kind = entry.key.split(|b| *b == 0).next().unwrap_or_default();
            kinds.extend(ObjectName::from_key(None, &entry.key).map(|name| name.kind_group));
            // What sorts after every name of this kind.
            range = KeyRange::from([kind, &[1]].concat());
        }
        Ok(())
    }

    /// One object, in few reads.
    pub async fn object(&self, name: &ObjectName) -> Result<Option<Stored>, ReadError> {
        let stem = name.stem();
        let kind_group = Some(name.kind_folder());
        self.find(&ObjectFilter { namespace: Some(name.namespace.clone()), kind_group, stem: Some(stem) })
            .await
    }

    /// The one object that a path names; `None` when there is none, or the path is a folder's.
    pub async fn find(&self, path: &ObjectPath) -> Result<Option<Stored>, ReadError> {
        if path.stem.is_none() {
            return Ok(None);
        }
        let mut failure = None;
        let mut objects = self.objects(path);
        while let Some(next) = objects.next().await {
            match next {
                Ok(found) => return Ok(Some(found)),
                // It may be in a part of the namespace that is sound.
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// What a domain's entries refer to, page by page; for files and for checking everything.
    pub fn entries(
        &self,
        domain: &Domain,
        range: &KeyRange,
    ) -> BoxStream<'static, Result<MapEntry, ReadError>> {
        walk_all(Arc::clone(&self.chunks), domain, range)
    }
}

struct FoundEntry {
    name: ObjectName,
    secret: bool,
    entry: MapEntry,
}

fn walk_all(
    chunks: Arc<ChunkReader>,
    domain: &Domain,
    range: &KeyRange,
) -> BoxStream<'static, Result<MapEntry, ReadError>> {
    let range = range.clone();
    let roots = stream::iter(domain.roots.clone());
    roots.flat_map(move |root| map::walk(Arc::clone(&chunks), root, range.clone())).boxed()
}

fn entries_of(
    chunks: Arc<ChunkReader>,
    domain: Domain,
    filter: ObjectFilter,
) -> BoxStream<'static, Result<FoundEntry, ReadError>> {
    let folder = domain.folder();
    let seq = chunks.seq();
    let range = range_of(&filter);
    let found = walk_all(chunks, &domain, &range).filter_map(move |entry| {
        let found = match entry {
            Err(e) => Some(Err(e.at(folder.clone()))),
            Ok(entry) => match ObjectName::from_key(domain.namespace.as_deref(), &entry.key) {
                Some(name) if filter.covers(&name) => {
                    Some(Ok(FoundEntry { name, secret: domain.is_secret(), entry }))
                }
                Some(_) => None,
                None => {
                    let shown = String::from_utf8_lossy(&entry.key).escape_debug().to_string();
                    let why = format!("the name '{shown}' cannot be an object's");
                    Some(Err(ReadError::Snapshot { seq, why }.at(folder.clone())))
                }
            },
        };
        futures::future::ready(found)
    });
    found.boxed()
}

fn objects_of(
    chunks: Arc<ChunkReader>,
    domain: Domain,
    filter: ObjectFilter,
) -> BoxStream<'static, Result<Stored, ReadError>> {
    let read = entries_of(Arc::clone(&chunks), domain, filter).map(move |found| {
        let chunks = Arc::clone(&chunks);
        async move {
            let found = found?;
            let json = map::value(&chunks, &found.entry).await.map_err(|e| e.at(found.name.path()))?;
            Ok(Stored { name: found.name, secret: found.secret, json })
        }
    });
    read.buffered(VALUES_AHEAD).boxed()
}

/// The keys that can be at or below a path. Long parts of a path may be shortened names.
fn range_of(filter: &ObjectFilter) -> KeyRange {
    match (&filter.kind_group, &filter.stem) {
        (Some(kind), Some(stem)) if kind.len() <= SURE_LEN && stem.len() <= SURE_LEN => {
            KeyRange::exactly(&object_key(kind, stem))
        }
        (Some(kind), _) if kind.len() <= SURE_LEN => KeyRange::prefix(&object_key(kind, "")),
        _ => KeyRange::all(),
    }
}

impl MapEntry {
    /// Bytes of the value; unknown where its chunks are in lists of their own.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self.references.as_slice() {
            [] => Some(self.inline.len() as u64),
            _ if self.indirect => None,
            all => Some(all.iter().map(|r| u64::from(r.length)).sum()),
        }
    }
}
