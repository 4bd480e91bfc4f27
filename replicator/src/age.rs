//! Whether backups are as young as the charter asks for: pure. Given what is known of the snapshots and the time, it
//! says which of the three alarms of age are due. Asks nobody.

use crate::alarm::{AlarmKind, Finding, Stage};
use crate::catalog::{SnapshotRow, State};
use crate::status::duration;
use jiff::Timestamp;

/// What is due, for a chain in ascending order. `since` is the first charter's date: before it nothing was promised.
#[must_use]
pub fn findings(
    cluster: &str,
    rows: &[SnapshotRow],
    rpo_hours: u32,
    since: Timestamp,
    now: Timestamp,
) -> Vec<Finding> {
    let rows: Vec<&SnapshotRow> = rows.iter().filter(|r| r.state != State::Rejected).collect();
    // A repository of directory trees alone has no other scope.
    let trees_only = !rows.iter().any(|r| r.coverage == "full" || r.coverage == "partial");
    let covers = |r: &&&SnapshotRow| r.coverage == "full" || (trees_only && r.coverage == "paths");
    let newest = |of: Vec<&&SnapshotRow>| of.iter().map(|r| made(r)).max().unwrap_or(since);
    let age = |time: Timestamp| now.duration_since(time).as_secs();
    let limit = i64::from(rpo_hours) * 3600;

    let any = newest(rows.iter().collect());
    let covering = newest(rows.iter().filter(covers).collect());
    let whole = newest(rows.iter().filter(covers).filter(|r| r.state == State::Held).collect());
    let mut due = Vec::new();
    let mut find =
        |kind, why: String, next: &str| due.push(Finding::new(kind, Stage::Age, cluster, why, next));
    if age(whole) > limit {
        let why = format!(
            "the newest whole snapshot of the charter's scope is {} old, the charter asks for one every {rpo_hours} h",
            duration(age(whole))
        );
        find(
            AlarmKind::RpoMissed,
            why,
            "see the other alarms for the cause; a disaster now would lose that much",
        );
    }
    if age(any) > limit {
        let why = format!("nothing new came from the cluster for {}", duration(age(any)));
        find(
            AlarmKind::AgentStopped,
            why,
            "look at the agent in the cluster: `kubectl -n lifeboat get backups`",
        );
    } else if age(covering) > limit {
        let why = format!(
            "snapshots come, and the last that covers the charter's scope is {} old",
            duration(age(covering))
        );
        let next = "look at the schedule in the cluster; a backup of a part is no full backup";
        find(AlarmKind::NotCovered, why, next);
    }
    due
}

/// When a snapshot was made. A claimed time may lie; it is never later than when it was first seen.
fn made(row: &SnapshotRow) -> Timestamp {
    row.claimed.min(row.first_seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::row;

    fn kinds(rows: &[SnapshotRow], hours: i64) -> Vec<AlarmKind> {
        let now = Timestamp::from_second(hours * 3600).unwrap();
        findings("prod", rows, 26, Timestamp::UNIX_EPOCH, now).into_iter().map(|f| f.kind).collect()
    }

    #[test]
    fn each_way_of_being_late_has_its_alarm() {
        use AlarmKind::{AgentStopped, NotCovered, RpoMissed};
        assert_eq!(kinds(&[], 26), []);
        assert_eq!(kinds(&[], 27), [RpoMissed, AgentStopped], "a cluster that never sent anything");
        let full = row(1, 10, "full", State::Held);
        assert_eq!(kinds(std::slice::from_ref(&full), 36), []);
        assert_eq!(kinds(std::slice::from_ref(&full), 37), [RpoMissed, AgentStopped]);
        let partial = row(2, 30, "partial", State::Held);
        assert_eq!(kinds(&[full.clone(), partial], 40), [RpoMissed, NotCovered]);
        let on_its_way = row(2, 34, "full", State::Pending);
        assert_eq!(kinds(&[full.clone(), on_its_way], 40), [RpoMissed], "only the vault lacks it");
        let mut rejected = row(2, 34, "full", State::Held);
        rejected.state = State::Rejected;
        assert_eq!(kinds(&[full, rejected], 40), [RpoMissed, AgentStopped]);
        assert_eq!(
            kinds(&[row(1, 10, "paths", State::Held)], 30),
            [],
            "trees of a host are all that is promised"
        );
    }

    #[test]
    fn a_claimed_time_in_the_future_makes_nothing_younger() {
        let mut liar = row(1, 10, "full", State::Held);
        liar.claimed = "2099-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(kinds(&[liar], 37), [AlarmKind::RpoMissed, AlarmKind::AgentStopped]);
    }
}
