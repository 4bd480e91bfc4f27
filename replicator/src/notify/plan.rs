//! What each channel is to be told now: pure. Given what it was told before and what is wrong, it says what is new, what is
//! over and what is due again, within a rate; and it is told afterwards whether that arrived.
//!
//! A message that did not arrive is not queued: what was not told stays to be told, as it is then.

use super::message::{Line, Message, Over};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An alarm is over when it was not seen for so long, in seconds: one that flickers is one.
const SETTLED: i64 = 300;
/// Between two tries, in seconds: the first, and at most.
const RETRY: i64 = 30;
const RETRY_MOST: i64 = 900;
const HOUR: i64 = 3600;
/// Alarms that are remembered for one channel.
const MOST: usize = 5000;

/// How often a channel may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Seconds after which what is still open is told again; none for never.
    pub repeat: Option<i64>,
    pub max_per_hour: usize,
}

/// What one channel was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    open: BTreeMap<String, One>,
    /// Messages of the last hour.
    sent: Vec<Timestamp>,
    /// Tries that failed since the last that went through.
    failures: u32,
    retry_after: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct One {
    at: Timestamp,
    over: Over,
    gone_since: Option<Timestamp>,
}

/// Seconds from `from` to `to`; 0 when the clock went back.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs().max(0)
}

impl Told {
    /// The message that is due; none when there is nothing to say, or not yet. `wrong` is none where it could not be read:
    /// then nothing is over.
    pub fn due(
        &mut self,
        wrong: Option<&[Line]>,
        also: &[Line],
        rules: Rules,
        now: Timestamp,
    ) -> Option<Message> {
        let seen: Vec<&Line> = wrong.unwrap_or_default().iter().chain(also).collect();
        if wrong.is_some() {
            self.note_gone(&seen, now);
        }
        let fresh = |line: &&&Line| !self.open.contains_key(&line.key) && self.open.len() < MOST;
        let again = |line: &&&Line| {
            let told = self.open.get(&line.key);
            told.is_some_and(|one| rules.repeat.is_some_and(|r| seconds(one.at, now) >= r))
        };
        let over =
            self.open.values().filter(|one| one.gone_since.is_some_and(|g| seconds(g, now) >= SETTLED));
        let message = Message {
            alarms: seen.iter().filter(fresh).map(|l| (*l).clone()).collect(),
            reminders: seen.iter().filter(again).map(|l| (*l).clone()).collect(),
            recovered: over.map(|one| one.over.clone()).collect(),
            open: seen.len(),
            test: false,
        };
        (!message.is_empty() && self.may_send(rules, now)).then_some(message)
    }

    fn note_gone(&mut self, seen: &[&Line], now: Timestamp) {
        let keys: BTreeSet<&str> = seen.iter().map(|l| l.key.as_str()).collect();
        for (key, one) in &mut self.open {
            one.gone_since = (!keys.contains(key.as_str())).then(|| one.gone_since.unwrap_or(now).min(now));
        }
    }

    fn may_send(&mut self, rules: Rules, now: Timestamp) -> bool {
        // What lies in the future was written by another clock.
        self.sent.retain(|at| *at <= now && seconds(*at, now) < HOUR);
        let waits = self.retry_after.is_some_and(|at| at > now && seconds(now, at) <= RETRY_MOST);
        !waits && self.sent.len() < rules.max_per_hour
    }

    /// It arrived.
    pub fn arrived(&mut self, message: &Message, now: Timestamp) {
        for line in message.alarms.iter().chain(&message.reminders) {
            let one = One { at: now, over: line.over(), gone_since: None };
            self.open.insert(line.key.clone(), one);
        }
        for over in &message.recovered {
            self.open.remove(&over.key);
        }
        self.sent.push(now);
        (self.failures, self.retry_after) = (0, None);
    }

