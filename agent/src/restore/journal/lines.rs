//! The lines of a journal. Pure.

use super::super::selection::Fnv;
use super::super::source::ObjectKey;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// What a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalKey {
    pub snapshot: String,
    /// Uid of the namespace kube-system.
    pub cluster: String,
    /// Fingerprint of the options.
    pub selection: String,
}

impl JournalKey {
    /// The file's name. The first line of the file holds the key in full.
    #[must_use]
    pub fn file_name(&self) -> String {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        (&self.snapshot, &self.cluster, &self.selection).hash(&mut hash);
        format!("restore-{:016x}.ndjson", hash.finish())
    }
}

/// How a POST ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Created,
    LeftSame,
    LeftDifferent,
}

/// One line. The short names keep a hundred thousand of them small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "t")]
pub enum Line {
    /// The first line.
    Begin {
        schema: String,
        #[serde(flatten)]
        key: JournalKey,
        /// Random; part of the field manager's name.
        id: String,
    },
    /// A POST is about to be sent.
    #[serde(rename = "i")]
    Intent {
        #[serde(flatten)]
        object: Object,
    },
    /// It was answered; the uid is that of the object which now has the name.
    #[serde(rename = "u")]
    Settled {
        #[serde(flatten)]
        object: Object,
        o: Outcome,
        uid: String,
    },
    /// Its owners and managed fields are as they should be.
    #[serde(rename = "f")]
    Finished {
        #[serde(flatten)]
        object: Object,
    },
    /// Something else that the restore made, for whoever cleans up.
    #[serde(rename = "x")]
    Extra { what: String, name: String, uid: String },
    /// The restore came to its end.
    End,
}

/// An object, in few letters. Names are those in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub g: String,
    pub k: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<String>,
    pub n: String,
}

impl From<&ObjectKey> for Object {
    fn from(key: &ObjectKey) -> Self {
        Self {
            g: key.kind.group.clone(),
            k: key.kind.kind.clone(),
            ns: key.namespace.clone(),
            n: key.name.clone(),
        }
    }
}

impl From<Object> for ObjectKey {
    fn from(object: Object) -> Self {
        Self {
            namespace: object.ns,
            kind: super::super::source::GroupKind::new(object.g, object.k),
            name: object.n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_come_back() {
        let object = Object { g: String::new(), k: "Pod".into(), ns: Some("a".into()), n: "b".into() };
        let line = Line::Settled { object, o: Outcome::LeftSame, uid: "u".into() };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"t":"u","k":"Pod","ns":"a","n":"b","o":"left-same","uid":"u"}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn the_name_depends_on_every_part() {
        let key = |a: &str, b: &str, c: &str| {
            JournalKey { snapshot: a.into(), cluster: b.into(), selection: c.into() }.file_name()
        };
        assert_ne!(key("a", "b", "c"), key("a", "c", "b"));
        assert_ne!(key("ab", "", "c"), key("a", "b", "c"));
    }
}
