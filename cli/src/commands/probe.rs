//! `lifeboat probe`: what a store enforces, and what is only promised. Owns whose credential tries what; the tries are
//! `tries`', what they mean is `verdict`'s.

mod target;
mod tries;
mod verdict;

use crate::args::S3Args;
use crate::context::Context;
use crate::folder::Folder;
use anyhow::{Context as _, Result};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::store::{S3Options, StoreUrl};
use lifeboat_format::id::ClusterName;
use serde::Serialize;
use std::path::{Path, PathBuf};
use target::Target;
use tries::{Role, Tries};
use verdict::{Row, Verdict};

/// Find out what a store really enforces
///
/// Tries each right with each credential, and prints what is enforced by the store and what is
/// only promised by programs that behave: conditional create, overwriting, deleting, reading,
/// listing, writing under other prefixes, one clock for Date and Last-Modified, versioning.
///
///   lifeboat probe --repo s3://backups/lifeboat --config prod \
///       --agent-credentials agent.credentials --replicator-credentials pull.credentials
///
/// Your own credential is tried when no other is given, or with --credentials-file.
///
/// It harms nothing. It leaves canaries: small objects under packs/ with the name of their
/// content, which nothing refers to. Only canaries are overwritten (with the bytes they hold)
/// or deleted. Whether a prefix may be written to is asked by a conditional create of an object
/// that is there already, with its own bytes: 412 means allowed, 403 means refused, and nothing
/// changes. This is not done on a store that does not honor the condition.
///
/// On file:// nothing is enforced against whoever may write to the directory; it says so.
///
/// Exit codes: 0 the store does what backups rely on; 3 it does not (no conditional create, two
/// clocks, or a credential lacks a right that it needs; with --strict also if a credential may
/// do more than it should); 1 it could not be tried.
#[derive(Debug, Default, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ProbeArgs {
    /// Repository: file:///DIR or s3://BUCKET/PREFIX (default: that of --config)
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    pub(crate) repo: Option<StoreUrl>,

    /// Which cluster (default: that of --config)
    #[arg(long, value_name = "NAME", required_unless_present = "config")]
    pub(crate) cluster: Option<ClusterName>,

    /// The folder that `lifeboat init` made
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,

    /// The agent's credential: may create packs, pack lists, manifests, send logs, and read its cluster
    #[arg(long, value_name = "FILE")]
    pub(crate) agent_credentials: Option<PathBuf>,

    /// The credential of the replicator's pull: may read and list, nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) replicator_credentials: Option<PathBuf>,

    /// The credential of the replicator's retain: may delete, and create nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) retain_credentials: Option<PathBuf>,

    /// Exit with 3 also where a credential may do more than it should
    #[arg(long)]
    pub(crate) strict: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) s3: S3Args,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    repo: String,
    cluster: &'a str,
    time: jiff::Timestamp,
    /// Whether the store does what backups rely on.
    sound: bool,
    /// Whether no credential may do more than it should.
    strict: bool,
    checks: &'a [Row],
}

pub(crate) async fn run(args: &ProbeArgs, context: &mut Context<'_>) -> Result<Exit> {
    let (url, cluster, options) = place(args)?;
    let mut tries = Tries::new(context.clock.now());
    for (role, credentials) in roles(args) {
        let options = S3Options {
            credentials_file: credentials.or(options.credentials_file.clone()),
            ..options.clone()
        };
        let target = Target::open(&url, &cluster, &options, context)
            .await
            .with_context(|| format!("With the credential of {}", role.name()))?;
        tries.add(role, Box::new(target));
    }
    let rows = tries.run().await?;
    let sound = !rows.iter().any(|r| matches!(r.verdict, Verdict::Broken | Verdict::Missing));
    let strict = !rows.iter().any(|r| r.verdict == Verdict::Promised);
    if args.json {
        let (repo, time) = (url.to_string(), context.clock.now());
        let cluster = cluster.as_str();
        context.json(&Report {
            schema: "lifeboat/probe/1",
            repo,
            cluster,
            time,
            sound,
            strict,
            checks: &rows,
        })?;
    } else {
        verdict::print(&rows, context)?;
        context.line(conclusion(sound, strict, url.directory().is_some()))?;
    }
    Ok(if sound && (strict || !args.strict) { Exit::Done } else { Exit::Partial })
}

fn place(args: &ProbeArgs) -> Result<(StoreUrl, ClusterName, S3Options)> {
    let folder = args.config.as_deref().map(Folder::load).transpose()?;
    let facts = folder.as_ref().map(|f| &f.facts);
    let url = args.repo.clone().or(facts.map(|f| f.repo.clone()));
    let cluster = args.cluster.clone().or(facts.map(|f| f.cluster.clone()));
    let (Some(url), Some(cluster)) = (url, cluster) else {
        return Err(UsageError::new("Give --repo and --cluster, or --config DIR").into());
    };
    Ok((url, cluster, args.s3.over(folder.map(|f| f.s3()).unwrap_or_default())))
}

/// Who is tried. The administrator's own credential may come from anywhere, so it is tried only when it is meant.
fn roles(args: &ProbeArgs) -> Vec<(Role, Option<PathBuf>)> {
    let given = |role, file: &Option<PathBuf>| file.as_deref().map(|f: &Path| (role, Some(f.to_owned())));
    let mut roles: Vec<_> = [
        given(Role::Agent, &args.agent_credentials),
        given(Role::Replicator, &args.replicator_credentials),
        given(Role::Retain, &args.retain_credentials),
    ]
    .into_iter()
    .flatten()
    .collect();
    if roles.is_empty() || args.s3.credentials_file.is_some() {
        roles.insert(0, (Role::Administrator, None));
    }
    roles
}

fn conclusion(sound: bool, strict: bool, local: bool) -> &'static str {
    match (sound, strict, local) {
        (false, ..) => "The store does NOT do what backups rely on; see the lines marked BROKEN and MISSING.",
        (true, _, true) => {
            "It works. A directory protects nothing from whoever may write to it: the replicator's vault must be on another host."
        }
        (true, false, _) => {
            "It works. The lines marked promised are kept by programs that behave, not by the store: tighten the policy."
        }
        (true, true, _) => "It works, and everything tried is enforced by the store.",
    }
}

#[cfg(test)]
mod tests;
