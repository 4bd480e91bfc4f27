//! `lifeboat extract`: a snapshot's objects and the files of its volumes below a folder. Where objects may go is
//! `tree`'s to say; volumes are another file's.

mod tree;
mod volumes;

use crate::args::RepoArgs;
use crate::commands::cat::Output;
use crate::context::Context;
use crate::listing::{FileItem, Listing};
use crate::paths::{SnapshotPath, given, snapshot_paths};
use crate::reading::{Reading, Trust};
use crate::table::bytes;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use lifeboat_agent::tree::restore::Report;
use lifeboat_common::exit::Exit;
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::{ObjectPath, OpenSnapshot, ReadError, Stored};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use tree::{Tree, TreeError};
use volumes::{Wanted, Written};

/// Failures that are said one by one; the rest is counted.
const FAILURES_SHOWN: usize = 50;

/// Write a snapshot's objects and files below a folder
///
/// Objects become objects/<namespace|_cluster>/<kind.group>/<name>.yaml, files of volumes
/// volumes/<namespace>/<claim>/… or volumes/_paths/<volume>/…, with owners, modes, times,
/// extended attributes and links. No file that is there is ever replaced, no link is followed,
/// and nothing is written outside the folder. What is complete already is left as it is, so the
/// same command goes on where it was interrupted. Secrets are included, in files that only you
/// can read.
///
///   lifeboat extract latest --to ./restored --repo file:///backups --identity identity.txt
///   lifeboat extract latest objects/web --to ./restored --repo file:///backups \
///       --identity identity.txt
///   lifeboat extract latest 'volumes/_paths/home/**/*.odt' --to ./restored \
///       --repo file:///backups --identity identity.txt
///
/// Exit codes: 0 all is there; 3 something was left alone, left out, or could not be set (such
/// as owners, when you are not root); 1 something could not be read or written.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExtractArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Folders, objects or files in it, or patterns of files with *, **, ?, [] and {} (default:
    /// everything)
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// The folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// Form of the files
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Output,

    /// Make device nodes, too
    #[arg(long)]
    devices: bool,

    /// List what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

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
    /// Objects.
    written: u64,
    /// Of objects.
    bytes: u64,
    /// Objects' files that were there already.
    left_alone: Vec<String>,
    /// Objects that could not be read or written, and why.
    failed: Vec<String>,
    /// Files of volumes; none where none were asked for.
    volumes: Option<Report>,
    /// Why it ended before its time.
    stopped: Option<String>,
}

pub(crate) async fn run(args: &ExtractArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = snapshot_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = reading.open_for(&args.snapshot, &paths).await?;
    let files = volumes::wanted(&open, &args.paths, &paths).await?;
    let objects = objects(&open, &paths);
    if args.dry_run {
        return dry_run(args, &open, &objects, &files, context).await;
    }
    let mut outcome =
        Outcome { schema: "lifeboat/extract/1", seq: open.seq(), to: args.to.clone(), ..Outcome::default() };
    if !objects.is_empty() {
        write_objects(args, &open, &objects, &mut outcome).await?;
    }
    let files = if files.is_empty() {
        None
    } else {
        Some(volumes::write(files, &args.to, args.devices, args.json).await?)
    };
    finish(args, outcome, files, !objects.is_empty(), &open, context)
}

/// Objects that are asked for, each with its argument.
fn objects(open: &OpenSnapshot, paths: &[SnapshotPath]) -> Vec<(ObjectPath, Option<usize>)> {
    let all = open.domains().iter().any(lifeboat_common::reader::Domain::has_objects);
    if paths.is_empty() {
        return all.then(|| (ObjectPath::default(), None)).into_iter().collect();
    }
    let each = paths.iter().enumerate().filter_map(|(i, path)| match path {
        SnapshotPath::Top => all.then(|| (ObjectPath::default(), None)),
        SnapshotPath::Object(path) => Some((path.clone(), Some(i))),
        SnapshotPath::Volume(_) => None,
    });
    each.collect()
}

