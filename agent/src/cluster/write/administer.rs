//! What an installation does to a cluster: it applies, creates and removes the objects that Lifeboat ships. A restore
//! must never come here (tidy holds that); must not know which objects they are.

use super::answer::Refusal;
use super::call::{self, WriteError};
use super::{Created, KindPath, Writer};
use bytes::Bytes;
use serde_json::Value;

const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Writes as one field manager, by server-side apply.
#[derive(Debug, Clone)]
pub struct Administrator(Writer);

/// Which object.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    pub path: &'a KindPath,
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

/// What became of an apply.
#[derive(Debug)]
pub enum Applied {
    Created,
    Changed,
    Unchanged,
    /// Somebody else set a field to another value; the server's words name who and what.
    Conflict(Refusal),
    Refused(Refusal),
}

impl Administrator {
    #[must_use]
    pub fn new(writer: Writer) -> Self {
        Self(writer)
    }

    /// For reading and waiting.
    #[must_use]
    pub fn reader(&self) -> &Writer {
        &self.0
    }

    /// One object as it is now.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub async fn get(&self, place: &Place<'_>) -> Result<Option<Value>, WriteError> {
        let Some(url) = place.path.object(place.namespace, place.name) else { return Ok(None) };
        let body = self.0.get(&url).await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Makes the object have these fields. With `force` also those that somebody else has set.
    ///
    /// # Errors
    /// If the server is away or no longer takes the credential.
    pub async fn apply(&self, place: &Place<'_>, body: &Value, force: bool) -> Result<Applied, WriteError> {
        let Some(url) = place.path.object(place.namespace, place.name) else {
            return Ok(Applied::Refused(Refusal::local("its name cannot stand in a URL")));
        };
        let before = self.0.find(place.path, place.namespace, place.name).await?;
        let url = format!("{url}?fieldManager={}&force={force}", self.0.manager);
        let body = Bytes::from(body.to_string());
        let answer = self.0.retry(http::Method::PATCH, &url, APPLY_PATCH, body).await?;
        if answer.is_success() {
            return Ok(match (before, answer.live()) {
                (None, _) => Applied::Created,
                (Some(before), Some(after)) if before.live == after => Applied::Unchanged,
                _ => Applied::Changed,
            });
        }
        let refusal = answer.refusal();
        Ok(if answer.code == 409 { Applied::Conflict(refusal) } else { Applied::Refused(refusal) })
    }

    /// Creates the object where nothing has its name.
    ///
    /// # Errors
    /// If the server is away or no longer takes the credential.
    pub async fn create(&self, place: &Place<'_>, body: &Value) -> Result<Created, WriteError> {
        self.0.create(place.path, place.namespace, place.name, Bytes::from(body.to_string())).await
    }

    /// Removes the object, and what it owns before it; `false` where there was none.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub async fn delete(&self, place: &Place<'_>) -> Result<bool, WriteError> {
        let Some(url) = place.path.object(place.namespace, place.name) else { return Ok(false) };
        let url = format!("{url}?propagationPolicy=Foreground");
        let answer = self.0.retry(http::Method::DELETE, &url, call::JSON, Bytes::new()).await?;
        match answer.code {
            _ if answer.is_success() => Ok(true),
            404 => Ok(false),
            // It is being removed already.
            409 if answer.refusal().message.contains("being terminated") => Ok(true),
            _ => Err(WriteError::Refused { target: url, refusal: answer.refusal() }),
        }
    }
}
