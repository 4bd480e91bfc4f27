//! Keys and credentials of the services where systemd takes them from: sealed to this machine by `systemd-creds` where that is
//! there, otherwise files that only root reads. Knows the places, not what the secrets are for.

use super::HostError;
use super::tools::Host;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What hands a unit its credential.
pub(super) fn directive(name: &str, sealed: bool) -> String {
    let kind = if sealed { "LoadCredentialEncrypted" } else { "LoadCredential" };
    format!("{kind}={name}:{}", place(name, sealed).display())
}

pub(super) fn place(name: &str, sealed: bool) -> PathBuf {
    let folder = if sealed { "/etc/credstore.encrypted" } else { "/etc/credstore" };
    PathBuf::from(folder).join(format!("lifeboat.{name}"))
}

/// Whether this machine can seal.
pub(super) fn can_seal(host: &Host) -> bool {
    host.has("/usr/bin/systemd-creds")
}

/// Whether a secret of this name is there, and sealed.
pub(super) fn find(host: &Host, name: &str) -> Option<bool> {
    [true, false].into_iter().find(|sealed| host.at(&place(name, *sealed)).exists())
}

/// The secret of this name, opened.
pub(super) fn read(host: &Host, name: &str, sealed: bool) -> Result<Zeroizing<Vec<u8>>, HostError> {
    let path = place(name, sealed);
    if sealed {
        let path = path.display().to_string();
        return host.run(&["systemd-creds", "decrypt", &format!("--name={name}"), &path, "-"], &[]);
    }
    let missing = || HostError::Read { path: path.clone(), source: std::io::ErrorKind::NotFound.into() };
    host.read(&path)?.ok_or_else(missing)
}

/// Puts a secret in place, for root alone, and takes the other kind of the same name away.
pub(super) fn store(host: &Host, name: &str, sealed: bool, secret: &[u8]) -> Result<(), HostError> {
    let path = place(name, sealed);
    if sealed {
        let words = ["systemd-creds", "encrypt", &format!("--name={name}"), "-", "-"];
        let bytes = host
            .run(&words, secret)
            .map_err(|e| HostError::Seal { name: name.to_owned(), why: e.to_string() })?;
        host.write(&path, 0o600, None, &bytes)?;
    } else {
        host.write(&path, 0o600, None, secret)?;
    }
    let other = host.at(&place(name, !sealed));
    match std::fs::remove_file(&other) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::Write { path: other, source })
        }
        _ => Ok(()),
    }
}
