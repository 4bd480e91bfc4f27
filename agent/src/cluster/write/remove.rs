//! The guarded removal: it names the uid, so that it can only ever take away the very object that the caller has seen,
//! and made.

use super::answer::Live;
use super::call::{self, WriteError};
use super::{KindPath, Writer};
use bytes::Bytes;
use serde_json::json;

impl Writer {
    /// Removes the object that has this uid, and what it owns; fine where it is gone, or another has its name.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub async fn remove(
        &self,
        path: &KindPath,
        namespace: Option<&str>,
        name: &str,
        live: &Live,
    ) -> Result<(), WriteError> {
        let Some(url) = path.object(namespace, name) else { return Ok(()) };
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": live.uid}});
        let answer =
            self.retry(http::Method::DELETE, &url, call::JSON, Bytes::from(body.to_string())).await?;
        match answer.code {
            _ if answer.is_success() => Ok(()),
            404 | 409 => Ok(()),
            _ => Err(WriteError::Refused { target: url, refusal: answer.refusal() }),
        }
    }
}
