//! From a volume that is whole to a claim that has it. Every step may be the last of a command that dies, and the next
//! one goes on: the volume itself says that it is whole, whose it is, and which reclaim policy it had.

use super::Stop;
use super::objects::{self, FILLED_FOR, POLICY, RESTORE};
use super::site::{Kind, Seen, Site};
use crate::restore::apply::Unbound;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Where attachments are; their names follow from nothing that we know.
const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments?limit=5000&resourceVersion=0";

/// A claim that is not bound after so long is looked at again.
const NUDGE: Duration = Duration::from_secs(1);

/// A volume that is whole.
#[derive(Debug, Clone)]
pub(super) struct FilledVolume {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Volumes that are whole, by the claim (`namespace/name` in the target) that each is for.
pub(super) type FilledVolumes = HashMap<String, FilledVolume>;

fn text<'a>(document: &'a Value, path: &str) -> &'a str {
    document.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(document: &'a Value, key: &str) -> &'a str {
    document["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

impl Site<'_> {
    async fn ours(&self) -> Result<Vec<Value>, Stop> {
        let url = format!("/api/v1/persistentvolumes?labelSelector={RESTORE}%3D{}", self.id);
        let listed = self.list(&url).await?;
        listed.ok_or_else(|| Stop("the kubeconfig has no right to list PersistentVolumes".to_owned()))
    }

    /// The volumes that this restore has filled, in this run or an earlier one.
    pub(super) async fn filled(&self) -> Result<FilledVolumes, Stop> {
        let volumes = self.ours().await?;
        let of = |v: &Value| {
            let (name, uid) = (text(v, "/metadata/name").to_owned(), text(v, "/metadata/uid").to_owned());
            (annotation(v, FILLED_FOR).to_owned(), FilledVolume { name, uid })
        };
        Ok(volumes.iter().map(of).collect())
    }

    /// The volume of the working claim is whole: from now on it stays.
    pub(super) async fn keep(&self, work: &str, whose: &str) -> Result<Result<FilledVolume, String>, Stop> {
        let claim = self.find(Kind::Claim, work).await?;
        let name = claim.map(|c| text(&c.document, "/spec/volumeName").to_owned()).unwrap_or_default();
        let Some(volume) = self.find(Kind::Volume, &name).await?.filter(|_| !name.is_empty()) else {
            return Ok(Err("the volume that was filled is gone".to_owned()));
        };
        let uid = volume.live.uid;
        let policy = match text(&volume.document, "/spec/persistentVolumeReclaimPolicy") {
            "" => "Retain",
            policy => policy,
        };
        self.note(format!("filled the PersistentVolume for {whose}, policy {policy}"), &name, &uid)?;
        let change = objects::keep(&self.id, whose, policy);
        match self.change(Kind::Volume, &name, &uid, &change).await? {
            Ok(()) => Ok(Ok(FilledVolume { name, uid })),
            Err(why) => Ok(Err(format!("the volume {name} cannot be kept: {why}"))),
        }
    }

    /// Takes the volume from its worker and its working claim, and promises it to the claim it is for.
    pub(super) async fn hand_over(
        &self,
        volume: &FilledVolume,
        work: &str,
        target: (&str, &str),
    ) -> Result<Result<(), String>, Stop> {
        let within = self.options.gone.as_secs();
        if !self.remove(Kind::Pod, work).await? {
            let why = format!("its worker {}/{work} does not end within {within} s", self.namespace);
            return Ok(Err(why));
        }
        if !self.is_detached(&volume.name).await? {
            return Ok(Err(format!("{} is not detached from its node within {within} s", volume.name)));
        }
        if !self.remove(Kind::Claim, work).await? {
            let why = format!("its working claim {}/{work} does not go within {within} s", self.namespace);
            return Ok(Err(why));
        }
        let Some(now) = self.find(Kind::Volume, &volume.name).await? else {
            return Ok(Err(format!("{} is gone", volume.name)));
        };
        if is_promised(&now.document, target) {
            return Ok(Ok(()));
        }
        let change = objects::promise(target.0, target.1);
        let promised = self.change(Kind::Volume, &volume.name, &volume.uid, &change).await?;
        Ok(promised.map_err(|why| format!("{} cannot be handed over: {why}", volume.name)))
    }

    /// Where nobody may look, detaching is left to the cluster.
    async fn is_detached(&self, volume: &str) -> Result<bool, Stop> {
        let detached = || async {
            let all = self.list(ATTACHMENTS).await?.unwrap_or_default();
            let attached = all.iter().any(|a| text(a, "/spec/source/persistentVolumeName") == volume);
            Ok((!attached).then_some(()))
        };
        Ok(self.until(self.options.gone, detached).await?.is_some())
    }

    /// Puts back the reclaim policy of volumes that their claims have, and takes the working namespace away.
    pub(super) async fn let_go_of_all(&self) -> Result<Vec<Unbound>, Stop> {
        let mut unbound = Vec::new();
        for volume in self.ours().await? {
            let whose = annotation(&volume, FILLED_FOR).to_owned();
            let name = text(&volume, "/metadata/name").to_owned();
            let Some((namespace, claim)) = whose.split_once('/') else { continue };
            if let Err(why) = self.let_go(&volume, namespace, claim).await? {
                let why = format!(
                    "its data is complete in the PersistentVolume {name}, which is kept, and the claim does not have it: {why}"
                );
                unbound.push(Unbound { namespace: namespace.to_owned(), claim: claim.to_owned(), why });
            }
        }
        self.begin_to_leave().await?;
        let left = || async { Ok(self.is_left().await?.then_some(())) };
        if self.until(self.options.gone, left).await?.is_none() {
            let why = format!("what is in the working namespace {} is still being removed", self.namespace);
            return Err(Stop(why));
        }
        self.note("removed the working Namespace", &self.namespace, "")?;
        Ok(unbound)
    }

    /// Whether nothing is in the working namespace, which then goes by itself: Kubernetes waits for 5 s before it takes
    /// an empty one away, and much longer where an APIService is dead.
    async fn is_left(&self) -> Result<bool, Stop> {
        if self.find(Kind::Namespace, &self.namespace).await?.is_none() {
            return Ok(true);
        }
        for plural in ["pods", "persistentvolumeclaims"] {
            let url = format!("/api/v1/namespaces/{}/{plural}?limit=1", self.namespace);
            // Who may not look waits for the namespace.
            if self.list(&url).await?.is_none_or(|items| !items.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the cluster look at a claim again: where two of its workers get into each other's way while they bind it, it
    /// does so by itself only after a quarter of a minute.
    async fn nudge(&self, namespace: &str, claim: &Seen) -> Result<(), Stop> {
        let name = text(&claim.document, "/metadata/name");
        for value in [json!(self.id), Value::Null] {
            let change = json!({"metadata": {"annotations": {RESTORE: value}}});
            // Where it is not taken, the cluster looks in its own time.
            let _untouched =
                self.change_in(Kind::Claim, Some(namespace), name, &claim.live.uid, &change).await?;
        }
        Ok(())
    }

    async fn let_go(&self, volume: &Value, namespace: &str, claim: &str) -> Result<Result<(), String>, Stop> {
        let (name, uid) = (text(volume, "/metadata/name"), text(volume, "/metadata/uid"));
        let mut why = "there is no such claim".to_owned();
        let mut bound = false;
        let (since, mut pace) = (tokio::time::Instant::now(), self.pace());
        let mut nudged = None;
        while !bound {
            let (found, now) = (
                self.find_in(Kind::Claim, Some(namespace), claim).await?,
                self.find(Kind::Volume, name).await?,
            );
            let (Some(found), Some(now)) = (found, now) else { break };
            bound = is_bound(&found, &now);
            if bound && !annotation(&found.document, RESTORE).is_empty() {
                // Of a run that died while it nudged.
                let change = json!({"metadata": {"annotations": {RESTORE: null}}});
                let _kept =
                    self.change_in(Kind::Claim, Some(namespace), claim, &found.live.uid, &change).await?;
            }
            if text(&found.document, "/spec/volumeName") != name {
                why = "it has another volume".to_owned();
                break;
            }
            why = format!("it is not bound within {} s", self.options.gone.as_secs());
            if !bound && since.elapsed() >= self.options.gone {
                break;
            }
            let last = nudged.unwrap_or(since);
            if !bound && last.elapsed() >= NUDGE && is_promised(&now.document, (namespace, claim)) {
                self.nudge(namespace, &found).await?;
                nudged = Some(tokio::time::Instant::now());
            }
            if !bound {
                pace.rest().await;
            }
        }
        if !bound {
            return Ok(Err(why));
        }
        let policy = match annotation(volume, POLICY) {
            "" => "Retain",
            policy => policy,
        };
        let done = self.change(Kind::Volume, name, uid, &objects::let_go(policy)).await?;
        Ok(done.map_err(|why| format!("its reclaim policy cannot be put back to {policy}: {why}")))
    }
}

fn is_promised(volume: &Value, target: (&str, &str)) -> bool {
    (text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name")) == target
}

fn is_bound(claim: &Seen, volume: &Seen) -> bool {
    text(&claim.document, "/status/phase") == "Bound"
        && text(&volume.document, "/status/phase") == "Bound"
        && text(&volume.document, "/spec/claimRef/uid") == claim.live.uid
}
