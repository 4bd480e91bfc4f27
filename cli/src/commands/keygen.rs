//! `lifeboat keygen`: one more administrator's identity. Knows no repository and no owner.

use crate::context::Context;
use anyhow::Result;
use lifeboat_common::exit::Exit;
use lifeboat_common::keys::{self, PassphraseSource, Protection};
use serde::Serialize;
use std::path::PathBuf;

/// Make an age identity for one more administrator
///
/// Writes the identity (private) to a file and prints the recipient (public, age1…). Give the
/// recipient to whoever runs `lifeboat init --recipient` or `lifeboat rotate --recipient`; the
/// identity never leaves your hands. `age-keygen` and age plugins (hardware) do as well.
///
///   lifeboat keygen --out ~/lifeboat-identity.txt
///
/// The file does not name the owner of any repository: with it, give --owner to commands that
/// read one.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KeygenArgs {
    /// Where to write the identity; never replaces a file
    #[arg(long, value_name = "FILE", default_value = "identity.txt")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) protect: ProtectArgs,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How new private files are protected.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ProtectArgs {
    /// File whose first line is the passphrase (default: it is asked for, twice)
    #[arg(long, value_name = "FILE", conflicts_with = "unprotected")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// No passphrase: whoever has the file has the key
    #[arg(long)]
    pub(crate) unprotected: bool,
}

impl ProtectArgs {
    pub(crate) fn protection(&self, what: &str) -> Result<Protection> {
        if self.unprotected {
            return Ok(Protection::Unprotected);
        }
        let source = PassphraseSource::new(self.passphrase_file.clone());
        Ok(Protection::passphrase(source.new_one(what)?))
    }
}

#[derive(Serialize)]
struct Made<'a> {
    schema: &'static str,
    file: &'a std::path::Path,
    recipient: &'a str,
    protected: bool,
}

pub(crate) fn run(args: &KeygenArgs, context: &mut Context<'_>) -> Result<Exit> {
    if args.out.exists() {
        return Err(keys::KeyError::Exists { path: args.out.clone() }.into());
    }
    let protection = args.protect.protection(&format!("the identity {}", args.out.display()))?;
    let (file, recipient) = keys::new_identity(None, context.clock.now());
    keys::write_new(&args.out, &keys::protect(file.as_bytes(), &protection)?)?;
    if args.json {
        let schema = "lifeboat/keygen/1";
        context.json(&Made {
            schema,
            file: &args.out,
            recipient: &recipient,
            protected: protection.is_protected(),
        })?;
    } else {
        context.line(format!("Identity:  {} (private; store it offline, twice)", args.out.display()))?;
        context.line(format!("Recipient: {recipient}"))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_common::telemetry::Color;

    #[test]
    fn the_printed_recipient_fits_the_file_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("id.txt");
        let args = KeygenArgs {
            out: out.clone(),
            protect: ProtectArgs { unprotected: true, ..Default::default() },
            json: true,
        };
        let mut printed = Vec::new();
        run(&args, &mut Context::new(&mut printed, Color::Never)).unwrap();
        let printed: serde_json::Value = serde_json::from_slice(&printed).unwrap();
        let recipient = printed["recipient"].as_str().unwrap().parse().unwrap();
        let file = keys::identity(&out, &PassphraseSource::default()).unwrap();
        assert!(file.owner.is_none());
        let epoch = lifeboat_format::crypto::open::EpochIdentity::generate();
        let sealed = lifeboat_format::epoch::seal_epoch(&epoch, &[recipient]).unwrap();
        assert!(lifeboat_format::epoch::open_epoch(&sealed, &file.identities).is_ok());
        assert!(run(&args, &mut Context::new(&mut Vec::new(), Color::Never)).is_err());
    }
}
