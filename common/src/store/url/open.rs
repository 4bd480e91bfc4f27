//! Opening the store behind a URL, and finding the clusters in it. Reads no object.

use super::StoreUrl;
use crate::clock::Clock;
use crate::store::local::LocalStore;
use crate::store::options::S3Options;
use crate::store::retry::{RetryPolicy, RetryStore};
use crate::store::s3::{S3Store, Timeouts};
use crate::store::{CreateStore, DeleteStore, ReadStore, Result, StoreError, StoreErrorKind};
use std::sync::Arc;

/// A folder with `charter/` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFolder {
    pub name: String,
    /// Of the folder itself: to be opened without naming the cluster again.
    pub url: StoreUrl,
}

impl StoreUrl {
    /// Opens for reading. `cluster` is the folder below this URL; `None` where the URL is that folder.
    pub async fn open_read(
        &self,
        cluster: Option<&str>,
        options: &S3Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ReadStore>> {
        Ok(self.open(cluster, options, clock).await?)
    }

    /// Opens for reading and creating. What is remote is tried again by the default policy.
    pub async fn open(
        &self,
        cluster: Option<&str>,
        options: &S3Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn CreateStore>> {
        match self {
            Self::File(base) => Ok(Arc::new(local(base, cluster, clock)?)),
            Self::S3 { .. } => Ok(Arc::new(retrying(self.s3(cluster, options).await?))),
        }
    }

    /// Opens for reading and deleting; for `retain` alone.
    pub async fn open_delete(
        &self,
        cluster: Option<&str>,
        options: &S3Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn DeleteStore>> {
        match self {
            Self::File(base) => Ok(Arc::new(local(base, cluster, clock)?)),
            Self::S3 { .. } => Ok(Arc::new(retrying(self.s3(cluster, options).await?))),
        }
    }

    /// The bucket behind an `s3` URL, without any retry around it.
    async fn s3(&self, cluster: Option<&str>, options: &S3Options) -> Result<S3Store> {
        if let Some(cluster) = cluster {
            crate::store::key::check("open", &self.to_string(), cluster)?;
        }
        match cluster.map_or_else(|| self.clone(), |cluster| self.join(cluster)) {
            Self::S3 { bucket, prefix } => {
                S3Store::connect(&bucket, &prefix, options, Timeouts::default()).await
            }
            Self::File(_) => {
                Err(StoreError::new(StoreErrorKind::Invalid, "open", self.to_string(), "it is no s3 URL"))
            }
        }
    }

    /// Makes the directory of a `file` URL; nothing for others, whose bucket somebody made.
    /// Opening never does this: a disk that is not mounted must not look like an empty store.
    pub async fn make_base(&self) -> Result<()> {
        let Some(directory) = self.directory() else { return Ok(()) };
        tokio::fs::create_dir_all(directory).await.map_err(|error| {
            StoreError::new(
                StoreErrorKind::Denied,
                "create",
                self.to_string(),
                format!("{error}; make the directory by hand"),
            )
        })
    }

    /// The clusters at this URL, ascending: the folders with `charter/` in them, or the URL itself where it has one.
    pub async fn clusters(&self, options: &S3Options, clock: Arc<dyn Clock>) -> Result<Vec<ClusterFolder>> {
        let store = self.open_read(None, options, Arc::clone(&clock)).await?;
        if has_charter(&*store, "").await? {
            return Ok(vec![ClusterFolder { name: self.last_part().to_owned(), url: self.clone() }]);
        }
        let names = match self {
            Self::File(base) => LocalStore::new(base, clock).folders().await?,
            Self::S3 { .. } => self.s3(None, options).await?.folders().await?,
        };
        let mut clusters = Vec::new();
        for name in names {
            if has_charter(&*store, &format!("{name}/")).await? {
                clusters.push(ClusterFolder { url: self.join(&name), name });
            }
        }
        Ok(clusters)
    }
}

fn retrying(store: S3Store) -> RetryStore<S3Store> {
    RetryStore::new(Arc::new(store), RetryPolicy::default())
}

fn local(base: &std::path::Path, cluster: Option<&str>, clock: Arc<dyn Clock>) -> Result<LocalStore> {
    match cluster {
        Some(cluster) => LocalStore::below(base, cluster, clock),
        None => Ok(LocalStore::new(base, clock)),
    }
}

async fn has_charter(store: &dyn ReadStore, folder: &str) -> Result<bool> {
    let page = store.list(&format!("{folder}charter/"), None, 1).await?;
    Ok(!page.entries.is_empty())
}
