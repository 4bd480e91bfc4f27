//! `lifeboat cat`: objects and files of a snapshot, on standard output.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::paths::{self, SnapshotPath, snapshot_paths};
use crate::reading::{Reading, Trust};
use crate::volumes::{self, Found};
use crate::yaml;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::{ObjectPath, OpenSnapshot, ReadError, Tree, TreeEntry, shown};
use lifeboat_format::tree::NodeKind;
use std::ffi::OsString;
use std::io::Write;

/// Zeros that are written at a time for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    Yaml,
    /// As the API server gave it, byte for byte
    Json,
}

impl Output {
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    pub(crate) fn write(self, json: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Yaml => Ok(yaml::from_json(json)
                .context("it is not JSON; --output json gives it as it is")?
                .into_bytes()),
            Self::Json => Ok(json.to_vec()),
        }
    }
}

/// Print an object or a file of a snapshot
///
/// Files are written as they are, byte for byte. A part that is missing or damaged ends the file,
/// and is named.
///
///   lifeboat cat latest objects/web/deployment.apps/front.yaml --repo file:///backups \
///       --identity identity.txt
///   lifeboat cat latest volumes/_paths/home/notes.txt --repo file:///backups \
///       --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CatArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Objects or files in it, as `lifeboat ls` prints them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,

    /// Form in which objects are written
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Output,

    #[command(flatten)]
    repo: RepoArgs,
}

pub(crate) async fn run(args: &CatArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = snapshot_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = reading.open_for(&args.snapshot, &paths).await?;
    let mut exit = Exit::Done;
    for (i, (path, argument)) in paths.iter().zip(&args.paths).enumerate() {
        let given = paths::given(argument);
        let found = match path {
            SnapshotPath::Top => bail!("'{given}' is a folder; `lifeboat ls {}` lists it", args.snapshot),
            SnapshotPath::Object(path) => object(&open, path, &given, i, args, context).await?,
            SnapshotPath::Volume(path) => match volumes::find(&open, path).await? {
                None => false,
                Some(Found::Folder(_)) => {
                    bail!("'{given}' is a folder; `lifeboat ls {} {given}` lists it", args.snapshot)
                }
                Some(Found::Entry(tree, entry)) => {
                    refuse_others(&entry, &given, &args.snapshot)?;
                    if let Err(e) = file(&tree, &entry, context.out).await? {
                        tracing::error!("{e}");
                        exit = Exit::Failed;
                    }
                    true
                }
            },
        };
        if !found {
            bail!(
                "Snapshot {} has no '{given}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                args.snapshot
            );
        }
    }
    context.out.flush()?;
    Ok(exit)
}

/// Whether there is such an object.
async fn object(
    open: &OpenSnapshot,
    path: &ObjectPath,
    given: &str,
    i: usize,
    args: &CatArgs,
    context: &mut Context<'_>,
) -> Result<bool> {
    if path.stem.is_none() {
        bail!("'{given}' is a folder; `lifeboat ls {} {given}` lists it", args.snapshot);
    }
    let Some(stored) = open.find(path).await? else { return Ok(false) };
    let text = args.output.write(&stored.json).with_context(|| format!("Cannot show {given}"))?;
    if i > 0 && args.output == Output::Yaml {
        context.line("---")?;
    }
    context.out.write_all(&text)?;
    if !text.ends_with(b"\n") {
        context.line("")?;
    }
    Ok(true)
}

fn refuse_others(entry: &TreeEntry, given: &str, snapshot: &str) -> Result<()> {
    match (entry.attributes.kind, &entry.attributes.target) {
        (NodeKind::File, _) => Ok(()),
        (NodeKind::Directory, _) => bail!("'{given}' is a folder; `lifeboat ls {snapshot} {given}` lists it"),
        (_, Some(target)) => {
            bail!("'{given}' is a symbolic link to '{}'; give the path of the file itself", shown(target))
        }
        _ => bail!("'{given}' is no file and has no content"),
    }
}

/// Writes a file, zeros for its holes; the inner error says what of it cannot be read, and ends it there.
async fn file(tree: &Tree, entry: &TreeEntry, out: &mut dyn Write) -> Result<Result<(), ReadError>> {
    let mut at = 0;
    let mut pieces = tree.content(entry);
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(e) => return Ok(Err(e)),
        };
        zeros(out, piece.offset.saturating_sub(at))?;
        out.write_all(&piece.data)?;
        at = piece.offset + piece.data.len() as u64;
    }
    zeros(out, entry.attributes.size.saturating_sub(at))?;
    Ok(Ok(()))
}

fn zeros(out: &mut dyn Write, mut len: u64) -> Result<()> {
    while len > 0 {
        let some = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(&ZEROS[..some])?;
        len -= some as u64;
    }
    Ok(())
}
