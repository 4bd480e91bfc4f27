//! `completions`: completions for a shell. Knows nothing but the arguments.

use anyhow::Context as _;

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(crate) fn text(args: &Completions, mut command: clap::Command) -> anyhow::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "lifeboat-replicator", &mut text);
    String::from_utf8(text).context("The completions are not text")
}
