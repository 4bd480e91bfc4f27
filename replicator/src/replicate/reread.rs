//! A slow reading of the packs in the source, in turn and at a bounded rate: a listing shows what is gone, only reading
//! shows what was altered. Keeps what was found for those who may heal the primary; replicates nothing.

use super::error::{FetchError, PullError};
use super::{Cycle, expected};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{Cursor, Damaged, HeldPack, Side};
use jiff::Timestamp;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;

/// Bytes per second where the configuration says nothing: some 600 GB a month.
pub const RATE: u64 = 256 << 10;
/// What one pull reads at most, however long the last one is ago.
const MOST: u64 = 1 << 30;
/// Packs known to be damaged that are read again in one pull.
const LOOKS: usize = 16;
/// Packs of one step.
const PAGE: usize = 64;

pub(super) async fn run(cycle: &Cycle) -> Result<(), PullError> {
    look_again(cycle).await?;
    read_on(cycle).await?;
    for damaged in cycle.catalogue.damaged(cycle.cluster(), Side::Primary, 1000)? {
        let sha256 = layout::parse_pack(&damaged.key);
        let held = sha256.map(|s| cycle.catalogue.pack(cycle.cluster(), &s)).transpose()?.flatten();
        if held.is_none() {
            // The snapshot that waits for it says so.
            continue;
        }
        let kind = if damaged.size.is_none() { AlarmKind::PrimaryLost } else { AlarmKind::PrimaryDamaged };
        cycle.find(kind, Stage::Reread, damaged.key, damaged.why, NEXT)?;
    }
    Ok(cycle.settle(Stage::Reread)?)
}

const NEXT: &str = "find out who can delete or overwrite in the source. The vault's copy heals it: give [source.heal] a credential \
                    and run `lifeboat-replicator heal`; with [source.marker] alone `retain` makes the agent store it again";

/// Those known to be damaged: healed, they end.
async fn look_again(cycle: &Cycle) -> Result<(), PullError> {
    for damaged in cycle.catalogue.damaged(cycle.cluster(), Side::Primary, LOOKS)? {
        let Some(sha256) = layout::parse_pack(&damaged.key) else { continue };
        let known = cycle.catalogue.pack(cycle.cluster(), &sha256)?;
        let wanted = match &known {
            Some((_, _, last)) => expected::there(cycle, *last)?,
            // The vault lacks it; a snapshot under way may still wait for it.
            None => true,
        };
        if !wanted {
            cycle.catalogue.end_damaged(cycle.cluster(), Side::Primary, &damaged.key)?;
            continue;
        }
        match cycle.fetcher.digest(&damaged.key).await {
            Ok(seen) if seen == sha256 => {
                tracing::info!(cluster = cycle.cluster(), key = damaged.key, "Healed in the source");
                cycle.catalogue.end_damaged(cycle.cluster(), Side::Primary, &damaged.key)?;
            }
            Ok(_) | Err(FetchError::Missing { .. } | FetchError::Damaged(_)) => {
                cycle.catalogue.put_damaged(cycle.cluster(), Side::Primary, &damaged)?;
            }
            Err(FetchError::Store(error)) => return Err(error.into()),
            Err(FetchError::Vault(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where the last pull stopped.
fn cursor(text: &str) -> Option<(Timestamp, Option<Sha256>)> {
    let (at, last) = text.split_once(' ')?;
    Some((at.parse().ok()?, last.parse().ok()))
}

async fn read_on(cycle: &Cycle) -> Result<(), PullError> {
    let rate = cycle.source.reread_rate;
    let text = cycle.catalogue.cursor(cycle.cluster(), Cursor::Reread)?.unwrap_or_default();
    let Some((at, mut last)) = cursor(&text).filter(|(at, _)| *at <= cycle.now) else {
        return keep(cycle, cycle.now, None);
    };
    let seconds = u64::try_from(cycle.now.duration_since(at).as_secs()).unwrap_or(0);
    let mut budget = seconds.saturating_mul(rate).min(MOST);
    let mut read = 0_u64;
    'pages: while budget > 0 {
        let page = cycle.catalogue.packs_after(cycle.cluster(), last, PAGE)?;
        if page.is_empty() {
            // A round is done; the next one begins with the next pull.
            last = None;
            break;
        }
        for (pack, last_seq) in page {
            if pack.size > budget {
                break 'pages;
            }
            if expected::there(cycle, last_seq)? {
                budget -= pack.size;
                read += pack.size;
                read_one(cycle, pack).await?;
            }
            last = Some(pack.sha256);
        }
    }
    // Time that was not enough for a pack is saved up.
    if read > 0 || last.is_none() { keep(cycle, cycle.now, last) } else { Ok(()) }
}

fn keep(cycle: &Cycle, at: Timestamp, last: Option<Sha256>) -> Result<(), PullError> {
    let last = last.map_or_else(|| "-".to_owned(), |l| l.to_hex());
    Ok(cycle.catalogue.set_cursor(cycle.cluster(), Cursor::Reread, &format!("{at} {last}"))?)
}

async fn read_one(cycle: &Cycle, pack: HeldPack) -> Result<(), PullError> {
    let key = layout::pack(&pack.sha256);
    let why = match cycle.fetcher.digest(&key).await {
        Ok(seen) if seen == pack.sha256 => {
            return Ok(cycle.catalogue.end_damaged(cycle.cluster(), Side::Primary, &key)?);
        }
        Ok(seen) => match cycle.fetcher.digest(&key).await {
            // Read again before it is condemned.
            Ok(again) if again == seen => Some(format!("expected SHA-256 {}, found {seen}", pack.sha256)),
            _ => return Ok(()),
        },
        Err(FetchError::Missing { .. }) => None,
        Err(FetchError::Damaged(damage)) => {
            Some(format!("expected {}, found {}", damage.expected, damage.seen))
        }
        Err(FetchError::Store(error)) => return Err(error.into()),
        Err(FetchError::Vault(error)) => return Err(error.into()),
    };
    let altered = why.is_some().then_some(pack.size);
    note(cycle, &key, why.unwrap_or_else(|| "it is no longer in the source".to_owned()), altered)
}

/// Keeps what is lost in the primary, or altered there (its right size), for `heal` and `retain`.
pub(super) fn note(cycle: &Cycle, key: &str, why: String, altered: Option<u64>) -> Result<(), PullError> {
    let damaged = Damaged { key: key.to_owned(), why, since: cycle.now, size: altered, manifest: None };
    cycle.catalogue.put_damaged(cycle.cluster(), Side::Primary, &damaged)?;
    Ok(())
}