async fn write_objects(
    args: &ExtractArgs,
    open: &OpenSnapshot,
    objects: &[(ObjectPath, Option<usize>)],
    outcome: &mut Outcome,
) -> Result<()> {
    let tree = Arc::new(Tree::open(&args.to)?);
    let whole = objects.iter().any(|(path, _)| *path == ObjectPath::default());
    let total = whole.then(|| open.domains().iter().filter(|d| d.has_objects()).map(|d| d.entries).sum());
    let progress = Progress::new(Mode::choose(args.json), "Extracting objects", Unit::Items, total);
    for (path, argument) in objects {
        let found = extract(open, path, args.output, &tree, &progress, outcome).await?;
        if let Some(i) = argument.filter(|_| !found) {
            progress.finish();
            bail!(volumes::nothing(open, args.paths.get(i)));
        }
    }
    progress.finish();
    Ok(())
}

/// Says what would be written.
async fn dry_run(
    args: &ExtractArgs,
    open: &OpenSnapshot,
    objects: &[(ObjectPath, Option<usize>)],
    files: &[Wanted],
    context: &mut Context<'_>,
) -> Result<Exit> {
    let head = serde_json::json!({"schema": "lifeboat/extract/1", "dry_run": true, "seq": open.seq(), "to": args.to});
    let mut listing = Listing::begin(context.out, args.json, &head)?;
    let mut failed = 0_u64;
    let mut total = 0_u64;
    for (path, _) in objects {
        let mut names = open.names(path);
        while let Some(next) = names.next().await {
            match next {
                Ok(found) => {
                    let path = lifeboat_common::reader::object_path(&found.name, args.output.ending());
                    total += found.size.unwrap_or_default();
                    let size = found.size.map_or_else(String::new, bytes);
                    let item = serde_json::json!({"path": path, "size": found.size});
                    listing.add(|| format!("{size:>10} {path}"), || Ok(item.to_string()))?;
                }
                Err(e) => {
                    failed += 1;
                    tracing::error!("{e}");
                }
            }
        }
    }
    let each = |path: String, entry: &lifeboat_common::reader::TreeEntry| {
        total += entry.attributes.content_len();
        let is_file = entry.attributes.kind == lifeboat_format::tree::NodeKind::File;
        let size = if is_file { bytes(entry.attributes.size) } else { String::new() };
        let shown = crate::listing::path_of(path.clone(), entry);
        let json = || Ok(serde_json::to_string(&FileItem::new(path, entry))?);
        listing.add(|| format!("{size:>10} {shown}"), json)
    };
    volumes::each(files, each, |e| {
        failed += 1;
        tracing::error!("{e}");
    })
    .await?;
    if !listing.is_json() {
        listing.text(&format!("{:>10} in all; nothing was written\n", bytes(total)))?;
    }
    listing.end()?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
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

fn finish(
    args: &ExtractArgs,
    mut outcome: Outcome,
    files: Option<Written>,
    objects: bool,
    open: &OpenSnapshot,
    context: &mut Context<'_>,
) -> Result<Exit> {
    outcome.left_alone.sort();
    outcome.failed.sort();
    let exit = worse(exit_of_objects(&outcome, open), files.as_ref().map_or(Exit::Done, Written::exit));
    let missed = files.as_ref().and_then(|f| f.missed.first().copied());
    if args.json {
        let files = files.map(|f| (f.report, f.stopped.map(|e| e.to_string())));
        (outcome.volumes, outcome.stopped) = files.map_or((None, None), |(r, s)| (Some(r), s));
        context.json(&outcome)?;
        return Ok(exit);
    }
    if objects {
        say_objects(&outcome, context)?;
    }
    if let Some(files) = files {
        files.say(outcome.seq, &outcome.to, context)?;
        if let Some(why) = files.stopped {
            return Err(why.into());
        }
    }
    if let Some(i) = missed {
        let argument = args.paths.get(i).map(given).unwrap_or_default();
        bail!("Nothing in snapshot {} matches '{argument}'", outcome.seq);
    }
    Ok(exit)
}

fn say_objects(outcome: &Outcome, context: &mut Context<'_>) -> Result<()> {
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
    let to = outcome.to.display();
    context.line(format!(
        "{} objects of snapshot {} written to {to}{existing}{failed}",
        outcome.written, outcome.seq
    ))
}

fn exit_of_objects(outcome: &Outcome, open: &OpenSnapshot) -> Exit {
    if !outcome.failed.is_empty() || !open.problems().is_empty() {
        Exit::Failed
    } else if outcome.left_alone.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    }
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::Done => 0,
        Exit::Partial => 1,
        Exit::Failed | Exit::Usage => 2,
    };
    if rank(a) >= rank(b) { a } else { b }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod volume_tests;
