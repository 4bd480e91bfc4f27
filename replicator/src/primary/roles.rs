//! The stores of a `[[source]]`, one for each credential that is given. Owns which is used for what; sends no request but
//! those that find the cluster's folder.

use super::{MAX_OBJECTS, MAX_PERCENT, Primary};
use crate::heal::Healer;
use crate::retain::Retainer;
use crate::source::{self, Source, SourceError};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::SourceConfig;
use lifeboat_common::store::{S3Options, SharedCreate, SharedDelete, SharedRead};
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
pub struct Roles {
    read: SharedRead,
    marker: Option<SharedCreate>,
    delete: Option<SharedDelete>,
    healer: Option<Healer>,
    max_objects: usize,
    max_percent: usize,
}

impl Roles {
    /// None where the configuration gives no right beyond reading.
    pub async fn open(config: &SourceConfig, clock: Arc<dyn Clock>) -> Result<Option<Self>, SourceError> {
        if config.marker.is_none() && config.retain.is_none() && config.heal.is_none() {
            return Ok(None);
        }
        let fail = |source| SourceError::Store { cluster: config.cluster.clone(), source };
        let source = Source::open(config, Arc::clone(&clock)).await?;
        let read = source.store().await.map_err(fail)?;
        let below = (!source.is_itself(&config.repo)).then(|| config.cluster.as_str());
        let as_role = |file: Option<&Path>| {
            let options = S3Options { credentials_file: file.map(Path::to_owned), ..config.s3.clone() };
            source::with_credentials(&options)
        };
        let (mut marker, mut delete, mut healer) = (None, None, None);
        if let Some(role) = &config.marker {
            let options = as_role(role.credentials_file.as_deref());
            let store: SharedCreate =
                config.repo.open(below, &options, Arc::clone(&clock)).await.map_err(fail)?;
            marker = Some(store);
        }
        if let Some(role) = &config.retain {
            let options = as_role(role.credentials_file.as_deref());
            delete = Some(config.repo.open_delete(below, &options, Arc::clone(&clock)).await.map_err(fail)?);
        }
        if let Some(role) = &config.heal {
            let options = as_role(role.credentials_file.as_deref());
            healer = Some(Healer {
                create: config.repo.open(below, &options, Arc::clone(&clock)).await.map_err(fail)?,
                delete: config.repo.open_delete(below, &options, clock).await.map_err(fail)?,
            });
        }
        let caps = config.retain.clone().unwrap_or_default();
        let max_objects = caps.max_objects.unwrap_or(MAX_OBJECTS);
        let max_percent = caps.max_percent.unwrap_or(MAX_PERCENT);
        Ok(Some(Self { read, marker, delete, healer, max_objects, max_percent }))
    }

    /// For one pass.
    #[must_use]
    pub fn primary<'a>(&self, retainer: &'a Retainer<'a>) -> Primary<'a> {
        Primary {
            retainer,
            read: Arc::clone(&self.read),
            marker: self.marker.clone(),
            delete: self.delete.clone(),
            healer: self.healer.clone(),
            max_objects: self.max_objects,
            max_percent: self.max_percent,
        }
    }

    #[must_use]
    pub fn healer(&self) -> Option<&Healer> {
        self.healer.as_ref()
    }

    #[must_use]
    pub fn marker(&self) -> Option<&SharedCreate> {
        self.marker.as_ref()
    }
}
