//! Private files and what is in them: signing keys, owner keys, identity files, passphrases.
//!
//! Owns how they lie on a disk: mode 0600, created and never replaced, refused when others can read them. Knows no
//! store and no charter; the cryptography is `lifeboat_format`'s.

mod file;
mod passphrase;

use lifeboat_format::FormatError;
use lifeboat_format::crypto::open::{self, EpochIdentity, IdentityFile};
use lifeboat_format::crypto::seal;
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub use file::{Readers, make_folder, read_private, sync_folder, write_new};
pub use passphrase::{PassphraseSource, Protection};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("Cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} exists already and is never replaced; move it away, or give another name")]
    Exists { path: PathBuf },
    #[error(
        "{path} can be read by others (mode {mode:04o}); take it as known to them, or run: chmod 600 {path}"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} is larger than {max} bytes, so it is no key file")]
    TooLarge { path: PathBuf, max: u64 },
    #[error("{path} is not text")]
    NotText { path: PathBuf },
    #[error("{path}: {source}")]
    Format { path: PathBuf, source: FormatError },
    #[error(
        "No passphrase for {what}: standard input is no terminal to ask on; give --passphrase-file FILE{otherwise}"
    )]
    NoPassphrase { what: String, otherwise: &'static str },
    #[error("The passphrase for {what} is empty")]
    EmptyPassphrase { what: String },
    #[error("The two passphrases differ; nothing was written, so run the command again")]
    PassphrasesDiffer,
}

impl KeyError {
    /// Whether the command was called wrongly, rather than failed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoPassphrase { .. } | Self::EmptyPassphrase { .. } | Self::PassphrasesDiffer)
    }
}

pub type Result<T> = std::result::Result<T, KeyError>;

fn format_error(path: &Path) -> impl FnOnce(FormatError) -> KeyError {
    let path = path.to_owned();
    |source| KeyError::Format { path, source }
}

/// The bytes of a file with this plaintext: sealed with the passphrase, or as they are.
pub fn protect(
    plain: &[u8],
    protection: &Protection,
) -> std::result::Result<Zeroizing<Vec<u8>>, FormatError> {
    match protection.passphrase_and_work_factor() {
        Some((passphrase, work)) => seal::with_passphrase(passphrase, work, plain).map(Zeroizing::new),
        None => Ok(Zeroizing::new(plain.to_vec())),
    }
}

/// The text of a private file, out of its passphrase where it has one.
fn text(
    path: &Path,
    what: &str,
    passphrases: &PassphraseSource,
    readers: Readers,
) -> Result<Zeroizing<String>> {
    let mut bytes = read_private(path, readers)?;
    if open::is_age_file(&bytes) {
        let passphrase = passphrases.existing(what)?;
        bytes = open::with_passphrase("key file", &passphrase, &bytes).map_err(format_error(path))?;
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotText { path: path.into() })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads an owner's key: PEM, usually sealed with a passphrase.
pub fn owner_key(path: &Path, passphrases: &PassphraseSource) -> Result<SigningKey> {
    let pem = text(path, &format!("the owner key {}", path.display()), passphrases, Readers::OwnerOnly)?;
    SigningKey::from_pem(&pem).map_err(format_error(path))
}

/// Reads a service's key: PEM, without a passphrase; its group may read it, as mounted Secrets and systemd's
/// credentials need.
pub fn service_key(path: &Path) -> Result<SigningKey> {
    let bytes = read_private(path, Readers::Group)?;
    let pem = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotText { path: path.into() })?;
    SigningKey::from_pem(pem).map_err(format_error(path))
}

/// Reads an administrator's identities: an age identity file, in clear or sealed with a passphrase.
pub fn identity(path: &Path, passphrases: &PassphraseSource) -> Result<IdentityFile> {
    let text = text(path, &format!("the identity {}", path.display()), passphrases, Readers::OwnerOnly)?;
    open::identity_file(&text).map_err(format_error(path))
}

/// A new administrator's identity: its file in clear, and its public half.
#[must_use]
pub fn new_identity(owner: Option<&VerifyKey>, created: jiff::Timestamp) -> (Zeroizing<String>, String) {
    let identity = EpochIdentity::generate();
    let recipient = identity.recipient();
    let mut file = Zeroizing::new(format!("# created: {created:.0}\n# public key: {recipient}\n"));
    if let Some(owner) = owner {
        file.push_str(&format!("# owner: {owner}\n"));
    }
    let secret = identity.to_file();
    file.push_str(std::str::from_utf8(&secret).expect("an age identity is ASCII"));
    (file, recipient)
}

#[cfg(test)]
mod tests;
