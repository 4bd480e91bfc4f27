//! What the controller tells Prometheus. Owns the values and how they are counted; `metrics/names.rs` has the names.
//! No global state: each controller, and each test, has its own. Knows no server and no cluster.

pub mod names;
mod node;
mod text;
mod volumes;

pub use node::{NodeMetrics, VolumeEnd, VolumeResult};

use crate::cluster::{RequestObserver, Verb};
use crate::select::Report;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use text::Text;
use volumes::Volumes;

/// Schedules that get series of their own; an administrator has a handful.
const MAX_SCHEDULES: usize = 200;

/// How a Backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    Completed,
    PartiallyFailed,
    Failed,
    Canceled,
}

impl Ended {
    const ALL: [Self; 4] = [Self::Completed, Self::PartiallyFailed, Self::Failed, Self::Canceled];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }
}

/// A schedule as its object's status tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleState {
    /// End of the last run, whatever its result.
    pub last_run: Option<Timestamp>,
    /// End of the last run that was Completed.
    pub last_success: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    pub paused: bool,
    pub invalid: bool,
}

/// A Backup that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    pub result: Ended,
    pub finished: Timestamp,
    pub duration: Duration,
    pub objects: u64,
    pub bytes: u64,
    pub stored_bytes: u64,
    pub missed: u64,
}

/// The values. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Values>>);

#[derive(Debug, Default)]
struct Values {
    leader: bool,
    running: u64,
    schedules: BTreeMap<String, ScheduleState>,
    /// The last run by schedule; "" for those on demand.
    last: BTreeMap<String, RunEnd>,
    runs: BTreeMap<(String, Ended), u64>,
    requests: BTreeMap<(Verb, Option<u16>), u64>,
    store_errors: u64,
    coverage: Option<Coverage>,
    volumes: Volumes,
    name_claims: bool,
}

