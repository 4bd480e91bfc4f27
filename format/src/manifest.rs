//! The manifest: the signed statement that a snapshot exists. Owns its payload and the rules that can be checked
//! without the store; knows nothing of what is inside the packs.

mod bitmap;

use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::dsse::{self, Envelope};
use crate::id::{ClusterName, RunId, ScopeAlias, Sha256, SnapshotId};
use crate::pack::Reference;
use crate::{FormatError, Result, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use bitmap::Bitmap;

pub const PAYLOAD_TYPE: &str = "application/vnd.lifeboat.manifest+json";
pub const SCHEMA: &str = "lifeboat/manifest/1";

/// What a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// The charter's scope.
    Full,
    /// A subset that was asked for.
    Partial,
    /// Directory trees.
    Paths,
    /// No snapshot: keeps a long run's packs reusable.
    Checkpoint,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunResult {
    Completed,
    PartiallyFailed,
}

/// The payload. Names of namespaces, volumes and files are never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub cluster: ClusterName,
    pub seq: u64,
    pub id: SnapshotId,
    pub run: RunId,
    /// SHA-256 of the payload of the manifest that this one extends.
    pub prev: Option<Sha256>,
    /// Number of the charter that it was made under.
    pub charter: u64,
    #[serde(default)]
    pub features: Vec<String>,
    /// Where it was read: SHA-256 of the kube-system namespace's UID, or of a host's identity.
    pub origin: Sha256,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub coverage: Coverage,
    /// Keyed aliases of the namespaces or volumes covered.
    pub scopes: Vec<ScopeAlias>,
    pub result: RunResult,
    /// The packs that this snapshot needs, by list.
    pub packs: Vec<PackSet>,
    /// Packs of domains that this run did not cover, kept reusable.
    pub carry: Vec<Carry>,
    pub log: Option<LogRef>,
    /// The sealed body; none in a checkpoint.
    pub body: Option<BodyRef>,
    /// Hours that the primary keeps it, when shorter than the charter's.
    pub primary_ttl_hours: Option<u32>,
    pub counts: Counts,
}

/// Some packs of one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSet {
    pub list: Sha256,
    /// Bit i: the list's pack i.
    pub bitmap: Bitmap,
}

/// [`PackSet`], and when their domain was last named in `packs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    pub list: Sha256,
    pub bitmap: Bitmap,
    pub since: Timestamp,
}

/// The agent's send log, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRef {
    pub root: Sha256,
    pub segments: Vec<Sha256>,
}

/// A [`Reference`] in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRef {
    pub handle: crate::id::Handle,
    pub frame: u32,
    pub offset: u32,
    pub length: u32,
    pub digest: crate::id::Digest,
}

impl From<Reference> for BodyRef {
    fn from(r: Reference) -> Self {
        Self { handle: r.handle, frame: r.frame, offset: r.offset, length: r.length, digest: r.digest }
    }
}

impl From<&BodyRef> for Reference {
    fn from(b: &BodyRef) -> Self {
        Self { handle: b.handle, frame: b.frame, offset: b.offset, length: b.length, digest: b.digest }
    }
}

/// Totals for people and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub namespaces: u64,
    pub objects: u64,
    pub volumes: u64,
    /// Plaintext of all of it.
    pub bytes: u64,
    /// Sealed bytes that this run added.
    pub stored_bytes: u64,
    pub missed: u64,
}

impl Manifest {
    /// The payload's bytes: compact JSON, fields in the order of the struct.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest always serializes")
    }

    /// The signed file.
    #[must_use]
    pub fn sign(&self, agent: &SigningKey) -> Vec<u8> {
        dsse::sign(PAYLOAD_TYPE, &self.payload(), &[agent])
    }

    /// Whether `packs` or `carry` names pack `index` of `list`: what makes it reusable by the three next (rule 2).
    #[must_use]
    pub fn names(&self, list: &Sha256, index: usize) -> bool {
        self.packs.iter().any(|p| p.list == *list && p.bitmap.contains(index))
            || self.carry.iter().any(|c| c.list == *list && c.bitmap.contains(index))
    }

    /// The lists named in `packs` and `carry`, each once.
    #[must_use]
    pub fn lists(&self) -> Vec<Sha256> {
        let mut lists: Vec<Sha256> =
            self.packs.iter().map(|p| p.list).chain(self.carry.iter().map(|c| c.list)).collect();
        lists.sort_unstable();
        lists.dedup();
        lists
    }

    fn check(&self) -> Result<()> {
        let bad = |why: &str| Err(FormatError::malformed("manifest", why));
        if self.schema != SCHEMA {
            return bad("unknown schema");
        }
        if self.seq == 0 || self.seq > 9_999_999_999_999_999 {
            return bad("sequence number out of range");
        }
        if (self.coverage == Coverage::Checkpoint) != self.body.is_none() {
            return bad("a checkpoint has no body, a snapshot has one");
        }
        if self.packs.len() + self.carry.len() > limits::MANIFEST_LISTS_MAX {
            return Err(FormatError::too_large("manifest", "it names too many pack lists"));
        }
        Ok(())
    }
}

