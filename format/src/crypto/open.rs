//! Opening: the only room that sees a private key.

use super::derive::{PackKey, RunKey, Secret32};
use super::seal::{FrameContext, TAG};
use crate::{FormatError, Result, limits};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// The largest scrypt work factor (log2 N) that is tried: a file from elsewhere must not stall us.
pub const WORK_FACTOR_MAX: u8 = 22;

/// Opens a frame in place; what is left is its plaintext.
pub fn frame(
    key: &PackKey,
    context: &FrameContext,
    frame: u32,
    kind: u8,
    sealed: &mut Vec<u8>,
) -> Result<()> {
    open_in_place(&key.frame_key(frame), &context.aad(frame, kind), sealed)
        .map_err(|()| FormatError::forged("pack", format!("frame {frame} does not authenticate")))
}

/// Opens a frame in place; gives its plaintext.
pub fn frame_in_place<'a>(
    key: &PackKey,
    context: &FrameContext,
    frame: u32,
    kind: u8,
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    open_slice(&key.frame_key(frame), &context.aad(frame, kind), sealed)
        .map_err(|()| FormatError::forged("pack", format!("frame {frame} does not authenticate")))
}

/// Opens a message sealed by [`super::seal::once`].
pub fn once(what: &'static str, key: &Secret32, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let mut out = sealed.to_vec();
    open_in_place(key, aad, &mut out).map_err(|()| FormatError::forged(what, "does not authenticate"))?;
    Ok(out)
}

fn open_in_place(key: &Secret32, aad: &[u8], sealed: &mut Vec<u8>) -> std::result::Result<(), ()> {
    let body = open_slice(key, aad, sealed)?.len();
    sealed.truncate(body);
    Ok(())
}

fn open_slice<'a>(key: &Secret32, aad: &[u8], sealed: &'a mut [u8]) -> std::result::Result<&'a mut [u8], ()> {
    let (body, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(())?;
    let tag = Tag::from(*tag);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| ())?);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, body, 0..).map_err(|_| ())
}

/// One epoch's private key, opened from `epochs/…age` by an administrator's identity.
#[derive(Clone)]
pub struct EpochIdentity(age::x25519::Identity);

impl std::fmt::Debug for EpochIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochIdentity({})", self.recipient())
    }
}

impl EpochIdentity {
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Its public half, as the charter names it.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// What an epoch file seals: an age identity file of one line, so that `age -d -i` takes it as it is.
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(self.0.to_string().expose_secret().as_bytes().to_vec());
        out.push(b'\n');
        out
    }

    /// Reads what an epoch file sealed.
    pub fn from_file(plain: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(plain).map_err(|_| FormatError::malformed("epoch", "not text"))?;
        let identity =
            text.trim_end().parse().map_err(|_| FormatError::malformed("epoch", "not one age identity"))?;
        Ok(Self(identity))
    }

    /// Opens a run key from a pack's header or a pack list.
    pub fn run_key(&self, sealed: &[u8]) -> Result<RunKey> {
        if sealed.len() > limits::SEALED_RUN_KEY_MAX {
            return Err(FormatError::too_large("run key", "sealed key too long"));
        }
        let plain = age::decrypt(&self.0, sealed).map(Zeroizing::new).map_err(|e| {
            FormatError::no_key("run key", format!("epoch {} does not open it: {e}", self.recipient()))
        })?;
        let bytes: [u8; 32] =
            plain.as_slice().try_into().map_err(|_| FormatError::malformed("run key", "not 32 bytes"))?;
        Ok(RunKey(Secret32::new(bytes)))
    }
}

/// The key of one fill worker: made in memory for one connection, and never written.
pub struct OneTimeIdentity(age::x25519::Identity);

impl std::fmt::Debug for OneTimeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OneTimeIdentity({})", self.recipient())
    }
}

