//! The primary's collector: deletes packs, pack lists and send logs that nothing of the chain needs or may reuse
//! (docs/format.md, "Commit and reuse" 4). Owns the fence, the second pass and the caps.

use super::memory::{self, Since, UNNEEDED_OBJECTS_MAX};
use super::view::{self, Needed};
use super::{Memory, Pass, Primary, PrimaryError};
use crate::replicate::list;
use crate::retain::Retainer;
use crate::scrub::{self, Pace, Seen, Way, World};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::store::{SharedDelete, StoreError, StoreErrorKind};
use lifeboat_format::charter::Charter;
use lifeboat_format::manifest::UnverifiedManifest;
use lifeboat_format::{layout, limits};
use std::collections::BTreeSet;

/// What is not this much older than the newest manifest may be named by a run under way; also between two passes.
const FENCE: SignedDuration = SignedDuration::from_hours(48);
/// Deletions between two looks at the alarms.
const BATCH: usize = 200;
/// Deletions at a time.
const AT_ONCE: usize = 8;
/// So many refusals say enough.
const REFUSALS: u64 = 20;

/// An object that two passes found unneeded and that is behind the fence. Only [`run`] makes one.
#[derive(Debug)]
pub struct Unneeded {
    key: String,
    modified: Timestamp,
}

impl Unneeded {
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[expect(clippy::too_many_arguments, reason = "one call, of what a pass has")]
pub(super) async fn run(
    primary: &Primary<'_>,
    delete: &SharedDelete,
    charter: &Charter,
    forgotten: &BTreeSet<u64>,
    memory: &mut Memory,
    pass: &mut Pass,
    now: Timestamp,
    really: bool,
) -> Result<(), PrimaryError> {
    let _ = &memory;
    let chain = primary.chain()?;
    let Some(head) = chain.last() else { return Ok(()) };
    let needed = match view::needed(primary.retainer, charter, &chain, forgotten)? {
        Ok(needed) => needed,
        Err(why) => {
            pass.stopped.push(format!("{why}; nothing is deleted in the primary"));
            return Ok(());
        }
    };
    let fence = match fence(primary, delete, head.seq, &head.sha256).await? {
        Ok(fence) => fence,
        Err(why) => {
            pass.stopped.push(why);
            return Ok(());
        }
    };
    let vault = primary.retainer.folder.vault();
    let before = memory::unneeded(vault, primary.retainer.cluster)?;
    let look = Look { primary, needed: &needed, before: &before, fence, now };
    let Looked { since, mut due, packs } = look.all().await?;
    if really {
        memory::keep_unneeded(vault, primary.retainer.cluster, &since)?;
    }
    due.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
    due.truncate(primary.max_objects.min((packs * primary.max_percent / 100).max(1)));
    pass.due = due.len() as u64;
    pass.waiting = (since.len() - due.len()) as u64;
    if really { delete_all(primary, delete, due, (fence, now), pass).await } else { Ok(()) }
}

/// Last-Modified of the newest manifest, less two days: what is newer than that stays. Why not, where the primary does not
/// have that manifest as the vault does.
async fn fence(
    primary: &Primary<'_>,
    delete: &SharedDelete,
    seq: u64,
    sha256: &lifeboat_format::id::Sha256,
) -> Result<Result<Timestamp, String>, PrimaryError> {
    let key = layout::manifest(seq);
    let bytes = match primary.read.get(&key, limits::MANIFEST_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return Ok(Err(format!("{key} is not in the primary; nothing is deleted there")));
        }
        Err(error) => return Err(error.into()),
    };
    if !UnverifiedManifest::parse(&bytes).is_ok_and(|m| m.sha256() == *sha256) {
        return Ok(Err(format!("{key} is another one in the primary; nothing is deleted there")));
    }
    // The oldest version: who overwrites the manifest must not move the fence.
    let versions = delete.versions(&key).await?;
    let oldest = versions.iter().filter(|v| !v.delete_marker).map(|v| v.modified).min();
    let Some(oldest) = oldest else {
        return Ok(Err(format!("{key} comes and goes in the primary; nothing is deleted there")));
    };
    Ok(Ok(oldest.checked_sub(FENCE).unwrap_or(Timestamp::MIN)))
}

/// A look at everything that could be collected.
struct Look<'a> {
    primary: &'a Primary<'a>,
    needed: &'a Needed,
    before: &'a Since,
    fence: Timestamp,
    now: Timestamp,
}

#[derive(Default)]
struct Looked {
    since: Since,
    due: Vec<Unneeded>,
    packs: usize,
}

