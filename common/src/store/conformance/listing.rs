//! Listing: order, pages, starts, prefixes.

use super::Trial;
use crate::store::StoreErrorKind;

/// Names whose order as whole keys differs from the order of a naive walk over folders.
const NAMES: [&str; 14] = [
    "order/-",
    "order/A",
    "order/a-b",
    "order/a.b",
    "order/a/0",
    "order/a/z/1",
    "order/a/z0",
    "order/a0",
    "order/ab/x",
    "order/b",
    "order/b-/x",
    "order/c/d/e/f",
    "order/é",
    "order/漢",
];

pub(super) async fn ordered(trial: &Trial) {
    let mut sorted = NAMES;
    sorted.sort_unstable();
    assert_eq!(sorted, NAMES, "the test's own order");
    for name in NAMES.iter().rev() {
        trial.put(name, name.as_bytes().to_vec()).await;
    }
    let (keys, more) = trial.page("order/", None, 1000).await;
    assert_eq!(keys, NAMES, "keys ascend bytewise, as whole keys");
    assert!(!more);
}

pub(super) async fn paged(trial: &Trial) {
    for limit in [1, 2, 3, 5, 13, 14, 15] {
        let (mut keys, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let (page, more) = trial.page("order/", after.as_deref(), limit).await;
            assert!(page.len() <= limit, "a page holds at most its limit");
            assert!(!more || !page.is_empty(), "an empty page ends the listing");
            keys.extend(page);
            assert!(keys.len() <= NAMES.len(), "the listing goes round");
            after = keys.last().cloned();
            if !more {
                break;
            }
        }
        assert_eq!(keys, NAMES, "in pages of {limit}");
    }
}

pub(super) async fn start_after(trial: &Trial) {
    for after in [
        "order/",
        "order/-",
        "order/a",
        "order/a/",
        "order/a/z",
        "order/a/z/",
        "order/a/z/1",
        "order/a0",
        "order/aa",
        "order/b-",
        "order/c/d/e/f/g",
        "order/zzz",
        "order/漢",
        "order/漢漢",
        "a",
        "zzz",
    ] {
        let expected: Vec<&str> = NAMES.into_iter().filter(|name| *name > after).collect();
        let (keys, _) = trial.page("order/", Some(after), 1000).await;
        assert_eq!(keys, expected, "after {after}");
    }
}

pub(super) async fn prefixes(trial: &Trial) {
    for name in ["packs/a", "packs-x", "packs/ab/1", "packs/ab/2", "packs/abc/1", "packs/b/1"] {
        trial.put(name, &b"x"[..]).await;
    }
    for (prefix, expected) in [
        ("packs/ab/", &["packs/ab/1", "packs/ab/2"][..]),
        ("packs/ab", &["packs/ab/1", "packs/ab/2", "packs/abc/1"]),
        ("packs/a", &["packs/a", "packs/ab/1", "packs/ab/2", "packs/abc/1"]),
        ("packs", &["packs-x", "packs/a", "packs/ab/1", "packs/ab/2", "packs/abc/1", "packs/b/1"]),
        ("packs/ab/2", &["packs/ab/2"]),
        ("packs/ab/3", &[]),
        ("packs/a/", &[]),
    ] {
        assert_eq!(trial.page(prefix, None, 1000).await.0, expected, "under {prefix}");
    }
    let both = trial.page("packs/ab", Some("packs/ab/1"), 1).await;
    assert_eq!(both, (vec!["packs/ab/2".to_owned()], true));
}

pub(super) async fn complete(trial: &Trial) {
    let (mut keys, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let (page, more) = trial.page("", after.as_deref(), 7).await;
        keys.extend(page);
        after = keys.last().cloned();
        if !more {
            break;
        }
    }
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(keys, sorted, "a listing of everything ascends");
    assert!(NAMES.iter().all(|name| keys.iter().any(|key| key == name)));
    for key in &keys {
        let head = trial.store.head(&trial.key(key)).await.expect("head works");
        assert!(head.is_some(), "{key} is listed, but not there");
    }
}

pub(super) async fn empty(trial: &Trial) {
    let page = trial.store.list(&trial.key("nothing-here/"), None, 1000).await.expect("list works");
    assert!(page.entries.is_empty() && !page.more);
}

pub(super) async fn refused(trial: &Trial) {
    for limit in [0, 1001] {
        let error = trial.store.list("", None, limit).await.expect_err("a page of no or too many keys");
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    }
}
