//! What a cluster serves, as plain data: one `Resource` per group and plural, and how versions rank.
//! Knows no client.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// One kind of object that the API server serves, at the version it is read at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// The name in URLs: `deployments`.
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// All served versions of this resource, the most stable first.
    pub served_versions: Vec<String>,
    /// Defined by a CustomResourceDefinition.
    pub custom: bool,
}

impl Resource {
    /// `deployments.apps`, `pods`: how `kubectl` names it.
    #[must_use]
    pub fn key(&self) -> String {
        dotted(&self.plural, &self.group)
    }

    /// `deployment.apps`, `pod`: the lower-case kind that paths in a snapshot use.
    #[must_use]
    pub fn kind_key(&self) -> String {
        dotted(&self.kind.to_lowercase(), &self.group)
    }

    /// `apps/v1`, `v1`: as written in an object.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The URL path of its objects in all namespaces.
    #[must_use]
    pub fn list_path(&self) -> String {
        format!("{}/{}", self.version_path(), self.plural)
    }

    /// The URL path of its objects in one namespace; of all of them if it has no namespaces.
    #[must_use]
    pub fn namespace_path(&self, namespace: &str) -> String {
        if self.namespaced {
            format!("{}/namespaces/{}/{}", self.version_path(), percent(namespace), self.plural)
        } else {
            self.list_path()
        }
    }

    /// The URL path of one object.
    #[must_use]
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        let parent = match namespace {
            Some(namespace) => self.namespace_path(namespace),
            None => self.list_path(),
        };
        format!("{parent}/{}", percent(name))
    }

    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// Whether its objects can be read now, made again and taken away: otherwise there is nothing to back up.
    #[must_use]
    pub fn storable(&self) -> bool {
        self.can("list") && self.can("create") && self.can("delete")
    }

    /// `true` for exactly this group and plural.
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    fn version_path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Percent-encodes everything but what a name in a path or a query may carry as it is.
#[must_use]
pub fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

/// Kubernetes' order of versions, the most stable first: GA before beta before alpha, then the higher
/// numbers; what is no such version comes last, by name.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// (stability, major, minor); larger is better.
fn rank(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    let tail = &rest[digits..];
    if tail.is_empty() {
        return Some((3, major, 0));
    }
    let (stability, minor) = match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
        (Some(minor), _) => (2, minor),
        (_, Some(minor)) => (1, minor),
        _ => return None,
    };
    if minor.bytes().all(|b| b.is_ascii_digit()) {
        Some((stability, major, minor.parse().ok()?))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rank_as_kubernetes_ranks_them() {
        let mut versions = [
            "foo10",
            "v1alpha1",
            "v3beta1",
            "v12alpha1",
            "v1",
            "v10",
            "v11beta2",
            "foo1",
            "v11alpha2",
            "v2",
            "v1beta1x",
        ];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v3beta1",
                "v12alpha1",
                "v11alpha2",
                "v1alpha1",
                "foo1",
                "foo10",
                "v1beta1x"
            ]
        );
        assert_eq!(compare_versions("v", "vv"), Ordering::Less);
        assert_eq!(rank("v99999999999"), None);
        assert_eq!(rank("v1beta+1"), None);
    }

    #[test]
    fn names_and_paths() {
        let mut resource = Resource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            namespaced: true,
            ..Resource::default()
        };
        assert_eq!(resource.key(), "deployments.apps");
        assert_eq!(resource.kind_key(), "deployment.apps");
        assert_eq!(resource.api_version(), "apps/v1");
        assert_eq!(resource.list_path(), "/apis/apps/v1/deployments");
        assert_eq!(
            resource.object_path(Some("a"), "x:/y"),
            "/apis/apps/v1/namespaces/a/deployments/x%3A%2Fy"
        );
        resource.group.clear();
        assert_eq!(resource.api_version(), "v1");
        assert_eq!(resource.list_path(), "/api/v1/deployments");
        assert!(!resource.storable());
    }
}
