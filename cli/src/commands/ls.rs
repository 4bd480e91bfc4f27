//! `lifeboat ls`: the folders, objects and files of a snapshot, by the paths that `cat` and `extract` take.

use crate::args::RepoArgs;
use crate::commands::report::how;
use crate::context::Context;
use crate::listing::Listing;
use crate::paths::{self, SnapshotPath, VolumePath, snapshot_paths};
use crate::reading::{Reading, Trust};
use crate::table::{Table, bytes};
use crate::volumes::{self, Found};
use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_agent::select::Report;
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::{ObjectPath, OpenSnapshot, ReadError, Tree, TreeEntry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// List what is in a snapshot
///
/// Folders end with a slash. The paths are those of cat, find, diff and extract. Names of files
/// that are no text, or that a terminal would obey, are shown with escapes such as \\n, \\xff and
/// \\u{202e}, and can be given so.
///
///   lifeboat ls latest --repo file:///backups --identity identity.txt
///   lifeboat ls latest objects/web/configmap --repo file:///backups --identity identity.txt
///   lifeboat ls latest -l volumes/_paths/home/etc --repo file:///backups --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LsArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Folders, objects or files in it (default: its top)
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// Show sizes; of files also permissions, owners and times; of volumes how and when they were read
    #[arg(long, short)]
    long: bool,

    /// List everything below
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Print the list as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Item {
    path: String,
    /// Of an object's JSON, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Objects or files in a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    /// Of a volume: how it came into the snapshot.
    #[serde(flatten)]
    volume: Option<VolumeItem>,
}

/// How a volume came into the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct VolumeItem {
    /// `live`: it was read by this run; `kept`: nothing mounted it, and its last tree is named again.
    method: &'static str,
    /// How still it stood: live, hooked or snapshot; not known of one that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<&'static str>,
    /// When its reading began.
    read: String,
}

/// What the run report says of volumes, by their folders.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, VolumeItem>);

impl Told {
    fn of(open: &OpenSnapshot) -> Self {
        // Without a report that this version knows, volumes are listed all the same.
        let Ok(report) = serde_json::from_slice::<Report>(open.report()) else { return Self::default() };
        let folder = |namespace: &str, claim: &str| format!("volumes/{namespace}/{claim}/");
        let read = report.volumes.iter().map(|v| {
            let (method, consistency) = ("live", Some(how(v.consistency)));
            let item = VolumeItem { method, consistency, read: format!("{:.0}", v.read) };
            (folder(&v.namespace, &v.claim), item)
        });
        let kept = report.kept.iter().map(|k| {
            let item = VolumeItem { method: "kept", consistency: None, read: format!("{:.0}", k.since) };
            (folder(&k.namespace, &k.claim), item)
        });
        Self(read.chain(kept).collect())
    }

    fn of_folder(&self, path: &str) -> Option<VolumeItem> {
        self.0.get(path).cloned()
    }
}

/// What the arguments name, looked up before anything is printed.
#[derive(Default)]
struct Named {
    items: Vec<Item>,
    entries: Vec<(Tree, Box<TreeEntry>)>,
    failed: u64,
}

