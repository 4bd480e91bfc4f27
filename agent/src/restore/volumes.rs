//! Volumes in a restore: each is filled in a working namespace of the restore, by a worker that runs where the workload
//! may run, and handed over to its claim when it is whole. A claim never exists half-filled.
//!
//! Everything has a name that follows from the restore's id, and a filled volume says so itself (a label and two
//! annotations), so that a restore that died at any point goes on, and leaves nothing behind. Knows no command, and no
//! store but the one that packs are read from.

mod hand_over;
mod objects;
mod site;
mod users;
mod work;

use super::apply::{ClaimToFill, FillVolumes, Filled, Unbound, Work};
use super::source::ObjectSource;
use crate::cluster::Cluster;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use lifeboat_common::reader::Tree;
use lifeboat_common::store::SharedRead;
use site::Site;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How volumes are filled.
#[derive(Debug, Clone)]
pub struct FillOptions {
    /// The worker's image.
    pub image: String,
    /// Volumes at a time.
    pub parallel: usize,
    /// How long a worker may take to start: provisioning, attaching, pulling its image.
    pub start: Duration,
    /// How long volumes may take to detach, and what was removed to go.
    pub gone: Duration,
}

impl FillOptions {
    /// With this image.
    #[must_use]
    pub fn of(image: impl Into<String>) -> Self {
        let (start, gone) = (Duration::from_secs(600), Duration::from_secs(300));
        Self { image: image.into(), parallel: 4, start, gone }
    }
}

/// The data of one claim.
#[derive(Debug, Clone)]
pub struct VolumeData {
    pub tree: Tree,
    /// The part that is wanted; empty for all of it.
    pub path: Vec<u8>,
    /// The claim whose Pods say where the volume is to be, in the snapshot.
    pub claim: String,
}

/// What happens to one volume, for a progress display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillEvent {
    /// It has so many bytes of content.
    Begins(u64),
    /// So many are in place.
    Bytes(u64),
    /// A worker is gone; another one goes on.
    Again(String),
    /// It is over, well or not.
    Ends,
}

/// Fills volumes in a cluster.
pub struct Filler<'a> {
    pub cluster: &'a Cluster,
    pub source: &'a dyn ObjectSource,
    /// Where the packs are.
    pub store: SharedRead,
    /// By namespace and name of the claim in the snapshot.
    pub data: HashMap<(String, String), VolumeData>,
    pub options: FillOptions,
    /// Told what happens to the volume of a claim (`namespace/name` in the target).
    pub progress: &'a (dyn Fn(&str, FillEvent) + Send + Sync),
}

impl std::fmt::Debug for Filler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filler").field("options", &self.options).finish_non_exhaustive()
    }
}

impl FillVolumes for Filler<'_> {
    fn fill<'a>(
        &'a self,
        work: Work<'a>,
        claims: Vec<ClaimToFill>,
    ) -> BoxFuture<'a, Result<Vec<Filled>, String>> {
        Box::pin(async move { self.fill_all(work, claims).await.map_err(|e| e.to_string()) })
    }

    fn let_go<'a>(&'a self, work: Work<'a>) -> BoxFuture<'a, Result<Vec<Unbound>, String>> {
        Box::pin(async move {
            let site = Site::new(&work, &self.options);
            site.let_go_of_all().await.map_err(|e| e.to_string())
        })
    }
}

impl Filler<'_> {
    async fn fill_all(&self, work: Work<'_>, claims: Vec<ClaimToFill>) -> Result<Vec<Filled>, Stop> {
        let mut wanted = Vec::new();
        let mut placements = HashMap::new();
        for claim in claims {
            let key = (claim.key.namespace.clone().unwrap_or_default(), claim.key.name.clone());
            if let Some(data) = self.data.get(&key) {
                wanted.push((key, claim, data));
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_namespace: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((namespace, _), _, data) in &wanted {
            by_namespace.entry(namespace).or_default().push(data.claim.clone());
        }
        for (namespace, names) in by_namespace {
            let found = users::placements(self.source, namespace, &names).await.map_err(Stop::of)?;
            placements.extend(names.into_iter().map(|n| (namespace.to_owned(), n)).zip(found));
        }
        let site = Site::new(&work, &self.options);
        site.make().await?;
        let filled = site.filled().await?;
        let (site, filled, placements) = (&site, &filled, &placements);
        let mut each: Vec<BoxFuture<'_, Result<Option<Filled>, Stop>>> = Vec::new();
        for (key, claim, data) in wanted {
            let placement = placements.get(&(key.0, data.claim.clone())).cloned().unwrap_or_default();
            each.push(Box::pin(async move {
                let job = work::Job { filler: self, site, claim: &claim, data, placement };
                let done = job.run(filled).await;
                (self.progress)(&job.whose(), FillEvent::Ends);
                done
            }));
        }
        let filled: Vec<Option<Filled>> =
            stream::iter(each).buffer_unordered(self.options.parallel.max(1)).try_collect().await?;
        // Nothing in it is needed any more: it goes while the claims are made and bound.
        site.begin_to_leave().await?;
        Ok(filled.into_iter().flatten().collect())
    }
}

/// What stops all of it, to go on later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Stop(String);

impl Stop {
    fn of(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}
