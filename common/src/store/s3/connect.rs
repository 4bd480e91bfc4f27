//! From the settings to a client: TLS, region, credential, time-outs. Sends no request to the store.

use super::super::options::S3Options;
use super::super::{Result, StoreError, StoreErrorKind};
use super::{Inner, S3Store, Timeouts, credentials};
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::{Builder as HttpBuilder, tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bodies of requests are held in memory, so none is larger than this.
const LARGEST_BODY: u64 = 64 << 20;

impl S3Store {
    /// A store in `bucket` below `prefix` (empty, or parts separated by slashes).
    pub async fn connect(
        bucket: &str,
        prefix: &str,
        options: &S3Options,
        timeouts: Timeouts,
    ) -> Result<Self> {
        let plain = options.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let http =
            if plain { HttpBuilder::new().build_http() } else { https(options.ca_file.as_deref()).await? };
        Self::connect_by(bucket, prefix, options, timeouts, http).await
    }

    pub(super) async fn connect_by(
        bucket: &str,
        prefix: &str,
        options: &S3Options,
        timeouts: Timeouts,
        http: SharedHttpClient,
    ) -> Result<Self> {
        if let Some(endpoint) = &options.endpoint {
            check_endpoint(endpoint)?;
        }
        let region = region(options).await?;
        let (provider, credential) = provider(options, &region).await?;
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(region.clone())
            .credentials_provider(provider)
            .force_path_style(options.path_style())
            .timeout_config(limits(timeouts, timeouts.answer))
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Ok(name) = AppName::new("lifeboat") {
            config = config.app_name(name);
        }
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let endpoint = options.endpoint.clone().unwrap_or_else(|| format!("AWS S3 in {region}"));
        let prefix =
            if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
        let client = aws_sdk_s3::Client::from_conf(config.build());
        let inner = Inner { client, bucket: bucket.to_owned(), prefix, timeouts, credential, endpoint };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// The time-outs of a call, of which only that of the attempt may differ: the others are part of what
/// identifies a pool of connections.
pub(super) fn limits(timeouts: Timeouts, attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(timeouts.connect)
        // This one holds for the sending of the body too; that of the attempt is the tighter one.
        .read_timeout(timeouts.answer + timeouts.transfer(LARGEST_BODY))
        .operation_attempt_timeout(attempt)
        .build()
}

fn invalid(target: &str, detail: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "use", target, detail)
}

/// Refuses an endpoint that carries a password, without repeating it.
fn check_endpoint(endpoint: &str) -> Result<()> {
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['@', ' ', '?', '#']) => Ok(()),
        _ => Err(invalid(
            "the S3 endpoint",
            "it must read https://HOST:PORT or http://HOST:PORT, without credentials",
        )),
    }
}

async fn region(options: &S3Options) -> Result<Region> {
    if let Some(region) = &options.region {
        return Ok(Region::new(region.clone()));
    }
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    match chain.region().await {
        Some(region) => Ok(region),
        // Servers other than AWS take any region; this is what most expect.
        None if options.endpoint.is_some() => Ok(Region::new("us-east-1")),
        None => Err(invalid("AWS S3", "no region is known; set region in the [s3] table, or AWS_REGION")),
    }
}

/// The credential, and a name for it.
async fn provider(options: &S3Options, region: &Region) -> Result<(SharedCredentialsProvider, String)> {
    if let Some(file) = &options.credentials_file {
        let found = credentials::read(file).await?;
        return Ok((SharedCredentialsProvider::new(found), format!("the credential in {}", file.display())));
    }
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(https(None).await?)
        .load()
        .await;
    let provider =
        config.credentials_provider().ok_or_else(|| invalid("the AWS credential chain", "it is empty"))?;
    Ok((provider, "the credential of the AWS chain (environment, profile, instance)".to_owned()))
}

/// HTTPS by rustls and ring, trusting the system's authorities or those of a file.
async fn https(ca_file: Option<&Path>) -> Result<SharedHttpClient> {
    let trust = match ca_file {
        None => tls::TrustStore::default(),
        Some(file) => tls::TrustStore::empty().with_pem_certificate(authorities(file).await?),
    };
    let context = tls::TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| invalid("the TLS settings", error.to_string()))?;
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    Ok(HttpBuilder::new().tls_provider(ring).tls_context(context).build_https())
}

/// The bytes of a file of certificates, which the client would panic over if they were none.
async fn authorities(file: &Path) -> Result<Vec<u8>> {
    let target = file.display().to_string();
    let pem = tokio::fs::read(file).await.map_err(|error| invalid(&target, error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| invalid(&target, format!("it is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(&target, format!("a certificate in it cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(invalid(&target, "it holds no certificate; give the authority's certificate in PEM"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_hold_no_password() {
        assert!(check_endpoint("http://127.0.0.1:7070").is_ok());
        assert!(check_endpoint("https://s3.example.com").is_ok());
        for bad in ["s3.example.com", "http://", "https://key:sesame@host", "ftp://x"] {
            let error = check_endpoint(bad).unwrap_err();
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_of_authorities_must_hold_some() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("ca.pem");
        assert_eq!(https(Some(&file)).await.unwrap_err().kind, StoreErrorKind::Invalid);
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(https(Some(&file)).await.unwrap_err().kind, StoreErrorKind::Invalid, "{text}");
        }
    }
}
