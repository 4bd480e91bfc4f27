//! Placeholder.

use crate::context::Context;
use anyhow::{Result, bail};
use lifeboat_common::exit::Exit;

#[derive(Debug, clap::Args)]
pub(crate) struct AdoptArgs {}

pub(crate) async fn run(_: &AdoptArgs, _: &mut Context<'_>) -> Result<Exit> {
    bail!("not yet")
}
