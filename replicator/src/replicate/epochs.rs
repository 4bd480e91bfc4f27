//! Epoch files: without them no snapshot opens, so they come before any. Owns which must be there.

use super::charters::Charters;
use super::error::{FetchError, PullError};
use super::verify::{EpochFile, Named};
use super::{Cycle, blocking};
use crate::alarm::{AlarmKind, Stage};
use lifeboat_common::progress::Progress;
use lifeboat_format::layout;

/// Gets the sealed epochs that the charter in force names. False when the newest epoch has no sealed copy here: what is
/// sealed to it could not be restored, so nothing is committed.
pub(super) async fn update(cycle: &Cycle, charters: &Charters) -> Result<bool, PullError> {
    let charter = charters.newest();
    let current = charter.current_epoch().map(|e| e.n);
    let mut restorable = true;
    for epoch in &charter.epochs {
        let mut copies = 0;
        for sha256 in &epoch.sealed_sha256 {
            let key = layout::epoch(epoch.n, sha256);
            let (folder, name) = (cycle.folder.clone(), key.clone());
            if blocking("epochs", move || folder.size(&name)).await?.is_some() {
                copies += 1;
                continue;
            }
            match cycle.fetcher.object(&Named::<EpochFile>::epoch(epoch.n, *sha256), &Progress::quiet()).await
            {
                Ok(verified) => {
                    let (folder, now) = (cycle.folder.clone(), cycle.now);
                    blocking("epochs", move || folder.place(verified, now)).await?;
                    copies += 1;
                }
                Err(FetchError::Missing { key }) => {
                    let why = format!("charter {} names it, and it is not in the source", charter.n);
                    let next = "put it back from where `lifeboat init` or `rotate` wrote it: snapshots of this epoch \
                                cannot be restored without it";
                    cycle.find(AlarmKind::Missing, Stage::Charters, key, why, next)?;
                }
                Err(error) => cycle.object_failed(Stage::Charters, error)?,
            }
        }
        if Some(epoch.n) == current && copies == 0 && !epoch.sealed_sha256.is_empty() {
            restorable = false;
        }
    }
    Ok(restorable)
}
