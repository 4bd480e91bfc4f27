//! `lifeboat ls`: the folders and objects of a snapshot, by the paths that `cat` and `extract` take.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust, object_paths};
use crate::table::{Table, bytes, printable};
use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::{ObjectPath, OpenSnapshot};
use serde::Serialize;

/// List what is in a snapshot
///
/// Folders end with a slash. The paths are those of cat, find and extract.
///
///   lifeboat ls latest --repo file:///backups --identity identity.txt
///   lifeboat ls latest objects/web/configmap --repo file:///backups --identity identity.txt
///   lifeboat ls 42 -R objects/web --repo file:///backups --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LsArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Folders or objects in it (default: its top)
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// Show sizes
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
    /// Objects in a namespace's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    seq: u64,
    verified: bool,
    items: Vec<Item>,
}

pub(crate) async fn run(args: &LsArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = object_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let open = reading.open_snapshot(&args.snapshot, &paths).await?;
    let mut all = Vec::new();
    let mut failed = 0;
    let top = [ObjectPath::default()];
    let named = !paths.is_empty();
    for (i, path) in if named { paths.iter() } else { top.iter() }.enumerate() {
        let given = args.paths.get(i).map_or("", String::as_str);
        let is_top = path.namespace.is_none() && !given.trim_start_matches("./").starts_with("objects");
        let found = if args.recursive {
            below(&open, path, &mut failed).await
        } else {
            level(&open, path, is_top, &mut failed).await
        };
        if found.is_empty() && named && failed == 0 {
            bail!(
                "Snapshot {} has no '{}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                printable(given),
                args.snapshot
            );
        }
        all.extend(found);
    }
    all.sort();
    all.dedup();
    if args.json {
        context.json(&Document {
            schema: "lifeboat/ls/1",
            seq: open.seq(),
            verified: reading.verified,
            items: all,
        })?;
    } else {
        print(&all, args.long, context)?;
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// What stands directly in a folder.
async fn level(open: &OpenSnapshot, path: &ObjectPath, is_top: bool, failed: &mut u64) -> Vec<Item> {
    let folder = |path: String| Item { path, size: None, entries: None };
    let mut items = Vec::new();
    match (&path.namespace, &path.kind_group) {
        (None, _) if is_top => {
            items.push(folder("objects/".to_owned()));
            let volumes = open.domains().iter().any(|d| !d.has_objects());
            items.extend(volumes.then(|| folder("volumes/".to_owned())));
        }
        (None, _) => {
            for domain in open.domains().iter().filter(|d| d.has_objects()) {
                let path = format!("{}/", domain.folder());
                match items.iter_mut().find(|i: &&mut Item| i.path == path) {
                    Some(known) => known.entries = known.entries.map(|n| n + domain.entries),
                    None => items.push(Item { path, size: None, entries: Some(domain.entries) }),
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
            Ok(listed) => items.push(Item { path: listed.name.path(), size: listed.size, entries: None }),
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

fn print(items: &[Item], long: bool, context: &mut Context<'_>) -> Result<()> {
    if !long {
        return items.iter().try_for_each(|item| context.line(printable(&item.path)));
    }
    let mut table = Table::new(&["SIZE", "ENTRIES", "PATH"], &[0, 1]);
    for item in items {
        let entries = item.entries.map_or_else(String::new, |n| n.to_string());
        table.row([item.size.map_or_else(String::new, bytes), entries, item.path.clone()]);
    }
    write!(context.out, "{}", table.render())?;
    Ok(())
}
