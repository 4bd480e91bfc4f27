//! Signatures: Ed25519 (RFC 8032). Public keys are written `ed25519:<base64>`, private ones as PKCS#8 (RFC 8410).

use crate::{FormatError, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyKey([u8; 32]);

impl VerifyKey {
    /// Whether `signature` over `message` was made with this key's private half.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// For people to compare: the first 16 hexadecimal digits of the key's SHA-256, in fours.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hex = crate::id::Sha256::of(&self.0).to_hex();
        format!("{}-{}-{}-{}", &hex[..4], &hex[4..8], &hex[8..12], &hex[12..16])
    }
}

impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifyKey {
    type Err = FormatError;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || FormatError::malformed("public key", "not of the form ed25519:<base64 of 32 bytes>");
        let bytes = STANDARD.decode(s.strip_prefix("ed25519:").ok_or_else(bad)?).map_err(|_| bad())?;
        Ok(Self(bytes.try_into().map_err(|_| bad())?))
    }
}

impl Serialize for VerifyKey {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifyKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verify_key())
    }
}

impl SigningKey {
    /// A new key, as the PKCS#8 document that [`Self::from_pkcs8`] reads.
    #[must_use]
    pub fn generate() -> Zeroizing<Vec<u8>> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .expect("the operating system gives random bytes");
        Zeroizing::new(document.as_ref().to_vec())
    }

    pub fn from_pkcs8(document: &[u8]) -> Result<Self> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(document)
            .map(Self)
            .map_err(|e| FormatError::malformed("signing key", format!("not an Ed25519 key in PKCS#8: {e}")))
    }

    /// PEM (`-----BEGIN PRIVATE KEY-----`, RFC 7468), as key files are written.
    #[must_use]
    pub fn to_pem(document: &[u8]) -> Zeroizing<String> {
        let body = STANDARD.encode(document);
        Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
    }

    pub fn from_pem(text: &str) -> Result<Self> {
        let bad = || FormatError::malformed("signing key", "not a PEM file with one PRIVATE KEY");
        let body = text
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|s| s.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or_else(bad)?;
        let joined: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
        let document = Zeroizing::new(STANDARD.decode(joined.as_bytes()).map_err(|_| bad())?);
        Self::from_pkcs8(&document)
    }

    #[must_use]
    pub fn verify_key(&self) -> VerifyKey {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        VerifyKey(out)
    }

    /// 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pem_and_signs() {
        let document = SigningKey::generate();
        let key = SigningKey::from_pem(&SigningKey::to_pem(&document)).unwrap();
        let signature = key.sign(b"message");
        assert!(key.verify_key().verifies(b"message", &signature));
        assert!(!key.verify_key().verifies(b"massage", &signature));
        assert_eq!(key.verify_key().to_string().parse::<VerifyKey>().unwrap(), key.verify_key());
    }
}
