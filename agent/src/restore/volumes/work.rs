//! One volume, from its working claim to being handed over.

use super::hand_over::FilledVolumes;
use super::objects;
use super::site::{Kind, Site};
use super::users::Placement;
use super::{FillEvent, Filler, Stop, VolumeData};
use crate::fill::{FillError, Grant, Serving, is_whole, serve};
use crate::restore::apply::{ClaimToFill, Filled};
use crate::tree::restore::Report;
use lifeboat_common::reader::ReadError;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Workers that may be lost one after another without a byte of progress.
const TRIES: u32 = 6;
/// Pods that may end before a worker was in one.
const ENDED: u32 = 3;
/// Failures that a message names.
const NAMED: usize = 3;
/// How often a worker's Pod is looked at while it works.
const BESIDE: Duration = Duration::from_secs(3);
/// How long an image may be out of reach.
const IMAGE: Duration = Duration::from_secs(45);
/// What a container waits for that hardly passes.
const STUCK: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// One claim's volume to fill.
pub(super) struct Job<'a> {
    pub(super) filler: &'a Filler<'a>,
    pub(super) site: &'a Site<'a>,
    pub(super) claim: &'a ClaimToFill,
    pub(super) data: &'a VolumeData,
    pub(super) placement: Placement,
}

/// Why one volume is not filled, or why nothing goes on.
enum Fail {
    Volume(String),
    All(Stop),
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Self::All(stop)
    }
}

