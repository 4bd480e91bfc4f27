//! The volumes of a restore: which data belongs to which claim, one volume or a part of it under another name, and how
//! far each is. How they are filled is `lifeboat_agent::restore::volumes`'.

use super::source::SnapshotSource;
use crate::paths::{SnapshotPath, VolumePath, snapshot_paths};
use anyhow::{Result, bail};
use futures::TryStreamExt as _;
use lifeboat_agent::restore::volumes::{FillEvent, VolumeData};
use lifeboat_agent::restore::{GroupKind, MemorySource, ObjectSource as _};
use lifeboat_common::exit::UsageError;
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::{OpenSnapshot, is_volume_name, shown};
use lifeboat_format::body::DomainKind;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

/// Data by namespace and name of the claim.
pub(super) type Data = HashMap<(String, String), VolumeData>;

/// How volumes are restored.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Volumes")]
pub(super) struct VolumeArgs {
    /// Create claims empty: restore no data of volumes
    #[arg(long, conflicts_with = "volume")]
    no_volumes: bool,

    /// Restore only this volume, or this directory or file of it, with its claim (NAMESPACE/CLAIM[:PATH])
    #[arg(long, value_name = "VOLUME", conflicts_with_all = [
        "namespace", "exclude_namespace", "kind", "exclude_kind", "name", "selector", "cluster_scope",
    ])]
    volume: Option<OsString>,

    /// Put it into a new claim of this name, beside the one that is there
    #[arg(long, value_name = "NAME", requires = "volume")]
    as_claim: Option<String>,

    /// Use another storage class; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    storage_class_map: Vec<String>,

    /// Image of the Pods that write into volumes (default: localhost/lifeboat-agent:VERSION of `make image`)
    #[arg(long, value_name = "IMAGE")]
    fill_image: Option<String>,

    /// Volumes that are filled at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel_volumes: u16,
}

/// One volume, and what of it.
#[derive(Debug)]
pub(super) struct Part {
    path: VolumePath,
    given: OsString,
    as_claim: Option<String>,
}

impl VolumeArgs {
    pub(super) fn image(&self) -> String {
        let own = || format!("localhost/lifeboat-agent:{}", env!("CARGO_PKG_VERSION"));
        self.fill_image.clone().unwrap_or_else(own)
    }

    pub(super) fn parallel(&self) -> usize {
        self.parallel_volumes.into()
    }

    pub(super) fn are_wanted(&self) -> bool {
        !self.no_volumes
    }

    pub(super) fn classes(&self) -> Result<std::collections::BTreeMap<String, String>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
            _ => Err(UsageError::new(format!(
                "'{text}' maps no storage class; write --storage-class-map OLD=NEW"
            ))
            .into()),
        };
        self.storage_class_map.iter().map(pair).collect()
    }

    /// The one volume that is wanted.
    pub(super) fn part(&self) -> Result<Option<Part>> {
        let Some(given) = &self.volume else { return Ok(None) };
        let wrong = || {
            let given = given.display();
            UsageError::new(format!(
                "'{given}' names no volume; write --volume NAMESPACE/CLAIM or NAMESPACE/CLAIM:PATH"
            ))
        };
        let mut path = OsString::from("volumes/");
        path.push(colon_to_slash(given));
        let parsed = snapshot_paths(std::slice::from_ref(&path)).map_err(|_| wrong())?;
        let Some(SnapshotPath::Volume(path)) = parsed.into_iter().next() else { return Err(wrong().into()) };
        if path.name.is_none() || !matches!(path.namespace, Some(Some(_))) {
            return Err(wrong().into());
        }
        if let Some(name) = self.as_claim.as_ref().filter(|name| !is_volume_name(name)) {
            return Err(UsageError::new(format!("'{name}' cannot be the name of a claim")).into());
        }
        Ok(Some(Part { path, given: given.clone(), as_claim: self.as_claim.clone() }))
    }
}