impl OneTimeIdentity {
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// What is to be sealed to it is sealed to this: [`super::seal::to_one`].
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Opens an age file sealed to it, of at most `max` bytes in clear.
    ///
    /// # Errors
    /// It is damaged, too long, or sealed to another key.
    pub fn open(&self, what: &'static str, sealed: &[u8], max: u64) -> Result<Zeroizing<Vec<u8>>> {
        use std::io::Read as _;
        let decryptor = age::Decryptor::new(sealed)
            .map_err(|e| FormatError::malformed(what, format!("not an age file: {e}")))?;
        let reader = decryptor
            .decrypt(std::iter::once(&self.0 as &dyn age::Identity))
            .map_err(|e| FormatError::no_key(what, format!("it is sealed to another key ({e})")))?;
        // Grown once, so that no copy of keys is left behind.
        let mut out = Zeroizing::new(Vec::with_capacity(sealed.len()));
        let read = reader.take(max.saturating_add(1)).read_to_end(&mut out);
        read.map_err(|e| FormatError::forged(what, format!("damaged: {e}")))?;
        if out.len() as u64 > max {
            return Err(FormatError::too_large(what, "it is longer than it can be"));
        }
        Ok(out)
    }
}

/// An administrator's identities, from one identity file.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// What an identity file holds, beside its identities: comments, where `init` notes the owner.
#[derive(Debug)]
pub struct IdentityFile {
    pub identities: Identities,
    /// The owner's public key from the comment `# owner: ed25519:…`.
    pub owner: Option<String>,
}

/// Reads an age identity file (native, plugin; one per line), already out of its passphrase.
pub fn identity_file(text: &str) -> Result<IdentityFile> {
    let owner = text.lines().find_map(|l| l.strip_prefix("# owner: ")).map(|s| s.trim().to_owned());
    let file = age::IdentityFile::from_buffer(text.as_bytes()).map_err(|_| {
        FormatError::malformed("identity file", "no age identities in it (AGE-SECRET-KEY-1… lines)")
    })?;
    let boxed = file
        .with_callbacks(age::cli_common::UiCallbacks)
        .into_identities()
        .map_err(|e| FormatError::no_key("identity file", e.to_string()))?;
    let identities = boxed.into_iter().map(|b| b as Box<dyn age::Identity + Send + Sync>).collect::<Vec<_>>();
    if identities.is_empty() {
        return Err(FormatError::malformed(
            "identity file",
            "no age identities in it (AGE-SECRET-KEY-1… lines)",
        ));
    }
    Ok(IdentityFile { identities: Identities(identities), owner })
}

impl Identities {
    /// Opens an age file sealed to one of these.
    pub fn open(&self, what: &'static str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let decryptor = age::Decryptor::new(sealed)
            .map_err(|e| FormatError::malformed(what, format!("not an age file: {e}")))?;
        let reader = decryptor
            .decrypt(self.0.iter().map(|b| &**b as &dyn age::Identity))
            .map_err(|e| FormatError::no_key(what, format!("none of the identities opens it ({e})")))?;
        read(what, reader)
    }
}

/// Whether these bytes are an age file (rather than an identity file in clear).
#[must_use]
pub fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/v1\n") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

/// Opens an age file (armored or not) sealed with a passphrase.
pub fn with_passphrase(
    what: &'static str,
    passphrase: &SecretString,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let armored = age::armor::ArmoredReader::new(sealed);
    let decryptor = age::Decryptor::new_buffered(armored)
        .map_err(|e| FormatError::malformed(what, format!("not an age file: {e}")))?;
    let mut identity = age::scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|e| FormatError::no_key(what, format!("the passphrase does not open it ({e})")))?;
    read(what, reader)
}

fn read(what: &'static str, reader: impl std::io::Read) -> Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut out = Zeroizing::new(Vec::new());
    let bounded = reader.take(limits::EPOCH_MAX).read_to_end(&mut out);
    bounded.map_err(|e| FormatError::forged(what, format!("damaged: {e}")))?;
    Ok(out)
}
