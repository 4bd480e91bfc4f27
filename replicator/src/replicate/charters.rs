//! Charters and epoch files: fetched, traced back to the pinned owner, and kept. Owns which charter is in force here.

use super::error::{FetchError, PullError};
use super::verify::{CharterFile, Named};
use super::{Cycle, blocking, list};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{Catalogue, CharterRow};
use crate::vault::{Folder, VaultError};
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::progress::Progress;
use lifeboat_format::charter::{self, Charter, TrustedCharter, trusted_chain};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::{FormatError, layout, limits};
use std::collections::{BTreeMap, BTreeSet};

/// More charter files than this are not looked at: one a month for eighty years. The rest is somebody's junk.
const CHARTERS_MAX: usize = 1000;

/// The trusted charters of a cluster.
#[derive(Debug, Clone)]
pub struct Charters {
    /// Ascending, never empty.
    trusted: Vec<TrustedCharter>,
    first_seen: BTreeMap<u64, Timestamp>,
    /// First seen in this pull: they make nothing late.
    fresh: BTreeSet<u64>,
}

/// A charter's file.
#[derive(Debug, Clone)]
pub(super) struct CharterBytes {
    pub(super) n: u64,
    pub(super) sha256: Sha256,
    pub(super) bytes: Vec<u8>,
    pub(super) modified: Timestamp,
}

impl Charters {
    #[must_use]
    pub fn new(
        trusted: Vec<TrustedCharter>,
        first_seen: BTreeMap<u64, Timestamp>,
        fresh: BTreeSet<u64>,
    ) -> Option<Self> {
        (!trusted.is_empty()).then_some(Self { trusted, first_seen, fresh })
    }

    #[must_use]
    pub fn newest(&self) -> &Charter {
        self.trusted.last().expect("there is at least one, by construction").charter()
    }

    /// The keys that may have signed receipts.
    #[must_use]
    pub fn receipt_keys(&self) -> Vec<VerifyKey> {
        self.trusted.iter().map(|c| c.charter().receipt_key).collect()
    }

    /// Names what manifests are judged by.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256 {
        self.trusted.last().expect("there is at least one, by construction").sha256()
    }

    /// Whether new manifests under charter `n` no longer pass.
    #[must_use]
    pub fn is_over(&self, n: u64, grace: SignedDuration, now: Timestamp) -> bool {
        let find = |n: u64| self.trusted.iter().map(TrustedCharter::charter).find(|c| c.n == n);
        let (Some(old), Some(next)) = (find(n), find(n + 1)) else { return n == 0 };
        if self.fresh.contains(&next.n) {
            return false;
        }
        let revokes = old
            .agents
            .iter()
            .filter(|a| a.until.is_none())
            .any(|a| !next.agents.iter().any(|b| b.key == a.key && b.until.is_none()));
        let grace = if revokes { SignedDuration::ZERO } else { grace };
        self.first_seen.get(&next.n).is_some_and(|seen| now.duration_since(*seen) > grace)
    }
}

/// The charter files in a folder of the vault, and the keys of those that are damaged.
pub(super) fn held(folder: &Folder) -> Result<(Vec<CharterBytes>, Vec<String>), VaultError> {
    let (mut files, mut damaged) = (Vec::new(), Vec::new());
    for name in folder.names(layout::CHARTER)? {
        let key = format!("{}{name}", layout::CHARTER);
        let Some((n, sha256)) = layout::parse_charter(&key) else { continue };
        match folder.read(&key, limits::CHARTER_MAX)? {
            Some((bytes, modified)) if Sha256::of(&bytes) == sha256 => {
                files.push(CharterBytes { n, sha256, bytes, modified });
            }
            Some(_) => damaged.push(key),
            None => {}
        }
    }
    Ok((files, damaged))
}

/// Charter files that nobody vouched for so far; a later one may.
fn set_aside(folder: &Folder) -> Result<Vec<CharterBytes>, VaultError> {
    let mut files = Vec::new();
    let names = folder.names(layout::REJECTED)?.into_iter();
    let parsed = names.filter_map(|name| {
        let key = format!("{}{}", layout::CHARTER, name.strip_prefix("charter-")?);
        layout::parse_charter(&key).map(|parsed| (name, parsed))
    });
    for (name, (n, sha256)) in parsed.take(CHARTERS_MAX) {
        let read = folder.read(&format!("{}{name}", layout::REJECTED), limits::CHARTER_MAX)?;
        if let Some((bytes, modified)) = read.filter(|(bytes, _)| Sha256::of(bytes) == sha256) {
            files.push(CharterBytes { n, sha256, bytes, modified });
        }
    }
    Ok(files)
}

