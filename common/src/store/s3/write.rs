//! Conditional PUT and DELETE. A PUT whose answer got lost is settled by a look before anyone is told.

use super::super::{Created, Result, StoreError, StoreErrorKind};
use super::Inner;
use super::answer::{Answer, Watch};
use super::connect::limits;
use super::judge::judge;
use super::outgoing::Outgoing;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::base64;
use bytes::Bytes;
use jiff::Timestamp;

impl Inner {
    pub(super) async fn create(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created> {
        let answer = match self.put(key, body.clone(), &sha256).await {
            Ok(Some(store_time)) => return Ok(Created { store_time }),
            // It is there; only the server's clock is missing.
            Ok(None) => return self.clock_of(key).await,
            Err(answer) => answer,
        };
        let unclear = answer.unclear;
        let error = self.fail("create", key, answer);
        if unclear { self.settle(key, &body, error).await } else { Err(error) }
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        sha256: &[u8; 32],
    ) -> std::result::Result<Option<Timestamp>, Answer> {
        let watch = Watch::signing(sha256);
        let attempt = self.timeouts.answer + self.timeouts.transfer(body.len() as u64);
        let (outgoing, progress) = Outgoing::new(body.clone());
        let patience = Builder::new().timeout_config(limits(self.timeouts, attempt));
        let call = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .if_none_match("*")
            .checksum_sha256(base64::encode(sha256))
            .content_length(i64::try_from(body.len()).unwrap_or(i64::MAX))
            .body(ByteStream::from_body_1_x(outgoing));
        let call = call.customize().config_override(patience).interceptor(watch.clone());
        tokio::select! {
            answer = call.send() => answer.map(|_| watch.date()).map_err(|error| judge(&error)),
            () = progress.stalled(self.timeouts) => Err(Answer::silence("the server stopped taking the bytes")),
        }
    }

    /// After an unclear PUT: own bytes there is success, other bytes is `Exists`, nothing there is the first error.
    async fn settle(&self, key: &str, body: &Bytes, error: StoreError) -> Result<Created> {
        let look = |second: StoreError| StoreError {
            kind: StoreErrorKind::Unclear,
            detail: format!(
                "{}; whether it was written could not be found out: {}",
                error.detail, second.detail
            ),
            ..self.error(StoreErrorKind::Unclear, "create", key, "")
        };
        let Some((entry, date)) = self.head("create", key).await.map_err(look)? else { return Err(error) };
        let same = entry.size == body.len() as u64 && self.get(key, entry.size).await.map_err(look)? == *body;
        match (same, date) {
            (true, date) => Ok(Created { store_time: date.unwrap_or(entry.modified) }),
            (false, _) => Err(self.error(StoreErrorKind::Exists, "create", key, "other bytes are there")),
        }
    }

    async fn clock_of(&self, key: &str) -> Result<Created> {
        match self.head("create", key).await? {
            Some((entry, date)) => Ok(Created { store_time: date.unwrap_or(entry.modified) }),
            None => {
                Err(self.error(StoreErrorKind::Unclear, "create", key, "it was written, but is not there"))
            }
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let call = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        match call.customize().interceptor(Watch::default()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match judge(&error) {
                answer
                    if answer.kind == StoreErrorKind::NotFound && !answer.detail.contains("NoSuchBucket") =>
                {
                    Ok(())
                }
                answer => Err(self.fail("delete", key, answer)),
            },
        }
    }
}
