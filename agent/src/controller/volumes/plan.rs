//! Which volume is read when, on which node, and what becomes of those that fail: a state machine that is told what
//! happened and says what to do. Pure; the time comes in, as the time since the run asked.
//!
//! Volumes that are read through one Pod with hooks take their turn together: the Pod is frozen once, when there is
//! room for all of them, and thawed as soon as the last is read, or the freeze has lasted too long.

mod adopt;
mod turns;

use crate::select::volumes::{Place, Why};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use adopt::Adopted;
pub use turns::{NotBegun, Turn, TurnId};

/// What the planner keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Volumes at a time, on one node and in all.
    pub per_node: usize,
    pub in_all: usize,
    /// A volume without a sign of life for so long is given up there.
    pub silence: Duration,
    /// A Pod is frozen for no longer.
    pub freeze: Duration,
    /// What is not read by then is missed.
    pub deadline: Duration,
    /// Between a failure and the second try.
    pub pause: Duration,
}

/// Tries of one volume.
pub const TRIES: u32 = 2;
/// A VolumeBackup that is not seen may be one that the watch has not told of yet.
const UNSEEN: Duration = Duration::from_secs(30);

/// What is to be done. Everything but `Tell` and `Remove` is answered by a call of the same name in the past tense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the VolumeBackups; with hooks, freeze the Pod in between.
    Begin(TurnId),
    /// Run the post hooks.
    Thaw(TurnId),
    /// Find out where it is mounted now.
    Look(usize),
    /// Take this VolumeBackup away.
    Remove(String),
    /// What came of a volume: once for each.
    Tell(usize, End),
}

/// What came of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Read { name: String, result: String, hooked: bool },
    Missed { why: Reason, upload_log: Option<String> },
}

/// A CamelCase word, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub reason: String,
    pub message: String,
}

impl Reason {
    #[must_use]
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        Self { reason: why.reason.to_owned(), message: why.message }
    }
}

/// A VolumeBackup's status, as far as the plan cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub step: Step,
    /// Changes whenever the node gives a sign of life.
    pub mark: String,
    pub upload_log: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Waits,
    Runs,
    Completed {
        result: String,
    },
    Failed(Reason),
}

impl Default for Reason {
    fn default() -> Self {
        Self::new("Failed", "the node does not say why")
    }
}

#[derive(Debug)]
struct Volume {
    /// Names of its VolumeBackups begin so.
    prefix: String,
    places: Vec<Place>,
    /// The number of its last VolumeBackup.
    number: u32,
    /// Begun here.
    tries: u32,
    state: State,
    upload_log: Option<String>,
    /// Another controller saw its Pod frozen until it was read.
    stood_still: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting {
        not_before: Duration,
    },
    /// Its VolumeBackup is being made.
    Starting {
        turn: TurnId,
    },
    Running {
        turn: TurnId,
        node: String,
        mark: String,
        since: Duration,
        unseen: Option<Duration>,
        waits: bool,
    },
    Looking,
    Done,
}

/// The plan of one run.
#[derive(Debug)]
pub struct Plan {
    limits: Limits,
    volumes: Vec<Volume>,
    turns: BTreeMap<TurnId, Turn>,
    next_turn: TurnId,
    /// The last sign of life from each node.
    nodes: BTreeMap<String, Duration>,
    out: VecDeque<Action>,
    over: bool,
}

