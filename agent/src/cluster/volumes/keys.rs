//! The keys of volumes under way, in the one Secret of the nodes' namespace that the controller may write. Keys are never
//! shown. Every write is under the version that was read: two controllers do not undo each other's.

use super::super::connect::Cluster;
use super::super::error::ClusterError;
use super::super::node_work::WORK_SECRET;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_format::crypto::derive::Secret32;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Mutex;
use zeroize::Zeroize as _;

/// Tries of one change that meet another writer.
const TRIES: usize = 5;
/// A Secret has at most 1 MiB; keys with their names take some 150 bytes.
const MAX_KEYS: usize = 4000;

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("The Secret {place} is not there; `lifeboat install` makes it")]
    Missing { place: String },
    #[error("The Secret {place} is full: more than {MAX_KEYS} volumes are under way")]
    Full { place: String },
    #[error("The Secret {place} is written by somebody else all the time; see who else does")]
    Busy { place: String },
}

impl KeysError {
    /// Whether trying again is pointless until a person changes something.
    #[must_use]
    pub fn permanent(&self) -> bool {
        match self {
            Self::Cluster(error) => error.permanent(),
            Self::Missing { .. } => true,
            Self::Full { .. } | Self::Busy { .. } => false,
        }
    }
}

/// The Secret. Clones share what they know of it.
#[derive(Clone)]
pub struct WorkKeys {
    cluster: Cluster,
    namespace: String,
    known: Arc<Mutex<Option<Document>>>,
}

/// The Secret as it was read last; its data are base64 texts.
struct Document {
    rest: Value,
    data: Map<String, Value>,
}

impl Drop for Document {
    fn drop(&mut self) {
        for value in self.data.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

impl std::fmt::Debug for WorkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkKeys({})", self.place())
    }
}

impl WorkKeys {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned(), known: Arc::default() }
    }

    fn place(&self) -> String {
        format!("{}/{WORK_SECRET}", self.namespace)
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{WORK_SECRET}", self.namespace)
    }

    /// Reads it anew, and gives the names of the keys in it.
    ///
    /// # Errors
    /// If it is not there, or the API server does not answer.
    pub async fn names(&self) -> Result<BTreeSet<String>, KeysError> {
        let mut known = self.known.lock().await;
        let document = self.read().await?;
        let names = document.data.keys().cloned().collect();
        *known = Some(document);
        Ok(names)
    }

    /// A key as it was read last.
    pub async fn get(&self, name: &str) -> Option<Secret32> {
        let known = self.known.lock().await;
        let text = known.as_ref()?.data.get(name)?.as_str()?;
        let mut bytes = STANDARD.decode(text).ok()?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Secret32::new);
        bytes.zeroize();
        key
    }

    /// Adds keys and takes others away, in one write.
    ///
    /// # Errors
    /// If it is not there or full, or the API server does not take it.
    pub async fn change(&self, add: &[(String, Secret32)], take: &[String]) -> Result<(), KeysError> {
        let mut known = self.known.lock().await;
        for _ in 0..TRIES {
            let mut document = match known.take() {
                Some(document) => document,
                None => self.read().await?,
            };
            let before = document.data.len();
            let mut changed = !add.is_empty();
            for name in take {
                changed |= document.data.remove(name).is_some();
            }
            for (name, key) in add {
                document.data.insert(name.clone(), json!(STANDARD.encode(key.expose())));
            }
            if !changed {
                *known = Some(document);
                return Ok(());
            }
            if document.data.len() > MAX_KEYS && document.data.len() > before {
                return Err(KeysError::Full { place: self.place() });
            }
            match self.put(&document).await {
                Ok(written) => {
                    *known = Some(written);
                    return Ok(());
                }
                Err(error) if error.code() == Some(409) => {}
                Err(error) => return Err(self.named(error)),
            }
        }
        Err(KeysError::Busy { place: self.place() })
    }

    async fn read(&self) -> Result<Document, KeysError> {
        let mut body = self.cluster.get(&self.path()).await.map_err(|e| self.named(e))?.to_vec();
        let read = self.document(&body);
        body.zeroize();
        Ok(read?)
    }

    fn document(&self, body: &[u8]) -> Result<Document, ClusterError> {
        // The parser's own words could quote a key.
        let mut rest: Value = serde_json::from_slice(body)
            .map_err(|_| self.cluster.malformed(&self.path(), "the answer is no Secret"))?;
        let data = match rest.get_mut("data").map(Value::take) {
            Some(Value::Object(data)) => data,
            _ => Map::new(),
        };
        if let Some(map) = rest.as_object_mut() {
            map.remove("data");
        }
        if let Some(meta) = rest.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        Ok(Document { rest, data })
    }

    async fn put(&self, document: &Document) -> Result<Document, ClusterError> {
        let mut body = document.rest.clone();
        body["data"] = Value::Object(document.data.clone());
        let path = self.path();
        let answer = self.cluster.call(http::Method::PUT, &path, "application/json", Some(body), 4 << 20);
        self.document(&answer.await?)
    }

    fn named(&self, error: ClusterError) -> KeysError {
        match error.code() {
            Some(404) => KeysError::Missing { place: self.place() },
            _ => KeysError::Cluster(error),
        }
    }
}
