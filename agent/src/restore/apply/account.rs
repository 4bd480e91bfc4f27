//! The one exception: in a namespace that this restore made, the fresh `default` ServiceAccount gets
//! its image pull secrets back. Elsewhere the command to do so is said.

use super::super::error::RestoreError;
use super::Run;
use super::create::Prepared;
use crate::cluster::write::{Found, Patched};
use serde_json::{Value, json};

const FIELD: &str = "imagePullSecrets";

impl Run<'_> {
    /// Completes the account, or says how; what is settled leaves the differences.
    pub(super) async fn complete_account(
        &self,
        one: &Prepared,
        found: &Found,
        differences: &mut Vec<String>,
    ) -> Result<(), RestoreError> {
        let wanted = secrets(&one.body);
        if wanted.iter().all(|secret| secrets(&found.body).contains(secret)) {
            return Ok(());
        }
        let namespace = one.key.namespace.as_deref().unwrap_or_default();
        if !self.shared().made_namespaces.contains(namespace) {
            differences.push(format!("to complete it: {}", command(namespace, &wanted)));
            return Ok(());
        }
        let mut live = found.live.clone();
        let mut present = secrets(&found.body);
        for _ in 0..5 {
            let mut all = present.clone();
            all.extend(wanted.iter().filter(|secret| !present.contains(secret)).cloned());
            let at = (Some(namespace), one.key.name.as_str());
            match self.writer.patch(&one.path, at, &live, "", json!({ FIELD: all })).await? {
                Patched::Done(_) => {
                    differences.retain(|path| !path.starts_with(FIELD));
                    let note =
                        "completed with its image pull secrets: the namespace was made by this restore";
                    self.shared().report.notes.push(&one.key, note);
                    return Ok(());
                }
                Patched::Moved => match self.writer.find(&one.path, at.0, at.1).await? {
                    Some(found) => (live, present) = (found.live.clone(), secrets(&found.body)),
                    None => return Ok(()),
                },
                Patched::Refused(refusal) => {
                    differences.push(format!("could not be completed: {refusal}"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A person pastes it into a shell, and whoever could write the account chose what stands in it.
fn command(namespace: &str, wanted: &[Value]) -> String {
    let patch = json!({ FIELD: wanted }).to_string().replace('\'', "'\\''");
    format!("kubectl -n {namespace} patch serviceaccount default --type merge -p '{patch}'")
}

fn secrets(body: &[u8]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    document[FIELD].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_leave_its_quotes() {
        let plain = command("a", &[json!({"name": "registry"})]);
        assert!(plain.ends_with(r#"-p '{"imagePullSecrets":[{"name":"registry"}]}'"#), "{plain}");
        let hostile = command("a", &[json!({"name": "x'; reboot; '"})]);
        assert!(
            hostile.ends_with(r#"-p '{"imagePullSecrets":[{"name":"x'\''; reboot; '\''"}]}'"#),
            "{hostile}"
        );
    }
}
