//! `lifeboat find`: objects of a snapshot by name and kind, files of its volumes by name and type.

use crate::args::RepoArgs;
use crate::commands::ls;
use crate::context::Context;
use crate::listing::{Listing, word};
use crate::paths::{self, SnapshotPath, VolumePath, snapshot_paths};
use crate::reading::{Reading, Trust};
use crate::volumes::{self, Found};
use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_agent::select::glob::Glob;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::reader::{ObjectPath, OpenSnapshot, ReadError, Tree, TreeEntry, parse_object_path};
use lifeboat_format::tree::NodeKind;
use std::ffi::OsString;

/// Find objects and files in a snapshot
///
///   lifeboat find latest --kind secret --name 'db-*' --repo file:///backups \
///       --identity identity.txt
///   lifeboat find latest volumes --type file --name '*.conf' --repo file:///backups \
///       --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct FindArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Look below these folders only
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// Name of the object or file, with * and ?
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,

    /// Objects of this kind, such as Deployment, deployments or certificate.cert-manager.io
    #[arg(long, value_name = "KIND", conflicts_with = "node_type")]
    kind: Option<String>,

    /// Files of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = node_kind)]
    node_type: Option<NodeKind>,

    /// Show sizes, permissions, owners and times of files
    #[arg(long, short)]
    long: bool,

    /// Print what is found as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

const KINDS: [NodeKind; 7] = [
    NodeKind::File,
    NodeKind::Directory,
    NodeKind::Symlink,
    NodeKind::Fifo,
    NodeKind::Socket,
    NodeKind::CharDevice,
    NodeKind::BlockDevice,
];

fn node_kind(text: &str) -> Result<NodeKind, String> {
    let known = KINDS.into_iter().find(|kind| word(*kind) == text);
    known.ok_or_else(|| format!("use one of {}", KINDS.map(word).join(", ")))
}

/// Where to look, looked up before anything is printed.
#[derive(Default)]
struct Places {
    objects: Vec<ObjectPath>,
    entries: Vec<(Tree, Vec<u8>)>,
    failed: u64,
}

pub(crate) async fn run(args: &FindArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut paths = snapshot_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let open = reading.open_for(&args.snapshot, &paths).await?;
    if paths.is_empty() {
        paths.push(SnapshotPath::Top);
    }
    let mut places = Places::default();
    for (i, path) in paths.iter().enumerate() {
        if !places.look(&open, path, args).await? && places.failed == 0 {
            let given = args.paths.get(i).map(paths::given).unwrap_or_default();
            bail!(
                "Snapshot {} has no '{given}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                args.snapshot
            );
        }
    }
    let name = args.name.as_deref().map(Glob::new);
    let (mut items, mut failed) = (Vec::new(), places.failed);
    for path in &places.objects {
        let found = ls::below(&open, path, &mut failed).await;
        items.extend(found.into_iter().filter(|item| fits(item.path(), name.as_ref(), args.kind.as_deref())));
    }
    items.sort();
    items.dedup();
    let head =
        serde_json::json!({"schema": "lifeboat/find/1", "seq": open.seq(), "verified": reading.verified});
    let mut listing = Listing::begin(context.out, args.json, &head)?;
    items.iter().try_for_each(|item| listing.add_item(item.path(), item))?;
    for (tree, path) in &places.entries {
        failed += files(&mut listing, tree, path, name.as_ref(), args).await?;
    }
    listing.end()?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

impl Places {
    /// Whether the snapshot has that path.
    async fn look(&mut self, open: &OpenSnapshot, path: &SnapshotPath, args: &FindArgs) -> Result<bool> {
        let files = args.kind.is_none();
        match path {
            SnapshotPath::Top => {
                self.objects.extend(args.node_type.is_none().then(ObjectPath::default));
                if files {
                    self.volumes(open, &VolumePath::default());
                }
            }
            SnapshotPath::Object(_) if args.node_type.is_some() => {
                return Err(UsageError::new("--type is about files, which are below volumes/").into());
            }
            SnapshotPath::Volume(_) if !files => {
                return Err(UsageError::new("--kind is about objects, which are below objects/").into());
            }
            SnapshotPath::Object(path) => self.objects.push(path.clone()),
            SnapshotPath::Volume(path) => match volumes::find(open, path).await? {
                None => return Ok(false),
                Some(Found::Folder(path)) => self.volumes(open, &path),
                Some(Found::Entry(tree, entry)) => self.entries.push((tree, entry.path)),
            },
        }
        Ok(true)
    }

    fn volumes(&mut self, open: &OpenSnapshot, path: &VolumePath) {
        for tree in volumes::trees(open, path) {
            match tree {
                Ok(tree) => self.entries.push((tree, Vec::new())),
                Err(e) => self.fail(&e),
            }
        }
    }

    fn fail(&mut self, error: &ReadError) {
        self.failed += 1;
        tracing::error!("{error}");
    }
}

/// Prints the entries at and below a path that fit; how many things could not be read.
async fn files(
    listing: &mut Listing<'_>,
    tree: &Tree,
    path: &[u8],
    name: Option<&Glob>,
    args: &FindArgs,
) -> Result<u64> {
    let mut failed = 0;
    let itself = futures::stream::once({
        let (tree, path) = (tree.clone(), path.to_vec());
        async move { tree.entry(&path).await.transpose() }
    });
    let mut all = std::pin::pin!(itself.filter_map(futures::future::ready).chain(tree.below(path)));
    while let Some(next) = all.next().await {
        match next {
            Ok(entry) if file_fits(&entry, name, args.node_type) => {
                listing.add_file(tree.shown(&entry.path), &entry, args.long)?;
            }
            Ok(_) => {}
            Err(e) => {
                failed += 1;
                tracing::error!("{e}");
            }
        }
    }
    Ok(failed)
}

fn file_fits(entry: &TreeEntry, name: Option<&Glob>, kind: Option<NodeKind>) -> bool {
    kind.is_none_or(|kind| kind == entry.attributes.kind)
        && name.is_none_or(|glob| glob.matches(&String::from_utf8_lossy(entry.name())))
}

fn fits(path: &str, name: Option<&Glob>, kind: Option<&str>) -> bool {
    let Some(path) = parse_object_path(path) else { return false };
    name.is_none_or(|glob| path.stem.as_deref().is_some_and(|stem| glob.matches(stem)))
        && kind.is_none_or(|kind| path.kind_group.as_deref().is_some_and(|k| is_kind(kind, k)))
}

/// Whether a person's word means a kind: `Secret`, `secrets`, `deployment.apps`.
fn is_kind(word: &str, kind_group: &str) -> bool {
    let (kind, group) = kind_group.split_once('.').unwrap_or((kind_group, ""));
    let kind = lifeboat_agent::restore::GroupKind::new(group, kind);
    lifeboat_agent::restore::selection::is_kind(word, &kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_those_of_the_path() {
        let path = "objects/web/deployment.apps/front-1.yaml";
        let glob = Glob::new("front-?");
        for (name, kind, found) in [
            (None, None, true),
            (Some(&glob), Some("Deployment"), true),
            (Some(&glob), Some("deployments.apps"), true),
            (None, Some("deployment.extensions"), false),
            (Some(&Glob::new("front")), None, false),
        ] {
            assert_eq!(fits(path, name, kind), found, "{name:?} {kind:?}");
        }
    }
}