#[derive(Debug)]
struct Coverage {
    at: Timestamp,
    namespaces: [(&'static str, u64); 3],
    classes: [(&'static str, u64); 5],
    excluded: BTreeMap<String, u64>,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes or loses the lease. What only the leader knows is forgotten with it, so that a former leader exports
    /// nothing that grows old.
    pub fn leader(&self, leads: bool) {
        let mut values = self.lock();
        values.leader = leads;
        if !leads {
            values.running = 0;
            values.schedules.clear();
            values.last.clear();
            values.coverage = None;
            values.volumes = Volumes::default();
        }
    }

    /// All schedules there are; others are forgotten, with their runs.
    pub fn schedules(&self, all: impl IntoIterator<Item = (String, ScheduleState)>) {
        let mut values = self.lock();
        let on_demand = values.schedules.remove_entry("");
        values.schedules = all.into_iter().take(MAX_SCHEDULES).chain(on_demand).collect();
        let Values { schedules, last, .. } = &mut *values;
        last.retain(|name, _| name.is_empty() || schedules.contains_key(name));
    }

    /// How many Backups are being made now.
    pub fn running(&self, number: u64) {
        self.lock().running = number;
    }

    /// A Backup that ended under this controller. `schedule` is empty for one on demand.
    pub fn run_ended(&self, schedule: &str, run: &RunEnd) {
        let mut values = self.lock();
        if values.known(schedule) {
            *values.runs.entry((schedule.to_owned(), run.result)).or_default() += 1;
        }
        values.take(schedule, run);
    }

    /// A Backup that ended before this controller led, from its object's status. Not counted as a run.
    pub fn run_known(&self, schedule: &str, run: &RunEnd) {
        self.lock().take(schedule, run);
    }

    /// An operation on the store failed for good.
    pub fn store_error(&self) {
        self.lock().store_errors += 1;
    }

    /// What a full run saw and stored. The reports of narrower runs say nothing of the rest: do not give them.
    pub fn coverage(&self, report: &Report) {
        let states = report.namespace_states();
        let total = &report.total;
        let mut values = self.lock();
        values.volumes.take(report);
        values.coverage = Some(Coverage {
            at: report.finished.unwrap_or(report.started),
            namespaces: [
                ("protected", states.protected),
                ("excluded", states.excluded),
                ("never", states.never),
            ],
            classes: [
                ("stored", total.stored),
                ("excluded", total.excluded),
                ("derived", total.derived),
                ("skipped", total.skipped),
                ("missed", total.missed),
            ],
            excluded: report.excluded.clone(),
        });
    }

    /// Whether claims are named.
    pub fn name_claims(&self, named: bool) {
        self.lock().name_claims = named;
    }

    /// One scrape, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let values = self.lock();
        let mut text = Text::default();
        values.schedules(&mut text);
        values.runs(&mut text);
        if let Some(coverage) = &values.coverage {
            coverage.render(&mut text);
            values.volumes.render(values.name_claims, &mut text);
        }
        text.one(&names::LEADER, f64::from(u8::from(values.leader)));
        requests(&values.requests, &mut text);
        text.one(&names::STORE_ERRORS, number(values.store_errors));
        text.family(&names::BUILD_INFO, [([env!("CARGO_PKG_VERSION").to_owned()], 1.0)]);
        text.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestObserver for Metrics {
    fn answered(&self, verb: Verb, code: u16) {
        *self.lock().requests.entry((verb, Some(code))).or_default() += 1;
    }

    fn unanswered(&self, verb: Verb) {
        *self.lock().requests.entry((verb, None)).or_default() += 1;
    }
}

impl Values {
    /// Whether a schedule has a place; names that come and go must not fill the memory.
    fn known(&self, schedule: &str) -> bool {
        schedule.is_empty() || self.schedules.contains_key(schedule) || self.schedules.len() < MAX_SCHEDULES
    }

    fn take(&mut self, schedule: &str, run: &RunEnd) {
        if !self.known(schedule) || self.last.get(schedule).is_some_and(|l| l.finished > run.finished) {
            return;
        }
        self.last.insert(schedule.to_owned(), *run);
        let state = self.schedules.entry(schedule.to_owned()).or_default();
        state.last_run = state.last_run.max(Some(run.finished));
        if run.result == Ended::Completed {
            state.last_success = state.last_success.max(Some(run.finished));
        }
    }

    fn schedules(&self, text: &mut Text) {
        let time = |pick: fn(&ScheduleState) -> Option<Timestamp>| {
            self.schedules.iter().filter_map(move |(n, s)| Some(([n.clone()], seconds(pick(s)?))))
        };
        text.family(&names::LAST_SUCCESS, time(|s| s.last_success));
        text.family(&names::LAST_RUN, time(|s| s.last_run));
        text.family(&names::NEXT_RUN, time(|s| s.next_run));
        let flag = |pick: fn(&ScheduleState) -> bool| {
            let real = self.schedules.iter().filter(|(name, _)| !name.is_empty());
            real.map(move |(n, s)| ([n.clone()], f64::from(u8::from(pick(s)))))
        };
        text.family(&names::PAUSED, flag(|s| s.paused));
        text.family(&names::INVALID, flag(|s| s.invalid));
    }

    fn runs(&self, text: &mut Text) {
        // From the start with zero, so that the first failure is an increase.
        let mut runs = self.runs.clone();
        for schedule in self.schedules.keys().map(String::as_str).chain([""]) {
            for result in Ended::ALL {
                runs.entry((schedule.to_owned(), result)).or_default();
            }
        }
        let runs = runs.into_iter().map(|((s, result), n)| ([s, result.as_str().to_owned()], number(n)));
        text.family(&names::RUNS, runs);
        text.one(&names::RUNNING, number(self.running));
        let last = |pick: fn(&RunEnd) -> f64| self.last.iter().map(move |(n, r)| ([n.clone()], pick(r)));
        text.family(&names::DURATION, last(|r| r.duration.as_secs_f64()));
        text.family(&names::OBJECTS, last(|r| number(r.objects)));
        text.family(&names::BYTES, last(|r| number(r.bytes)));
        text.family(&names::STORED_BYTES, last(|r| number(r.stored_bytes)));
        text.family(&names::MISSED, last(|r| number(r.missed)));
    }
}

impl Coverage {
    fn render(&self, text: &mut Text) {
        let named = |pairs: &[(&str, u64)]| -> Vec<([String; 1], f64)> {
            pairs.iter().map(|(name, n)| ([(*name).to_owned()], number(*n))).collect()
        };
        text.family(&names::NAMESPACES, named(&self.namespaces));
        text.family(&names::COVERED_OBJECTS, named(&self.classes));
        text.family(&names::EXCLUDED, self.excluded.iter().map(|(rule, n)| ([rule.clone()], number(*n))));
        text.one(&names::COVERED_AT, seconds(self.at));
    }
}

fn requests(requests: &BTreeMap<(Verb, Option<u16>), u64>, text: &mut Text) {
    let samples = requests.iter().map(|((verb, code), n)| {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        ([verb.as_str().to_owned(), code], number(*n))
    });
    text.family(&names::API_REQUESTS, samples);
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers; counts stay below 2^53")]
fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
