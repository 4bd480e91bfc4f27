//! Opening a repository to look at it: the owner's rules, the warnings, and the snapshot that an argument names.
//! Knows no command; what is read is `lifeboat_common::reader`'s.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::seen;
use anyhow::{Context as _, Result};
use lifeboat_common::exit::UsageError;
use lifeboat_common::reader::{
    Keyring, Link, ObjectPath, OpenSnapshot, Repository, Snapshot, SnapshotList, parse_object_path,
};
use lifeboat_format::crypto::open::Identities;
use lifeboat_format::manifest::Coverage;
use std::sync::Arc;

/// Anomalies that are warned of one by one.
const ANOMALIES_SHOWN: usize = 5;

/// Whether a command may go on when nobody says who owns the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It stops, and says what the store claims.
    Required,
    /// It warns, and takes the store's word.
    Optional,
}

/// A repository with its snapshots.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) repository: Repository,
    pub(crate) list: SnapshotList,
    /// The owner was pinned; otherwise everything is as true as the store.
    pub(crate) verified: bool,
    /// The vault went back behind a receipt that this machine saw.
    pub(crate) complaint: Option<String>,
    identities: Option<Arc<Identities>>,
}

impl Reading {
    pub(crate) async fn open(args: &RepoArgs, trust: Trust, context: &Context<'_>) -> Result<Self> {
        let opened = args.open(Arc::clone(&context.clock)).await?;
        let owner = match (opened.owner, opened.claimed_owner, trust) {
            (None, Some(claimed), Trust::Optional) => {
                tracing::warn!("{}", opened.owner_missing());
                claimed
            }
            _ => opened.require_owner()?,
        };
        let verified = opened.owner.is_some();
        let repository = Repository::open(opened.store, &opened.cluster, &owner).await?;
        let list = repository.snapshots().await?;
        let identities = opened.identities.map(Arc::new);
        let mut reading = Self { repository, list, verified, complaint: None, identities };
        if verified {
            reading.complaint = reading.remember().await?;
        }
        reading.warn();
        Ok(reading)
    }

    /// Looks whether a vault went back; what cannot be remembered is no reason to stop.
    async fn remember(&self) -> Result<Option<String>> {
        let Some(folder) = seen::state_folder() else { return Ok(None) };
        let newest = self.repository.newest_receipt().await?;
        let vault = format!("{} ({})", self.repository.store().describe(), self.repository.cluster());
        let compared = seen::compare(&folder, &vault, newest.as_ref());
        Ok(compared.unwrap_or_else(|e| {
            tracing::warn!("Cannot remember the newest receipt of this vault: {e:#}");
            None
        }))
    }

    fn warn(&self) {
        if let Some(complaint) = &self.complaint {
            tracing::warn!("{complaint}");
        }
        let anomalies = &self.list.anomalies;
        for anomaly in anomalies.iter().take(ANOMALIES_SHOWN) {
            tracing::warn!(
                "{} is {}: {}",
                anomaly.key.escape_debug(),
                anomaly.kind.reason(),
                anomaly.why.escape_debug()
            );
        }
        if anomalies.len() > ANOMALIES_SHOWN {
            tracing::warn!("… and {} more; `lifeboat verify` lists them", anomalies.len() - ANOMALIES_SHOWN);
        }
    }

    /// The administrator's keys.
    pub(crate) fn keyring(&self) -> Result<Arc<Keyring>> {
        let identities = self.identities.clone().ok_or_else(|| {
            UsageError::new("The names and the content of a snapshot are sealed; add --identity FILE")
        })?;
        Ok(Arc::new(Keyring::new(&self.repository, identities)))
    }

    /// Opens the snapshot that `given` names; `latest` is the newest that covers all of `paths`.
    pub(crate) async fn open_snapshot(&self, given: &str, paths: &[ObjectPath]) -> Result<OpenSnapshot> {
        let keyring = self.keyring()?;
        let snapshot = self.list.resolve(given)?;
        let namespaces: Vec<_> = paths.iter().filter_map(|p| p.namespace.clone()).collect();
        let open = self.repository.open_snapshot(snapshot, Arc::clone(&keyring)).await;
        if given != "latest" || namespaces.is_empty() {
            return warned(open?);
        }
        // Newer ones may cover what is asked for, though not everything.
        let newer: Vec<&Snapshot> =
            self.list.kept().rev().take_while(|s| s.manifest.seq > snapshot.manifest.seq).collect();
        for candidate in newer {
            if candidate.manifest.coverage != Coverage::Partial {
                continue;
            }
            let partial = self.repository.open_snapshot(candidate, Arc::clone(&keyring)).await?;
            if namespaces.iter().all(|n| partial.covers(n.as_deref())) {
                return warned(partial);
            }
        }
        warned(open?)
    }
}

/// Says what is not as it should be about a snapshot that is being read.
pub(crate) fn warned(open: OpenSnapshot) -> Result<OpenSnapshot> {
    let snapshot = open.snapshot();
    if snapshot.link == Link::AfterGap {
        tracing::warn!("Snapshot {} is sound, but a manifest before it is missing or damaged", open.seq());
    }
    if snapshot.fate != lifeboat_common::reader::Fate::Kept {
        tracing::warn!(
            "Snapshot {} was {} by the retention; parts of it may be gone",
            open.seq(),
            snapshot.fate.word()
        );
    }
    if !snapshot.manifest.features.is_empty() {
        let features = snapshot.manifest.features.join(", ");
        tracing::warn!(
            "Snapshot {} uses features that this version does not know: {}",
            open.seq(),
            features.escape_debug()
        );
    }
    for problem in open.problems() {
        tracing::warn!("{problem}");
    }
    Ok(open)
}

/// The path of an object or of a folder of objects.
pub(crate) fn object_path_of(path: &str) -> Result<ObjectPath> {
    let parsed = parse_object_path(path);
    let parsed = parsed.ok_or_else(|| {
        anyhow::Error::new(UsageError::new(format!("'{}' is no path in a snapshot", path.escape_debug())))
    });
    parsed.context(
        "Paths are objects/<namespace|_cluster>/<kind.group>/<name>.yaml, as `lifeboat ls` prints them",
    )
}
