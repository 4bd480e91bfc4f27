//! Healing the vault: what a scrub found is fetched from the source again, verified, and put back. Owns which copy may
//! take a damaged one's place; finds no damage itself.

use super::error::{FetchError, PullError};
use super::verify::{CharterFile, EpochFile, Kind, List, Named, Pack};
use super::{Cycle, WHOLE, blocking};
use crate::alarm::{AlarmKind, Stage};
use crate::audit;
use crate::catalog::{Damaged, Side};
use crate::scrub::{self, Pace, Seen, Way, World};
use crate::vault::VaultError;
use futures::{FutureExt as _, StreamExt as _, stream};
use lifeboat_common::progress::Progress;
use lifeboat_format::audit::Event;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::UnverifiedManifest;
use lifeboat_format::{layout, limits};

/// Objects that one pull heals at most; the rest waits for the next ones.
const MOST: usize = 1000;

/// What became of one.
enum Healed {
    /// The right bytes are in place.
    Yes,
    /// Nothing needs it any more.
    NotNeeded,
    /// The source does not have it, or not as it must be.
    No(String),
}

/// Takes in what scrubs found. Local: it works while the source is away.
pub(super) async fn take_in(cycle: &Cycle) -> Result<(), PullError> {
    let (folder, catalogue, source) = (cycle.folder.clone(), cycle.catalogue.clone(), cycle.source.clone());
    let new =
        blocking("scrub findings", move || scrub::take_in(&folder, &catalogue, &source.cluster)).await?;
    write_down(
        cycle,
        new.iter().map(|d| Event::new("vault-damaged", d.key.clone(), d.why.clone())).collect(),
    )
    .await?;
    for damaged in cycle.catalogue.damaged(cycle.cluster(), Side::Vault, MOST)? {
        let next = "nothing; the pull under way fetches it again from the source";
        cycle.find(AlarmKind::VaultDamaged, Stage::Heal, damaged.key, damaged.why, next)?;
    }
    Ok(())
}

/// Heals what can be healed, and says what to do about the rest.
pub(super) async fn run(cycle: &Cycle) -> Result<(), PullError> {
    let damaged = cycle.catalogue.damaged(cycle.cluster(), Side::Vault, MOST)?;
    if damaged.is_empty() {
        return Ok(cycle.settle(Stage::Heal)?);
    }
    cycle.activity.busy(cycle.cluster(), format!("healing {} damaged files", damaged.len()));
    let mut healing = stream::iter(damaged)
        .map(|damaged| async move { (heal(cycle, &damaged).await, damaged) }.boxed())
        .buffer_unordered(WHOLE.min(cycle.transfers));
    let (mut events, mut open) = (Vec::new(), Vec::new());
    let mut failed = None;
    while let Some((healed, damaged)) = healing.next().await {
        cycle.activity.tick();
        match healed {
            Ok(Healed::Yes) => {
                cycle.folder.settle()?;
                tracing::info!(cluster = cycle.cluster(), key = damaged.key, "Healed in the vault");
                events.push(Event::new("vault-healed", damaged.key.clone(), "fetched again and verified"));
                cycle.catalogue.end_damaged(cycle.cluster(), Side::Vault, &damaged.key)?;
            }
            Ok(Healed::NotNeeded) => {
                cycle.catalogue.end_damaged(cycle.cluster(), Side::Vault, &damaged.key)?
            }
            Ok(Healed::No(why)) => open.push((damaged, why)),
            Err(error) => {
                // The way is to blame; what else is damaged may still be had.
                open.push((damaged, error.to_string()));
                failed = Some(error);
            }
        }
    }
    drop(healing);
    write_down(cycle, events).await?;
    forget_findings(cycle);
    for (damaged, why) in open {
        cycle.catalogue.put_damaged(cycle.cluster(), Side::Vault, &damaged)?;
        let path = cycle.folder.full_path(&damaged.key);
        let next = format!(
            "put the right bytes at {} from another copy of the vault, or back in the source; then run `scrub --once --all`. \
             Look at the disk. Until then nothing is forgotten",
            path.display()
        );
        let why = format!("{}; not healed: {why}", damaged.why);
        cycle.find(AlarmKind::VaultDamaged, Stage::Heal, damaged.key, why, &next)?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(cycle.settle(Stage::Heal)?),
    }
}

/// What was raised when it was taken in, and is healed now, is not open.
fn forget_findings(cycle: &Cycle) {
    let mut findings = cycle.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    findings.retain(|f| f.stage != Stage::Heal);
}

async fn write_down(cycle: &Cycle, events: Vec<Event>) -> Result<(), PullError> {
    let (folder, source, now) = (cycle.folder.clone(), cycle.source.clone(), cycle.now);
    let write = move || audit::append(&folder, &source.cluster, &source.receipt_key, "pull", events, now);
    blocking("the audit log", write).await
}

