//! What can go wrong when talking to a cluster, typed: what failed, on which server, why, and what to do.
//! Knows no request and no client; holds no credential.

use std::time::Duration;

/// A failure of a call to a cluster. `what` names the call (`GET /api/v1/secrets`), never its query or headers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "Could not use the kubeconfig {path}: {cause}; check the file and the context, or name another with --kubeconfig"
    )]
    Kubeconfig { path: String, cause: String },

    #[error(
        "No kubeconfig was given and this is not a pod ({cause}); name one with --kubeconfig or KUBECONFIG"
    )]
    NoKubeconfig { cause: String },

    #[error(
        "Could not reach the API server {server} (from {origin}) for {what}: {cause}; check that it runs and that a firewall or proxy lets this machine through"
    )]
    Unreachable { what: String, server: String, origin: String, cause: String },

    #[error(
        "Could not trust the API server {server} (from {origin}) for {what}: {cause}; check the certificate authority in the kubeconfig and this machine's clock"
    )]
    Tls { what: String, server: String, origin: String, cause: String },

    #[error(
        "Could not get credentials for the API server {server} (from {origin}): {cause}; check the user in the kubeconfig, or log in again"
    )]
    Credentials { server: String, origin: String, cause: String },

    #[error("The API server {server} gave no answer to {what} within {} s; check its load, or raise the timeout", after.as_secs())]
    TimedOut { what: String, server: String, after: Duration },

    #[error("The API server {server} answered {code} {reason} to {what}: {message}{}", next_step(*code))]
    Status {
        what: Box<str>,
        server: String,
        code: u16,
        /// Kubernetes' own word for it, `Forbidden`; `Unknown` if the answer was not a Kubernetes Status.
        reason: Box<str>,
        /// Cleaned of control characters and shortened.
        message: String,
        /// Seconds that the server asked to wait.
        retry_after: Option<Duration>,
        /// A 410 offers a token to go on with.
        continue_token: Option<Box<str>>,
        /// Whether the answer was a Kubernetes Status: a proxy in front answers otherwise.
        from_kubernetes: bool,
    },

    #[error(
        "The API server {server} answered {what} with more than {limit} bytes; the object or list is too large to read"
    )]
    TooLarge { what: String, server: String, limit: usize },

    #[error(
        "The API server {server} answered {what} with something that cannot be read: {cause}; check what stands between this machine and the server"
    )]
    Malformed { what: String, server: String, cause: String },

    #[error(
        "The API server {server} does not come to an end listing {what}: {cause}; check the extension API server that serves it"
    )]
    Endless { what: String, server: String, cause: String },

    #[error("The list of {what} on {server} expired and cannot be continued: {cause}; run again")]
    Expired { what: String, server: String, cause: String },
}

fn next_step(code: u16) -> &'static str {
    match code {
        401 => "; check the credentials, or log in again",
        403 => "; grant the agent list on all resources (apiGroups *, resources *, verbs [list])",
        429 => "; the server is overloaded, run again later",
        500 | 502 | 503 | 504 => "; check the API server, its extension servers and conversion webhooks",
        _ => "",
    }
}

impl ClusterError {
    /// A stable CamelCase word for reports and metrics.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Kubeconfig { .. } | Self::NoKubeconfig { .. } => "KubeconfigInvalid",
            Self::Unreachable { .. } => "ServerUnreachable",
            Self::Tls { .. } => "ServerNotTrusted",
            Self::Credentials { .. } => "CredentialsUnavailable",
            Self::TimedOut { .. } => "ServerTimedOut",
            Self::Status { reason, .. } => reason,
            Self::TooLarge { .. } => "TooLarge",
            Self::Malformed { .. } => "AnswerMalformed",
            Self::Endless { .. } => "ListEndless",
            Self::Expired { .. } => "ListExpired",
        }
    }

    /// Whether trying the same again is pointless until a person changes something.
    #[must_use]
    pub fn permanent(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Expired { .. } => false,
            Self::Status { code, .. } => !matches!(code, 408 | 410 | 429 | 500 | 502 | 503 | 504),
            _ => true,
        }
    }

    /// The HTTP status, if the server answered with one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long the server asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Why, without the words around it: for a report that names the object by itself.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Status { message, code, .. } if message.is_empty() => format!("HTTP {code}"),
            Self::Status { message, .. } => message.clone(),
            Self::Kubeconfig { cause, .. }
            | Self::NoKubeconfig { cause }
            | Self::Unreachable { cause, .. }
            | Self::Tls { cause, .. }
            | Self::Credentials { cause, .. }
            | Self::Malformed { cause, .. }
            | Self::Endless { cause, .. }
            | Self::Expired { cause, .. } => cause.clone(),
            Self::TimedOut { after, .. } => format!("no answer within {} s", after.as_secs()),
            Self::TooLarge { limit, .. } => format!("more than {limit} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str) -> ClusterError {
        ClusterError::Status {
            what: "GET /api/v1/secrets".into(),
            server: "https://c".into(),
            code,
            reason: reason.into(),
            message: "no".into(),
            retry_after: None,
            continue_token: None,
            from_kubernetes: true,
        }
    }

    #[test]
    fn reasons_and_permanence() {
        assert_eq!(status(403, "Forbidden").reason(), "Forbidden");
        assert!(status(403, "Forbidden").permanent());
        assert!(!status(503, "ServiceUnavailable").permanent());
        assert!(!status(429, "TooManyRequests").permanent());
        assert!(status(404, "NotFound").permanent());
        assert!(status(403, "Forbidden").to_string().contains("grant the agent list"));
        let stalled =
            ClusterError::TimedOut { what: "x".into(), server: "y".into(), after: Duration::from_secs(3) };
        assert!(!stalled.permanent());
        assert!(stalled.to_string().ends_with("raise the timeout"));
    }
}
