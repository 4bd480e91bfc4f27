//! `lifeboat-image`: makes the agent's container image from a program that is built already, and the list of what is in
//! it (`make image`). Only takes arguments; the work is in the library.

#![allow(clippy::print_stdout, reason = "a program of the command line")]

use anyhow::{Context, Result};
use clap::Parser;
use lifeboat_tests::oci::{archive, rootfs, sbom};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Makes a container image (OCI archive) from a built lifeboat-agent, without a registry or a daemon.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The program
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Where the archive goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The image's name
    #[arg(long, value_name = "REF", default_value_t = format!("localhost/lifeboat-agent:{}", env!("CARGO_PKG_VERSION")))]
    reference: String,
    /// The commit that it was built from
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")?;
    let list = sbom::document(workspace, "lifeboat-agent", &args.binary)?;
    let beside = args.out.with_extension("").with_extension("cdx.json");
    std::fs::write(&beside, &list).with_context(|| format!("cannot write {}", beside.display()))?;
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", "lifeboat-agent".to_owned()),
        ("org.opencontainers.image.description", "Encrypted backups of a Kubernetes cluster".to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    labels.extend(args.revision.map(|revision| ("org.opencontainers.image.revision", revision)));
    let settings = archive::Settings {
        reference: &args.reference,
        entrypoint: &[rootfs::PROGRAM],
        user: rootfs::USER,
        labels,
    };
    let image = archive::write(&rootfs::layer(&args.binary, list)?, &settings)?;
    std::fs::write(&args.out, &image).with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{}  {} MiB", args.reference, image.len() >> 20);
    println!("{}  sha256:{}", args.out.display(), archive::sha256(&image));
    println!("{}", beside.display());
    Ok(())
}
