//! The tries, in an order in which none can do harm: the condition of a create is proven on a canary before anything
//! that relies on it. Only canaries of this run are overwritten or deleted.

use super::target::{Probed, refuses};
use super::verdict::{Found, Row, Verdict, Wanted};
use anyhow::{Result, bail};
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError, StoreErrorKind};
use lifeboat_format::crypto::random;
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;

/// Between two times of one clock: whole seconds, and the request's own time.
const CLOCK_SLACK_S: i64 = 5;

/// Where the condition of a create works, and no policy asks for it.
const OVERWRITES: &str = "create-only is kept by the programs alone: let the policy require s3:if-none-match where the store knows it, and turn versions on";

/// Whose credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Administrator,
    Agent,
    Replicator,
    Retain,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Agent => "agent",
            Self::Replicator => "replicator",
            Self::Retain => "retain",
        }
    }

    /// Whether design's rights for this role have it.
    fn may(self, right: Right) -> Wanted {
        use Right::{Create, Delete, Mark, Overwrite, Public, Read, Versions};
        match (self, right) {
            (_, Overwrite) => Wanted::Refused,
            (_, Read) | (Self::Agent, Create) | (Self::Retain, Delete) | (Self::Administrator, Public) => {
                Wanted::Allowed
            }
            (Self::Replicator, Versions) => Wanted::Allowed,
            (_, Versions) => Wanted::Either,
            (_, Create | Delete | Public | Mark) => Wanted::Refused,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Read,
    Versions,
    /// Under packs/, lists/, manifests/, agent/.
    Create,
    /// Under charter/ and epochs/.
    Public,
    /// Under lost/ and forgotten/: the marker credential's alone, which is not tried.
    Mark,
    Overwrite,
    Delete,
}

/// Where something may or may not be created.
const PREFIXES: [(&str, Right); 7] = [
    (layout::LISTS, Right::Create),
    (layout::MANIFESTS, Right::Create),
    (layout::AGENT, Right::Create),
    (layout::CHARTER, Right::Public),
    (layout::EPOCHS, Right::Public),
    (layout::LOST, Right::Mark),
    (layout::FORGOTTEN, Right::Mark),
];

/// An object under each prefix that has one.
type There = BTreeMap<&'static str, (String, Bytes)>;

struct Canary {
    key: String,
    bytes: Bytes,
    sha256: Sha256,
}

impl Canary {
    fn new(time: Timestamp) -> Self {
        let text = format!("lifeboat probe canary {time:.0} {}\n", hex::encode(random::bytes::<16>()));
        let sha256 = Sha256::of(text.as_bytes());
        Self { key: layout::pack(&sha256), bytes: text.into(), sha256 }
    }
}

/// All tries of one probe.
pub(super) struct Tries {
    time: Timestamp,
    targets: Vec<(Role, Box<dyn Probed>)>,
    rows: Vec<Row>,
}

impl Tries {
    pub(super) fn new(time: Timestamp) -> Self {
        Self { time, targets: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, role: Role, target: Box<dyn Probed>) {
        self.targets.push((role, target));
    }

    pub(super) async fn run(mut self) -> Result<Vec<Row>> {
        let targets = std::mem::take(&mut self.targets);
        // Everything that needs an object to try on waits for the first credential that can create one.
        let mut creators: Vec<usize> = Vec::new();
        for (index, (role, target)) in targets.iter().enumerate() {
            if self.create(*role, &**target).await? {
                creators.push(index);
            }
        }
        let creator = creators.first().map(|&index| &*targets[index].1);
        let conditional = match creator {
            Some(creator) => self.store(creator).await?,
            None => {
                self.rows.push(Row::store(
                    "create the same key twice",
                    Verdict::Unknown,
                    "no credential given can create",
                ));
                false
            }
        };
        self.versioning(targets.iter().map(|(_, t)| &**t)).await;
        let there = there(targets.iter().map(|(_, t)| t.read())).await;
        for (role, target) in &targets {
            self.reading(*role, &**target, &there).await;
            if target.has_rights() {
                self.prefixes(*role, &**target, conditional, &there).await;
                self.overwriting(*role, &**target, creator).await;
            }
        }
        for (role, target) in &targets {
            self.deleting(*role, &**target, creator).await;
        }
        let place = |row: &Row| {
            targets.iter().position(|(role, _)| role.name() == row.credential).map_or(0, |i| i + 1)
        };
        self.rows.sort_by_key(place);
        Ok(self.rows)
    }

    fn right(&mut self, role: Role, what: impl Into<String>, right: Right, found: Found) {
        self.rows.push(Row::right(role.name(), what, role.may(right), found));
    }

    /// A new canary; whether it could be made.
    async fn create(&mut self, role: Role, target: &dyn Probed) -> Result<bool> {
        let canary = Canary::new(self.time);
        let answer = target.create().create(&canary.key, canary.bytes.clone(), canary.sha256.0).await;
        let found = match answer {
            Ok(_) => Found::Allowed,
            Err(error) if refuses(&error) => Found::Refused,
            // Without an answer to the first request nothing else can be tried either.
            Err(error) => bail!("The store cannot be tried: {error}"),
        };
        let created = found == Found::Allowed;
        if target.has_rights() {
            self.right(role, "create under packs/", Right::Create, found);
        }
        Ok(created)
    }

    /// What every backup relies on: the condition of a create, and one clock.
    async fn store(&mut self, target: &dyn Probed) -> Result<bool> {
        let canary = Canary::new(self.time);
        let store = target.create();
        let created = store.create(&canary.key, canary.bytes.clone(), canary.sha256.0).await?;
        let again = store.create(&canary.key, canary.bytes.clone(), canary.sha256.0).await;
        let (verdict, note) = match &again {
            Err(error) if error.kind == StoreErrorKind::Exists => {
                (Verdict::Enforced, "the second is refused".to_owned())
            }
            Ok(_) => (
                Verdict::Broken,
                "the second is accepted: two agents could write one manifest; use another store".to_owned(),
            ),
            Err(error) => (Verdict::Unknown, error.to_string()),
        };
        self.rows.push(Row::store("create the same key twice", verdict, note));
        match target.read().head(&canary.key).await {
            Ok(Some(entry)) => {
                let apart = entry.modified.duration_since(created.store_time).as_secs();
                let (verdict, note) = if apart.abs() <= CLOCK_SLACK_S {
                    (Verdict::Ok, format!("{apart} s apart"))
                } else {
                    (
                        Verdict::Broken,
                        format!(
                            "{apart} s apart: freshness of packs cannot be judged; mend the store's clocks"
                        ),
                    )
                };
                self.rows.push(Row::store("Date and Last-Modified are one clock", verdict, note));
                let off = created.store_time.duration_since(self.time).as_secs();
                self.rows.push(Row::store(
                    "clock, compared with this machine's",
                    Verdict::Info,
                    format!("{off} s"),
                ));
            }
            Ok(None) => self.rows.push(Row::store(
                "read after create",
                Verdict::Broken,
                "what was created is not there",
            )),
            Err(error) => {
                self.rows.push(Row::store(
                    "Date and Last-Modified are one clock",
                    Verdict::Unknown,
                    error.to_string(),
                ));
            }
        }
        Ok(verdict == Verdict::Enforced)
    }

    async fn versioning(&mut self, targets: impl Iterator<Item = &dyn Probed>) {
        let mut note = None;
        for target in targets {
            match target.versioned().await {
                Some(Ok(true)) => {
                    note = Some((Verdict::Info, "on: an overwritten object can be had back".to_owned()))
                }
                Some(Ok(false)) => {
                    note = Some((
                        Verdict::Info,
                        "off: turn it on, so that nothing overwritten is lost".to_owned(),
                    ))
                }
                Some(Err(error)) => {
                    let why = if refuses(&error) {
                        "no credential given may ask; s3:GetBucketVersioning lets it".to_owned()
                    } else {
                        error.to_string()
                    };
                    note.get_or_insert((Verdict::Unknown, why));
                    continue;
                }
                None => {
                    note = Some((
                        Verdict::Info,
                        "none: a directory, protected by its file permissions alone".to_owned(),
                    ))
                }
            }
            break;
        }
        if let Some((verdict, note)) = note {
            self.rows.push(Row::store("versions of objects", verdict, note));
        }
    }

    async fn reading(&mut self, role: Role, target: &dyn Probed, there: &There) {
        let listed = target.read().list(layout::CHARTER, None, 1).await;
        self.right(role, "list", Right::Read, found(listed.map(drop)));
        let read = match there.get(layout::CHARTER) {
            Some((key, _)) => found(target.read().get(key, limits::CHARTER_MAX).await.map(drop)),
            None => Found::Unknown("there is no charter yet; run it again after lifeboat init".to_owned()),
        };
        self.right(role, "get", Right::Read, read);
        if !target.has_rights() {
            return;
        }
        if let Some(answer) = target.list_versions().await {
            self.right(role, "list versions", Right::Versions, found(answer));
        }
        if role == Role::Agent {
            let outside = found(target.outside().list("", None, 1).await.map(drop));
            self.rows.push(Row::right(role.name(), "list outside of its cluster", Wanted::Refused, outside));
        }
    }

    /// Creates what is there, with its own bytes: the store's answer tells the right, and nothing changes.
    async fn prefixes(&mut self, role: Role, target: &dyn Probed, conditional: bool, there: &There) {
        for (prefix, right) in PREFIXES {
            let found = match there.get(prefix) {
                _ if !conditional => Found::Unknown(
                    "the condition of a create is not proven here, so it could overwrite".to_owned(),
                ),
                Some((key, bytes)) => create_again(target, key, bytes).await,
                None => Found::Unknown("nothing is there yet to try it on".to_owned()),
            };
            self.right(role, format!("create under {prefix}"), right, found);
        }
    }

    async fn overwriting(&mut self, role: Role, target: &dyn Probed, creator: Option<&dyn Probed>) {
        let Some(canary) = self.fresh(creator).await else {
            return self.right(
                role,
                "overwrite",
                Right::Overwrite,
                Found::Unknown("no credential given can create a canary".to_owned()),
            );
        };
        if let Some(answer) = target.overwrite(&canary.key, canary.bytes.clone(), canary.sha256.0).await {
            let mut row = Row::right(role.name(), "overwrite", role.may(Right::Overwrite), found(answer));
            if row.verdict == Verdict::Promised {
                // Many stores know no condition in a policy, so "tighten it" alone would send people astray.
                row.note = OVERWRITES.to_owned();
            }
            self.rows.push(row);
        }
    }

    async fn deleting(&mut self, role: Role, target: &dyn Probed, creator: Option<&dyn Probed>) {
        let Some(canary) = self.fresh(creator).await else {
            return self.right(
                role,
                "delete",
                Right::Delete,
                Found::Unknown("no credential given can create a canary".to_owned()),
            );
        };
        let mut outcome = found(target.delete().delete(&canary.key).await);
        let witness = creator.unwrap_or(target);
        if outcome == Found::Allowed && matches!(witness.read().head(&canary.key).await, Ok(Some(_))) {
            outcome = Found::Refused; // it said yes, and it is still there
        }
        if target.has_rights() {
            self.right(role, "delete", Right::Delete, outcome);
        } else {
            let note = "whoever may write to the directory may delete: only its file permissions protect it";
            self.rows.push(Row::store("delete", Verdict::Promised, note));
        }
    }

    async fn fresh(&self, creator: Option<&dyn Probed>) -> Option<Canary> {
        let canary = Canary::new(self.time);
        creator?.create().create(&canary.key, canary.bytes.clone(), canary.sha256.0).await.ok()?;
        Some(canary)
    }
}

async fn create_again(target: &dyn Probed, key: &str, bytes: &Bytes) -> Found {
    match target.create().create(key, bytes.clone(), Sha256::of(bytes).0).await {
        Err(error) if error.kind == StoreErrorKind::Exists => Found::Allowed,
        other => found(other.map(drop)),
    }
}

/// One object under each prefix, as the first credential that can read one sees it.
async fn there<'a>(stores: impl Iterator<Item = &'a dyn ReadStore>) -> There {
    let stores: Vec<&dyn ReadStore> = stores.collect();
    let mut there = There::new();
    for (prefix, _) in PREFIXES {
        for store in &stores {
            if let Ok(Some(object)) = first(*store, prefix).await {
                there.insert(prefix, object);
                break;
            }
        }
    }
    there
}

async fn first(store: &dyn ReadStore, prefix: &str) -> Result<Option<(String, Bytes)>, StoreError> {
    let page = store.list(prefix, None, 1).await?;
    let Some(entry) = page.entries.into_iter().next() else { return Ok(None) };
    let bytes = store.get(&entry.key, limits::MANIFEST_MAX).await?;
    Ok(Some((entry.key, bytes)))
}

fn found(answer: Result<(), StoreError>) -> Found {
    match answer {
        Ok(()) => Found::Allowed,
        Err(error) if refuses(&error) => Found::Refused,
        Err(error) => Found::Unknown(error.to_string()),
    }
}
