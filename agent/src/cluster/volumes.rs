//! What the controller asks of the API server about volumes: claims, PersistentVolumes, Pods and namespaces as they are,
//! the VolumeBackups of a run, and the keys for nodes. Decides nothing.

mod keys;

pub use keys::{KeysError, WorkKeys};

use super::connect::Cluster;
use super::error::ClusterError;
use super::item::Item;
use super::list::{ListOptions, Lister};
use super::own::{Own, OwnKind as _};
use super::resource::Resource;
use crate::kinds::{GROUP, RUN_LABEL, VERSION, VolumeBackup};
use crate::select::facts::NamespaceFacts;
use crate::select::opted_out;
use crate::select::volumes::{Claim, Pod, Seen, Volume};
use serde_json::{Value, json};
use std::sync::Arc;

/// VolumeBackups that are taken of a list; more than any cluster has claims.
const MAX_OBJECTS: u64 = 200_000;

impl Cluster {
    /// Claims, volumes and who uses them, as they are now. `nodes`: the namespace of the nodes' daemons. What is used is
    /// listed before its users here: a claim that is made meanwhile is the next run's.
    ///
    /// # Errors
    /// What the API server answered to the first list that could not be read to its end.
    pub async fn volumes_now(&self, nodes: &str) -> Result<Seen, ClusterError> {
        let mut seen = Seen::default();
        self.each("PersistentVolumeClaim", "persistentvolumeclaims", true, |item| {
            seen.claims.push(Claim::of(item));
        })
        .await?;
        self.each("PersistentVolume", "persistentvolumes", false, |item| {
            seen.volumes.insert(item.meta.name.clone(), Volume::of(item));
        })
        .await?;
        self.each("Namespace", "namespaces", false, |item| {
            let facts = NamespaceFacts {
                opted_out: opted_out(&item.meta.labels),
                terminating: item.meta.deleted.is_some(),
            };
            seen.namespaces.insert(item.meta.name.clone(), facts);
        })
        .await?;
        self.each("Pod", "pods", true, |item| {
            if item.meta.namespace.as_deref() == Some(nodes) {
                seen.nodes.extend(daemon(item));
            } else {
                seen.pods.extend(Pod::of(item));
            }
        })
        .await?;
        Ok(seen)
    }

    async fn each(
        &self,
        kind: &str,
        plural: &str,
        namespaced: bool,
        mut take: impl FnMut(&Item),
    ) -> Result<(), ClusterError> {
        let resource = Resource {
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            ..Resource::default()
        };
        let mut lister = Lister::new(self.clone(), Arc::new(resource), ListOptions::default());
        while let Some(page) = lister.next_page().await? {
            page.items.iter().for_each(&mut take);
        }
        Ok(())
    }
}

/// The node of a daemon that is ready.
fn daemon(item: &Item) -> Option<String> {
    let node = item.meta.label("app.kubernetes.io/component") == Some("node");
    let document: Value = item.parse().ok()?;
    let conditions = document["status"]["conditions"].as_array()?;
    let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let name = document["spec"]["nodeName"].as_str()?;
    (node && ready && item.meta.deleted.is_none()).then(|| name.to_owned())
}

impl Own {
    /// The VolumeBackups here; only those of a run, if one is named (32 hexadecimal digits).
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn volume_backups(&self, run: Option<&str>) -> Result<Vec<VolumeBackup>, ClusterError> {
        let resource = Resource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            kind: VolumeBackup::KIND.to_owned(),
            plural: VolumeBackup::PLURAL.to_owned(),
            namespaced: true,
            custom: true,
            ..Resource::default()
        };
        let options = ListOptions {
            max_objects: MAX_OBJECTS,
            label_selector: run.map(|run| format!("{RUN_LABEL}={run}")),
            field_selector: Some(format!("metadata.namespace={}", self.namespace())),
            ..ListOptions::default()
        };
        let mut lister = Lister::new(self.cluster().clone(), Arc::new(resource), options);
        let mut all = Vec::new();
        while let Some(page) = lister.next_page().await? {
            // One that cannot be read is no volume that anybody could go on with; it is removed by its name.
            all.extend(page.items.iter().filter_map(|item| item.parse::<VolumeBackup>().ok()));
        }
        Ok(all)
    }

    /// Sets annotations of a VolumeBackup; null takes one away.
    ///
    /// # Errors
    /// What the API server answered; 404 and 409 where it is gone or another one.
    pub async fn annotate_volume(
        &self,
        volume: &VolumeBackup,
        annotations: Value,
    ) -> Result<(), ClusterError> {
        let (name, uid) = (volume.metadata.name.as_deref(), volume.metadata.uid.as_deref());
        let path = format!(
            "/apis/{GROUP}/{VERSION}/namespaces/{}/{}/{}",
            self.namespace(),
            VolumeBackup::PLURAL,
            name.unwrap_or_default()
        );
        let body = json!({ "metadata": { "uid": uid, "annotations": annotations } });
        let patch = "application/merge-patch+json";
        self.cluster().call(http::Method::PATCH, &path, patch, Some(body), 1 << 20).await.map(drop)
    }
}
