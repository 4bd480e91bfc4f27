//! Reading a folder that `init` made, for the commands that change it.

use super::{AGENT_KEY, CA, CHARTER, CREDENTIALS, RECIPIENTS, REPOSITORY, read_credentials};
use anyhow::{Context as _, Result};
use lifeboat_common::config::{self, RepositoryConfig};
use lifeboat_common::keys::{Readers, read_private};
use lifeboat_format::crypto::seal::Recipient;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The folder and what is in it, private keys left where they are.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// As in the file, with file names still relative to the folder.
    pub(crate) facts: RepositoryConfig,
    /// Signed charters as the file holds them, not yet verified.
    pub(crate) charters: Vec<Vec<u8>>,
    pub(crate) recipients: Vec<Recipient>,
}

impl Folder {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let mut facts: RepositoryConfig = config::load(&path.join(REPOSITORY))?;
        facts.s3.ca_file = facts.s3.ca_file.map(|_| CA.into());
        let text = read(&path.join(CHARTER))?;
        let charters = text.lines().filter(|l| !l.is_empty()).map(|l| l.as_bytes().to_vec()).collect();
        let recipients = parse_recipients(&read(&path.join(RECIPIENTS))?)?;
        Ok(Self { path: path.into(), facts, charters, recipients })
    }

    /// How to reach the store from here.
    pub(crate) fn s3(&self) -> lifeboat_common::store::S3Options {
        self.facts.s3.clone().relative_to(&self.path)
    }

    pub(crate) fn agent_pem(&self) -> Result<Zeroizing<String>> {
        let bytes = read_private(&self.path.join(AGENT_KEY), Readers::OwnerOnly)?;
        Ok(Zeroizing::new(String::from_utf8(bytes.to_vec()).context("agent.key is not text")?))
    }

    /// The agent's credential, where the folder has it.
    pub(crate) fn credentials(&self) -> Result<Option<Zeroizing<String>>> {
        let path = self.path.join(CREDENTIALS);
        if path.exists() { read_credentials(&path).map(Some) } else { Ok(None) }
    }

    pub(crate) fn ca(&self) -> Result<Option<String>> {
        let path = self.path.join(CA);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| {
        format!("Cannot read {}; give the folder that `lifeboat init` made as --config", path.display())
    })
}

/// One `age1…` a line; `#` begins a comment.
fn parse_recipients(text: &str) -> Result<Vec<Recipient>> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| l.parse().with_context(|| format!("in {RECIPIENTS}"))).collect()
}

/// The text that [`parse_recipients`] reads.
pub(crate) fn recipients_text(recipients: &[Recipient]) -> String {
    let lines: String = recipients.iter().map(|r| format!("{r}\n")).collect();
    format!("# Who can open the backups (public halves of age identities).\n{lines}")
}
