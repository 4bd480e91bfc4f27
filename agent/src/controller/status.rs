//! What a Backup's status says at each turn. Pure.

use crate::backup::{Committed, run_of};
use crate::coverage::STALE;
use crate::kinds::{BackupStatus, Phase, Progress, Snapshot, set_condition};
use crate::select::report::Missed;
use crate::select::{Kept, Report};
use jiff::Timestamp;
use lifeboat_format::manifest::{Coverage, RunResult};

/// Messages of missed things in a status.
const MESSAGES: usize = 20;
/// One of them, bytes; all of them stay under 4 KiB.
const MESSAGE_MAX: usize = 190;
/// Patterns of a charter in a status, and the longest of them.
const LEFT_OUT: usize = 100;
const NAME_MAX: usize = 63;
/// The message of a condition.
const WORDS_MAX: usize = 1024;

/// Times in a status are whole seconds.
#[must_use]
pub fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// It waits for another one.
#[must_use]
pub fn queued(now: Timestamp) -> BackupStatus {
    let mut new = BackupStatus::default();
    let words = "another backup runs; one runs at a time";
    set_condition(&mut new.conditions, "Progressing", false, "Waiting", words, now);
    new
}

/// It begins, or goes on under another controller.
#[must_use]
pub fn begun(old: &BackupStatus, uid: &str, me: &str, now: Timestamp) -> BackupStatus {
    let mut new = old.clone();
    new.phase = Phase::InProgress;
    new.run_id = Some(run_of(uid).to_hex());
    new.started = Some(old.started.unwrap_or(now));
    new.attempts = Some(old.attempts.unwrap_or(0).saturating_add(1));
    new.holder = Some(me.to_owned());
    new.progress = Some(Progress { renew_time: Some(now), ..Progress::default() });
    let reason = if old.phase.is_running() { "Adopted" } else { "Running" };
    set_condition(&mut new.conditions, "Progressing", true, reason, "", now);
    set_condition(&mut new.conditions, "Completed", false, "Running", "", now);
    new
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alive {
    pub objects: u64,
    pub bytes: u64,
    pub committing: bool,
    /// None before it is known that there are any.
    pub volumes: Option<VolumesAlive>,
}

/// How far its volumes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VolumesAlive {
    pub all: u64,
    pub done: u64,
    pub bytes: u64,
    pub bytes_per_second: u64,
}

/// A sign of life.
#[must_use]
pub fn alive(old: &BackupStatus, far: &Alive, now: Timestamp) -> BackupStatus {
    let mut new = old.clone();
    if far.committing {
        new.phase = Phase::Committing;
    }
    let volumes = |pick: fn(&VolumesAlive) -> u64| far.volumes.as_ref().map(|v| signed(pick(v)));
    new.progress = Some(Progress {
        objects: signed(far.objects),
        bytes: signed(far.bytes),
        volumes: volumes(|v| v.all),
        volumes_done: volumes(|v| v.done),
        volume_bytes: volumes(|v| v.bytes),
        volume_bytes_per_second: volumes(|v| v.bytes_per_second),
        renew_time: Some(now),
    });
    new
}

/// An attempt failed and another one follows.
#[must_use]
pub fn waits(old: &BackupStatus, reason: &str, why: &str, now: Timestamp) -> BackupStatus {
    let mut new = old.clone();
    new.phase = Phase::InProgress;
    new.progress = Some(Progress { renew_time: Some(now), ..old.progress.clone().unwrap_or_default() });
    set_condition(&mut new.conditions, "Progressing", false, reason, &clip(why, WORDS_MAX), now);
    new
}

