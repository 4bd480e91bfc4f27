//! Lifeboat's own kinds in its own namespace: watch, create, patch the status, delete. Each call is one request, sent
//! once; the caller decides what an error means. Knows no schedule and no run.

use super::connect::Cluster;
use super::error::ClusterError;
use super::request;
use crate::kinds::{Backup, BackupSchedule, GROUP, VERSION, VolumeBackup};
use futures::{Stream, StreamExt as _};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The largest answer about one object of our own.
const MAX_ANSWER: usize = 4 << 20;

/// A change, as the API server tells it.
#[derive(Debug)]
pub enum OwnEvent<T> {
    /// What there is follows, then `Whole`; what is not among it is gone.
    Restart,
    There(Box<T>),
    Gone(Box<T>),
    Whole,
    /// The watch goes on by itself after a pause.
    Trouble(String),
}

/// A kind of our own.
pub trait OwnKind: DeserializeOwned + Serialize + Send + 'static {
    const KIND: &'static str;
    const PLURAL: &'static str;
}

impl OwnKind for Backup {
    const KIND: &'static str = "Backup";
    const PLURAL: &'static str = "backups";
}

impl OwnKind for BackupSchedule {
    const KIND: &'static str = "BackupSchedule";
    const PLURAL: &'static str = "backupschedules";
}

impl OwnKind for VolumeBackup {
    const KIND: &'static str = "VolumeBackup";
    const PLURAL: &'static str = "volumebackups";
}

/// Our own kinds in one namespace.
#[derive(Debug, Clone)]
pub struct Own {
    cluster: Cluster,
    namespace: String,
}

