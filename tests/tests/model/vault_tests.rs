//! Owns the complete explorations of the vault: the rules as decided, and each weaker rule with the invariant it breaks.

use crate::explore::{breaks, full, holds};
use crate::vault::{FETCHED_DELETED, Rules, Store, VERIFIED_LACKS_PACK, Vault};

const S3: Store = Store::S3 { versioned: true, batches_recorded: true };

fn decided(store: Store) -> Vault {
    let kills = if full() { 6 } else { 3 };
    Vault { rules: Rules::decided(store), kills }
}

fn weaker(store: Store, weaken: impl FnOnce(&mut Rules)) -> Vault {
    let mut rules = Rules::decided(store);
    weaken(&mut rules);
    Vault { rules, kills: 2 }
}

#[test]
fn rules_hold_on_a_filesystem() {
    holds("vault: filesystem", &decided(Store::Filesystem));
}

#[test]
fn rules_hold_on_s3() {
    holds("vault: S3", &decided(S3));
}

#[test]
fn kept_computed_once_breaks_it() {
    let model = weaker(Store::Filesystem, |rules| rules.kept_read_again_under_lock = false);
    breaks("vault: kept computed once", &model, VERIFIED_LACKS_PACK);
}

/// The last look still saves the invariant; what breaks is that a pull ever gets anywhere.
#[test]
fn pending_before_the_pack_lists_are_known_loses_what_was_fetched() {
    let model = weaker(Store::Filesystem, |rules| rules.pending_names_packs = false);
    breaks("vault: pending without pack names", &model, FETCHED_DELETED);
}

#[test]
fn no_last_look_under_the_lock_breaks_it() {
    let model = weaker(Store::Filesystem, |rules| rules.last_look_under_lock = false);
    breaks("vault: no last look", &model, VERIFIED_LACKS_PACK);
}

#[test]
fn no_common_lock_breaks_it() {
    let model = weaker(Store::Filesystem, |rules| rules.common_lock = false);
    breaks("vault: two hosts", &model, VERIFIED_LACKS_PACK);
}

#[test]
fn late_delete_breaks_it_without_versions_and_records() {
    let model = weaker(Store::S3 { versioned: false, batches_recorded: false }, |_| ());
    breaks("vault: S3, unversioned, not recorded", &model, VERIFIED_LACKS_PACK);
}

#[test]
fn late_delete_breaks_it_without_records() {
    let model = weaker(Store::S3 { versioned: true, batches_recorded: false }, |_| ());
    breaks("vault: S3, versioned, not recorded", &model, VERIFIED_LACKS_PACK);
}

#[test]
fn late_delete_breaks_it_without_versions() {
    let model = weaker(Store::S3 { versioned: false, batches_recorded: true }, |_| ());
    breaks("vault: S3, unversioned, recorded", &model, VERIFIED_LACKS_PACK);
}
