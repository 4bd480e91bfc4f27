//! Events about Lifeboat's own objects. They help people and decide nothing: sent aside, dropped where they cannot be
//! stored, and never the cause of a failure.

use super::own::{JSON, Own};
use super::text::clean;
use crate::kinds::{GROUP, VERSION};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Waiting Events; what does not fit is dropped.
const QUEUE: usize = 64;
/// The same Event about the same object is told once in this time.
const QUIET: Duration = Duration::from_secs(600);
/// The API's bound on an Event's note is 1 KiB.
const MAX_NOTE: usize = 1000;
const MAX_ANSWER: usize = 1 << 20;

/// What an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// `Backup` or `BackupSchedule`.
    pub kind: &'static str,
    pub name: String,
    pub uid: String,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    Normal,
    Warning,
}

struct Told {
    about: About,
    tone: Tone,
    reason: &'static str,
    note: String,
}

/// Sends Events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Told>,
    recent: Arc<Mutex<HashMap<String, Instant>>>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} {}", self.reason, self.about.kind, self.about.name)
    }
}

impl Recorder {
    /// Sends on a task of its own until the last clone is gone. `me` names this controller.
    #[must_use]
    pub fn start(own: Own, me: &str) -> Self {
        let (queue, mut told) = mpsc::channel::<Told>(QUEUE);
        let me = me.to_owned();
        tokio::spawn(async move {
            while let Some(told) = told.recv().await {
                send(&own, &me, &told).await;
            }
        });
        Self { queue, recent: Arc::default() }
    }

    /// Tells one, unless it was told just now.
    pub fn tell(&self, about: &About, tone: Tone, reason: &'static str, note: &str) {
        let key = format!("{} {reason} {note}", about.uid);
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.retain(|_, at| at.elapsed() < QUIET);
            if recent.len() < 1000 && recent.insert(key, Instant::now()).is_some() {
                return;
            }
        }
        let told = Told { about: about.clone(), tone, reason, note: clean(note, MAX_NOTE) };
        if self.queue.try_send(told).is_err() {
            tracing::debug!(reason, "an Event was dropped: too many wait");
        }
    }
}

async fn send(own: &Own, me: &str, told: &Told) {
    let namespace = own.namespace();
    let now = own.cluster().now();
    let id: u64 = rand::random();
    let document = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": format!("{}.{id:016x}", clip(&told.about.name)), "namespace": namespace },
        "eventTime": format!("{now:.6}"),
        "reportingController": "lifeboat.dev/agent",
        "reportingInstance": me.chars().take(128).collect::<String>(),
        "action": told.reason,
        "reason": told.reason,
        "type": match told.tone { Tone::Normal => "Normal", Tone::Warning => "Warning" },
        "note": told.note,
        "regarding": {
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": told.about.kind,
            "namespace": namespace, "name": told.about.name, "uid": told.about.uid,
        },
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let sent = own.cluster().call(http::Method::POST, &path, JSON, Some(document), MAX_ANSWER).await;
    if let Err(error) = sent {
        tracing::debug!(%error, reason = told.reason, "an Event could not be stored");
    }
}

/// Room for the suffix in a name of 253 characters.
fn clip(name: &str) -> &str {
    name.get(..230).unwrap_or(name)
}
