//! What a Backup's status says at each turn. Pure.

use crate::backup::{Committed, run_of};
use crate::kinds::{BackupStatus, Phase, Progress, Snapshot, set_condition};
use crate::select::Report;
use crate::select::report::Missed;
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

/// A sign of life.
#[must_use]
pub fn alive(old: &BackupStatus, objects: u64, bytes: u64, committing: bool, now: Timestamp) -> BackupStatus {
    let mut new = old.clone();
    if committing {
        new.phase = Phase::Committing;
    }
    new.progress = Some(Progress { objects: signed(objects), bytes: signed(bytes), renew_time: Some(now) });
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
    let (phase, words) = match manifest.result {
        RunResult::Completed => (Phase::Completed, String::new()),
        RunResult::PartiallyFailed => {
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
    new
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
    let mut lines: Vec<String> = report.missed.iter().take(MESSAGES).map(message).collect();
    let more = report.missed_total.saturating_sub(lines.len() as u64);
    if more > 0 && !lines.is_empty() {
        lines.truncate(MESSAGES - 1);
        let more = report.missed_total.saturating_sub(lines.len() as u64);
        lines.push(format!("and {more} more"));
    }
    lines
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
