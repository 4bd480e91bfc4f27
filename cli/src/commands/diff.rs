//! `lifeboat diff`: what changed in volumes from one snapshot to another.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::listing::{FileItem, Listing, path_of};
use crate::paths::{self, SnapshotPath, VolumePath, snapshot_paths};
use crate::reading::{Reading, Trust};
use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::reader::{Change, Domain, OpenSnapshot, ReadError, Tree};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Show what changed in volumes from one snapshot to another
///
/// One line for each path: + is new in the second snapshot, - is gone, * has changed, with what
/// changed about it. What both snapshots share is not read, so this takes as long as there are
/// changes, and not as long as there are files.
///
///   lifeboat diff 41 42 volumes/_paths/home/etc --repo file:///backups --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DiffArgs {
    /// The older snapshot: a number, an id or the beginning of one
    #[arg(value_name = "SNAPSHOT")]
    before: String,

    /// The newer one; `latest` too
    #[arg(value_name = "SNAPSHOT")]
    after: String,

    /// Folders or files in volumes (default: all volumes)
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// Print the changes as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

#[derive(Serialize)]
struct ChangeItem {
    change: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<FileItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<FileItem>,
}

/// One volume, in both snapshots or in one, and the path in it.
struct Pair {
    before: Option<Tree>,
    after: Option<Tree>,
    inside: Vec<u8>,
}

pub(crate) async fn run(args: &DiffArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut paths = snapshot_paths(&args.paths)?;
    if paths.is_empty() {
        paths.push(SnapshotPath::Volume(VolumePath::default()));
    }
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let before = reading.open_for(&args.before, &paths).await?;
    let after = reading.open_for(&args.after, &paths).await?;
    let mut pairs = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let path = match path {
            SnapshotPath::Volume(path) => path.clone(),
            SnapshotPath::Top => VolumePath::default(),
            SnapshotPath::Object(_) => {
                return Err(UsageError::new("diff compares files, which are below volumes/").into());
            }
        };
        let found = pairs_of(&before, &after, &path).await?;
        if found.is_empty() && !args.paths.is_empty() {
            let given = paths::given(&args.paths[i]);
            bail!("Neither snapshot {} nor {} has '{given}'", before.seq(), after.seq());
        }
        pairs.extend(found);
    }
    let head = serde_json::json!({
        "schema": "lifeboat/diff/1",
        "before": before.seq(),
        "after": after.seq(),
        "verified": reading.verified,
    });
    let mut listing = Listing::begin(context.out, args.json, &head)?;
    let mut failed = 0;
    for pair in &pairs {
        failed += compare(&mut listing, pair).await?;
    }
    listing.end()?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// The volumes that a path covers.
async fn pairs_of(before: &OpenSnapshot, after: &OpenSnapshot, path: &VolumePath) -> Result<Vec<Pair>> {
    let mut all: BTreeMap<String, [Option<&Domain>; 2]> = BTreeMap::new();
    for (side, open) in [before, after].into_iter().enumerate() {
        for domain in open.volumes().filter(|d| path.covers(d)) {
            all.entry(domain.folder()).or_default()[side] = Some(domain);
        }
    }
    let mut pairs = Vec::new();
    for [a, b] in all.into_values() {
        let before = a.map(|d| before.tree(d)).transpose()?;
        let after = b.map(|d| after.tree(d)).transpose()?;
        let mut inside = Vec::new();
        if path.name.is_some() && !path.inside.is_empty() {
            let mut existing = None;
            for tree in [&before, &after].into_iter().flatten() {
                existing = existing.or(path.existing(tree).await?);
            }
            match existing {
                Some(existing) => inside = existing,
                None => continue,
            }
        }
        pairs.push(Pair { before, after, inside });
    }
    Ok(pairs)
}

/// Prints the changes of one volume; how many things could not be read.
async fn compare(listing: &mut Listing<'_>, pair: &Pair) -> Result<u64> {
    let mut changes = match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => before.diff(after, &pair.inside),
        (Some(before), None) => before.diff(&before.empty(), &pair.inside),
        (None, Some(after)) => after.empty().diff(after, &pair.inside),
        (None, None) => return Ok(0),
    };
    let Some(tree) = pair.after.as_ref().or(pair.before.as_ref()) else { return Ok(0) };
    let mut failed = 0;
    while let Some(next) = changes.next().await {
        match next {
            Ok(change) => add(listing, tree, &change)?,
            Err(e @ (ReadError::WrongIdentity { .. } | ReadError::NoEpoch { .. })) => return Err(e.into()),
            Err(e) => {
                failed += 1;
                tracing::error!("{e}");
            }
        }
    }
    Ok(failed)
}

fn add(listing: &mut Listing<'_>, tree: &Tree, change: &Change) -> Result<()> {
    let path = tree.shown(change.path());
    let what = change.what();
    let (sign, word, before, after) = match change {
        Change::Added(e) => ('+', "added", None, Some(e)),
        Change::Removed(e) => ('-', "removed", Some(e), None),
        Change::Changed { before, after, .. } => ('*', "changed", Some(before), Some(after)),
    };
    let json = || {
        let item = |e| FileItem::new(path.clone(), e);
        let (before, after) = (before.map(item), after.map(item));
        Ok(serde_json::to_string(&ChangeItem { change: word, what: what.clone(), before, after })?)
    };
    let text = || {
        let shown = after.or(before).map_or(path.clone(), |e| path_of(path.clone(), e));
        let what = if what.is_empty() { String::new() } else { format!(" ({})", what.join(", ")) };
        format!("{sign} {shown}{what}")
    };
    listing.add(text, json)
}
