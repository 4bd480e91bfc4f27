//! Signed envelopes: DSSE (Dead Simple Signing Envelope, secure-systems-lab/dsse v1.0.2) with Ed25519.
//!
//! There is one encoding of an envelope: compact JSON, keys in the order payload, payloadType, signatures
//! (keyid, sig), standard base64. A reader rebuilds it and refuses bytes that differ.

use crate::crypto::sign::{SigningKey, VerifyKey};
use crate::{FormatError, Result, limits};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// An envelope whose encoding was checked; its signatures are not, until [`Envelope::signed_by`].
#[derive(Debug, Clone)]
pub struct Envelope {
    what: &'static str,
    payload_type: &'static str,
    payload: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// The bytes that are signed: PAE(type, payload).
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Signs `payload` with each key; the key id is the public key's text.
#[must_use]
pub fn sign(payload_type: &'static str, payload: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    let message = pae(payload_type, payload);
    let signatures = keys
        .iter()
        .map(|k| WireSignature { keyid: k.verify_key().to_string(), sig: STANDARD.encode(k.sign(&message)) })
        .collect();
    encode(&Wire { payload: STANDARD.encode(payload), payload_type: payload_type.to_owned(), signatures })
}

fn encode(wire: &Wire) -> Vec<u8> {
    serde_json::to_vec(wire).expect("strings always serialize")
}

impl Envelope {
    /// What was signed, whoever signed it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Parses `bytes`, refused unless they are the one encoding of an envelope of this type.
    pub fn parse(
        what: &'static str,
        payload_type: &'static str,
        max_bytes: u64,
        bytes: &[u8],
    ) -> Result<Self> {
        if bytes.len() as u64 > max_bytes {
            return Err(FormatError::too_large(
                what,
                format!("{} bytes, at most {max_bytes} are read", bytes.len()),
            ));
        }
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|e| FormatError::malformed(what, format!("not a DSSE envelope: {e}")))?;
        if wire.payload_type != payload_type {
            return Err(FormatError::malformed(what, "payload of another type"));
        }
        if wire.signatures.len() > limits::SIGNATURES_MAX {
            return Err(FormatError::too_large(what, "too many signatures"));
        }
        if encode(&wire) != bytes {
            return Err(FormatError::malformed(what, "not the canonical encoding of its envelope"));
        }
        let base64 = |s: &str| STANDARD.decode(s).map_err(|_| FormatError::malformed(what, "bad base64"));
        let mut signatures = Vec::new();
        for s in &wire.signatures {
            signatures.push((s.keyid.clone(), base64(&s.sig)?));
        }
        Ok(Self { what, payload_type, payload: base64(&wire.payload)?, signatures })
    }

    /// The payload, not yet to be trusted.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// How many of `keys`, each counted once, signed the payload.
    #[must_use]
    pub fn count_signed_by(&self, keys: &[VerifyKey]) -> usize {
        let message = pae(self.payload_type, &self.payload);
        let signed = |k: &VerifyKey| {
            let id = k.to_string();
            self.signatures.iter().any(|(keyid, sig)| *keyid == id && k.verifies(&message, sig))
        };
        let mut distinct = keys.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        distinct.iter().filter(|k| signed(k)).count()
    }

    /// The payload, if `key` signed it.
    pub fn signed_by(&self, key: &VerifyKey) -> Result<&[u8]> {
        if self.count_signed_by(&[*key]) == 1 {
            Ok(&self.payload)
        } else {
            Err(FormatError::forged(self.what, format!("not signed by {key}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.lifeboat.test+json";

    #[test]
    fn pae_is_the_specified_one() {
        // protocol.md of secure-systems-lab/dsse: the example of the test vector.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let bytes = sign(TYPE, b"{\"a\":1}", &[&key]);
        let ok = |b: &[u8]| {
            Envelope::parse("test", TYPE, 1000, b)
                .and_then(|e| e.signed_by(&key.verify_key()).map(<[u8]>::to_vec))
        };
        assert_eq!(ok(&bytes).unwrap(), b"{\"a\":1}");
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(ok(&flipped).is_err(), "byte {i}");
        }
        let mut longer = bytes.clone();
        longer.push(b'\n');
        assert!(ok(&longer).is_err());
    }

    #[test]
    fn a_key_counts_once() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
        let bytes = sign(TYPE, b"{}", &[&key, &key]);
        let envelope = Envelope::parse("test", TYPE, 1000, &bytes).unwrap();
        assert_eq!(envelope.count_signed_by(&[key.verify_key(), key.verify_key()]), 1);
    }
}