/// `NAMESPACE/CLAIM:PATH` as a path of a snapshot.
fn colon_to_slash(given: &OsString) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut bytes = given.as_bytes().to_vec();
    if let Some(colon) = bytes.iter_mut().find(|b| **b == b':') {
        *colon = b'/';
    }
    OsString::from_vec(bytes)
}

impl Part {
    /// For opening the newest snapshot that has it.
    pub(super) fn paths(&self) -> [SnapshotPath; 1] {
        [SnapshotPath::Volume(self.path.clone())]
    }

    /// Tells this restore from others of the snapshot.
    pub(super) fn fingerprint(&self) -> String {
        format!("{:?} as {:?}", self.given, self.as_claim)
    }

    /// The claim as it is to be made, and its data.
    pub(super) async fn find(
        &self,
        open: &OpenSnapshot,
        source: &SnapshotSource,
    ) -> Result<(MemorySource, Data)> {
        let given = self.given.display();
        let Some(domain) = self.path.domain(open) else {
            bail!(
                "Snapshot {} has no volume '{given}'; `lifeboat ls {} volumes` lists them",
                open.seq(),
                open.seq()
            );
        };
        let tree = open.tree(domain)?;
        let path = match self.path.inside.is_empty() {
            true => Vec::new(),
            false => self.path.existing(&tree).await?.ok_or_else(|| {
                anyhow::anyhow!(
                    "There is no {} in the volume; `lifeboat ls` lists what there is",
                    shown(&self.path.inside)
                )
            })?,
        };
        let (namespace, claim) = (domain.namespace.clone().unwrap_or_default(), domain.name.clone());
        let Some(mut document) = claim_of(source, &namespace, &claim).await? else {
            bail!(
                "Snapshot {} has the data of {namespace}/{claim}, and not the claim, which says what volume to make; `lifeboat extract` writes the files into a folder",
                open.seq()
            );
        };
        let name = self.as_claim.clone().unwrap_or_else(|| claim.clone());
        if self.as_claim.is_some() {
            // Whatever looks for the other claim must not find this one.
            document["metadata"] = json!({"name": name, "namespace": namespace});
        }
        let data = VolumeData { tree, path, claim };
        Ok((MemorySource::of([document]), HashMap::from([((namespace, name), data)])))
    }
}

async fn claim_of(source: &SnapshotSource, namespace: &str, claim: &str) -> Result<Option<Value>> {
    let kinds = BTreeSet::from([GroupKind::new("", "PersistentVolumeClaim")]);
    let mut objects = source.objects(Some(namespace), Some(&kinds));
    while let Some(object) = objects.try_next().await? {
        if object.key.name == claim {
            return Ok(Some(serde_json::from_slice(&object.body)?));
        }
    }
    Ok(None)
}

/// The data of all claims.
pub(super) fn all(open: &OpenSnapshot) -> Result<Data> {
    let mut data = Data::new();
    for domain in open.volumes().filter(|d| d.kind == DomainKind::Volume) {
        let (namespace, claim) = (domain.namespace.clone().unwrap_or_default(), domain.name.clone());
        let one = VolumeData { tree: open.tree(domain)?, path: Vec::new(), claim: claim.clone() };
        data.insert((namespace, claim), one);
    }
    Ok(data)
}

/// A bar for each volume that is being filled.
pub(super) struct Bars {
    mode: Mode,
    bars: Mutex<HashMap<String, Progress>>,
}

impl Bars {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, bars: Mutex::default() }
    }

    pub(super) fn show(&self, claim: &str, event: FillEvent) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            FillEvent::Begins(total) => {
                let bar = Progress::new(self.mode, format!("Filling {claim}"), Unit::Bytes, Some(total));
                bars.insert(claim.to_owned(), bar);
            }
            // What another worker has done counts once.
            FillEvent::Bytes(now) => {
                bars.get(claim).into_iter().for_each(|bar| bar.add(now.saturating_sub(bar.done())));
            }
            FillEvent::Again(why) => tracing::warn!("The volume of {claim} needs another worker: {why}"),
            FillEvent::Ends => drop(bars.remove(claim).map(|bar| bar.finish())),
        }
    }
}