pub(crate) async fn run(args: &LsArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = snapshot_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let open = reading.open_for(&args.snapshot, &paths).await?;
    let mut named = Named::default();
    if paths.is_empty() {
        named.look(&open, &SnapshotPath::Top, args.recursive).await?;
    }
    for (path, argument) in paths.iter().zip(&args.paths) {
        if !named.look(&open, path, args.recursive).await? && named.failed == 0 {
            let given = paths::given(argument);
            bail!(
                "Snapshot {} has no '{given}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                args.snapshot
            );
        }
    }
    let Named { mut items, entries, mut failed } = named;
    items.sort();
    items.dedup();
    let head =
        serde_json::json!({"schema": "lifeboat/ls/1", "seq": open.seq(), "verified": reading.verified});
    let mut listing = Listing::begin(context.out, args.json, &head)?;
    if args.long && !args.json {
        listing.text(&table(&items))?;
    } else {
        items.iter().try_for_each(|item| listing.add_item(&item.path, item))?;
    }
    for (tree, entry) in entries {
        failed += list(&mut listing, &tree, &entry, args).await?;
    }
    listing.end()?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// Prints what an entry of a volume has; how many things could not be read.
async fn list(listing: &mut Listing<'_>, tree: &Tree, entry: &TreeEntry, args: &LsArgs) -> Result<u64> {
    let mut failed = 0;
    let mut below = volumes::listed(tree, entry, args.recursive);
    while let Some(next) = below.next().await {
        match next {
            Ok(found) => listing.add_file(tree.shown(&found.path), &found, args.long)?,
            Err(e) => {
                failed += 1;
                tracing::error!("{e}");
            }
        }
    }
    Ok(failed)
}

impl Named {
    /// Whether there is anything of that path.
    async fn look(&mut self, open: &OpenSnapshot, path: &SnapshotPath, recursive: bool) -> Result<bool> {
        let (items, entries) = (self.items.len(), self.entries.len());
        match path {
            SnapshotPath::Top if recursive => {
                self.items.extend(below(open, &ObjectPath::default(), &mut self.failed).await);
                self.whole_volumes(open, &VolumePath::default()).await?;
            }
            SnapshotPath::Top => self.items.extend(top(open)),
            SnapshotPath::Object(path) if recursive => {
                self.items.extend(below(open, path, &mut self.failed).await);
            }
            SnapshotPath::Object(path) => self.items.extend(level(open, path, &mut self.failed).await),
            SnapshotPath::Volume(path) => match volumes::find(open, path).await? {
                None => {}
                Some(Found::Entry(tree, entry)) => self.entries.push((tree, entry)),
                Some(Found::Folder(path)) if recursive => self.whole_volumes(open, &path).await?,
                Some(Found::Folder(path)) => {
                    let folders = volumes::folders(open, &path);
                    let told = if path.namespace.is_some() { Told::of(open) } else { Told::default() };
                    let item = |(path, entries): (String, u64)| {
                        let volume = told.of_folder(&path);
                        Item { path, size: None, entries: Some(entries), volume }
                    };
                    self.items.extend(folders.into_iter().map(item));
                    return Ok(true);
                }
            },
        }
        let empty_directory = self.entries.len() > entries;
        Ok(self.items.len() > items || empty_directory)
    }

    async fn whole_volumes(&mut self, open: &OpenSnapshot, path: &VolumePath) -> Result<()> {
        for tree in volumes::trees(open, path) {
            let root = match tree {
                Ok(tree) => tree.entry(b"").await.map(|root| (tree, root)),
                Err(e) => Err(e),
            };
            match root {
                Ok((tree, root)) => self.entries.extend(root.map(|root| (tree, Box::new(root)))),
                Err(e @ (ReadError::WrongIdentity { .. } | ReadError::NoEpoch { .. })) => {
                    return Err(e.into());
                }
                Err(e) => {
                    self.failed += 1;
                    tracing::error!("{e}");
                }
            }
        }
        Ok(())
    }
}

fn top(open: &OpenSnapshot) -> Vec<Item> {
    let folder = |path: &str| Item { path: path.to_owned(), size: None, entries: None, volume: None };
    let volumes = open.volumes().next().is_some();
    let objects = !volumes || open.domains().iter().any(|d| d.has_objects());
    let objects = objects.then(|| folder("objects/"));
    objects.into_iter().chain(volumes.then(|| folder("volumes/"))).collect()
}

/// What stands directly in a folder.
async fn level(open: &OpenSnapshot, path: &ObjectPath, failed: &mut u64) -> Vec<Item> {
    let folder = |path: String| Item { path, size: None, entries: None, volume: None };
    let mut items = Vec::new();
    match (&path.namespace, &path.kind_group) {
        (None, _) => {
            for domain in open.domains().iter().filter(|d| d.has_objects()) {
                let path = format!("{}/", domain.folder());
                match items.iter_mut().find(|i: &&mut Item| i.path == path) {
                    Some(known) => known.entries = known.entries.map(|n| n + domain.entries),
                    None => {
                        items.push(Item { path, size: None, entries: Some(domain.entries), volume: None })
                    }
                }
            }
        }
        (Some(namespace), None) => {
            let name = namespace.as_deref().unwrap_or("_cluster");
            let (kinds, errors) = open.kinds(namespace).await;
            errors.iter().for_each(|e| tracing::error!("{e}"));
            *failed += errors.len() as u64;
            items.extend(kinds.iter().map(|kind| folder(format!("objects/{name}/{kind}/"))));
        }
        (Some(_), Some(_)) => return below(open, path, failed).await,
    }
    items
}

/// Every object at or below a path; what cannot be read is said and counted.
pub(crate) async fn below(open: &OpenSnapshot, path: &ObjectPath, failed: &mut u64) -> Vec<Item> {
    let mut items = Vec::new();
    let mut names = open.names(path);
    while let Some(next) = names.next().await {
        match next {
            Ok(listed) => {
                items.push(Item { path: listed.name.path(), size: listed.size, entries: None, volume: None })
            }
            Err(e) => {
                *failed += 1;
                tracing::error!("{e}");
            }
        }
    }
    items
}

impl Item {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

fn table(items: &[Item]) -> String {
    if items.is_empty() {
        return String::new();
    }
    if items.iter().any(|i| i.volume.is_some()) {
        let mut table = Table::new(&["ENTRIES", "METHOD", "HOW", "READ", "PATH"], &[0]);
        for item in items {
            let entries = item.entries.map_or_else(String::new, |n| n.to_string());
            let (method, how, read) = item
                .volume
                .as_ref()
                .map_or(("", "", ""), |v| (v.method, v.consistency.unwrap_or_default(), &v.read));
            table.row([&entries, method, how, read, &item.path].map(str::to_owned));
        }
        return table.render();
    }
    let mut table = Table::new(&["SIZE", "ENTRIES", "PATH"], &[0, 1]);
    for item in items {
        let entries = item.entries.map_or_else(String::new, |n| n.to_string());
        table.row([item.size.map_or_else(String::new, bytes), entries, item.path.clone()]);
    }
    table.render()
}
