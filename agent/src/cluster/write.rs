//! Writing to a cluster, in the only two ways a restore may: create by POST, and a merge patch that
//! names the uid and resourceVersion it means. Owns retries; must not know what is restored or why.
//! (`administer` is for installing, and no part of a restore.)

pub mod administer;
mod answer;
mod call;
mod patch;
mod remove;

pub use answer::{Found, Live, Refusal};
pub use call::{Limits, WriteError};
pub use patch::Patched;

use super::resource::Resource;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Where objects of one kind live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindPath {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// The plural in the URL.
    pub plural: String,
    pub namespaced: bool,
}

impl KindPath {
    /// Of a kind that the cluster serves, at the version a document is written in if that is
    /// served, else at the one it is read at.
    #[must_use]
    pub fn of(resource: &Resource, version: &str) -> Self {
        let served = resource.served_versions.iter().any(|v| v == version);
        Self {
            group: resource.group.clone(),
            version: if served { version.to_owned() } else { resource.version.clone() },
            plural: resource.plural.clone(),
            namespaced: resource.namespaced,
        }
    }

    /// The URL of the collection, or `None` where a part cannot stand in a URL.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> Option<String> {
        let parts = [&self.version, &self.plural];
        let safe = parts.into_iter().all(|p| is_segment(p))
            && (self.group.is_empty() || is_segment(&self.group))
            && namespace.is_none_or(is_segment);
        if !safe || namespace.is_some() != self.namespaced {
            return None;
        }
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        Some(match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        })
    }

    /// The URL of one object.
    #[must_use]
    pub fn object(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '%']) {
            return None;
        }
        Some(format!("{}/{}", self.collection(namespace)?, encoded(name)))
    }
}

/// Whether a text can stand in a URL path as it is (names of groups, versions, plurals, namespaces).
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// Percent-encodes what a name may hold beyond the unreserved (RBAC names have colons and more).
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// What became of a POST.
#[derive(Debug)]
pub enum Created {
    /// Made by this call, or by an earlier try of it whose answer was lost.
    Made(Live),
    /// Somebody else's object has the name.
    Exists(Box<Found>),
    /// The API server does not take it.
    Refused(Refusal),
}

/// A client that writes under one field manager.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    manager: String,
    limits: Limits,
    patience: Arc<call::Patience>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl Writer {
    /// `manager` is what managedFields will name; it settles whether an object is ours.
    #[must_use]
    pub fn new(client: kube::Client, manager: impl Into<String>, limits: Limits) -> Self {
        Self { client, manager: manager.into(), limits, patience: Arc::default() }
    }

    /// Creates one object. A POST whose answer was lost is repeated, and the 409 of the repetition
    /// settled by the field manager.
    pub async fn create(
        &self,
        path: &KindPath,
        namespace: Option<&str>,
        name: &str,
        body: Bytes,
    ) -> Result<Created, WriteError> {
        let Some(url) = path.collection(namespace) else {
            return Ok(Created::Refused(Refusal::local("its kind or namespace cannot stand in a URL")));
        };
        let url = format!("{url}?fieldManager={}", self.manager);
        let answer = self.retry(http::Method::POST, &url, call::JSON, body).await?;
        if answer.is_success() {
            return Ok(match answer.live() {
                Some(live) => Created::Made(live),
                None => Created::Refused(Refusal::local("the API server's answer has no uid")),
            });
        }
        if !answer.may_exist(&path.plural) {
            return Ok(Created::Refused(answer.refusal()));
        }
        match self.find(path, namespace, name).await? {
            Some(found) if found.made_by(&self.manager) => Ok(Created::Made(found.live)),
            Some(found) => Ok(Created::Exists(Box::new(found))),
            None => Ok(Created::Refused(answer.refusal())),
        }
    }

    /// Asks the API server whether it would take the object; `Ok(None)` means it would.
    pub async fn try_create(
        &self,
        path: &KindPath,
        namespace: Option<&str>,
        body: Bytes,
    ) -> Result<Option<Refusal>, WriteError> {
        let Some(url) = path.collection(namespace) else {
            return Ok(Some(Refusal::local("its kind or namespace cannot stand in a URL")));
        };
        let url = format!("{url}?fieldManager={}&dryRun=All", self.manager);
        let answer = self.retry(http::Method::POST, &url, call::JSON, body).await?;
        Ok((!answer.is_success()).then(|| answer.refusal()))
    }

    /// One object as it is now; `None` where there is none (or its kind is not served).
    pub async fn find(
        &self,
        path: &KindPath,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Found>, WriteError> {
        let Some(url) = path.object(namespace, name) else { return Ok(None) };
        match self.get(&url).await? {
            Some(body) => Ok(Found::parse(body)),
            None => Ok(None),
        }
    }

    /// Any small document by its URL; `None` for 404. Other refusals are errors.
    pub async fn get(&self, url: &str) -> Result<Option<Bytes>, WriteError> {
        let answer = self.retry(http::Method::GET, url, call::JSON, Bytes::new()).await?;
        if answer.is_success() {
            return Ok(Some(answer.body));
        }
        let refusal = answer.refusal();
        match refusal.code {
            404 => Ok(None),
            _ => Err(WriteError::Refused { target: url.to_owned(), refusal }),
        }
    }

    /// How often things that become ready by themselves are looked at.
    #[must_use]
    pub fn poll_interval(&self) -> Duration {
        self.limits.poll
    }
}

#[cfg(test)]
mod tests;
