//! The volumes of one Backup: which, by the rules of `select::volumes`; and who reads them, by VolumeBackups that nodes
//! work on. The plan of it is `plan`'s, which is pure; `drive` carries it out. What is read is none of its business.

mod act;
mod adopt;
mod drive;
mod hooks;
mod made;
pub mod plan;
mod sweep;
mod tell;

pub use sweep::{leftovers, tidy};
pub use tell::{Telling, VolumeCounters};

use crate::backup::Request;
use crate::backup::volumes::{Choice, ChooseError, Chosen, Claim, Outcome, Task, Volumes};
use crate::cluster::Cluster;
use crate::cluster::exec::Executor;
use crate::cluster::own::Own;
use crate::cluster::volumes::WorkKeys;
use crate::kinds::{BackupSpec, VolumesMode};
use crate::select::Selection;
use crate::select::volumes::{Decision, Place, Rules, Verdict, Why, choose};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lifeboat_common::config::VolumesConfig;
use lifeboat_format::id::RunId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// The namespace of the nodes' daemons, beside the agent's.
#[must_use]
pub fn nodes_namespace(agent: &str) -> String {
    crate::install::nodes::namespace(agent)
}

/// What every run shares: where VolumeBackups and keys are, and who runs commands.
#[derive(Debug, Clone)]
pub struct Ties {
    /// In the nodes' namespace.
    pub own: Own,
    pub keys: WorkKeys,
    pub exec: Arc<Executor>,
    /// For reading the whole cluster.
    pub reader: Cluster,
}

impl Ties {
    /// `quick`: for the controller's own small calls. `namespace`: the agent's.
    #[must_use]
    pub fn new(quick: &Cluster, reader: &Cluster, namespace: &str) -> Self {
        let nodes = nodes_namespace(namespace);
        Self {
            own: Own::new(quick.clone(), &nodes),
            keys: WorkKeys::new(quick.clone(), &nodes),
            exec: Arc::new(Executor::new(quick.clone(), namespace)),
            reader: reader.clone(),
        }
    }
}

/// The volumes of one Backup.
#[derive(Debug)]
pub struct NodeVolumes {
    ties: Ties,
    config: VolumesConfig,
    spec: BackupSpec,
    telling: Telling,
    /// Until when volumes are read.
    until: tokio::time::Instant,
    /// What was chosen last: places and uids.
    chosen: Mutex<BTreeMap<Claim, Found>>,
    selection: Mutex<Option<Selection>>,
}

/// A claim that is to be read.
#[derive(Debug, Clone)]
struct Found {
    uid: String,
    places: Vec<Place>,
}

impl NodeVolumes {
    /// `left`: the time that the Backup has left; a part of it is kept for the commit.
    #[must_use]
    pub fn new(
        ties: Ties,
        config: VolumesConfig,
        spec: BackupSpec,
        telling: Telling,
        left: Duration,
    ) -> Self {
        let margin = (left / 10).min(Duration::from_secs(1800));
        Self {
            ties,
            config,
            spec,
            telling,
            until: tokio::time::Instant::now() + left.saturating_sub(margin),
            chosen: Mutex::default(),
            selection: Mutex::default(),
        }
    }

    fn mode(&self) -> VolumesMode {
        self.spec.volumes.unwrap_or_default()
    }

    async fn decide(&self, selection: &Selection) -> Result<Vec<Decision>, ChooseError> {
        let wrong = |error: crate::cluster::ClusterError| ChooseError {
            reason: error.reason().to_owned(),
            message: error.message(),
        };
        let seen = self.ties.reader.volumes_now(self.ties.own.namespace()).await.map_err(wrong)?;
        let rules = |may_exec| Rules {
            selection,
            mode: self.mode(),
            hooks: &self.spec.hooks,
            may_exec,
            host_paths: &self.config.host_paths,
        };
        let all = choose(&rules(true), &seen);
        let hooked =
            |d: &Decision| matches!(&d.verdict, Verdict::Read(p) if p.iter().any(|p| p.hooks.is_some()));
        if !all.iter().any(hooked) || self.ties.exec.is_allowed().await.map_err(wrong)? {
            return Ok(all);
        }
        Ok(choose(&rules(false), &seen))
    }

    /// By the same rules, as things are now.
    async fn decide_again(&self) -> Result<Vec<Decision>, ChooseError> {
        let selection = self.selection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.decide(&selection.unwrap_or_default()).await
    }

    fn take(&self, decisions: Vec<Decision>) -> Vec<Chosen> {
        let mut places = BTreeMap::new();
        let each = decisions.into_iter().map(|decision| {
            let claim = Claim { namespace: decision.namespace, name: decision.claim };
            if let Verdict::Read(all) = &decision.verdict {
                let read = Found { uid: decision.uid.clone(), places: all.clone() };
                places.insert(claim.clone(), read);
            }
            Chosen { claim, uid: decision.uid, choice: self.choice(decision.verdict) }
        });
        let all = each.collect();
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = places;
        all
    }

    fn choice(&self, verdict: Verdict) -> Choice {
        match verdict {
            Verdict::Read(_) => Choice::Read,
            Verdict::Kept { otherwise, .. } => Choice::Kept {
                overdue_seconds: i64::from(self.config.stale_hours).saturating_mul(3600),
                otherwise: Box::new(self.choice(*otherwise)),
            },
            Verdict::Missed(Why { reason, message }) => Choice::Missed { reason: reason.to_owned(), message },
            Verdict::Excluded(why) => Choice::Excluded { by: why.reason.to_owned() },
        }
    }

    fn chosen(&self, claim: &Claim) -> Option<Found> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).get(claim).cloned()
    }
}

impl Volumes for NodeVolumes {
    fn choose<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Vec<Chosen>, ChooseError>> {
        let held = Some(request.selection.clone());
        *self.selection.lock().unwrap_or_else(PoisonError::into_inner) = held;
        async { Ok(self.take(self.decide(&request.selection).await?)) }.boxed()
    }

    fn read<'a>(
        &'a self,
        run: RunId,
        tasks: Vec<Task>,
        outcomes: UnboundedSender<Outcome>,
    ) -> BoxFuture<'a, ()> {
        drive::read(self, run, tasks, outcomes).boxed()
    }

    fn committed<'a>(&'a self, run: RunId) -> BoxFuture<'a, ()> {
        async move { tidy(&self.ties, &run.to_hex()).await }.boxed()
    }
}
