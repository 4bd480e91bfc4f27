//! One listed object: its JSON exactly as served, and the metadata that rules need. Pure.

use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest object name that is taken.
const MAX_NAME: usize = 1024;
/// A copy of the whole object that `kubectl apply` keeps in itself; nobody decides by it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One object of a list.
#[derive(Debug, Clone)]
pub struct Item {
    pub meta: ItemMeta,
    /// `{"apiVersion":"v1","kind":"Secret",`, or empty if the item says so itself.
    head: Bytes,
    /// The item, a slice of its page.
    body: Bytes,
}

/// What every object says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemMeta {
    pub name: String,
    pub namespace: Option<String>,
    pub uid: String,
    pub resource_version: String,
    pub created: Option<String>,
    /// Set when the object is being deleted.
    pub deleted: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// All but kubectl's copy of the last applied configuration.
    pub annotations: BTreeMap<String, String>,
    pub owners: Vec<Owner>,
}

/// An owner reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub controller: bool,
}

/// An item that was served and cannot be used; it is reported, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Fit to be shown, and nothing else.
    pub namespace: String,
    /// Fit to be shown, and nothing else.
    pub name: String,
    /// CamelCase, stable.
    pub reason: &'static str,
    pub message: String,
}

impl Item {
    /// An item from its parts. `body` is a JSON object that is not empty; `head` opens an object or is empty.
    pub(super) fn new(meta: ItemMeta, head: Bytes, body: Bytes) -> Self {
        Self { meta, head, body }
    }

    /// The complete document, in the two slices that make it up.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        if self.head.is_empty() { [&[], &self.body] } else { [&self.head, &self.body[1..]] }
    }

    /// The complete document's length in bytes.
    #[must_use]
    pub fn document_len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The complete document: as served, with apiVersion and kind.
    #[must_use]
    pub fn document(&self) -> Bytes {
        if self.head.is_empty() { self.body.clone() } else { Bytes::from(self.parts().concat()) }
    }

    /// Appends the complete document.
    pub fn write_document(&self, out: &mut Vec<u8>) {
        for part in self.parts() {
            out.extend_from_slice(part);
        }
    }

    /// Reads some fields of the object.
    ///
    /// # Errors
    /// If the fields are not of the expected shape.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// `namespace/name`, or the name alone.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.meta.namespace {
            Some(namespace) => format!("{namespace}/{}", self.meta.name),
            None => self.meta.name.clone(),
        }
    }

    /// An item for tests of rules, from a document.
    ///
    /// # Errors
    /// If the text is not a JSON object with metadata and a name.
    pub fn from_document(document: &str) -> Result<Self, serde_json::Error> {
        let body = Bytes::copy_from_slice(document.as_bytes());
        let raw: RawItem = serde_json::from_slice(&body)?;
        Ok(Self::new(raw.metadata.into_meta(), Bytes::new(), body))
    }
}

impl ItemMeta {
    /// The owner that makes and deletes this object, if there is one.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// The fields of an item that are always read.
#[derive(Deserialize)]
pub(super) struct RawItem {
    #[serde(rename = "apiVersion", default)]
    pub(super) api_version: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    pub(super) kind: Option<serde::de::IgnoredAny>,
    pub(super) metadata: RawMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMeta {
    #[serde(default)]
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
}

impl RawMeta {
    pub(super) fn into_meta(self) -> ItemMeta {
        let mut annotations = self.annotations.unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        ItemMeta {
            name: self.name,
            namespace: self.namespace.filter(|namespace| !namespace.is_empty()),
            uid: self.uid,
            resource_version: self.resource_version,
            created: self.creation_timestamp,
            deleted: self.deletion_timestamp,
            labels: self.labels.unwrap_or_default(),
            annotations,
            owners: self.owner_references.unwrap_or_default(),
        }
    }
}

/// Why a name or namespace cannot be used, if it cannot: it will be part of paths.
#[must_use]
pub fn unusable_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.len() > MAX_NAME {
        Some("the name is too long")
    } else if matches!(name, "." | "..") || name.contains(['/', '\0']) {
        Some("the name could leave its folder")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_completed_textually() {
        let body = r#"{"metadata":{"name":"a"},"n":9007199254740993,"x":1.50}"#;
        let item = Item::new(
            ItemMeta::default(),
            Bytes::from_static(b"{\"apiVersion\":\"v1\",\"kind\":\"X\","),
            body.into(),
        );
        let text = String::from_utf8(item.document().to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"n":9007199254740993,"x":1.50}"#
        );
        assert_eq!(item.document_len(), text.len());
        let mut out = Vec::new();
        item.write_document(&mut out);
        assert_eq!(out, text.as_bytes());
        let own = Item::from_document(r#"{"metadata":{"name":"a","namespace":"n"}}"#).unwrap();
        assert_eq!(own.document(), own.body);
        assert_eq!(own.key(), "n/a");
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for bad in ["", ".", "..", "a/b", "/", "a\0", &"x".repeat(1025)] {
            assert!(unusable_name(bad).is_some(), "{bad:?}");
        }
        for good in ["a", "...", "system:node:x", "a..b"] {
            assert!(unusable_name(good).is_none(), "{good:?}");
        }
    }
}
