//! Which snapshot a person means: a sequence number, an id, a unique prefix of one, or `latest`. Pure.

use super::chain::{AnomalyKind, Fate, Snapshot, SnapshotList};
use lifeboat_format::layout;
use lifeboat_format::manifest::Coverage;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("There is no snapshot yet{why}")]
    Empty { why: String },
    #[error("There is no snapshot '{given}'; `lifeboat snapshots` lists them")]
    Unknown { given: String },
    #[error("'{given}' is the beginning of several snapshots' ids ({matches}); give more of it")]
    Ambiguous { given: String, matches: String },
    #[error(
        "Snapshot {seq} cannot be used: {key} is {reason} ({why}); use another one, or another copy of the repository"
    )]
    Unusable { seq: u64, key: String, reason: &'static str, why: String },
}

impl SnapshotList {
    /// What `given` names: `latest`, a sequence number, an id, or a unique prefix of one (4 digits at least).
    pub fn resolve(&self, given: &str) -> Result<&Snapshot, ResolveError> {
        if given == "latest" {
            return self.latest();
        }
        let number = given.parse::<u64>().ok().filter(|_| given.bytes().all(|b| b.is_ascii_digit()));
        if let Some(seq) = number {
            if let Some(found) = self.snapshots.iter().find(|s| s.manifest.seq == seq) {
                return Ok(found);
            }
            let key = layout::manifest(seq);
            if let Some(a) = self.anomalies.iter().find(|a| a.key == key && a.kind != AnomalyKind::Junk) {
                let reason = a.kind.reason();
                return Err(ResolveError::Unusable { seq, key, reason, why: a.why.clone() });
            }
        }
        self.by_id(given)
    }

    fn by_id(&self, given: &str) -> Result<&Snapshot, ResolveError> {
        let hex = given.len() >= 4 && given.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let unknown = || ResolveError::Unknown { given: given.escape_debug().to_string() };
        if !hex {
            return Err(unknown());
        }
        let mut found = self.snapshots.iter().filter(|s| s.manifest.id.to_hex().starts_with(given));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(unknown()),
            (Some(a), Some(b)) => Err(ResolveError::Ambiguous {
                given: given.to_owned(),
                matches: format!("snapshots {}, {} …", a.manifest.seq, b.manifest.seq),
            }),
        }
    }

    /// The newest full snapshot that is kept, else the newest of any kind.
    pub fn latest(&self) -> Result<&Snapshot, ResolveError> {
        let newest = |full: bool| {
            let wanted = move |s: &&Snapshot| !full || s.manifest.coverage == Coverage::Full;
            self.kept().rev().find(wanted)
        };
        newest(true).or_else(|| newest(false)).ok_or_else(|| ResolveError::Empty {
            why: match (self.snapshots.len(), self.anomalies.len()) {
                (0, 0) => "; `lifeboat-agent backup` makes one".to_owned(),
                (0, n) => format!(", and {n} objects under manifests/ are not what they should be; `lifeboat verify` lists them"),
                (n, _) => format!(" that is kept; {n} were forgotten by the retention, and can be tried by number"),
            },
        })
    }

    /// Snapshots that nobody forgot, ascending.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.snapshots.iter().filter(|s| s.fate == Fate::Kept)
    }
}
