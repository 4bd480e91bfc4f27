//! Running a command in a container with its standard streams at hand. Knows nothing of what is said over them.

use super::connect::Cluster;
use super::text::{MAX_MESSAGE, clean};
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Kept of what is on its way in each direction, bytes.
const BUFFER: usize = 1 << 20;
/// Kept of standard error, bytes.
const ERRORS_MAX: usize = 8 << 10;
/// How long a server may take to start the command.
const START: Duration = Duration::from_secs(60);

/// A command that runs in a container; it ends when this is dropped, as far as closing its streams ends it.
pub struct Attached {
    process: AttachedProcess,
    errors: Option<JoinHandle<String>>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "Cannot run {command} in the pod {namespace}/{pod}: {detail}; check the rights of the kubeconfig (create pods/exec)"
)]
pub struct AttachError {
    command: String,
    namespace: String,
    pod: String,
    detail: String,
}

impl Cluster {
    /// Starts `command` in a pod's only container.
    ///
    /// # Errors
    /// The server refuses, or does not answer within a minute.
    pub async fn attach(
        &self,
        namespace: &str,
        pod: &str,
        command: &[&str],
    ) -> Result<Attached, AttachError> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.long_lived_client().clone(), namespace);
        let mut params = AttachParams::default().stdin(true).stdout(true).stderr(true);
        params.max_stdin_buf_size = Some(BUFFER);
        params.max_stdout_buf_size = Some(BUFFER);
        let failed = |detail: &str| AttachError {
            command: command.join(" "),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            detail: clean(detail, MAX_MESSAGE),
        };
        let started = timeout(START, pods.exec(pod, command.iter().copied(), &params)).await;
        let started = started.map_err(|_| failed("the API server does not answer"))?;
        let mut process = started.map_err(|e| failed(&e.to_string()))?;
        let errors = process.stderr().map(|stderr| tokio::spawn(kept(stderr)));
        Ok(Attached { process, errors })
    }
}

impl Attached {
    /// What the command prints; once.
    pub fn output(&mut self) -> Option<impl AsyncRead + Unpin + use<>> {
        self.process.stdout()
    }

    /// What the command reads; once.
    pub fn input(&mut self) -> Option<impl AsyncWrite + Unpin + Send + 'static + use<>> {
        self.process.stdin()
    }

    /// Ends it, and gives what it wrote to standard error, as one line.
    pub async fn end(mut self) -> String {
        let errors = self.errors.take();
        let said = async {
            match errors {
                Some(errors) => errors.await.unwrap_or_default(),
                None => String::new(),
            }
        };
        let said = timeout(Duration::from_secs(2), said).await.unwrap_or_default();
        self.process.abort();
        clean(said.trim(), MAX_MESSAGE)
    }
}

/// The last of what is written, all of it being read.
async fn kept(mut from: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if kept.len() > ERRORS_MAX {
            kept.drain(..kept.len() - ERRORS_MAX);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
