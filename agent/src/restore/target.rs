//! The cluster that is restored into, as far as a plan needs to know it. Only reads.

use super::error::RestoreError;
use super::fields::{DefaultClasses, Families};
use super::source::{GroupKind, ObjectKey};
use crate::cluster::write::{KindPath, WriteError, Writer};
use crate::cluster::{Cluster, Resource};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// How many pages of a list are read at most; beyond that there are too many classes to be true.
const MAX_PAGES: usize = 100;

/// The kinds that a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Served(HashMap<GroupKind, Resource>);

impl Served {
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Self {
        let key = |r: &Resource| GroupKind::new(&r.group, &r.kind);
        Self(resources.into_iter().filter(|r| r.can("create")).map(|r| (key(&r), r)).collect())
    }

    #[must_use]
    pub fn has(&self, kind: &GroupKind) -> bool {
        self.0.contains_key(kind)
    }

    /// Where objects of a kind live, at the version that a document is written in where possible.
    #[must_use]
    pub fn path(&self, kind: &GroupKind, version: &str) -> Option<KindPath> {
        self.0.get(kind).map(|resource| KindPath::of(resource, version))
    }
}

/// What is there already.
#[derive(Debug, Default)]
pub struct Target {
    pub cluster_uid: String,
    pub server: String,
    pub served: Served,
    pub namespaces: BTreeSet<String>,
    /// Names of existing classes and drivers.
    pub classes: BTreeSet<(GroupKind, String)>,
    pub defaults: DefaultClasses,
    pub families: Option<Families>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: String,
}

/// Looks at the cluster.
pub async fn look(cluster: &Cluster, writer: &Writer) -> Result<Target, RestoreError> {
    let mut target = Target {
        cluster_uid: cluster.kube_system_uid().await?,
        server: cluster.server().to_owned(),
        served: served(cluster).await?,
        ..Target::default()
    };
    for namespace in list(writer, "/api/v1/namespaces").await? {
        target.namespaces.extend(namespace["metadata"]["name"].as_str().map(str::to_owned));
    }
    for (group, version, kind, plural) in [
        ("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
        ("storage.k8s.io", "v1", "CSIDriver", "csidrivers"),
        ("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses"),
        ("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
        ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
        ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
    ] {
        for class in list(writer, &format!("/apis/{group}/{version}/{plural}")).await? {
            target.add_class(&GroupKind::new(group, kind), &class);
        }
    }
    target.families = families(writer).await?;
    Ok(target)
}

/// The kinds that the cluster serves now.
pub async fn served(cluster: &Cluster) -> Result<Served, RestoreError> {
    Ok(Served::of(cluster.discover().await?.resources))
}

impl Target {
    fn add_class(&mut self, kind: &GroupKind, class: &Value) {
        let Some(name) = class["metadata"]["name"].as_str() else { return };
        let annotations = &class["metadata"]["annotations"];
        let is_default = class["globalDefault"] == true
            || [
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
                "ingressclass.kubernetes.io/is-default-class",
            ]
            .iter()
            .any(|key| annotations[*key] == "true");
        if is_default {
            self.defaults.in_cluster(&kind.kind, name);
        }
        self.classes.insert((kind.clone(), name.to_owned()));
    }
}

/// All items of a list, page by page; nothing where the kind is not served.
async fn list(writer: &Writer, path: &str) -> Result<Vec<Value>, WriteError> {
    let mut items = Vec::new();
    let mut next = String::new();
    for _ in 0..MAX_PAGES {
        let url = match next.as_str() {
            "" => format!("{path}?limit=500"),
            token => format!("{path}?limit=500&continue={}", query_safe(token)),
        };
        let Some(body) = writer.get(&url).await? else { break };
        let Ok(page) = serde_json::from_slice::<Page>(&body) else { break };
        items.extend(page.items.into_iter().flatten());
        next = page.metadata.next;
        if next.is_empty() {
            break;
        }
    }
    Ok(items)
}

fn query_safe(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Asks the server whether it would make a dual-stack Service: no field of any object says it.
async fn families(writer: &Writer) -> Result<Option<Families>, WriteError> {
    let services =
        KindPath { group: String::new(), version: "v1".into(), plural: "services".into(), namespaced: true };
    let Some(found) = writer.find(&services, Some("default"), "kubernetes").await? else { return Ok(None) };
    let Ok(service) = serde_json::from_slice::<Value>(&found.body) else { return Ok(None) };
    let Some(primary) = service["spec"]["ipFamilies"][0].as_str() else { return Ok(None) };
    let probe = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lifeboat-dual-stack-probe"},
        "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}});
    let refused = writer.try_create(&services, Some("default"), Bytes::from(probe.to_string())).await?;
    Ok(Some(Families { primary: primary.to_owned(), dual: refused.is_none() }))
}

/// Whether the object of a deployment tool is in the cluster (and so would undo or repeat things).
pub async fn is_alive(served: &Served, writer: &Writer, owner: &ObjectKey) -> Result<bool, WriteError> {
    let Some(path) = served.path(&owner.kind, "") else { return Ok(false) };
    if let Some(namespace) = &owner.namespace {
        return Ok(writer.find(&path, Some(namespace), &owner.name).await?.is_some());
    }
    let url = match path.group.as_str() {
        "" => format!("/api/{}/{}", path.version, path.plural),
        group => format!("/apis/{group}/{}/{}", path.version, path.plural),
    };
    Ok(list(writer, &url).await?.iter().any(|item| item["metadata"]["name"] == owner.name.as_str()))
}
