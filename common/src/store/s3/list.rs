//! Listing a bucket, believing nothing of it: keys must ascend, lie under the prefix and after the start.

use super::super::{Entry, Listing, Result, StoreError, StoreErrorKind, key};
use super::Inner;
use super::answer::{Watch, when};
use super::judge::judge;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Pages without a usable key that are skipped before a listing counts as endless.
const EMPTY_PAGES: usize = 100;
/// Pages of folders below one prefix.
const FOLDER_PAGES: usize = 1000;

/// Where a page starts and what it may hold.
struct Asked<'a> {
    prefix: &'a str,
    after: Option<String>,
    token: Option<String>,
    delimiter: Option<&'a str>,
    limit: usize,
}

impl Inner {
    pub(super) async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Listing> {
        let full = self.full(prefix);
        let after = start_after.map(|after| self.full(after));
        let mut asked = Asked { prefix: &full, after, token: None, delimiter: None, limit };
        for _ in 0..EMPTY_PAGES {
            let (page, date) = self.page(prefix, &asked).await?;
            let store_time =
                date.ok_or_else(|| self.lie(prefix, "the server sent no Date with its answer"))?;
            let more = page.is_truncated == Some(true);
            let last = page.contents().last().and_then(|object| object.key.clone());
            let entries = self.entries(prefix, &asked, &page)?;
            if !entries.is_empty() || !more {
                return Ok(Listing { entries, more, store_time });
            }
            // Nothing but foreign names (such as folder markers), or nothing yet: go on.
            asked.token = page.next_continuation_token;
            asked.after = last.or(asked.after);
            if asked.token.is_none() && asked.after.is_none() {
                return Err(self.lie(prefix, "the server sent an empty page and says that more follows"));
            }
        }
        Err(self.lie(prefix, "the server keeps sending pages without a usable key"))
    }

    /// Names of the folders directly below this store.
    pub(super) async fn folders(&self) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        let mut asked = Asked {
            prefix: &self.prefix,
            after: None,
            token: None,
            delimiter: Some("/"),
            limit: key::MAX_PAGE,
        };
        for _ in 0..FOLDER_PAGES {
            let (page, _) = self.page("", &asked).await?;
            for folder in page.common_prefixes() {
                let name = folder.prefix().and_then(|folder| folder.strip_prefix(&self.prefix));
                let name = name.and_then(|folder| folder.strip_suffix('/')).unwrap_or_default();
                if key::flaw(name).is_none() && !name.contains('/') && !name.starts_with('.') {
                    names.insert(name.to_owned());
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(names.into_iter().collect());
            }
            asked.token = page.next_continuation_token;
            if asked.token.is_none() {
                return Err(self.lie("", "the server says that more follows, but not how to ask for it"));
            }
        }
        Err(self.lie("", "the server's list of folders does not end"))
    }

    async fn page(
        &self,
        prefix: &str,
        asked: &Asked<'_>,
    ) -> Result<(ListObjectsV2Output, Option<Timestamp>)> {
        let watch = Watch::default();
        let call = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(asked.prefix)
            .set_start_after(asked.after.clone())
            .set_continuation_token(asked.token.clone())
            .set_delimiter(asked.delimiter.map(str::to_owned))
            .max_keys(i32::try_from(asked.limit).unwrap_or(i32::MAX));
        match call.customize().interceptor(watch.clone()).send().await {
            Ok(page) => Ok((page, watch.date())),
            Err(error) => Err(self.fail("list", prefix, judge(&error))),
        }
    }

    /// The usable entries of a page that keeps its promises.
    fn entries(&self, prefix: &str, asked: &Asked<'_>, page: &ListObjectsV2Output) -> Result<Vec<Entry>> {
        let objects = page.contents();
        if objects.len() > asked.limit {
            return Err(self.lie(prefix, "the server sent more keys than asked for"));
        }
        let mut last = asked.after.as_deref();
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let key =
                object.key().ok_or_else(|| self.lie(prefix, "the server sent an entry without a key"))?;
            if !key.starts_with(asked.prefix) {
                return Err(self.lie(prefix, "the server sent a key from outside the prefix"));
            }
            if last.is_some_and(|last| key <= last) {
                return Err(self.lie(prefix, "the server sent keys out of order, or again"));
            }
            last = Some(key);
            let own = key.strip_prefix(&self.prefix).unwrap_or_default();
            if key::flaw(own).is_some() {
                continue;
            }
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let modified = object.last_modified().and_then(when);
            let (Some(size), Some(modified)) = (size, modified) else {
                return Err(self.lie(prefix, "the server sent an entry without size or time"));
            };
            entries.push(Entry { key: own.to_owned(), size, modified });
        }
        Ok(entries)
    }

    fn lie(&self, prefix: &str, detail: &str) -> StoreError {
        self.error(StoreErrorKind::Protocol, "list", prefix, detail)
    }
}
