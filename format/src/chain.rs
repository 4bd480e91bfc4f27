//! The chain of manifests: which of the signed ones count. Pure; the caller brings them in order of their slots.

use crate::charter::AgentKey;
use crate::crypto::sign::VerifyKey;
use crate::id::Sha256;
use crate::manifest::SignedManifest;

/// The newest manifest that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    /// SHA-256 of its payload.
    pub sha256: Sha256,
    pub signer: VerifyKey,
}

/// What a signed manifest is to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It extends the head, and becomes it.
    Accepted,
    /// Signed by a key after its end, or before its beginning: kept aside, displaces nothing.
    RejectedBranch,
    /// Signed by a key in force, and does not extend the head: a fork, a replay, or a gap.
    Broken,
}

/// Follows `prev` links and the validity of agent keys (repository.md, "Agent key after a compromise").
#[derive(Debug, Clone)]
pub struct Chain {
    agents: Vec<AgentKey>,
    head: Option<Head>,
}

impl Chain {
    /// A chain with no manifest yet, or one that goes on from `head`.
    #[must_use]
    pub fn new(agents: &[AgentKey], head: Option<Head>) -> Self {
        Self { agents: agents.to_vec(), head }
    }

    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Judges the next manifest by its slot; on [`Verdict::Accepted`] it is the new head.
    pub fn judge(&mut self, next: &SignedManifest) -> Verdict {
        let head = self.head.map(|h| h.sha256);
        let Some(agent) = self.agents.iter().find(|a| a.key == next.signer) else {
            return Verdict::RejectedBranch;
        };
        let continues = self.head.is_some_and(|h| h.signer == next.signer);
        let ended = agent.until.is_some() && agent.until == head;
        let begins = agent.from == head;
        if ended || (!continues && !begins) {
            // A key in force from the start of a chain that skips something is a gap, not an outsider.
            let in_force = agent.until.is_none() && agent.from.is_none();
            return if in_force { Verdict::Broken } else { Verdict::RejectedBranch };
        }
        let later = self.head.is_none_or(|h| next.manifest.seq > h.seq);
        if next.manifest.prev != head || !later {
            return Verdict::Broken;
        }
        self.head = Some(Head { seq: next.manifest.seq, sha256: next.sha256, signer: next.signer });
        Verdict::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::manifest::UnverifiedManifest;
    use crate::manifest::tests::sample;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
    }

    fn manifest(seq: u64, prev: Option<Sha256>, key: &SigningKey) -> SignedManifest {
        let mut m = sample(seq);
        m.prev = prev;
        let parsed = UnverifiedManifest::parse(&m.sign(key)).unwrap();
        parsed.verify(&[key.verify_key()], &"prod".parse().unwrap(), seq).unwrap()
    }

    fn agent(key: &SigningKey, from: Option<Sha256>, until: Option<Sha256>) -> AgentKey {
        AgentKey { key: key.verify_key(), from, until }
    }

    #[test]
    fn a_chain_grows_and_forks_are_broken() {
        let a = key();
        let mut chain = Chain::new(&[agent(&a, None, None)], None);
        let one = manifest(1, None, &a);
        let two = manifest(2, Some(one.sha256), &a);
        assert_eq!(chain.judge(&one), Verdict::Accepted);
        assert_eq!(chain.judge(&manifest(2, None, &a)), Verdict::Broken);
        assert_eq!(chain.judge(&manifest(3, Some(Sha256([9; 32])), &a)), Verdict::Broken);
        assert_eq!(chain.judge(&two), Verdict::Accepted);
        assert_eq!(chain.judge(&one), Verdict::Broken, "a replay");
        let skipped = manifest(9, Some(two.sha256), &a);
        assert_eq!(chain.judge(&skipped), Verdict::Accepted, "junk took the slots between");
    }

    #[test]
    fn an_old_key_counts_until_its_end_and_a_new_one_from_its_beginning() {
        let (old, new) = (key(), key());
        let one = manifest(1, None, &old);
        let two = manifest(2, Some(one.sha256), &old);
        let after = manifest(3, Some(two.sha256), &old);
        let fresh = manifest(4, Some(two.sha256), &new);
        let next = manifest(5, Some(fresh.sha256), &new);
        let agents = [agent(&old, None, Some(two.sha256)), agent(&new, Some(two.sha256), None)];
        let mut chain = Chain::new(&agents, None);
        let verdicts: Vec<Verdict> = [&one, &two, &after, &fresh, &next].map(|m| chain.judge(m)).to_vec();
        use Verdict::{Accepted, RejectedBranch};
        assert_eq!(verdicts, [Accepted, Accepted, RejectedBranch, Accepted, Accepted]);
        let mut stranger = Chain::new(&agents[..1], None);
        assert_eq!(stranger.judge(&fresh), RejectedBranch);
    }
}
