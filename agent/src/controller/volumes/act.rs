//! What the plan asks for, done: VolumeBackups made, Pods frozen and thawed, keys handed out and taken back. Each is one
//! step of its own that says how it ended; the order of steps is the plan's.

use super::hooks::InPod;
use super::plan::{NotBegun, Reason, Step, TurnId};
use super::{Ties, made, sweep};
use crate::cluster::ClusterError;
use crate::cluster::volumes::KeysError;
use crate::kinds::VolumeBackup;
use crate::select::volumes::{Decision, Hooks, hooks};
use lifeboat_format::crypto::derive::Secret32;
use std::time::Duration;

/// Tries of a small request.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// What a step came to.
#[derive(Debug)]
pub(super) enum Told {
    Begun {
        id: TurnId,
        made: Vec<VolumeBackup>,
        done: Result<(), NotBegun>,
    },
    Thawed {
        id: TurnId,
        ran: bool,
    },
    Looked {
        volumes: Vec<usize>,
        found: Result<Vec<Decision>, Reason>,
    },
    /// A VolumeBackup or a key is gone, or could not be removed.
    Removed,
}

/// A turn that is to begin.
pub(super) struct Begin {
    pub(super) id: TurnId,
    pub(super) objects: Vec<VolumeBackup>,
    /// By the names that the objects give.
    pub(super) keys: Vec<(String, Secret32)>,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) hooks: Option<Hooks>,
}

/// Makes the VolumeBackups, which record the freeze; freezes; hands out the keys, which lets the node begin.
pub(super) async fn begin(ties: Ties, begin: Begin) -> Told {
    let mut made = Vec::new();
    let done = begin_with(&ties, &begin, &mut made).await;
    Told::Begun { id: begin.id, made, done }
}

async fn begin_with(ties: &Ties, begin: &Begin, made: &mut Vec<VolumeBackup>) -> Result<(), NotBegun> {
    for object in &begin.objects {
        match ties.own.create(object).await {
            Ok(Some(created)) => made.push(created),
            // Left by somebody, and not seen: the next number is free.
            Ok(None) => return Err(NotBegun { why: None, froze: false }),
            Err(error) => return Err(NotBegun { why: refused(&error), froze: false }),
        }
    }
    let froze = begin.hooks.is_some();
    if let Some(found) = &begin.hooks {
        for slip in &found.slips {
            tracing::warn!(
                namespace = begin.namespace,
                pod = begin.pod,
                slip,
                "a hook is not as it should be"
            );
        }
        let pod = InPod { exec: &ties.exec, namespace: &begin.namespace, pod: &begin.pod };
        if let Err((reason, why)) = pod.pre(&found.pre, hooks::FREEZE).await {
            let why = crate::cluster::text::clean(&why, 512);
            return Err(NotBegun { why: Some(Reason::new(reason, why)), froze });
        }
    }
    ties.keys.change(&begin.keys, &[]).await.map_err(|error| {
        let why = match &error {
            KeysError::Missing { .. } | KeysError::Full { .. } => {
                Some(Reason::new("WorkSecretUnusable", error.to_string()))
            }
            KeysError::Cluster(error) => refused(error),
            KeysError::Busy { .. } => None,
        };
        NotBegun { why, froze }
    })
}

/// Why the API server takes no VolumeBackup, if that does not pass.
fn refused(error: &ClusterError) -> Option<Reason> {
    match error.code() {
        Some(404) => {
            let message =
                "the nodes' namespace or the kind VolumeBackup is not there; run `lifeboat install`";
            Some(Reason::new("NodesNotInstalled", message))
        }
        _ if error.permanent() => Some(Reason::new("VolumeBackupRefused", error.message())),
        _ => None,
    }
}

/// Runs the post hooks, then takes the record of the freeze away.
pub(super) async fn thaw(
    ties: Ties,
    id: TurnId,
    pod: (String, String),
    found: Hooks,
    objects: Vec<VolumeBackup>,
) -> Told {
    let (namespace, name) = (pod.0.as_str(), pod.1.as_str());
    let ran = InPod { exec: &ties.exec, namespace, pod: name }.post(&found.post).await;
    for object in objects.iter().filter(|_| ran) {
        let reads_on = !matches!(made::seen(object).step, Step::Completed { .. });
        for _ in 0..TRIES {
            match ties.own.annotate_volume(object, sweep::forgotten(reads_on)).await {
                Err(error) if !matches!(error.code(), Some(404 | 409)) => tokio::time::sleep(PAUSE).await,
                _ => break,
            }
        }
    }
    Told::Thawed { id, ran }
}

/// Takes a VolumeBackup and its key away: the node stops.
pub(super) async fn remove(ties: Ties, name: String, uid: Option<String>) -> Told {
    for _ in 0..TRIES {
        let gone = match &uid {
            Some(uid) => ties.own.delete::<VolumeBackup>(&name, uid).await.is_ok(),
            None => true,
        };
        if gone && ties.keys.change(&[], std::slice::from_ref(&name)).await.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Told::Removed
}
