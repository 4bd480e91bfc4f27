//! One Lease: who leads. Expiry is measured by this process's own monotonic clock, from when it saw the record change
//! last, so that no clock that is wrong or set makes two leaders (the way of client-go's leaderelection). `Elector` is
//! pure; `LeaseObject` calls.

use super::connect::Cluster;
use super::error::ClusterError;
use super::own::JSON;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MAX_ANSWER: usize = 1 << 20;

/// What a Lease says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub acquire_time: Option<String>,
    pub renew_time: Option<String>,
    pub lease_transitions: Option<i64>,
}

/// A Lease as it was read: its document is put back whole, so that nothing of anybody else's is lost.
#[derive(Debug, Clone)]
pub struct LeaseRecord {
    document: Value,
    pub spec: LeaseSpec,
}

impl LeaseRecord {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let spec = serde_json::from_value(document["spec"].clone()).unwrap_or_default();
        Some(Self { document, spec })
    }
}

/// One Lease of one namespace.
#[derive(Debug, Clone)]
pub struct LeaseObject {
    cluster: Cluster,
    namespace: String,
    name: String,
}

impl LeaseObject {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: &str, name: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// The Lease as it is; none where there is none.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn get(&self) -> Result<Option<LeaseRecord>, ClusterError> {
        let path = format!("{}/{}", self.collection(), self.name);
        match self.cluster.call(http::Method::GET, &path, "", None, MAX_ANSWER).await {
            Ok(bytes) => Ok(Some(self.parse(&bytes)?)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what it is to say over the record that was read, or makes it. None where somebody else was faster.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn put(
        &self,
        over: Option<&LeaseRecord>,
        spec: &LeaseSpec,
    ) -> Result<Option<LeaseRecord>, ClusterError> {
        let sent = match over {
            Some(record) => {
                let mut document = record.document.clone();
                document["spec"] = json!(spec);
                let path = format!("{}/{}", self.collection(), self.name);
                self.cluster.call(http::Method::PUT, &path, JSON, Some(document), MAX_ANSWER).await
            }
            None => {
                let document = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": self.name, "namespace": self.namespace }, "spec": spec,
                });
                self.cluster
                    .call(http::Method::POST, &self.collection(), JSON, Some(document), MAX_ANSWER)
                    .await
            }
        };
        match sent {
            Ok(bytes) => Ok(Some(self.parse(&bytes)?)),
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<LeaseRecord, ClusterError> {
        LeaseRecord::parse(bytes).ok_or_else(|| self.cluster.malformed(&self.name, "the answer is no Lease"))
    }
}

/// Decides from what it sees. Pure: times are handed in.
#[derive(Debug)]
pub struct Elector {
    me: String,
    duration: Duration,
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Somebody else leads.
    Wait { holder: String },
    /// Write this; once it is there, this process leads.
    Write(LeaseSpec),
}

impl Elector {
    #[must_use]
    pub fn new(me: &str, duration: Duration) -> Self {
        Self { me: me.to_owned(), duration, seen: None }
    }

    /// What to do, having just read `spec`.
    pub fn look(&mut self, spec: Option<&LeaseSpec>, now: Instant, wall: Timestamp) -> Turn {
        let Some(spec) = spec else { return Turn::Write(self.ours(&LeaseSpec::default(), wall)) };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != spec) {
            self.seen = Some((spec.clone(), now));
        }
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder.is_empty() || holder == self.me {
            return Turn::Write(self.ours(spec, wall));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let theirs = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
        // A lease of years must not shut everybody out for years, nor one of nothing let everybody in.
        let wait = theirs.unwrap_or(self.duration).clamp(Duration::from_secs(1), self.duration.max(LONGEST));
        if now.saturating_duration_since(since) >= wait {
            return Turn::Write(self.ours(spec, wall));
        }
        Turn::Wait { holder }
    }

    fn ours(&self, before: &LeaseSpec, wall: Timestamp) -> LeaseSpec {
        let now = format!("{wall:.6}");
        let again = before.holder_identity.as_deref() == Some(&self.me);
        let transitions = before.lease_transitions.unwrap_or(0).clamp(0, i64::from(i32::MAX) - 1);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(i64::try_from(self.duration.as_secs()).unwrap_or(15).max(1)),
            acquire_time: if again { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if again { transitions } else { transitions + 1 }),
        }
    }

    /// What to write to let the next one in at once.
    #[must_use]
    pub fn released(&self, held: &LeaseSpec, wall: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(format!("{wall:.6}")),
            ..held.clone()
        }
    }
}

/// The longest lease of somebody else that is waited for.
const LONGEST: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, renewed: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(renewed.to_owned()),
            lease_transitions: Some(i64::from(i32::MAX)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_was_not_renewed_for_its_time_by_our_clock() {
        let (start, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut elector = Elector::new("me", Duration::from_secs(15));
        let at = |s| start + Duration::from_secs(s);
        assert!(matches!(elector.look(None, start, wall), Turn::Write(_)));
        // Whatever its times say.
        let other = held_by("other", "1999-01-01T00:00:00.000000Z");
        assert_eq!(elector.look(Some(&other), at(0), wall), Turn::Wait { holder: "other".to_owned() });
        assert!(matches!(elector.look(Some(&other), at(14), wall), Turn::Wait { .. }));
        let renewed = held_by("other", "1998-01-01T00:00:00.000000Z");
        assert!(matches!(elector.look(Some(&renewed), at(15), wall), Turn::Wait { .. }));
        assert!(matches!(elector.look(Some(&renewed), at(29), wall), Turn::Wait { .. }));
        let Turn::Write(ours) = elector.look(Some(&renewed), at(30), wall) else { panic!() };
        assert_eq!(ours.holder_identity.as_deref(), Some("me"));
        assert!(ours.lease_transitions <= Some(i64::from(i32::MAX)));
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_ours_is_renewed() {
        let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut elector = Elector::new("me", Duration::from_secs(15));
        let Turn::Write(ours) = elector.look(None, now, wall) else { panic!() };
        let Turn::Write(again) = elector.look(Some(&ours), now, wall) else { panic!() };
        assert_eq!(
            (again.lease_transitions, &again.acquire_time),
            (ours.lease_transitions, &ours.acquire_time)
        );
        let mut other = Elector::new("other", Duration::from_secs(15));
        assert!(matches!(other.look(Some(&ours), now, wall), Turn::Wait { .. }));
        let released = elector.released(&ours, wall);
        assert!(matches!(other.look(Some(&released), now, wall), Turn::Write(_)));
    }

    #[test]
    fn odd_records_shut_nobody_out() {
        let (start, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut elector = Elector::new("me", Duration::from_secs(15));
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            let odd = LeaseSpec { lease_duration_seconds: Some(seconds), ..held_by("other", "x") };
            assert!(matches!(elector.look(Some(&odd), start, wall), Turn::Wait { .. }));
            assert!(matches!(elector.look(Some(&odd), start + LONGEST, wall), Turn::Write(_)));
        }
        assert!(LeaseRecord::parse(br#"{"spec":{"holderIdentity":7}}"#).is_some());
    }
}
