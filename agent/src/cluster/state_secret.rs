//! One key of one Secret, replaced under a resourceVersion precondition: who reads it next takes it from whoever held
//! it before. Knows nothing of what the bytes mean, and never shows them.

use super::connect::Cluster;
use super::error::ClusterError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// How long a write is repeated while the API server does not take it.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("The Secret {place} is not there; `lifeboat install` makes it")]
    Missing { place: String },
    #[error("The Secret {place} was written by another controller: this one no longer leads")]
    Fenced { place: String },
    #[error("The Secret {place} cannot be read: {why}")]
    Malformed { place: String, why: String },
}

/// Where the Secret is, and the version of it that this process holds. Clones share what they hold.
#[derive(Clone)]
pub struct StateSecret {
    cluster: Cluster,
    namespace: String,
    name: String,
    key: String,
    known: Arc<Mutex<Option<Known>>>,
}

struct Known {
    /// Without `data`.
    document: Value,
    bytes: Zeroizing<Vec<u8>>,
    /// What was sent since and may have arrived, the answer lost or nobody there to take it.
    sent: Vec<Zeroizing<Vec<u8>>>,
}

impl Known {
    fn is_ours(&self, now: &Self) -> bool {
        self.bytes == now.bytes || self.sent.contains(&now.bytes)
    }
}

impl std::fmt::Debug for StateSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateSecret({})", self.place())
    }
}

impl StateSecret {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str, name: &str, key: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            known: Arc::default(),
        }
    }

    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Reads it, and holds the version that was read. No bytes where the key is not there yet.
    ///
    /// # Errors
    /// If it is not there, cannot be read, or the API server does not answer.
    pub async fn open(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        let read = self.read().await?;
        let bytes = (!read.bytes.is_empty()).then(|| read.bytes.clone());
        *self.known.lock().await = Some(read);
        Ok(bytes)
    }

    /// Replaces what is held. A write whose answer was lost is looked up.
    ///
    /// # Errors
    /// `Fenced` if somebody else wrote it since; what the API server answered otherwise.
    pub async fn save(&self, bytes: &[u8]) -> Result<(), SecretError> {
        let mut known = self.known.lock().await;
        let Some(held) = known.as_mut() else { return Err(self.malformed("it was not opened")) };
        held.sent.push(Zeroizing::new(bytes.to_vec()));
        let mut document = held.document.clone();
        let (started, mut pause) = (Instant::now(), PAUSE);
        loop {
            let error = match self.put(&document, bytes).await {
                Ok(document) => {
                    *held = Known { document, bytes: Zeroizing::new(bytes.to_vec()), sent: Vec::new() };
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.code() == Some(409) {
                let now = self.read().await?;
                if *now.bytes == *bytes {
                    *held = now;
                    return Ok(());
                }
                if !held.is_ours(&now) {
                    return Err(SecretError::Fenced { place: self.place() });
                }
                // An earlier write of ours, or somebody put a label on it.
                document = now.document;
            } else if error.permanent() {
                return Err(self.named(error));
            }
            if started.elapsed() >= PATIENCE {
                return Err(self.named(error));
            }
            sleep(error.retry_after().unwrap_or(pause).min(MAX_PAUSE)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Whether it still holds what this process wrote last.
    ///
    /// # Errors
    /// `Fenced` if it does not; what the API server answered otherwise.
    pub async fn confirm(&self) -> Result<(), SecretError> {
        let known = self.known.lock().await;
        let now = self.read().await?;
        match known.as_ref() {
            Some(held) if held.is_ours(&now) => Ok(()),
            _ => Err(SecretError::Fenced { place: self.place() }),
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.namespace, self.name)
    }

    async fn read(&self) -> Result<Known, SecretError> {
        let body = self.cluster.get(&self.path()).await.map_err(|e| self.named(e))?;
        let body = Zeroizing::new(body.to_vec());
        let mut document: Value =
            serde_json::from_slice(&body).map_err(|_| self.malformed("the answer is no Secret"))?;
        let bytes = match document.pointer_mut("/data").and_then(|d| d.get(&self.key)) {
            Some(Value::String(text)) => {
                let text = Zeroizing::new(text.clone());
                STANDARD.decode(text.as_bytes()).map_err(|_| self.malformed("its data is not base64"))?
            }
            _ => Vec::new(),
        };
        strip(&mut document);
        Ok(Known { document, bytes: Zeroizing::new(bytes), sent: Vec::new() })
    }

    async fn put(&self, document: &Value, bytes: &[u8]) -> Result<Value, ClusterError> {
        let mut document = document.clone();
        document["data"] = json!({ self.key.as_str(): STANDARD.encode(bytes) });
        let body = serde_json::to_vec(&document).expect("a JSON document always serializes");
        let uri = format!("{}?fieldManager={}", self.path(), self.cluster.field_manager());
        let request = http::Request::put(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(body)
            .map_err(|e| self.cluster.malformed("a request", &e.to_string()))?;
        let answer = self.cluster.request_bytes(request).await?;
        let mut document: Value = serde_json::from_slice(&answer)
            .map_err(|_| self.cluster.malformed(&self.path(), "the answer is no Secret"))?;
        strip(&mut document);
        Ok(document)
    }

    fn malformed(&self, why: &str) -> SecretError {
        SecretError::Malformed { place: self.place(), why: why.to_owned() }
    }

    fn named(&self, error: ClusterError) -> SecretError {
        match error.code() {
            Some(404) => SecretError::Missing { place: self.place() },
            _ => SecretError::Cluster(error),
        }
    }
}

/// What is put back is what was read, without the content and the bookkeeping.
fn strip(document: &mut Value) {
    if let Some(map) = document.as_object_mut() {
        map.remove("data");
    }
    if let Some(meta) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
}