impl Job<'_> {
    /// `namespace/name` in the target.
    pub(super) fn whose(&self) -> String {
        format!("{}/{}", self.claim.namespace, self.claim.key.name)
    }

    fn say(&self, event: FillEvent) {
        (self.filler.progress)(&self.whose(), event);
    }

    /// Fills and hands over; nothing where the claim exists, and is left alone.
    pub(super) async fn run(&self, filled: &FilledVolumes) -> Result<Option<Filled>, Stop> {
        let (namespace, name) = (self.claim.namespace.as_str(), self.claim.key.name.as_str());
        if self.site.find_in(Kind::Claim, Some(namespace), name).await?.is_some() {
            return Ok(None);
        }
        let outcome = |volume, losses| Some(Filled { claim: self.claim.key.clone(), volume, losses });
        match self.fill(filled).await {
            Ok((volume, losses)) => Ok(outcome(Ok(volume), losses)),
            Err(Fail::Volume(why)) => Ok(outcome(Err(why), Vec::new())),
            Err(Fail::All(stop)) => Err(stop),
        }
    }

    async fn fill(&self, filled: &FilledVolumes) -> Result<(String, Vec<String>), Fail> {
        let whose = self.whose();
        let work = objects::work_name(&self.claim.namespace, &self.claim.key.name);
        let (volume, losses) = match filled.get(&whose) {
            Some(volume) => (volume.clone(), Vec::new()),
            None => {
                let report = self.write(&work).await?;
                let volume = self.site.keep(&work, &whose).await?.map_err(Fail::Volume)?;
                (volume, losses(&report))
            }
        };
        let target = (self.claim.namespace.as_str(), self.claim.key.name.as_str());
        self.site.hand_over(&volume, &work, target).await?.map_err(Fail::Volume)?;
        Ok((volume.name, losses))
    }

    /// Has the volume written whole, by as many workers as it takes.
    async fn write(&self, work: &str) -> Result<Report, Fail> {
        if self.claim.document["spec"]["volumeMode"] == "Block" {
            return Err(Fail::Volume("it is a block device, and a tree of files is stored of it".to_owned()));
        }
        let grant = self.grant().await?;
        let claim = objects::claim(&self.site.id, work, &self.claim.document, &self.whose());
        let made = self.site.create(Kind::Claim, Some(&self.site.namespace), work, claim).await?;
        made.map_err(|why| Fail::Volume(format!("the cluster refuses a claim like it: {why}")))?;
        let (mut lost, mut reached) = (0, 0);
        loop {
            self.start(work).await?;
            let bytes = AtomicU64::new(0);
            let error = match self.connect(work, &grant, &bytes).await {
                Ok(report) if is_whole(&report) => return Ok(report),
                Ok(report) => return Err(Fail::Volume(failures(&report))),
                Err(e) => e,
            };
            if !error.is_passing() {
                return Err(Fail::Volume(error.to_string()));
            }
            let bytes = bytes.into_inner();
            lost = if bytes > reached { 0 } else { lost + 1 };
            reached = reached.max(bytes);
            if lost >= TRIES {
                return Err(Fail::Volume(format!("{error}; {TRIES} workers got no further")));
            }
            self.say(FillEvent::Again(error.to_string()));
            sleep(Duration::from_secs(1 << lost.min(5))).await;
        }
    }

    /// Damage concerns this volume; a store that is away, or a key that is not there, all.
    async fn grant(&self) -> Result<Grant, Fail> {
        let tree = &self.data.tree;
        let fail =
            |e: ReadError| if e.is_damage() { Fail::Volume(e.to_string()) } else { Fail::All(Stop::of(e)) };
        let needs = tree.needs(&self.data.path).await.map_err(fail)?;
        self.say(FillEvent::Begins(needs.bytes));
        let granted = tree.grant(&needs).await.map_err(fail)?;
        Ok(Grant { tree: granted, path: self.data.path.clone(), devices: true })
    }

    /// Makes sure that the worker's Pod runs.
    async fn start(&self, work: &str) -> Result<(), Fail> {
        let site = self.site;
        let since = Instant::now();
        let (mut stuck_since, mut ended) = (None, 0);
        let mut pace = site.pace();
        loop {
            let Some(pod) = site.find(Kind::Pod, work).await? else {
                let pod = objects::pod(&site.id, work, &site.options.image, &self.whose(), &self.placement);
                let made = site.create(Kind::Pod, Some(&site.namespace), work, pod).await?;
                made.map_err(|why| Fail::Volume(format!("the cluster refuses the worker: {why}")))?;
                continue;
            };
            let state = state(&pod.document);
            match &state {
                State::Running => return Ok(()),
                State::Over(why) => {
                    ended += 1;
                    if ended >= ENDED {
                        return Err(self.unstartable(why));
                    }
                    if !site.remove(Kind::Pod, work).await? {
                        return Err(Fail::Volume("a worker that ended does not go".to_owned()));
                    }
                    continue;
                }
                State::Stuck(why) => {
                    let since = *stuck_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= IMAGE {
                        return Err(self.unstartable(why));
                    }
                }
                State::Waiting(_) => stuck_since = None,
            }
            if since.elapsed() >= site.options.start {
                let (State::Waiting(why) | State::Stuck(why)) = state else { continue };
                let seconds = site.options.start.as_secs();
                return Err(Fail::Volume(format!("its worker does not start within {seconds} s: {why}")));
            }
            pace.rest().await;
        }
    }

    fn unstartable(&self, why: &str) -> Fail {
        let image = &self.site.options.image;
        Fail::Volume(format!(
            "its worker does not start ({why}); put the image {image} where the cluster finds it, or name another with --fill-image"
        ))
    }

    /// Returns when the worker's Pod ends, is taken away, or is another one: its streams may be silent for long before
    /// they say so.
    async fn pod_ends(&self, work: &str) -> String {
        let mut first = None;
        loop {
            sleep(BESIDE).await;
            // Who does not answer knows nothing of the Pod.
            let Ok(found) = self.site.find(Kind::Pod, work).await else { continue };
            let Some(pod) = found else { return "its Pod is gone".to_owned() };
            if *first.get_or_insert_with(|| pod.live.uid.clone()) != pod.live.uid {
                return "its Pod was replaced".to_owned();
            }
            if let State::Over(why) = state(&pod.document) {
                return format!("its Pod ended: {why}");
            }
        }
    }

    async fn connect(&self, work: &str, grant: &Grant, bytes: &AtomicU64) -> Result<Report, FillError> {
        let lost = |why: String| FillError::Lost(why);
        let attached = self.filler.cluster.attach(&self.site.namespace, work, &objects::command()).await;
        let mut attached = attached.map_err(|e| lost(e.to_string()))?;
        let (Some(output), Some(input)) = (attached.output(), attached.input()) else {
            return Err(lost("it has no streams".to_owned()));
        };
        let progress = |now: u64| {
            bytes.store(now, Ordering::Relaxed);
            self.say(FillEvent::Bytes(now));
        };
        let store = Arc::clone(&self.filler.store);
        let done = tokio::select! {
            done = serve(output, input, Serving { store, grant, progress: &progress }) => done,
            why = self.pod_ends(work) => Err(lost(why)),
        };
        let said = attached.end().await;
        match done {
            Err(FillError::Lost(why)) if !said.is_empty() => Err(lost(format!("{why}; it said: {said}"))),
            done => done,
        }
    }
}

