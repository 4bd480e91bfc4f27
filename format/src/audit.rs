//! The audit log of a vault: what the replicator accepted, refused, decided and deleted, and what people told it.
//! Each record is signed, names the hash of the one before it, and has the number after it.

use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::dsse::{self, Envelope};
use crate::id::{ClusterName, Sha256};
use crate::{FormatError, Result, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub const PAYLOAD_TYPE: &str = "application/vnd.lifeboat.audit+json";
pub const SCHEMA: &str = "lifeboat/audit/1";

/// One record: what one step of one unit did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub schema: String,
    pub cluster: ClusterName,
    /// From 1, without gaps.
    pub n: u64,
    /// SHA-256 of the payload of record n − 1.
    pub prev: Option<Sha256>,
    /// The replicator's clock.
    pub at: Timestamp,
    /// Which part wrote it: `pull`, `retain`, `operator`.
    pub unit: String,
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Such as `snapshot-accepted`.
    pub what: String,
    /// What it is about, such as a snapshot's number or an object's key.
    pub subject: String,
    /// For people.
    pub why: String,
}

impl Event {
    #[must_use]
    pub fn new(what: &str, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.to_owned(), subject: subject.into(), why: why.into() }
    }
}

impl Record {
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record always serializes")
    }

    /// The signed file.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        dsse::sign(PAYLOAD_TYPE, &self.payload(), &[key])
    }

    /// Parses record `n` that one of `keys` signed for `cluster`; gives the hash of its payload, too.
    pub fn verify(bytes: &[u8], keys: &[VerifyKey], cluster: &ClusterName, n: u64) -> Result<(Self, Sha256)> {
        let envelope = Envelope::parse("audit record", PAYLOAD_TYPE, limits::AUDIT_MAX, bytes)?;
        let signed = keys.iter().find_map(|key| envelope.signed_by(key).ok());
        let signed =
            signed.ok_or_else(|| FormatError::mismatch("audit record", "no receipt key signed it"))?;
        let record: Self = serde_json::from_slice(signed)
            .map_err(|e| FormatError::malformed("audit record", e.to_string()))?;
        if record.schema != SCHEMA || record.cluster != *cluster || record.n != n {
            return Err(FormatError::mismatch("audit record", "of another cluster, number or kind"));
        }
        Ok((record, Sha256::of(signed)))
    }
}
