//! The working namespace, and the few calls that filling makes: makes what is not there, looks, waits until something is
//! so, removes what it made. All of it can be done twice.

use super::objects;
use super::{FillOptions, Stop};
use crate::cluster::write::{Created, KindPath, Live, Patched, WriteError, Writer};
use crate::restore::apply::{ExtraSink, Work};
use crate::restore::journal::Extra;
use bytes::Bytes;
use serde_json::Value;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often an object that changed meanwhile is looked at again.
const AGAIN: usize = 10;

/// The first pause between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// Pauses between looks, short at first.
pub(super) struct Pace {
    next: Duration,
    most: Duration,
}

impl Pace {
    pub(super) async fn rest(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 3 / 2).min(self.most);
    }
}

/// A kind that filling has to do with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Namespace,
    Policy,
    Claim,
    Pod,
    Volume,
}

impl Kind {
    fn path(self) -> KindPath {
        let (group, plural, namespaced) = match self {
            Self::Namespace => ("", "namespaces", false),
            Self::Policy => ("networking.k8s.io", "networkpolicies", true),
            Self::Claim => ("", "persistentvolumeclaims", true),
            Self::Pod => ("", "pods", true),
            Self::Volume => ("", "persistentvolumes", false),
        };
        KindPath { group: group.into(), version: "v1".into(), plural: plural.into(), namespaced }
    }
}

/// An object as it is now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) live: Live,
    pub(super) document: Value,
}

/// Where a restore fills its volumes.
pub(super) struct Site<'a> {
    pub(super) id: String,
    /// The working namespace.
    pub(super) namespace: String,
    pub(super) writer: &'a Writer,
    pub(super) extras: ExtraSink<'a>,
    pub(super) options: &'a FillOptions,
}

impl<'a> Site<'a> {
    pub(super) fn new(work: &Work<'a>, options: &'a FillOptions) -> Self {
        let namespace = objects::namespace_name(&work.id);
        Self { id: work.id.clone(), namespace, writer: work.writer, extras: work.extras, options }
    }

    pub(super) fn note(&self, what: impl Into<String>, name: &str, uid: &str) -> Result<(), Stop> {
        let extra = Extra { what: what.into(), name: name.to_owned(), uid: uid.to_owned() };
        (self.extras)(extra).map_err(Stop::of)
    }

    /// Makes the working namespace; where an earlier run of this restore is still removing it, after that.
    pub(super) async fn make(&self) -> Result<(), Stop> {
        self.note("intends the working Namespace", &self.namespace, "")?;
        let document = || objects::namespace(&self.id);
        let mut made = self.create(Kind::Namespace, None, &self.namespace, document()).await?;
        if self.is_ending().await? {
            let gone = || async { Ok((!self.is_ending().await?).then_some(())) };
            self.until(self.options.gone, gone).await?;
            made = self.create(Kind::Namespace, None, &self.namespace, document()).await?;
        }
        let live = made.map_err(|why| Stop(format!("the working namespace {}: {why}", self.namespace)))?;
        self.note("made the working Namespace", &self.namespace, &live.uid)?;
        self.writer.active(&self.namespace, self.options.gone).await.map_err(Stop::of)?;
        let deny = objects::deny_all(&self.id);
        let made = self.create(Kind::Policy, Some(&self.namespace), "deny-all", deny).await?;
        made.map(drop).map_err(|why| Stop(format!("the network policy of {}: {why}", self.namespace)))
    }

    async fn is_ending(&self) -> Result<bool, Stop> {
        let found = self.find(Kind::Namespace, &self.namespace).await?;
        Ok(found.is_some_and(|n| n.document["metadata"]["deletionTimestamp"].is_string()))
    }

    /// Begins to take the working namespace away, which takes the cluster some seconds, and does not wait.
    pub(super) async fn begin_to_leave(&self) -> Result<(), Stop> {
        let Some(found) = self.find(Kind::Namespace, &self.namespace).await? else { return Ok(()) };
        let path = Kind::Namespace.path();
        self.writer.remove(&path, None, &self.namespace, &found.live).await.map_err(Stop::of)
    }

