//! The VolumeBackup of a volume, and what is read from one. Pure.

use super::plan::{Reason, Seen, Step};
use crate::backup::volumes::Claim;
use crate::kinds::{FROZEN_AT, NODE_LABEL, RUN_LABEL, VolumeBackup, VolumeBackupSpec, VolumePhase};
use crate::select::volumes::{Place, Source};
use jiff::Timestamp;
use lifeboat_format::id::{RunId, Sha256};

/// On a VolumeBackup whose volume is read while its Pod stands still.
pub(super) const HOOKED: &str = "lifeboat.dev/hooked";

/// One VolumeBackup to be.
pub(super) struct New<'a> {
    pub(super) backup: &'a str,
    pub(super) run: RunId,
    pub(super) claim: &'a Claim,
    pub(super) uid: &'a str,
    pub(super) place: &'a Place,
    pub(super) order: Sha256,
    pub(super) name: String,
    pub(super) number: u32,
    /// Where an earlier try was.
    pub(super) upload_log: Option<&'a str>,
    /// When it is frozen first.
    pub(super) frozen_at: Option<Timestamp>,
}

/// What the names of a volume's VolumeBackups begin with: the same for every controller, another one in every run.
pub(super) fn prefix(run: RunId, claim: &Claim) -> String {
    let digest = Sha256::of(format!("{} {claim}", run.to_hex()).as_bytes()).to_hex();
    let name: String = claim.name.chars().take(40).collect();
    format!("{}-{}", name.trim_end_matches(['.', '-']), digest.get(..12).unwrap_or_default())
}

impl New<'_> {
    pub(super) fn object(&self) -> VolumeBackup {
        let place = self.place;
        let (plugin, host_path) = match &place.source {
            Source::Plugin(plugin) => (Some(plugin.clone()), None),
            Source::HostPath(path) => (None, Some(path.clone())),
            Source::Unknown(kind) => (Some(kind.clone()), None),
        };
        let mut object = VolumeBackup::new(
            &self.name,
            VolumeBackupSpec {
                backup: self.backup.to_owned(),
                run_id: self.run.to_hex(),
                attempt: i64::from(self.number),
                namespace: self.claim.namespace.clone(),
                claim: self.claim.name.clone(),
                pvc_uid: self.uid.to_owned(),
                pod_name: place.pod.clone(),
                pod_uid: place.pod_uid.clone(),
                volume_name: place.volume.clone(),
                node_name: place.node.clone(),
                plugin,
                host_path,
                order: self.order.to_hex(),
                work_key: self.name.clone(),
                upload_log: self.upload_log.filter(|log| log.parse::<Sha256>().is_ok()).map(str::to_owned),
            },
        );
        let mut labels = std::collections::BTreeMap::from([(RUN_LABEL.to_owned(), self.run.to_hex())]);
        if place.node.len() <= 63 {
            labels.insert(NODE_LABEL.to_owned(), place.node.clone());
        }
        object.metadata.labels = Some(labels);
        let annotations = self.frozen_at.map(|at| {
            std::collections::BTreeMap::from([
                (FROZEN_AT.to_owned(), at.to_string()),
                (HOOKED.to_owned(), "true".to_owned()),
            ])
        });
        object.metadata.annotations = annotations;
        object
    }
}

/// What the plan is told of it.
pub(super) fn seen(volume: &VolumeBackup) -> Seen {
    let status = volume.status.clone().unwrap_or_default();
    let step = match (status.phase, &status.result) {
        (VolumePhase::Pending, _) => Step::Waits,
        (VolumePhase::InProgress, _) => Step::Runs,
        (VolumePhase::Completed, Some(result)) => Step::Completed { result: result.clone() },
        (VolumePhase::Completed, None) => {
            Step::Failed(Reason::new("ResultMissing", "the node says that it is done, and names no result"))
        }
        (VolumePhase::Failed | VolumePhase::Canceled, _) => {
            let reason = status.reason.filter(|r| is_word(r)).unwrap_or_else(|| "Failed".to_owned());
            let message = crate::cluster::text::clean(status.message.as_deref().unwrap_or_default(), 512);
            Step::Failed(Reason { reason, message })
        }
    };
    let mark = format!("{:?} {:?} {:?} {:?}", status.phase, status.renew_time, status.bytes, status.files);
    Seen { step, mark, upload_log: status.upload_log }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric())
}

pub(super) fn annotation<'a>(volume: &'a VolumeBackup, key: &str) -> Option<&'a str> {
    volume.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn name(volume: &VolumeBackup) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

/// Where it is read, as it says itself.
pub(super) fn place(volume: &VolumeBackup) -> Place {
    let spec = &volume.spec;
    let source = match (&spec.plugin, &spec.host_path) {
        (Some(plugin), _) => Source::Plugin(plugin.clone()),
        (None, path) => Source::HostPath(path.clone().unwrap_or_default()),
    };
    Place {
        node: spec.node_name.clone(),
        pod: spec.pod_name.clone(),
        pod_uid: spec.pod_uid.clone(),
        volume: spec.volume_name.clone(),
        source,
        hooks: None,
    }
}
