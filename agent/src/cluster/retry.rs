//! Whether and when to repeat a read that failed. Pure: the caller sleeps and counts.

use super::error::ClusterError;
use std::time::Duration;

/// The longest wait between two tries, whatever the server asks for.
const MAX_WAIT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Tries at what is more likely to stay broken than to heal: a dead extension server, a failing webhook.
const FEW_TRIES: u32 = 3;

/// How long to wait before try number `tries + 1`, or `None` to give up.
/// `elapsed` counts from the first try; `budget` bounds the whole.
pub(super) fn wait_before_retry(
    error: &ClusterError,
    tries: u32,
    elapsed: Duration,
    budget: Duration,
) -> Option<Duration> {
    let backoff = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(7));
    let wait = match error {
        ClusterError::Unreachable { .. } | ClusterError::TimedOut { .. } => backoff,
        ClusterError::Status { code: 429 | 503, retry_after: Some(wait), .. } => *wait,
        ClusterError::Status { code: 429, .. } => backoff,
        ClusterError::Status { code: 500 | 502 | 503 | 504, message, from_kubernetes, .. } => {
            let whole_server = !from_kubernetes || message.contains("etcdserver");
            if whole_server || tries < FEW_TRIES { backoff } else { return None }
        }
        _ => return None,
    };
    let wait = wait.min(MAX_WAIT);
    (elapsed.saturating_add(wait) <= budget).then_some(wait)
}

/// Spreads waits, so that many readers do not come back at once. `dice` is in 0..1.
pub(super) fn spread(wait: Duration, dice: f64) -> Duration {
    wait.mul_f64(1.0 + 0.25 * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    const BUDGET: Duration = Duration::from_secs(60);

    fn status(code: u16, retry_after: Option<u64>, from_kubernetes: bool, message: &str) -> ClusterError {
        ClusterError::Status {
            what: "".into(),
            server: String::new(),
            code,
            reason: "".into(),
            message: message.into(),
            retry_after: retry_after.map(Duration::from_secs),
            continue_token: None,
            from_kubernetes,
        }
    }

    fn wait(error: &ClusterError, tries: u32) -> Option<Duration> {
        wait_before_retry(error, tries, Duration::ZERO, BUDGET)
    }

    #[test]
    fn the_server_decides_when_it_says() {
        assert_eq!(wait(&status(429, Some(7), true, ""), 1), Some(Duration::from_secs(7)));
        assert_eq!(wait(&status(503, Some(9999), true, ""), 20), Some(MAX_WAIT));
        assert_eq!(wait(&status(429, None, true, ""), 1), Some(FIRST_WAIT));
    }

    #[test]
    fn a_dead_extension_server_is_given_up_soon_and_a_restart_is_not() {
        assert!(
            wait(&status(503, None, true, "the server is currently unable to handle the request"), 2)
                .is_some()
        );
        assert!(wait(&status(503, None, true, ""), 3).is_none());
        assert!(wait(&status(502, None, false, ""), 30).is_some());
        assert!(wait(&status(500, None, true, "etcdserver: leader changed"), 30).is_some());
        assert!(wait(&status(403, Some(1), true, ""), 1).is_none());
    }

    #[test]
    fn the_budget_ends_it() {
        let lost = ClusterError::Unreachable {
            what: String::new(),
            server: String::new(),
            origin: String::new(),
            cause: String::new(),
        };
        assert!(wait_before_retry(&lost, 5, Duration::from_secs(59), BUDGET).is_none());
        assert!(wait_before_retry(&lost, u32::MAX, Duration::ZERO, BUDGET).is_some());
        assert!(spread(Duration::from_secs(4), 1.0) == Duration::from_secs(5));
    }
}
