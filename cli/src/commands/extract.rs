//! `lifeboat extract`: a snapshot's objects as files below a folder. Where files may go is `tree`'s to say.

mod tree;

use crate::args::RepoArgs;
use crate::commands::cat::Output;
use crate::context::Context;
use crate::reading::{Reading, Trust, object_paths};
use crate::table::printable;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use lifeboat_common::exit::Exit;
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::{ObjectPath, OpenSnapshot, ReadError, Stored};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tree::{Tree, TreeError};

/// Failures that are said one by one; the rest is counted.
const FAILURES_SHOWN: usize = 50;

/// Write a snapshot's objects to files
///
/// Files are named objects/<namespace|_cluster>/<kind.group>/<name>.yaml below the folder. No
/// file that is there is ever replaced, no link is followed, and nothing is written outside the
/// folder. Secrets are included, in files that only you can read.
///
///   lifeboat extract latest --to ./restored --repo file:///backups --identity identity.txt
///   lifeboat extract latest objects/web --to ./restored --repo file:///backups \
///       --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExtractArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Folders or objects in it (default: everything)
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// The folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// Form of the files
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Output,

    /// Print the result as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    schema: &'static str,
    seq: u64,
    to: PathBuf,
    written: u64,
    bytes: u64,
    /// Files that were there already.
    left_alone: Vec<String>,
    /// What could not be read or written, and why.
    failed: Vec<String>,
}

pub(crate) async fn run(args: &ExtractArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = object_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = reading.open_snapshot(&args.snapshot, &paths).await?;
    let tree = Arc::new(Tree::open(&args.to)?);
    let total =
        paths.is_empty().then(|| open.domains().iter().filter(|d| d.has_objects()).map(|d| d.entries).sum());
    let progress = Progress::new(Mode::choose(args.json), "Extracting", Unit::Items, total);
    let mut outcome =
        Outcome { schema: "lifeboat/extract/1", seq: open.seq(), to: args.to.clone(), ..Outcome::default() };
    let whole = [ObjectPath::default()];
    for (i, path) in if paths.is_empty() { whole.iter() } else { paths.iter() }.enumerate() {
        let found = extract(&open, path, args.output, &tree, &progress, &mut outcome).await?;
        if let Some(given) = args.paths.get(i).filter(|_| !found) {
            progress.finish();
            bail!(
                "Snapshot {} has no '{}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                printable(given),
                args.snapshot
            );
        }
    }
    progress.finish();
    volumes_left_out(&open);
    finish(args, outcome, open.problems().len(), context)
}

/// Writes what is at or below one path; whether there was anything.
async fn extract(
    open: &OpenSnapshot,
    path: &ObjectPath,
    output: Output,
    tree: &Arc<Tree>,
    progress: &Progress,
    outcome: &mut Outcome,
) -> Result<bool> {
    let mut found = false;
    let mut objects = open.objects_unordered(path);
    while let Some(next) = objects.next().await {
        found = true;
        match next {
            Ok(stored) => {
                let path = lifeboat_common::reader::object_path(&stored.name, output.ending());
                match write(tree, output, stored).await? {
                    Ok(bytes) => {
                        outcome.written += 1;
                        outcome.bytes += bytes;
                    }
                    Err(WriteError::Exists) => outcome.left_alone.push(path),
                    Err(WriteError::Object(why)) => outcome.failed.push(format!("{path}: {why}")),
                }
            }
            // A wrong key opens nothing: every further line would say the same.
            Err(e @ (ReadError::WrongIdentity { .. } | ReadError::NoEpoch { .. })) => return Err(e.into()),
            Err(e) => outcome.failed.push(e.to_string()),
        }
        progress.add(1);
    }
    Ok(found)
}

enum WriteError {
    Exists,
    Object(String),
}

/// Writes one object; an error of the outer kind ends the command (a full disk, a folder that is no folder).
async fn write(tree: &Arc<Tree>, output: Output, stored: Stored) -> Result<Result<u64, WriteError>> {
    let tree = Arc::clone(tree);
    let written = tokio::task::spawn_blocking(move || {
        let text = match output.write(&stored.json) {
            Ok(text) => text,
            Err(e) => return Ok(Err(WriteError::Object(format!("{e:#}")))),
        };
        let file = format!("{}.{}", stored.name.stem(), output.ending());
        let folders = ["objects", stored.name.folder(), &stored.name.kind_folder()];
        match tree.create(&folders, &file, stored.secret, &text) {
            Ok(()) => Ok(Ok(text.len() as u64)),
            Err(TreeError::Exists { .. }) => Ok(Err(WriteError::Exists)),
            Err(e) if e.is_about_one_file() => Ok(Err(WriteError::Object(e.to_string()))),
            Err(e) => Err(e),
        }
    });
    Ok(written.await.context("Writing a file was interrupted")??)
}

fn volumes_left_out(open: &OpenSnapshot) {
    let volumes = open.domains().iter().filter(|d| !d.has_objects()).count();
    if volumes > 0 {
        tracing::warn!(
            "{volumes} volumes of the snapshot are not extracted: this version extracts objects only"
        );
    }
}

fn finish(
    args: &ExtractArgs,
    mut outcome: Outcome,
    problems: usize,
    context: &mut Context<'_>,
) -> Result<Exit> {
    outcome.left_alone.sort();
    outcome.failed.sort();
    if args.json {
        context.json(&outcome)?;
    } else {
        for line in outcome.failed.iter().take(FAILURES_SHOWN) {
            tracing::error!("{line}");
        }
        let existing = match outcome.left_alone.len() {
            0 => String::new(),
            n => format!(", {n} left alone because they exist"),
        };
        let failed = match outcome.failed.len() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        let to = args.to.display();
        context.line(format!(
            "{} objects of snapshot {} written to {to}{existing}{failed}",
            outcome.written, outcome.seq
        ))?;
    }
    Ok(if !outcome.failed.is_empty() || problems > 0 {
        Exit::Failed
    } else if !outcome.left_alone.is_empty() {
        Exit::Partial
    } else {
        Exit::Done
    })
}

#[cfg(test)]
mod tests;
