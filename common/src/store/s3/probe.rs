//! Requests that only `lifeboat probe` makes: to find out what a server would let somebody do. Nothing that backs up,
//! replicates or restores calls these.

use super::super::Result;
use super::S3Store;
use super::answer::Watch;
use super::judge::judge;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::BucketVersioningStatus;
use aws_smithy_types::base64;
use bytes::Bytes;

impl S3Store {
    /// PUT without any condition. The caller answers for it that `key` is a canary of its own, and `body` what it holds.
    pub async fn put_over_canary(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<()> {
        self.inner.check("overwrite", key)?;
        let call = self
            .inner
            .client
            .put_object()
            .bucket(&self.inner.bucket)
            .key(self.inner.full(key))
            .checksum_sha256(base64::encode(sha256))
            .body(ByteStream::from(body));
        match call.customize().interceptor(Watch::signing(&sha256)).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.inner.fail("overwrite", key, judge(&error))),
        }
    }

    /// Whether the bucket keeps old versions.
    pub async fn is_versioned(&self) -> Result<bool> {
        let call = self.inner.client.get_bucket_versioning().bucket(&self.inner.bucket);
        match call.customize().interceptor(Watch::default()).send().await {
            Ok(answer) => Ok(answer.status == Some(BucketVersioningStatus::Enabled)),
            Err(error) => Err(self.inner.fail("read the versioning of", "", judge(&error))),
        }
    }

    /// Whether versions may be listed.
    pub async fn can_list_versions(&self) -> Result<()> {
        let call = self
            .inner
            .client
            .list_object_versions()
            .bucket(&self.inner.bucket)
            .prefix(&self.inner.prefix)
            .max_keys(1);
        match call.customize().interceptor(Watch::default()).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.inner.fail("list the versions in", "", judge(&error))),
        }
    }
}
