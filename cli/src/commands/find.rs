//! `lifeboat find`: objects of a snapshot by name and kind.

use crate::args::RepoArgs;
use crate::commands::ls;
use crate::context::Context;
use crate::reading::{Reading, Trust, object_paths};
use crate::table::printable;
use anyhow::Result;
use lifeboat_agent::select::glob::Glob;
use lifeboat_common::exit::Exit;
use lifeboat_common::reader::{ObjectPath, parse_object_path};
use serde::Serialize;

/// Find objects in a snapshot
///
///   lifeboat find latest --kind secret --name 'db-*' --repo file:///backups \
///       --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct FindArgs {
    /// A number, an id or the beginning of one, or `latest`
    snapshot: String,

    /// Look below these folders only
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// Name of the object, with * and ?
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,

    /// Kind, such as Deployment, deployments or certificate.cert-manager.io
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,

    /// Print what is found as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    seq: u64,
    items: Vec<ls::Item>,
}

pub(crate) async fn run(args: &FindArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut paths = object_paths(&args.paths)?;
    let reading = Reading::open(&args.repo, Trust::Optional, context).await?;
    let open = reading.open_snapshot(&args.snapshot, &paths).await?;
    if paths.is_empty() {
        paths.push(ObjectPath::default());
    }
    let name = args.name.as_deref().map(Glob::new);
    let mut items = Vec::new();
    let mut failed = 0;
    for path in &paths {
        let found = ls::below(&open, path, &mut failed).await;
        items.extend(found.into_iter().filter(|item| fits(item.path(), name.as_ref(), args.kind.as_deref())));
    }
    items.sort();
    items.dedup();
    if args.json {
        context.json(&Document { schema: "lifeboat/find/1", seq: open.seq(), items })?;
    } else {
        items.iter().try_for_each(|item| context.line(printable(item.path())))?;
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
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
