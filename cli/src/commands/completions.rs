//! `lifeboat completions`: completions for a shell. Knows nothing but the arguments.

use crate::Cli;
use crate::context::Context;
use anyhow::Result;
use clap::CommandFactory as _;
use lifeboat_common::exit::Exit;

/// Print completions for a shell
///
/// For bash: `lifeboat completions bash > /etc/bash_completion.d/lifeboat`
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut text);
    context.out.write_all(&text)?;
    Ok(Exit::Done)
}
