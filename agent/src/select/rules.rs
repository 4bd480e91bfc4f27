//! What a person wants in a snapshot: namespaces, labels, kinds, cluster scope. Pure.

use super::glob::Glob;
use super::kinds::KindPattern;
use super::labels::{LabelSelector, LabelSelectorError};
use crate::cluster::Resource;
use serde::{Deserialize, Serialize};

/// Namespaces that a cluster makes for itself; left out unless they are named.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Where the agent and its helpers live: never stored.
pub const AGENT_NAMESPACES: [&str; 3] = ["lifeboat", "lifeboat-nodes", "lifeboat-restore-*"];
/// What Compliant Kubernetes runs for its users, and backs up in its own ways.
const COMPLIANT_KUBERNETES: [&str; 20] = [
    "calico-apiserver",
    "calico-system",
    "cert-manager",
    "crossplane-system",
    "falco",
    "fluentd",
    "fluentd-system",
    "gatekeeper-system",
    "gpu-operator",
    "hnc-system",
    "ingress-nginx",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "kured",
    "kyverno",
    "monitoring",
    "openstack-system",
    "rook-ceph",
    "velero",
];

/// A selection as it is written in a configuration, an object or a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SelectionSpec {
    /// Globs; none stands for all.
    pub namespaces: Vec<String>,
    pub exclude_namespaces: Vec<String>,
    /// `compliant-kubernetes`: also leaves out what that platform runs.
    pub preset: Option<String>,
    pub selector: Option<String>,
    pub kinds: Vec<String>,
    pub exclude_kinds: Vec<String>,
    /// All in a full run, related ones where namespaces or labels are chosen.
    pub cluster_scope: Option<ClusterScope>,
    pub include_opted_out: bool,
    /// The agent's own namespaces; none stands for the usual ones.
    pub agent_namespaces: Vec<String>,
}

/// Which cluster-scoped objects belong to it. Selected Namespaces always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterScope {
    Off,
    /// Those that stored objects use.
    Related,
    All,
}

/// A selection that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(transparent)]
    Selector(#[from] LabelSelectorError),
    #[error(
        "Could not read the kind {kind:?}; name it as kubectl does: deployments, deploy, deployments.apps, *.cert-manager.io"
    )]
    Kind { kind: String },
    #[error("There is no preset {preset:?}; the only one is compliant-kubernetes")]
    Preset { preset: String },
    #[error("Could not read the namespace pattern {pattern:?}; use lower-case letters, digits, -, * and ?")]
    Namespace { pattern: String },
}

/// A selection, ready to be asked.
#[derive(Debug, Clone)]
pub struct Selection {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    system: Vec<&'static str>,
    agent: Vec<Glob>,
    labels: LabelSelector,
    kinds: Vec<KindPattern>,
    exclude_kinds: Vec<KindPattern>,
    pub cluster_scope: ClusterScope,
    pub include_opted_out: bool,
}

/// What the selection says of a namespace by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceVerdict {
    Selected,
    Agent,
    System,
    NotSelected,
}

impl Default for Selection {
    fn default() -> Self {
        Self::parse(&SelectionSpec::default()).expect("an empty selection has nothing that could be wrong")
    }
}

impl Selection {
    /// # Errors
    /// If a pattern, selector or preset cannot be used; the error names it.
    pub fn parse(spec: &SelectionSpec) -> Result<Self, RuleError> {
        let labels = LabelSelector::parse(spec.selector.as_deref().unwrap_or_default())?;
        let (include, exclude) = (namespaces(&spec.namespaces)?, namespaces(&spec.exclude_namespaces)?);
        let kinds = kinds(&spec.kinds)?;
        let subset =
            !labels.is_empty() || !kinds.is_empty() || include.iter().any(|glob| glob.as_str() != "*");
        let agent = if spec.agent_namespaces.is_empty() {
            AGENT_NAMESPACES.iter().map(|name| Glob::new(name)).collect()
        } else {
            namespaces(&spec.agent_namespaces)?
        };
        let system = match spec.preset.as_deref() {
            None => SYSTEM_NAMESPACES.to_vec(),
            Some("compliant-kubernetes") => COMPLIANT_KUBERNETES.to_vec(),
            Some(other) => return Err(RuleError::Preset { preset: other.to_owned() }),
        };
        Ok(Self {
            include,
            exclude,
            system,
            agent,
            labels,
            kinds,
            exclude_kinds: self::kinds(&spec.exclude_kinds)?,
            cluster_scope: spec.cluster_scope.unwrap_or(if subset {
                ClusterScope::Related
            } else {
                ClusterScope::All
            }),
            include_opted_out: spec.include_opted_out,
        })
    }

