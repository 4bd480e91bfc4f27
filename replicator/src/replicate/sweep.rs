//! A slow look at the packs in the source: two pages of the listing per pull, in turn, against what the vault holds.
//! Finds what was deleted or overwritten there. Replicates nothing.

use super::error::PullError;
use super::{Cycle, expected, list, reread};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{Cursor, Side};
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use std::collections::{BTreeMap, BTreeSet};

const PAGES: usize = 2;
/// Packs of the vault that one pull compares: it may hold far more than the primary still has.
const COMPARED: usize = 20_000;
/// More missing packs than this in one pull are counted, not named and not asked for one by one.
const NAMED: usize = 20;

pub(super) async fn run(cycle: &Cycle) -> Result<(), PullError> {
    let cluster = cycle.cluster();
    if cycle.catalogue.totals(cluster)?.packs == 0 {
        return Ok(());
    }
    let start: Option<Sha256> =
        cycle.catalogue.cursor(cluster, Cursor::Sweep)?.and_then(|text| text.parse().ok());
    let mut after = start.map(|s| layout::pack(&s));
    let mut sizes: BTreeMap<Sha256, u64> = BTreeMap::new();
    let mut ended = false;
    for _ in 0..PAGES {
        let (page, more) = list::page(&*cycle.fetcher.store, layout::PACKS, after.as_deref()).await?;
        sizes.extend(page.iter().filter_map(|l| Some((layout::parse_pack(&l.key)?, l.size))));
        after = page.last().map(|l| l.key.clone()).or(after);
        ended = !more;
        if ended {
            break;
        }
    }
    // A page of nothing but junk moves on all the same.
    let until = if ended { None } else { after.as_deref().and_then(end_of) };
    let until = compare(cycle, start, until, &sizes).await?;
    let cursor = until.map_or_else(String::new, |u| u.to_hex());
    Ok(cycle.catalogue.set_cursor(cluster, Cursor::Sweep, &cursor)?)
}

/// The last pack name that a listing up to `key` covers.
fn end_of(key: &str) -> Option<Sha256> {
    layout::parse_pack(key).or_else(|| {
        let hex: String =
            key.strip_prefix(layout::PACKS)?.chars().take_while(char::is_ascii_hexdigit).collect();
        format!("{hex:0<64}").get(..64)?.parse().ok()
    })
}

/// What is known to be wrong in the primary: only that can come to an end.
struct Known {
    alarms: BTreeSet<String>,
    damaged: BTreeSet<String>,
}

impl Known {
    fn read(cycle: &Cycle) -> Result<Self, PullError> {
        let (catalogue, cluster) = (&cycle.catalogue, cycle.cluster());
        let alarms = catalogue.alarms(cluster)?.into_iter();
        let damaged = catalogue.damaged(cluster, Side::Primary, 1 << 20)?.into_iter();
        Ok(Self {
            alarms: alarms.filter(|a| a.kind == AlarmKind::PrimaryLost).map(|a| a.what).collect(),
            damaged: damaged.map(|d| d.key).collect(),
        })
    }

    fn end_alarm(&self, cycle: &Cycle, key: &str) -> Result<(), PullError> {
        if self.alarms.contains(key) {
            cycle.catalogue.end_alarm(cycle.cluster(), AlarmKind::PrimaryLost, key)?;
        }
        Ok(())
    }

    fn end_lost(&self, cycle: &Cycle, key: &str) -> Result<(), PullError> {
        if self.damaged.contains(key) {
            cycle.catalogue.end_lost(cycle.cluster(), Side::Primary, key)?;
        }
        Ok(())
    }
}

/// Compares from behind `start` up to `until`, or up to where it has done enough for one pull, which it gives back.
async fn compare(
    cycle: &Cycle,
    start: Option<Sha256>,
    until: Option<Sha256>,
    sizes: &BTreeMap<Sha256, u64>,
) -> Result<Option<Sha256>, PullError> {
    let cluster = cycle.cluster();
    let next = "the vault holds it whole, and `heal` puts it back; find out who can delete or overwrite in the source";
    let mut lost = 0;
    if start.is_none() {
        // A new round; raised again when there are still so many.
        cycle.catalogue.end_alarm(cluster, AlarmKind::PrimaryLost, layout::PACKS)?;
    }
    let known = Known::read(cycle)?;
    let packs = cycle.catalogue.packs_with_last(cluster, start, until, COMPARED)?;
    let until = packs.last().filter(|_| packs.len() == COMPARED).map(|(pack, _)| pack.sha256).or(until);
    for (pack, last) in packs {
        let key = layout::pack(&pack.sha256);
        if !expected::there(cycle, last)? {
            // Forgotten there by our own retention, which may have deleted it.
            known.end_alarm(cycle, &key)?;
            continue;
        }
        let there = sizes.get(&pack.sha256).copied();
        if there == Some(pack.size) {
            known.end_lost(cycle, &key)?;
            known.end_alarm(cycle, &key)?;
            continue;
        }
        lost += 1;
        if lost > NAMED {
            continue;
        }
        // A listing may leave something out; only the object itself can be missing.
        let there = match there {
            None => cycle.fetcher.store.head(&key).await?.map(|entry| entry.size),
            size => size,
        };
        let why = match there {
            Some(size) if size == pack.size => continue,
            Some(size) => format!("expected {} bytes, found {size}", pack.size),
            None => "it is no longer in the source".to_owned(),
        };
        reread::note(cycle, &key, why.clone(), None)?;
        cycle.find(AlarmKind::PrimaryLost, Stage::Sweep, key, why, next)?;
    }
    if lost > NAMED {
        let what = layout::PACKS;
        let why = format!("{lost} packs that the vault holds are missing from this part of the listing");
        cycle.find(AlarmKind::PrimaryLost, Stage::Sweep, what, why, next)?;
    }
    Ok(until)
}
