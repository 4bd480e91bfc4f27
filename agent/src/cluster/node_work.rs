//! What the daemon of a node asks of the API server: the VolumeBackups of its node, the keys that open their orders, and
//! their status. Each call is one request, sent once. Knows no volume and no store; never shows a key.

use super::connect::Cluster;
use super::error::ClusterError;
use super::own::{Own, OwnEvent, OwnKind as _};
use crate::kinds::{GROUP, VERSION, VolumeBackup};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt as _};
use lifeboat_format::crypto::derive::Secret32;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The Secret with the keys, one for each volume under way. The controller writes it.
pub const WORK_SECRET: &str = "lifeboat-work";
/// The API server stores no Secret beyond 1 MiB.
const MAX_SECRET: usize = 4 << 20;

/// One node's calls.
#[derive(Debug, Clone)]
pub struct NodeWork {
    own: Own,
    node: String,
}

/// The keys as they were when they were asked for.
pub struct WorkKeys(BTreeMap<String, Secret32>);

impl std::fmt::Debug for WorkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl WorkKeys {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret32> {
        self.0.get(name)
    }

    /// What is no key of 32 bytes is none.
    fn of(data: BTreeMap<String, &str>) -> Self {
        let key = |text: &str| {
            let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
            Some(Secret32::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?))
        };
        Self(data.into_iter().filter_map(|(name, text)| Some((name, key(text)?))).collect())
    }
}

/// Its base64 stays where it was read.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Secret<'a> {
    #[serde(borrow)]
    data: BTreeMap<String, &'a str>,
}

impl NodeWork {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str, node: &str) -> Self {
        Self { own: Own::new(cluster, namespace), node: node.to_owned() }
    }

    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Every change of this node's VolumeBackups, for ever. Where the API server cannot select by node, those of the
    /// others come along: see [`Self::is_ours`].
    pub fn watch(&self) -> impl Stream<Item = OwnEvent<VolumeBackup>> + Send + 'static + use<> {
        let (own, selector) = (self.own.clone(), self.selector());
        let selected = {
            let (own, selector) = (own.clone(), selector.clone());
            async move { selects(&own, &selector).await.then_some(selector) }
        };
        futures::stream::once(selected).flat_map(move |selector| own.watch_selected::<VolumeBackup>(selector))
    }

    /// Asks for little, so that whoever observes this connection knows whether the API server answers: a watch on which
    /// nothing happens is silent.
    pub async fn knock(&self) {
        let _answer_is_observed = selects(&self.own, &self.selector()).await;
    }

    /// Whether a VolumeBackup is for this node.
    #[must_use]
    pub fn is_ours(&self, volume: &VolumeBackup) -> bool {
        volume.spec.node_name == self.node
    }

    fn selector(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }

    /// The keys of all volumes under way.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn keys(&self) -> Result<WorkKeys, ClusterError> {
        let cluster = self.own.cluster();
        let path = format!("/api/v1/namespaces/{}/secrets/{WORK_SECRET}", self.own.namespace());
        let request = cluster.get_request(&path, "application/json")?;
        let body = Zeroizing::new(cluster.request_bounded(request, MAX_SECRET).await?.to_vec());
        // The parser's own words could quote a key.
        let secret: Secret<'_> =
            serde_json::from_slice(&body).map_err(|_| cluster.malformed(&path, "the answer is no Secret"))?;
        Ok(WorkKeys::of(secret.data))
    }

    /// Merges into the status of a volume.
    ///
    /// # Errors
    /// 404 where it is gone; 403 or 422 where it is not this node's; what the API server answered otherwise.
    pub async fn tell(&self, volume: &VolumeBackup, status: Value) -> Result<VolumeBackup, ClusterError> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        self.own.merge_status(name, status).await
    }
}

/// Servers before 1.31 select own kinds by name only.
async fn selects(own: &Own, selector: &str) -> bool {
    let escaped = selector.replace('=', "%3D");
    let path = format!(
        "/apis/{GROUP}/{VERSION}/namespaces/{}/{}?limit=1&fieldSelector={escaped}",
        own.namespace(),
        VolumeBackup::PLURAL
    );
    !matches!(own.cluster().get(&path).await, Err(error) if error.code() == Some(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_32_bytes_and_never_shown() {
        let (one, short) = (STANDARD.encode([7; 32]), STANDARD.encode([7; 31]));
        let text =
            format!(r#"{{"kind": "Secret", "data": {{"one": "{one}", "short": "{short}", "none": "%"}}}}"#);
        let keys = WorkKeys::of(serde_json::from_str::<Secret<'_>>(&text).unwrap().data);
        assert_eq!(keys.get("one").unwrap().expose(), &[7; 32]);
        assert!(keys.get("short").is_none() && keys.get("none").is_none());
        assert_eq!(format!("{keys:?}"), "{\"one\"}");
    }
}
