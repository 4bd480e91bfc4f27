//! Secrets and ServiceAccounts: tokens of the old cluster go, because it signed them. Pure.

use super::super::json::Node;
use super::super::source::ObjectKey;
use super::Verdict;

pub(super) fn secret(key: &ObjectKey, doc: &mut Node<'_>) -> Verdict {
    if doc.text(&["type"]).as_deref() != Some("kubernetes.io/service-account-token") {
        return Verdict::Keep;
    }
    let account =
        doc.text(&["metadata", "annotations", "kubernetes.io/service-account.name"]).unwrap_or_default();
    if is_generated(&key.name, &account) {
        return Verdict::Skip("a token that older clusters made by themselves");
    }
    doc.remove_at(&["metadata", "annotations", "kubernetes.io/service-account.uid"]);
    doc.remove_at(&["data", "token"]);
    doc.remove_at(&["data", "ca.crt"]);
    Verdict::Keep
}

/// Whether the name is `<account>-token-` and five random letters.
fn is_generated(name: &str, account: &str) -> bool {
    !account.is_empty()
        && name
            .strip_prefix(account)
            .and_then(|rest| rest.strip_prefix("-token-"))
            .is_some_and(|rest| rest.len() == 5 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

pub(super) fn account(key: &ObjectKey, doc: &mut Node<'_>) -> Verdict {
    let token = format!("{}-token-", key.name);
    let docker = format!("{}-dockercfg-", key.name);
    for list in ["secrets", "imagePullSecrets"] {
        let Some(refs) = doc.get(list).and_then(Node::items) else { continue };
        let before = refs.len();
        refs.retain_mut(|r| {
            r.text(&["name"]).is_none_or(|name| !name.starts_with(&token) && !name.starts_with(&docker))
        });
        if refs.is_empty() && before > 0 {
            doc.remove(list);
        }
    }
    Verdict::Keep
}
