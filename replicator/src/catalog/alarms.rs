//! Open alarms in the catalogue.

use super::{Catalogue, Result, time};
use crate::alarm::{Alarm, AlarmKind, Finding, Stage};
use jiff::Timestamp;
use rusqlite::params;

impl Catalogue {
    /// Opens an alarm, or brings its words up to date; true when it is new. One that a person resolved stays away
    /// for as long as it would say the same.
    pub fn raise(&self, cluster: &str, finding: &Finding, now: Timestamp) -> Result<bool> {
        let Finding { kind, stage, what, why, next } = finding;
        self.run("write", |c| {
            let resolved = c
                .prepare(
                    "SELECT 1 FROM resolved WHERE cluster = ?1 AND kind = ?2 AND what = ?3 AND why = ?4",
                )?
                .exists(params![cluster, kind.name(), what, why])?;
            if resolved {
                return Ok(false);
            }
            let known = c
                .prepare("SELECT 1 FROM alarms WHERE cluster = ?1 AND kind = ?2 AND what = ?3")?
                .exists(params![cluster, kind.name(), what])?;
            let sql = "INSERT INTO alarms VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                       ON CONFLICT DO UPDATE SET stage = ?4, why = ?5, next = ?6";
            c.execute(sql, params![cluster, kind.name(), what, stage.name(), why, next, now.to_string()])?;
            Ok(!known)
        })
    }

    /// Ends the alarms of `stage` whose cause was not seen again; gives back what ended.
    pub fn settle_alarms(&self, cluster: &str, stage: Stage, seen: &[Finding]) -> Result<Vec<Alarm>> {
        let mut ended = Vec::new();
        for alarm in self.select_alarms(cluster, Some(stage))? {
            let again = seen.iter().any(|f| f.kind == alarm.kind && f.what == alarm.what);
            if !again && !alarm.kind.is_sticky() {
                self.end_alarm(cluster, alarm.kind, &alarm.what)?;
                ended.push(alarm);
            }
        }
        Ok(ended)
    }

    pub fn end_alarm(&self, cluster: &str, kind: AlarmKind, what: &str) -> Result<()> {
        let sql = "DELETE FROM alarms WHERE cluster = ?1 AND kind = ?2 AND what = ?3";
        self.run("write", |c| c.execute(sql, params![cluster, kind.name(), what]).map(drop))
    }

    /// A person has looked: the alarm ends, and its cause raises it again only when it says something else.
    pub fn resolve(&self, cluster: &str, alarm: &Alarm, note: &str, now: Timestamp) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            let (kind, what) = (alarm.kind.name(), &alarm.what);
            let sql = "INSERT OR REPLACE INTO resolved VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            transaction.execute(sql, params![cluster, kind, what, alarm.why, now.to_string(), note])?;
            let sql = "DELETE FROM alarms WHERE cluster = ?1 AND kind = ?2 AND what = ?3";
            transaction.execute(sql, params![cluster, kind, what])?;
            transaction.commit()
        })
    }

    /// Open alarms, oldest first.
    pub fn alarms(&self, cluster: &str) -> Result<Vec<Alarm>> {
        self.select_alarms(cluster, None)
    }

    fn select_alarms(&self, cluster: &str, stage: Option<Stage>) -> Result<Vec<Alarm>> {
        self.run("read", |c| {
            let sql = "SELECT kind, since, what, why, next FROM alarms
                       WHERE cluster = ?1 AND (?2 IS NULL OR stage = ?2) ORDER BY since, kind, what";
            c.prepare(sql)?
                .query_map(params![cluster, stage.map(Stage::name)], |row| {
                    Ok(Alarm {
                        kind: AlarmKind::parse(&row.get::<_, String>(0)?).unwrap_or(AlarmKind::Junk),
                        since: time(row, 1)?,
                        what: row.get(2)?,
                        why: row.get(3)?,
                        next: row.get(4)?,
                    })
                })?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: AlarmKind, stage: Stage, what: &str) -> Finding {
        Finding::new(kind, stage, what, "why", "next")
    }

    #[test]
    fn conditions_end_with_their_cause_and_anomalies_stay() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let lost = finding(AlarmKind::Missing, Stage::Snapshots, "packs/aa/x");
        let stolen = finding(AlarmKind::TwoCharters, Stage::Charters, "charter/2");
        assert!(catalogue.raise("prod", &lost, now).unwrap());
        assert!(!catalogue.raise("prod", &lost, now).unwrap(), "it is open already");
        assert!(catalogue.raise("prod", &stolen, now).unwrap());
        assert!(catalogue.raise("test", &lost, now).unwrap());
        assert!(
            catalogue
                .settle_alarms("prod", Stage::Snapshots, std::slice::from_ref(&lost))
                .unwrap()
                .is_empty()
        );
        assert!(catalogue.settle_alarms("prod", Stage::Charters, &[]).unwrap().is_empty());
        assert_eq!(catalogue.settle_alarms("prod", Stage::Snapshots, &[]).unwrap().len(), 1);
        let open = catalogue.alarms("prod").unwrap();
        assert_eq!(open.iter().map(|a| a.kind).collect::<Vec<_>>(), [AlarmKind::TwoCharters]);
        assert_eq!(catalogue.alarms("test").unwrap().len(), 1);
    }

    #[test]
    fn what_a_person_resolved_comes_back_only_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let junk = finding(AlarmKind::Junk, Stage::Manifests, "manifests/x");
        catalogue.raise("prod", &junk, now).unwrap();
        let open = catalogue.alarms("prod").unwrap().remove(0);
        catalogue.resolve("prod", &open, "a colleague's test", now).unwrap();
        assert!(!catalogue.raise("prod", &junk, now).unwrap());
        assert!(catalogue.alarms("prod").unwrap().is_empty());
        let other = Finding { why: "other bytes".to_owned(), ..junk };
        assert!(catalogue.raise("prod", &other, now).unwrap());
    }
}
