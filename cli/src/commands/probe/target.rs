//! A store as one credential sees it, with the two requests that no trait has: overwriting, and reading the bucket's
//! settings. One attempt each; nothing is retried, so that the first answer counts.

use crate::context::Context;
use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use lifeboat_common::store::s3::Timeouts;
use lifeboat_common::store::{
    CreateStore, DeleteStore, LocalStore, ReadStore, S3Options, S3Store, StoreError, StoreErrorKind, StoreUrl,
};
use lifeboat_format::id::ClusterName;
use std::sync::Arc;

type Answer<T> = std::result::Result<T, StoreError>;

/// What a probe needs of a store.
#[async_trait]
pub(super) trait Probed: Send + Sync {
    fn read(&self) -> &dyn ReadStore;
    fn create(&self) -> &dyn CreateStore;
    fn delete(&self) -> &dyn DeleteStore;
    /// The folder above the cluster's own.
    fn outside(&self) -> &dyn ReadStore;
    /// Writes a canary of ours over itself; `None` where that says nothing.
    async fn overwrite(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Option<Answer<()>>;
    async fn versioned(&self) -> Option<Answer<bool>>;
    async fn list_versions(&self) -> Option<Answer<()>>;
    /// Whether there are rights to speak of.
    fn has_rights(&self) -> bool;
}

/// A bucket or a directory.
pub(super) enum Target {
    S3 { cluster: S3Store, outside: S3Store },
    Local { cluster: LocalStore, outside: LocalStore },
}

impl Target {
    pub(super) async fn open(
        url: &StoreUrl,
        cluster: &ClusterName,
        options: &S3Options,
        context: &Context<'_>,
    ) -> Result<Self> {
        match url {
            StoreUrl::S3 { bucket, prefix } => {
                let StoreUrl::S3 { prefix: inner, .. } = url.join(cluster.as_str()) else {
                    anyhow::bail!("{url} is no s3 URL");
                };
                let connect = |prefix| S3Store::connect(bucket, prefix, options, Timeouts::default());
                let (cluster, outside) = (connect(inner.as_str()).await?, connect(prefix.as_str()).await?);
                Ok(Self::S3 { cluster, outside })
            }
            StoreUrl::File(base) => {
                let clock = Arc::clone(&context.clock);
                let outside = LocalStore::new(base, Arc::clone(&clock));
                Ok(Self::Local { cluster: LocalStore::below(base, cluster.as_str(), clock)?, outside })
            }
        }
    }
}

#[async_trait]
impl Probed for Target {
    fn read(&self) -> &dyn ReadStore {
        self.create()
    }

    fn create(&self) -> &dyn CreateStore {
        match self {
            Self::S3 { cluster, .. } => cluster,
            Self::Local { cluster, .. } => cluster,
        }
    }

    fn delete(&self) -> &dyn DeleteStore {
        match self {
            Self::S3 { cluster, .. } => cluster,
            Self::Local { cluster, .. } => cluster,
        }
    }

    fn outside(&self) -> &dyn ReadStore {
        match self {
            Self::S3 { outside, .. } => outside,
            Self::Local { outside, .. } => outside,
        }
    }

    async fn overwrite(&self, key: &str, body: Bytes, sha256: [u8; 32]) -> Option<Answer<()>> {
        match self {
            Self::S3 { cluster, .. } => Some(cluster.put_over_canary(key, body, sha256).await),
            Self::Local { .. } => None,
        }
    }

    async fn versioned(&self) -> Option<Answer<bool>> {
        match self {
            Self::S3 { cluster, .. } => Some(cluster.is_versioned().await),
            Self::Local { .. } => None,
        }
    }

    async fn list_versions(&self) -> Option<Answer<()>> {
        match self {
            Self::S3 { cluster, .. } => Some(cluster.can_list_versions().await),
            Self::Local { .. } => None,
        }
    }

    fn has_rights(&self) -> bool {
        matches!(self, Self::S3 { .. })
    }
}

/// Whether a store refuses on purpose, rather than fails.
pub(super) fn refuses(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Denied
}
