//! The versions of one object: listed, and deleted one by one. A bucket without versions has one, which may be named `null`.

use super::super::{Result, StoreError, StoreErrorKind, Version};
use super::Inner;
use super::answer::{Watch, when};
use super::judge::judge;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;

/// More versions of one key than this are somebody's attack on us.
const VERSIONS_MAX: usize = 10_000;

/// Whether it is the one that a GET gives, for times are whole seconds; and what it is.
type Found = (bool, Version);

impl Inner {
    /// Newest first.
    pub(super) async fn versions(&self, key: &str) -> Result<Vec<Version>> {
        let full = self.full(key);
        let (mut versions, mut after): (Vec<Found>, Option<(String, String)>) = (Vec::new(), None);
        loop {
            let (key_marker, version_marker) = after.clone().unzip();
            let call = self.client.list_object_versions().bucket(&self.bucket).prefix(&full);
            let call = call.set_key_marker(key_marker).set_version_id_marker(version_marker);
            let page = match call.customize().interceptor(Watch::default()).send().await {
                Ok(page) => page,
                Err(error) => return Err(self.fail("list the versions of", key, judge(&error))),
            };
            let others = self.take(key, &full, &page, &mut versions)?;
            let next = page.next_key_marker.clone().zip(page.next_version_id_marker.clone());
            // Keys that only begin like this one come after it.
            if others || page.is_truncated != Some(true) {
                break;
            }
            if next.is_none() || next == after || versions.len() > VERSIONS_MAX {
                return Err(self.lies_of(key, "the list of its versions does not end"));
            }
            after = next;
        }
        versions.sort_by_key(|(latest, v)| std::cmp::Reverse((*latest, v.modified)));
        Ok(versions.into_iter().map(|(_, v)| v).collect())
    }

    /// Adds what a page says of `key`; true when it went on to other keys.
    fn take(
        &self,
        key: &str,
        full: &str,
        page: &ListObjectVersionsOutput,
        versions: &mut Vec<Found>,
    ) -> Result<bool> {
        let mut others = false;
        for v in page.versions() {
            if v.key() != Some(full) {
                others = true;
                continue;
            }
            let size = v.size().and_then(|size| u64::try_from(size).ok());
            let (Some(size), Some(modified)) = (size, v.last_modified().and_then(when)) else {
                return Err(self.lies_of(key, "the server sent a version without size or time"));
            };
            let version = Version { id: named(v.version_id()), size, modified, delete_marker: false };
            versions.push((v.is_latest() == Some(true), version));
        }
        for m in page.delete_markers() {
            if m.key() != Some(full) {
                others = true;
                continue;
            }
            let Some(modified) = m.last_modified().and_then(when) else {
                return Err(self.lies_of(key, "the server sent a delete marker without a time"));
            };
            let version = Version { id: named(m.version_id()), size: 0, modified, delete_marker: true };
            versions.push((m.is_latest() == Some(true), version));
        }
        Ok(others)
    }

    fn lies_of(&self, key: &str, detail: &str) -> StoreError {
        self.error(StoreErrorKind::Protocol, "list the versions of", key, detail)
    }

    pub(super) async fn delete_version(&self, key: &str, id: Option<&str>) -> Result<()> {
        let call = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        let call = call.set_version_id(id.map(str::to_owned));
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

fn named(id: Option<&str>) -> Option<String> {
    id.filter(|id| !id.is_empty()).map(str::to_owned)
}
