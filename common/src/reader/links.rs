//! Which signed manifests can be read, beyond those that the chain counts.
//!
//! One damaged manifest must not cost an administrator every later snapshot. What a store can do is take away,
//! replay or swap; it cannot sign. So a manifest after a gap is followed when a key in force signed it, and an
//! earlier one when a followed manifest, or the charter, names its hash. Pure; decides nothing but what is shown.

use lifeboat_format::chain::{Chain, Head, Verdict};
use lifeboat_format::charter::AgentKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::SignedManifest;
use std::collections::{HashMap, HashSet};

/// How a signed manifest hangs together with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Every manifest before it is there.
    Chained,
    /// Sound, but something before it is missing or damaged.
    AfterGap,
    /// Signed by a key after its end, or before its beginning.
    Rejected,
    /// A fork or a replay.
    Broken,
}

impl Link {
    /// Whether it is a snapshot that may be shown and read.
    #[must_use]
    pub fn is_sound(self) -> bool {
        matches!(self, Self::Chained | Self::AfterGap)
    }
}

/// Judges manifests in the order of their slots.
pub(super) fn judge(agents: &[AgentKey], manifests: &[SignedManifest]) -> Vec<Link> {
    let mut chain = Chain::new(agents, None);
    let mut links = Vec::with_capacity(manifests.len());
    let mut seen: HashSet<Sha256> = HashSet::new();
    let mut gap = false;
    for next in manifests {
        let verdict = chain.judge(next);
        let link = match verdict {
            Verdict::Accepted if gap => Link::AfterGap,
            Verdict::Accepted => Link::Chained,
            Verdict::Broken | Verdict::RejectedBranch if resumes(agents, next, &seen) => {
                gap = true;
                let head = Head { seq: next.manifest.seq, sha256: next.sha256, signer: next.signer };
                chain = Chain::new(agents, Some(head));
                Link::AfterGap
            }
            Verdict::Broken => Link::Broken,
            Verdict::RejectedBranch => Link::Rejected,
        };
        seen.insert(next.sha256);
        links.push(link);
    }
    follow_back(agents, manifests, &mut links);
    links
}

/// Whether `next` begins the chain anew after a gap: signed by a key in force, and either the charter names what it
/// extends, or nothing that is there is what it extends (else it would be a fork).
fn resumes(agents: &[AgentKey], next: &SignedManifest, seen: &HashSet<Sha256>) -> bool {
    let Some(agent) = agents.iter().find(|a| a.key == next.signer && a.until.is_none()) else { return false };
    match next.manifest.prev {
        Some(prev) => agent.from == Some(prev) || !seen.contains(&prev),
        None => false,
    }
}

/// Marks as sound what a sound manifest, or a charter, names as what it extends.
fn follow_back(agents: &[AgentKey], manifests: &[SignedManifest], links: &mut [Link]) {
    let at: HashMap<Sha256, usize> = manifests.iter().enumerate().map(|(i, m)| (m.sha256, i)).collect();
    let mut named: Vec<Sha256> = agents.iter().filter_map(|a| a.until).collect();
    named.extend(
        manifests.iter().zip(&*links).filter(|(_, l)| l.is_sound()).filter_map(|(m, _)| m.manifest.prev),
    );
    while let Some(hash) = named.pop() {
        let Some(&i) = at.get(&hash) else { continue };
        if !links[i].is_sound() {
            links[i] = Link::AfterGap;
            named.extend(manifests[i].manifest.prev);
        }
    }
}
