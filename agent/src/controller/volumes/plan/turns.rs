//! Turns: volumes that begin together, on one node, and the freeze of their Pod. Pure.

use super::{Action, Plan, Reason, State};
use crate::select::volumes::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub type TurnId = u64;

/// Volumes that begin together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub place: Place,
    /// All that began.
    pub members: Vec<usize>,
    /// Those that are not done.
    pub(super) open: BTreeSet<usize>,
    pub(super) freeze: Freeze,
    /// VolumeBackups to be removed once the Pod is thawed: until then they say that it is frozen.
    pub(super) removals: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freeze {
    /// No hooks.
    None,
    /// The pre hooks run, since then.
    Freezing(Duration),
    /// Until then, at most.
    Frozen(Duration),
    /// The post hooks run.
    Thawing,
    /// They have run.
    Thawed,
}

impl Turn {
    #[must_use]
    pub fn is_hooked(&self) -> bool {
        self.place.hooks.is_some()
    }

    /// Whether some of it is still being read.
    #[must_use]
    pub fn is_read_on(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether its Pod stood still up to now.
    pub(super) fn is_still(&self) -> bool {
        matches!(self.freeze, Freeze::Frozen(_))
    }
}

impl Plan {
    #[must_use]
    pub fn turn(&self, id: TurnId) -> Option<&Turn> {
        self.turns.get(&id)
    }

    /// The VolumeBackups of a turn are made, its Pod is frozen and the node has the keys. Or not.
    pub fn begun(&mut self, now: Duration, id: TurnId, done: Result<(), NotBegun>) {
        let Some(turn) = self.turns.get(&id) else { return };
        let (members, node) = (turn.members.clone(), turn.place.node.clone());
        let starting: Vec<usize> = members
            .into_iter()
            .filter(|at| matches!(self.volumes[*at].state, State::Starting { turn } if turn == id))
            .collect();
        for at in starting {
            match &done {
                Ok(()) => {
                    self.volumes[at].tries += 1;
                    self.volumes[at].state = State::Running {
                        turn: id,
                        node: node.clone(),
                        mark: String::new(),
                        since: now,
                        unseen: None,
                        waits: true,
                    };
                }
                Err(NotBegun { why: None, .. }) => {
                    self.remove(at);
                    self.leave_turn(at);
                    self.volumes[at].state = State::Waiting { not_before: now + self.limits.pause };
                }
                Err(NotBegun { why: Some(why), .. }) => self.missed(at, why.clone()),
            }
        }
        self.froze(now, id, &done);
        self.forget(id);
    }

    fn froze(&mut self, now: Duration, id: TurnId, done: &Result<(), NotBegun>) {
        let Some(turn) = self.turns.get_mut(&id) else { return };
        let Freeze::Freezing(since) = turn.freeze else { return };
        turn.freeze = match done {
            Ok(()) => Freeze::Frozen(since + self.limits.freeze),
            // A pre hook that failed may have frozen it all the same.
            Err(NotBegun { froze: true, .. }) => Freeze::Frozen(now),
            Err(NotBegun { froze: false, .. }) => {
                self.out.extend(turn.removals.drain(..).map(Action::Remove));
                Freeze::Thawed
            }
        };
    }

    /// The post hooks of a turn have run. If they could not be (`ran` is false), its VolumeBackups stay for whoever
    /// cleans up after the run: they say that it may be frozen.
    pub fn thawed(&mut self, id: TurnId, ran: bool) {
        if let Some(turn) = self.turns.get_mut(&id) {
            turn.freeze = Freeze::Thawed;
            let removals = turn.removals.drain(..).map(Action::Remove);
            if ran {
                self.out.extend(removals);
            }
        }
        self.forget(id);
    }

    /// Takes the newest VolumeBackup of a volume away: at once, or once its Pod is thawed.
    pub(super) fn remove(&mut self, at: usize) {
        let name = self.name(at);
        let (State::Starting { turn } | State::Running { turn, .. }) = self.volumes[at].state else { return };
        match self.turns.get_mut(&turn).filter(|t| !matches!(t.freeze, Freeze::None | Freeze::Thawed)) {
            Some(frozen) => frozen.removals.push(name),
            None => self.out.push_back(Action::Remove(name)),
        }
    }

