//! Who reads the volumes of a run: the trait that the run asks, and the plain data between the two. The run makes
//! orders and checks results; where Pods, nodes and VolumeBackups are is the implementor's.

use super::Request;
use futures::future::BoxFuture;
use lifeboat_format::body::{DomainKind, domain_name};
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{RunId, Sha256};
use lifeboat_format::limits;
use tokio::sync::mpsc::UnboundedSender;

pub use crate::select::Consistency;

/// A persistent volume claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
}

/// What becomes of a claim in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Something mounts it, and it is read there.
    Read,
    /// Nothing mounts it: its last tree is named again. Partially failed once that is older than so many seconds. Where
    /// there is none to name, it is `otherwise`: missed or excluded.
    Kept { overdue_seconds: i64, otherwise: Box<Choice> },
    /// It should be read and cannot be.
    Missed { reason: String, message: String },
    /// By a rule or a label: `optedOut`, `volumesOff`, …
    Excluded { by: String },
}

/// A claim, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub claim: Claim,
    /// The claim object's uid: another claim of the same name has none of the last one's trees.
    pub uid: String,
    pub choice: Choice,
}

/// A volume that is to be read. Its order is in the store.
#[derive(Clone)]
pub struct Task {
    pub claim: Claim,
    /// `agent/<order>`, sealed under the work key.
    pub order: Sha256,
    pub key: Secret32,
    /// A result of an earlier attempt of this run was of no use any more: it is read again.
    pub anew: bool,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("claim", &self.claim).field("order", &self.order).finish_non_exhaustive()
    }
}

impl Claim {
    /// The domain of its tree.
    #[must_use]
    pub fn domain(&self) -> String {
        domain_name(DomainKind::Volume, &self.namespace, &self.name)
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What came of a task.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A worker says that it is done. `key` is the one that the result is sealed under: the task's, or that of the order
    /// of an earlier attempt of this run whose result still stands.
    Read { claim: Claim, result: Sha256, key: Secret32, consistency: Consistency },
    /// It was not read. `upload_log`: the newest piece that its worker told of, for the next run to go on from; only
    /// if it worked on this task's order.
    Missed { claim: Claim, reason: String, message: String, upload_log: Option<Sha256> },
}

/// The claims could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The cluster's volumes cannot be looked at: {message}")]
pub struct ChooseError {
    /// CamelCase, stable.
    pub reason: String,
    pub message: String,
}

/// Reads volumes for runs.
pub trait Volumes: Send + Sync {
    /// Every claim of the namespaces that the run covers, each once, and what becomes of it.
    ///
    /// # Errors
    /// They cannot be looked at: the run says so, and is partially failed.
    fn choose<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Vec<Chosen>, ChooseError>>;

    /// Has volumes that [`Self::choose`] gave as [`Choice::Read`] read; sends each outcome as soon as it is known, and
    /// returns when there are no more. A task without an outcome is missed. It is dropped when the run stops; a later
    /// attempt of the same run asks again, with other orders, and may give results of before.
    fn read<'a>(
        &'a self,
        run: RunId,
        tasks: Vec<Task>,
        outcomes: UnboundedSender<Outcome>,
    ) -> BoxFuture<'a, ()>;

    /// How many pack lists a snapshot may name; tests have smaller ones.
    fn lists_max(&self) -> usize {
        limits::MANIFEST_LISTS_MAX
    }

    /// The run has committed: what was made for it can go.
    fn committed<'a>(&'a self, run: RunId) -> BoxFuture<'a, ()>;
}
