//! A cluster of objects alone: carries out plans as the API server and the controller would, loses what a crash loses,
//! and counts.

use super::{Action, Memory, Plan, View, plan, uid};
use crate::kinds::{
    Backup, BackupSchedule, BackupScheduleSpec, BackupSpec, BackupStatus, Phase, SCHEDULE_LABEL, SCHEDULED_AT,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) struct World {
    /// The true time, which also the API server shows.
    pub(super) real: Timestamp,
    /// What the controller's clock is off by.
    pub(super) off: SignedDuration,
    pub(super) schedules: BTreeMap<String, BackupSchedule>,
    pub(super) backups: BTreeMap<String, Backup>,
    pub(super) memory: Memory,
    pub(super) running: Option<String>,
    /// Every Backup of a schedule that was ever made: for which time, and when in truth.
    pub(super) made: Vec<(String, Timestamp, Timestamp)>,
    pub(super) missed: u64,
    /// Every Backup that ever ended, by name.
    pub(super) ended: Vec<String>,
    uids: u64,
}

impl World {
    pub(super) fn new(now: &str) -> Self {
        Self {
            real: at(now),
            off: SignedDuration::ZERO,
            schedules: BTreeMap::new(),
            backups: BTreeMap::new(),
            memory: Memory::default(),
            running: None,
            made: Vec::new(),
            missed: 0,
            ended: Vec::new(),
            uids: 0,
        }
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    pub(super) fn schedule(&mut self, name: &str, cron: &str) {
        let spec = BackupScheduleSpec {
            schedule: cron.to_owned(),
            time_zone: "UTC".to_owned(),
            ..BackupScheduleSpec::default()
        };
        let mut schedule = BackupSchedule::new(name, spec);
        schedule.metadata.uid = Some(self.uid());
        schedule.metadata.creation_timestamp = Some(Time(self.real));
        self.schedules.insert(name.to_owned(), schedule);
    }

    pub(super) fn on_demand(&mut self, name: &str) {
        let mut backup = Backup::new(name, BackupSpec::default());
        backup.metadata.uid = Some(self.uid());
        backup.metadata.creation_timestamp = Some(Time(self.real));
        self.backups.insert(name.to_owned(), backup);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.real + self.off
    }

    pub(super) fn plan(&self) -> Plan {
        plan(View {
            now: self.now(),
            schedules: &self.schedules,
            backups: &self.backups,
            running: self.running.as_deref(),
            memory: &self.memory,
            seed: "seed",
        })
    }

    /// Plans and carries out; `die_after` actions the process is gone.
    pub(super) fn step(&mut self, die_after: Option<usize>) {
        for (i, action) in self.plan().actions.into_iter().enumerate() {
            if die_after == Some(i) {
                return self.crash();
            }
            self.act(action);
        }
    }

    /// Steps until there is nothing to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            if self.plan().actions.is_empty() {
                return;
            }
            self.step(None);
        }
        panic!("plans never end: {:?}", self.plan());
    }

    /// The process is gone, and with it what it remembered; the next one begins.
    pub(super) fn crash(&mut self) {
        self.memory = Memory::default();
        self.running = None;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { name, uid: id } => {
                assert!(self.running.is_none(), "one run at a time");
                let now = self.now();
                let backup = self.backups.get_mut(&name).unwrap();
                assert!(uid(backup) == id && !super::phase(backup).is_finished());
                let status = backup.status.get_or_insert_default();
                status.phase = Phase::InProgress;
                status.started = status.started.or(Some(now));
                self.running = Some(id);
            }
            Action::Queue { name, .. } => {
                self.backups.get_mut(&name).unwrap().status.get_or_insert_default();
            }
            Action::Cancel { uid } => {
                assert_eq!(self.running.take(), Some(uid));
            }
            Action::Create { schedule, uid: of, at } => {
                let unfinished =
                    |b: &&Backup| super::schedule_of(b) == Some(&schedule) && !super::phase(b).is_finished();
                assert!(!self.backups.values().any(|b| unfinished(&b)), "never two of one schedule");
                let name = format!("{schedule}-{at}");
                self.memory.served.insert(of, at);
                if self.backups.contains_key(&name) {
                    return;
                }
                let mut backup = Backup::new(&name, BackupSpec::default());
                backup.metadata.uid = Some(self.uid());
                backup.metadata.creation_timestamp = Some(Time(self.real));
                backup.metadata.labels = Some([(SCHEDULE_LABEL.to_owned(), schedule.clone())].into());
                backup.metadata.annotations = Some([(SCHEDULED_AT.to_owned(), at.to_string())].into());
                self.backups.insert(name, backup);
                self.made.push((schedule, at, self.real));
            }
            Action::Missed { count, .. } => self.missed += count,
            Action::Status { schedule, status, .. } => {
                self.schedules.get_mut(&schedule).unwrap().status = Some(*status);
            }
            Action::Forget { name, .. } => {
                assert!(super::phase(&self.backups[&name]).is_finished());
                self.backups.remove(&name);
            }
        }
    }

    /// The running Backup ends.
    pub(super) fn end(&mut self, phase: Phase) {
        let Some(running) = self.running.take() else { return };
        let now = self.now();
        if let Some((name, backup)) = self.backups.iter_mut().find(|(_, b)| uid(b) == running) {
            let status = backup.status.get_or_insert_with(BackupStatus::default);
            status.phase = phase;
            status.finished = Some(now);
            self.ended.push(name.clone());
        }
        self.memory.ended.insert(running);
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.real += SignedDuration::from_secs(seconds);
    }

    pub(super) fn made_for(&self, schedule: &str) -> Vec<String> {
        self.made.iter().filter(|(s, _, _)| s == schedule).map(|(_, at, _)| at.to_string()).collect()
    }
}
