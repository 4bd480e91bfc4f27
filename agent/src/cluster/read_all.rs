//! Reads many lists at once and hands them out one after the other, in the order asked for, while at most
//! one page of each of a few lists waits in memory. Knows nothing of what the objects are for.

use super::connect::Cluster;
use super::error::ClusterError;
use super::list::{ListOptions, ListPage, ListSummary, Lister};
use super::resource::Resource;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What a reader hands out: pages, and after the pages of a resource how its list ended.
#[derive(Debug)]
pub enum ReadEvent {
    Page {
        resource: Arc<Resource>,
        page: ListPage,
    },
    /// The list is complete.
    Done {
        resource: Arc<Resource>,
        summary: ListSummary,
    },
    /// The list could not be completed: what it lacks is missed. Pages handed out before stay valid.
    Failed {
        resource: Arc<Resource>,
        summary: ListSummary,
        error: ClusterError,
    },
}

/// Lists under way, in order. Dropping it ends them.
#[derive(Debug)]
pub struct Reader {
    cluster: Cluster,
    options: ListOptions,
    ahead: usize,
    waiting: VecDeque<Arc<Resource>>,
    running: VecDeque<(Arc<Resource>, mpsc::Receiver<ReadEvent>)>,
    tasks: JoinSet<()>,
    /// The server fell silent: what is still to be listed asks whether it is back before it waits for it.
    silent: Arc<AtomicBool>,
}

/// Lists all of `resources`, up to `concurrency` of them at once, and hands them out in the order given.
#[must_use]
pub fn read_all(
    cluster: &Cluster,
    resources: impl IntoIterator<Item = Arc<Resource>>,
    options: ListOptions,
    concurrency: usize,
) -> Reader {
    Reader {
        cluster: cluster.clone(),
        options,
        ahead: concurrency.max(1),
        waiting: resources.into_iter().collect(),
        running: VecDeque::new(),
        tasks: JoinSet::new(),
        silent: Arc::default(),
    }
}

impl Reader {
    /// The next event, or `None` when every list has ended.
    pub async fn next(&mut self) -> Option<ReadEvent> {
        while self.running.len() < self.ahead {
            let Some(resource) = self.waiting.pop_front() else { break };
            self.start(resource);
        }
        let (resource, receiver) = self.running.front_mut()?;
        let event = match receiver.recv().await {
            Some(event) => event,
            // Only a task that died says nothing at its end; what it did not read is missed.
            None => died(&self.cluster, resource),
        };
        if !matches!(event, ReadEvent::Page { .. }) {
            self.running.pop_front();
        }
        while self.tasks.try_join_next().is_some() {}
        Some(event)
    }

    fn start(&mut self, resource: Arc<Resource>) {
        let (sender, receiver) = mpsc::channel(1);
        let lister = Lister::new(self.cluster.clone(), resource.clone(), self.options.clone());
        let task =
            Task { cluster: self.cluster.clone(), silent: self.silent.clone(), resource: resource.clone() };
        self.tasks.spawn(task.run(lister, sender));
        self.running.push_back((resource, receiver));
    }
}

/// One list, read ahead of the consumer.
struct Task {
    cluster: Cluster,
    silent: Arc<AtomicBool>,
    resource: Arc<Resource>,
}

impl Task {
    async fn run(self, mut lister: Lister, sender: mpsc::Sender<ReadEvent>) {
        loop {
            // A place for the page first: so a list that is ahead holds one page, not two.
            let Ok(place) = sender.reserve().await else { return };
            let result = self.next_page(&mut lister).await;
            let resource = self.resource.clone();
            match result {
                Ok(Some(page)) => place.send(ReadEvent::Page { resource, page }),
                Ok(None) => {
                    return place.send(ReadEvent::Done { resource, summary: lister.summary().clone() });
                }
                Err(error) => {
                    return place.send(ReadEvent::Failed {
                        resource,
                        summary: lister.summary().clone(),
                        error,
                    });
                }
            }
        }
    }

    async fn next_page(&self, lister: &mut Lister) -> Result<Option<ListPage>, ClusterError> {
        if self.silent.load(Ordering::Relaxed) {
            if !self.cluster.alive().await {
                return Err(self.cluster.silent(&self.resource.key()));
            }
            self.silent.store(false, Ordering::Relaxed);
        }
        let result = lister.next_page().await;
        let lost = matches!(result, Err(ClusterError::Unreachable { .. } | ClusterError::TimedOut { .. }));
        if lost && !self.cluster.alive().await {
            self.silent.store(true, Ordering::Relaxed);
        }
        result
    }
}

fn died(cluster: &Cluster, resource: &Arc<Resource>) -> ReadEvent {
    let lister = Lister::new(cluster.clone(), resource.clone(), ListOptions::default());
    ReadEvent::Failed {
        resource: resource.clone(),
        summary: lister.summary().clone(),
        error: cluster.malformed(&resource.key(), "reading it ended early"),
    }
}

#[cfg(test)]
#[path = "read_all_tests.rs"]
mod tests;
