//! The charter: the signed backup policy, and who may write. Owns the chain of trust from the pinned owner key.

use crate::chunker::ChunkSizes;
use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::dsse::{self, Envelope};
use crate::id::{ClusterName, Sha256};
use crate::{FormatError, Result, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub const PAYLOAD_TYPE: &str = "application/vnd.lifeboat.charter+json";
pub const SCHEMA: &str = "lifeboat/charter/1";
/// The features of format 1 that this program knows.
pub const KNOWN_FEATURES: [&str; 0] = [];
/// The format that this program writes.
pub const FORMAT: u32 = 1;

/// Charter `n` of a cluster. Signed by `threshold` of the owners of charter n − 1 (charter 1: by its own).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    pub schema: String,
    pub n: u64,
    /// SHA-256 of the payload of charter n − 1.
    pub prev: Option<Sha256>,
    pub cluster: ClusterName,
    pub created: Timestamp,
    pub owners: Vec<VerifyKey>,
    pub threshold: usize,
    pub agents: Vec<AgentKey>,
    pub receipt_key: VerifyKey,
    pub epochs: Vec<Epoch>,
    /// Raised when everything is to be stored anew: a rebuilt cluster, a removed recipient.
    pub dedup_generation: u64,
    pub policy: Policy,
    pub chunking: ChunkSizes,
    #[serde(default)]
    pub features: Vec<String>,
    pub format_max: u32,
}

/// A key that signs manifests, valid between two manifests of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentKey {
    pub key: VerifyKey,
    /// The manifest (SHA-256 of its payload) that its first one extends; none where it begins the chain.
    pub from: Option<Sha256>,
    /// The last manifest that counts; what it signed after that is a rejected branch.
    pub until: Option<Sha256>,
}

/// An epoch's public key, and the sealed copies of its private key that count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    pub n: u64,
    /// `age1…`
    pub recipient: String,
    pub created: Timestamp,
    pub sealed_sha256: Vec<Sha256>,
}

/// The agreed backup policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Five-field cron with an optional time zone, or `@daily-random`.
    pub schedule: String,
    pub rpo_hours: u32,
    pub retention: Retention,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    pub primary_hours: u32,
    pub vault: Keep,
}

/// How many snapshots stay in the vault, by kind of bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub within_hours: u32,
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

/// Which namespaces a full backup covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Namespaces that are never backed up, beside the agent's own.
    pub exclude_namespaces: Vec<String>,
}

impl Default for Policy {
    /// Daily, kept 720 hours in the primary and longer in the vault; system namespaces excluded.
    fn default() -> Self {
        let vault =
            Keep { within_hours: 720, last: 3, hourly: 0, daily: 30, weekly: 8, monthly: 12, yearly: 2 };
        Self {
            schedule: "@daily-random".to_owned(),
            rpo_hours: 26,
            retention: Retention { primary_hours: 720, vault },
            scope: Scope {
                exclude_namespaces: ["kube-system", "kube-public", "kube-node-lease"]
                    .map(str::to_owned)
                    .to_vec(),
            },
        }
    }
}

impl Charter {
    /// The payload's bytes: compact JSON, fields in the order of the struct.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a charter always serializes")
    }

    /// The signed file.
    #[must_use]
    pub fn sign(&self, owners: &[&SigningKey]) -> Vec<u8> {
        dsse::sign(PAYLOAD_TYPE, &self.payload(), owners)
    }

    /// The epoch that a new run key is sealed to: the one with the highest number.
    #[must_use]
    pub fn current_epoch(&self) -> Option<&Epoch> {
        self.epochs.iter().max_by_key(|e| e.n)
    }

    /// Refuses features or a format that this program does not know. Reading may go on; writing, forgetting and collecting may not.
    pub fn check_writable(&self) -> Result<()> {
        if let Some(f) = self.features.iter().find(|f| !KNOWN_FEATURES.contains(&f.as_str())) {
            return Err(FormatError::unsupported(
                "charter",
                format!("feature '{}' is not known here; use a newer version", f.escape_debug()),
            ));
        }
        if self.format_max < FORMAT {
            return Err(FormatError::unsupported("charter", "it does not allow format 1"));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let bad = |why: &str| Err(FormatError::malformed("charter", why));
        if self.schema != SCHEMA {
            return bad("unknown schema");
        }
        if self.n == 0 || (self.n == 1) != self.prev.is_none() {
            return bad("its number and predecessor do not fit");
        }
        if self.threshold == 0 || self.threshold > self.owners.len() {
            return bad("threshold out of range");
        }
        if self.epochs.is_empty() || self.agents.is_empty() {
            return bad("no epoch or no agent");
        }
        self.chunking.check()
    }
}

/// A charter whose signatures were traced back to the pinned owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedCharter {
    charter: Charter,
    sha256: Sha256,
}

impl TrustedCharter {
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }
    /// SHA-256 of the payload.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

