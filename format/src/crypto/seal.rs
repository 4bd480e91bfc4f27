//! Sealing: frames and one-time messages with AES-256-GCM, run keys and epoch identities with age.
//! Sees no private key.

use super::derive::{PackKey, RunKey, Secret32};
use crate::{FormatError, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::str::FromStr;

/// Bytes that AES-256-GCM adds.
pub const TAG: usize = 16;

/// What every frame of a pack is bound to, beside its own number and type.
#[derive(Debug, Clone, Copy)]
pub struct FrameContext {
    /// SHA-256 of the pack's header.
    pub header: [u8; 32],
}

impl FrameContext {
    /// Associated data: SHA-256(header) ‖ frame as u32, little endian ‖ type.
    #[must_use]
    pub fn aad(&self, frame: u32, kind: u8) -> [u8; 37] {
        let mut aad = [0; 37];
        aad[..32].copy_from_slice(&self.header);
        aad[32..36].copy_from_slice(&frame.to_le_bytes());
        aad[36] = kind;
        aad
    }
}

/// Seals `plain` in place and appends the tag.
pub fn frame(key: &PackKey, context: &FrameContext, frame: u32, kind: u8, plain: &mut Vec<u8>) {
    seal_in_place(&key.frame_key(frame), &context.aad(frame, kind), plain);
}

/// Seals what stands in `bytes` from `from` on, in place, and appends the tag.
pub fn frame_in(
    key: &PackKey,
    context: &FrameContext,
    frame: u32,
    kind: u8,
    bytes: &mut Vec<u8>,
    from: usize,
) {
    let cipher = cipher(&key.frame_key(frame));
    let aad = Aad::from(context.aad(frame, kind));
    let tag =
        cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), aad, &mut bytes[from..]);
    bytes.extend_from_slice(tag.expect("a frame is far below AES-GCM's bound").as_ref());
}

/// Seals one message under a key that is never used again.
#[must_use]
pub fn once(key: &Secret32, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + TAG);
    out.extend_from_slice(plain);
    seal_in_place(key, aad, &mut out);
    out
}

fn cipher(key: &Secret32) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).expect("the key has 32 bytes"))
}

fn seal_in_place(key: &Secret32, aad: &[u8], plain: &mut Vec<u8>) {
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(aad), plain)
        .expect("a frame is far below AES-GCM's bound");
}

/// Who an age file can be sealed to: native `age1…` strings (plugins by name, through the `age` program's protocol).
#[derive(Clone)]
pub enum Recipient {
    X25519(age::x25519::Recipient),
    Plugin(age::plugin::Recipient),
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::X25519(r) => write!(f, "{r}"),
            Self::Plugin(r) => write!(f, "{r}"),
        }
    }
}

impl FromStr for Recipient {
    type Err = FormatError;
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(r) = s.parse() {
            return Ok(Self::X25519(r));
        }
        s.parse().map(Self::Plugin).map_err(|_| {
            FormatError::malformed(
                "recipient",
                format!("'{}' is not an age recipient (age1…)", s.escape_debug()),
            )
        })
    }
}

/// Seals a run key to an epoch's public key; `epoch` is its `age1…` string from the charter.
pub fn run_key(epoch: &str, key: &RunKey) -> Result<Vec<u8>> {
    let recipient: age::x25519::Recipient = epoch
        .parse()
        .map_err(|_| FormatError::malformed("epoch recipient", "not an age X25519 recipient"))?;
    age::encrypt(&recipient, key.0.expose())
        .map_err(|e| FormatError::malformed("epoch recipient", format!("cannot seal to it: {e}")))
}

/// Seals bytes to one native X25519 recipient. A plugin's is refused: whoever names it must not choose a program of ours.
///
/// # Errors
/// `recipient` is no native age recipient.
pub fn to_one(recipient: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let recipient: age::x25519::Recipient =
        recipient.parse().map_err(|_| FormatError::malformed("recipient", "not an age X25519 recipient"))?;
    age::encrypt(&recipient, plain)
        .map_err(|e| FormatError::malformed("recipient", format!("cannot seal to it: {e}")))
}

/// Seals bytes to every recipient, as one age file that stock `age -d` opens.
pub fn to_recipients(recipients: &[Recipient], plain: &[u8]) -> Result<Vec<u8>> {
    let mut boxed: Vec<Box<dyn age::Recipient>> = Vec::new();
    for r in recipients {
        match r {
            Recipient::X25519(r) => boxed.push(Box::new(r.clone())),
            Recipient::Plugin(r) => boxed.push(Box::new(plugin(r)?)),
        }
    }
    let encryptor = age::Encryptor::with_recipients(boxed.iter().map(|b| &**b))
        .map_err(|e| FormatError::malformed("recipient", format!("cannot seal to these: {e}")))?;
    write(encryptor, plain)
}

/// Seals bytes with a passphrase (age's scrypt recipient) at a fixed work factor (log2 N).
pub fn with_passphrase(passphrase: &secrecy::SecretString, work_factor: u8, plain: &[u8]) -> Result<Vec<u8>> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
    recipient.set_work_factor(work_factor);
    let one: [&dyn age::Recipient; 1] = [&recipient];
    let encryptor = age::Encryptor::with_recipients(one.into_iter())
        .map_err(|e| FormatError::malformed("passphrase", e.to_string()))?;
    write(encryptor, plain)
}

fn write(encryptor: age::Encryptor, plain: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut out = Vec::new();
    let sealed = encryptor.wrap_output(&mut out).and_then(|mut w| {
        w.write_all(plain)?;
        w.finish()
    });
    sealed.map_err(|e| FormatError::malformed("recipient", format!("cannot seal: {e}")))?;
    Ok(out)
}

fn plugin(r: &age::plugin::Recipient) -> Result<age::plugin::RecipientPluginV1<age::NoCallbacks>> {
    age::plugin::RecipientPluginV1::new(r.plugin(), std::slice::from_ref(r), &[], age::NoCallbacks)
        .map_err(|e| FormatError::no_key("recipient", format!("its age plugin does not run: {e}")))
}
