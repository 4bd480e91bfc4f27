//! Runs the hooks of a Pod, and says what came of it. Which they are is `select::volumes::hooks`'.

use crate::cluster::exec::{Executor, Ran, Target};
use crate::select::volumes::Step;
use std::time::Duration;
use tokio::time::Instant;

/// Tries of a post hook of which it is not known whether it ran, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(5);

/// A Pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct InPod<'a> {
    pub(super) exec: &'a Executor,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
}

impl InPod<'_> {
    /// The pre hooks, in order, up to the first that fails and must not; all of them within `within`.
    ///
    /// # Errors
    /// The reason, and what failed, in words.
    pub(super) async fn pre(&self, steps: &[Step], within: Duration) -> Result<(), (&'static str, String)> {
        let until = Instant::now() + within;
        for step in steps {
            let left = until.saturating_duration_since(Instant::now());
            let (reason, why) = match self.run(step, step.timeout.min(left)).await {
                Ran::Well => continue,
                Ran::Forbidden(why) => ("HooksForbidden", why),
                Ran::Badly(why) | Ran::Gone(why) | Ran::Unknown(why) => ("HookFailed", why),
            };
            let program = step.command.first().map(String::as_str).unwrap_or_default();
            let words = format!("pre hook {program:?} in Pod {}/{}: {why}", self.namespace, self.pod);
            if !step.go_on {
                return Err((reason, words));
            }
            tracing::warn!(why = words, "a hook failed; on-error says to continue");
        }
        Ok(())
    }

    /// The post hooks, all of them whatever becomes of the others. False if one may not have run.
    pub(super) async fn post(&self, steps: &[Step]) -> bool {
        let mut all = true;
        for step in steps {
            all &= self.thaw(step).await;
        }
        all
    }

    async fn thaw(&self, step: &Step) -> bool {
        for attempt in 1..=TRIES {
            match self.run(step, step.timeout).await {
                Ran::Well => return true,
                // With the Pod went what it held.
                Ran::Gone(_) => return true,
                Ran::Badly(why) | Ran::Forbidden(why) => {
                    tracing::warn!(namespace = self.namespace, pod = self.pod, why, "a post hook failed");
                    return true;
                }
                Ran::Unknown(why) => {
                    tracing::warn!(
                        namespace = self.namespace,
                        pod = self.pod,
                        why,
                        attempt,
                        "a post hook could not be run"
                    );
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    async fn run(&self, step: &Step, within: Duration) -> Ran {
        let target = Target { namespace: self.namespace, pod: self.pod, container: &step.container };
        self.exec.run(target, &step.command, within).await
    }
}
