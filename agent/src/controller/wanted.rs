//! What a Backup asks for, and whether it can be done: what its schema could not know. Owns the words of a refusal.

use crate::backup::Wanted;
use crate::cluster::own::Own;
use crate::kinds::{Backup, TemplateScope, seconds};
use crate::select::labels::LabelSelector;
use crate::select::{ClusterScope, Selection, SelectionSpec};

/// Namespaces that are looked for; a Backup that names more finds out in its report.
const LOOKS: usize = 50;

/// Why a Backup cannot be made as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// A stable CamelCase word.
    pub reason: String,
    pub why: String,
}

/// The request of a Backup's spec.
#[must_use]
pub fn of(backup: &Backup, agent_namespace: &str) -> Wanted {
    let spec = &backup.spec;
    let hours = spec.ttl.as_deref().and_then(|t| seconds(t).ok()).map(|s| s.div_ceil(3600).max(1));
    Wanted {
        namespaces: spec.included_namespaces.clone(),
        exclude_namespaces: spec.excluded_namespaces.clone(),
        selector: spec.selector.clone().or_else(|| spec.label_selector.as_ref().map(|s| s.to_text())),
        kinds: spec.included_kinds.clone(),
        exclude_kinds: spec.excluded_kinds.clone(),
        cluster_scope: spec.cluster_scope.map(|scope| match scope {
            TemplateScope::Off => ClusterScope::Off,
            TemplateScope::Related => ClusterScope::Related,
            TemplateScope::All => ClusterScope::All,
        }),
        include_opted_out: spec.include_opted_out,
        preset: spec.preset.clone(),
        primary_ttl_hours: hours.map(|h| u32::try_from(h).unwrap_or(u32::MAX)),
        agent_namespaces: agent_namespaces(agent_namespace),
    }
}

fn agent_namespaces(namespace: &str) -> Vec<String> {
    if namespace == "lifeboat" {
        return Vec::new();
    }
    let nodes = crate::install::nodes::namespace(namespace);
    [namespace, &nodes, "lifeboat", "lifeboat-nodes", "lifeboat-restore-*"].map(str::to_owned).to_vec()
}

/// Whether it can be done, as far as can be known before it begins.
///
/// # Errors
/// Why not.
pub async fn check(own: &Own, backup: &Backup) -> Result<(), Invalid> {
    words(backup)?;
    let literal = |n: &&String| !n.contains(['*', '?']);
    for name in backup.spec.included_namespaces.iter().filter(literal).take(LOOKS) {
        match own.namespace_exists(name).await {
            Ok(true) => {}
            Ok(false) => {
                let why = format!(
                    "there is no namespace {name:?} in this cluster; a pattern ({name}*) may match nothing, a name may not"
                );
                return Err(Invalid { reason: "InvalidNamespace".to_owned(), why });
            }
            // The run itself will say so.
            Err(error) => {
                tracing::warn!(%error, namespace = name, "whether a namespace exists could not be asked")
            }
        }
    }
    Ok(())
}

fn words(backup: &Backup) -> Result<(), Invalid> {
    let invalid = |reason: &str, why: String| Invalid { reason: reason.to_owned(), why };
    for text in [&backup.spec.ttl, &backup.spec.deadline].into_iter().flatten() {
        seconds(text).map_err(|e| invalid("InvalidDuration", e.to_string()))?;
    }
    for hooks in &backup.spec.hooks {
        let text = hooks.label_selector.as_ref().map(|s| s.to_text()).unwrap_or_default();
        LabelSelector::parse(&text).map_err(|e| invalid("InvalidHook", e.to_string()))?;
    }
    let wanted = of(backup, "lifeboat");
    let spec = SelectionSpec {
        namespaces: wanted.namespaces,
        exclude_namespaces: wanted.exclude_namespaces,
        preset: wanted.preset,
        selector: wanted.selector,
        kinds: wanted.kinds,
        exclude_kinds: wanted.exclude_kinds,
        cluster_scope: wanted.cluster_scope,
        ..SelectionSpec::default()
    };
    Selection::parse(&spec).map(drop).map_err(|e| invalid("InvalidSelection", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::BackupSpec;

    fn backup(change: impl FnOnce(&mut BackupSpec)) -> Backup {
        let mut spec = BackupSpec::default();
        change(&mut spec);
        Backup::new("b", spec)
    }

    #[test]
    fn a_spec_becomes_the_request_it_says() {
        let b = backup(|s| {
            s.included_namespaces = vec!["shop".to_owned()];
            s.ttl = Some("30d".to_owned());
            s.selector = Some("app=web".to_owned());
        });
        let wanted = of(&b, "lifeboat");
        assert_eq!((wanted.primary_ttl_hours, wanted.selector.as_deref()), (Some(720), Some("app=web")));
        assert_eq!(of(&b, "backup").agent_namespaces[..2], ["backup", "backup-nodes"]);
        assert!(words(&b).is_ok());
    }

    #[test]
    fn what_passed_an_older_schema_is_refused_in_words() {
        for (b, reason) in [
            (backup(|s| s.ttl = Some("soon".to_owned())), "InvalidDuration"),
            (backup(|s| s.selector = Some("a in".to_owned())), "InvalidSelection"),
            (backup(|s| s.included_namespaces = vec!["A".to_owned()]), "InvalidSelection"),
            (backup(|s| s.preset = Some("x".to_owned())), "InvalidSelection"),
        ] {
            assert_eq!(words(&b).unwrap_err().reason, reason);
        }
    }
}
