//! Kinds as people name them: `deployments`, `deploy`, `Deployment`, `deployments.apps`, `*.cert-manager.io`. Pure.

use super::glob::Glob;
use crate::cluster::Resource;

/// A pattern over kinds, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindPattern {
    written: String,
    name: Glob,
    /// `None` stands for any group.
    group: Option<Glob>,
}

impl KindPattern {
    /// `name`, `name.group`, or `name.` for the core group. Case does not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.trim().to_lowercase();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*' | '?');
        if lower.is_empty() || lower.starts_with('.') || !lower.chars().all(fits) {
            return None;
        }
        let (name, group) = match lower.split_once('.') {
            Some((name, group)) => (name, Some(Glob::new(group))),
            None => (lower.as_str(), None),
        };
        Some(Self { written: text.trim().to_owned(), name: Glob::new(name), group })
    }

    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    #[must_use]
    pub fn matches(&self, resource: &Resource) -> bool {
        if self.group.as_ref().is_some_and(|group| !group.matches(&resource.group)) {
            return false;
        }
        let names = [resource.plural.as_str(), &resource.singular, &resource.kind];
        let mut names = names.into_iter().chain(resource.short_names.iter().map(String::as_str));
        names.any(|name| !name.is_empty() && self.name.matches(&name.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_taken() {
        let deployments = Resource {
            group: "apps".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            singular: "deployment".into(),
            short_names: vec!["deploy".into()],
            ..Resource::default()
        };
        let pods = Resource { kind: "Pod".into(), plural: "pods".into(), ..Resource::default() };
        for (text, first, second) in [
            ("deployments", true, false),
            ("Deployment", true, false),
            ("deploy", true, false),
            ("deployments.apps", true, false),
            ("Deployment.apps", true, false),
            ("*.apps", true, false),
            ("deployments.other.io", false, false),
            ("deployments.", false, false),
            ("pods.", false, true),
            ("po*", false, true),
            ("*", true, true),
        ] {
            let pattern = KindPattern::parse(text).unwrap();
            assert_eq!((pattern.matches(&deployments), pattern.matches(&pods)), (first, second), "{text}");
        }
        assert_eq!(KindPattern::parse(""), None);
        assert_eq!(KindPattern::parse(".apps"), None);
        assert_eq!(KindPattern::parse("a/b"), None);
    }
}