impl Plan {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            volumes: Vec::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            nodes: BTreeMap::new(),
            out: VecDeque::new(),
            over: false,
        }
    }

    /// A volume that waits; its number is its place among all. `number`: the highest one that was used before.
    pub fn add(&mut self, prefix: &str, places: Vec<Place>, number: u32) -> usize {
        self.volumes.push(Volume {
            prefix: prefix.to_owned(),
            places,
            number,
            tries: 0,
            state: State::Waiting { not_before: Duration::ZERO },
            upload_log: None,
            stood_still: false,
        });
        self.volumes.len() - 1
    }

    /// Whether every volume was told of, and no Pod is frozen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.out.is_empty() && self.turns.is_empty() && self.volumes.iter().all(|v| v.state == State::Done)
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Duration) -> Vec<Action> {
        if now >= self.limits.deadline {
            self.give_up(&Reason::new("DeadlineExceeded", "the backup's time was over before it was read"));
        } else {
            self.silent(now);
            self.admit(now);
        }
        self.thaw(now);
        self.out.drain(..).collect()
    }

    /// What the VolumeBackups say, by name.
    pub fn seen(&mut self, now: Duration, all: &BTreeMap<String, Seen>) {
        for at in 0..self.volumes.len() {
            let name = self.name(at);
            let State::Running { mark, since, unseen, waits, node, turn } = &mut self.volumes[at].state
            else {
                continue;
            };
            let Some(found) = all.get(&name) else {
                let first = *unseen.get_or_insert(now);
                if now.saturating_sub(first) >= UNSEEN {
                    self.failed(
                        now,
                        at,
                        Reason::new("Deleted", "its VolumeBackup was deleted while it was read"),
                    );
                }
                continue;
            };
            *unseen = None;
            if *mark != found.mark {
                mark.clone_from(&found.mark);
                *since = now;
                self.nodes.insert(node.clone(), now);
            }
            *waits = found.step == Step::Waits;
            let turn = *turn;
            if found.upload_log.is_some() {
                self.volumes[at].upload_log.clone_from(&found.upload_log);
            }
            match &found.step {
                Step::Waits | Step::Runs => {}
                Step::Completed { result } => {
                    let still = self.turns.get(&turn).is_some_and(Turn::is_still);
                    let hooked = still || self.volumes[at].stood_still;
                    let end = End::Read { name, result: result.clone(), hooked };
                    self.end(at, end);
                }
                Step::Failed(why) => self.failed(now, at, why.clone()),
            }
        }
    }

    /// The API server was away: nobody could give a sign of life.
    pub fn trouble(&mut self, now: Duration) {
        for volume in &mut self.volumes {
            if let State::Running { since, unseen, .. } = &mut volume.state {
                *since = now;
                *unseen = None;
            }
        }
    }

    /// Where a volume is mounted now.
    pub fn looked(&mut self, now: Duration, at: usize, found: Result<Vec<Place>, Reason>) {
        let Some(volume) = self.volumes.get_mut(at).filter(|v| v.state == State::Looking) else { return };
        match found {
            Ok(places) if !places.is_empty() => {
                // Elsewhere, if there is another place.
                let last = volume.places.first().map(|p| p.pod_uid.clone()).unwrap_or_default();
                volume.places = places;
                volume.places.sort_by_key(|p| p.pod_uid == last);
                volume.state = State::Waiting { not_before: now + self.limits.pause };
            }
            Ok(_) => self.missed(at, Reason::new("Unmounted", "nothing mounts it any more")),
            Err(why) => self.missed(at, why),
        }
    }

    /// The name of a volume's newest VolumeBackup.
    #[must_use]
    pub fn name(&self, at: usize) -> String {
        self.volumes.get(at).map(|v| format!("{}-{}", v.prefix, v.number)).unwrap_or_default()
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(&self, at: usize) -> u32 {
        self.volumes.get(at).map_or(0, |v| v.number)
    }

    /// What an earlier try said of where it was.
    #[must_use]
    pub fn upload_log(&self, at: usize) -> Option<&str> {
        self.volumes.get(at)?.upload_log.as_deref()
    }

    fn silent(&mut self, now: Duration) {
        for at in 0..self.volumes.len() {
            let State::Running { since, node, waits, .. } = &self.volumes[at].state else { continue };
            // One that waits on a node that reads others is not forgotten.
            let heard = self.nodes.get(node).filter(|_| *waits).map_or(*since, |n| (*n).max(*since));
            if now.saturating_sub(heard) >= self.limits.silence {
                let message = format!(
                    "node {node} gave no sign of life for {} s; look at its Pod in lifeboat-nodes",
                    self.limits.silence.as_secs()
                );
                self.failed(now, at, Reason::new("NodeSilent", message));
            }
        }
    }

    /// A try failed: a second one where it is mounted now, or none.
    fn failed(&mut self, now: Duration, at: usize, why: Reason) {
        if self.volumes[at].tries >= TRIES || now >= self.limits.deadline {
            return self.missed(at, why);
        }
        self.remove(at);
        self.leave_turn(at);
        self.volumes[at].state = State::Looking;
        self.out.push_back(Action::Look(at));
    }

    fn missed(&mut self, at: usize, why: Reason) {
        let volume = &self.volumes[at];
        if volume.state == State::Done {
            return;
        }
        if matches!(volume.state, State::Running { .. } | State::Starting { .. }) {
            self.remove(at);
        }
        let upload_log = self.volumes[at].upload_log.clone();
        self.end(at, End::Missed { why, upload_log });
    }

    fn end(&mut self, at: usize, end: End) {
        self.leave_turn(at);
        self.volumes[at].state = State::Done;
        self.out.push_back(Action::Tell(at, end));
    }

    fn give_up(&mut self, why: &Reason) {
        if !self.over {
            self.over = true;
            (0..self.volumes.len()).for_each(|at| self.missed(at, why.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
