//! Names of things: digests, handles, cluster names. Parse, do not validate.

use crate::{FormatError, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Lower-case hexadecimal, as in file names.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
        impl FromStr for $name {
            type Err = FormatError;
            fn from_str(s: &str) -> Result<Self> {
                let mut out = [0; $len];
                let lower = !s.bytes().any(|b| b.is_ascii_uppercase());
                if s.len() != $len * 2 || !lower || hex::decode_to_slice(s, &mut out).is_err() {
                    return Err(FormatError::malformed($what, "not lower-case hexadecimal of the right length"));
                }
                Ok(Self(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.serialize_str(&self.to_hex())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let s = String::deserialize(d)?;
                s.parse().map_err(D::Error::custom)
            }
        }
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> std::result::Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> std::result::Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                let array = bytes.try_into().map_err(|_| minicbor::decode::Error::message("wrong length"))?;
                Ok(Self(array))
            }
        }
    };
}

fixed_bytes!(
    /// SHA-256 of stored (sealed) bytes: the name of a pack, list, epoch file, charter, or send-log segment.
    Sha256, 32, "SHA-256"
);
fixed_bytes!(
    /// BLAKE3 of a chunk's plaintext. Never visible in a store.
    Digest, 32, "digest"
);
fixed_bytes!(
    /// A pack's random salt, by which references name it before its bytes are complete.
    Handle, 16, "handle"
);
fixed_bytes!(
    /// Keyed pseudonym of a namespace or path volume.
    ScopeAlias, 16, "scope alias"
);
fixed_bytes!(
    /// Random name of a snapshot.
    SnapshotId, 16, "snapshot id"
);
fixed_bytes!(
    /// Random name of a run; a checkpoint, a retry and the snapshot of one run share it.
    RunId, 16, "run id"
);
fixed_bytes!(
    /// Keyed hash of a chunk's digest in its domain. Only in the agent's memory and sealed send log.
    ChunkId, 16, "chunk id"
);

fixed_bytes!(
    /// Keyed hash of a path in its tree. Only in the agent's memory and sealed send log.
    PathHash, 16, "path hash"
);
fixed_bytes!(
    /// Keyed hash of what changes with a file's content. Only in the agent's memory and sealed send log.
    Fingerprint, 16, "fingerprint"
);

impl Sha256 {
    /// SHA-256 (FIPS 180-4) of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }
}

impl Digest {
    /// BLAKE3 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// A cluster's name: a DNS label (RFC 1123), so that it can be a folder anywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = FormatError;
    fn from_str(s: &str) -> Result<Self> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let label =
            (1..=63).contains(&s.len()) && s.bytes().all(inner) && !s.starts_with('-') && !s.ends_with('-');
        if label {
            Ok(Self(s.to_owned()))
        } else {
            Err(FormatError::malformed(
                "cluster name",
                "use 1 to 63 lower-case letters, digits and '-', not at either end",
            ))
        }
    }
}

impl Serialize for ClusterName {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClusterName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_dns_labels() {
        for good in ["a", "prod-1", "0"] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "../x", "a/b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hex_is_lower_case_only() {
        assert!("ab".repeat(32).parse::<Sha256>().is_ok());
        assert!("AB".repeat(32).parse::<Sha256>().is_err());
        assert!("ab".repeat(31).parse::<Sha256>().is_err());
    }
}
