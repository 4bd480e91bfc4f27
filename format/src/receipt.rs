//! Receipts: the replicator's signed word that it holds a snapshot whole.

use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::dsse::{self, Envelope};
use crate::id::{ClusterName, Sha256, SnapshotId};
use crate::{FormatError, Result, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub const PAYLOAD_TYPE: &str = "application/vnd.lifeboat.receipt+json";
pub const SCHEMA: &str = "lifeboat/receipt/1";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub schema: String,
    pub cluster: ClusterName,
    pub seq: u64,
    pub id: SnapshotId,
    /// SHA-256 of the manifest's payload.
    pub manifest: Sha256,
    /// SHA-256 of the payload of the receipt before this one.
    pub prev: Option<Sha256>,
    /// The replicator's clock when it first saw the manifest.
    pub first_seen: Timestamp,
    /// When the last of its packs was verified.
    pub verified: Timestamp,
    pub packs: u64,
    pub bytes: u64,
    /// When a restore test proved it; none until drills are there.
    pub proven_by_drill: Option<Timestamp>,
}

impl Receipt {
    /// The signed file.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        dsse::sign(PAYLOAD_TYPE, &self.payload(), &[key])
    }

    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a receipt always serializes")
    }

    /// Parses a receipt that `key` signed for `cluster`.
    pub fn verify(bytes: &[u8], key: &VerifyKey, cluster: &ClusterName) -> Result<Self> {
        let envelope = Envelope::parse("receipt", PAYLOAD_TYPE, limits::RECEIPT_MAX, bytes)?;
        let receipt: Self = serde_json::from_slice(envelope.signed_by(key)?)
            .map_err(|e| FormatError::malformed("receipt", e.to_string()))?;
        if receipt.schema != SCHEMA || receipt.cluster != *cluster {
            return Err(FormatError::mismatch("receipt", "of another cluster or kind"));
        }
        Ok(receipt)
    }
}
