//! Which packs should still be in the source: those of snapshots that this replicator did not forget there.

use super::Cycle;
use super::error::PullError;
use crate::primary;

/// Whether a pack whose last need is slot `last` should be in the source.
pub(super) fn there(cycle: &Cycle, last: u64) -> Result<bool, PullError> {
    let forgotten = match cycle.forgotten.get() {
        Some(forgotten) => forgotten,
        None => {
            let read = primary::forgotten(cycle.folder.vault(), &cycle.source.cluster)?;
            cycle.forgotten.get_or_init(|| read)
        }
    };
    Ok(!forgotten.contains(&last))
}
