//! Where things are in a repository: keys below one cluster's folder, made and parsed.
//! Anything that does not parse here is junk and never followed.

use crate::id::Sha256;

pub const CHARTER: &str = "charter/";
pub const EPOCHS: &str = "epochs/";
pub const LISTS: &str = "lists/";
pub const PACKS: &str = "packs/";
pub const MANIFESTS: &str = "manifests/";
pub const AGENT: &str = "agent/";
pub const LOST: &str = "lost/";
pub const FORGOTTEN: &str = "forgotten/";
/// Vault only.
pub const RECEIPTS: &str = "receipts/";
pub const TOMBSTONES: &str = "tombstones/";
pub const REJECTED: &str = "rejected/";
pub const AUDIT: &str = "audit/";
pub const PENDING: &str = "pending/";
pub const DAMAGED: &str = "damaged/";

#[must_use]
pub fn charter(n: u64, sha256: &Sha256) -> String {
    format!("{CHARTER}{n}-{sha256}.json")
}

#[must_use]
pub fn epoch(n: u64, sha256: &Sha256) -> String {
    format!("{EPOCHS}{n}-{sha256}.age")
}

#[must_use]
pub fn list(sha256: &Sha256) -> String {
    format!("{LISTS}{sha256}")
}

#[must_use]
pub fn pack(sha256: &Sha256) -> String {
    let hex = sha256.to_hex();
    format!("{PACKS}{}/{hex}", &hex[..2])
}

#[must_use]
pub fn manifest(seq: u64) -> String {
    format!("{MANIFESTS}{seq:016}.json")
}

#[must_use]
pub fn agent(sha256: &Sha256) -> String {
    format!("{AGENT}{sha256}")
}

#[must_use]
pub fn forgotten(seq: u64, sha256: &Sha256) -> String {
    format!("{FORGOTTEN}{seq:016}-{sha256}")
}

#[must_use]
pub fn lost(sha256: &Sha256) -> String {
    format!("{LOST}{sha256}")
}

#[must_use]
pub fn receipt(seq: u64) -> String {
    format!("{RECEIPTS}{seq:016}.json")
}

#[must_use]
pub fn audit(n: u64) -> String {
    format!("{AUDIT}{n:016}.json")
}

#[must_use]
pub fn tombstone(seq: u64) -> String {
    format!("{TOMBSTONES}{seq:016}.json")
}

#[must_use]
pub fn pending(seq: u64) -> String {
    format!("{PENDING}{seq:016}")
}

/// `charter/<n>-<sha256>.json` → (n, sha256).
#[must_use]
pub fn parse_charter(key: &str) -> Option<(u64, Sha256)> {
    numbered(key.strip_prefix(CHARTER)?.strip_suffix(".json")?)
}

/// `epochs/<n>-<sha256>.age` → (n, sha256).
#[must_use]
pub fn parse_epoch(key: &str) -> Option<(u64, Sha256)> {
    numbered(key.strip_prefix(EPOCHS)?.strip_suffix(".age")?)
}

/// `manifests/<seq>.json` → seq.
#[must_use]
pub fn parse_manifest(key: &str) -> Option<u64> {
    parse_seq(key.strip_prefix(MANIFESTS)?.strip_suffix(".json")?)
}

/// `forgotten/<seq>-<sha256>` → (seq, sha256 of the manifest's payload).
#[must_use]
pub fn parse_forgotten(key: &str) -> Option<(u64, Sha256)> {
    let (seq, sha256) = key.strip_prefix(FORGOTTEN)?.split_once('-')?;
    Some((parse_seq(seq)?, sha256.parse().ok()?))
}

/// `receipts/<seq>.json` → seq.
#[must_use]
pub fn parse_receipt(key: &str) -> Option<u64> {
    parse_seq(key.strip_prefix(RECEIPTS)?.strip_suffix(".json")?)
}

/// `audit/<n>.json` → n.
#[must_use]
pub fn parse_audit(key: &str) -> Option<u64> {
    parse_seq(key.strip_prefix(AUDIT)?.strip_suffix(".json")?)
}

/// `tombstones/<seq>.json` → seq.
#[must_use]
pub fn parse_tombstone(key: &str) -> Option<u64> {
    parse_seq(key.strip_prefix(TOMBSTONES)?.strip_suffix(".json")?)
}

/// `pending/<seq>` → seq.
#[must_use]
pub fn parse_pending(key: &str) -> Option<u64> {
    parse_seq(key.strip_prefix(PENDING)?)
}

/// `packs/<aa>/<sha256>` → sha256.
#[must_use]
pub fn parse_pack(key: &str) -> Option<Sha256> {
    let (folder, name) = key.strip_prefix(PACKS)?.split_once('/')?;
    let sha256: Sha256 = name.parse().ok()?;
    (name.get(..2)? == folder).then_some(sha256)
}

/// `lists/<sha256>`, `agent/<sha256>`, `lost/<sha256>` → sha256.
#[must_use]
pub fn parse_hash_named(prefix: &str, key: &str) -> Option<Sha256> {
    key.strip_prefix(prefix)?.parse().ok()
}

/// The sequence number that a name under `manifests/` claims, well-formed or junk: the leading digits, so that
/// junk occupies its slot (repository.md, "Commit and reuse" 1).
#[must_use]
pub fn claimed_seq(key: &str) -> Option<u64> {
    let name = key.strip_prefix(MANIFESTS)?;
    let digits = name.get(..16)?;
    parse_seq(digits)
}

fn parse_seq(s: &str) -> Option<u64> {
    (s.len() == 16 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok()).flatten()
}

fn numbered(s: &str) -> Option<(u64, Sha256)> {
    let (n, sha256) = s.split_once('-')?;
    let plain = !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return None;
    }
    Some((n.parse().ok()?, sha256.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_junk_is_refused() {
        let h = Sha256::of(b"x");
        assert_eq!(parse_charter(&charter(7, &h)), Some((7, h)));
        assert_eq!(parse_epoch(&epoch(1, &h)), Some((1, h)));
        assert_eq!(parse_manifest(&manifest(42)), Some(42));
        assert_eq!(parse_pack(&pack(&h)), Some(h));
        assert_eq!(parse_forgotten(&forgotten(3, &h)), Some((3, h)));
        assert_eq!(parse_hash_named(LISTS, &list(&h)), Some(h));
        for junk in
            ["manifests/1.json", "manifests/../0000000000000001.json", "manifests/000000000000000a.json"]
        {
            assert_eq!(parse_manifest(junk), None, "{junk}");
        }
        assert_eq!(parse_pack(&format!("packs/00/{h}")), None);
        assert_eq!(parse_charter(&format!("charter/01-{h}.json")), None);
        assert_eq!(claimed_seq("manifests/0000000000000009.json.junk"), Some(9));
    }
}
