//! Epoch files: an epoch's private key, sealed to every administrator's identity. Stock `age -d` opens them.

use crate::Result;
use crate::crypto::open::{EpochIdentity, Identities};
use crate::crypto::seal::{self, Recipient};

/// Seals an epoch's private key to `recipients`; the bytes of `epochs/<n>-<sha256>.age`.
pub fn seal_epoch(identity: &EpochIdentity, recipients: &[Recipient]) -> Result<Vec<u8>> {
    seal::to_recipients(recipients, &identity.to_file())
}

/// Opens an epoch file with an administrator's identities.
pub fn open_epoch(sealed: &[u8], identities: &Identities) -> Result<EpochIdentity> {
    EpochIdentity::from_file(&identities.open("epoch", sealed)?)
}