async fn heal(cycle: &Cycle, damaged: &Damaged) -> Result<Healed, PullError> {
    let key = &damaged.key;
    if let Some(sha256) = layout::parse_pack(key) {
        let Some((pack, ..)) = cycle.catalogue.pack(cycle.cluster(), &sha256)? else {
            return Ok(Healed::NotNeeded);
        };
        return put_back(cycle, &Named::<Pack>::pack(sha256, pack.size)).await;
    }
    if let Some(sha256) = layout::parse_hash_named(layout::LISTS, key) {
        return put_back(cycle, &Named::<List>::list(sha256)).await;
    }
    if let Some((n, sha256)) = layout::parse_charter(key) {
        return put_back(cycle, &Named::<CharterFile>::charter(n, sha256)).await;
    }
    if let Some((n, sha256)) = layout::parse_epoch(key) {
        return put_back(cycle, &Named::<EpochFile>::epoch(n, sha256)).await;
    }
    match (layout::parse_manifest(key), damaged.manifest) {
        (Some(seq), Some((sha256, signer))) => manifest(cycle, seq, sha256, signer).await,
        _ => only_here(cycle, key).await,
    }
}

/// What only the vault has: somebody may have put it right.
async fn only_here(cycle: &Cycle, key: &str) -> Result<Healed, PullError> {
    let (folder, catalogue, source) = (cycle.folder.clone(), cycle.catalogue.clone(), cycle.source.clone());
    let key = key.to_owned();
    let seen = blocking("healing", move || {
        let world = World::new(folder, &source.cluster, &source.owner, &catalogue)?;
        let way = Way { pace: &Pace::new(None), activity: None, from_disk: true };
        Ok::<_, PullError>(world.look(&key, way)?)
    })
    .await?;
    Ok(match seen {
        Seen::Sound => Healed::Yes,
        Seen::Gone | Seen::Unsure | Seen::Bad(_) => Healed::No("the vault alone has it".to_owned()),
    })
}

/// A file that is there and right was put back by somebody; one that is there and wrong leaves its place first.
async fn put_back<K: Kind>(cycle: &Cycle, named: &Named<K>) -> Result<Healed, PullError> {
    let (folder, key, sha256) = (cycle.folder.clone(), named.key.clone(), named.sha256);
    let there = blocking("healing", move || {
        let hash = |key: &str| -> Result<Option<bool>, VaultError> {
            let Some((mut file, _)) = folder.open(key)? else { return Ok(None) };
            Ok(Some(hash_file(&mut file).is_ok_and(|seen| seen == sha256)))
        };
        if hash(&key)? != Some(false) {
            return hash(&key);
        }
        let lock = folder.vault().lock_exclusive()?;
        // Read again under the lock: nobody puts anything there meanwhile.
        if hash(&key)? == Some(false) {
            folder.set_aside(&key, &lock)?;
        }
        hash(&key)
    })
    .await?;
    if there == Some(true) {
        return Ok(Healed::Yes);
    }
    match cycle.fetcher.object(named, &Progress::quiet()).await {
        Ok(verified) => {
            let (folder, now) = (cycle.folder.clone(), cycle.now);
            blocking("healing", move || folder.place(verified, now)).await?;
            Ok(Healed::Yes)
        }
        Err(FetchError::Missing { .. }) => Ok(Healed::No("the source does not have it".to_owned())),
        Err(FetchError::Damaged(damage)) => {
            Ok(Healed::No(format!("the source has it damaged, too: {}", damage.seen)))
        }
        Err(FetchError::Store(error)) => Err(error.into()),
        Err(FetchError::Vault(error)) => Err(error.into()),
    }
}

fn hash_file(file: &mut impl std::io::Read) -> std::io::Result<Sha256> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => hash.update(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut sha256 = Sha256([0; 32]);
    sha256.0.copy_from_slice(hash.finish().as_ref());
    Ok(sha256)
}

/// The same judged manifest: its payload's hash is known, and who signed it.
async fn manifest(cycle: &Cycle, seq: u64, sha256: Sha256, signer: VerifyKey) -> Result<Healed, PullError> {
    let cluster = cycle.source.cluster.clone();
    let same = move |bytes: &[u8]| {
        let signed = UnverifiedManifest::parse(bytes).and_then(|m| m.verify(&[signer], &cluster, seq));
        signed.is_ok_and(|m| m.sha256 == sha256)
    };
    let folder = cycle.folder.clone();
    let there = blocking("healing", move || folder.read(&layout::manifest(seq), limits::MANIFEST_MAX)).await;
    if let Ok(Some((bytes, _))) = &there
        && same(bytes)
    {
        return Ok(Healed::Yes);
    }
    let bytes = match cycle.fetcher.manifest(seq).await {
        Ok(bytes) if same(&bytes) => bytes,
        Ok(_) | Err(FetchError::Damaged(_)) => {
            return Ok(Healed::No("the source has another one".to_owned()));
        }
        Err(FetchError::Missing { .. }) => return Ok(Healed::No("the source does not have it".to_owned())),
        Err(FetchError::Store(error)) => return Err(error.into()),
        Err(FetchError::Vault(error)) => return Err(error.into()),
    };
    let row = cycle.catalogue.snapshot(cycle.cluster(), seq)?;
    let first_seen = row.map_or(cycle.now, |r| r.first_seen);
    let folder = cycle.folder.clone();
    blocking("healing", move || {
        let lock = folder.vault().lock_exclusive()?;
        folder.renew_manifest(seq, &bytes, first_seen, &lock)
    })
    .await?;
    Ok(Healed::Yes)
}
