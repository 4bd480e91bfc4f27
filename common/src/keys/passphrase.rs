//! Where a passphrase comes from: a file, or a person at a terminal. Never an argument, never the environment.

use super::file::{Readers, read_private};
use super::{KeyError, Result};
use secrecy::SecretString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// scrypt's cost as a power of two: about a second and 256 MiB.
const WORK_FACTOR: u8 = 18;

/// How a new private file is protected.
#[derive(Debug, Clone)]
pub enum Protection {
    Passphrase(Sealing),
    /// By the file's mode alone.
    Unprotected,
}

/// A passphrase and how much work it is to try one.
#[derive(Debug, Clone)]
pub struct Sealing {
    passphrase: SecretString,
    work_factor: u8,
}

impl Protection {
    #[must_use]
    pub fn passphrase(passphrase: SecretString) -> Self {
        Self::Passphrase(Sealing { passphrase, work_factor: WORK_FACTOR })
    }

    /// With less work for a guess; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn cheap(passphrase: SecretString) -> Self {
        Self::Passphrase(Sealing { passphrase, work_factor: 2 })
    }

    #[must_use]
    pub fn is_protected(&self) -> bool {
        matches!(self, Self::Passphrase(_))
    }

    pub(super) fn passphrase_and_work_factor(&self) -> Option<(&SecretString, u8)> {
        match self {
            Self::Passphrase(sealing) => Some((&sealing.passphrase, sealing.work_factor)),
            Self::Unprotected => None,
        }
    }
}

/// Where to ask for passphrases.
#[derive(Debug, Clone, Default)]
pub struct PassphraseSource {
    file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The file when there is one, else the terminal.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The passphrase that `what` was sealed with.
    pub fn existing(&self, what: &str) -> Result<SecretString> {
        match &self.file {
            Some(file) => from_file(file, what),
            None => ask(what, "").and_then(|text| not_empty(&text, what)),
        }
    }

    /// A passphrase for something new; a person types it twice.
    pub fn new_one(&self, what: &str) -> Result<SecretString> {
        if let Some(file) = &self.file {
            return from_file(file, what);
        }
        let first = ask(what, ", or --unprotected to have no passphrase at all")?;
        let second = prompt(&format!("The same passphrase for {what} again: "))?;
        if *first != *second {
            return Err(KeyError::PassphrasesDiffer);
        }
        not_empty(&first, what)
    }
}

/// The first line of a file.
fn from_file(file: &Path, what: &str) -> Result<SecretString> {
    let bytes = read_private(file, Readers::OwnerOnly)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotText { path: file.into() })?;
    not_empty(text.lines().next().unwrap_or_default(), what)
}

fn ask(what: &str, otherwise: &'static str) -> Result<Zeroizing<String>> {
    // A script with input from elsewhere must fail and not hang.
    if !std::io::stdin().is_terminal() {
        return Err(KeyError::NoPassphrase { what: what.to_owned(), otherwise });
    }
    prompt(&format!("Passphrase for {what}: "))
}

fn prompt(text: &str) -> Result<Zeroizing<String>> {
    let fail = |source| KeyError::Io { action: "ask for a passphrase on", path: "/dev/tty".into(), source };
    rpassword::prompt_password(text).map(Zeroizing::new).map_err(fail)
}

fn not_empty(text: &str, what: &str) -> Result<SecretString> {
    if text.is_empty() {
        return Err(KeyError::EmptyPassphrase { what: what.to_owned() });
    }
    Ok(SecretString::from(text))
}
