//! The Pods that use a claim: which of them leave it out, and through which it is best read. Pure.

use super::facts::{Mount, Pod, PodPhase};
use super::hooks::Hooks;
use super::{Rules, Why, not_opted_in, pod_opted_out};
use crate::kinds::VolumesMode;

/// Velero's: volumes of the Pod, by their names in it, with commas between.
pub(super) const OPT_IN: &str = "backup.velero.io/backup-volumes";
pub(super) const OPT_OUT: &str = "backup.velero.io/backup-volumes-excludes";

/// A Pod and what it says of the claim.
struct User<'a> {
    pod: &'a Pod,
    mount: &'a Mount,
    /// Why it leaves the volume out.
    out: Option<Why>,
}

pub(super) struct Candidates<'a> {
    /// Those that have not ended.
    users: Vec<User<'a>>,
    ended: bool,
}

impl<'a> Candidates<'a> {
    pub(super) fn of(users: &[(&'a Pod, &'a Mount)], rules: &Rules<'_>) -> Self {
        let alive = |pod: &Pod| !matches!(pod.phase, PodPhase::Ended);
        let mut living: Vec<_> = users.iter().filter(|(pod, _)| alive(pod)).collect();
        living.sort_by_key(|(pod, mount)| (&pod.name, &mount.volume));
        Self {
            users: living
                .iter()
                .map(|&&(pod, mount)| User { pod, mount, out: out(pod, mount, rules) })
                .collect(),
            ended: users.iter().any(|(pod, _)| !alive(pod)),
        }
    }

    /// Why, if every Pod that uses the claim leaves it out: one that does not is enough for it to be read.
    pub(super) fn all_opted_out(&self) -> Option<Why> {
        let first = self.users.first()?;
        self.users.iter().all(|u| u.out.is_some()).then(|| first.out.clone()).flatten()
    }

    pub(super) fn any_opted_in(&self) -> bool {
        self.users.iter().any(|u| u.out.is_none())
    }

    pub(super) fn any_block(&self) -> bool {
        self.users.iter().any(|u| u.mount.block)
    }

    /// Those through which it can be read, the best first, with the hooks of each: one that is not about to go away,
    /// one with hooks (it knows how to hold still), one that is ready, the oldest.
    pub(super) fn best_first(&self, hooks: impl Fn(&Pod) -> Option<Hooks>) -> Vec<(&'a Pod, Option<Hooks>)> {
        let usable = self.users.iter().filter(|u| u.out.is_none() && is_mounted(u.pod, u.mount));
        let mut all: Vec<_> = usable.map(|u| (u.pod, hooks(u.pod))).collect();
        all.sort_by_key(|(pod, hooks)| {
            (pod.deleting, hooks.is_none(), !pod.ready, pod.created.as_str(), pod.name.as_str())
        });
        all.dedup_by_key(|(pod, _)| (&pod.name, &pod.uid));
        all
    }

    /// Why none of them will do.
    pub(super) fn why_unusable(&self) -> Why {
        let wanted = || self.users.iter().filter(|u| u.out.is_none());
        if wanted().any(|u| u.pod.node.is_some() && !u.mount.mounted) {
            return Why::new("NotMounted", "no container of its Pod mounts it");
        }
        if let Some(user) = wanted().next() {
            let message = format!("its Pod {} has not started", user.pod.name);
            return Why::new("PodNotStarted", message);
        }
        let message = if self.ended { "the Pods that used it have ended" } else { "no Pod uses it" };
        Why::new("Unmounted", message)
    }
}

/// Whether the volume is mounted on the Pod's node now. The kubelet mounts what a container asks for, before the
/// first one starts.
fn is_mounted(pod: &Pod, mount: &Mount) -> bool {
    let up = pod.phase == PodPhase::Running || (pod.phase == PodPhase::Pending && pod.started);
    up && pod.node.is_some() && mount.mounted
}

fn out(pod: &Pod, mount: &Mount, rules: &Rules<'_>) -> Option<Why> {
    if pod_opted_out(pod, rules) {
        return Some(Why::new("podOptedOut", format!("an opt-out label on Pod {}", pod.name)));
    }
    let names = |list: &str| list.split(',').any(|name| name.trim() == mount.volume);
    let listed = |key: &str| pod.annotations.get(key).is_some_and(|list| names(list));
    match rules.mode {
        // As Velero has it: who opts in names what is wanted, and nothing else counts.
        VolumesMode::OptIn => (!listed(OPT_IN)).then(not_opted_in),
        VolumesMode::All | VolumesMode::Off => {
            let excluded = listed(OPT_OUT) && !rules.selection.include_opted_out;
            excluded.then(|| Why::new("podVolumeExcluded", format!("{OPT_OUT} on Pod {}", pod.name)))
        }
    }
}
