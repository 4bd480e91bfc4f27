//! What a pull is worth in the audit log: the difference that it made to the catalogue. Pure but for reading it.

use crate::alarm::Alarm;
use crate::catalog::{Catalogue, CharterRow, Result, SnapshotRow};
use crate::status::size;
use lifeboat_format::audit::Event;
use lifeboat_format::layout;

/// How a cluster stood before a pull.
#[derive(Debug)]
pub struct Before {
    alarms: Vec<Alarm>,
    charters: Vec<CharterRow>,
}

impl Before {
    pub fn new(catalogue: &Catalogue, cluster: &str) -> Result<Self> {
        Ok(Self { alarms: catalogue.alarms(cluster)?, charters: catalogue.charters(cluster)? })
    }

    /// What is new since then. Snapshots that an earlier pull took over and did not come to write down are among them.
    pub fn events(&self, catalogue: &Catalogue, cluster: &str) -> Result<(Vec<Event>, Vec<u64>)> {
        let alarms = catalogue.alarms(cluster)?;
        let charters = catalogue.charters(cluster)?;
        let accepted = catalogue.unaudited(cluster)?;
        let mut events = Vec::new();
        for c in charters.iter().filter(|c| !self.charters.contains(c)) {
            events.push(Event::new(
                "charter-accepted",
                format!("{}{}", layout::CHARTER, c.n),
                c.sha256.to_hex(),
            ));
        }
        events.extend(accepted.iter().map(snapshot));
        for a in alarms.iter().filter(|a| !contains(&self.alarms, a)) {
            let why = format!("{}: {}", a.kind.name(), a.why);
            events.push(Event::new("alarm-raised", a.what.clone(), why));
        }
        for a in self.alarms.iter().filter(|a| !contains(&alarms, a)) {
            events.push(Event::new("alarm-ended", a.what.clone(), a.kind.name()));
        }
        Ok((events, accepted.iter().map(|r| r.seq).collect()))
    }
}

fn contains(alarms: &[Alarm], one: &Alarm) -> bool {
    alarms.iter().any(|a| a.kind == one.kind && a.what == one.what)
}

fn snapshot(row: &SnapshotRow) -> Event {
    let why =
        format!("{} {}, {} packs, {}, {}", row.id, row.coverage, row.packs, size(row.bytes), row.sha256);
    Event::new("snapshot-accepted", layout::manifest(row.seq), why)
}