impl Own {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned() }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Every change of a kind, for ever. One list at the start, and another one only where the server has forgotten
    /// what was seen last; a silent connection is given up. Objects that cannot be read are left out and told.
    pub fn watch<T: OwnKind>(&self) -> impl Stream<Item = OwnEvent<T>> + Send + 'static + use<T> {
        self.watch_selected(None)
    }

    /// As [`Self::watch`], of the objects that a field selector chooses.
    pub fn watch_selected<T: OwnKind>(
        &self,
        fields: Option<String>,
    ) -> impl Stream<Item = OwnEvent<T>> + Send + 'static + use<T> {
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, T::KIND), T::PLURAL);
        let client = self.cluster.long_lived_client().clone();
        let api: kube::Api<DynamicObject> = kube::Api::namespaced_with(client, &self.namespace, &kind);
        let config = watcher::Config { field_selector: fields, ..watcher::Config::default() };
        // The library resumes a watch for ever that the server refuses to resume.
        futures::stream::repeat_with(move || {
            let events = watcher(api.clone(), config.clone()).default_backoff();
            futures::stream::unfold((Box::pin(events), false), |(mut events, over)| async move {
                if over {
                    return None;
                }
                let event = events.next().await?;
                let over = event.as_ref().is_err_and(has_expired);
                Some((translate::<T>(event), (events, over)))
            })
        })
        .flatten()
    }

    /// One object as it is now; none where there is none.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn get<T: OwnKind>(&self, name: &str) -> Result<Option<T>, ClusterError> {
        match self.call(http::Method::GET, &self.path::<T>(name), "", None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates one; none where the name is taken.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create<T: OwnKind>(&self, object: &T) -> Result<Option<T>, ClusterError> {
        let body =
            serde_json::to_value(object).map_err(|e| self.cluster.malformed("a request", &e.to_string()))?;
        match self.call(http::Method::POST, &self.collection::<T>(), JSON, Some(body)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.reason() == "AlreadyExists" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Merges into the status of an object at this version. The version is what keeps it from another object of the
    /// same name: the API server does not compare the uid of a status. So there is none without.
    ///
    /// # Errors
    /// 404 or 409 where it is gone, another one, or changed since; what the API server answered otherwise.
    pub async fn patch_status<T: OwnKind>(
        &self,
        name: &str,
        uid: &str,
        version: &str,
        status: Value,
    ) -> Result<T, ClusterError> {
        let path = format!("{}/status", self.path::<T>(name));
        if version.is_empty() || version == "0" {
            return Err(self.cluster.malformed(&path, "the object was read without a resourceVersion"));
        }
        let body = json!({ "metadata": { "uid": uid, "resourceVersion": version }, "status": status });
        self.call(http::Method::PATCH, &path, "application/merge-patch+json", Some(body)).await
    }

    /// Merges into the status of an object at whatever version: for kinds whose names are never used twice, and of whose
    /// fields each has one writer.
    ///
    /// # Errors
    /// 404 where it is gone; what the API server answered otherwise.
    pub async fn merge_status<T: OwnKind>(&self, name: &str, status: Value) -> Result<T, ClusterError> {
        let path = format!("{}/status", self.path::<T>(name));
        let body = json!({ "status": status });
        self.call(http::Method::PATCH, &path, "application/merge-patch+json", Some(body)).await
    }

    /// Deletes the object with this uid. That it is gone already is success.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn delete<T: OwnKind>(&self, name: &str, uid: &str) -> Result<(), ClusterError> {
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": { "uid": uid }, "propagationPolicy": "Background",
        });
        match self.call::<Value>(http::Method::DELETE, &self.path::<T>(name), JSON, Some(options)).await {
            Err(error) if !matches!(error.code(), Some(404 | 409)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a namespace is there. The agent may list, and nothing else, outside its own.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn namespace_exists(&self, name: &str) -> Result<bool, ClusterError> {
        let path = format!("/api/v1/namespaces?fieldSelector=metadata.name%3D{name}&limit=1");
        let list: Value = self.call(http::Method::GET, &path, "", None).await?;
        Ok(list["items"].as_array().is_some_and(|items| !items.is_empty()))
    }

    fn collection<T: OwnKind>(&self) -> String {
        format!("/apis/{GROUP}/{VERSION}/namespaces/{}/{}", self.namespace, T::PLURAL)
    }

    fn path<T: OwnKind>(&self, name: &str) -> String {
        format!("{}/{name}", self.collection::<T>())
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: http::Method,
        path: &str,
        content: &str,
        body: Option<Value>,
    ) -> Result<A, ClusterError> {
        let bytes = self.cluster.call(method, path, content, body, MAX_ANSWER).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.cluster.malformed(path, &e.to_string()))
    }
}

pub(super) const JSON: &str = "application/json";

impl Cluster {
    /// One request with a small JSON body under this connection's field manager.
    pub(super) async fn call(
        &self,
        method: http::Method,
        path: &str,
        content: &str,
        body: Option<Value>,
        max_bytes: usize,
    ) -> Result<bytes::Bytes, ClusterError> {
        let bad = |e: &dyn std::fmt::Display| self.malformed("a request", &e.to_string());
        let writes = matches!(method, http::Method::POST | http::Method::PUT | http::Method::PATCH);
        let uri =
            if writes { format!("{path}?fieldManager={}", self.field_manager()) } else { path.to_owned() };
        let mut request = http::Request::builder().method(method).uri(uri).header(http::header::ACCEPT, JSON);
        if !content.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, content);
        }
        let body = body.map(|b| serde_json::to_vec(&b)).transpose().map_err(|e| bad(&e))?;
        let request = request.body(body.unwrap_or_default()).map_err(|e| bad(&e))?;
        self.request_bounded(request, max_bytes).await
    }
}

fn translate<T: OwnKind>(event: watcher::Result<watcher::Event<DynamicObject>>) -> OwnEvent<T> {
    use watcher::Event;
    match event {
        Ok(Event::Init) => OwnEvent::Restart,
        Ok(Event::InitDone) => OwnEvent::Whole,
        Ok(Event::InitApply(object) | Event::Apply(object)) => match read(object) {
            Ok(object) => OwnEvent::There(Box::new(object)),
            Err(why) => OwnEvent::Trouble(why),
        },
        Ok(Event::Delete(object)) => match read(object) {
            Ok(object) => OwnEvent::Gone(Box::new(object)),
            Err(why) => OwnEvent::Trouble(why),
        },
        Err(error) => OwnEvent::Trouble(request::chain(&error)),
    }
}

fn read<T: OwnKind>(mut object: DynamicObject) -> Result<T, String> {
    object.metadata.managed_fields = None;
    let name = object.metadata.name.clone().unwrap_or_default();
    serde_json::to_value(object)
        .and_then(serde_json::from_value)
        .map_err(|e| format!("the {} {name} cannot be read: {e}", T::KIND))
}

/// The server does not know the version from which a watch was to go on.
fn has_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}
