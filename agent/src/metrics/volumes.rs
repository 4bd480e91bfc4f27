//! How the volumes of the cluster stand, by the last full backup: how many are in which state, and how old the trees are
//! that backups hold of them. Knows no server and no cluster.

use super::{names, number, seconds, text::Text};
use crate::select::Report;
use crate::select::report::{Consistency, VOLUME};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Claims of which a time is remembered.
const MAX_CLAIMS: usize = 10_000;

const STATES: [&str; 6] = ["live", "hooked", "kept", "stale", "missed", "excluded"];

type Name = (String, String);

#[derive(Debug, Default)]
pub(super) struct Volumes {
    states: [u64; 6],
    /// When the last good tree of each claim was read.
    last_good: BTreeMap<Name, Timestamp>,
}

impl Volumes {
    /// What a full run says. What it missed has the tree that an earlier one had read, as far as this process knows.
    pub(super) fn take(&mut self, report: &Report) {
        let hooked = report.volumes.iter().filter(|v| v.consistency != Consistency::Live).count() as u64;
        let stale = report.kept.iter().filter(|k| k.overdue).count() as u64;
        let counts = report.kinds.get(VOLUME).copied().unwrap_or_default();
        let (read, kept) = (report.volumes.len() as u64, report.kept.len() as u64);
        self.states = [read - hooked, hooked, kept - stale, stale, counts.missed, counts.excluded];
        let missed = report.missed.iter().filter(|m| m.kind.eq_ignore_ascii_case(VOLUME));
        let missed: BTreeSet<(&str, &str)> =
            missed.map(|m| (m.namespace.as_str(), m.name.as_str())).collect();
        self.last_good.retain(|(namespace, claim), _| missed.contains(&(namespace.as_str(), claim.as_str())));
        let read = report.volumes.iter().map(|v| ((v.namespace.clone(), v.claim.clone()), v.read));
        let kept = report.kept.iter().map(|k| ((k.namespace.clone(), k.claim.clone()), k.since));
        let room = MAX_CLAIMS.saturating_sub(self.last_good.len());
        self.last_good.extend(read.chain(kept).take(room));
    }

    pub(super) fn render(&self, name_claims: bool, text: &mut Text) {
        let states = STATES.iter().zip(self.states).map(|(state, n)| ([(*state).to_owned()], number(n)));
        text.family(&names::VOLUMES, states);
        if let Some(oldest) = self.last_good.values().min() {
            text.one(&names::OLDEST_VOLUME, seconds(*oldest));
        }
        let each = self.last_good.iter().filter(|_| name_claims);
        text.family(
            &names::VOLUME_LAST_GOOD,
            each.map(|((n, c), at)| ([n.clone(), c.clone()], seconds(*at))),
        );
    }
}