/// A snapshot. `left_out` is what the charter excludes.
#[must_use]
pub fn committed(old: &BackupStatus, done: &Committed, left_out: &[String], now: Timestamp) -> BackupStatus {
    let manifest = &done.manifest;
    let counts = &manifest.counts;
    let stale = done.report.as_ref().and_then(stale);
    let (phase, words) = match (manifest.result, &stale) {
        (RunResult::Completed, _) => (Phase::Completed, String::new()),
        (RunResult::PartiallyFailed, Some(stale)) if counts.missed == 0 => {
            (Phase::PartiallyFailed, stale.clone())
        }
        (RunResult::PartiallyFailed, _) => {
            let words = format!("{} missed; all of them: lifeboat report {}", counts.missed, manifest.seq);
            (Phase::PartiallyFailed, words)
        }
    };
    let mut new = ended(old, phase, now);
    new.snapshot = Some(Snapshot { seq: signed(manifest.seq), id: manifest.id.to_hex() });
    new.coverage = Some(if manifest.coverage == Coverage::Full { "Full" } else { "Partial" }.to_owned());
    new.objects = Some(signed(counts.objects));
    new.volumes = Some(signed(counts.volumes));
    new.namespaces = Some(signed(counts.namespaces));
    new.bytes = Some(signed(counts.bytes));
    new.size = Some(size(counts.bytes));
    new.stored_bytes = Some(signed(done.sent_bytes));
    new.missed = Some(signed(counts.missed));
    new.excluded_namespaces = left_out.iter().take(LEFT_OUT).map(|n| clip(n, NAME_MAX)).collect();
    new.messages = done.report.as_ref().map(messages).unwrap_or_default();
    finish(&mut new, phase, phase_word(phase), &words, now);
    if let Some(words) = stale {
        set_condition(&mut new.conditions, "Stale", true, "KeptTooLong", &words, now);
    }
    new
}

/// What is said of volumes that were kept for too long; none if there are none.
#[must_use]
pub fn stale(report: &Report) -> Option<String> {
    let mut overdue: Vec<&Kept> = report.kept.iter().filter(|k| k.overdue).collect();
    overdue.sort_by_key(|k| k.since);
    let oldest = overdue.first()?;
    let words = format!(
        "nothing has mounted {} for too long, so that their last trees are old: the oldest is {}/{} of {:.0}; mount \
         them so that they are read, or opt them out",
        if overdue.len() == 1 { "1 volume".to_owned() } else { format!("{} volumes", overdue.len()) },
        oldest.namespace,
        oldest.claim,
        oldest.since
    );
    Some(clip(&words, WORDS_MAX))
}

/// No snapshot.
#[must_use]
pub fn failed(old: &BackupStatus, phase: Phase, reason: &str, why: &str, now: Timestamp) -> BackupStatus {
    let mut new = ended(old, phase, now);
    let words = clip(why, WORDS_MAX);
    finish(&mut new, phase, reason, &words, now);
    if reason.starts_with("Invalid") {
        set_condition(&mut new.conditions, "Invalid", true, reason, &words, now);
    }
    new
}

fn ended(old: &BackupStatus, phase: Phase, now: Timestamp) -> BackupStatus {
    BackupStatus { phase, finished: Some(now), progress: None, ..old.clone() }
}

fn finish(status: &mut BackupStatus, phase: Phase, reason: &str, words: &str, now: Timestamp) {
    let completed = phase == Phase::Completed;
    set_condition(&mut status.conditions, "Completed", completed, reason, words, now);
    set_condition(&mut status.conditions, "Finished", true, reason, words, now);
    set_condition(&mut status.conditions, "Progressing", false, reason, "", now);
}

/// The word that `kubectl` shows.
#[must_use]
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::InProgress => "InProgress",
        Phase::Committing => "Committing",
        Phase::Completed => "Completed",
        Phase::PartiallyFailed => "PartiallyFailed",
        Phase::Failed => "Failed",
        Phase::Canceled => "Canceled",
    }
}

