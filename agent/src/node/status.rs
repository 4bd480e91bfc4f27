//! What a VolumeBackup's status says at each turn. Pure; every answer is a merge patch of at most 4 KiB.

use crate::cluster::text::clean;
use crate::kinds::{VolumeBackupStatus, VolumePhase, set_condition};
use crate::volume::{Done, WorkProgress};
use jiff::Timestamp;
use lifeboat_format::id::Sha256;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The message of a volume that failed, bytes, and that of a condition.
const WORDS_MAX: usize = 1000;
const CONDITION_MAX: usize = 250;

/// Times in a status are whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// It begins, or goes on in another process.
pub(super) fn begun(old: &VolumeBackupStatus, now: Timestamp) -> Value {
    let now = whole(now);
    json!({ "phase": VolumePhase::InProgress, "started": old.started.unwrap_or(now), "renewTime": now })
}

/// A sign of life, and how far it is.
pub(super) fn alive(progress: &WorkProgress, now: Timestamp) -> Value {
    let tree = &progress.tree;
    let mut status = json!({
        "phase": VolumePhase::InProgress,
        "renewTime": whole(now),
        "files": signed(tree.done.load(Ordering::Relaxed)),
        "bytes": signed(tree.done_bytes.load(Ordering::Relaxed)),
    });
    if tree.walked.load(Ordering::Acquire) != 0 {
        status["totalFiles"] = json!(signed(tree.seen.load(Ordering::Relaxed)));
        status["totalBytes"] = json!(signed(tree.seen_bytes.load(Ordering::Relaxed)));
    }
    if let Some(piece) = progress.upload_log() {
        status["uploadLog"] = json!(piece.to_hex());
    }
    status
}

/// It is in the store.
pub(super) fn completed(old: &VolumeBackupStatus, done: &Done, now: Timestamp) -> Value {
    let totals = &done.result.totals;
    let mut status = ended(old, VolumePhase::Completed, "Completed", "", now);
    status["result"] = json!(done.name.to_hex());
    for (field, number) in [("files", totals.files), ("totalFiles", totals.files)] {
        status[field] = json!(signed(number));
    }
    for (field, number) in [("bytes", totals.bytes), ("totalBytes", totals.bytes)] {
        status[field] = json!(signed(number));
    }
    status
}

/// It could not be read, or not be stored.
pub(super) fn failed(
    old: &VolumeBackupStatus,
    reason: &str,
    why: &str,
    upload_log: Option<Sha256>,
    now: Timestamp,
) -> Value {
    let words = clean(why, WORDS_MAX);
    let mut status = ended(old, VolumePhase::Failed, reason, &words, now);
    status["reason"] = json!(reason);
    status["message"] = json!(words);
    if let Some(piece) = upload_log {
        status["uploadLog"] = json!(piece.to_hex());
    }
    status
}

fn ended(old: &VolumeBackupStatus, phase: VolumePhase, reason: &str, words: &str, now: Timestamp) -> Value {
    let now = whole(now);
    let words = &clean(words, CONDITION_MAX);
    let mut conditions = old.conditions.clone();
    set_condition(&mut conditions, "Completed", phase == VolumePhase::Completed, reason, words, now);
    set_condition(&mut conditions, "Finished", true, reason, words, now);
    json!({ "phase": phase, "finished": now, "renewTime": now, "conditions": conditions })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn merged(old: &VolumeBackupStatus, patch: &Value) -> VolumeBackupStatus {
        let mut whole = serde_json::to_value(old).unwrap();
        for (field, value) in patch.as_object().unwrap() {
            whole[field] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_daemon_that_comes_back_keeps_when_it_began_and_what_was_sent() {
        let piece = "ab".repeat(32);
        let old = VolumeBackupStatus {
            started: Some(at(5)),
            upload_log: Some(piece.clone()),
            ..VolumeBackupStatus::default()
        };
        let new = merged(&old, &begun(&old, at(60)));
        assert_eq!((new.started, new.renew_time), (Some(at(5)), Some(at(60))));
        // Until the first piece of this process has arrived, that of the one before stands.
        let new = merged(&new, &alive(&WorkProgress::default(), at(70)));
        assert_eq!(new.upload_log, Some(piece));
        assert_eq!((new.phase, new.total_bytes), (VolumePhase::InProgress, None));
    }

    #[test]
    fn totals_are_told_once_the_walk_has_seen_all() {
        let progress = WorkProgress::default();
        progress.tree.seen_bytes.store(7, Ordering::Relaxed);
        assert!(alive(&progress, at(1)).get("totalBytes").is_none());
        progress.tree.walked.store(1, Ordering::Relaxed);
        assert_eq!(alive(&progress, at(1))["totalBytes"], 7);
    }

    #[test]
    fn a_status_stays_small_whatever_went_wrong() {
        let old = VolumeBackupStatus::default();
        let why = "\u{1b}[31m🦀".repeat(10_000);
        let patch = failed(&old, "VolumeUnreadable", &why, Some(Sha256([7; 32])), at(1));
        let new = merged(&old, &patch);
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.len() <= 4096, "{} bytes", text.len());
        assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"));
        assert!(new.phase.is_finished() && new.conditions.iter().any(|c| c.kind == "Finished"));
    }
}
