//! What is asked for, from the words of a command line or a Backup object. Pure.

use crate::select::{ClusterScope, RuleError, Selection, SelectionSpec};
use lifeboat_format::charter::Charter;
use lifeboat_format::id::{RunId, Sha256};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub selection: Selection,
    /// All of the charter's scope, rather than a part of it.
    pub full: bool,
    /// What is covered is covered whole: no selection by label or kind.
    pub whole_namespaces: bool,
    /// Hours that the primary keeps it, when shorter than the charter's.
    pub primary_ttl_hours: Option<u32>,
    /// The run that makes exactly one snapshot of it, whoever begins it how often; none is one of its own.
    pub run: Option<RunId>,
}

/// What is asked for, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Globs; none stands for all.
    pub namespaces: Vec<String>,
    pub exclude_namespaces: Vec<String>,
    pub selector: Option<String>,
    pub kinds: Vec<String>,
    pub exclude_kinds: Vec<String>,
    pub cluster_scope: Option<ClusterScope>,
    pub include_opted_out: bool,
    pub preset: Option<String>,
    pub primary_ttl_hours: Option<u32>,
    /// The agent's own namespaces; none stands for the usual ones.
    pub agent_namespaces: Vec<String>,
}

impl Wanted {
    fn is_everywhere(&self) -> bool {
        self.namespaces.iter().all(|n| n == "*")
    }

    /// What the charter leaves out of this: nothing, where namespaces are asked for by name.
    #[must_use]
    pub fn excluded_by<'c>(&self, charter: &'c Charter) -> &'c [String] {
        if self.is_everywhere() { &charter.policy.scope.exclude_namespaces } else { &[] }
    }

    /// The run that this asks for, under a charter.
    ///
    /// # Errors
    /// If a pattern or selector cannot be used; the error names it.
    pub fn request(&self, charter: &Charter) -> Result<Request, RuleError> {
        let whole_namespaces =
            self.selector.is_none() && self.kinds.is_empty() && self.exclude_kinds.is_empty();
        // Whatever leaves out more than the charter does is no full backup: `latest` must not take it for one.
        let narrowed =
            !self.exclude_namespaces.is_empty() || self.preset.is_some() || self.cluster_scope.is_some();
        let full = self.is_everywhere() && whole_namespaces && !narrowed;
        let mut exclude_namespaces = self.exclude_namespaces.clone();
        exclude_namespaces.extend(self.excluded_by(charter).iter().cloned());
        let spec = SelectionSpec {
            namespaces: self.namespaces.clone(),
            exclude_namespaces,
            preset: self.preset.clone(),
            selector: self.selector.clone(),
            kinds: self.kinds.clone(),
            exclude_kinds: self.exclude_kinds.clone(),
            cluster_scope: self.cluster_scope.or(full.then_some(ClusterScope::All)),
            include_opted_out: self.include_opted_out,
            agent_namespaces: self.agent_namespaces.clone(),
        };
        let selection = Selection::parse(&spec)?;
        Ok(Request {
            selection,
            full,
            whole_namespaces,
            primary_ttl_hours: self.primary_ttl_hours,
            run: None,
        })
    }
}

/// The run of an object, by its uid: the same for every controller that works on it, with nothing to remember.
#[must_use]
pub fn run_of(uid: &str) -> RunId {
    let digest = Sha256::of(format!("lifeboat/1 run of {uid}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    RunId(id)
}
