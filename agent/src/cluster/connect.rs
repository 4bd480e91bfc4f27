//! A connection to one cluster: from a kubeconfig or a pod's own credentials to a client with timeouts.
//! Knows nothing of what is read or written over it, and never shows a credential.

use super::error::ClusterError;
use super::observe::{Observe, RequestObserver};
use super::request;
use super::text::{MAX_MESSAGE, clean};
use kube::config::{KubeConfigOptions, Kubeconfig};
use lifeboat_common::clock::{Clock, SystemClock};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How to talk to a cluster. The defaults suit a backup.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub connect_timeout: Duration,
    /// No byte for so long is a failure; the server's own limit for a list is 60 s.
    pub read_timeout: Duration,
    /// One answer must be complete within this time, however slowly it trickles.
    pub attempt_timeout: Duration,
    /// A read is repeated for at most so long.
    pub retry_budget: Duration,
    /// The first call, which finds wrong addresses, is repeated for at most so long.
    pub connect_budget: Duration,
    /// Names this program, and in a restore this run, to the server.
    pub field_manager: String,
    pub clock: Arc<dyn Clock>,
    /// Hears of every request, those of watches and leases included.
    pub observer: Option<Arc<dyn RequestObserver>>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(75),
            attempt_timeout: Duration::from_secs(300),
            retry_budget: Duration::from_secs(180),
            connect_budget: Duration::from_secs(5),
            field_manager: "lifeboat".to_owned(),
            clock: Arc::new(SystemClock),
            observer: None,
        }
    }
}

/// A cluster that answered. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    long_lived: kube::Client,
    /// Where it is, `https://host:port`.
    server: String,
    /// Where that came from: the kubeconfig's path, or the pod.
    origin: String,
    version: String,
    options: ConnectOptions,
    /// Without credentials.
    anonymous: kube::Config,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.inner.server)
            .field("origin", &self.inner.origin)
            .finish()
    }
}

impl Cluster {
    /// Connects and asks for the server's version. Without a kubeconfig: the pod's own credentials in a
    /// pod, else `KUBECONFIG` or `~/.kube/config`.
    ///
    /// # Errors
    /// If there is no usable kubeconfig, or the server does not answer, is not trusted or refuses.
    pub async fn connect(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        options: ConnectOptions,
    ) -> Result<Self, ClusterError> {
        // Fails only where a provider is already there, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut config, origin) = load_config(kubeconfig, context).await?;
        config.connect_timeout = Some(options.connect_timeout);
        config.read_timeout = Some(options.read_timeout);
        // Otherwise the time that a pooled connection sat idle counts as waiting for an answer.
        config.reset_reader_on_write = true;
        // It repeats POSTs; request.rs repeats reads only, and knows Retry-After.
        config.default_retry = false;
        let agent = http::HeaderValue::from_str(&options.field_manager)
            .unwrap_or_else(|_| http::HeaderValue::from_static("lifeboat"));
        config.headers.push((http::header::USER_AGENT, agent));
        let server = server_name(&config.cluster_url);
        let cluster = Self::of(config, server, origin, String::new(), options)?;
        let version = cluster.fetch_version().await?;
        Ok(Self { inner: Arc::new(cluster.inner.with_version(version)) })
    }

    fn of(
        config: kube::Config,
        server: String,
        origin: String,
        version: String,
        options: ConnectOptions,
    ) -> Result<Self, ClusterError> {
        let mut patient = config.clone();
        patient.read_timeout = None;
        let mut anonymous = config.clone();
        anonymous.auth_info = kube::config::AuthInfo::default();
        let observe = Observe(options.observer.clone());
        let build = |config| {
            kube::client::ClientBuilder::try_from(config)
                .map(|builder| builder.with_layer(&observe).build())
                .map_err(|error| request::from_kube("setting up", &server, &origin, &error))
        };
        let (client, long_lived) = (build(config)?, build(patient)?);
        Ok(Self {
            inner: Arc::new(Inner { client, long_lived, server, origin, version, options, anonymous }),
        })
    }

    /// A connection to the same server for whoever this token is of.
    pub(super) fn with_token(&self, token: &str) -> Result<Self, ClusterError> {
        let mut config = self.inner.anonymous.clone();
        config.auth_info.token = Some(token.to_owned().into());
        let inner = &self.inner;
        Self::of(
            config,
            inner.server.clone(),
            inner.origin.clone(),
            inner.version.clone(),
            inner.options.clone(),
        )
    }