    /// It did not arrive: later again, and less and less often.
    pub fn failed(&mut self, now: Timestamp) {
        let pause = RETRY.saturating_mul(1_i64 << self.failures.min(10)).min(RETRY_MOST);
        self.failures = self.failures.saturating_add(1);
        self.retry_after = now.checked_add(SignedDuration::from_secs(pause)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { repeat: Some(86_400), max_per_hour: 3 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn line(what: &str) -> Line {
        Line::new("prod", "missing", what, "gone", "look", None)
    }

    fn kinds(message: Option<&Message>) -> Option<(usize, usize, usize)> {
        message.map(|m| (m.alarms.len(), m.reminders.len(), m.recovered.len()))
    }

    /// One look; what is due arrives.
    fn look(told: &mut Told, wrong: &[Line], seconds: i64) -> Option<(usize, usize, usize)> {
        let message = told.due(Some(wrong), &[], RULES, at(seconds));
        if let Some(message) = &message {
            told.arrived(message, at(seconds));
        }
        kinds(message.as_ref())
    }

    #[test]
    fn each_alarm_is_told_once_and_its_end_once() {
        let mut told = Told::default();
        assert_eq!(look(&mut told, &[], 0), None);
        assert_eq!(look(&mut told, &[line("a")], 10), Some((1, 0, 0)));
        assert_eq!(look(&mut told, &[line("a")], 20), None);
        assert_eq!(look(&mut told, &[line("a"), line("b")], 30), Some((1, 0, 0)), "only the new one");
        assert_eq!(look(&mut told, &[line("b")], 40), None, "it may come back");
        assert_eq!(look(&mut told, &[line("a"), line("b")], 100), None, "and is one then");
        assert_eq!(look(&mut told, &[line("b")], 200), None);
        assert_eq!(look(&mut told, &[line("b")], 500), Some((0, 0, 1)));
        assert_eq!(look(&mut told, &[line("b")], 510), None);
        assert_eq!(
            look(&mut told, &[line("b")], 30 + 86_400),
            Some((0, 1, 0)),
            "a day later it is still open"
        );
        assert_eq!(look(&mut told, &[line("b")], 40 + 86_400), None);
    }

    #[test]
    fn a_flood_is_told_together_and_at_a_bounded_rate() {
        let mut told = Told::default();
        let mut messages = 0;
        for n in 0..3600 {
            let all: Vec<Line> = (0..=n / 10).map(|i| line(&format!("junk-{i}"))).collect();
            messages += usize::from(look(&mut told, &all, n).is_some());
        }
        assert_eq!(messages, 3);
        let all: Vec<Line> = (0..360).map(|i| line(&format!("junk-{i}"))).collect();
        let (new, ..) = look(&mut told, &all, 3601).unwrap();
        assert!(new > 300, "{new}: the rest at once");
    }

    #[test]
    fn what_did_not_arrive_is_told_later_as_it_is_then() {
        let mut told = Told::default();
        assert!(told.due(Some(&[line("a")]), &[], RULES, at(0)).is_some());
        told.failed(at(0));
        assert_eq!(look(&mut told, &[line("a")], 29), None);
        assert!(told.due(Some(&[line("a")]), &[], RULES, at(30)).is_some());
        told.failed(at(30));
        assert_eq!(look(&mut told, &[line("a")], 89), None, "twice as long");
        assert_eq!(look(&mut told, &[line("a"), line("b")], 90), Some((2, 0, 0)));
        for _ in 0..100 {
            told.failed(at(100));
        }
        assert_eq!(look(&mut told, &[line("c")], 500), None);
        assert_eq!(look(&mut told, &[line("c")], 100 + 899), None);
        assert_eq!(look(&mut told, &[line("c")], 100 + 900), Some((1, 0, 2)), "never longer than that");
    }

    #[test]
    fn what_cannot_be_read_is_not_over() {
        let mut told = Told::default();
        assert_eq!(look(&mut told, &[line("a")], 0), Some((1, 0, 0)));
        let unreadable = [line("unreadable")];
        let message = told.due(None, &unreadable, RULES, at(1000)).unwrap();
        assert_eq!(kinds(Some(&message)), Some((1, 0, 0)));
        told.arrived(&message, at(1000));
        assert_eq!(kinds(told.due(None, &unreadable, RULES, at(5000)).as_ref()), None);
    }

    #[test]
    fn a_clock_that_jumped_does_not_silence_it() {
        let mut told = Told::default();
        assert_eq!(look(&mut told, &[line("a")], 1_000_000), Some((1, 0, 0)));
        told.failed(at(1_000_000));
        assert_eq!(look(&mut told, &[line("a"), line("b")], 10), Some((1, 0, 0)));
    }
}