    pub(super) fn leave_turn(&mut self, at: usize) {
        let (State::Starting { turn } | State::Running { turn, .. }) = self.volumes[at].state else { return };
        if let Some(found) = self.turns.get_mut(&turn) {
            found.open.remove(&at);
        }
        self.forget(turn);
    }

    /// Takes away a turn that is over.
    fn forget(&mut self, id: TurnId) {
        let over = |t: &Turn| t.open.is_empty() && matches!(t.freeze, Freeze::None | Freeze::Thawed);
        if self.turns.get(&id).is_some_and(over) {
            self.turns.remove(&id);
        }
    }

    /// Thaws Pods whose volumes are all read, or that have been frozen for long enough.
    pub(super) fn thaw(&mut self, now: Duration) {
        for (id, turn) in &mut self.turns {
            let Freeze::Frozen(until) = turn.freeze else { continue };
            if turn.open.is_empty() || now >= until {
                turn.freeze = Freeze::Thawing;
                self.out.push_back(Action::Thaw(*id));
            }
        }
    }

    /// Lets volumes begin for which there is room. Who waits for room on a node is not overtaken there.
    pub(super) fn admit(&mut self, now: Duration) {
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        let mut all = 0;
        for turn in self.turns.values() {
            *used.entry(turn.place.node.clone()).or_default() += turn.open.len();
            all += turn.open.len();
        }
        let mut closed: BTreeSet<String> = BTreeSet::new();
        for at in 0..self.volumes.len() {
            let Some((place, members)) = self.group(now, at) else { continue };
            let here = used.get(&place.node).copied().unwrap_or(0);
            let size = members.len();
            let fits = |now: usize, limit: usize| now == 0 || now + size <= limit;
            if closed.contains(&place.node) || !fits(here, self.limits.per_node) {
                closed.insert(place.node);
                continue;
            }
            if !fits(all, self.limits.in_all) {
                return;
            }
            *used.entry(place.node.clone()).or_default() += size;
            all += size;
            self.begin(now, place, members);
        }
    }

    /// What begins together with a volume that waits.
    fn group(&self, now: Duration, at: usize) -> Option<(Place, Vec<usize>)> {
        let place = self.waits(now, at)?;
        if place.hooks.is_none() {
            return Some((place.clone(), vec![at]));
        }
        // One freeze of a Pod at a time.
        if self.turns.values().any(|t| t.is_hooked() && t.place.pod_uid == place.pod_uid) {
            return None;
        }
        let same = |other: usize| {
            self.waits(now, other).is_some_and(|p| p.hooks.is_some() && p.pod_uid == place.pod_uid)
        };
        Some((place.clone(), (0..self.volumes.len()).filter(|other| same(*other)).collect()))
    }

    fn waits(&self, now: Duration, at: usize) -> Option<&Place> {
        let volume = self.volumes.get(at)?;
        match volume.state {
            State::Waiting { not_before } if not_before <= now => volume.places.first(),
            _ => None,
        }
    }

    fn begin(&mut self, now: Duration, place: Place, members: Vec<usize>) {
        let id = self.next_turn;
        self.next_turn += 1;
        for at in &members {
            self.volumes[*at].number += 1;
            self.volumes[*at].stood_still = false;
            self.volumes[*at].state = State::Starting { turn: id };
        }
        let freeze = if place.hooks.is_some() { Freeze::Freezing(now) } else { Freeze::None };
        let open = members.iter().copied().collect();
        self.turns.insert(id, Turn { place, open, members, freeze, removals: Vec::new() });
        self.out.push_back(Action::Begin(id));
    }
}

/// Why a turn did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBegun {
    /// None: what passes.
    pub why: Option<Reason>,
    /// A pre hook was run, or may have been.
    pub froze: bool,
}