/// What a Pod is at.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting(String),
    /// For something that hardly comes.
    Stuck(String),
    Running,
    /// It ended, or is ending.
    Over(String),
}

fn state(pod: &Value) -> State {
    let status = &pod["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    let text = |why: &str, more: &Value| {
        let more = crate::cluster::text::clean(more.as_str().unwrap_or_default(), 300);
        if more.is_empty() { why.to_owned() } else { format!("{why}: {more}") }
    };
    let container = &status["containerStatuses"][0]["state"];
    if matches!(phase, "Succeeded" | "Failed") || !pod["metadata"]["deletionTimestamp"].is_null() {
        let ended = &container["terminated"];
        let reason = ended["reason"].as_str().or(status["reason"].as_str()).unwrap_or("it ended");
        return State::Over(text(reason, &ended["message"]));
    }
    if !container["running"].is_null() {
        return State::Running;
    }
    let waiting = &container["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    if STUCK.contains(&reason) {
        return State::Stuck(text(reason, &waiting["message"]));
    }
    let unscheduled = status["conditions"].as_array().into_iter().flatten();
    let mut unscheduled = unscheduled.filter(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    match unscheduled.next() {
        Some(condition) => State::Waiting(text("it is not scheduled", &condition["message"])),
        None if reason.is_empty() => State::Waiting("no node has started it".to_owned()),
        None => State::Waiting(text(reason, &waiting["message"])),
    }
}

/// Why a volume is not whole.
fn failures(report: &Report) -> String {
    let total = report.failed.total + report.below_failed;
    let named: Vec<&str> = report.failed.first.iter().take(NAMED).map(String::as_str).collect();
    let more = total.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{total} of its entries cannot be restored: {}{more}", named.join("; "))
}

/// What is not as it was, though all content is there.
fn losses(report: &Report) -> Vec<String> {
    let mut out: Vec<String> = report
        .not_set
        .iter()
        .map(|(what, count)| format!("its volume takes no {what} ({count} entries)"))
        .collect();
    if report.left_alone.total > 0 {
        let first: Vec<&str> = report.left_alone.first.iter().take(NAMED).map(String::as_str).collect();
        out.push(format!(
            "{} entries were in its volume already, and are as they were: {}",
            report.left_alone.total,
            first.join(", ")
        ));
    }
    if report.links_as_copies > 0 {
        out.push(format!("{} names became files of their own", report.links_as_copies));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_pod_is_at() {
        let pod = |status: Value| json!({"metadata": {}, "status": status});
        assert_eq!(state(&pod(json!({"phase": "Failed"}))), State::Over("it ended".to_owned()));
        let running = json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]});
        assert_eq!(state(&pod(running.clone())), State::Running);
        let ending = json!({"metadata": {"deletionTimestamp": "x"}, "status": running});
        assert!(matches!(state(&ending), State::Over(_)));
        let image = json!({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]});
        assert_eq!(state(&pod(image)), State::Stuck("ErrImagePull: no".to_owned()));
        let full =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
        assert_eq!(state(&pod(full)), State::Waiting("it is not scheduled: 0/1 nodes".to_owned()));
    }
}
