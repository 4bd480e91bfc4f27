//! One cluster's repository in a store, and the charters that say whom to believe in it.

use super::error::ReadError;
use crate::store::SharedRead;
use crate::trust;
use lifeboat_format::charter::{self, Charter, TrustedCharter};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::ClusterName;

/// A repository whose charters were traced to an owner.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) store: SharedRead,
    pub(super) cluster: ClusterName,
    pub(super) owner: VerifyKey,
    pub(super) charters: Vec<TrustedCharter>,
}

/// What a store says of itself; to be shown to a person, never to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub cluster: ClusterName,
    pub owner: VerifyKey,
}

/// The clusters and owners that the first charters in `store` name. Usually one.
pub async fn claims(store: &SharedRead) -> Result<Vec<Claims>, ReadError> {
    let files = trust::charter_files(&**store).await?;
    let mut all = Vec::new();
    for (envelope, charter) in files.iter().filter_map(|f| charter::parse(f).ok()).filter(|(_, c)| c.n == 1) {
        let signed = charter.owners.iter().find(|o| envelope.count_signed_by(&[**o]) == 1);
        let claim = signed.map(|owner| Claims { cluster: charter.cluster.clone(), owner: *owner });
        all.extend(claim.filter(|c| !all.contains(c)));
    }
    Ok(all)
}

impl Repository {
    /// Loads the charters of `cluster` that go back to `owner`. With an owner out of [`claims`], everything that
    /// follows is as true as the store, and must be marked so.
    pub async fn open(
        store: SharedRead,
        cluster: &ClusterName,
        owner: &VerifyKey,
    ) -> Result<Self, ReadError> {
        let charters = trust::charters(&*store, owner, cluster).await?;
        Ok(Self { store, cluster: cluster.clone(), owner: *owner, charters })
    }

    #[must_use]
    pub fn store(&self) -> &SharedRead {
        &self.store
    }

    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    #[must_use]
    pub fn owner(&self) -> &VerifyKey {
        &self.owner
    }

    /// Ascending; never empty.
    #[must_use]
    pub fn charters(&self) -> &[TrustedCharter] {
        &self.charters
    }

    /// The charter in force.
    #[must_use]
    pub fn newest(&self) -> &Charter {
        self.charters.last().expect("trusted_chain gives at least one charter").charter()
    }

    /// The keys that ever signed manifests.
    pub(super) fn agent_keys(&self) -> Vec<VerifyKey> {
        let mut keys: Vec<VerifyKey> =
            self.charters.iter().flat_map(|c| c.charter().agents.iter().map(|a| a.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The keys that ever signed receipts.
    pub(super) fn receipt_keys(&self) -> Vec<VerifyKey> {
        let mut keys: Vec<VerifyKey> = self.charters.iter().map(|c| c.charter().receipt_key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