    /// Whether nothing but the defaults narrows it: such a snapshot can stand for the whole cluster.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.labels.is_empty()
            && self.kinds.is_empty()
            && self.exclude_kinds.is_empty()
            && self.exclude.is_empty()
            && self.include.iter().all(|glob| glob.as_str() == "*")
            && self.cluster_scope == ClusterScope::All
    }

    /// A system namespace is selected only by its own name; the agent's is never.
    #[must_use]
    pub fn namespace(&self, name: &str) -> NamespaceVerdict {
        if self.agent.iter().any(|glob| glob.matches(name)) {
            return NamespaceVerdict::Agent;
        }
        let included = self.include.is_empty() || self.include.iter().any(|glob| glob.matches(name));
        if !included || self.exclude.iter().any(|glob| glob.matches(name)) {
            return NamespaceVerdict::NotSelected;
        }
        let named = self.include.iter().any(|glob| glob.is_literal() && glob.as_str() == name);
        if self.system.contains(&name) && !named {
            NamespaceVerdict::System
        } else {
            NamespaceVerdict::Selected
        }
    }

    #[must_use]
    pub fn selects_namespace(&self, name: &str) -> bool {
        self.namespace(name) == NamespaceVerdict::Selected
    }

    #[must_use]
    pub fn selects_kind(&self, resource: &Resource) -> bool {
        (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.matches(resource)))
            && !self.exclude_kinds.iter().any(|kind| kind.matches(resource))
    }

    #[must_use]
    pub fn labels(&self) -> &LabelSelector {
        &self.labels
    }

    /// Kinds that were asked for and that no resource of the cluster answers to: most likely a slip.
    #[must_use]
    pub fn unknown_kinds(&self, resources: &[Resource]) -> Vec<String> {
        let known = |kind: &&KindPattern| !resources.iter().any(|resource| kind.matches(resource));
        let all = self.kinds.iter().chain(&self.exclude_kinds);
        all.filter(known).map(|kind| kind.written().to_owned()).collect()
    }
}

fn namespaces(patterns: &[String]) -> Result<Vec<Glob>, RuleError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*' | '?');
    let one = |pattern: &String| {
        let text = pattern.trim();
        if text.is_empty() || !text.chars().all(fits) {
            return Err(RuleError::Namespace { pattern: pattern.clone() });
        }
        Ok(Glob::new(text))
    };
    patterns.iter().map(one).collect()
}

fn kinds(patterns: &[String]) -> Result<Vec<KindPattern>, RuleError> {
    let one = |kind: &String| KindPattern::parse(kind).ok_or_else(|| RuleError::Kind { kind: kind.clone() });
    patterns.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(change: impl FnOnce(&mut SelectionSpec)) -> Result<Selection, RuleError> {
        let mut spec = SelectionSpec::default();
        change(&mut spec);
        Selection::parse(&spec)
    }

    #[test]
    fn namespaces_by_default() {
        let all = Selection::default();
        assert!(all.is_full() && all.cluster_scope == ClusterScope::All);
        for (name, verdict) in [
            ("default", NamespaceVerdict::Selected),
            ("monitoring", NamespaceVerdict::Selected),
            ("kube-system", NamespaceVerdict::System),
            ("lifeboat", NamespaceVerdict::Agent),
            ("lifeboat-restore-7", NamespaceVerdict::Agent),
            ("lifeboats", NamespaceVerdict::Selected),
        ] {
            assert_eq!(all.namespace(name), verdict, "{name}");
        }
        let preset = parse(|spec| spec.preset = Some("compliant-kubernetes".into())).unwrap();
        assert_eq!(preset.namespace("monitoring"), NamespaceVerdict::System);
        assert!(preset.is_full());
    }

    #[test]
    fn namespaces_by_pattern() {
        let some = parse(|spec| {
            spec.namespaces = vec!["team-*".into(), "kube-system".into(), "kube-*".into()];
            spec.exclude_namespaces = vec!["*-test".into()];
        })
        .unwrap();
        assert!(!some.is_full() && some.cluster_scope == ClusterScope::Related);
        for (name, selected) in [
            ("team-a", true),
            ("team-a-test", false),
            ("kube-system", true),
            ("kube-public", false),
            ("x", false),
        ] {
            assert_eq!(some.selects_namespace(name), selected, "{name}");
        }
        assert!(parse(|spec| spec.namespaces = vec!["*".into()]).unwrap().is_full());
    }

    #[test]
    fn slips_are_named() {
        assert!(parse(|spec| spec.preset = Some("x".into())).unwrap_err().to_string().contains("\"x\""));
        assert!(matches!(parse(|spec| spec.kinds = vec!["a b".into()]), Err(RuleError::Kind { .. })));
        assert!(matches!(parse(|spec| spec.namespaces = vec!["A".into()]), Err(RuleError::Namespace { .. })));
        assert!(matches!(parse(|spec| spec.selector = Some("a in".into())), Err(RuleError::Selector(_))));
        let kinds = parse(|spec| spec.exclude_kinds = vec!["pods".into(), "ships".into()]).unwrap();
        let pods = Resource { plural: "pods".into(), ..Resource::default() };
        assert!(!kinds.selects_kind(&pods));
        assert_eq!(kinds.unknown_kinds(&[pods]), ["ships"]);
        assert!(serde_json::from_str::<SelectionSpec>(r#"{"namespace":["a"]}"#).is_err());
    }
}
