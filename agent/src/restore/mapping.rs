//! Restoring a namespace under another name: the map itself. Pure; what it changes in a document is
//! `fields/remap.rs`.

use std::collections::{BTreeMap, BTreeSet};

/// Old names to new ones. Names that are not in it stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceMap(BTreeMap<String, String>);

/// A mapping that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("Cannot use the namespace mapping {mapping:?}: {detail}; write --namespace-map OLD=NEW")]
pub struct MappingError {
    pub mapping: String,
    pub detail: String,
}

impl NamespaceMap {
    /// Reads `old=new` arguments.
    pub fn parse<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Self, MappingError> {
        let mut map = BTreeMap::new();
        let mut targets = BTreeSet::new();
        for arg in args {
            let arg = arg.as_ref();
            let fail = |detail: &str| MappingError { mapping: arg.to_owned(), detail: detail.to_owned() };
            let (old, new) = arg.split_once('=').ok_or_else(|| fail("there is no = in it"))?;
            if !is_label(old) || !is_label(new) {
                return Err(fail("both sides must be names of namespaces"));
            }
            if !targets.insert(new.to_owned()) {
                return Err(fail("two namespaces would become one"));
            }
            if map.insert(old.to_owned(), new.to_owned()).is_some() {
                return Err(fail("the old namespace is mapped twice"));
            }
        }
        map.retain(|old, new| old != new);
        Ok(Self(map))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The new name, where there is one.
    #[must_use]
    pub fn get(&self, old: &str) -> Option<&str> {
        self.0.get(old).map(String::as_str)
    }

    /// The name to use.
    #[must_use]
    pub fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.get(name).unwrap_or(name)
    }

    /// Old and new names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(old, new)| (old.as_str(), new.as_str()))
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_and_checked() {
        let map = NamespaceMap::parse(["shop=shop-copy", "same=same"]).unwrap();
        assert_eq!(map.of("shop"), "shop-copy");
        assert_eq!(map.of("other"), "other");
        assert_eq!(map.iter().count(), 1);
        for bad in [vec!["shop"], vec!["=a"], vec!["a=A"], vec!["a=c", "b=c"], vec!["a=b", "a=c"]] {
            assert!(NamespaceMap::parse(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
