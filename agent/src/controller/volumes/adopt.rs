//! What is made of the VolumeBackups that an earlier attempt of a run, or another controller, left. Pure.

use super::made;
use crate::backup::volumes::Claim;
use crate::kinds::{FROZEN_AT, VolumeBackup};
use crate::select::volumes::Place;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A volume that is asked for now.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) claim: Claim,
    pub(super) uid: String,
    pub(super) places: Vec<Place>,
    /// What was read before is of no use any more.
    pub(super) anew: bool,
}

/// What is made of those that were left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// By the volume's place among those asked for: the one that is gone on with, or whose result stands.
    pub(super) good: BTreeMap<usize, VolumeBackup>,
    /// To be removed, the frozen ones after their Pod was thawed.
    pub(super) rest: Vec<VolumeBackup>,
    /// The highest number of each volume.
    pub(super) numbers: BTreeMap<usize, u32>,
}

/// Sorts them. `keys`: names of the keys that nodes can read; without its key a VolumeBackup is of no use.
pub(super) fn sort(all: Vec<VolumeBackup>, asked: &[Asked], keys: &BTreeSet<String>) -> Left {
    let places: BTreeMap<(&str, &str), usize> = asked
        .iter()
        .enumerate()
        .map(|(at, a)| ((a.claim.namespace.as_str(), a.claim.name.as_str()), at))
        .collect();
    let mut left = Left::default();
    for volume in all {
        let spec = &volume.spec;
        let Some(&at) = places.get(&(spec.namespace.as_str(), spec.claim.as_str())) else {
            left.rest.push(volume);
            continue;
        };
        let number = u32::try_from(spec.attempt).unwrap_or(1);
        let newest = left.numbers.get(&at).is_none_or(|n| *n < number);
        let status = volume.status.clone().unwrap_or_default();
        let done = status.phase.is_finished();
        let stands = if done { status.result.is_some() && !asked[at].anew } else { true };
        let good = newest
            && stands
            && asked[at].uid == spec.pvc_uid
            && keys.contains(&spec.work_key)
            && volume.metadata.deletion_timestamp.is_none();
        left.numbers.entry(at).and_modify(|n| *n = (*n).max(number)).or_insert(number);
        if good {
            left.rest.extend(left.good.insert(at, volume));
        } else {
            left.rest.push(volume);
        }
    }
    left
}

/// For how long its Pod has been frozen, if it is. A clock that went back says nothing: that counts as for too long.
pub(super) fn frozen_for(volume: &VolumeBackup, now: Timestamp) -> Option<Duration> {
    let text = made::annotation(volume, FROZEN_AT)?;
    let since = text.parse::<Timestamp>().ok().map(|at| now.duration_since(at));
    Some(since.and_then(|s| Duration::try_from(s).ok()).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{VolumeBackupSpec, VolumeBackupStatus, VolumePhase};

    fn volume(claim: &str, number: i64, phase: VolumePhase) -> VolumeBackup {
        let name = format!("{claim}-{number}");
        let spec = VolumeBackupSpec {
            namespace: "n".to_owned(),
            claim: claim.to_owned(),
            pvc_uid: "u".to_owned(),
            attempt: number,
            work_key: name.clone(),
            ..VolumeBackupSpec::default()
        };
        let mut volume = VolumeBackup::new(&name, spec);
        let result = (phase == VolumePhase::Completed).then(|| "r".to_owned());
        volume.status = Some(VolumeBackupStatus { phase, result, ..VolumeBackupStatus::default() });
        volume
    }

    fn asked(claim: &str, anew: bool) -> Asked {
        let claim = Claim { namespace: "n".to_owned(), name: claim.to_owned() };
        Asked { claim, uid: "u".to_owned(), places: Vec::new(), anew }
    }

    #[test]
    fn what_stands_is_kept_and_the_rest_goes() {
        use VolumePhase::{Completed, Failed, InProgress, Pending};
        let all = vec![
            volume("done", 1, Completed),
            volume("anew", 1, Completed),
            volume("runs", 2, InProgress),
            volume("failed", 1, Failed),
            volume("keyless", 1, Pending),
            volume("gone", 1, Completed),
        ];
        let mut other = volume("other", 1, Completed);
        other.spec.pvc_uid = "another claim".to_owned();
        let all: Vec<_> = all.into_iter().chain([other, volume("runs", 1, InProgress)]).collect();
        let keys: BTreeSet<_> =
            all.iter().map(|v| v.spec.work_key.clone()).filter(|k| !k.starts_with("keyless")).collect();
        let wanted = ["done", "anew", "runs", "failed", "keyless", "other"];
        let wanted: Vec<_> = wanted.into_iter().map(|c| asked(c, c == "anew")).collect();
        let left = sort(all, &wanted, &keys);
        let good: Vec<_> = left.good.iter().map(|(at, v)| (*at, made::name(v).to_owned())).collect();
        assert_eq!(good, [(0, "done-1".to_owned()), (2, "runs-2".to_owned())]);
        assert_eq!(left.rest.len(), 6);
        assert_eq!(left.numbers[&2], 2);
    }

    #[test]
    fn a_freeze_of_which_the_time_is_not_known_is_too_long() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let frozen = |at: &str| {
            let mut v = volume("a", 1, VolumePhase::Pending);
            v.metadata.annotations = Some(BTreeMap::from([(FROZEN_AT.to_owned(), at.to_owned())]));
            frozen_for(&v, now)
        };
        assert_eq!(frozen("2026-11-24T11:59:00Z"), Some(Duration::from_secs(60)));
        assert_eq!(frozen("2026-11-24T12:01:00Z"), Some(Duration::MAX));
        assert_eq!(frozen("soon"), Some(Duration::MAX));
        assert_eq!(frozen_for(&volume("a", 1, VolumePhase::Pending), now), None);
    }
}
