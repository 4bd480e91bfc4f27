//! What is in the fixture's three snapshots, and the keys that it is made with. Fixed for ever: the files under
//! `tests/fixtures/v1` follow from it.

use lifeboat_format::body::{DomainKind, object_key};
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::Sha256;

pub(crate) const CLUSTER: &str = "prod";

/// One object of a domain.
pub(crate) struct Object {
    pub(crate) key: Vec<u8>,
    pub(crate) json: Vec<u8>,
}

/// One domain, its objects in the order in which they were listed.
pub(crate) struct Domain {
    pub(crate) kind: DomainKind,
    pub(crate) namespace: &'static str,
    pub(crate) objects: Vec<Object>,
}

/// 32 bytes that follow from a label.
pub(crate) fn seed(label: &str) -> [u8; 32] {
    Sha256::of(format!("lifeboat fixture 1 {label}").as_bytes()).0
}

pub(crate) fn seed16(label: &str) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&seed(label)[..16]);
    out
}

pub(crate) fn secret(label: &str) -> Secret32 {
    Secret32::new(seed(label))
}

/// `owner`, `agent` or `receipt`.
pub(crate) fn signing_key(label: &str) -> SigningKey {
    // RFC 8410: a PKCS#8 document around the 32 bytes of an Ed25519 private key.
    let mut document = hex::decode("302e020100300506032b657004220420").unwrap();
    document.extend_from_slice(&seed(label));
    SigningKey::from_pkcs8(&document).unwrap()
}

/// Text that compresses to about half.
fn noise(label: &str, len: usize) -> String {
    let blocks = (0..len.div_ceil(64)).map(|i| Sha256::of(format!("{label} {i}").as_bytes()).to_hex());
    let mut out: String = blocks.collect();
    out.truncate(len);
    out
}

fn object(kind: &str, group: &str, namespace: &str, name: &str, data: &str) -> Object {
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let place = if namespace.is_empty() { String::new() } else { format!(r#","namespace":"{namespace}""#) };
    let json = format!(
        r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}"{place}}},"data":{{"value":"{data}"}}}}"#
    );
    let kind_group = lifeboat_format::body::kind_group(kind, group);
    Object { key: object_key(&kind_group, name), json: json.into_bytes() }
}

/// The domains of snapshot `seq`; the third covers `web` alone.
pub(crate) fn domains(seq: u64) -> Vec<Domain> {
    let all = vec![cluster(seq), shop(seq), web(seq), web_secrets(seq)];
    all.into_iter().filter(|d| seq < 3 || d.namespace == "web").collect()
}

fn cluster(seq: u64) -> Domain {
    let mut objects = vec![
        object("ClusterRole", "rbac.authorization.k8s.io", "", "system:reader", "rules"),
        object("Namespace", "", "", "shop", ""),
        object("Namespace", "", "", "web", ""),
    ];
    if seq > 1 {
        objects.push(object("StorageClass", "storage.k8s.io", "", "fast", "Größe: groß \\u2713"));
    }
    Domain { kind: DomainKind::Cluster, namespace: "", objects }
}

/// Several pages; and keys that do not ascend at one place, so two maps.
fn shop(seq: u64) -> Domain {
    let item = |i: u32| {
        let value =
            if i == 123 && seq > 1 { format!("changed in {seq}") } else { noise(&format!("{i}"), 700) };
        object("ConfigMap", "", "shop", &format!("item-{i:04}"), &value)
    };
    let mut objects: Vec<Object> = (0..320).map(item).collect();
    objects.push(object("Deployment", "apps", "shop", "front", "three replicas"));
    objects.push(object("ConfigMap", "", "shop", "listed-late", "after a relist"));
    objects.push(object("ConfigMap", "", "shop", "listed-later", "still"));
    Domain { kind: DomainKind::Objects, namespace: "shop", objects }
}

/// Values of several chunks, one of so many that their list is a chunk of its own; a name longer than a file's.
fn web(_: u64) -> Domain {
    let objects = vec![
        object("ConfigMap", "", "web", "chunks", &noise("chunks", 100_000)),
        object("ConfigMap", "", "web", "many-chunks", &noise("many", 12_000).repeat(34)),
        object("ConfigMap", "", "web", &"n".repeat(253), "a long name"),
        object("Deployment", "apps", "web", "front", ""),
    ];
    Domain { kind: DomainKind::Objects, namespace: "web", objects }
}

fn web_secrets(_: u64) -> Domain {
    let objects = vec![object("Secret", "", "web", "token", "c2VjcmV0")];
    Domain { kind: DomainKind::Secrets, namespace: "web", objects }
}
