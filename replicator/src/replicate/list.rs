//! Listings: what is new in a source. Every answer is bounded and must ascend; names are taken apart elsewhere.

use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError, StoreErrorKind};

/// The most names that one listing may give: a daily snapshot for 2,700 years.
const NAMES_MAX: usize = 1_000_000;
pub(super) const PAGE: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
}

/// One page after `after`, ascending, and whether more follows.
pub(crate) async fn page(
    store: &dyn ReadStore,
    prefix: &str,
    after: Option<&str>,
) -> Result<(Vec<Listed>, bool), StoreError> {
    let page = store.list(prefix, after, PAGE).await?;
    let mut listed: Vec<Listed> = Vec::with_capacity(page.entries.len());
    for entry in page.entries {
        let last = listed.last().map(|l| l.key.as_str()).or(after);
        if last == Some(entry.key.as_str()) && !listed.is_empty() {
            continue;
        }
        if last.is_some_and(|last| entry.key.as_str() <= last) || !entry.key.starts_with(prefix) {
            let target = format!("{}/{prefix}", store.describe());
            let detail =
                format!("the listing is out of order or elsewhere at '{}'", entry.key.escape_debug());
            return Err(StoreError::new(StoreErrorKind::Protocol, "list", target, detail));
        }
        listed.push(Listed { key: entry.key, size: entry.size, modified: entry.modified });
    }
    Ok((listed, page.more))
}

/// Everything after `after`.
pub(crate) async fn all(
    store: &dyn ReadStore,
    prefix: &str,
    after: Option<&str>,
) -> Result<Vec<Listed>, StoreError> {
    let mut all = Vec::new();
    let mut after = after.map(str::to_owned);
    loop {
        let (page, more) = page(store, prefix, after.as_deref()).await?;
        after = page.last().map(|l| l.key.clone()).or(after);
        let empty = page.is_empty();
        all.extend(page);
        if !more {
            return Ok(all);
        }
        if empty || all.len() > NAMES_MAX {
            let target = format!("{}/{prefix}", store.describe());
            let detail = format!("the listing does not end (after {} names)", all.len());
            return Err(StoreError::new(StoreErrorKind::Protocol, "list", target, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_common::clock::SystemClock;
    use lifeboat_common::store::MemoryStore;
    use std::sync::Arc;

    #[tokio::test]
    async fn pages_are_joined() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        for i in 0..2500 {
            store.put(&format!("manifests/{i:016}.json"), "x");
        }
        store.put("packs/aa", "x");
        let found = all(&store, "manifests/", Some("manifests/0000000000000099.json")).await.unwrap();
        assert_eq!(found.len(), 2400);
        assert_eq!(store.requests().list, 3);
    }
}
