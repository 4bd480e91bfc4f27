//! The little of HTTP that telling needs: a POST, a GET, over TLS. No redirects, no cookies, no answer kept. A URL may be a
//! secret, so none is ever part of an error: only its host is.

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("It is no URL such as https://HOST/PATH; correct url, or what is in url_file")]
    Url,
    #[error("{host} would get a token without TLS; use https:// there")]
    Bare { host: String },
    #[error("This host's certificates cannot be read: {0}; install ca-certificates")]
    Roots(std::io::Error),
    #[error("{host} could not be asked: {why}; it is tried again")]
    Connect { host: String, why: String },
    #[error("{host} answered {status}; look at the URL and the token")]
    Refused { host: String, status: u16 },
}

/// Whether a name stands for this machine.
pub(super) fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether it can be asked at all.
pub(super) fn check(url: &str) -> Result<(Uri, String), ClientError> {
    let uri: Uri = url.parse().map_err(|_| ClientError::Url)?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().filter(|h| known && !h.is_empty()).ok_or(ClientError::Url)?.to_owned();
    Ok((uri, host))
}

pub(super) async fn post(url: &str, token: Option<&str>, json: Vec<u8>) -> Result<(), ClientError> {
    ask(Method::POST, url, token, json).await
}

pub(super) async fn get(url: &str) -> Result<(), ClientError> {
    ask(Method::GET, url, None, Vec::new()).await
}

async fn ask(method: Method, url: &str, token: Option<&str>, body: Vec<u8>) -> Result<(), ClientError> {
    let (uri, host) = check(url)?;
    if token.is_some() && uri.scheme_str() == Some("http") && !is_this_host(&host) {
        return Err(ClientError::Bare { host });
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::USER_AGENT, concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        let mut value =
            header::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Url)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|_| ClientError::Url)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let provider = Arc::unwrap_or_clone(provider);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(ClientError::Roots)?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let answer = client.request(request).await.map_err(|error| {
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            why.push_str(&format!(": {next}"));
            cause = next.source();
        }
        ClientError::Connect { host: host.clone(), why }
    })?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(ClientError::Refused { host, status: status.as_u16() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_is_a_url() {
        assert_eq!(check("https://hooks.example.com/T0/secret").unwrap().1, "hooks.example.com");
        for bad in ["", "x", "/path", "ftp://example.com/", "http://", "file:///etc/passwd"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(is_this_host("127.0.0.1") && is_this_host("[::1]") && is_this_host("localhost"));
        assert!(!is_this_host("10.0.0.1") && !is_this_host("localhost.example.com"));
    }

    #[tokio::test]
    async fn a_token_stays_here_or_goes_under_tls() {
        let error = post("http://192.0.2.1/", Some("secret"), Vec::new()).await.unwrap_err();
        assert!(matches!(error, ClientError::Bare { .. }), "{error}");
    }
}
