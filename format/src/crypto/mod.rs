//! Cryptography, the whole of it: derive, seal, open, sign. Everything else handles ciphertext or opened values.
//!
//! AES-256-GCM (NIST SP 800-38D), HKDF-SHA-256 (RFC 5869), Ed25519 (RFC 8032) and SHA-256 are ring's; sealing
//! to people is age's (C2SP age v1). Each symmetric key seals exactly one message, so nonces are zero.
//! ring does not wipe its expanded keys; our own copies are zeroized.

pub mod derive;
pub mod open;
pub mod random;
pub mod seal;
pub mod sign;

#[cfg(test)]
mod vectors;