impl Look<'_> {
    async fn all(&self) -> Result<Looked, PrimaryError> {
        let mut looked = Looked::default();
        for prefix in [layout::PACKS, layout::LISTS, layout::AGENT] {
            let mut after: Option<String> = None;
            loop {
                let (page, more) = list::page(&*self.primary.read, prefix, after.as_deref()).await?;
                for listed in &page {
                    self.one(&listed.key, listed.modified, &mut looked)?;
                }
                match page.last() {
                    Some(last) if more => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(looked)
    }

    fn one(&self, key: &str, modified: Timestamp, looked: &mut Looked) -> Result<(), PrimaryError> {
        let Needed { packs, lists, logs } = self.needed;
        let stays = if let Some(pack) = layout::parse_pack(key) {
            looked.packs += 1;
            packs.contains(&pack)
        } else if let Some(list) = layout::parse_hash_named(layout::LISTS, key) {
            lists.contains(&list)
        } else if let Some(log) = layout::parse_hash_named(layout::AGENT, key) {
            logs.contains(&log)
        } else {
            // A name that is none of ours is not ours to delete.
            true
        };
        if stays || looked.since.len() >= UNNEEDED_OBJECTS_MAX || !self.vault_is_sound(key)? {
            return Ok(());
        }
        // A clock that went back begins anew.
        let now = self.now.as_second();
        let since = self.before.get(key).copied().filter(|since| *since <= now).unwrap_or(now);
        looked.since.insert(key.to_owned(), since);
        if now - since >= FENCE.as_secs() && modified <= self.fence {
            looked.due.push(Unneeded { key: key.to_owned(), modified });
        }
        Ok(())
    }

    /// What the vault should have of it, it has, and not marked damaged.
    fn vault_is_sound(&self, key: &str) -> Result<bool, PrimaryError> {
        let retainer = self.primary.retainer;
        let cluster = retainer.cluster.as_str();
        let Some(sha256) = layout::parse_pack(key) else { return Ok(true) };
        let Some((pack, ..)) = retainer.catalogue.pack(cluster, &sha256)? else { return Ok(true) };
        match retainer.folder.size(key)? {
            Some(size) => Ok(size == pack.size && !retainer.catalogue.is_damaged(cluster, key)?),
            // The vault's own retention deleted it, and no pull has taken that over yet.
            None => {
                Ok(crate::retain::collected(retainer.folder.vault(), retainer.cluster)?.contains(&sha256))
            }
        }
    }
}

/// Reads the vault's copy of a pack whose other copy is about to go: rot that no scrub has come to yet is found now. What
/// the vault does not have, it forgot.
fn is_sound_in_vault(world: &World, key: &str, now: Timestamp) -> Result<bool, PrimaryError> {
    if layout::parse_pack(key).is_none() {
        return Ok(true);
    }
    let pace = Pace::new(None);
    let way = Way { pace: &pace, activity: None, from_disk: true };
    match world.look(key, way)? {
        Seen::Sound | Seen::Gone | Seen::Unsure => Ok(true),
        Seen::Bad(why) => {
            scrub::condemn(world, key, &why, way, now)?;
            Ok(false)
        }
    }
}

/// What became of one deletion.
enum Gone {
    Bytes(u64),
    /// A newer version came meanwhile.
    Newer,
    Refused(StoreError),
}

async fn delete_all(
    primary: &Primary<'_>,
    delete: &SharedDelete,
    due: Vec<Unneeded>,
    (fence, now): (Timestamp, Timestamp),
    pass: &mut Pass,
) -> Result<(), PrimaryError> {
    let Retainer { folder, cluster, owner, catalogue, .. } = primary.retainer;
    let world = World::new(folder.clone(), cluster, owner, catalogue)?;
    for batch in due.chunks(BATCH) {
        let alarms = primary.open_alarms()?;
        if !alarms.is_empty() {
            pass.stopped.push(format!("open alarms: {}", alarms.join(", ")));
            return Ok(());
        }
        let mut last_copies = Vec::with_capacity(batch.len());
        for unneeded in batch {
            if is_sound_in_vault(&world, &unneeded.key, now)? {
                last_copies.push(unneeded);
            }
        }
        let mut deletions = stream::iter(last_copies)
            .map(|unneeded| delete_one(delete, unneeded, fence))
            .buffer_unordered(AT_ONCE);
        while let Some(gone) = deletions.next().await {
            match gone? {
                Gone::Bytes(bytes) => {
                    pass.deleted += 1;
                    pass.deleted_bytes += bytes;
                }
                Gone::Newer => {}
                Gone::Refused(error) => {
                    pass.refused += 1;
                    if pass.refused == 1 {
                        tracing::warn!(cluster = %primary.retainer.cluster, %error, "A deletion was refused");
                    }
                }
            }
        }
        if pass.refused >= REFUSALS {
            let why = "the store refuses deletions: the credential of [source.retain] needs DeleteObject and DeleteObjectVersion, \
                       or the objects are locked for longer";
            pass.stopped.push(why.to_owned());
            return Ok(());
        }
    }
    Ok(())
}

/// Deletes every version that was there, each by its name: one that comes later stays.
async fn delete_one(
    delete: &SharedDelete,
    unneeded: &Unneeded,
    fence: Timestamp,
) -> Result<Gone, StoreError> {
    let versions = delete.versions(&unneeded.key).await?;
    if versions.iter().any(|v| v.modified > fence && !v.delete_marker) {
        return Ok(Gone::Newer);
    }
    let mut bytes = 0;
    for version in versions {
        match delete.delete_version(&unneeded.key, version.id.as_deref()).await {
            Ok(()) => bytes += version.size,
            Err(error) if error.kind == StoreErrorKind::Denied => return Ok(Gone::Refused(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(Gone::Bytes(bytes))
}
