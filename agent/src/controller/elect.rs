//! A term of leadership: won, renewed, lost or given back. Knows nothing of what a leader does.

use crate::cluster::lease::{Elector, LeaseObject, LeaseRecord, Turn};
use lifeboat_common::clock::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// The time in which a process leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Term(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Until when this process may act, as it renewed last.
    until: Mutex<Instant>,
    over: watch::Sender<bool>,
}

impl Term {
    fn new(until: Instant) -> Self {
        Self(Arc::new(Inner { until: Mutex::new(until), over: watch::channel(false).0 }))
    }

    /// Whether it lasts. A process that was stopped and goes on sees here that it slept too long.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !*self.0.over.borrow() && Instant::now() < self.until()
    }

    fn until(&self) -> Instant {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, until: Instant) {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn end(&self) {
        self.0.over.send_replace(true);
    }

    /// Returns when it is over.
    pub async fn over(&self) {
        let mut changes = self.0.over.subscribe();
        let _ = changes.wait_for(|over| *over).await;
    }
}

/// A term with the task that renews it.
#[derive(Debug)]
pub struct Leading {
    pub term: Term,
    release: oneshot::Sender<()>,
    renewal: JoinHandle<()>,
}

impl Leading {
    /// Gives the lease back, so that the next one need not wait for it.
    pub async fn release(self) {
        self.term.end();
        let _ = self.release.send(());
        let _ = self.renewal.await;
    }
}

/// Who runs for it, and how.
#[derive(Debug)]
pub struct Candidate {
    pub lease: LeaseObject,
    pub me: String,
    pub duration: Duration,
    pub clock: Arc<dyn Clock>,
}

impl Candidate {
    fn pause(&self) -> Duration {
        self.duration / 5
    }

    /// A leader stops acting so long after its last renewal; the rest is for clocks that run unevenly.
    fn deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Waits until this process leads. `looked` is called after every look.
    pub async fn win(&self, looked: impl Fn()) -> Leading {
        let mut elector = Elector::new(&self.me, self.duration);
        let mut told = None;
        loop {
            match self.look(&mut elector).await {
                Ok(Looked::Won(record, sent)) => return self.lead(elector, *record, sent),
                Ok(Looked::Held(holder)) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(%holder, "another controller leads; waiting");
                        told = Some(holder);
                    }
                }
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for"),
            }
            looked();
            tokio::time::sleep(self.pause()).await;
        }
    }

    async fn look(&self, elector: &mut Elector) -> Result<Looked, crate::cluster::ClusterError> {
        let record = self.lease.get().await?;
        let spec = record.as_ref().map(|r| &r.spec);
        let sent = Instant::now();
        match elector.look(spec, sent, self.clock.now()) {
            Turn::Wait { holder } => Ok(Looked::Held(holder)),
            Turn::Write(ours) => Ok(match self.lease.put(record.as_ref(), &ours).await? {
                Some(record) => Looked::Won(Box::new(record), sent),
                None => Looked::Held("somebody who was faster".to_owned()),
            }),
        }
    }

    fn lead(&self, elector: Elector, record: LeaseRecord, sent: Instant) -> Leading {
        let term = Term::new(sent + self.deadline());
        let (release, released) = oneshot::channel();
        let renewer = Renewer {
            lease: self.lease.clone(),
            elector,
            record,
            term: term.clone(),
            me: self.me.clone(),
            pause: self.pause(),
            deadline: self.deadline(),
            clock: self.clock.clone(),
        };
        Leading { term, release, renewal: tokio::spawn(renewer.run(released)) }
    }
}

enum Looked {
    Won(Box<LeaseRecord>, Instant),
    Held(String),
}

struct Renewer {
    lease: LeaseObject,
    elector: Elector,
    record: LeaseRecord,
    term: Term,
    me: String,
    pause: Duration,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl Renewer {
    async fn run(mut self, mut released: oneshot::Receiver<()>) {
        loop {
            let until = tokio::time::Instant::from_std(self.term.until());
            tokio::select! {
                biased;
                _ = &mut released => return self.release().await,
                () = tokio::time::sleep_until(until) => {
                    tracing::warn!("the lease could not be renewed in time: this controller no longer leads");
                    return self.term.end();
                }
                kept = async { tokio::time::sleep(self.pause).await; renew(&mut self.elector, &self.lease, &mut self.record, &self.me, &*self.clock).await } => match kept {
                    Some(sent) => self.term.extend(sent + self.deadline),
                    None => {
                        tracing::warn!("another controller took the lease");
                        return self.term.end();
                    }
                },
            }
        }
    }

    async fn release(&self) {
        let free = self.elector.released(&self.record.spec, self.clock.now());
        match tokio::time::timeout(Duration::from_secs(3), self.lease.put(Some(&self.record), &free)).await {
            Ok(Ok(_)) => tracing::info!("gave the lease back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back; it runs out"),
            Err(_) => tracing::warn!("the lease could not be given back in time; it runs out"),
        }
    }
}

/// Renews until it works; the time at which the request that worked was sent. None where somebody else has the lease.
async fn renew(
    elector: &mut Elector,
    lease: &LeaseObject,
    record: &mut LeaseRecord,
    me: &str,
    clock: &dyn Clock,
) -> Option<Instant> {
    loop {
        let sent = Instant::now();
        let Turn::Write(ours) = elector.look(Some(&record.spec), sent, clock.now()) else { return None };
        match lease.put(Some(record), &ours).await {
            Ok(Some(new)) => {
                *record = new;
                return Some(sent);
            }
            Ok(None) => match lease.get().await {
                Ok(Some(now)) if now.spec.holder_identity.as_deref() == Some(me) => *record = now,
                Ok(_) => return None,
                Err(error) => tracing::warn!(%error, "the lease cannot be read"),
            },
            Err(error) => tracing::warn!(%error, "the lease cannot be renewed; trying again"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
