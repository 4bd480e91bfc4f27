//! What another controller, or an earlier attempt of this one, left of a run. Pure.

use super::turns::{Freeze, Turn};
use super::{Plan, State, TRIES};
use crate::select::volumes::Place;
use std::time::Duration;

/// A VolumeBackup that is under way.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The volume's place among all.
    pub volume: usize,
    pub number: u32,
    /// Where it is read.
    pub place: Place,
    /// For how long its Pod has been frozen.
    pub frozen: Option<Duration>,
    /// It stood still for all of the time that it was read.
    pub hooked: bool,
    pub upload_log: Option<String>,
}

impl Plan {
    /// Goes on with a VolumeBackup. It has the time of silence from now on, whenever it was renewed last: clocks of
    /// different machines are not compared.
    pub fn adopt(&mut self, now: Duration, adopted: Adopted) {
        let Adopted { volume: at, number, place, frozen, hooked: stood_still, upload_log } = adopted;
        let Some(volume) = self.volumes.get_mut(at) else { return };
        if !matches!(volume.state, State::Waiting { .. }) {
            return;
        }
        let hooked = frozen.is_some();
        let joined = self
            .turns
            .iter()
            .find(|(_, t)| hooked && t.freeze != Freeze::None && t.place.pod_uid == place.pod_uid);
        let id = joined.map_or(self.next_turn, |(id, _)| *id);
        volume.number = number;
        volume.tries = number.min(TRIES);
        volume.upload_log = upload_log;
        volume.stood_still = stood_still;
        volume.state = State::Running {
            turn: id,
            node: place.node.clone(),
            mark: String::new(),
            since: now,
            unseen: None,
            waits: true,
        };
        let freeze =
            frozen.map_or(Freeze::None, |f| Freeze::Frozen(now + self.limits.freeze.saturating_sub(f)));
        let turn = self.turns.entry(id).or_insert_with(|| Turn {
            place,
            members: Vec::new(),
            open: std::collections::BTreeSet::new(),
            freeze,
            removals: Vec::new(),
        });
        turn.members.push(at);
        turn.open.insert(at);
        self.next_turn = self.next_turn.max(id + 1);
    }
}
