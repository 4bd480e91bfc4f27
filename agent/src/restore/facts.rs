//! What a plan remembers of each object: a few small things, never its body, so that a hundred
//! thousand of them fit. Pure.

use super::order::{Phase, phase_of};
use super::refs::OwnerReference;
use super::source::{GroupKind, ObjectKey};
use std::collections::HashMap;

/// Position of an object in the plan.
pub type Index = u32;

/// One object.
#[derive(Debug)]
pub struct Fact {
    kind: u32,
    /// `u32::MAX` for cluster-scoped objects.
    namespace: u32,
    pub name: Box<str>,
    /// The uid it had.
    pub uid: Box<str>,
    pub owners: Box<[OwnerReference]>,
    /// Server-side apply wrote it.
    pub applied: bool,
    pub verdict: Verdict,
    /// Position among the deployment tools' objects, if one keeps it.
    pub manager: Option<u32>,
}

/// What is to be done with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Create,
    /// Left out without loss.
    Skip(&'static str),
    /// Left out, and to be told.
    Drop(Box<str>),
}

/// All objects of a plan.
#[derive(Debug, Default)]
pub struct Facts {
    kinds: Vec<(GroupKind, Phase)>,
    kind_at: HashMap<GroupKind, u32>,
    namespaces: Vec<String>,
    namespace_at: HashMap<String, u32>,
    facts: Vec<Fact>,
    at: HashMap<(u32, u32), HashMap<Box<str>, Index>>,
}

impl Facts {
    /// Takes an object in; a key that is there already stays as it is.
    pub fn add(&mut self, key: &ObjectKey, verdict: Verdict) -> Option<Index> {
        let index = Index::try_from(self.facts.len()).ok().filter(|i| *i < Index::MAX)?;
        let kind = self.kind(&key.kind)?;
        let namespace = match &key.namespace {
            Some(namespace) => self.namespace(namespace)?,
            None => u32::MAX,
        };
        let names = self.at.entry((namespace, kind)).or_default();
        if names.contains_key(key.name.as_str()) {
            return None;
        }
        names.insert(key.name.as_str().into(), index);
        self.facts.push(Fact {
            kind,
            namespace,
            name: key.name.as_str().into(),
            uid: "".into(),
            owners: Box::default(),
            applied: false,
            verdict,
            manager: None,
        });
        Some(index)
    }

    fn kind(&mut self, kind: &GroupKind) -> Option<u32> {
        if let Some(at) = self.kind_at.get(kind) {
            return Some(*at);
        }
        let at = u32::try_from(self.kinds.len()).ok()?;
        self.kinds.push((kind.clone(), phase_of(&kind.group, &kind.kind)));
        self.kind_at.insert(kind.clone(), at);
        Some(at)
    }

    fn namespace(&mut self, namespace: &str) -> Option<u32> {
        if let Some(at) = self.namespace_at.get(namespace) {
            return Some(*at);
        }
        let at = u32::try_from(self.namespaces.len()).ok().filter(|at| *at < u32::MAX)?;
        self.namespaces.push(namespace.to_owned());
        self.namespace_at.insert(namespace.to_owned(), at);
        Some(at)
    }

    /// The position of an object.
    #[must_use]
    pub fn find(&self, key: &ObjectKey) -> Option<Index> {
        self.find_parts(key.namespace.as_deref(), &key.kind, &key.name)
    }

    #[must_use]
    pub fn find_parts(&self, namespace: Option<&str>, kind: &GroupKind, name: &str) -> Option<Index> {
        let namespace = match namespace {
            Some(namespace) => *self.namespace_at.get(namespace)?,
            None => u32::MAX,
        };
        self.at.get(&(namespace, *self.kind_at.get(kind)?))?.get(name).copied()
    }

    #[must_use]
    pub fn get(&self, index: Index) -> &Fact {
        &self.facts[index as usize]
    }

    pub fn get_mut(&mut self, index: Index) -> &mut Fact {
        &mut self.facts[index as usize]
    }

    #[must_use]
    pub fn kind_of(&self, index: Index) -> &GroupKind {
        &self.kinds[self.get(index).kind as usize].0
    }

    #[must_use]
    pub fn phase_of(&self, index: Index) -> Phase {
        self.kinds[self.get(index).kind as usize].1
    }

    #[must_use]
    pub fn namespace_of(&self, index: Index) -> Option<&str> {
        self.namespaces.get(self.get(index).namespace as usize).map(String::as_str)
    }

    #[must_use]
    pub fn key_of(&self, index: Index) -> ObjectKey {
        ObjectKey {
            namespace: self.namespace_of(index).map(str::to_owned),
            kind: self.kind_of(index).clone(),
            name: self.get(index).name.to_string(),
        }
    }

    /// All positions, in the order in which objects were taken in.
    pub fn indexes(&self) -> impl Iterator<Item = Index> + use<> {
        0..Index::try_from(self.facts.len()).expect("add keeps the count within an Index")
    }

    /// The positions of what is to be created.
    pub fn to_create(&self) -> impl Iterator<Item = Index> {
        self.indexes().filter(|i| self.get(*i).verdict == Verdict::Create)
    }

    /// Takes an object out of what is to be created; what was left out before stays as it was.
    pub fn leave_out(&mut self, index: Index, verdict: Verdict) {
        let fact = self.get_mut(index);
        if fact.verdict == Verdict::Create {
            fact.verdict = verdict;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_again() {
        let mut facts = Facts::default();
        let key = |ns: Option<&str>, name: &str| ObjectKey {
            namespace: ns.map(str::to_owned),
            kind: GroupKind::new("", "ConfigMap"),
            name: name.into(),
        };
        let a = facts.add(&key(Some("x"), "a"), Verdict::Create).unwrap();
        let b = facts.add(&key(None, "a"), Verdict::Create).unwrap();
        assert_eq!(facts.add(&key(Some("x"), "a"), Verdict::Create), None);
        assert_eq!(facts.find(&key(Some("x"), "a")), Some(a));
        assert_eq!(facts.key_of(b), key(None, "a"));
        assert_eq!(facts.find(&key(Some("y"), "a")), None);
        facts.leave_out(a, Verdict::Skip("so"));
        facts.leave_out(a, Verdict::Drop("no".into()));
        assert_eq!(facts.get(a).verdict, Verdict::Skip("so"));
        assert_eq!(facts.to_create().collect::<Vec<_>>(), [b]);
    }
}
