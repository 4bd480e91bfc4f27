//! GET and HEAD: one attempt each. Writes nothing.

use super::super::{Body, Entry, Result, StoreErrorKind};
use super::answer::{Watch, when};
use super::judge::judge;
use super::{Inner, body};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use jiff::Timestamp;

impl Inner {
    pub(super) async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        let answer = self.get_object(key, None).await?;
        let answer = answer.ok_or_else(|| {
            self.error(StoreErrorKind::Protocol, "get", key, "the server answered 416 to no range")
        })?;
        let size = self.length(key, answer.content_length)?;
        if size > max_bytes {
            let detail = format!("it has {size} bytes, more than the {max_bytes} allowed");
            return Err(self.error(StoreErrorKind::TooLarge, "get", key, detail));
        }
        body::collect(self.pieces(key, answer, size), size).await
    }

    pub(super) async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        // Servers count in 63 bits, and take a larger number for no range at all.
        let last = offset.saturating_add(length).saturating_sub(1).min(i64::MAX.unsigned_abs());
        if length == 0 || offset > last {
            let found = self.head("get", key).await?;
            let absent = || self.error(StoreErrorKind::NotFound, "get", key, "there is no such object");
            return found.map(|_| Bytes::new()).ok_or_else(absent);
        }
        let Some(answer) = self.get_object(key, Some(format!("bytes={offset}-{last}"))).await? else {
            return Ok(Bytes::new());
        };
        let size = self.length(key, answer.content_length)?;
        let expected = match answer.content_range.as_deref().map(parse_range) {
            Some(Some((start, total))) if start == offset => length.min(total.saturating_sub(offset)),
            // The whole object, because it is no longer than what was asked for.
            None if offset == 0 && size <= length => size,
            _ => {
                return Err(self.error(
                    StoreErrorKind::Protocol,
                    "get",
                    key,
                    "the server sent another range than asked for",
                ));
            }
        };
        if size != expected {
            let detail = format!("the server sent {size} bytes where the range has {expected}");
            return Err(self.error(StoreErrorKind::Protocol, "get", key, detail));
        }
        body::collect(self.pieces(key, answer, size), size).await
    }

    pub(super) async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        let answer = self.get_object(key, None).await?;
        let answer = answer.ok_or_else(|| {
            self.error(StoreErrorKind::Protocol, "get", key, "the server answered 416 to no range")
        })?;
        let size = self.length(key, answer.content_length)?;
        let modified = self.modified("get", key, answer.last_modified.as_ref().and_then(when))?;
        let entry = Entry { key: key.to_owned(), size, modified };
        Ok((entry, self.pieces(key, answer, size)))
    }

    /// What the server says of an object, with the time of its answer.
    pub(super) async fn head(
        &self,
        operation: &'static str,
        key: &str,
    ) -> Result<Option<(Entry, Option<Timestamp>)>> {
        let watch = Watch::default();
        let call = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        match call.customize().interceptor(watch.clone()).send().await {
            Ok(answer) => {
                let size = self.length(key, answer.content_length)?;
                let modified = self.modified(operation, key, answer.last_modified.as_ref().and_then(when))?;
                Ok(Some((Entry { key: key.to_owned(), size, modified }, watch.date())))
            }
            Err(error) => match judge(&error) {
                answer if answer.kind == StoreErrorKind::NotFound => Ok(None),
                answer => Err(self.fail(operation, key, answer)),
            },
        }
    }

    /// `None` when the range lies past the end.
    async fn get_object(&self, key: &str, range: Option<String>) -> Result<Option<GetObjectOutput>> {
        let call = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(range);
        match call.customize().interceptor(Watch::streaming()).send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match judge(&error) {
                answer if answer.status == Some(416) => Ok(None),
                answer => Err(self.fail("get", key, answer)),
            },
        }
    }

    fn pieces(&self, key: &str, answer: GetObjectOutput, size: u64) -> Body {
        body::pieces(self.target(key), self.timeouts, answer.body, size)
    }

    fn length(&self, key: &str, length: Option<i64>) -> Result<u64> {
        let length = length.and_then(|length| u64::try_from(length).ok());
        length.ok_or_else(|| {
            self.error(StoreErrorKind::Protocol, "get", key, "the server did not say how long it is")
        })
    }

    fn modified(&self, operation: &'static str, key: &str, modified: Option<Timestamp>) -> Result<Timestamp> {
        modified.ok_or_else(|| {
            self.error(StoreErrorKind::Protocol, operation, key, "the server did not say when it was written")
        })
    }
}

/// First byte and total of `bytes 5-9/20`.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes 5-9/20"), Some((5, 20)));
        for bad in ["", "bytes */20", "bytes 5-9/*", "items 1-2/3", "bytes -1-2/3"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