    async fn fetch_version(&self) -> Result<String, ClusterError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let body = self.get_within("/version", self.inner.options.connect_budget).await?;
        let version: Version = serde_json::from_slice(&body)
            .map_err(|error| self.malformed("GET /version", &error.to_string()))?;
        Ok(clean(&version.git_version, 64))
    }

    /// The client for short calls; it gives up on a server that falls silent.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.inner.client
    }

    /// The client for exec and attach, where silence is no failure: the caller bounds the time.
    #[must_use]
    pub fn long_lived_client(&self) -> &kube::Client {
        &self.inner.long_lived
    }

    /// `https://host:port`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// Where the connection's settings came from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// `v1.34.4`.
    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.inner.version
    }

    #[must_use]
    pub fn field_manager(&self) -> &str {
        &self.inner.options.field_manager
    }

    /// The time, by the clock that this connection was given.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.inner.options.clock.now()
    }

    #[must_use]
    pub fn options(&self) -> &ConnectOptions {
        &self.inner.options
    }

    pub(super) fn silent(&self, what: &str) -> ClusterError {
        ClusterError::Unreachable {
            what: what.to_owned(),
            server: self.inner.server.clone(),
            origin: self.inner.origin.clone(),
            cause: "it stopped answering during this run".to_owned(),
        }
    }

    pub(super) fn malformed(&self, what: &str, cause: &str) -> ClusterError {
        ClusterError::Malformed {
            what: what.to_owned(),
            server: self.inner.server.clone(),
            cause: clean(cause, MAX_MESSAGE),
        }
    }
}

impl Inner {
    fn with_version(&self, version: String) -> Self {
        Self {
            client: self.client.clone(),
            long_lived: self.long_lived.clone(),
            server: self.server.clone(),
            origin: self.origin.clone(),
            version,
            options: self.options.clone(),
            anonymous: self.anonymous.clone(),
        }
    }
}

async fn load_config(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<(kube::Config, String), ClusterError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    if let Some(path) = kubeconfig {
        let origin = path.display().to_string();
        let bad = |cause: String| ClusterError::Kubeconfig {
            path: origin.clone(),
            cause: clean(&cause, MAX_MESSAGE),
        };
        let file = Kubeconfig::read_from(path).map_err(|error| bad(yaml_safe(&error)))?;
        let config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| bad(yaml_safe(&error)))?;
        return Ok((config, origin));
    }
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_pod && context.is_none() && std::env::var_os("KUBECONFIG").is_none() {
        let config = kube::Config::incluster()
            .map_err(|error| ClusterError::NoKubeconfig { cause: clean(&error.to_string(), MAX_MESSAGE) })?;
        return Ok((config, "this pod's service account".to_owned()));
    }
    let config = kube::Config::from_kubeconfig(&options)
        .await
        .map_err(|error| ClusterError::NoKubeconfig { cause: clean(&yaml_safe(&error), MAX_MESSAGE) })?;
    Ok((config, "the default kubeconfig".to_owned()))
}

/// A YAML error can quote the line it is about, and a line of a kubeconfig can hold a token.
fn yaml_safe(error: &kube::config::KubeconfigError) -> String {
    use kube::config::KubeconfigError as E;
    match error {
        E::Parse(_) => "it is not a valid kubeconfig (YAML)".to_owned(),
        E::ReadConfig(error, _) => error.to_string(),
        E::LoadContext(name) => format!("it has no context named {name:?}"),
        E::LoadClusterOfContext(name) => format!("it has no cluster named {name:?}"),
        E::CurrentContextNotSet => "it names no current context".to_owned(),
        other => other.to_string(),
    }
}

/// Scheme, host and port: a URL can carry a password.
fn server_name(url: &http::Uri) -> String {
    let host = url.host().unwrap_or("?");
    let scheme = url.scheme_str().unwrap_or("https");
    let prefix = url.path().trim_end_matches('/');
    match url.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}{prefix}"),
        None => format!("{scheme}://{host}{prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_name_the_file_and_hide_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let missing = Cluster::connect(Some(&path), None, ConnectOptions::default()).await.unwrap_err();
        assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");
        std::fs::write(&path, "users: [{user: {token: hunter2]").unwrap();
        let broken = Cluster::connect(Some(&path), None, ConnectOptions::default()).await.unwrap_err();
        assert!(!broken.to_string().contains("hunter2"), "{broken}");
        std::fs::write(&path, "apiVersion: v1\nkind: Config\n").unwrap();
        let nothing = Cluster::connect(Some(&path), None, ConnectOptions::default()).await.unwrap_err();
        assert_eq!(nothing.reason(), "KubeconfigInvalid");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(
            &path,
            "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"https://u:pw@127.0.0.1:9\"}}]\n\
             users: [{name: u, user: {token: hunter2}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n",
        )
        .unwrap();
        let options = ConnectOptions { connect_budget: Duration::ZERO, ..ConnectOptions::default() };
        let error = Cluster::connect(Some(&path), None, options.clone()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("https://127.0.0.1:9") && text.contains("kubeconfig"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("pw"), "{text}");
        assert_eq!(error.reason(), "ServerUnreachable");
        let context = Cluster::connect(Some(&path), Some("other"), options).await.unwrap_err();
        assert!(context.to_string().contains("other"), "{context}");
    }
}