/// The charters in the vault that trace back to `owner`, ascending.
pub fn trusted(
    folder: &Folder,
    owner: &VerifyKey,
    cluster: &ClusterName,
) -> Result<Vec<TrustedCharter>, VaultError> {
    let (files, _) = held(folder)?;
    Ok(judge(&files, &[], owner, cluster).0)
}

/// What the files say, and why it is not all of it.
pub(super) fn judge(
    held: &[CharterBytes],
    others: &[CharterBytes],
    owner: &VerifyKey,
    cluster: &ClusterName,
) -> (Vec<TrustedCharter>, Option<FormatError>) {
    let chain = |files: &mut dyn Iterator<Item = &CharterBytes>| {
        let files: Vec<Vec<u8>> = files.map(|f| f.bytes.clone()).collect();
        trusted_chain(&files, owner, cluster)
    };
    match chain(&mut held.iter().chain(others)) {
        Ok(trusted) => (trusted, None),
        Err(error) if error.reason() != "Forged" => (Vec::new(), Some(error)),
        // Two of one number: what was here first stays in force; with nothing here, what is below the two.
        Err(error) => {
            let highest = held.iter().chain(others).map(|f| f.n).max().unwrap_or(0);
            let known = chain(&mut held.iter());
            let below = (1..=highest)
                .rev()
                .find_map(|n| chain(&mut held.iter().chain(others).filter(|f| f.n < n)).ok());
            (known.ok().or(below).unwrap_or_default(), Some(error))
        }
    }
}

/// Whether `file` is one that the trusted charters below it vouch for.
fn is_trusted(
    file: &CharterBytes,
    below: &[CharterBytes],
    trusted: &[TrustedCharter],
    owner: &VerifyKey,
) -> bool {
    let Ok((envelope, parsed)) = charter::parse(&file.bytes) else { return false };
    let payload = Sha256::of(envelope.unverified_payload());
    if file.n != parsed.n || !trusted.iter().any(|t| t.sha256() == payload) {
        return false;
    }
    let files: Vec<Vec<u8>> =
        below.iter().filter(|f| f.n < file.n).chain([file]).map(|f| f.bytes.clone()).collect();
    trusted_chain(&files, owner, &parsed.cluster)
        .is_ok_and(|chain| chain.last().is_some_and(|c| c.charter().n == file.n))
}

/// Brings the charters up to date, and says which are in force.
pub(super) async fn update(cycle: &Cycle) -> Result<Charters, PullError> {
    let listed = list::all(&*cycle.fetcher.store, layout::CHARTER, None).await?;
    let folder = cycle.folder.clone();
    let ((mut held, damaged), mut others) =
        blocking("charters", move || Ok::<_, VaultError>((held(&folder)?, set_aside(&folder)?))).await?;
    for key in damaged {
        let next = "remove the file from the vault and pull again; then look at the disk";
        cycle.find(
            AlarmKind::VaultDamaged,
            Stage::Charters,
            key,
            "its bytes do not hash to its name",
            next,
        )?;
    }
    let fetched = fetch_new(cycle, &listed, &held, &others).await?;
    let new: BTreeSet<Sha256> = fetched.iter().map(|file| file.sha256).collect();
    others.extend(fetched);
    let (trusted, flaw) = judge(&held, &others, &cycle.source.owner, &cycle.source.cluster);
    report_flaw(cycle, &trusted, flaw)?;
    others.sort_by_key(|f| f.n);
    for file in others {
        let owner = &cycle.source.owner;
        if is_trusted(&file, &held, &trusted, owner) {
            place(cycle, &file).await?;
            held.push(file);
        } else if new.contains(&file.sha256) {
            let name = format!("charter-{}-{}.json", file.n, file.sha256);
            let (folder, now) = (cycle.folder.clone(), cycle.now);
            blocking("charters", move || folder.keep_rejected(&name, &file.bytes, now)).await?;
        }
    }
    report_rolled_back(cycle, &listed, &held, &trusted)?;
    let charters = record(&cycle.catalogue, cycle.source.cluster.as_str(), trusted, cycle.now)?;
    Ok(charters)
}

