//! Tombstones: the replicator's signed word that its retention forgot a snapshot, and why.

use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::dsse::{self, Envelope};
use crate::id::{ClusterName, Sha256};
use crate::{FormatError, Result, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub const PAYLOAD_TYPE: &str = "application/vnd.lifeboat.tombstone+json";
pub const SCHEMA: &str = "lifeboat/tombstone/1";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub schema: String,
    pub cluster: ClusterName,
    pub seq: u64,
    /// SHA-256 of the manifest's payload.
    pub manifest: Sha256,
    /// The replicator's clock.
    pub forgotten: Timestamp,
    /// Until then it can be undone, and its packs stay.
    pub collect_after: Timestamp,
    /// For people: `retention`, `incomplete`.
    pub why: String,
}

impl Tombstone {
    /// The signed file.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let payload = serde_json::to_vec(self).expect("a tombstone always serializes");
        dsse::sign(PAYLOAD_TYPE, &payload, &[key])
    }

    /// Parses the tombstone of `seq` that one of `keys` signed for `cluster`.
    pub fn verify(bytes: &[u8], keys: &[VerifyKey], cluster: &ClusterName, seq: u64) -> Result<Self> {
        let envelope = Envelope::parse("tombstone", PAYLOAD_TYPE, limits::RECEIPT_MAX, bytes)?;
        let signed = keys.iter().find_map(|key| envelope.signed_by(key).ok());
        let signed = signed.ok_or_else(|| FormatError::mismatch("tombstone", "no receipt key signed it"))?;
        let tombstone: Self =
            serde_json::from_slice(signed).map_err(|e| FormatError::malformed("tombstone", e.to_string()))?;
        if tombstone.schema != SCHEMA || tombstone.cluster != *cluster || tombstone.seq != seq {
            return Err(FormatError::mismatch("tombstone", "of another cluster, slot or kind"));
        }
        Ok(tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receipt_key_forgets_and_only_that_snapshot() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let other = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let cluster: ClusterName = "prod".parse().unwrap();
        let tombstone = Tombstone {
            schema: SCHEMA.to_owned(),
            cluster: cluster.clone(),
            seq: 7,
            manifest: Sha256([1; 32]),
            forgotten: Timestamp::UNIX_EPOCH,
            collect_after: Timestamp::UNIX_EPOCH,
            why: "retention".to_owned(),
        };
        let file = tombstone.sign(&key);
        let keys = [other.verify_key(), key.verify_key()];
        assert_eq!(Tombstone::verify(&file, &keys, &cluster, 7).unwrap(), tombstone);
        assert!(Tombstone::verify(&file, &keys[..1], &cluster, 7).is_err());
        assert!(Tombstone::verify(&file, &keys, &cluster, 8).is_err());
        assert!(Tombstone::verify(&file, &keys, &"test".parse().unwrap(), 7).is_err());
        assert!(Tombstone::verify(&file[1..], &keys, &cluster, 7).is_err());
    }
}
