//! What the volumes of a run add to its report, body and commit.

use super::BackupError;
use super::commit::{Covered, VolumeLeft};
use super::head::ChainView;
use super::log::Memory;
use super::pack::domain_alias;
use super::state::State;
use super::unfinished::{self, Unfinished};
use super::upload::Uploader;
use super::volume_run::{VolumesRead, claim_alias};
use crate::select::{Kept, Report, VolumeRecord};
use crate::volume::merge;
use jiff::Timestamp;
use lifeboat_format::body::DomainEntry;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{Handle, ScopeAlias};
use lifeboat_format::send_log::KnownPack;
use std::collections::HashSet;

/// What a commit takes of the volumes.
#[derive(Default)]
pub(super) struct VolumesLeft {
    pub(super) left: Vec<VolumeLeft>,
    pub(super) listed: Vec<KnownPack>,
    pub(super) reused: HashSet<Handle>,
    pub(super) kept: HashSet<ScopeAlias>,
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) sent_bytes: u64,
    pub(super) sent_objects: u64,
}

impl VolumesRead {
    /// The domains that the run covers with them.
    pub(super) fn covered(&self, dedup_key: &Secret32) -> HashSet<ScopeAlias> {
        let read = self.read.iter().map(|v| domain_alias(dedup_key, &v.claim.domain()));
        read.chain(self.kept.iter().map(|k| k.domain)).collect()
    }

    /// Domains of the body. `alias`: of a namespace.
    pub(super) fn domains(&self, alias: impl Fn(&str) -> ScopeAlias) -> Vec<DomainEntry> {
        let mut out = Vec::new();
        for v in &self.read {
            let (root, totals) = (v.result.root, v.result.totals);
            out.push(DomainEntry {
                roots: root.into_iter().collect(),
                entries: totals.entries,
                bytes: totals.bytes,
                ..merge::domain(&v.claim, alias(&v.claim.namespace), None)
            });
        }
        for k in &self.kept {
            out.push(merge::domain(&k.claim, alias(&k.claim.namespace), Some(&k.tree)));
        }
        out
    }

    /// Volumes in the snapshot, and bytes of their files.
    pub(super) fn totals(&self) -> (u64, u64) {
        let read = self.read.iter().map(|v| v.result.totals.bytes);
        let bytes = read.chain(self.kept.iter().map(|k| k.tree.bytes)).fold(0, u64::saturating_add);
        ((self.read.len() + self.kept.len()) as u64, bytes)
    }

    /// Says all of it.
    pub(super) fn tell(&self, claims: u64, report: &mut Report) {
        if self.none && claims > 0 {
            report.exclude_volumes("noNodeReadsVolumes", claims);
            tracing::warn!(
                claims,
                "no node reads volumes in this run: their claims are stored, what is in them is not"
            );
            report.warn("no node reads volumes in this run: it stores the claims, and not what is in them");
        }
        if let Some(error) = &self.error {
            report.miss_volume("", "", &error.reason, &error.to_string());
        }
        for v in &self.read {
            report.read_volume(VolumeRecord {
                namespace: v.claim.namespace.clone(),
                claim: v.claim.name.clone(),
                consistency: v.consistency,
                read: time(v.result.started),
                entries: v.result.totals.entries,
                files: v.result.totals.files,
                bytes: v.result.totals.bytes,
                stored_bytes: v.result.sent_bytes,
            });
            report.walked(&v.claim.namespace, &v.claim.name, &v.result.told);
        }
        for k in &self.kept {
            let (namespace, claim) = (k.claim.namespace.clone(), k.claim.name.clone());
            report.keep_volume(Kept { namespace, claim, since: time(k.tree.read), overdue: k.overdue });
        }
        for m in &self.missed {
            report.miss_volume(&m.claim.namespace, &m.claim.name, &m.reason, &m.message);
        }
        for (by, count) in &self.excluded {
            report.exclude_volumes(by, *count);
        }
    }

    /// Logs, packs and what the state must remember.
    pub(super) async fn leave(
        &self,
        uploader: &Uploader,
        memory: &Memory,
        view: &ChainView,
        state: &mut State,
    ) -> Result<VolumesLeft, BackupError> {
        let dedup_key = state.dedup_key().ok_or(BackupError::NoKey)?;
        let mut out = VolumesLeft::default();
        for v in &self.read {
            let domain = domain_alias(&dedup_key, &v.claim.domain());
            let claim = claim_alias(&dedup_key, &v.uid);
            let left = merge::left(uploader, &v.result, memory.volume(&domain), claim).await?;
            out.left.push(left);
            out.listed.extend(&v.result.packs);
            out.reused.extend(&v.result.reused);
            out.sent_bytes = out.sent_bytes.saturating_add(v.result.sent_bytes);
            out.sent_objects = out.sent_objects.saturating_add(v.result.sent_objects);
            state.note_uploads(domain, None);
        }
        for k in &self.kept {
            out.kept.insert(k.domain);
            out.reused.extend(&k.handles);
        }
        for m in &self.missed {
            let domain = domain_alias(&dedup_key, &m.claim.domain());
            if let Some((key, piece)) = &m.uploads {
                let left = unfinished::load(uploader.store(), memory, view, domain, (key, *piece)).await?;
                out.unfinished.extend((!left.packs.is_empty()).then_some(left));
            }
            state.note_uploads(domain, m.uploads.as_ref().map(|(key, piece)| (key, *piece)));
        }
        Ok(out)
    }
}

impl Covered {
    /// Also these volumes.
    #[must_use]
    pub(super) fn and(self, volumes: HashSet<ScopeAlias>) -> Self {
        match self {
            Self::Objects(mut all) => {
                all.extend(volumes);
                Self::Objects(all)
            }
            Self::Only(mut all) => {
                all.extend(volumes);
                Self::Only(all)
            }
        }
    }
}

/// What a worker says may be any number.
fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
