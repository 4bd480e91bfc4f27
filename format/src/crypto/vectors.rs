//! Known answers: published ones for the primitives as we call them, frozen ones for our own derivations.

use super::derive::{DomainKeys, PackKey, RunKey, Secret32, labelled, scope_alias};
use super::seal::FrameContext;
use super::{open, seal};
use crate::id::{Digest, Handle, Sha256};

fn secret(byte: u8) -> Secret32 {
    Secret32::new([byte; 32])
}

#[test]
fn sha256_and_blake3_are_the_published_ones() {
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Sha256::of(b"abc").to_hex(), sha); // FIPS 180-4, example B.1
    let blake = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(Digest::of(b"").to_hex(), blake); // BLAKE3 test vectors, input_len 0
}

#[test]
fn aes_256_gcm_is_the_published_one() {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: zero key, zero nonce, 16 zero bytes.
    let sealed = seal::once(&secret(0), b"", &[0; 16]);
    assert_eq!(hex::encode(sealed), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

#[test]
fn derivations_are_frozen() {
    let pack = RunKey(secret(1)).pack_key(&Handle([2; 16]));
    let frozen = [
        pack.0.expose().to_vec(),
        pack.frame_key(3).expose().to_vec(),
        labelled(&secret(4), "label", b"context").expose().to_vec(),
        DomainKeys::new(&secret(5), "objects/a").chunk_id(&Digest([6; 32])).0.to_vec(),
        DomainKeys::new(&secret(5), "objects/a").cut_hash(b"key").to_le_bytes().to_vec(),
        scope_alias(&secret(7), "ns/a").0.to_vec(),
    ];
    let hex: Vec<String> = frozen.iter().map(hex::encode).collect();
    assert_eq!(hex, FROZEN);
}

const FROZEN: [&str; 6] = [
    "a429b0714b208fcede3a87aa11f70fa641e51e95b0c0fa47d71cfcf97f6f7042",
    "d89b83c15f2990c12b4319a9bb877c816f70f55eb62babd9da6ee2b66d3e2342",
    "6a250ce5302d1969be8d078cc23b5e56cb34ea86ea38d4943ad115b124d0813b",
    "7b9f33702dc360170472e72d6d567e93",
    "eddac55bfffed111",
    "d12fe3877b064d3982fda853ea707100",
];

#[test]
fn a_frame_opens_only_where_it_belongs() {
    let key = PackKey(secret(9));
    let context = FrameContext { header: [1; 32] };
    let mut sealed = b"text".to_vec();
    seal::frame(&key, &context, 5, 1, &mut sealed);
    assert_eq!(sealed.len(), 4 + seal::TAG);
    let mut good = sealed.clone();
    open::frame(&key, &context, 5, 1, &mut good).unwrap();
    assert_eq!(good, b"text");
    for (frame, kind, header) in [(4, 1, 1), (5, 0, 1), (5, 1, 2)] {
        let mut moved = sealed.clone();
        assert!(open::frame(&key, &FrameContext { header: [header; 32] }, frame, kind, &mut moved).is_err());
    }
    for i in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[i] ^= 1;
        assert!(open::frame(&key, &context, 5, 1, &mut flipped).is_err());
    }
    assert!(open::frame(&key, &context, 5, 1, &mut vec![0; 15]).is_err());
}

#[test]
fn a_run_key_opens_with_its_epoch_only() {
    let (epoch, other) = (open::EpochIdentity::generate(), open::EpochIdentity::generate());
    let sealed = seal::run_key(&epoch.recipient(), &RunKey(secret(3))).unwrap();
    assert!(sealed.len() <= crate::limits::SEALED_RUN_KEY_MAX);
    assert_eq!(epoch.run_key(&sealed).unwrap().0.expose(), &[3; 32]);
    assert!(other.run_key(&sealed).is_err());
    let reread = open::EpochIdentity::from_file(&epoch.to_file()).unwrap();
    assert_eq!(reread.recipient(), epoch.recipient());
}

#[test]
fn passphrases_open_and_are_bounded() {
    let passphrase = secrecy::SecretString::from("correct horse");
    let sealed = seal::with_passphrase(&passphrase, 4, b"secret").unwrap();
    assert_eq!(open::with_passphrase("key", &passphrase, &sealed).unwrap().as_slice(), b"secret");
    assert!(open::with_passphrase("key", &"wrong".to_owned().into(), &sealed).is_err());
}