    /// For looking at what becomes so by itself.
    pub(super) fn pace(&self) -> Pace {
        let most = self.writer.poll_interval();
        Pace { next: FIRST_LOOK.min(most), most }
    }

    /// Creates what is ours and not there yet; the inner error is the server's refusal, or that it is somebody else's.
    pub(super) async fn create(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        document: Value,
    ) -> Result<Result<Live, String>, Stop> {
        let body = Bytes::from(document.to_string());
        match self.writer.create(&kind.path(), namespace, name, body).await.map_err(Stop::of)? {
            Created::Made(live) => Ok(Ok(live)),
            Created::Exists(_) => Ok(Err("somebody else made one of that name".to_owned())),
            Created::Refused(refusal) => Ok(Err(refusal.to_string())),
        }
    }

    /// An object in the working namespace, or one without a namespace.
    pub(super) async fn find(&self, kind: Kind, name: &str) -> Result<Option<Seen>, Stop> {
        let path = kind.path();
        let namespace = path.namespaced.then_some(self.namespace.as_str());
        self.find_in(kind, namespace, name).await
    }

    pub(super) async fn find_in(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Seen>, Stop> {
        let found = self.writer.find(&kind.path(), namespace, name).await.map_err(Stop::of)?;
        Ok(found.map(|found| Seen {
            document: serde_json::from_slice(&found.body).unwrap_or_default(),
            live: found.live,
        }))
    }

    /// Removes what is ours in the working namespace, and waits until it is gone; false where it does not go.
    pub(super) async fn remove(&self, kind: Kind, name: &str) -> Result<bool, Stop> {
        let path = kind.path();
        let namespace = path.namespaced.then_some(self.namespace.as_str());
        let Some(found) = self.find(kind, name).await? else { return Ok(true) };
        self.writer.remove(&path, namespace, name, &found.live).await.map_err(Stop::of)?;
        let gone = || async {
            let now = self.find(kind, name).await?;
            Ok(now.is_none_or(|now| now.live.uid != found.live.uid).then_some(()))
        };
        Ok(self.until(self.options.gone, gone).await?.is_some())
    }

    /// Changes an object that has this uid, whatever version it has by now; the inner error says why it cannot be.
    pub(super) async fn change(
        &self,
        kind: Kind,
        name: &str,
        uid: &str,
        change: &Value,
    ) -> Result<Result<(), String>, Stop> {
        self.change_in(kind, None, name, uid, change).await
    }

    /// The same, for an object in a namespace.
    pub(super) async fn change_in(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        change: &Value,
    ) -> Result<Result<(), String>, Stop> {
        for _ in 0..AGAIN {
            let Some(seen) = self.find_in(kind, namespace, name).await?.filter(|seen| seen.live.uid == uid)
            else {
                return Ok(Err(format!("{name} is gone")));
            };
            let patched =
                self.writer.patch(&kind.path(), (namespace, name), &seen.live, "", change.clone()).await;
            match patched.map_err(Stop::of)? {
                Patched::Done(_) => return Ok(Ok(())),
                Patched::Moved => {}
                Patched::Refused(refusal) => return Ok(Err(refusal.to_string())),
            }
        }
        Ok(Err(format!("{name} keeps changing")))
    }

    /// Looks until there is something, for so long.
    pub(super) async fn until<T, F>(
        &self,
        within: Duration,
        mut look: impl FnMut() -> F,
    ) -> Result<Option<T>, Stop>
    where
        F: Future<Output = Result<Option<T>, Stop>>,
    {
        let (since, mut pace) = (Instant::now(), self.pace());
        loop {
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            if since.elapsed() >= within {
                return Ok(None);
            }
            pace.rest().await;
        }
    }

    /// The items of a list that a person's rights may not reach: nothing then.
    pub(super) async fn list(&self, url: &str) -> Result<Option<Vec<Value>>, Stop> {
        let body = match self.writer.get(url).await {
            Ok(body) => body,
            Err(WriteError::Refused { .. }) => return Ok(None),
            Err(e) => return Err(Stop::of(e)),
        };
        let document: Value = body.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        Ok(document["items"].as_array().cloned())
    }
}