/// Parses one charter file; trusts nothing.
pub fn parse(bytes: &[u8]) -> Result<(Envelope, Charter)> {
    let envelope = Envelope::parse("charter", PAYLOAD_TYPE, limits::CHARTER_MAX, bytes)?;
    let charter: Charter = serde_json::from_slice(envelope.unverified_payload())
        .map_err(|e| FormatError::malformed("charter", e.to_string()))?;
    charter.check()?;
    Ok((envelope, charter))
}

/// Every trusted charter among `files`, ascending from 1 without a gap. Junk is ignored.
///
/// # Errors
/// `Mismatch` when no charter 1 of `cluster` is signed by `owner`; `Forged` when two valid charters have one number.
pub fn trusted_chain(
    files: &[Vec<u8>],
    owner: &VerifyKey,
    cluster: &ClusterName,
) -> Result<Vec<TrustedCharter>> {
    let parsed: Vec<(Envelope, Charter)> =
        files.iter().filter_map(|f| parse(f).ok()).filter(|(_, c)| c.cluster == *cluster).collect();
    let mut chain: Vec<TrustedCharter> = Vec::new();
    loop {
        let n = chain.len() as u64 + 1;
        let mut found: Vec<TrustedCharter> = Vec::new();
        for (envelope, charter) in parsed.iter().filter(|(_, c)| c.n == n) {
            let valid = match chain.last() {
                None => {
                    charter.owners.contains(owner)
                        && envelope.count_signed_by(&[*owner]) == 1
                        && envelope.count_signed_by(&charter.owners) >= charter.threshold
                }
                Some(prev) => {
                    charter.prev == Some(prev.sha256)
                        && envelope.count_signed_by(&prev.charter.owners) >= prev.charter.threshold
                }
            };
            let trusted = TrustedCharter {
                charter: charter.clone(),
                sha256: Sha256::of(envelope.unverified_payload()),
            };
            if valid && !found.contains(&trusted) {
                found.push(trusted);
            }
        }
        match found.len() {
            0 => break,
            1 => chain.append(&mut found),
            _ => {
                return Err(FormatError::forged(
                    "charter",
                    format!(
                        "two different charters have number {n} and valid signatures; the owner key was used twice or is stolen"
                    ),
                ));
            }
        }
    }
    if chain.is_empty() {
        return Err(FormatError::mismatch(
            "charter",
            format!(
                "no charter of cluster {cluster} is signed by the owner {owner} (fingerprint {})",
                owner.fingerprint()
            ),
        ));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    fn charter(n: u64, prev: Option<Sha256>, owner: &SigningKey) -> Charter {
        let epoch = Epoch {
            n: 1,
            recipient: "age1".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            sealed_sha256: vec![],
        };
        Charter {
            schema: SCHEMA.to_owned(),
            n,
            prev,
            cluster: "prod".parse().unwrap(),
            created: Timestamp::UNIX_EPOCH,
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents: vec![AgentKey { key: owner.verify_key(), from: None, until: None }],
            receipt_key: owner.verify_key(),
            epochs: vec![epoch],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: ChunkSizes::default(),
            features: vec![],
            format_max: 1,
        }
    }

    fn chain(files: &[Vec<u8>], owner: &SigningKey) -> Result<Vec<TrustedCharter>> {
        trusted_chain(files, &owner.verify_key(), &"prod".parse().unwrap())
    }

    #[test]
    fn ownership_can_be_handed_over_and_not_taken() {
        let (first, second, thief) = (key(), key(), key());
        let one = charter(1, None, &first);
        let two = charter(2, Some(Sha256::of(&one.payload())), &second);
        let three = charter(3, Some(Sha256::of(&two.payload())), &second);
        let stolen = charter(2, Some(Sha256::of(&one.payload())), &thief);
        let files = [
            one.sign(&[&first]),
            two.sign(&[&first]),
            three.sign(&[&second]),
            stolen.sign(&[&thief]),
            b"junk".to_vec(),
        ];
        let trusted = chain(&files, &first).unwrap();
        assert_eq!(trusted.last().unwrap().charter().n, 3);
        assert!(chain(&files, &thief).is_err());
        assert_eq!(chain(&[one.sign(&[&first]), three.sign(&[&second])], &first).unwrap().len(), 1);
    }

    #[test]
    fn two_charters_of_one_number_are_an_alarm() {
        let owner = key();
        let one = charter(1, None, &owner);
        let mut other = one.clone();
        other.dedup_generation = 2;
        assert!(chain(&[one.sign(&[&owner]), one.sign(&[&owner])], &owner).is_ok());
        let error = chain(&[one.sign(&[&owner]), other.sign(&[&owner])], &owner).unwrap_err();
        assert_eq!(error.reason(), "Forged");
    }

    #[test]
    fn another_cluster_is_not_ours() {
        let owner = key();
        let file = charter(1, None, &owner).sign(&[&owner]);
        assert!(trusted_chain(&[file], &owner.verify_key(), &"test".parse().unwrap()).is_err());
    }

    #[test]
    fn unknown_features_stop_writers() {
        let owner = key();
        let mut c = charter(1, None, &owner);
        assert!(c.check_writable().is_ok());
        c.features.push("holograms".to_owned());
        assert_eq!(c.check_writable().unwrap_err().reason(), "Unsupported");
    }
}
