//! Which part of a snapshot is restored. Pure.

use super::source::{GroupKind, ObjectKey};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// What is wanted; empty lists mean everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Names of namespaces, with `*` and `?`.
    pub namespaces: Vec<String>,
    /// Namespaces left out, with `*` and `?`.
    pub exclude_namespaces: Vec<String>,
    /// Kinds as a person writes them: `Deployment`, `deployments`, `certificate.cert-manager.io`.
    pub kinds: Vec<String>,
    pub exclude_kinds: Vec<String>,
    /// Names of objects, with `*` and `?`.
    pub names: Vec<String>,
    pub labels: Option<LabelSelector>,
    pub cluster_scope: ClusterScope,
}

/// What becomes of objects that are in no namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClusterScope {
    /// All of them in a restore of everything, else those that belong to what is selected.
    #[default]
    Auto,
    All,
    None,
}

impl Selection {
    /// Whether the selection leaves nothing out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.namespaces.is_empty()
            && self.kinds.is_empty()
            && self.names.is_empty()
            && self.labels.is_none()
            && self.exclude_kinds.is_empty()
    }

    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        (self.namespaces.is_empty() || self.namespaces.iter().any(|g| glob(g, namespace)))
            && !self.exclude_namespaces.iter().any(|g| glob(g, namespace))
    }

    #[must_use]
    pub fn has_kind(&self, kind: &GroupKind) -> bool {
        (self.kinds.is_empty() || self.kinds.iter().any(|k| is_kind(k, kind)))
            && !self.exclude_kinds.iter().any(|k| is_kind(k, kind))
    }

    /// Whether an object in a namespace is wanted, apart from its labels.
    #[must_use]
    pub fn has_namespaced(&self, key: &ObjectKey) -> bool {
        key.namespace.as_deref().is_some_and(|n| self.has_namespace(n))
            && self.has_kind(&key.kind)
            && self.has_name(&key.name)
    }

    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|g| glob(g, name))
    }

    /// A cluster-scoped object that was asked for by its kind or name.
    #[must_use]
    pub fn names_cluster_object(&self, key: &ObjectKey) -> bool {
        (!self.kinds.is_empty() || !self.names.is_empty())
            && self.namespaces.is_empty()
            && self.has_kind(&key.kind)
            && self.has_name(&key.name)
    }

    #[must_use]
    pub fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.as_ref().is_none_or(|selector| selector.matches(labels))
    }

    /// The same for the same selection, in every run of every build: it names the journal.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        self.hash(&mut hash);
        hash.finish()
    }
}

/// FNV-1a: stable, which the standard hasher does not promise to be.
#[derive(Debug)]
pub(super) struct Fnv(pub(super) u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Whether a pattern of literal characters, `*` and `?` fits a whole text.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                p = at + 1;
                t = from + 1;
                star = Some((at, t));
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a person's word for a kind means this one.
#[must_use]
pub fn is_kind(word: &str, kind: &GroupKind) -> bool {
    let word = word.to_lowercase();
    let (name, group) = word.split_once('.').map_or((word.as_str(), None), |(n, g)| (n, Some(g)));
    if group.is_some_and(|group| group != kind.group) {
        return false;
    }
    let singular = kind.kind.to_lowercase();
    let plural = match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if singular.ends_with(['s', 'x']) || singular.ends_with("ch") => format!("{singular}es"),
        _ => format!("{singular}s"),
    };
    name == singular || name == plural || name == "*"
}

/// A label selector as `kubectl -l` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelSelector(Vec<(String, Test)>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// A selector that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "Cannot read the label selector {selector:?}: {part:?} is no test; write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY or !KEY"
)]
pub struct SelectorError {
    pub selector: String,
    pub part: String,
}

impl LabelSelector {
    /// Reads a selector.
    pub fn parse(selector: &str) -> Result<Self, SelectorError> {
        let mut tests = Vec::new();
        for part in split_outside_brackets(selector) {
            let test = parse_test(part.trim());
            tests.push(
                test.ok_or_else(|| SelectorError { selector: selector.to_owned(), part: part.to_owned() })?,
            );
        }
        Ok(Self(tests))
    }

    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, test)| {
            let value = labels.get(key);
            match test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|v| values.contains(v)),
                Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            }
        })
    }
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_test(part: &str) -> Option<(String, Test)> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let (key, test) = if let Some(key) = part.strip_prefix('!') {
        (key, Test::Absent)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Test::In(one(value)))
    } else if let Some((key, values)) = part.split_once(" notin ") {
        (key, Test::NotIn(bracketed(values)?))
    } else if let Some((key, values)) = part.split_once(" in ") {
        (key, Test::In(bracketed(values)?))
    } else {
        (part, Test::Exists)
    };
    let key = key.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!key.is_empty() && key.chars().all(valid)).then(|| (key.to_owned(), test))
}

fn bracketed(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("team-?", "team-1", true),
            ("team-?", "team-12", false),
            ("*-prod-*", "a-prod-prod-b", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn kinds_as_people_write_them() {
        let deployment = GroupKind::new("apps", "Deployment");
        for word in ["Deployment", "deployments", "deployment.apps", "*"] {
            assert!(is_kind(word, &deployment), "{word}");
        }
        assert!(!is_kind("deployment.example.com", &deployment) && !is_kind("deploy", &deployment));
        assert!(is_kind("networkpolicies", &GroupKind::new("networking.k8s.io", "NetworkPolicy")));
        assert!(is_kind("ingresses", &GroupKind::new("networking.k8s.io", "Ingress")));
    }

    #[test]
    fn label_selectors() {
        let labels: BTreeMap<String, String> =
            [("app".into(), "web".into()), ("tier".into(), "a".into())].into();
        for (selector, fits) in [
            ("app=web", true),
            ("app==web,tier!=b", true),
            ("app in (api, web),!gone", true),
            ("tier notin (a,b)", false),
            ("gone", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), fits, "{selector}");
        }
        assert!(LabelSelector::parse("app in web").is_err() && LabelSelector::parse("").is_err());
    }

    #[test]
    fn a_fingerprint_tells_selections_apart() {
        let one = Selection { namespaces: vec!["a".into()], ..Selection::default() };
        let other = Selection { exclude_namespaces: vec!["a".into()], ..Selection::default() };
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
    }
}
