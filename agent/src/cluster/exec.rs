//! Runs a command in a container of a Pod, bounded in time and output, under a ServiceAccount that can do nothing else.
//! Knows not what the command is for.

use super::connect::Cluster;
use super::error::ClusterError;
use super::request;
use super::text::{MAX_MESSAGE, clean};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// The ServiceAccount that may exec, where hooks are installed.
pub const HOOKS_ACCOUNT: &str = "lifeboat-hooks";
/// A token is asked for with this life, and used for half of it.
const LIFE: Duration = Duration::from_secs(3600);
/// What is kept of a command's output, from its end.
const MAX_OUTPUT: usize = 4096;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    Well,
    /// It ran and failed, or ran out of time; why, with the end of what it said.
    Badly(String),
    /// Commands may not be run in that namespace.
    Forbidden(String),
    /// The Pod or the container is not there.
    Gone(String),
    /// Whether it ran is not known.
    Unknown(String),
}

/// Where a command runs.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

/// Runs commands.
#[derive(Debug)]
pub struct Executor {
    cluster: Cluster,
    namespace: String,
    held: tokio::sync::Mutex<Option<(Cluster, Instant)>>,
}

impl Executor {
    /// `namespace`: where the ServiceAccount is.
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned(), held: tokio::sync::Mutex::new(None) }
    }

    /// Whether commands can be run: whether the ServiceAccount is there and this one may act for it.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn is_allowed(&self) -> Result<bool, ClusterError> {
        match self.connection().await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), Some(403 | 404)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn connection(&self) -> Result<Cluster, ClusterError> {
        let mut held = self.held.lock().await;
        if let Some((cluster, since)) = held.as_ref().filter(|(_, since)| since.elapsed() < LIFE / 2) {
            let _ = since;
            return Ok(cluster.clone());
        }
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{HOOKS_ACCOUNT}/token", self.namespace);
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": LIFE.as_secs() },
        });
        let answer =
            self.cluster.call(http::Method::POST, &path, "application/json", Some(body), 1 << 20).await?;
        let malformed = || self.cluster.malformed(&path, "the answer is no token");
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| malformed())?;
        let token = answer["status"]["token"].as_str().filter(|t| !t.is_empty()).ok_or_else(malformed)?;
        let cluster = self.cluster.with_token(token)?;
        *held = Some((cluster.clone(), Instant::now()));
        Ok(cluster)
    }

    /// Runs a command; no shell reads it.
    pub async fn run(&self, target: Target<'_>, command: &[String], timeout: Duration) -> Ran {
        let cluster = match self.connection().await {
            Ok(cluster) => cluster,
            Err(error) => return Ran::Unknown(error.to_string()),
        };
        match tokio::time::timeout(timeout, run(&cluster, target, command)).await {
            Ok(ran) => ran,
            // What it started may go on in the container.
            Err(_) => Ran::Badly(format!("it did not end within {} s", timeout.as_secs())),
        }
    }
}

async fn run(cluster: &Cluster, target: Target<'_>, command: &[String]) -> Ran {
    let pods: kube::Api<Pod> = kube::Api::namespaced(cluster.long_lived_client().clone(), target.namespace);
    let params = AttachParams::default().container(target.container).stdin(false).stdout(true).stderr(true);
    let mut process = match pods.exec(target.pod, command, &params).await {
        Ok(process) => process,
        Err(error) => return not_run(&error, target.namespace),
    };
    let (out, err, status) = (process.stdout(), process.stderr(), process.take_status());
    let read = async { tokio::join!(tail(out), tail(err)) };
    let ((out, err), status) = tokio::join!(read, async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    });
    let said = clean(&[out, err].concat(), MAX_MESSAGE);
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Ran::Well,
        Some(status) => {
            let why = clean(status.message.as_deref().unwrap_or("it failed"), MAX_MESSAGE);
            Ran::Badly(if said.trim().is_empty() { why } else { format!("{why}: {}", said.trim()) })
        }
        None => Ran::Unknown("the connection to it was lost".to_owned()),
    }
}

fn not_run(error: &kube::Error, namespace: &str) -> Ran {
    let why = match error {
        kube::Error::Api(status) if !status.message.is_empty() => clean(&status.message, MAX_MESSAGE),
        _ => request::chain(error),
    };
    let code = match error {
        kube::Error::Api(status) => status.code,
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code)) => {
            code.as_u16()
        }
        _ => 0,
    };
    match code {
        404 => Ran::Gone(why),
        400 => Ran::Badly(why),
        403 => Ran::Forbidden(format!(
            "commands may not be run there; allow it (lifeboat install --hooks {namespace}), or take the hooks away: {why}"
        )),
        _ => Ran::Unknown(why),
    }
}

/// The end of what a stream carries.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        kept.extend_from_slice(part.get(..read).unwrap_or_default());
        if kept.len() > 2 * MAX_OUTPUT {
            kept.drain(..kept.len() - MAX_OUTPUT);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
