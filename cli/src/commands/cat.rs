//! `lifeboat cat`: one object of a snapshot, on standard output.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust, object_paths};
use crate::table::printable;
use crate::yaml;
use anyhow::{Context as _, Result, bail};
use lifeboat_common::exit::Exit;

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

/// Print an object of a snapshot
///
///   lifeboat cat latest objects/web/deployment.apps/front.yaml --repo file:///backups \
///       --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CatArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Objects in it, as `lifeboat ls` prints them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,

    /// Form of the output
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Output,

    #[command(flatten)]
    repo: RepoArgs,
}

pub(crate) async fn run(args: &CatArgs, context: &mut Context<'_>) -> Result<Exit> {
    let paths = object_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let open = reading.open_snapshot(&args.snapshot, &paths).await?;
    for (i, (path, given)) in paths.iter().zip(&args.paths).enumerate() {
        let given = printable(given);
        if path.stem.is_none() {
            bail!("'{given}' is a folder; `lifeboat ls {} {given}` lists it", args.snapshot);
        }
        let Some(stored) = open.find(path).await? else {
            bail!(
                "Snapshot {} has no '{given}'; `lifeboat ls {}` lists what it has",
                open.seq(),
                args.snapshot
            );
        };
        let text = args.output.write(&stored.json).with_context(|| format!("Cannot show {given}"))?;
        if i > 0 && args.output == Output::Yaml {
            context.line("---")?;
        }
        context.out.write_all(&text)?;
        if !text.ends_with(b"\n") {
            context.line("")?;
        }
    }
    Ok(Exit::Done)
}