/// The first missed things, one line each.
#[must_use]
pub fn messages(report: &Report) -> Vec<String> {
    let overdue = report.kept.iter().filter(|k| k.overdue);
    let total = report.missed_total.saturating_add(overdue.clone().count() as u64);
    let all = report.missed.iter().map(message).chain(overdue.map(kept));
    let mut lines: Vec<String> = all.take(MESSAGES).collect();
    if total > lines.len() as u64 && !lines.is_empty() {
        lines.truncate(MESSAGES - 1);
        let more = total.saturating_sub(lines.len() as u64);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn kept(kept: &Kept) -> String {
    let words = format!(
        "Volume {}/{}: {STALE}nothing mounts it, and its last tree was read on {:.0}",
        kept.namespace, kept.claim, kept.since
    );
    clip(&words, MESSAGE_MAX)
}

fn message(missed: &Missed) -> String {
    let kind = match (missed.kind.as_str(), missed.group.as_str()) {
        ("", group) => format!("API group {group}"),
        (kind, "") => kind.to_owned(),
        (kind, group) => format!("{kind}.{group}"),
    };
    let place = [missed.namespace.as_str(), missed.name.as_str()];
    let place: Vec<&str> = place.into_iter().filter(|p| !p.is_empty()).collect();
    let place = if place.is_empty() { String::new() } else { format!(" {}", place.join("/")) };
    clip(&format!("{kind}{place}: {}: {}", missed.reason, missed.message), MESSAGE_MAX)
}

fn clip(text: &str, max: usize) -> String {
    crate::cluster::text::clean(text, max)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = "";
    // Tenths of a unit.
    let mut tenths = u128::from(bytes) * 10;
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit.is_empty() { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_500_000, "1.4 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_status_with_everything_missed_stays_small() {
        let mut report = Report::new(Timestamp::UNIX_EPOCH);
        for i in 0..500 {
            report.miss(Missed {
                group: format!("group{}.example.com", i % 100),
                kind: "Widget".to_owned(),
                namespace: "n".repeat(63),
                name: "x".repeat(253),
                reason: "Forbidden".to_owned(),
                message: "no ".repeat(200),
            });
        }
        let lines = messages(&report);
        assert_eq!(lines.len(), MESSAGES);
        assert_eq!(lines[19], "and 481 more");
        assert!(lines.iter().map(String::len).sum::<usize>() < 4096);
    }

    #[test]
    fn a_volume_that_was_kept_for_too_long_is_said_to_be() {
        let mut report = Report::new(Timestamp::UNIX_EPOCH);
        assert_eq!((stale(&report), messages(&report)), (None, Vec::new()));
        for (claim, day, overdue) in [("a", 3, true), ("b", 1, true), ("c", 0, false)] {
            let since = Timestamp::from_second(day * 86_400).unwrap();
            report.keep_volume(Kept {
                namespace: "shop".to_owned(),
                claim: claim.to_owned(),
                since,
                overdue,
            });
        }
        let words = stale(&report).unwrap();
        assert!(words.contains("2 volumes") && words.contains("shop/b of 1970-01-02"), "{words}");
        let lines = messages(&report);
        assert!(lines.len() == 2 && lines[0].starts_with("Volume shop/a: Stale: "), "{lines:?}");
    }

    #[test]
    fn progress_of_volumes_is_told_once_there_are_any() {
        let (old, now) = (BackupStatus::default(), Timestamp::UNIX_EPOCH);
        let far = Alive { objects: 5, bytes: 7, ..Alive::default() };
        assert_eq!(alive(&old, &far, now).progress.unwrap().volumes, None);
        let volumes = VolumesAlive { all: 3, done: 1, bytes: 9, bytes_per_second: 2 };
        let told = alive(&old, &Alive { volumes: Some(volumes), ..far }, now).progress.unwrap();
        assert_eq!((told.volumes, told.volumes_done, told.volume_bytes), (Some(3), Some(1), Some(9)));
        assert_eq!((told.objects, told.volume_bytes_per_second), (5, Some(2)));
    }

    #[test]
    fn every_end_is_finished_and_only_a_complete_one_completed() {
        let now = Timestamp::UNIX_EPOCH;
        let begun = begun(&BackupStatus::default(), "u", "me", now);
        assert_eq!((begun.attempts, begun.phase), (Some(1), Phase::InProgress));
        let failed = failed(&begun, Phase::Failed, "InvalidSelector", "no", now);
        let holds = |kind: &str| failed.conditions.iter().any(|c| c.kind == kind && c.status == "True");
        assert!(holds("Finished") && holds("Invalid") && !holds("Completed") && !holds("Progressing"));
        assert!(failed.progress.is_none() && failed.finished.is_some());
    }
}
