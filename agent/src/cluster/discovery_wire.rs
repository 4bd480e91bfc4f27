//! What discovery answers look like, and how they become resources. Pure; everything in them is untrusted.

use super::discover::BrokenGroup;
use super::resource::{Resource, compare_versions};
use super::text::clean;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// One group's versions, from either form of discovery.
#[derive(Debug, Default)]
pub(super) struct WireGroup {
    pub(super) name: String,
    pub(super) versions: Vec<WireVersion>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireVersion {
    pub(super) version: String,
    freshness: Option<String>,
    pub(super) resources: Vec<WireResource>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireResource {
    resource: String,
    response_kind: Option<WireKind>,
    scope: String,
    singular_resource: String,
    verbs: Option<Vec<String>>,
    short_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct WireKind {
    kind: String,
}

#[derive(Deserialize)]
struct AggregatedList {
    kind: String,
    #[serde(default)]
    items: Vec<AggregatedGroup>,
}

#[derive(Deserialize)]
struct AggregatedGroup {
    #[serde(default)]
    metadata: AggregatedMeta,
    #[serde(default)]
    versions: Vec<WireVersion>,
}

#[derive(Deserialize, Default)]
struct AggregatedMeta {
    #[serde(default)]
    name: String,
}

/// Reads an aggregated answer; `None` if the server sent something else (the old form).
pub(super) fn parse_aggregated(body: &[u8]) -> Option<Vec<WireGroup>> {
    let list: AggregatedList = serde_json::from_slice(body).ok()?;
    (list.kind == "APIGroupDiscoveryList").then(|| {
        list.items
            .into_iter()
            .map(|group| WireGroup { name: group.metadata.name, versions: group.versions })
            .collect()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlainVersions {
    #[serde(default)]
    versions: Vec<String>,
}

/// Reads the old form of `/api`.
pub(super) fn parse_core_versions(body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    Ok(serde_json::from_slice::<PlainVersions>(body)?.versions)
}

#[derive(Deserialize)]
struct PlainGroups {
    #[serde(default)]
    groups: Vec<PlainGroup>,
}

#[derive(Deserialize)]
struct PlainGroup {
    name: String,
    #[serde(default)]
    versions: Vec<PlainGroupVersion>,
}

#[derive(Deserialize)]
struct PlainGroupVersion {
    version: String,
}

/// Reads the old form of `/apis`: (group, version).
pub(super) fn parse_groups(body: &[u8]) -> Result<Vec<(String, String)>, serde_json::Error> {
    let groups: PlainGroups = serde_json::from_slice(body)?;
    Ok(groups
        .groups
        .into_iter()
        .flat_map(|group| group.versions.into_iter().map(move |v| (group.name.clone(), v.version)))
        .collect())
}

#[derive(Deserialize)]
struct PlainResources {
    #[serde(default)]
    resources: Vec<PlainResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlainResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    kind: String,
    verbs: Option<Vec<String>>,
    short_names: Option<Vec<String>>,
}

/// Reads the old form of one group version.
pub(super) fn parse_resources(version: &str, body: &[u8]) -> Result<WireVersion, serde_json::Error> {
    let list: PlainResources = serde_json::from_slice(body)?;
    let resources = list
        .resources
        .into_iter()
        // Subresources have a slash in their name.
        .filter(|resource| !resource.name.contains('/'))
        .map(|resource| WireResource {
            resource: resource.name,
            response_kind: Some(WireKind { kind: resource.kind }),
            scope: if resource.namespaced { "Namespaced".to_owned() } else { "Cluster".to_owned() },
            singular_resource: resource.singular_name,
            verbs: resource.verbs,
            short_names: resource.short_names,
        })
        .collect();
    Ok(WireVersion { version: version.to_owned(), freshness: None, resources })
}

/// The version that custom resources are stored at, by (group, plural); `None` if that one is not served.
pub(super) type StorageVersions = HashMap<(String, String), Option<String>>;

#[derive(Deserialize)]
struct RawCrd {
    spec: RawCrdSpec,
}

#[derive(Deserialize)]
struct RawCrdSpec {
    group: String,
    names: RawCrdNames,
    #[serde(default)]
    versions: Vec<RawCrdVersion>,
}

#[derive(Deserialize)]
struct RawCrdNames {
    plural: String,
}

#[derive(Deserialize)]
struct RawCrdVersion {
    name: String,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
}

/// Notes what one CustomResourceDefinition says.
pub(super) fn note_crd(crd: &super::Item, into: &mut StorageVersions) -> Result<(), serde_json::Error> {
    let crd: RawCrd = crd.parse()?;
    let storage = crd.spec.versions.into_iter().find(|version| version.storage && version.served);
    into.insert((crd.spec.group, crd.spec.names.plural), storage.map(|version| version.name));
    Ok(())
}

/// All resources at the version to read them at, sorted by (group, plural), and what is broken.
pub(super) fn assemble(
    groups: Vec<WireGroup>,
    storage: &StorageVersions,
) -> (Vec<Resource>, Vec<BrokenGroup>) {
    let mut found: BTreeMap<(String, String), Vec<Resource>> = BTreeMap::new();
    let mut broken = Vec::new();
    for group in groups {
        if !group.name.is_empty() && !usable(&group.name) {
            broken.push(BrokenGroup::new(&group.name, "", "NameUnsafe", "the group's name cannot be used"));
            continue;
        }
        for version in group.versions {
            if version.freshness.as_deref() == Some("Stale") {
                let why = "its server does not answer, so its kinds are not known for sure";
                broken.push(BrokenGroup::new(&group.name, &version.version, "Stale", why));
            }
            for wire in version.resources {
                match resource(&group.name, &version.version, wire) {
                    Ok(resource) => {
                        found
                            .entry((group.name.clone(), resource.plural.clone()))
                            .or_default()
                            .push(resource);
                    }
                    Err(bad) => broken.push(bad),
                }
            }
        }
    }
    let resources =
        found.into_iter().filter_map(|(key, versions)| pick(versions, storage.get(&key))).collect();
    (resources, broken)
}

fn resource(group: &str, version: &str, wire: WireResource) -> Result<Resource, BrokenGroup> {
    let kind = wire.response_kind.unwrap_or_default().kind;
    if !usable(version) || !usable(&wire.resource) || !usable(&kind) {
        let why = format!("the resource {:?} of kind {kind:?} cannot be used", wire.resource);
        return Err(BrokenGroup::new(group, version, "NameUnsafe", &clean(&why, 256)));
    }
    Ok(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        plural: wire.resource,
        singular: wire.singular_resource,
        short_names: wire.short_names.unwrap_or_default(),
        namespaced: wire.scope == "Namespaced",
        verbs: wire.verbs.unwrap_or_default(),
        served_versions: Vec::new(),
        custom: false,
    })
}

/// Names become parts of URLs and of paths.
pub(super) fn usable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !name.starts_with('.')
}

/// The version of one resource to read: a custom resource's storage version, else the most stable that lists.
fn pick(mut versions: Vec<Resource>, storage: Option<&Option<String>>) -> Option<Resource> {
    versions.sort_by(|a, b| {
        b.can("list").cmp(&a.can("list")).then_with(|| compare_versions(&a.version, &b.version))
    });
    let mut served: Vec<String> = versions.iter().map(|resource| resource.version.clone()).collect();
    served.sort_by(|a, b| compare_versions(a, b));
    served.dedup();
    let stored = storage.and_then(Option::as_ref);
    let at = stored
        .and_then(|stored| versions.iter().position(|resource| resource.version == *stored))
        .unwrap_or(0);
    if at >= versions.len() {
        return None;
    }
    let mut chosen = versions.swap_remove(at);
    chosen.served_versions = served;
    chosen.custom = storage.is_some();
    Some(chosen)
}

/// Kinds that old servers serve in two groups, and the group that counts.
const MOVED: [(&str, &str, &str); 7] = [
    ("events.k8s.io", "events", ""),
    ("extensions", "deployments", "apps"),
    ("extensions", "daemonsets", "apps"),
    ("extensions", "replicasets", "apps"),
    ("extensions", "ingresses", "networking.k8s.io"),
    ("extensions", "networkpolicies", "networking.k8s.io"),
    ("extensions", "podsecuritypolicies", "policy"),
];

/// Takes out what is served a second time under an older or newer group, and returns it.
pub(super) fn drop_cohabiting(resources: &mut Vec<Resource>) -> Vec<Resource> {
    let served: Vec<(String, String)> =
        resources.iter().map(|r| (r.group.clone(), r.plural.clone())).collect();
    let twice = |resource: &Resource| {
        MOVED.iter().any(|(group, plural, home)| {
            resource.is(group, plural) && served.iter().any(|(g, p)| g == home && p == plural)
        })
    };
    let (dropped, kept) = std::mem::take(resources).into_iter().partition(twice);
    *resources = kept;
    dropped
}

#[cfg(test)]
#[path = "discovery_wire_tests.rs"]
mod tests;
