//! The body of a snapshot: what is in it and where, and the run report. Sealed in a pack of its own domain.

use crate::id::{ClusterName, ScopeAlias, SnapshotId};
use crate::pack::Reference;
use crate::{FormatError, Result, limits};
use minicbor::{Decode, Encode};

/// What a domain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DomainKind {
    /// Objects of one namespace, Secrets aside.
    #[n(0)]
    Objects,
    /// Secrets of one namespace.
    #[n(1)]
    Secrets,
    /// Objects without a namespace.
    #[n(2)]
    Cluster,
    /// One persistent volume claim's tree.
    #[n(3)]
    Volume,
    /// One directory tree of a host.
    #[n(4)]
    Path,
}

/// One domain of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainEntry {
    #[n(0)]
    pub kind: DomainKind,
    /// Empty for `Cluster` and `Path`.
    #[n(1)]
    pub namespace: String,
    /// The claim or path volume; empty for objects.
    #[n(2)]
    pub name: String,
    /// As in the manifest's `scopes`.
    #[n(3)]
    pub alias: Option<ScopeAlias>,
    /// Roots of sorted maps with disjoint keys: usually one, more where a list did not come in order.
    #[n(4)]
    pub roots: Vec<Reference>,
    #[n(5)]
    pub entries: u64,
    /// Plaintext of the values.
    #[n(6)]
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    #[n(0)]
    pub cluster: String,
    #[n(1)]
    pub id: SnapshotId,
    #[n(2)]
    pub domains: Vec<DomainEntry>,
    /// JSON, schema `lifeboat/run-report/1`.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub report: Vec<u8>,
}

impl DomainEntry {
    /// The domain's name: what dedup keys are derived from.
    #[must_use]
    pub fn domain(&self) -> String {
        domain_name(self.kind, &self.namespace, &self.name)
    }
}

/// `objects/<namespace>`, `secrets/<namespace>`, `cluster`, `volume/<namespace>/<claim>`, `path/<name>`.
#[must_use]
pub fn domain_name(kind: DomainKind, namespace: &str, name: &str) -> String {
    match kind {
        DomainKind::Objects => format!("objects/{namespace}"),
        DomainKind::Secrets => format!("secrets/{namespace}"),
        DomainKind::Cluster => "cluster".to_owned(),
        DomainKind::Volume => format!("volume/{namespace}/{name}"),
        DomainKind::Path => format!("path/{name}"),
    }
}

/// An object's key in its namespace's map: `<kind>.<group>` lower case (no `.group` for core), `00`, name.
#[must_use]
pub fn object_key(kind_group: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind_group.len() + 1 + name.len());
    key.extend_from_slice(kind_group.as_bytes());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The reverse of [`object_key`]; `None` unless both parts are text that can be a file's name.
#[must_use]
pub fn parse_object_key(key: &[u8]) -> Option<(&str, &str)> {
    let (kind, name) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    let safe = |s: &str| {
        !s.is_empty()
            && s != "."
            && s != ".."
            && s.len() <= 1024
            && !s.chars().any(|c| c == '/' || c.is_control())
    };
    (safe(kind) && safe(name)).then_some((kind, name))
}

/// `<kind>.<group>` lower case; core kinds without a group.
#[must_use]
pub fn kind_group(kind: &str, group: &str) -> String {
    let kind = kind.to_lowercase();
    if group.is_empty() { kind } else { format!("{kind}.{group}") }
}

impl Body {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// Parses an opened body; it must be of this cluster and snapshot.
    pub fn parse(bytes: &[u8], cluster: &ClusterName, id: &SnapshotId) -> Result<Self> {
        if bytes.len() > limits::BODY_MAX {
            return Err(FormatError::too_large("body", "over the limit"));
        }
        let mut d = minicbor::Decoder::new(bytes);
        let body: Self = d.decode().map_err(|e| FormatError::malformed("body", e.to_string()))?;
        if d.position() != bytes.len() {
            return Err(FormatError::malformed("body", "bytes after its end"));
        }
        if body.domains.len() > limits::DOMAINS_MAX {
            return Err(FormatError::too_large("body", "too many domains"));
        }
        if body.cluster != cluster.as_str() || body.id != *id {
            return Err(FormatError::mismatch("body", "it is of another snapshot than its manifest"));
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_belongs_to_one_snapshot() {
        let domain = DomainEntry {
            kind: DomainKind::Objects,
            namespace: "a".to_owned(),
            name: String::new(),
            alias: None,
            roots: vec![],
            entries: 1,
            bytes: 2,
        };
        let body = Body {
            cluster: "prod".to_owned(),
            id: SnapshotId([1; 16]),
            domains: vec![domain],
            report: b"{}".to_vec(),
        };
        let bytes = body.encode();
        let prod = "prod".parse().unwrap();
        assert_eq!(Body::parse(&bytes, &prod, &SnapshotId([1; 16])).unwrap(), body);
        assert!(Body::parse(&bytes, &prod, &SnapshotId([2; 16])).is_err());
        for end in 0..bytes.len() {
            assert!(Body::parse(&bytes[..end], &prod, &SnapshotId([1; 16])).is_err());
        }
    }

    #[test]
    fn keys_that_would_leave_the_directory_are_refused() {
        assert_eq!(parse_object_key(&object_key("deployment.apps", "web")), Some(("deployment.apps", "web")));
        for (kind, name) in
            [("..", "a"), ("a", ".."), ("a/b", "c"), ("a", "../c"), ("a", "b\0c"), ("", "a"), ("a", "")]
        {
            assert_eq!(parse_object_key(&object_key(kind, name)), None, "{kind} {name}");
        }
    }
}
