//! S3 over servers that are broken, hostile or gone, and the shape of requests.

mod requests;
mod server;
mod settling;
mod trouble;

use super::*;
use crate::store::options::S3Options;
use aws_sdk_s3::config::Credentials;
use server::Server;

const SECRET: &str = "sesame-open";

/// Short, so that tests that wait for them are.
const BRISK: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    answer: Duration::from_millis(500),
    idle: Duration::from_millis(300),
    slowest: 100 << 20,
};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

/// Settings with a credential in a file, which must stay there until they were used.
fn options(endpoint: &str) -> (tempfile::NamedTempFile, S3Options) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = {SECRET}\n");
    std::fs::write(file.path(), text).unwrap();
    let options = S3Options {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        credentials_file: Some(file.path().to_owned()),
        ..S3Options::default()
    };
    (file, options)
}

async fn store(server: &Server) -> S3Store {
    let (_file, options) = options(&server.endpoint());
    S3Store::connect("bucket", "pre/fix", &options, BRISK).await.unwrap()
}

/// No message and no debugging output shows a secret.
fn discreet(error: &StoreError) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains("Signature="), "{text}");
}

#[test]
fn credentials_are_not_shown_by_debug() {
    let credential = Credentials::new("AKIATEST", SECRET, None, None, "test");
    assert!(!format!("{credential:?}").contains(SECRET));
}
