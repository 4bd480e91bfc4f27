//! Finds out what a cluster serves: every resource at the version to read it at, and what cannot be
//! known because its server does not answer. Knows nothing of what is to be stored.

use super::connect::Cluster;
use super::discovery_wire::{self as wire, StorageVersions, WireGroup};
use super::error::ClusterError;
use super::list::{ListOptions, Lister};
use super::resource::Resource;
use super::text::{MAX_MESSAGE, clean};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// Sorted by (group, plural); subresources and kinds served twice left out.
    pub resources: Vec<Resource>,
    /// Served under a second group as well and not read there.
    pub cohabiting: Vec<Resource>,
    pub broken: Vec<BrokenGroup>,
    /// What limits the answer without leaving anything out.
    pub warnings: Vec<String>,
    /// `v1.34.4`.
    pub server_version: String,
}

/// A group version whose kinds could not be learned for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokenGroup {
    pub group: String,
    pub version: String,
    /// CamelCase, stable.
    pub reason: String,
    pub message: String,
}

impl BrokenGroup {
    pub(super) fn new(group: &str, version: &str, reason: &str, message: &str) -> Self {
        Self {
            group: clean(group, 253),
            version: clean(version, 64),
            reason: reason.to_owned(),
            message: clean(message, MAX_MESSAGE),
        }
    }
}

/// The kinds that discovery is asked for, newest form first; the last is what every server has.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

impl Cluster {
    /// Finds out what the cluster serves.
    ///
    /// # Errors
    /// If discovery as a whole fails; a group that fails is in the result.
    pub async fn discover(&self) -> Result<Discovery, ClusterError> {
        let mut broken = Vec::new();
        let mut groups = self.core_groups(&mut broken).await?;
        groups.extend(self.named_groups(&mut broken).await?);
        let mut warnings = Vec::new();
        let storage = match self.storage_versions().await {
            Ok(storage) => storage,
            Err(error) => {
                warnings.push(format!("Custom resources are read at their most stable version: {error}"));
                StorageVersions::new()
            }
        };
        let (mut resources, unusable) = wire::assemble(groups, &storage);
        broken.extend(unusable);
        let cohabiting = wire::drop_cohabiting(&mut resources);
        Ok(Discovery {
            resources,
            cohabiting,
            broken,
            warnings,
            server_version: self.server_version().to_owned(),
        })
    }

    /// What identifies the cluster: the UID of its namespace `kube-system`. Needs the right to list only.
    ///
    /// # Errors
    /// If namespaces cannot be listed or there is no such namespace.
    pub async fn kube_system_uid(&self) -> Result<String, ClusterError> {
        let path = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system";
        let body = self.get(path).await?;
        let resource =
            Resource { version: "v1".to_owned(), kind: "Namespace".to_owned(), ..Resource::default() };
        let what = "GET /api/v1/namespaces";
        let page = super::page::parse_page(&resource, &body).map_err(|cause| self.malformed(what, &cause))?;
        let found = page.items.into_iter().find(|item| item.meta.name == "kube-system");
        match found {
            Some(item) if !item.meta.uid.is_empty() => Ok(clean(&item.meta.uid, 128)),
            _ => Err(self.malformed(what, "there is no namespace kube-system")),
        }
    }

    async fn discovery_bytes(&self, path: &str) -> Result<bytes::Bytes, ClusterError> {
        self.request_bytes(self.get_request(path, ACCEPT)?).await
    }

    async fn core_groups(&self, broken: &mut Vec<BrokenGroup>) -> Result<Vec<WireGroup>, ClusterError> {
        let body = self.discovery_bytes("/api").await?;
        if let Some(groups) = wire::parse_aggregated(&body) {
            return Ok(groups);
        }
        let versions =
            wire::parse_core_versions(&body).map_err(|e| self.malformed("GET /api", &e.to_string()))?;
        let versions = versions.into_iter().map(|version| (String::new(), version)).collect();
        Ok(self.plain_groups(versions, broken).await)
    }

    async fn named_groups(&self, broken: &mut Vec<BrokenGroup>) -> Result<Vec<WireGroup>, ClusterError> {
        let body = self.discovery_bytes("/apis").await?;
        if let Some(groups) = wire::parse_aggregated(&body) {
            return Ok(groups);
        }
        let versions = wire::parse_groups(&body).map_err(|e| self.malformed("GET /apis", &e.to_string()))?;
        Ok(self.plain_groups(versions, broken).await)
    }

    /// The old form: one request for each group version, and one that fails says nothing of the others.
    async fn plain_groups(
        &self,
        versions: Vec<(String, String)>,
        broken: &mut Vec<BrokenGroup>,
    ) -> Vec<WireGroup> {
        let mut groups: BTreeMap<String, WireGroup> = BTreeMap::new();
        for (group, version) in versions {
            if !wire::usable(&version) || !(group.is_empty() || wire::usable(&group)) {
                broken.push(BrokenGroup::new(
                    &group,
                    &version,
                    "NameUnsafe",
                    "the group's name cannot be used",
                ));
                continue;
            }
            let parent = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let result = match self.discovery_bytes(&format!("{parent}/{version}")).await {
                Ok(body) => wire::parse_resources(&version, &body)
                    .map_err(|e| self.malformed(&parent, &e.to_string())),
                Err(error) => Err(error),
            };
            match result {
                Ok(found) => {
                    let entry = groups
                        .entry(group.clone())
                        .or_insert_with(|| WireGroup { name: group, versions: Vec::new() });
                    entry.versions.push(found);
                }
                Err(error) => {
                    broken.push(BrokenGroup::new(&group, &version, error.reason(), &error.message()))
                }
            }
        }
        groups.into_values().collect()
    }

    async fn storage_versions(&self) -> Result<StorageVersions, ClusterError> {
        let crds = Resource {
            group: "apiextensions.k8s.io".to_owned(),
            version: "v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            plural: "customresourcedefinitions".to_owned(),
            ..Resource::default()
        };
        let mut storage = StorageVersions::new();
        let mut lister = Lister::new(self.clone(), Arc::new(crds), ListOptions::default());
        while let Some(page) = lister.next_page().await? {
            for crd in &page.items {
                if let Err(error) = wire::note_crd(crd, &mut storage) {
                    tracing::warn!(crd = crd.meta.name, %error, "cannot read a CustomResourceDefinition's versions");
                }
            }
        }
        Ok(storage)
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
