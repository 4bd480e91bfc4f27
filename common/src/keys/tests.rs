//! Tests of the key files.

use super::*;
use lifeboat_format::epoch::{open_epoch, seal_epoch};
use secrecy::SecretString;
use std::os::unix::fs::PermissionsExt as _;

fn cheap() -> Protection {
    Protection::cheap(SecretString::from("correct horse"))
}

fn source(dir: &Path, text: &str) -> PassphraseSource {
    let file = dir.join(format!("passphrase-{}", text.len()));
    write_new(&file, text.as_bytes()).unwrap();
    PassphraseSource::new(Some(file))
}

#[test]
fn files_are_private_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.key");
    write_new(&path, b"one").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(write_new(&path, b"two"), Err(KeyError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    let folder = dir.path().join("out");
    make_folder(&folder).unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(make_folder(&folder), Err(KeyError::Exists { .. })));
}

#[test]
fn what_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.key");
    write_new(&path, b"secret").unwrap();
    for (mode, owner_only, group) in [(0o600, true, true), (0o640, false, true), (0o604, false, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_private(&path, Readers::OwnerOnly).is_ok(), owner_only, "{mode:o}");
        assert_eq!(read_private(&path, Readers::Group).is_ok(), group, "{mode:o}");
    }
    let error = read_private(&path, Readers::OwnerOnly).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("0604"), "{error}");
}

#[test]
fn an_owner_key_comes_back_out_of_its_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let document = SigningKey::generate();
    let public = SigningKey::from_pkcs8(&document).unwrap().verify_key();
    let pem = SigningKey::to_pem(&document);
    let right = source(dir.path(), "correct horse\n");
    let wrong = source(dir.path(), "battery");
    for (name, protection) in [("sealed", cheap()), ("plain", Protection::Unprotected)] {
        let path = dir.path().join(name);
        write_new(&path, &protect(pem.as_bytes(), &protection).unwrap()).unwrap();
        assert_eq!(owner_key(&path, &right).unwrap().verify_key(), public, "{name}");
    }
    let error = owner_key(&dir.path().join("sealed"), &wrong).unwrap_err().to_string();
    assert!(error.contains("sealed") && error.contains("passphrase does not open"), "{error}");
    let bytes = std::fs::read(dir.path().join("sealed")).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"));
    // An unprotected file needs no passphrase, so nobody is asked.
    assert!(owner_key(&dir.path().join("plain"), &PassphraseSource::default()).is_ok());
}

#[test]
fn an_identity_opens_an_epoch_and_names_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let owner = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap().verify_key();
    let (file, recipient) = new_identity(Some(&owner), jiff::Timestamp::UNIX_EPOCH);
    let path = dir.path().join("identity.txt");
    let sealed = protect(file.as_bytes(), &cheap()).unwrap();
    assert!(!sealed.windows(6).any(|w| w == b"owner:"), "the owner stands inside the ciphertext");
    write_new(&path, &sealed).unwrap();
    let read = identity(&path, &source(dir.path(), "correct horse")).unwrap();
    assert_eq!(read.owner, Some(owner.to_string()));
    let epoch = EpochIdentity::generate();
    let epoch_file = seal_epoch(&epoch, &[recipient.parse().unwrap()]).unwrap();
    assert_eq!(open_epoch(&epoch_file, &read.identities).unwrap().recipient(), epoch.recipient());
}

#[test]
fn an_empty_passphrase_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let error = source(dir.path(), "\nsecond line").existing("x").unwrap_err();
    assert!(error.is_usage(), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    assert!(!format!("{:?}", cheap()).contains("horse"));
}
