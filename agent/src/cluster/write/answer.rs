//! What an API server answered, read no further than a restore needs. Knows no retries.

use bytes::Bytes;
use serde::Deserialize;
use std::time::Duration;

/// The longest message of the server that is passed on.
const MAX_MESSAGE: usize = 2_000;

/// An object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub uid: String,
    pub resource_version: String,
}

/// Why the API server does not take something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 0 where it was never asked.
    pub code: u16,
    /// The machine's word, like `Invalid`.
    pub reason: String,
    /// The server's own message.
    pub message: String,
}

impl Refusal {
    /// A refusal of our own.
    #[must_use]
    pub fn local(message: &str) -> Self {
        Self { code: 0, reason: "NotSent".to_owned(), message: message.to_owned() }
    }

    /// Whether the collection itself is missing: the kind is not served.
    #[must_use]
    pub fn is_unserved(&self) -> bool {
        self.code == 404 && self.reason.is_empty()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            0 => f.write_str(&self.message),
            code => write!(f, "{} ({code} {})", self.message, self.reason),
        }
    }
}

/// One HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(default)]
    uid: String,
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "managedFields", borrow)]
    managed: Option<Vec<Manager<'a>>>,
}

#[derive(Deserialize)]
struct Manager<'a> {
    #[serde(default, borrow)]
    manager: std::borrow::Cow<'a, str>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Uid and version of the object in the answer.
    pub(super) fn live(&self) -> Option<Live> {
        let object: Object<'_> = serde_json::from_slice(&self.body).ok()?;
        live_of(object.metadata)
    }

    /// The refusal in the answer; the body may be a `Status` or any text.
    pub(super) fn refusal(&self) -> Refusal {
        let status = serde_json::from_slice::<Status>(&self.body).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(&self.body).trim().to_owned(),
            reason: String::new(),
        });
        let mut message = status.message;
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Refusal { code: self.code, reason: status.reason, message }
    }

    /// Whether the refusal may mean that the name is taken. A Service whose port is allocated is
    /// refused as invalid before its name is looked at.
    pub(super) fn may_exist(&self, plural: &str) -> bool {
        self.code == 409
            || (self.code == 422
                && plural == "services"
                && self.refusal().message.contains("already allocated"))
    }
}

fn live_of(meta: Meta<'_>) -> Option<Live> {
    (!meta.uid.is_empty() && meta.uid.len().max(meta.resource_version.len()) <= 256)
        .then_some(Live { uid: meta.uid, resource_version: meta.resource_version })
}

/// An object read from the cluster.
#[derive(Debug)]
pub struct Found {
    pub live: Live,
    /// The whole document.
    pub body: Bytes,
}

impl Found {
    pub(super) fn parse(body: Bytes) -> Option<Self> {
        let object: Object<'_> = serde_json::from_slice(&body).ok()?;
        let live = live_of(object.metadata)?;
        Some(Self { live, body })
    }

    /// Whether `manager` wrote it (and so, its name being unique to a restore, made it).
    #[must_use]
    pub fn made_by(&self, manager: &str) -> bool {
        serde_json::from_slice::<Object<'_>>(&self.body).is_ok_and(|object| {
            object.metadata.managed.is_some_and(|m| m.iter().any(|m| m.manager == manager))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, body: &str) -> Answer {
        Answer { code, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn bodies_of_any_kind_give_a_refusal() {
        let status = answer(422, r#"{"kind":"Status","message":"no","reason":"Invalid"}"#).refusal();
        assert_eq!(status.to_string(), "no (422 Invalid)");
        assert!(answer(404, "404 page not found").refusal().is_unserved());
        assert!(!answer(404, r#"{"message":"x","reason":"NotFound"}"#).refusal().is_unserved());
        assert!(answer(500, &"é".repeat(5_000)).refusal().message.len() < 2_010);
    }

    #[test]
    fn the_manager_tells_whose_object_it_is() {
        let body = r#"{"metadata":{"uid":"u","resourceVersion":"1","managedFields":[{"manager":"lifeboat-restore-x"}]}}"#;
        let found = Found::parse(Bytes::from(body)).unwrap();
        assert!(found.made_by("lifeboat-restore-x") && !found.made_by("lifeboat-restore-y"));
        assert!(Found::parse(Bytes::from_static(b"{\"metadata\":{}}")).is_none());
    }

    #[test]
    fn an_allocated_port_may_be_the_service_itself() {
        let taken = r#"{"message":"spec.ports[0].nodePort: Invalid value: provided port is already allocated","reason":"Invalid"}"#;
        assert!(answer(422, taken).may_exist("services"));
        assert!(!answer(422, taken).may_exist("pods"));
        assert!(answer(409, "{}").may_exist("pods"));
    }
}
