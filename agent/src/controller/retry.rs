//! What follows from an attempt that failed: another one, or the end. Pure.

use crate::backup::{BackupError, SetupError, StateError};
use crate::cluster::ClusterError;
use crate::cluster::state_secret::SecretError;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

pub const STORE_UNAVAILABLE: &str = "StoreUnavailable";
pub const STATE_TAKEN: &str = "StateTaken";
const CLUSTER_UNAVAILABLE: &str = "ClusterUnavailable";
const STATE_UNAVAILABLE: &str = "StateUnavailable";
const CONFIGURATION: &str = "ConfigurationUnreadable";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass: credentials that are being rotated, a store or an API server that is away.
    Retry { reason: &'static str, pause: Duration },
    /// A person must change something first.
    Fail(String),
    /// What was asked for cannot be done.
    Invalid(String),
    /// Nobody wants it any more, or somebody else makes it.
    Stopped,
}

/// How long to wait after so many failures.
#[must_use]
pub fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(6)).min(LONGEST)
}

/// Judges the error after so many failures before it.
#[must_use]
pub fn judge(error: &BackupError, failures: u32) -> Verdict {
    let backoff = pause(failures);
    let retry = |reason, asked: Option<Duration>| Verdict::Retry {
        reason,
        pause: asked.map_or(backoff, |a| a.max(backoff)).min(LONGEST),
    };
    match error {
        BackupError::Stopped => Verdict::Stopped,
        BackupError::State(e) if e.is_fenced() => Verdict::Stopped,
        BackupError::Store(e) => retry(STORE_UNAVAILABLE, e.retry_after),
        BackupError::Head(crate::backup::HeadError::Store(e)) => retry(STORE_UNAVAILABLE, e.retry_after),
        BackupError::Cluster(e) if passes(e) => retry(CLUSTER_UNAVAILABLE, e.retry_after()),
        BackupError::State(StateError::Secret(SecretError::Cluster(e))) if passes(e) => {
            retry(STATE_UNAVAILABLE, e.retry_after())
        }
        BackupError::State(StateError::Secret(SecretError::Missing { .. }) | StateError::Locked { .. }) => {
            retry(STATE_UNAVAILABLE, None)
        }
        // A mounted Secret is replaced file by file.
        BackupError::Setup(SetupError::Read { .. } | SetupError::Key(_) | SetupError::Config(_))
            if failures < 8 =>
        {
            retry(CONFIGURATION, None)
        }
        BackupError::Rule(_) => Verdict::Invalid("InvalidSelection".to_owned()),
        other => Verdict::Fail(other.reason().to_owned()),
    }
}

fn passes(error: &ClusterError) -> bool {
    !error.permanent() || error.code() == Some(401)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_common::store::{StoreError, StoreErrorKind};

    #[test]
    fn what_may_pass_is_tried_again_ever_more_slowly() {
        let denied = || BackupError::Store(StoreError::new(StoreErrorKind::Denied, "get", "s3://b/k", "no"));
        let Verdict::Retry { reason, pause } = judge(&denied(), 0) else { panic!() };
        assert_eq!((reason, pause), (STORE_UNAVAILABLE, FIRST));
        assert_eq!(judge(&denied(), u32::MAX), Verdict::Retry { reason: STORE_UNAVAILABLE, pause: LONGEST });
        let mut slow = StoreError::new(StoreErrorKind::Throttled, "get", "s3://b/k", "slow down");
        slow.retry_after = Some(Duration::from_secs(42));
        let Verdict::Retry { pause, .. } = judge(&BackupError::Store(slow), 0) else { panic!() };
        assert_eq!(pause, Duration::from_secs(42));
        let missing = SecretError::Missing { place: "lifeboat/lifeboat-state".to_owned() };
        assert!(matches!(judge(&BackupError::State(missing.into()), 3), Verdict::Retry { .. }));
    }

    #[test]
    fn what_a_person_must_change_ends_it() {
        assert_eq!(
            judge(&BackupError::Setup(SetupError::OtherCluster), 0),
            Verdict::Fail("Configuration".to_owned())
        );
        assert_eq!(judge(&BackupError::NoEpoch, 0), Verdict::Fail("Keys".to_owned()));
        let fenced = SecretError::Fenced { place: "lifeboat/lifeboat-state".to_owned() };
        assert_eq!(judge(&BackupError::State(fenced.into()), 0), Verdict::Stopped);
        assert_eq!(judge(&BackupError::Stopped, 0), Verdict::Stopped);
    }
}