/// A parsed manifest whose signature is not yet checked.
#[derive(Debug, Clone)]
pub struct UnverifiedManifest {
    envelope: Envelope,
    manifest: Manifest,
    sha256: Sha256,
}

/// A manifest that `key` signed, for `cluster`, in slot `seq`.
#[derive(Debug, Clone)]
pub struct SignedManifest {
    pub manifest: Manifest,
    /// SHA-256 of the payload: what `prev` and receipts name.
    pub sha256: Sha256,
    pub signer: VerifyKey,
}

impl UnverifiedManifest {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let envelope = Envelope::parse("manifest", PAYLOAD_TYPE, limits::MANIFEST_MAX, bytes)?;
        let manifest: Manifest = serde_json::from_slice(envelope.unverified_payload())
            .map_err(|e| FormatError::malformed("manifest", e.to_string()))?;
        manifest.check()?;
        let sha256 = Sha256::of(envelope.unverified_payload());
        Ok(Self { envelope, manifest, sha256 })
    }

    /// What it claims, not to be acted on.
    #[must_use]
    pub fn claims(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Checks the signature by one of `keys`, the cluster and the slot.
    pub fn verify(self, keys: &[VerifyKey], cluster: &ClusterName, seq: u64) -> Result<SignedManifest> {
        let signer = keys.iter().find(|k| self.envelope.count_signed_by(&[**k]) == 1);
        let Some(signer) = signer.copied() else {
            return Err(FormatError::forged("manifest", "not signed by an agent of the charter"));
        };
        if self.manifest.cluster != *cluster {
            return Err(FormatError::mismatch(
                "manifest",
                format!("it is of cluster {}, not {cluster}", self.manifest.cluster),
            ));
        }
        if self.manifest.seq != seq {
            return Err(FormatError::mismatch(
                "manifest",
                format!("it was signed as number {}, and stands as number {seq}", self.manifest.seq),
            ));
        }
        Ok(SignedManifest { manifest: self.manifest, sha256: self.sha256, signer })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(seq: u64) -> Manifest {
        let mut bitmap = Bitmap::new(3);
        bitmap.insert(1);
        let body = Reference {
            handle: crate::id::Handle([1; 16]),
            frame: 0,
            offset: 0,
            length: 9,
            digest: crate::id::Digest([2; 32]),
        };
        Manifest {
            schema: SCHEMA.to_owned(),
            cluster: "prod".parse().unwrap(),
            seq,
            id: SnapshotId([3; 16]),
            run: RunId([4; 16]),
            prev: None,
            charter: 1,
            features: vec![],
            origin: Sha256([5; 32]),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            coverage: Coverage::Full,
            scopes: vec![ScopeAlias([6; 16])],
            result: RunResult::Completed,
            packs: vec![PackSet { list: Sha256([7; 32]), bitmap }],
            carry: vec![],
            log: None,
            body: Some(body.into()),
            primary_ttl_hours: None,
            counts: Counts::default(),
        }
    }

    #[test]
    fn only_the_agent_of_this_cluster_in_this_slot_is_believed() {
        let agent = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let stranger = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let bytes = sample(5).sign(&agent);
        let (prod, test) = ("prod".parse().unwrap(), "test".parse().unwrap());
        let parse = || UnverifiedManifest::parse(&bytes).unwrap();
        assert!(parse().verify(&[stranger.verify_key(), agent.verify_key()], &prod, 5).is_ok());
        assert_eq!(parse().verify(&[stranger.verify_key()], &prod, 5).unwrap_err().reason(), "Forged");
        assert_eq!(parse().verify(&[agent.verify_key()], &test, 5).unwrap_err().reason(), "Mismatch");
        assert_eq!(parse().verify(&[agent.verify_key()], &prod, 6).unwrap_err().reason(), "Mismatch");
    }

    #[test]
    fn names_looks_at_packs_and_carry() {
        let mut m = sample(1);
        let list = Sha256([7; 32]);
        assert!(m.names(&list, 1) && !m.names(&list, 0) && !m.names(&Sha256([8; 32]), 1));
        let mut bitmap = Bitmap::new(1);
        bitmap.insert(0);
        m.carry.push(Carry { list: Sha256([8; 32]), bitmap, since: Timestamp::UNIX_EPOCH });
        assert!(m.names(&Sha256([8; 32]), 0));
    }
}
