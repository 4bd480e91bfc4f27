//! Cleans up after runs: Pods that are still frozen are thawed, VolumeBackups and keys go. For a run that has ended or
//! was canceled, and, when a controller begins to lead, for runs that nobody works on any more.

use super::hooks::InPod;
use super::{Ties, made};
use crate::backup::run_of;
use crate::cluster::own::Own;
use crate::kinds::{Backup, FROZEN_AT, PodHooks, VolumeBackup};
use crate::select::volumes::hooks::SpecHooks;
use crate::select::volumes::{Hooks, Pod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// Cleans up after a run, as well as it can; what stays is the next leader's to find.
pub async fn tidy(ties: &Ties, run: &str) {
    for attempt in 1..=TRIES {
        let all = match ties.own.volume_backups(Some(run)).await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, attempt, "the VolumeBackups of a run cannot be listed");
                tokio::time::sleep(PAUSE * attempt).await;
                continue;
            }
        };
        if all.is_empty() || remove(ties, all, &[]).await {
            return;
        }
        tokio::time::sleep(PAUSE * attempt).await;
    }
    tracing::warn!(run, "some VolumeBackups of a run could not be removed; the next leader will");
}

/// Cleans up after all runs that no Backup runs any more.
pub async fn leftovers(ties: &Ties, backups: &Own) {
    let all = match ties.own.volume_backups(None).await {
        Ok(all) => all,
        Err(error) => return tracing::debug!(%error, "VolumeBackups cannot be listed"),
    };
    let mut alive: BTreeMap<String, bool> = BTreeMap::new();
    for volume in &all {
        let key = format!("{} {}", volume.spec.backup, volume.spec.run_id);
        if alive.contains_key(&key) {
            continue;
        }
        let runs = match backups.get::<Backup>(&volume.spec.backup).await {
            Ok(found) => found.is_some_and(|b| {
                let ended = b.status.as_ref().is_some_and(|s| s.phase.is_finished());
                run_of(b.metadata.uid.as_deref().unwrap_or_default()).to_hex() == volume.spec.run_id && !ended
            }),
            // It is not known: it stays.
            Err(_) => true,
        };
        alive.insert(key, runs);
    }
    let dead = |v: &VolumeBackup| !alive[&format!("{} {}", v.spec.backup, v.spec.run_id)];
    let dead: Vec<_> = all.into_iter().filter(dead).collect();
    if !dead.is_empty() {
        tracing::info!(count = dead.len(), "removing VolumeBackups of runs that have ended");
        remove(ties, dead, &[]).await;
    }
}

/// Thaws what is frozen, then removes. Whether all of it is gone.
pub(super) async fn remove(ties: &Ties, all: Vec<VolumeBackup>, hooks: &[PodHooks]) -> bool {
    let thawed = thaw(ties, &all, hooks).await;
    let mut gone = thawed;
    let keys: Vec<String> = all.iter().map(|v| v.spec.work_key.clone()).collect();
    for volume in &all {
        if made::annotation(volume, FROZEN_AT).is_some() && !thawed {
            continue;
        }
        let uid = volume.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = ties.own.delete::<VolumeBackup>(made::name(volume), uid).await {
            tracing::warn!(%error, "a VolumeBackup cannot be removed");
            gone = false;
        }
    }
    if let Err(error) = ties.keys.change(&[], &keys).await {
        tracing::warn!(%error, "keys of volumes cannot be removed");
        gone = false;
    }
    gone
}

/// Runs the post hooks of every Pod that is frozen, once each. The hooks are those that the Pod has now.
async fn thaw(ties: &Ties, all: &[VolumeBackup], hooks: &[PodHooks]) -> bool {
    let frozen: BTreeMap<&str, &VolumeBackup> = all
        .iter()
        .filter(|v| made::annotation(v, FROZEN_AT).is_some())
        .map(|v| (v.spec.pod_uid.as_str(), v))
        .collect();
    if frozen.is_empty() {
        return true;
    }
    let spec_hooks = SpecHooks::read(hooks);
    let pods = match ties.reader.volumes_now(ties.own.namespace()).await {
        Ok(seen) => seen.pods,
        Err(error) => {
            tracing::warn!(%error, "the Pods that are to be thawed cannot be listed");
            return false;
        }
    };
    let mut done = true;
    for (uid, volume) in frozen {
        // A Pod that is gone holds nothing.
        let Some(pod) = pods.iter().find(|p| p.uid == uid) else { continue };
        let found = recorded(volume).or_else(|| spec_hooks.of(pod));
        done &= run_post(ties, pod, found).await;
    }
    done
}

async fn run_post(ties: &Ties, pod: &Pod, hooks: Option<Hooks>) -> bool {
    let post = hooks.map(|h| h.post).unwrap_or_default();
    tracing::info!(namespace = pod.namespace, pod = pod.name, "thawing a Pod that was left frozen");
    InPod { exec: &ties.exec, namespace: &pod.namespace, pod: &pod.name }.post(&post).await
}

/// On a VolumeBackup that is frozen: the post hooks, for whoever thaws it.
const POST: &str = "lifeboat.dev/post-hooks";

/// What a successor needs to thaw a Pod: the Backup with its hooks may be gone by then.
pub(super) fn record(hooks: &Hooks) -> (String, String) {
    let steps = hooks.post.iter().map(
        |s| json!({"container": s.container, "command": s.command, "seconds": s.timeout.as_secs().max(1)}),
    );
    (POST.to_owned(), Value::Array(steps.collect()).to_string())
}

/// The hooks that were recorded.
pub(super) fn recorded(volume: &VolumeBackup) -> Option<Hooks> {
    #[derive(serde::Deserialize)]
    struct Recorded {
        container: String,
        command: Vec<String>,
        seconds: u64,
    }
    let steps: Vec<Recorded> = serde_json::from_str(made::annotation(volume, POST)?).ok()?;
    let step = |r: Recorded| crate::select::volumes::Step {
        container: r.container,
        command: r.command,
        go_on: true,
        timeout: Duration::from_secs(r.seconds).min(crate::select::volumes::hooks::FREEZE),
    };
    Some(Hooks { post: steps.into_iter().map(step).collect(), ..Hooks::default() })
}

/// What takes the record away.
pub(super) fn forgotten(still_reading: bool) -> Value {
    let mut annotations = json!({ FROZEN_AT: null, POST: null });
    if still_reading {
        annotations[made::HOOKED] = Value::Null;
    }
    annotations
}
