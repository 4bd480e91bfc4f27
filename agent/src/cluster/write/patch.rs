//! The guarded merge patch: it names uid and resourceVersion, so it can only ever change the very
//! object and state that the caller has seen.

use super::answer::{Live, Refusal};
use super::call::{self, WriteError};
use super::{KindPath, Writer};
use bytes::Bytes;
use serde_json::{Value, json};

/// What became of a guarded patch.
#[derive(Debug)]
pub enum Patched {
    /// Done; the version it has now.
    Done(Live),
    /// The object changed meanwhile (or is another one by now): look again.
    Moved,
    /// Not taken.
    Refused(Refusal),
}

impl Writer {
    /// Merges `change` into the object that has this uid and version, and no other. `subresource`
    /// is empty or like `status`.
    pub async fn patch(
        &self,
        path: &KindPath,
        at: (Option<&str>, &str),
        live: &Live,
        subresource: &str,
        change: Value,
    ) -> Result<Patched, WriteError> {
        let Some(mut url) = path.object(at.0, at.1) else {
            return Ok(Patched::Refused(Refusal::local("its name cannot stand in a URL")));
        };
        if !subresource.is_empty() {
            url.push('/');
            url.push_str(subresource);
        }
        let url = format!("{url}?fieldManager={}", self.manager);
        let body = Bytes::from(guarded(change, live).to_string());
        let answer = self.retry(http::Method::PATCH, &url, call::MERGE_PATCH, body).await?;
        if answer.is_success() {
            return Ok(match answer.live() {
                Some(live) => Patched::Done(live),
                None => Patched::Refused(Refusal::local("the API server's answer has no uid")),
            });
        }
        Ok(match answer.code {
            409 => Patched::Moved,
            _ => Patched::Refused(answer.refusal()),
        })
    }
}

/// The change with the two preconditions in it.
fn guarded(mut change: Value, live: &Live) -> Value {
    if !change["metadata"].is_object() {
        change["metadata"] = json!({});
    }
    change["metadata"]["uid"] = json!(live.uid);
    change["metadata"]["resourceVersion"] = json!(live.resource_version);
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_names_uid_and_version() {
        let live = Live { uid: "u".into(), resource_version: "7".into() };
        for change in [json!({}), json!({"metadata": {"ownerReferences": []}}), json!({"status": 1})] {
            let body = guarded(change, &live);
            assert_eq!(body["metadata"]["uid"], "u");
            assert_eq!(body["metadata"]["resourceVersion"], "7");
        }
    }
}