/// Gets the files that the vault does not know, verified by their names.
async fn fetch_new(
    cycle: &Cycle,
    listed: &[list::Listed],
    held: &[CharterBytes],
    others: &[CharterBytes],
) -> Result<Vec<CharterBytes>, PullError> {
    let known: BTreeSet<Sha256> = held.iter().chain(others).map(|f| f.sha256).collect();
    let mut files = Vec::new();
    // Names that are no charter's are nobody's business.
    let named = listed.iter().filter_map(|entry| layout::parse_charter(&entry.key));
    let room = CHARTERS_MAX.saturating_sub(known.len());
    for (n, sha256) in named.filter(|(_, sha256)| !known.contains(sha256)).take(room) {
        match cycle.fetcher.object(&Named::<CharterFile>::charter(n, sha256), &Progress::quiet()).await {
            Ok(verified) => {
                let bytes = verified.bytes().to_vec();
                files.push(CharterBytes { n, sha256, bytes, modified: cycle.now });
            }
            Err(FetchError::Missing { key }) => tracing::debug!(key, "A listed charter is gone"),
            Err(error) => cycle.object_failed(Stage::Charters, error)?,
        }
    }
    Ok(files)
}

async fn place(cycle: &Cycle, file: &CharterBytes) -> Result<(), PullError> {
    let named = Named::<CharterFile>::charter(file.n, file.sha256);
    let content = super::verify::Content::Bytes(file.bytes.clone().into());
    let (folder, now) = (cycle.folder.clone(), cycle.now);
    match super::verify::check(&named, content) {
        Ok(verified) => blocking("charters", move || folder.place(verified, now)).await,
        Err(damage) => Ok(cycle.object_failed(Stage::Charters, FetchError::Damaged(damage))?),
    }
}

fn report_flaw(
    cycle: &Cycle,
    trusted: &[TrustedCharter],
    flaw: Option<FormatError>,
) -> Result<(), PullError> {
    let store = cycle.fetcher.store.describe();
    if let Some(error) = flaw.as_ref().filter(|e| e.reason() == "Forged") {
        let next = "the owner key was used twice, or is stolen: find out, and make a new charter with `lifeboat rotate`; \
                    until then the one first seen here stays in force";
        cycle.find(AlarmKind::TwoCharters, Stage::Charters, layout::CHARTER, error.why(), next)?;
    }
    if trusted.is_empty() {
        return Err(PullError::NoCharter {
            store,
            cluster: cycle.source.cluster.to_string(),
            fingerprint: cycle.source.owner.fingerprint(),
            why: flaw.map_or_else(|| "there is none".to_owned(), |e| e.why().to_owned()),
            next: "compare repo, cluster and owner with repository.toml; repo is the URL above the cluster's folder".to_owned(),
        });
    }
    Ok(())
}

fn report_rolled_back(
    cycle: &Cycle,
    listed: &[list::Listed],
    held: &[CharterBytes],
    trusted: &[TrustedCharter],
) -> Result<(), PullError> {
    for file in held {
        let key = layout::charter(file.n, &file.sha256);
        let counts = trusted.iter().any(|t| t.charter().n == file.n);
        if counts && !listed.iter().any(|entry| entry.key == key) {
            let why = "the source no longer has it; the one seen here stays in force";
            let next =
                "copy it back from the vault, and find out who can delete or hide objects in the source";
            cycle.find(AlarmKind::CharterRolledBack, Stage::Charters, key, why, next)?;
        }
    }
    Ok(())
}

/// Writes down when each was first seen.
pub(super) fn record(
    catalogue: &Catalogue,
    cluster: &str,
    trusted: Vec<TrustedCharter>,
    now: Timestamp,
) -> Result<Charters, PullError> {
    let mut first_seen: BTreeMap<u64, Timestamp> =
        catalogue.charters(cluster)?.into_iter().map(|c| (c.n, c.first_seen)).collect();
    let mut fresh = BTreeSet::new();
    for charter in &trusted {
        let n = charter.charter().n;
        if let std::collections::btree_map::Entry::Vacant(slot) = first_seen.entry(n) {
            slot.insert(now);
            fresh.insert(n);
            catalogue.put_charter(cluster, &CharterRow { n, sha256: charter.sha256(), first_seen: now })?;
        }
    }
    Ok(Charters::new(trusted, first_seen, fresh).expect("an empty set was refused before"))
}
