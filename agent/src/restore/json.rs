//! Editing a JSON document without touching what is not edited: a tree that is only opened where a
//! rule looks, so every other byte (numbers, escapes, unknown fields) leaves as it came.
//! Knows nothing of Kubernetes.

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A value: still closed (`Raw`), opened, or replaced.
#[derive(Debug)]
pub enum Node<'a> {
    /// As it came, verbatim.
    Raw(&'a RawValue),
    /// Put there by a rule.
    New(Box<RawValue>),
    /// An opened object, in its order.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    /// An opened array.
    Array(Vec<Node<'a>>),
}

/// The document is not JSON, or not of the expected shape.
#[derive(Debug, thiserror::Error)]
#[error("Cannot read a stored object as JSON: {detail}")]
pub struct JsonError {
    /// What the parser said.
    pub detail: String,
}

/// An object's fields, the last of a repeated key standing (as the API server reads it).
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A key that is borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(Fields(without_repeats(fields)))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Keeps the last value of a repeated key; linear for the usual object, which repeats none.
fn without_repeats<'a>(fields: Vec<(Cow<'a, str>, &'a RawValue)>) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    let mut seen = std::collections::HashSet::with_capacity(fields.len());
    if fields.iter().all(|(key, _)| seen.insert(key.as_ref())) {
        return fields;
    }
    let mut kept: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for (key, value) in fields {
        match at.get(&key) {
            Some(&i) => {
                let entry: &mut (Cow<'a, str>, &'a RawValue) = &mut kept[i];
                entry.1 = value;
            }
            None => {
                at.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}

impl<'a> Node<'a> {
    /// Takes a whole document; it must be an object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let fields: Fields<'a> =
            serde_json::from_slice(bytes).map_err(|e| JsonError { detail: e.to_string() })?;
        Ok(Self::open(fields))
    }

    fn open(fields: Fields<'a>) -> Self {
        Self::Object(fields.0.into_iter().map(|(k, v)| (k, Node::Raw(v))).collect())
    }

    /// A value of our own.
    #[must_use]
    pub fn new(value: &impl Serialize) -> Self {
        Self::New(serde_json::value::to_raw_value(value).expect("plain data always serializes to JSON"))
    }

    /// Opens an object; `None` for any other type.
    pub fn fields(&mut self) -> Option<&mut Vec<(Cow<'a, str>, Node<'a>)>> {
        match self {
            Self::Raw(raw) => {
                let opened: Fields<'a> = serde_json::from_str(raw.get()).ok()?;
                *self = Self::open(opened);
            }
            Self::New(raw) => {
                let opened: Vec<(String, Box<RawValue>)> = own_fields(raw)?;
                *self =
                    Self::Object(opened.into_iter().map(|(k, v)| (Cow::Owned(k), Self::New(v))).collect());
            }
            _ => {}
        }
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// Opens an array; `None` for any other type.
    pub fn items(&mut self) -> Option<&mut Vec<Node<'a>>> {
        match self {
            Self::Raw(raw) => {
                let opened: Vec<&'a RawValue> = serde_json::from_str(raw.get()).ok()?;
                *self = Self::Array(opened.into_iter().map(Node::Raw).collect());
            }
            Self::New(raw) => {
                let opened: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).ok()?;
                *self = Self::Array(opened.into_iter().map(Node::New).collect());
            }
            _ => {}
        }
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The value of one field, the object opened.
    pub fn get(&mut self, key: &str) -> Option<&mut Node<'a>> {
        self.fields()?.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value under a path of keys.
    pub fn at(&mut self, path: &[&str]) -> Option<&mut Node<'a>> {
        let mut node = self;
        for key in path {
            node = node.get(key)?;
        }
        Some(node)
    }

    /// The items of the array under a path; empty where there is none.
    pub fn each(&mut self, path: &[&str]) -> &mut [Node<'a>] {
        self.at(path).and_then(Node::items).map_or(&mut [], |items| items.as_mut_slice())
    }

    /// Takes one field out.
    pub fn remove(&mut self, key: &str) -> Option<Node<'a>> {
        let fields = self.fields()?;
        let at = fields.iter().position(|(k, _)| k == key)?;
        Some(fields.remove(at).1)
    }

    /// Takes the field at the end of a path out; says whether it was there.
    pub fn remove_at(&mut self, path: &[&str]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        self.at(parents).and_then(|node| node.remove(last)).is_some()
    }

    /// Sets one field; a value that is no object stays as it is.
    pub fn set(&mut self, key: &str, value: Node<'a>) {
        if let Some(fields) = self.fields() {
            match fields.iter_mut().find(|(k, _)| k == key) {
                Some((_, old)) => *old = value,
                None => fields.push((Cow::Owned(key.to_owned()), value)),
            }
        }
    }

    /// Keeps the fields that `keep` wants; says whether any went.
    pub fn retain_fields(&mut self, mut keep: impl FnMut(&str) -> bool) -> bool {
        let Some(fields) = self.fields() else { return false };
        let before = fields.len();
        fields.retain(|(k, _)| keep(k));
        fields.len() != before
    }

    /// Reads the value as plain data, if it has that shape.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Raw(raw) => serde_json::from_str(raw.get()).ok(),
            Self::New(raw) => serde_json::from_str(raw.get()).ok(),
            _ => serde_json::from_slice(&self.to_bytes()).ok(),
        }
    }

    /// Reads the value under a path as plain data.
    pub fn read_at<T: DeserializeOwned>(&mut self, path: &[&str]) -> Option<T> {
        self.at(path)?.read()
    }

    /// The string under a path.
    pub fn text(&mut self, path: &[&str]) -> Option<String> {
        self.read_at(path)
    }

    /// Whether the value is `{}`, `[]`, `null` or `""`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Raw(raw) => is_empty_text(raw.get()),
            Self::New(raw) => is_empty_text(raw.get()),
            Self::Object(fields) => fields.is_empty(),
            Self::Array(items) => items.is_empty(),
        }
    }

    /// The document as compact bytes (closed parts verbatim).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(raw) => out.extend_from_slice(raw.get().as_bytes()),
            Self::New(raw) => out.extend_from_slice(raw.get().as_bytes()),
            Self::Object(fields) => {
                out.push(b'{');
                for (i, (key, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    serde_json::to_writer(&mut *out, key).expect("a string always serializes to memory");
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Array(items) => {
                out.push(b'[');
                for (i, value) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
        }
    }
}

fn is_empty_text(text: &str) -> bool {
    let mut inner = text.chars().filter(|c| !c.is_ascii_whitespace());
    matches!(
        (inner.next(), inner.next(), inner.next()),
        (Some('{'), Some('}'), None) | (Some('['), Some(']'), None) | (Some('"'), Some('"'), None)
    ) || text.trim() == "null"
}

/// The fields of an owned value.
fn own_fields(raw: &RawValue) -> Option<Vec<(String, Box<RawValue>)>> {
    let opened: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(opened.0.into_iter().map(|(k, v)| (k.into_owned(), v.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn untouched_parts_stay_verbatim() {
        let text = r#"{"a":{"n":9007199254740993,"f":1.0,"e":1e400,"u":"\u0041"},"b":[1, 2.50]}"#;
        let mut doc = Node::parse(text.as_bytes()).unwrap();
        doc.remove_at(&["a", "nothing"]);
        assert!(doc.at(&["a", "n"]).is_some());
        assert_eq!(String::from_utf8(doc.to_bytes()).unwrap(), text);
    }

    #[test]
    fn the_last_of_a_repeated_key_stands() {
        let mut doc = Node::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(doc.read_at::<i64>(&["a"]), Some(3));
        assert_eq!(doc.to_bytes(), br#"{"a":3,"b":2}"#);
    }

    #[test]
    fn hostile_documents_are_errors() {
        for text in ["", "[]", "1", "{", "{\"a\"", "\u{0}", "{\"a\":1}x"] {
            assert!(Node::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = Node::parse(deep.as_bytes());
    }

    #[test]
    fn edits_reach_new_values_too() {
        let mut doc = Node::parse(b"{}").unwrap();
        doc.set("m", Node::new(&serde_json::json!({"x": [1, {"y": 2}]})));
        doc.each(&["m", "x"])[1].set("y", Node::new(&3));
        assert_eq!(doc.to_bytes(), br#"{"m":{"x":[1,{"y":3}]}}"#);
        assert!(Node::new(&serde_json::json!({})).is_empty());
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("9007199254740993".to_owned()),
            Just("1.0".to_owned()),
            Just("-0".to_owned()),
            Just("1E+2".to_owned()),
            "[a-z\\\\u00e9 ]{0,6}".prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|m| {
                    let fields: Vec<_> = m.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn removing_one_field_leaves_the_others_verbatim(one in any_json(), other in any_json()) {
            let text = format!(r#"{{"keep":{one},"gone":{other},"last":{one}}}"#);
            let mut doc = Node::parse(text.as_bytes()).unwrap();
            doc.remove("gone");
            let want = format!(r#"{{"keep":{one},"last":{one}}}"#);
            prop_assert_eq!(String::from_utf8(doc.to_bytes()).unwrap(), want);
        }
    }
}
